//! What the statements of a load call things.
//!
//! Owns the names of a table and of the temp tables beside it: `_staged_N`, `_newest_N` and `_observed_N` (no table of a pipeline begins so),
//! where N is the table's place in the load. Columns of the statements' own begin with `_millstream_`. In `UPDATE` and
//! `DELETE` the changed table goes by its bare name, since Redshift gives it no other; in `SELECT` it is `held`.

use arrow::datatypes::Field;

use super::super::plan::{LoadPlan, TableLoad};
use super::super::shape::Shape;
use super::super::tables::qualified;
use super::{Dialect, SqlTarget};

pub(super) use super::super::tables::quoted;

/// The changed table where a `SELECT` reads it.
pub(super) const HELD: &str = "\"held\"";

/// A column of a relation, which is quoted already.
pub(super) fn of(relation: &str, column: &str) -> String {
    format!("{relation}.{}", quoted(column))
}

/// Columns, in a row.
pub(super) fn list(columns: &[&str]) -> String {
    columns.iter().map(|column| quoted(column)).collect::<Vec<_>>().join(", ")
}

/// Columns of a relation, in a row.
pub(super) fn list_of(relation: &str, columns: &[&str]) -> String {
    columns.iter().map(|column| of(relation, column)).collect::<Vec<_>>().join(", ")
}

/// That two relations agree in these columns.
pub(super) fn agree(left: &str, right: &str, columns: &[&str]) -> String {
    let equal = columns.iter().map(|column| format!("{} = {}", of(left, column), of(right, column)));
    equal.collect::<Vec<_>>().join(" AND ")
}

/// A table of a load, by all its names.
pub(super) struct Named<'a> {
    pub(super) dialect: Dialect,
    pub(super) shape: &'a Shape,
    pub(super) load: &'a TableLoad,
    /// With its schema.
    pub(super) target: String,
    /// Without it.
    pub(super) table: String,
    pub(super) staged: String,
    pub(super) newest: String,
    pub(super) observed: String,
}

impl<'a> Named<'a> {
    /// The tables of a load.
    pub(super) fn all(target: &SqlTarget, plan: &'a LoadPlan) -> Vec<Self> {
        let named = |(load, number): (&'a TableLoad, usize)| Self {
            dialect: target.dialect,
            shape: &load.shape,
            load,
            target: qualified(target, &load.shape.name),
            table: quoted(&load.shape.name),
            staged: quoted(&format!("_staged_{number}")),
            newest: quoted(&format!("_newest_{number}")),
            observed: quoted(&format!("_observed_{number}")),
        };
        plan.tables.iter().zip(1..).map(named).collect()
    }

    /// The columns that name a row.
    pub(super) fn key(&self) -> Vec<&'a str> {
        self.shape.key.iter().map(String::as_str).collect()
    }

    /// The columns that staged files hold.
    pub(super) fn staged_columns(&self) -> Vec<&'a str> {
        self.shape.staged.fields().iter().map(|field| field.name().as_str()).collect()
    }

    /// The columns of the table.
    pub(super) fn columns(&self) -> Vec<&'a str> {
        self.shape.table.fields().iter().map(|field| field.name().as_str()).collect()
    }

    /// The key's columns with their types.
    pub(super) fn key_fields(&self) -> Vec<&'a Field> {
        self.shape.key.iter().filter_map(|key| self.shape.staged.field_with_name(key).ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_quotes() {
        assert_eq!(quoted("order"), r#""order""#);
        assert_eq!(quoted(r#"a"; DROP TABLE b; --"#), r#""a""; DROP TABLE b; --""#);
        assert_eq!(agree("\"a\"", HELD, &["x", "y"]), r#""a"."x" = "held"."x" AND "a"."y" = "held"."y""#);
    }
}
