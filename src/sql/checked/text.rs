//! A look at texts before they are cast to a decimal.
//!
//! Arrow multiplies the part before the point by ten to the scale in 256 bits and lets it wrap: the cast of a text of
//! 77 digits can give a small number. A text with more digits before the point than the type has room for is none of
//! its values, so it is refused before that.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArrayType};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{DataFusionError, Result, exec_err, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::operation::type_name;

const NAME: &str = "checked_digits";

/// Passes its argument on: fails on, or makes null of, a text of too many digits.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct TextGuard {
    target: DataType,
    /// Whether such a text becomes null, as TRY_CAST wants it.
    tries: bool,
    signature: Signature,
}

impl TextGuard {
    /// Whether the operand has a guard already.
    pub(super) fn stands_before(operand: &Expr) -> bool {
        matches!(operand, Expr::ScalarFunction(call) if call.func.name() == NAME)
    }

    /// The guard of a cast, where the cast is one of text to a decimal.
    pub(super) fn for_cast(source: &DataType, target: &DataType, tries: bool) -> Option<Self> {
        let text = matches!(source, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
        let signature = Signature::any(1, Volatility::Immutable);
        (text && target.is_decimal()).then(|| Self { target: target.clone(), tries, signature })
    }

    /// The guarded operand.
    pub(super) fn call(self, operand: Expr) -> Expr {
        ScalarUDF::from(self).call(vec![operand])
    }

    fn looked_at(&self, array: &ArrayRef) -> Result<ArrayRef> {
        match array.data_type() {
            DataType::Utf8 => self.looked_through(array, array.as_string::<i32>()),
            DataType::LargeUtf8 => self.looked_through(array, array.as_string::<i64>()),
            DataType::Utf8View => self.looked_through(array, array.as_string_view()),
            other => internal_err!("{NAME} of {other}"),
        }
    }

    fn looked_through<'a>(&self, array: &ArrayRef, texts: impl StringArrayType<'a>) -> Result<ArrayRef> {
        let room = match &self.target {
            DataType::Decimal32(digits, scale)
            | DataType::Decimal64(digits, scale)
            | DataType::Decimal128(digits, scale)
            | DataType::Decimal256(digits, scale) => i16::from(*digits) - i16::from(*scale),
            other => return internal_err!("{NAME} before a cast to {other}"),
        };
        let room = usize::try_from(room).unwrap_or(0);
        let fits = |text: Option<&str>| text.is_none_or(|text| text.len() <= room || whole_digits(text) <= room);
        let Some(long) = texts.iter().position(|text| !fits(text)) else { return Ok(Arc::clone(array)) };
        if self.tries {
            let refused: arrow::array::BooleanArray = texts.iter().map(|text| Some(!fits(text))).collect();
            return arrow::compute::nullif(array.as_ref(), &refused).map_err(DataFusionError::from);
        }
        let shown: String = texts.value(long).chars().take(40).collect();
        let more = if texts.value(long).chars().count() > 40 { "…" } else { "" };
        exec_err!("{shown}{more} is beyond {}", type_name(&self.target))
    }
}

/// The digits before the point, without leading zeros.
fn whole_digits(text: &str) -> usize {
    let text = text.trim();
    let text = text.strip_prefix(['-', '+']).unwrap_or(text).trim_start_matches('0');
    text.bytes().take_while(u8::is_ascii_digit).count()
}

impl ScalarUDFImpl for TextGuard {
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
                Ok(ColumnarValue::Scalar(datafusion::common::ScalarValue::try_from_array(array.as_ref(), 0)?))
            }
            others => internal_err!("{NAME} of {} arguments", others.len()),
        }
    }
}
