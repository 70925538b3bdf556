//! The statements that make a pipeline's tables.
//!
//! Owns their form: one statement a table, led by a comment that says what the table is. All of them may be run again.
//! PostgreSQL enforces the keys. Redshift does not, but plans by them: they hold, because a load writes no row twice.

use std::sync::Arc;

use arrow::datatypes::Field;

use super::super::script::{Dialect, SqlTarget};
use super::super::shape::{Shape, Style, VALID_FROM};
use super::{LEDGER, column_type, ledger_shape, list, physical, primary_key, qualified, quoted};

/// What makes the schema, the ledger and the tables, each where it is missing.
pub(super) fn create_statements(target: &SqlTarget, shapes: &[Arc<Shape>]) -> Vec<String> {
    let ledger = ledger_shape();
    let tables = std::iter::once(&ledger).chain(shapes).map(|shape| create_table(target, shape));
    std::iter::once(create_schema(target)).chain(tables).collect()
}

/// What makes the schema where it is missing.
pub(in crate::load) fn create_schema(target: &SqlTarget) -> String {
    format!("CREATE SCHEMA IF NOT EXISTS {}", quoted(&target.schema))
}

/// What makes a table where it is missing.
pub(super) fn create_table(target: &SqlTarget, shape: &Shape) -> String {
    let width = shape.table.fields().iter().map(|field| quoted(field.name()).len()).max().unwrap_or(0);
    let columns = shape.table.fields().iter().map(|field| {
        let null = if field.is_nullable() { "" } else { " NOT NULL" };
        format!("    {:width$} {}{null}", quoted(field.name()), stored_as(target, shape, field))
    });
    let lines = columns.chain(constraints(target.dialect, shape)).collect::<Vec<_>>().join(",\n");
    let attributes = match target.dialect {
        Dialect::Postgres => String::new(),
        Dialect::Redshift => format!("\n{}", physical::attributes(shape)),
    };
    let name = qualified(target, &shape.name);
    format!("-- {}\nCREATE TABLE IF NOT EXISTS {name} (\n{lines}\n){attributes}", purpose(shape))
}

/// A column's type, and in Redshift its encoding.
pub(super) fn stored_as(target: &SqlTarget, shape: &Shape, field: &Field) -> String {
    let data_type = column_type(target.dialect, shape, field);
    match target.dialect {
        Dialect::Postgres => data_type,
        Dialect::Redshift => format!("{data_type} ENCODE {}", physical::encoding(shape, field)),
    }
}

/// What a table is, in words.
pub(super) fn purpose(shape: &Shape) -> String {
    let key = shape.key.join(", ");
    match shape.style {
        _ if shape.name == LEDGER => "the ledger: one row a load".to_owned(),
        Style::Append => "fact, without a key: rows are added".to_owned(),
        Style::Newest => format!("fact, the newest row of ({key}) wins"),
        Style::Overwrite => format!("dimension of ({key}), type 1: the newest values"),
        Style::Keep => format!("dimension of ({key}), type 2: each version a row"),
    }
}

fn constraints(dialect: Dialect, shape: &Shape) -> Vec<String> {
    let mut constraints = Vec::new();
    let key = primary_key(shape);
    if !key.is_empty() {
        constraints.push(format!("    PRIMARY KEY ({})", list(&key)));
    }
    // Its index serves the joins on the key; Redshift has none, and would never widen a string that is part of it.
    if shape.style == Style::Keep && dialect == Dialect::Postgres {
        let columns: Vec<&str> = shape.key.iter().map(String::as_str).chain([VALID_FROM]).collect();
        constraints.push(format!("    UNIQUE ({})", list(&columns)));
    }
    constraints
}
