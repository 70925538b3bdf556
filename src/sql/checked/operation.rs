//! One arithmetic operation as a function: DataFusion's operator, but for failing where the result does not fit.
//!
//! Owns the words of an overflow: the operation with its values, the type, the expression, and what to do.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Datum};
use arrow::compute::kernels::numeric;
use arrow::datatypes::{
    DECIMAL32_MAX_PRECISION, DECIMAL64_MAX_PRECISION, DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType,
    Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, Field, FieldRef,
};
use arrow::error::ArrowError;
use arrow::util::display::array_value_to_string;
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_datafusion_err, internal_err};
use datafusion::logical_expr::type_coercion::binary::BinaryTypeCoercer;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};
use datafusion::physical_expr_common::datum::apply;

use super::integers;

/// An operation that a plan holds in the place of an operator.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Operation {
    operator: Operator,
    /// Whether the operand is negated: taken from zero.
    negates: bool,
    /// The expression as a person reads it.
    text: String,
    signature: Signature,
}

impl Operation {
    /// The operator of the expression that reads so.
    pub(super) fn binary(operator: Operator, text: String) -> Self {
        let signature = Signature::any(2, Volatility::Immutable);
        Self { operator, negates: false, text, signature }
    }

    /// The unary minus of the expression that reads so.
    pub(super) fn negation(text: String) -> Self {
        let signature = Signature::any(1, Volatility::Immutable);
        Self { operator: Operator::Minus, negates: true, text, signature }
    }

    /// The operator of SQL over these operands, which are taken: as it was before it became an operation.
    pub(super) fn as_operator(&self, operands: &mut Vec<Expr>) -> Option<Expr> {
        let right = Box::new(operands.pop()?);
        Some(match operands.pop() {
            Some(left) => Expr::BinaryExpr(BinaryExpr::new(Box::new(left), self.operator, right)),
            None => Expr::Negative(right),
        })
    }

    /// The operation over these operands.
    pub(super) fn call(self, operands: Vec<Expr>) -> Expr {
        ScalarUDF::from(self).call(operands)
    }

    fn result_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [only] if self.negates => Ok(only.clone()),
            [left, right] => BinaryTypeCoercer::new(left, &self.operator, right).get_result_type(),
            _ => internal_err!("{} operands of {}", types.len(), self.operator),
        }
    }

    fn named(&self, operands: &[String]) -> String {
        match operands {
            [only] => format!("(- {only})"),
            operands => operands.join(&format!(" {} ", self.operator)),
        }
    }

    /// The failure's words, where an overflow is what it is: the first row that overflows is looked for.
    fn explained(&self, error: DataFusionError, operands: [&ColumnarValue; 2], rows: usize) -> DataFusionError {
        let DataFusionError::ArrowError(cause, _) = &error else { return error };
        let ArrowError::ArithmeticOverflow(_) = cause.as_ref() else { return error };
        let part = |operand: &ColumnarValue, start: usize, length: usize| match operand {
            ColumnarValue::Array(array) => ColumnarValue::Array(array.slice(start, length)),
            scalar => scalar.clone(),
        };
        let fails = |start: usize, length: usize| {
            let [left, right] = operands.map(|operand| part(operand, start, length));
            apply(&left, &right, |left, right| compute(self.operator, left, right)).is_err()
        };
        let is_scalar = operands.iter().all(|operand| matches!(operand, ColumnarValue::Scalar(_)));
        let (mut row, mut length) = (0, if is_scalar { 1 } else { rows });
        while length > 1 {
            let half = length / 2;
            (row, length) = if fails(row, half) { (row, half) } else { (row + half, length - half) };
        }
        let shown = |operand: &ColumnarValue| -> Result<String> {
            let array = part(operand, row, 1).to_array(1)?;
            Ok(array_value_to_string(array.as_ref(), 0)?)
        };
        let types = operands.map(ColumnarValue::data_type);
        let told = || -> Result<String> {
            let [left, right] = operands;
            let result = self.result_type(if self.negates { &types[1..] } else { &types })?;
            let operation = match self.negates {
                true => format!("-({})", shown(right)?),
                false => format!("{} {} {}", shown(left)?, self.operator, shown(right)?),
            };
            Ok(format!("{operation} is beyond {} in {}{}", type_name(&result), self.text, advice(&result)))
        };
        told().map_or(error, |words| exec_datafusion_err!("{words}"))
    }
}

