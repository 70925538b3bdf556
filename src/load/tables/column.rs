//! The types of columns, from Arrow to SQL.
//!
//! Owns the mapping, in which no value changes and none is cut:
//!
//! | Arrow                       | Redshift                    | PostgreSQL                        |
//! |-----------------------------|-----------------------------|-----------------------------------|
//! | Int16, Int32, Int64         | SMALLINT, INTEGER, BIGINT   | smallint, integer, bigint         |
//! | Float32, Float64            | REAL, DOUBLE PRECISION      | real, double precision            |
//! | Decimal128(p, s)            | DECIMAL(p,s)                | numeric(p,s)                      |
//! | Utf8 of at most n bytes     | VARCHAR(n)                  | text: a varchar counts characters |
//! | `_position`                 | VARCHAR(256)                | text COLLATE "C": bytewise order  |
//! | Date32                      | DATE                        | date                              |
//! | Timestamp(µs), with UTC     | TIMESTAMP, TIMESTAMPTZ      | timestamp, timestamptz            |
//! | Boolean                     | BOOLEAN                     | boolean                           |
//! | Binary                      | VARBYTE(1024000)            | bytea                             |
//! | Struct, List                | SUPER                       | jsonb                             |

use arrow::datatypes::{DataType, Field};

use super::super::script::Dialect;
use super::super::shape::{POSITION, Shape};
use crate::schema::MAX_STRING_BYTES;

/// Bytes of `_position` in Redshift. `batch::Position::write_sortable` writes at most 163: three digits, the sequence
/// number's 128, and, each after a point, the sub-sequence's 20 and the index's 10.
const POSITION_BYTES: u32 = 256;

/// The type of a table's column, or of a staged one, as `CREATE TABLE` writes it.
pub(in crate::load) fn column_type(dialect: Dialect, shape: &Shape, field: &Field) -> String {
    match dialect {
        Dialect::Redshift => redshift(shape, field),
        Dialect::Postgres => postgres(field),
    }
}

fn redshift(shape: &Shape, field: &Field) -> String {
    let simple = match field.data_type() {
        DataType::Decimal128(precision, scale) => return format!("DECIMAL({precision},{scale})"),
        DataType::Utf8 => return format!("VARCHAR({})", string_bytes(shape, field.name())),
        DataType::Int16 => "SMALLINT",
        DataType::Int32 => "INTEGER",
        DataType::Int64 => "BIGINT",
        DataType::Float32 => "REAL",
        DataType::Float64 => "DOUBLE PRECISION",
        DataType::Date32 => "DATE",
        DataType::Timestamp(_, None) => "TIMESTAMP",
        DataType::Timestamp(_, Some(_)) => "TIMESTAMPTZ",
        DataType::Boolean => "BOOLEAN",
        DataType::Binary => "VARBYTE(1024000)",
        DataType::Struct(_) | DataType::List(_) => "SUPER",
        // The type is none of a pipeline's: the warehouse refuses it by its name.
        other => return other.to_string(),
    };
    simple.to_owned()
}

fn postgres(field: &Field) -> String {
    let simple = match field.data_type() {
        DataType::Decimal128(precision, scale) => return format!("numeric({precision},{scale})"),
        DataType::Utf8 if field.name() == POSITION => "text COLLATE \"C\"",
        DataType::Utf8 => "text",
        DataType::Int16 => "smallint",
        DataType::Int32 => "integer",
        DataType::Int64 => "bigint",
        DataType::Float32 => "real",
        DataType::Float64 => "double precision",
        DataType::Date32 => "date",
        DataType::Timestamp(_, None) => "timestamp",
        DataType::Timestamp(_, Some(_)) => "timestamptz",
        DataType::Boolean => "boolean",
        DataType::Binary => "bytea",
        DataType::Struct(_) | DataType::List(_) => "jsonb",
        other => return other.to_string(),
    };
    simple.to_owned()
}

/// The bytes that a string column holds in Redshift.
fn string_bytes(shape: &Shape, column: &str) -> u32 {
    if column == POSITION {
        return POSITION_BYTES;
    }
    shape.max_bytes.get(column).copied().unwrap_or(MAX_STRING_BYTES)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use arrow::datatypes::TimeUnit;

    use super::super::super::shape::shapes;
    use super::*;
    use crate::schema::samples::table;
    use crate::schema::{TableKind, TableSpec};

    fn shape() -> Arc<Shape> {
        let max_bytes = BTreeMap::from([("short".to_owned(), 12)]);
        let spec = TableSpec { key: vec![], max_bytes, ..table("t", TableKind::Fact, &[("short", DataType::Utf8)]) };
        shapes(&[spec]).expect("a shape").remove(0)
    }

    #[test]
    fn every_type_of_a_pipeline_has_its_column() {
        let instant = |zone: Option<&str>| DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into));
        let list = DataType::List(Arc::new(Field::new("element", DataType::Int32, true)));
        let cases = [
            ("a", DataType::Int16, "SMALLINT", "smallint"),
            ("a", DataType::Int32, "INTEGER", "integer"),
            ("a", DataType::Int64, "BIGINT", "bigint"),
            ("a", DataType::Float32, "REAL", "real"),
            ("a", DataType::Float64, "DOUBLE PRECISION", "double precision"),
            ("a", DataType::Decimal128(10, 2), "DECIMAL(10,2)", "numeric(10,2)"),
            ("a", DataType::Utf8, "VARCHAR(65535)", "text"),
            ("short", DataType::Utf8, "VARCHAR(12)", "text"),
            ("_position", DataType::Utf8, "VARCHAR(256)", "text COLLATE \"C\""),
            ("a", DataType::Date32, "DATE", "date"),
            ("a", instant(None), "TIMESTAMP", "timestamp"),
            ("a", instant(Some("UTC")), "TIMESTAMPTZ", "timestamptz"),
            ("a", DataType::Boolean, "BOOLEAN", "boolean"),
            ("a", DataType::Binary, "VARBYTE(1024000)", "bytea"),
            ("a", list.clone(), "SUPER", "jsonb"),
            ("a", DataType::Struct(vec![Field::new("b", list, true)].into()), "SUPER", "jsonb"),
        ];
        for (name, data_type, redshift, postgres) in cases {
            let field = Field::new(name, data_type, true);
            assert_eq!(column_type(Dialect::Redshift, &shape(), &field), redshift);
            assert_eq!(column_type(Dialect::Postgres, &shape(), &field), postgres);
        }
    }

    #[test]
    fn the_longest_position_fits_its_column() {
        let sequence = crate::batch::SequenceNumber::parse(&"9".repeat(128)).expect("a number");
        let mut text = String::new();
        crate::batch::Position::new(sequence, u64::MAX).write_sortable(u32::MAX, &mut text);
        assert_eq!(text.len(), 163);
        assert!(text.len() <= POSITION_BYTES as usize);
    }
}
