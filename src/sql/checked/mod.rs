//! Arithmetic that fails where its result does not fit, in every plan of a session.
//!
//! DataFusion's planner wraps silently. An analyzer rule therefore replaces, after types are settled and before
//! constants are folded, each operation that can wrap by a function that computes the same and fails instead; `sum`
//! and `avg` are replaced in the session's list of functions. What cannot wrap (floats, decimals with digits to spare,
//! comparisons) stays DataFusion's own, and is pushed down and pruned by as before.
//!
//! | SQL                                   | fails where                                                            |
//! |---------------------------------------|------------------------------------------------------------------------|
//! | `+ - *`, unary `-` of integers        | the result is beyond the type of the operands                          |
//! | `+ - * /` of decimals                 | the result has more digits than its type's most (38, 76)               |
//! | `<<`, `>>`                            | the shift is not within 0 and the type's bits, or `<<` loses bits      |
//! | `sum`, `avg`, also as windows         | the total is beyond the result's type, not merely a part of it         |
//! | a cast of text to a decimal           | the text has more digits before the point than the type                |
//! | a cast of decimal256 to an integer    | the integer is beyond it                                               |
//! | a cast of an integer to decimal32, 64 | the integer is beyond it                                               |
//! | `to_timestamp` of a float             | the time is beyond the years 1677 to 2262, or no number                |
//! | `array_sum` of integers               | the sum is beyond bigint                                               |
//!
//! Every other cast, `/` and `%`, dates and intervals are checked by Arrow itself. A function's name in a plan
//! (`EXPLAIN`) is `checked_…`; the column's name is what it would be without.

mod averages;
mod exact;
mod groups;
mod guard;
mod integers;
mod operation;
mod sums;
#[cfg(test)]
mod tests;
mod total;

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::{NamePreserver, unnormalize_col};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    AggregateUDF, BinaryExpr, Cast, Expr, ExprSchemable, LogicalPlan, Operator, ScalarUDF, TryCast, cast,
};
use datafusion::optimizer::analyzer::AnalyzerRule;

use guard::CastGuard;
use operation::{Operation, is_fullest};

/// The rule for a session's analyzer; it must come behind the coercion of types.
#[derive(Debug)]
pub(super) struct CheckedArithmetic;

/// The aggregates that take the place of DataFusion's of the same names.
pub(super) fn aggregates() -> [AggregateUDF; 2] {
    [AggregateUDF::from(sums::CheckedSum::new()), AggregateUDF::from(averages::CheckedAverage::new())]
}

/// The functions of the session that take the place of its own of the same names.
///
/// # Errors
/// Where the session lacks one.
pub(super) fn functions(session: &impl FunctionRegistry) -> Result<Vec<ScalarUDF>> {
    exact::NAMES.iter().map(|name| Ok(ScalarUDF::from(exact::Exact::of(session.udf(name)?)))).collect()
}

impl AnalyzerRule for CheckedArithmetic {
    fn name(&self) -> &'static str {
        "checked_arithmetic"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(checked_plan)?.data)
    }
}

fn checked_plan(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let mut schema = merge_schema(&plan.inputs());
    if let LogicalPlan::TableScan(scan) = &plan {
        schema.merge(&DFSchema::try_from_qualified_schema(scan.table_name.clone(), &scan.source.schema())?);
    }
    let names = NamePreserver::new(&plan);
    let plan = plan.map_expressions(|expression| {
        let name = names.save(&expression);
        Ok(checked_nodes(expression, &schema)?.update_data(|expression| name.restore(expression)))
    })?;
    if plan.transformed { plan.map_data(LogicalPlan::recompute_schema) } else { Ok(plan) }
}

/// An expression over this schema, its types settled, with every operation that could wrap replaced by one that fails.
///
/// # Errors
/// Where the type of a part cannot be told.
pub(super) fn checked(expression: Expr, schema: &DFSchema) -> Result<Expr> {
    Ok(checked_nodes(expression, schema)?.data)
}

