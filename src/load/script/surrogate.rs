//! Surrogate keys, worked out by the warehouse.
//!
//! Owns the expression: netstrings of the table's name, the key's values and `valid_from`, their MD5, its first 63 bits.
//! `load::surrogate` is the definition, text by text; PostgreSQL's database is in UTF-8, as Redshift's always is.

use arrow::datatypes::DataType;

use super::Dialect;
use super::names::{Named, of};
use super::values;
use crate::load::history;

/// From when the row holds.
pub(super) enum From<'a> {
    /// A first version, an inferred member, a row of a type 1 dimension.
    Beginning,
    /// An expression that gives the µs since 1970 UTC as a text.
    Text(&'a str),
}

/// The text of [`history::BEGINNING`] in a key.
pub(super) fn beginning() -> String {
    history::BEGINNING.to_string()
}

/// The surrogate key of a row of this relation, which has the table's key columns.
pub(super) fn surrogate(table: &Named<'_>, relation: &str, from: &From<'_>) -> String {
    let name = &table.shape.name;
    let first = values::text(table.dialect, &format!("{}:{name},", name.len()));
    let keys = table.key_fields();
    let keys = keys.iter().map(|field| as_text(table.dialect, &of(relation, field.name()), field.data_type()));
    let mut parts: Vec<String> = keys.map(|text| netstring(&text)).collect();
    let last = match from {
        From::Beginning => format!("',{}:{},'", beginning().len(), beginning()),
        From::Text(text) => {
            parts.push(netstring(text));
            "','".to_owned()
        }
    };
    let parts = parts.join(" || ',' || ");
    first_63_bits(table.dialect, &format!("md5({first} || {parts} || {last})"))
}

/// The length in bytes and the text; the comma after it is its caller's.
fn netstring(text: &str) -> String {
    format!("CAST(octet_length({text}) AS varchar) || ':' || {text}")
}

/// A key's value as a text that both databases and Arrow write alike.
fn as_text(dialect: Dialect, column: &str, data_type: &DataType) -> String {
    match data_type {
        DataType::Utf8 => column.to_owned(),
        DataType::Date32 => format!("to_char({column}, 'YYYY-MM-DD')"),
        DataType::Boolean => format!("CASE WHEN {column} THEN 'true' ELSE 'false' END"),
        DataType::Timestamp(_, zone) => instant_text(dialect, column, zone.is_some()),
        _ => format!("CAST({column} AS varchar)"),
    }
}

/// An instant as a key has it: the µs since 1970.
pub(super) fn instant_text(dialect: Dialect, expression: &str, zone: bool) -> String {
    format!("CAST({} AS varchar)", values::micros(dialect, expression, zone))
}

/// The first 8 bytes of 32 hexadecimal digits, big-endian, without the top bit.
fn first_63_bits(dialect: Dialect, digest: &str) -> String {
    match dialect {
        Dialect::Postgres => {
            format!("CAST(CAST('x' || substr({digest}, 1, 16) AS bit(64)) AS bigint) & 9223372036854775807")
        }
        Dialect::Redshift => format!(
            "STRTOL(SUBSTRING({digest}, 1, 8), 16) % 2147483648 * 4294967296 + STRTOL(SUBSTRING({digest}, 9, 8), 16)"
        ),
    }
}
