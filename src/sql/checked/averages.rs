//! `avg` that fails where the total or the average does not fit.
//!
//! DataFusion adds decimals up to 38 digits in a wider type and averages integers as floats; both cannot wrap. Left
//! are durations and decimals of 256 bits, whose totals it lets wrap: they are added up here.

use std::sync::Arc;

use arrow::array::{ArrayRef, ArrowNativeTypeOp, AsArray, PrimitiveArray};
use arrow::datatypes::{
    DataType, Decimal256Type, DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType,
    DurationSecondType, Field, FieldRef, TimeUnit, UInt64Type, i256,
};
use datafusion::common::{Result, ScalarValue, exec_datafusion_err, internal_err};
use datafusion::functions_aggregate::average::Avg;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, Documentation, GroupsAccumulator, ReversedUDAF, Signature,
};

use super::operation::{type_name, within_precision};

/// The aggregate in the place of DataFusion's.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct CheckedAverage {
    inner: Avg,
}

impl CheckedAverage {
    pub(super) fn new() -> Self {
        Self { inner: Avg::new() }
    }
}

/// Whether DataFusion would let the total of an average of this type wrap.
fn wraps(result: &DataType, distinct: bool) -> bool {
    !distinct && matches!(result, DataType::Duration(_) | DataType::Decimal256(..))
}

impl AggregateUDFImpl for CheckedAverage {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if !wraps(arguments.return_type(), arguments.is_distinct) {
            return self.inner.accumulator(arguments);
        }
        let [field] = arguments.expr_fields else { return internal_err!("avg of {} values", arguments.exprs.len()) };
        Ok(Box::new(Average {
            total: i256::ZERO,
            count: 0,
            summed: field.data_type().clone(),
            result: arguments.return_type().clone(),
        }))
    }

    fn state_fields(&self, arguments: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        if !wraps(arguments.return_type(), arguments.is_distinct) {
            return self.inner.state_fields(arguments);
        }
        let field =
            |name: &str, data_type| Arc::new(Field::new(format_state_name(arguments.name, name), data_type, true));
        Ok(vec![field("count", DataType::UInt64), field("sum", TOTAL)])
    }

    fn groups_accumulator_supported(&self, arguments: AccumulatorArgs<'_>) -> bool {
        !wraps(arguments.return_type(), arguments.is_distinct) && self.inner.groups_accumulator_supported(arguments)
    }

    fn create_groups_accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        self.inner.create_groups_accumulator(arguments)
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.inner.reverse_expr()
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

/// What every total is kept as, whatever its scale.
const TOTAL: DataType = DataType::Decimal256(76, 0);

#[derive(Debug)]
struct Average {
    total: i256,
    count: u64,
    /// The values' type.
    summed: DataType,
    result: DataType,
}

impl Average {
    fn overflow(&self) -> datafusion::common::DataFusionError {
        exec_datafusion_err!("the average's total or the average is beyond {}", type_name(&self.result))
    }

    fn take(&mut self, values: &[ArrayRef], subtract: bool) -> Result<()> {
        let Some(values) = values.first() else { return internal_err!("avg of nothing") };
        let (total, count) = match &self.summed {
            DataType::Duration(TimeUnit::Second) => durations::<DurationSecondType>(values),
            DataType::Duration(TimeUnit::Millisecond) => durations::<DurationMillisecondType>(values),
            DataType::Duration(TimeUnit::Microsecond) => durations::<DurationMicrosecondType>(values),
            DataType::Duration(TimeUnit::Nanosecond) => durations::<DurationNanosecondType>(values),
            _ => added(values.as_primitive::<Decimal256Type>().iter().flatten()),
        }
        .ok_or_else(|| self.overflow())?;
        let (changed, left) = match subtract {
            true => (self.total.checked_sub(total), self.count.saturating_sub(count)),
            false => (self.total.checked_add(total), self.count + count),
        };
        self.total = changed.ok_or_else(|| self.overflow())?;
        self.count = left;
        Ok(())
    }

    /// The total divided by the count; digits beyond the scale are cut off, as DataFusion does.
    fn average(&self) -> Option<i256> {
        let digits = match (&self.summed, &self.result) {
            (DataType::Decimal256(_, summed), DataType::Decimal256(_, result)) => {
                u32::try_from(result - summed).ok()?
            }
            _ => 0,
        };
        let factor = i256::from_i128(10).pow_checked(digits).ok()?;
        self.total.checked_mul(factor)?.checked_div(i256::from_i128(i128::from(self.count)))
    }
}

fn durations<T: arrow::datatypes::ArrowPrimitiveType<Native = i64>>(values: &ArrayRef) -> Option<(i256, u64)> {
    added(values.as_primitive::<T>().iter().flatten().map(|value| i256::from_i128(i128::from(value))))
}

fn added(mut values: impl Iterator<Item = i256>) -> Option<(i256, u64)> {
    values.try_fold((i256::ZERO, 0), |(total, count), value| Some((total.checked_add(value)?, count + 1)))
}

impl Accumulator for Average {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.take(values, false)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.take(values, true)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [counts, totals] = states else { return internal_err!("avg is given {} states", states.len()) };
        let (total, _) =
            added(totals.as_primitive::<Decimal256Type>().iter().flatten()).ok_or_else(|| self.overflow())?;
        self.total = self.total.checked_add(total).ok_or_else(|| self.overflow())?;
        self.count += counts.as_primitive::<UInt64Type>().iter().flatten().sum::<u64>();
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.count.into(), ScalarValue::Decimal256(Some(self.total), 76, 0)])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if self.count == 0 {
            return ScalarValue::try_from(&self.result);
        }
        let average = self.average().ok_or_else(|| self.overflow())?;
        if let DataType::Duration(_) = self.result {
            let value = average.to_i128().and_then(|value| i64::try_from(value).ok()).ok_or_else(|| self.overflow())?;
            return ScalarValue::Int64(Some(value)).cast_to(&self.result);
        }
        let array = PrimitiveArray::<Decimal256Type>::from_iter_values([average]).with_data_type(self.result.clone());
        let array: ArrayRef = Arc::new(array);
        within_precision(&array).map_err(|_| self.overflow())?;
        ScalarValue::try_from_array(&array, 0)
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}
