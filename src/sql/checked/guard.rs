//! A look at values before they are cast where Arrow's own cast can give a wrong one.
//!
//! Text to a decimal: Arrow multiplies the part before the point by ten to the scale in 256 bits and lets it wrap, so
//! that a text of 77 digits can become a small number. A text with more digits before the point than the type has room
//! for is none of its values. A decimal of 256 bits to an integer: Arrow takes the lowest 64 bits.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowNativeTypeOp, AsArray, BooleanArray, StringArrayType};
use arrow::compute::nullif;
use arrow::datatypes::{DataType, Decimal256Type, Field, FieldRef, i256};
use arrow::util::display::array_value_to_string;
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_err, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::operation::type_name;

const NAME: &str = "checked_cast";

/// Passes its argument on: fails on, or makes null of, what is none of the target's values.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct CastGuard {
    target: DataType,
    /// Whether such a value becomes null, as TRY_CAST wants it.
    tries: bool,
    signature: Signature,
}

impl CastGuard {
    /// Whether the operand has a guard already.
    pub(super) fn stands_before(operand: &Expr) -> bool {
        matches!(operand, Expr::ScalarFunction(call) if call.func.name() == NAME)
    }

    /// The guard of a cast, where it needs one.
    pub(super) fn for_cast(source: &DataType, target: &DataType, tries: bool) -> Option<Self> {
        let needed = match source {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => target.is_decimal(),
            DataType::Decimal256(..) => target.is_integer() || target.is_temporal(),
            _ => false,
        };
        let signature = Signature::any(1, Volatility::Immutable);
        needed.then(|| Self { target: target.clone(), tries, signature })
    }

    /// The guarded operand.
    pub(super) fn call(self, operand: Expr) -> Expr {
        ScalarUDF::from(self).call(vec![operand])
    }

    fn looked_at(&self, array: &ArrayRef) -> Result<ArrayRef> {
        match array.data_type() {
            DataType::Utf8 => self.of_texts(array, array.as_string::<i32>()),
            DataType::LargeUtf8 => self.of_texts(array, array.as_string::<i64>()),
            DataType::Utf8View => self.of_texts(array, array.as_string_view()),
            DataType::Decimal256(_, scale) => self.of_decimals(array, *scale),
            other => internal_err!("{NAME} of {other}"),
        }
    }

    fn of_texts<'a>(&self, array: &ArrayRef, texts: impl StringArrayType<'a>) -> Result<ArrayRef> {
        let room = match &self.target {
            DataType::Decimal32(digits, scale)
            | DataType::Decimal64(digits, scale)
            | DataType::Decimal128(digits, scale)
            | DataType::Decimal256(digits, scale) => i16::from(*digits) - i16::from(*scale),
            other => return internal_err!("{NAME} before a cast to {other}"),
        };
        let room = usize::try_from(room).unwrap_or(0);
        let fits = |text: Option<&str>| text.is_none_or(|text| text.len() <= room || whole_digits(text) <= room);
        self.without_misfits(array, |row| fits(texts.is_valid(row).then(|| texts.value(row))))
    }

    fn of_decimals(&self, array: &ArrayRef, scale: i8) -> Result<ArrayRef> {
        let (smallest, largest): (i128, i128) = match &self.target {
            DataType::Int8 => (i8::MIN.into(), i8::MAX.into()),
            DataType::Int16 => (i16::MIN.into(), i16::MAX.into()),
            DataType::Int32 => (i32::MIN.into(), i32::MAX.into()),
            DataType::UInt8 => (0, u8::MAX.into()),
            DataType::UInt16 => (0, u16::MAX.into()),
            DataType::UInt32 => (0, u32::MAX.into()),
            DataType::UInt64 => (0, u64::MAX.into()),
            // Times are integers of 64 bits, or made of them.
            _ => (i64::MIN.into(), i64::MAX.into()),
        };
        let unit = i256::from_i128(10).pow_checked(scale.unsigned_abs().into())?;
        let whole = |value: i256| if scale < 0 { value.checked_mul(unit) } else { value.checked_div(unit) };
        let fits = |value: i256| {
            let whole: Option<i128> = whole(value).and_then(i256::to_i128);
            whole.is_some_and(|whole| (smallest..=largest).contains(&whole))
        };
        let decimals = array.as_primitive::<Decimal256Type>();
        self.without_misfits(array, |row| decimals.is_null(row) || fits(decimals.value(row)))
    }

    /// The array, where all its rows fit; else the first misfit as an error, or all of them as nulls.
    fn without_misfits(&self, array: &ArrayRef, fits: impl Fn(usize) -> bool) -> Result<ArrayRef> {
        let Some(misfit) = (0..array.len()).find(|row| !fits(*row)) else { return Ok(Arc::clone(array)) };
        if self.tries {
            let misfits: BooleanArray = (0..array.len()).map(|row| Some(!fits(row))).collect();
            return nullif(array.as_ref(), &misfits).map_err(DataFusionError::from);
        }
        let whole = array_value_to_string(array.as_ref(), misfit)?;
        let shown: String = whole.chars().take(40).collect();
        let more = if shown.len() < whole.len() { "…" } else { "" };
        exec_err!("{shown}{more} is beyond {}", type_name(&self.target))
    }
}

/// The digits before the point, without leading zeros.
fn whole_digits(text: &str) -> usize {
    let text = text.trim();
    let text = text.strip_prefix(['-', '+']).unwrap_or(text).trim_start_matches('0');
    text.bytes().take_while(u8::is_ascii_digit).count()
}

impl ScalarUDFImpl for CastGuard {
    fn name(&self) -> &'static str {
        NAME
    }

    fn schema_name(&self, arguments: &[Expr]) -> Result<String> {
        Ok(arguments.first().map(|argument| argument.schema_name().to_string()).unwrap_or_default())
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        types.first().map_or_else(|| internal_err!("{NAME} of nothing"), |only| Ok(only.clone()))
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let Some(field) = arguments.arg_fields.first() else { return internal_err!("{NAME} of nothing") };
        Ok(Arc::new(Field::new(NAME, field.data_type().clone(), field.is_nullable() || self.tries)))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match arguments.args.as_slice() {
            [ColumnarValue::Array(array)] => Ok(ColumnarValue::Array(self.looked_at(array)?)),
            [ColumnarValue::Scalar(scalar)] => {
                let array = self.looked_at(&scalar.to_array()?)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(array.as_ref(), 0)?))
            }
            others => internal_err!("{NAME} of {} arguments", others.len()),
        }
    }
}
