//! How wide a table's columns are, and how Redshift lays the table out: `widths` and `redshift` of `[[table]]`.
//!
//! Owns these keys and the words that may stand in them. Whether the columns exist is clean's to find: it plans the SQL.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::DeValue;

use super::document::Section;
use super::values::{column_fault, one_of, text, texts, whole};
use crate::schema::{Distribution, MAX_STRING_BYTES, TableLayout};

const WIDTHS: &str = "widths = { column = 16 }";
const REDSHIFT: &str = "redshift = { … }";
const ENCODINGS: &str = "encodings = { column = \"zstd\" }";

/// The most columns of a sort key (Redshift, CREATE TABLE).
const MAX_SORT_COLUMNS: usize = 400;

/// Redshift's encodings of columns (CREATE TABLE, ENCODE).
const KNOWN_ENCODINGS: [(&str, &str); 13] = [
    ("raw", "raw"),
    ("az64", "az64"),
    ("bytedict", "bytedict"),
    ("delta", "delta"),
    ("delta32k", "delta32k"),
    ("lzo", "lzo"),
    ("mostly8", "mostly8"),
    ("mostly16", "mostly16"),
    ("mostly32", "mostly32"),
    ("runlength", "runlength"),
    ("text255", "text255"),
    ("text32k", "text32k"),
    ("zstd", "zstd"),
];

/// `widths = { column = 16 }`: the sound ones.
pub(super) fn read_widths(table: &mut Section<'_>) -> BTreeMap<String, u32> {
    let Some(widths) = table.section("widths", WIDTHS) else { return BTreeMap::new() };
    by_column(&widths, "widths", || whole(1..=MAX_STRING_BYTES))
}

/// `redshift = { distribution = …, sort_key = […], encodings = { … } }`: what of it is sound.
pub(super) fn read_layout(table: &mut Section<'_>) -> TableLayout {
    let Some(mut section) = table.section("redshift", REDSHIFT) else { return TableLayout::default() };
    let distribution = section.optional("distribution", distribution).map(Spanned::into_inner);
    let sort_key = section.optional("sort_key", sort_key).map(Spanned::into_inner).unwrap_or_default();
    let encodings = section.section("encodings", ENCODINGS);
    let encodings = encodings.map(|encodings| by_column(&encodings, "encodings", || one_of(&KNOWN_ENCODINGS)));
    section.finish();
    let encodings = encodings.unwrap_or_default().into_iter().map(|(column, encoding)| (column, encoding.to_owned()));
    TableLayout { distribution, sort_key, encodings: encodings.collect() }
}

/// A section's values by the columns that are its keys.
fn by_column<T, R>(section: &Section<'_>, key: &str, reader: impl Fn() -> R) -> BTreeMap<String, T>
where
    R: FnOnce(&DeValue<'_>) -> Result<T, String>,
{
    let mut found = BTreeMap::new();
    for (column, node) in section.entries() {
        if let Some(message) = column_fault(column.get_ref()) {
            section.refuse_at(key, column.span().start, &message);
            continue;
        }
        match reader()(node.get_ref()) {
            Ok(value) => {
                found.insert(column.into_inner(), value);
            }
            Err(message) => section.refuse(column.get_ref(), node, &message),
        }
    }
    found
}

/// `key(column)`, `all`, `even` or `auto`.
fn distribution(value: &DeValue<'_>) -> Result<Distribution, String> {
    let text = text(value)?;
    let column = text.strip_prefix("key(").and_then(|rest| rest.strip_suffix(')'));
    match (text.as_str(), column) {
        ("all", _) => Ok(Distribution::All),
        ("even", _) => Ok(Distribution::Even),
        ("auto", _) => Ok(Distribution::Auto),
        (_, Some(column)) => column_fault(column).map_or_else(|| Ok(Distribution::Key(column.to_owned())), Err),
        _ => Err(format!("expected \"key(column)\" or \"all\" or \"even\" or \"auto\", found {text:?}")),
    }
}

/// Columns, each once, the first sorting first.
fn sort_key(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let columns = texts(value)?;
    if columns.len() > MAX_SORT_COLUMNS {
        return Err(format!("{} columns; a sort key has at most {MAX_SORT_COLUMNS}", columns.len()));
    }
    for (index, column) in columns.iter().enumerate() {
        if columns.iter().take(index).any(|earlier| earlier == column) {
            return Err(format!("{column:?} stands twice"));
        }
        if let Some(message) = column_fault(column) {
            return Err(message);
        }
    }
    Ok(columns)
}
