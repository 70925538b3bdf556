//! How decimals stand in a staged file.
//!
//! Owns the Parquet schema in which every decimal is bytes of a fixed length. It encodes nothing; values are the same
//! in either form.

use std::sync::Arc;

use arrow::datatypes::Schema;
use parquet::arrow::ArrowSchemaConverter;
use parquet::basic::{LogicalType, Type as PhysicalType};
use parquet::errors::ParquetError;
use parquet::schema::types::{SchemaDescriptor, Type, TypePtr};

/// The physical type of decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Decimals {
    /// INT32 to 9 digits, INT64 to 18, bytes beyond, as arrow-rs writes them.
    #[default]
    ByPrecision,
    /// FIXED_LEN_BYTE_ARRAY of the shortest length that holds the precision.
    FixedLength,
}

/// The Parquet schema of these columns with every decimal, nested ones too, as fixed-length bytes.
///
/// # Errors
/// What Parquet says of columns that it cannot hold.
pub(super) fn fixed_length_schema(schema: &Schema) -> Result<SchemaDescriptor, ParquetError> {
    let converted = ArrowSchemaConverter::new().convert(schema)?;
    Ok(SchemaDescriptor::new(fixed_length(&converted.root_schema_ptr())?))
}

fn fixed_length(parquet: &TypePtr) -> Result<TypePtr, ParquetError> {
    match parquet.as_ref() {
        Type::GroupType { basic_info, fields } => {
            let fields = fields.iter().map(fixed_length).collect::<Result<Vec<_>, _>>()?;
            Ok(Arc::new(Type::GroupType { basic_info: basic_info.clone(), fields }))
        }
        Type::PrimitiveType { basic_info, .. } => {
            let logical = basic_info.logical_type_ref();
            let Some(LogicalType::Decimal(decimal)) = logical else { return Ok(Arc::clone(parquet)) };
            let decimal = Type::primitive_type_builder(basic_info.name(), PhysicalType::FIXED_LEN_BYTE_ARRAY)
                .with_repetition(basic_info.repetition())
                .with_id(basic_info.has_id().then(|| basic_info.id()))
                .with_length(bytes_of(decimal.precision))
                .with_logical_type(logical.cloned())
                .with_precision(decimal.precision)
                .with_scale(decimal.scale);
            Ok(Arc::new(decimal.build()?))
        }
    }
}

/// The fewest bytes that hold so many digits and a sign: n where 10^precision <= 2^(8n-1).
fn bytes_of(precision: i32) -> i32 {
    let digits = u32::try_from(precision).unwrap_or(0);
    let beyond = 10_u128.checked_pow(digits).unwrap_or(u128::MAX);
    (1..=16).find(|bytes| beyond <= 1 << (8 * bytes - 1)).unwrap_or(16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_precision_takes_the_bytes_that_the_format_says() {
        let cases =
            [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (9, 4), (10, 5), (18, 8), (19, 9), (20, 9), (28, 12), (38, 16)];
        for (precision, bytes) in cases {
            assert_eq!(bytes_of(precision), bytes, "{precision} digits");
        }
    }
}
