//! `sum` that fails where the total does not fit its type.
//!
//! Totals are kept in a type so wide that no number of rows overflows it; only the total that is asked for must fit.
//! So the order of the rows does not matter, a window may go back, and partitions may be added up in any way.
//!
//! | summed                                       | total kept as                         |
//! |----------------------------------------------|---------------------------------------|
//! | bigint, unsigned, durations, decimal32 and 64 | 128 bits                              |
//! | decimal(p,s), p up to 38                     | 256 bits                              |
//! | decimal256, intervals                        | themselves: each addition is checked  |
//! | floats                                       | as DataFusion sums them               |

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowNativeTypeOp, AsArray, PrimitiveArray};
use arrow::datatypes::{
    DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, DurationMicrosecondType,
    DurationMillisecondType, DurationNanosecondType, DurationSecondType, Field, FieldRef, Int64Type,
    IntervalDayTimeType, IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType, TimeUnit, UInt64Type,
};
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::functions_aggregate::sum::Sum;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, Documentation, GroupsAccumulator, ReversedUDAF, SetMonotonicity, Signature,
};

use super::groups::GroupTotals;
use super::total::{Summed, fitting, overflow};

/// The aggregate in the place of DataFusion's.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct CheckedSum {
    /// What sums floats, and says everything else about a sum.
    floats: Sum,
}

impl CheckedSum {
    pub(super) fn new() -> Self {
        Self { floats: Sum::new() }
    }
}

/// Calls `$make::<T>($…)` for the type `T` of these values; `$other` for types that are not summed here.
macro_rules! by_type {
    ($data_type:expr, $make:ident($($argument:expr),*), $other:expr) => {
        match $data_type {
            DataType::Int64 => $make::<Int64Type>($($argument),*),
            DataType::UInt64 => $make::<UInt64Type>($($argument),*),
            DataType::Decimal32(..) => $make::<Decimal32Type>($($argument),*),
            DataType::Decimal64(..) => $make::<Decimal64Type>($($argument),*),
            DataType::Decimal128(..) => $make::<Decimal128Type>($($argument),*),
            DataType::Decimal256(..) => $make::<Decimal256Type>($($argument),*),
            DataType::Duration(TimeUnit::Second) => $make::<DurationSecondType>($($argument),*),
            DataType::Duration(TimeUnit::Millisecond) => $make::<DurationMillisecondType>($($argument),*),
            DataType::Duration(TimeUnit::Microsecond) => $make::<DurationMicrosecondType>($($argument),*),
            DataType::Duration(TimeUnit::Nanosecond) => $make::<DurationNanosecondType>($($argument),*),
            DataType::Interval(IntervalUnit::YearMonth) => $make::<IntervalYearMonthType>($($argument),*),
            DataType::Interval(IntervalUnit::DayTime) => $make::<IntervalDayTimeType>($($argument),*),
            DataType::Interval(IntervalUnit::MonthDayNano) => $make::<IntervalMonthDayNanoType>($($argument),*),
            _ => $other,
        }
    };
}

impl AggregateUDFImpl for CheckedSum {
    fn name(&self) -> &str {
        self.floats.name()
    }

    fn signature(&self) -> &Signature {
        self.floats.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.floats.return_type(types)
    }

    fn accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let data_type = arguments.return_type().clone();
        by_type!(&data_type, accumulator(&data_type, arguments.is_distinct), self.floats.accumulator(arguments))
    }

    fn create_sliding_accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let data_type = arguments.return_type().clone();
        let distinct = arguments.is_distinct;
        by_type!(&data_type, accumulator(&data_type, distinct), self.floats.create_sliding_accumulator(arguments))
    }

    fn state_fields(&self, arguments: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let data_type = arguments.return_type().clone();
        if arguments.is_distinct || matches!(data_type, DataType::Float64) {
            return self.floats.state_fields(arguments);
        }
        let total = by_type!(&data_type, total_type(&data_type), internal_err!("sum of {data_type}"))?;
        Ok(vec![Arc::new(Field::new(format_state_name(arguments.name, "sum"), total, true))])
    }

    fn groups_accumulator_supported(&self, arguments: AccumulatorArgs<'_>) -> bool {
        self.floats.groups_accumulator_supported(arguments)
    }

    fn create_groups_accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        let data_type = arguments.return_type().clone();
        by_type!(&data_type, group_totals(&data_type), self.floats.create_groups_accumulator(arguments))
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.floats.reverse_expr()
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.floats.order_sensitivity()
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.floats.documentation()
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.floats.set_monotonicity(data_type)
    }
}

