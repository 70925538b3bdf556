//! The tables of a warehouse that speaks SQL: their columns' types, how they are made, and how they grow.
//!
//! Owns the Arrow → SQL types (`column`), Redshift's physical layout (`physical`), the `CREATE` statements (`create`), the
//! ledger's columns (`ledger`), the star schema as text (`ddl`), the columns that are there (`found`), and what a changed
//! pipeline does to them (`evolve`). Pure: text out, nothing run; what goes into the tables is not its matter. Every
//! identifier is written in double quotes.

mod column;
mod create;
mod cure;
mod ddl;
mod evolve;
mod found;
mod ledger;
mod physical;
#[cfg(test)]
mod samples;

use super::script::SqlTarget;
use super::shape::{SURROGATE_KEY, Shape, Style};

pub(super) use column::column_type;
pub(super) use create::create_schema;
pub use ddl::{DdlFor, ddl};
pub(super) use evolve::changes;
pub(super) use found::{FoundColumn, columns_query};
pub(super) use ledger::{LEDGER, ledger_shape};

/// A name as SQL writes it, whatever word it is.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A table as SQL writes it, with its schema.
pub(super) fn qualified(target: &SqlTarget, table: &str) -> String {
    format!("{}.{}", quoted(&target.schema), quoted(table))
}

/// Names as SQL writes them in a list.
fn list<T: AsRef<str>>(names: &[T]) -> String {
    names.iter().map(|name| quoted(name.as_ref())).collect::<Vec<_>>().join(", ")
}

/// The columns of the primary key; none for a table that only grows. A type 2 dimension has a row a version.
fn primary_key(shape: &Shape) -> Vec<&str> {
    match shape.style {
        Style::Append => Vec::new(),
        Style::Keep => vec![SURROGATE_KEY],
        Style::Newest | Style::Overwrite => shape.key.iter().map(String::as_str).collect(),
    }
}
