//! The Data API's answers as Arrow rows.
//!
//! Owns which Arrow type a column gets: the same as over the wire. Pure.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use aws_sdk_redshiftdata::types::{ColumnMetadata, Field as Cell};

use crate::error::{Error, Result};
use crate::load::arrow_bug;
use crate::load::wire::array;

/// The columns of an answer.
pub(super) fn schema(columns: &[ColumnMetadata]) -> SchemaRef {
    let name = |column: &ColumnMetadata| column.label().or(column.name()).unwrap_or_default().to_owned();
    let fields: Vec<Field> = columns.iter().map(|column| Field::new(name(column), data_type(column), true)).collect();
    Arc::new(Schema::new(fields))
}

/// A page of rows.
///
/// # Errors
/// Internal where they have other columns; Invalid where Arrow's type cannot hold a value.
pub(super) fn batch(schema: &SchemaRef, rows: &[Vec<Cell>]) -> Result<RecordBatch> {
    let width = schema.fields().len();
    if rows.iter().any(|row| row.len() != width) {
        return Err(Error::internal("a row of the data api's answer has other columns than the answer"));
    }
    let column = |index: usize| rows.iter().map(|row| text(&row[index])).collect::<Result<StringArray>>();
    let columns = schema.fields().iter().enumerate().map(|(index, field)| array(field, column(index)?));
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).map_err(arrow_bug)
}

/// A value as the wire would write it; none for null.
pub(super) fn text(cell: &Cell) -> Result<Option<String>> {
    Ok(match cell {
        Cell::IsNull(_) => None,
        Cell::StringValue(text) => Some(text.clone()),
        Cell::LongValue(number) => Some(number.to_string()),
        Cell::DoubleValue(number) => Some(number.to_string()),
        Cell::BooleanValue(true) => Some("t".to_owned()),
        Cell::BooleanValue(false) => Some("f".to_owned()),
        _ => return Err(Error::invalid("the data api answers bytes, which are no text; cast them in the query")),
    })
}

fn data_type(column: &ColumnMetadata) -> DataType {
    match column.type_name().unwrap_or_default().to_lowercase().as_str() {
        "bool" | "boolean" => DataType::Boolean,
        "int2" | "smallint" => DataType::Int16,
        "int4" | "integer" => DataType::Int32,
        "int8" | "bigint" => DataType::Int64,
        "float4" | "real" => DataType::Float32,
        "float8" | "double precision" => DataType::Float64,
        "date" => DataType::Date32,
        "timestamp" => DataType::Timestamp(TimeUnit::Microsecond, None),
        "timestamptz" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        "numeric" | "decimal" => decimal(column.precision(), column.scale()).unwrap_or(DataType::Utf8),
        _ => DataType::Utf8,
    }
}

fn decimal(precision: i32, scale: i32) -> Option<DataType> {
    let (precision, scale) = (u8::try_from(precision).ok()?, i8::try_from(scale).ok()?);
    let known = (1..=38).contains(&precision) && (0..=38).contains(&scale) && scale.unsigned_abs() <= precision;
    known.then_some(DataType::Decimal128(precision, scale))
}

#[cfg(test)]
mod tests {
    use arrow::util::pretty::pretty_format_batches;

    use super::*;
    use crate::error::ErrorKind;

    fn column(label: &str, type_name: &str, precision: i32, scale: i32) -> ColumnMetadata {
        ColumnMetadata::builder().label(label).type_name(type_name).precision(precision).scale(scale).build()
    }

    fn string(text: &str) -> Cell {
        Cell::StringValue(text.to_owned())
    }

    #[test]
    fn each_column_gets_the_type_that_the_metadata_tells() {
        let columns = [
            column("ok", "bool", 0, 0),
            column("small", "int2", 5, 0),
            column("count", "int8", 19, 0),
            column("ratio", "float8", 17, 17),
            column("value", "numeric", 10, 2),
            column("sum", "numeric", 0, 0),
            column("day", "date", 13, 0),
            column("at", "timestamptz", 35, 6),
            column("name", "varchar", 64, 0),
            column("lines", "super", 0, 0),
        ];
        let schema = schema(&columns);
        let rows = [
            vec![
                Cell::BooleanValue(true),
                Cell::LongValue(-7),
                Cell::LongValue(i64::MAX),
                Cell::DoubleValue(0.1),
                string("-12.50"),
                string("1.5"),
                string("2026-11-20"),
                string("2026-11-20 12:00:00.25+00"),
                string("ä|b"),
                string("[1]"),
            ],
            vec![Cell::IsNull(true); 10],
        ];
        let batch = batch(&schema, &rows).expect("a batch");
        let types: Vec<String> = schema.fields().iter().map(|field| field.data_type().to_string()).collect();
        assert_eq!(
            types.join(" "),
            "Boolean Int16 Int64 Float64 Decimal128(10, 2) Utf8 Date32 Timestamp(µs, \"UTC\") Utf8 Utf8"
        );
        let shown = pretty_format_batches(&[batch]).expect("a table").to_string();
        let first = shown.lines().nth(3).expect("a row").split('|').map(str::trim).collect::<Vec<_>>().join(",");
        assert_eq!(first, ",true,-7,9223372036854775807,0.1,-12.50,1.5,2026-11-20,2026-11-20T12:00:00.250Z,ä,b,[1],");
        let second: String =
            shown.lines().nth(4).expect("a row").chars().filter(|letter| letter.is_alphanumeric()).collect();
        assert_eq!(second, "");
    }

    #[test]
    fn rows_of_other_columns_and_bytes_are_refused() {
        let schema = schema(&[column("a", "int4", 10, 0)]);
        assert_eq!(batch(&schema, &[vec![]]).expect_err("too few").kind(), ErrorKind::Internal);
        assert_eq!(batch(&schema, &[vec![string("x")]]).expect_err("no number").kind(), ErrorKind::Invalid);
        let bytes = Cell::BlobValue(aws_sdk_redshiftdata::primitives::Blob::new("x"));
        assert_eq!(batch(&schema, &[vec![bytes]]).expect_err("bytes").kind(), ErrorKind::Invalid);
        assert_eq!(batch(&schema, &[]).expect("no rows").num_rows(), 0);
    }
}