fn accumulator<T: Summed>(data_type: &DataType, distinct: bool) -> Result<Box<dyn Accumulator>>
where
    T::Native: Hash + Eq,
{
    let sum = RunningSum::<T>::new(data_type);
    Ok(if distinct { Box::new(DistinctSum { sum, counts: HashMap::new() }) } else { Box::new(sum) })
}

fn group_totals<T: Summed>(data_type: &DataType) -> Result<Box<dyn GroupsAccumulator>> {
    Ok(Box::new(GroupTotals::<T>::new(data_type)))
}

fn total_type<T: Summed>(data_type: &DataType) -> Result<DataType> {
    Ok(T::total_type(data_type))
}

type Native<T> = <<T as Summed>::Total as arrow::datatypes::ArrowPrimitiveType>::Native;

/// A sum of one group, or of a window that goes on.
#[derive(Debug)]
pub(super) struct RunningSum<T: Summed> {
    total: Native<T>,
    /// How many values it is the sum of; the sum of none is null.
    count: u64,
    data_type: DataType,
}

impl<T: Summed> RunningSum<T> {
    pub(super) fn new(data_type: &DataType) -> Self {
        Self { total: Native::<T>::ZERO, count: 0, data_type: data_type.clone() }
    }

    fn change(&mut self, by: Native<T>, sign: Sign) -> Result<()> {
        let changed = match sign {
            Sign::Plus => self.total.add_checked(by),
            Sign::Minus => self.total.sub_checked(by),
        };
        self.total = changed.map_err(|_| overflow(&self.data_type))?;
        Ok(())
    }

    fn take(&mut self, values: &PrimitiveArray<T>, sign: Sign) -> Result<()> {
        let total = T::total_of(values).ok_or_else(|| overflow(&self.data_type))?;
        let count = (values.len() - values.null_count()) as u64;
        self.count = match sign {
            Sign::Plus => self.count + count,
            Sign::Minus => self.count.saturating_sub(count),
        };
        self.change(total, sign)
    }
}

#[derive(Clone, Copy)]
enum Sign {
    Plus,
    Minus,
}

fn only<T: arrow::datatypes::ArrowPrimitiveType>(values: &[ArrayRef]) -> Result<&PrimitiveArray<T>> {
    match values.first().and_then(|values| values.as_primitive_opt::<T>()) {
        Some(values) => Ok(values),
        None => internal_err!("sum is given something else than {}", T::DATA_TYPE),
    }
}

impl<T: Summed> Accumulator for RunningSum<T> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.take(only(values)?, Sign::Plus)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.take(only(values)?, Sign::Minus)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for total in only::<T::Total>(states)?.iter().flatten() {
            self.change(total, Sign::Plus)?;
            self.count += 1;
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let total = (self.count > 0).then_some(self.total);
        Ok(vec![ScalarValue::new_primitive::<T::Total>(total, &T::total_type(&self.data_type))?])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let total = (self.count > 0).then_some(self.total);
        let sum = fitting::<T>(PrimitiveArray::<T::Total>::from_iter([total]), &self.data_type)?;
        ScalarValue::try_from_array(&sum, 0)
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// A sum of the values that differ.
#[derive(Debug)]
struct DistinctSum<T: Summed> {
    sum: RunningSum<T>,
    /// How often each value is there: a window may lose it again.
    counts: HashMap<T::Native, u64>,
}

impl<T: Summed> DistinctSum<T>
where
    T::Native: Hash + Eq,
{
    fn add(&mut self, value: T::Native) -> Result<()> {
        let count = self.counts.entry(value).or_default();
        *count += 1;
        if *count == 1 {
            self.sum.count += 1;
            self.sum.change(T::widened(value), Sign::Plus)?;
        }
        Ok(())
    }
}

impl<T: Summed> Accumulator for DistinctSum<T>
where
    T::Native: Hash + Eq,
{
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        only::<T>(values)?.iter().flatten().try_for_each(|value| self.add(value))
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in only::<T>(values)?.iter().flatten() {
            let Some(count) = self.counts.get_mut(&value) else { continue };
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&value);
                self.sum.count -= 1;
                self.sum.change(T::widened(value), Sign::Minus)?;
            }
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let Some(lists) = states.first().and_then(|state| state.as_list_opt::<i32>()) else {
            return internal_err!("sum distinct is given no lists");
        };
        lists.iter().flatten().try_for_each(|list| self.update_batch(&[list]))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values = PrimitiveArray::<T>::from_iter_values(self.counts.keys().copied());
        let values = values.with_data_type(self.sum.data_type.clone());
        Ok(vec![SingleRowListArrayBuilder::new(Arc::new(values)).build_list_scalar()])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.sum.evaluate()
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.counts.capacity() * (size_of::<T::Native>() + size_of::<u64>())
    }
}
