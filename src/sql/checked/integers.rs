//! Integer operations over whole columns: the wrapped results and whether any overflowed, in one pass without branches.
//!
//! A kernel that stops at the first overflow cannot use vector instructions. Only where the pass tells of an overflow
//! the rows are looked at one by one: what stands beneath a null may be anything.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Datum, PrimitiveArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use arrow::error::ArrowError;
use datafusion::logical_expr::Operator;

/// An integer's operations; each gives the wrapped result and whether it is not the right one.
trait Integer: Copy {
    fn plus(self, other: Self) -> (Self, bool);
    fn minus(self, other: Self) -> (Self, bool);
    fn times(self, other: Self) -> (Self, bool);
    fn shifted_left(self, bits: Self) -> (Self, bool);
    fn shifted_right(self, bits: Self) -> (Self, bool);
}

/// The methods that signed and unsigned integers have in common.
macro_rules! common {
    () => {
        fn times(self, other: Self) -> (Self, bool) {
            self.overflowing_mul(other)
        }

        fn shifted_left(self, bits: Self) -> (Self, bool) {
            let Some(bits) = u32::try_from(bits).ok().filter(|bits| *bits < Self::BITS) else { return (0, true) };
            let shifted = self << bits;
            (shifted, shifted >> bits != self)
        }

        fn shifted_right(self, bits: Self) -> (Self, bool) {
            match u32::try_from(bits).ok().filter(|bits| *bits < Self::BITS) {
                Some(bits) => (self >> bits, false),
                None => (0, true),
            }
        }
    };
}

macro_rules! signed {
    ($($native:ty),*) => {$(
        impl Integer for $native {
            // The signs tell: overflowing_add would not become a vector instruction.
            fn plus(self, other: Self) -> (Self, bool) {
                let sum = self.wrapping_add(other);
                (sum, (self ^ sum) & (other ^ sum) < 0)
            }

            fn minus(self, other: Self) -> (Self, bool) {
                let difference = self.wrapping_sub(other);
                (difference, (self ^ other) & (self ^ difference) < 0)
            }

            common!();
        }
    )*};
}

macro_rules! unsigned {
    ($($native:ty),*) => {$(
        impl Integer for $native {
            fn plus(self, other: Self) -> (Self, bool) {
                let sum = self.wrapping_add(other);
                (sum, sum < self)
            }

            fn minus(self, other: Self) -> (Self, bool) {
                (self.wrapping_sub(other), self < other)
            }

            common!();
        }
    )*};
}

signed!(i8, i16, i32, i64);
unsigned!(u8, u16, u32, u64);

/// The operation over two columns or a column and a value of the same integer type; none for other operands.
pub(super) fn combine(operator: Operator, left: &dyn Datum, right: &dyn Datum) -> Option<Result<ArrayRef, ArrowError>> {
    match left.get().0.data_type() {
        DataType::Int8 => of_type::<Int8Type>(operator, left, right),
        DataType::Int16 => of_type::<Int16Type>(operator, left, right),
        DataType::Int32 => of_type::<Int32Type>(operator, left, right),
        DataType::Int64 => of_type::<Int64Type>(operator, left, right),
        DataType::UInt8 => of_type::<UInt8Type>(operator, left, right),
        DataType::UInt16 => of_type::<UInt16Type>(operator, left, right),
        DataType::UInt32 => of_type::<UInt32Type>(operator, left, right),
        DataType::UInt64 => of_type::<UInt64Type>(operator, left, right),
        _ => None,
    }
}

fn of_type<T>(operator: Operator, left: &dyn Datum, right: &dyn Datum) -> Option<Result<ArrayRef, ArrowError>>
where
    T: ArrowPrimitiveType,
    T::Native: Integer,
{
    let operands = Operands::<T> {
        left: left.get().0.as_primitive_opt()?,
        right: right.get().0.as_primitive_opt()?,
        is_value: [left.get().1, right.get().1],
    };
    // Each operator has a loop of its own: a call through a pointer would be one a row.
    match operator {
        Operator::Plus => Some(operands.combine(Integer::plus)),
        Operator::Minus => Some(operands.combine(Integer::minus)),
        Operator::Multiply => Some(operands.combine(Integer::times)),
        Operator::BitwiseShiftLeft => Some(operands.combine(Integer::shifted_left)),
        Operator::BitwiseShiftRight => Some(operands.combine(Integer::shifted_right)),
        _ => None,
    }
}

struct Operands<'a, T: ArrowPrimitiveType> {
    left: &'a PrimitiveArray<T>,
    right: &'a PrimitiveArray<T>,
    /// Whether the left one and the right one are a single value for all rows.
    is_value: [bool; 2],
}

impl<T: ArrowPrimitiveType> Operands<'_, T> {
    fn combine(&self, operation: impl Fn(T::Native, T::Native) -> (T::Native, bool)) -> Result<ArrayRef, ArrowError> {
        let mut beyond = false;
        let mut step = |left: T::Native, right: T::Native| {
            let (result, overflows) = operation(left, right);
            beyond |= overflows;
            result
        };
        let (left, right) = (self.left.values(), self.right.values());
        let results: Vec<T::Native> = match (self.is_value, left.first(), right.first()) {
            ([false, true], _, Some(value)) => left.iter().map(|left| step(*left, *value)).collect(),
            ([true, false], Some(value), _) => right.iter().map(|right| step(*value, *right)).collect(),
            _ => left.iter().zip(right).map(|(left, right)| step(*left, *right)).collect(),
        };
        let nulls = self.nulls(results.len());
        if beyond {
            let is_valid = |row: usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
            let value = |side: usize, row: usize| [left, right][side][if self.is_value[side] { 0 } else { row }];
            if (0..results.len()).any(|row| is_valid(row) && operation(value(0, row), value(1, row)).1) {
                return Err(ArrowError::ArithmeticOverflow(format!("a result is beyond {}", T::DATA_TYPE)));
            }
        }
        Ok(Arc::new(PrimitiveArray::<T>::new(results.into(), nulls)))
    }

    fn nulls(&self, rows: usize) -> Option<NullBuffer> {
        let of = |operand: &PrimitiveArray<T>, is_value: bool| match is_value {
            true if operand.null_count() > 0 => Some(NullBuffer::new_null(rows)),
            true => None,
            false => operand.nulls().cloned(),
        };
        NullBuffer::union(of(self.left, self.is_value[0]).as_ref(), of(self.right, self.is_value[1]).as_ref())
    }
}