fn checked_nodes(expression: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    expression.transform_up(|node| {
        let replaced = match &node {
            Expr::BinaryExpr(binary) => of_operator(binary, &node, schema)?,
            Expr::Negative(inner) if inner.get_type(schema)?.is_signed_integer() => {
                Some(Operation::negation(written(&node)).call(vec![inner.as_ref().clone()]))
            }
            Expr::Cast(Cast { expr, field }) => guarded(expr, field.data_type(), schema, false)?
                .map(|inner| Expr::Cast(Cast::new_from_field(Box::new(inner), field.clone()))),
            Expr::TryCast(TryCast { expr, field }) => guarded(expr, field.data_type(), schema, true)?
                .map(|inner| Expr::TryCast(TryCast { expr: Box::new(inner), field: field.clone() })),
            // These become casts only when the optimizer simplifies them.
            Expr::ScalarFunction(call) if call.func.name() == "arrow_cast" => {
                of_function(&call.args, &node, schema, false)?
            }
            Expr::ScalarFunction(call) if call.func.name() == "arrow_try_cast" => {
                of_function(&call.args, &node, schema, true)?
            }
            // It would stop at the ends of its type, and take what is no number for 1970.
            Expr::ScalarFunction(call) if call.func.name() == "to_timestamp" => match call.args.split_first() {
                Some((seconds, formats)) if seconds.get_type(schema)?.is_floating() => {
                    let seconds = cast(seconds.clone(), DataType::Decimal128(38, 9));
                    let args = std::iter::once(seconds).chain(formats.iter().cloned()).collect();
                    Some(Expr::ScalarFunction(ScalarFunction { func: Arc::clone(&call.func), args }))
                }
                _ => None,
            },
            _ => None,
        };
        Ok(replaced.map_or_else(|| Transformed::no(node), Transformed::yes))
    })
}

fn of_operator(binary: &BinaryExpr, node: &Expr, schema: &DFSchema) -> Result<Option<Expr>> {
    let arithmetic = matches!(binary.op, Operator::Plus | Operator::Minus | Operator::Multiply);
    let shift = matches!(binary.op, Operator::BitwiseShiftLeft | Operator::BitwiseShiftRight);
    if !arithmetic && !shift && binary.op != Operator::Divide {
        return Ok(None);
    }
    let (left, right) = (binary.left.get_type(schema)?, binary.right.get_type(schema)?);
    let integers = (arithmetic || shift) && left == right && left.is_integer();
    let decimals = !shift && left.is_decimal() && right.is_decimal() && is_fullest(&node.get_type(schema)?);
    if !integers && !decimals {
        return Ok(None);
    }
    let operands = vec![binary.left.as_ref().clone(), binary.right.as_ref().clone()];
    Ok(Some(Operation::binary(binary.op, written(node)).call(operands)))
}

/// The expression as a person writes it: without the names of relations, and without what was put into it here.
fn written(expression: &Expr) -> String {
    let without = unnormalize_col(expression.clone()).transform_up(|node| {
        let is_guard = CastGuard::stands_before(&node);
        let Expr::ScalarFunction(mut call) = node else { return Ok(Transformed::no(node)) };
        let before = match call.func.inner().downcast_ref::<Operation>() {
            Some(operation) => operation.as_operator(&mut call.args),
            None if is_guard => call.args.pop(),
            None => None,
        };
        Ok(before.map_or_else(|| Transformed::no(Expr::ScalarFunction(call)), Transformed::yes))
    });
    without.map(|expression| expression.data.human_display().to_string()).unwrap_or_default()
}

/// What a cast to this type must take instead of its operand; none where Arrow's own cast never gives a wrong value.
fn guarded(operand: &Expr, target: &DataType, schema: &DFSchema, tries: bool) -> Result<Option<Expr>> {
    if CastGuard::stands_before(operand) {
        return Ok(None);
    }
    let source = operand.get_type(schema)?;
    if source.is_integer() && matches!(target, DataType::Decimal32(..) | DataType::Decimal64(..)) {
        return Ok(Some(cast(operand.clone(), DataType::Decimal128(20, 0))));
    }
    Ok(CastGuard::for_cast(&source, target, tries).map(|guard| guard.call(operand.clone())))
}

fn of_function(arguments: &[Expr], node: &Expr, schema: &DFSchema, tries: bool) -> Result<Option<Expr>> {
    let Some(operand) = arguments.first() else { return Ok(None) };
    let target = node.get_type(schema)?;
    let Some(inner) = guarded(operand, &target, schema, tries)? else { return Ok(None) };
    Ok(Some(if tries { datafusion::logical_expr::try_cast(inner, target) } else { cast(inner, target) }))
}
