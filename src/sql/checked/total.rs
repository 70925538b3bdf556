//! The types that are summed, and the wider ones in which their totals are kept.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowNativeTypeOp, ArrowNumericType, PrimitiveArray};
use arrow::datatypes::{
    ArrowPrimitiveType, DECIMAL256_MAX_PRECISION, DataType, Decimal32Type, Decimal64Type, Decimal128Type,
    Decimal256Type, DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType, DurationSecondType,
    Int64Type, IntervalDayTimeType, IntervalMonthDayNanoType, IntervalYearMonthType, UInt64Type, i256,
};
use arrow::util::display::array_value_to_string;
use datafusion::common::{DataFusionError, Result, exec_datafusion_err};

use super::operation::{type_name, within_precision};

/// A type whose values are summed.
pub(super) trait Summed: ArrowNumericType + Sized + Send + Sync + std::fmt::Debug {
    /// What a total is kept as.
    type Total: ArrowNumericType + Send + Sync + std::fmt::Debug;

    /// The total's whole type, for a sum of this type.
    fn total_type(sum: &DataType) -> DataType;

    /// A value as a total.
    fn widened(value: Self::Native) -> <Self::Total as ArrowPrimitiveType>::Native;

    /// A total as a value; none where it is beyond the type's bits.
    fn narrowed(total: <Self::Total as ArrowPrimitiveType>::Native) -> Option<Self::Native>;

    /// The total of these values; none where it is beyond a total.
    fn total_of_slice(values: &[Self::Native]) -> Option<<Self::Total as ArrowPrimitiveType>::Native> {
        let mut total = <Self::Total as ArrowPrimitiveType>::Native::ZERO;
        for value in values {
            total = total.add_checked(Self::widened(*value)).ok()?;
        }
        Some(total)
    }

    /// The total of all values that are not null; none where it is beyond a total.
    fn total_of(values: &PrimitiveArray<Self>) -> Option<<Self::Total as ArrowPrimitiveType>::Native> {
        let Some(nulls) = values.nulls().filter(|nulls| nulls.null_count() > 0) else {
            return Self::total_of_slice(values.values());
        };
        let mut total = <Self::Total as ArrowPrimitiveType>::Native::ZERO;
        for (start, end) in nulls.valid_slices() {
            total = total.add_checked(Self::total_of_slice(values.values().get(start..end)?)?).ok()?;
        }
        Some(total)
    }
}

/// Values of which 2³¹ can be added in two halves of 64 bits.
const CHUNK: usize = 1 << 30;

macro_rules! in_128_bits {
    ($($type:ty),*; $slice:item) => {$(
        impl Summed for $type {
            type Total = Decimal128Type;

            fn total_type(sum: &DataType) -> DataType {
                DataType::Decimal128(arrow::datatypes::DECIMAL128_MAX_PRECISION, scale(sum))
            }

            fn widened(value: Self::Native) -> i128 {
                i128::from(value)
            }

            fn narrowed(total: i128) -> Option<Self::Native> {
                total.try_into().ok()
            }

            $slice
        }
    )*};
}

in_128_bits!(Int64Type, DurationSecondType, DurationMillisecondType, DurationMicrosecondType, DurationNanosecondType,
    Decimal64Type;
    fn total_of_slice(values: &[Self::Native]) -> Option<i128> {
        // Two additions in 64 bits are vector instructions, one in 128 bits is none.
        let of_chunk = |chunk: &[Self::Native]| {
            let (mut high, mut low) = (0i64, 0i64);
            for value in chunk {
                high += value >> 32;
                low += value & 0xffff_ffff;
            }
            (i128::from(high) << 32) + i128::from(low)
        };
        Some(values.chunks(CHUNK).map(of_chunk).sum())
    }
);

in_128_bits!(UInt64Type;
    fn total_of_slice(values: &[u64]) -> Option<i128> {
        let of_chunk = |chunk: &[u64]| {
            let (mut high, mut low) = (0u64, 0u64);
            for value in chunk {
                high += value >> 32;
                low += value & 0xffff_ffff;
            }
            (i128::from(high) << 32) + i128::from(low)
        };
        Some(values.chunks(CHUNK).map(of_chunk).sum())
    }
);

impl Summed for Decimal32Type {
    type Total = Decimal128Type;

    fn total_type(sum: &DataType) -> DataType {
        DataType::Decimal128(arrow::datatypes::DECIMAL128_MAX_PRECISION, scale(sum))
    }

    fn widened(value: i32) -> i128 {
        i128::from(value)
    }

    fn narrowed(total: i128) -> Option<i32> {
        total.try_into().ok()
    }
}

impl Summed for Decimal128Type {
    type Total = Decimal256Type;

    fn total_type(sum: &DataType) -> DataType {
        DataType::Decimal256(DECIMAL256_MAX_PRECISION, scale(sum))
    }

    fn widened(value: i128) -> i256 {
        i256::from_i128(value)
    }

    fn narrowed(total: i256) -> Option<i128> {
        total.to_i128()
    }

    fn total_of_slice(values: &[i128]) -> Option<i256> {
        // As long as it fits, in 128 bits.
        let (mut total, mut part) = (i256::ZERO, 0i128);
        for value in values {
            match part.checked_add(*value) {
                Some(sum) => part = sum,
                None => {
                    total = total.checked_add(i256::from_i128(part))?;
                    part = *value;
                }
            }
        }
        total.checked_add(i256::from_i128(part))
    }
}

macro_rules! in_itself {
    ($($type:ty),*) => {$(
        impl Summed for $type {
            type Total = Self;

            fn total_type(sum: &DataType) -> DataType {
                sum.clone()
            }

            fn widened(value: Self::Native) -> Self::Native {
                value
            }

            fn narrowed(total: Self::Native) -> Option<Self::Native> {
                Some(total)
            }
        }
    )*};
}

in_itself!(Decimal256Type, IntervalYearMonthType, IntervalDayTimeType, IntervalMonthDayNanoType);

fn scale(sum: &DataType) -> i8 {
    match sum {
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale)
        | DataType::Decimal256(_, scale) => *scale,
        _ => 0,
    }
}

/// The totals as sums of this type.
///
/// # Errors
/// The first total that does not fit it.
pub(super) fn fitting<T: Summed>(totals: PrimitiveArray<T::Total>, data_type: &DataType) -> Result<ArrayRef> {
    let beyond = |row: usize, totals: PrimitiveArray<T::Total>| {
        let total = totals.slice(row, 1).with_data_type(T::total_type(data_type));
        match array_value_to_string(&total, 0) {
            Ok(total) => exec_datafusion_err!("the sum {total} is beyond {}", type_name(data_type)),
            Err(_) => overflow(data_type),
        }
    };
    let mut values = Vec::with_capacity(totals.len());
    for (row, total) in totals.values().iter().enumerate() {
        match T::narrowed(*total) {
            Some(value) => values.push(value),
            None => return Err(beyond(row, totals)),
        }
    }
    let sums = PrimitiveArray::<T>::new(values.into(), totals.nulls().cloned()).with_data_type(data_type.clone());
    let sums: ArrayRef = Arc::new(sums);
    if within_precision(&sums).is_err() {
        let too_long = (0..sums.len()).find(|row| within_precision(&sums.slice(*row, 1)).is_err());
        return Err(beyond(too_long.unwrap_or(0), totals));
    }
    Ok(sums)
}

/// The error of a total that is beyond what a total is kept as.
pub(super) fn overflow(data_type: &DataType) -> DataFusionError {
    exec_datafusion_err!("the sum is beyond {}", type_name(data_type))
}
