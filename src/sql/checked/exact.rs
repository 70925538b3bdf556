//! Functions of integers that DataFusion computes in doubles, which are exact to 53 bits: here they are exact.
//!
//! `floor`, `ceil`, `trunc` and `round` of an integer are the integer itself. `array_sum` of integers is their sum as a
//! bigint, and fails where it is beyond that. Of anything else they are DataFusion's own.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef};
use datafusion::common::{Result, exec_datafusion_err, internal_err};
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// The names of the functions that are made exact.
pub(super) const NAMES: [&str; 5] = ["floor", "ceil", "trunc", "round", "array_sum"];

/// A function that is DataFusion's own of all but integers.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Exact {
    own: Arc<ScalarUDF>,
    signature: Signature,
}

impl Exact {
    /// The function in the place of this one.
    pub(super) fn of(own: Arc<ScalarUDF>) -> Self {
        Self { own, signature: Signature::user_defined(Volatility::Immutable) }
    }

    /// The type that an exact call of these arguments gives; none where it is DataFusion's to compute.
    fn exact(types: &[DataType]) -> Option<DataType> {
        match types {
            [integer] if integer.is_integer() => Some(integer.clone()),
            [DataType::List(item) | DataType::LargeList(item)] if item.data_type().is_integer() => {
                Some(DataType::Int64)
            }
            _ => None,
        }
    }
}

impl ScalarUDFImpl for Exact {
    fn name(&self) -> &str {
        self.own.name()
    }

    fn aliases(&self) -> &[String] {
        self.own.aliases()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let types = match types {
            [DataType::FixedSizeList(item, _)] if item.data_type().is_integer() => &[DataType::List(Arc::clone(item))],
            types => types,
        };
        // A number is not a list, and the other way round: then there is something to refuse.
        let fields: Vec<FieldRef> =
            types.iter().map(|given| Arc::new(Field::new("argument", given.clone(), true))).collect();
        let own = fields_with_udf(&fields, self.own.as_ref())?;
        match Self::exact(types) {
            Some(_) => Ok(types.to_vec()),
            None => Ok(own.iter().map(|field| field.data_type().clone()).collect()),
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Self::exact(types).map_or_else(|| self.own.inner().return_type(types), Ok)
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let types: Vec<DataType> = arguments.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let own = |arguments| self.own.inner().return_field_from_args(arguments);
        match (Self::exact(&types), arguments.arg_fields.first()) {
            (Some(exact), Some(field)) => {
                Ok(Arc::new(field.as_ref().clone().with_data_type(exact).with_nullable(true)))
            }
            _ => own(arguments),
        }
    }

    fn is_strict(&self) -> bool {
        self.own.inner().is_strict()
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let types: Vec<DataType> = arguments.args.iter().map(ColumnarValue::data_type).collect();
        match (types.as_slice(), arguments.args.as_slice()) {
            ([integer], [only]) if integer.is_integer() => Ok(only.clone()),
            (types, [list]) if Self::exact(types).is_some() => {
                Ok(ColumnarValue::Array(Arc::new(sums(&list.to_array(arguments.number_rows)?)?)))
            }
            _ => self.own.inner().invoke_with_args(arguments),
        }
    }
}

/// The sum of each list's integers; null where there are none.
fn sums(lists: &ArrayRef) -> Result<Int64Array> {
    let sum = |items: ArrayRef| -> Result<Option<i64>> {
        let items = cast(&items, &DataType::Decimal128(20, 0))?;
        let items = items.as_primitive::<Decimal128Type>();
        let Some(sum) = items.iter().flatten().reduce(|sum, item| sum + item) else { return Ok(None) };
        let beyond = |_| exec_datafusion_err!("array_sum() of a list is {sum}, which is beyond bigint (64 bits)");
        i64::try_from(sum).map(Some).map_err(beyond)
    };
    let list = |row: usize| match lists.data_type() {
        _ if lists.is_null(row) => Ok(None),
        DataType::List(_) => sum(lists.as_list::<i32>().value(row)),
        DataType::LargeList(_) => sum(lists.as_list::<i64>().value(row)),
        other => internal_err!("array_sum of {other}"),
    };
    (0..lists.len()).map(list).collect()
}