impl ScalarUDFImpl for Operation {
    fn name(&self) -> &'static str {
        match self.operator {
            _ if self.negates => "checked_negate",
            Operator::Plus => "checked_add",
            Operator::Minus => "checked_subtract",
            Operator::Multiply => "checked_multiply",
            Operator::Divide => "checked_divide",
            Operator::BitwiseShiftLeft => "checked_shift_left",
            _ => "checked_shift_right",
        }
    }

    fn schema_name(&self, operands: &[Expr]) -> Result<String> {
        Ok(self.named(&operands.iter().map(|operand| operand.schema_name().to_string()).collect::<Vec<_>>()))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.result_type(types)
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let types: Vec<DataType> = arguments.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let nullable = arguments.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), self.result_type(&types)?, nullable)))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let zero;
        let [left, right] = match arguments.args.as_slice() {
            [only] => {
                zero = ColumnarValue::Scalar(ScalarValue::new_zero(&only.data_type())?);
                [&zero, only]
            }
            [left, right] => [left, right],
            others => return internal_err!("{} operands of {}", others.len(), self.operator),
        };
        apply(left, right, |left, right| compute(self.operator, left, right))
            .map_err(|error| self.explained(error, [left, right], arguments.number_rows))
    }
}

/// The operation over all rows.
fn compute(operator: Operator, left: &dyn Datum, right: &dyn Datum) -> Result<ArrayRef, ArrowError> {
    if let Some(outcome) = integers::combine(operator, left, right) {
        return outcome;
    }
    let result = match operator {
        Operator::Plus => numeric::add(left, right)?,
        Operator::Minus => numeric::sub(left, right)?,
        Operator::Multiply => numeric::mul(left, right)?,
        Operator::Divide => numeric::div(left, right)?,
        other => return Err(ArrowError::InvalidArgumentError(format!("{other} of other than integers"))),
    };
    let too_long =
        |_| ArrowError::ArithmeticOverflow(format!("{operator} has more digits than {}", result.data_type()));
    within_precision(&result).map_err(too_long)?;
    Ok(result)
}

/// That no decimal of the array has more digits than its type.
pub(super) fn within_precision(array: &ArrayRef) -> Result<(), ArrowError> {
    match array.data_type() {
        DataType::Decimal32(digits, _) => array.as_primitive::<Decimal32Type>().validate_decimal_precision(*digits),
        DataType::Decimal64(digits, _) => array.as_primitive::<Decimal64Type>().validate_decimal_precision(*digits),
        DataType::Decimal128(digits, _) => array.as_primitive::<Decimal128Type>().validate_decimal_precision(*digits),
        DataType::Decimal256(digits, _) => array.as_primitive::<Decimal256Type>().validate_decimal_precision(*digits),
        _ => Ok(()),
    }
}

/// Whether this is a decimal of the most digits, which alone can be too few for an operator's result.
pub(super) fn is_fullest(data_type: &DataType) -> bool {
    match data_type {
        DataType::Decimal32(digits, _) => *digits >= DECIMAL32_MAX_PRECISION,
        DataType::Decimal64(digits, _) => *digits >= DECIMAL64_MAX_PRECISION,
        DataType::Decimal128(digits, _) => *digits >= DECIMAL128_MAX_PRECISION,
        DataType::Decimal256(digits, _) => *digits >= DECIMAL256_MAX_PRECISION,
        _ => false,
    }
}

/// A type as SQL writes it.
pub(super) fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Int8 => "tinyint (8 bits)".to_owned(),
        DataType::Int16 => "smallint (16 bits)".to_owned(),
        DataType::Int32 => "integer (32 bits)".to_owned(),
        DataType::Int64 => "bigint (64 bits)".to_owned(),
        DataType::UInt8 => "unsigned tinyint (8 bits)".to_owned(),
        DataType::UInt16 => "unsigned smallint (16 bits)".to_owned(),
        DataType::UInt32 => "unsigned integer (32 bits)".to_owned(),
        DataType::UInt64 => "unsigned bigint (64 bits)".to_owned(),
        DataType::Decimal32(digits, scale)
        | DataType::Decimal64(digits, scale)
        | DataType::Decimal128(digits, scale)
        | DataType::Decimal256(digits, scale) => format!("decimal({digits},{scale})"),
        other => other.to_string(),
    }
}

/// What to do about a result beyond this type, to follow the sentence.
fn advice(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Int8 | DataType::Int16 | DataType::Int32 => "; cast to bigint first",
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => "; cast to bigint first",
        DataType::Int64 | DataType::UInt64 => "; cast to decimal(20,0) first",
        _ => "; cast to a decimal of fewer digits first",
    }
}
