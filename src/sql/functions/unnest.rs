//! What `unnest` makes: each item of a list becomes a row, and the row's other columns are copied for it.
//!
//! A list of many small items beside one long text becomes many long texts. Beneath every unnest therefore stands a
//! function that passes its list on, and fails where the rows that it would become are larger than a call's values may be.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Column, Result, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, Projection, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Unnest, Volatility,
};

use super::sizes::{MAX_CALL_BYTES, ONE_CALL, row_bytes, too_much};

/// Passes its first argument, a list, on.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct UnnestGuard {
    signature: Signature,
}

const NAME: &str = "checked_unnest";

/// The unnest with a guard before each list that it takes apart; none where it has them.
///
/// # Errors
/// None of its own.
pub(super) fn guarded(unnest: &Unnest) -> Result<Option<LogicalPlan>> {
    let lists: Vec<usize> = unnest.list_type_columns.iter().map(|(index, _)| *index).collect();
    if lists.is_empty() || is_guarded(&unnest.input, &lists) {
        return Ok(None);
    }
    let columns: Vec<Column> = unnest.input.schema().columns();
    let others = (0..columns.len()).filter(|index| !lists.contains(index));
    let others: Vec<Expr> = others.map(|index| Expr::Column(columns[index].clone())).collect();
    let guard = Arc::new(ScalarUDF::from(UnnestGuard { signature: Signature::variadic_any(Volatility::Immutable) }));
    let expressions = columns.into_iter().enumerate().map(|(index, column)| {
        let passed = Expr::Column(column.clone());
        if !lists.contains(&index) {
            return passed;
        }
        let arguments = std::iter::once(passed).chain(others.iter().cloned()).collect();
        guard.call(arguments).alias_qualified(column.relation, column.name)
    });
    let input = Projection::try_new(expressions.collect(), Arc::clone(&unnest.input))?;
    Ok(Some(LogicalPlan::Unnest(Unnest { input: Arc::new(LogicalPlan::Projection(input)), ..unnest.clone() })))
}

fn is_guarded(input: &LogicalPlan, lists: &[usize]) -> bool {
    let LogicalPlan::Projection(projection) = input else { return false };
    let guard = |index: &usize| match projection.expr.get(*index).map(|expression| expression.clone().unalias()) {
        Some(Expr::ScalarFunction(call)) => call.func.name() == NAME,
        _ => false,
    };
    lists.iter().any(guard)
}

impl ScalarUDFImpl for UnnestGuard {
    fn name(&self) -> &'static str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        types.first().map_or_else(|| internal_err!("{NAME} of nothing"), |list| Ok(list.clone()))
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let Some(list) = arguments.arg_fields.first() else { return internal_err!("{NAME} of nothing") };
        Ok(Arc::new(Field::new(NAME, list.data_type().clone(), list.is_nullable())))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = arguments.number_rows;
        let Some((list, others)) = arguments.args.split_first() else { return internal_err!("{NAME} of nothing") };
        let others = others.iter().map(|other| other.to_array(rows)).collect::<Result<Vec<ArrayRef>>>()?;
        let items = list.to_array(rows)?;
        let of_row = |row: usize| items_of(&items, row).saturating_mul(row_bytes(&others, row));
        let total = (0..rows).map(of_row).fold(0usize, usize::saturating_add);
        match total > MAX_CALL_BYTES {
            true => Err(too_much("unnest", (total, rows), ONE_CALL)),
            false => Ok(list.clone()),
        }
    }
}

/// How many items the list of a row has.
fn items_of(lists: &ArrayRef, row: usize) -> usize {
    if lists.is_null(row) {
        return 0;
    }
    match lists.data_type() {
        DataType::List(_) => usize::try_from(lists.as_list::<i32>().value_length(row)).unwrap_or(0),
        DataType::LargeList(_) => usize::try_from(lists.as_list::<i64>().value_length(row)).unwrap_or(0),
        DataType::FixedSizeList(_, length) => usize::try_from(*length).unwrap_or(0),
        _ => 0,
    }
}
