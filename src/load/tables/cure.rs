//! What a person would have to run where a table does not fit: the statements, one line each difference.
//!
//! Owns their texts. None of them is ever run by a load: they rewrite or drop what somebody may need. Redshift changes
//! no type in place, and drops no column that rows are sorted or spread by, or that is part of a key.

use arrow::datatypes::{DataType, Field};

use super::super::script::{Dialect, SqlTarget};
use super::super::shape::Shape;
use super::create::{create_table, stored_as};
use super::found::FoundColumn;
use super::{column_type, list, physical, primary_key, qualified, quoted};

/// A table that is there.
pub(super) struct There<'a> {
    pub(super) target: &'a SqlTarget,
    pub(super) shape: &'a Shape,
    /// Its columns.
    pub(super) found: Vec<&'a FoundColumn>,
}

impl There<'_> {
    /// The table as SQL writes it.
    pub(super) fn name(&self) -> String {
        qualified(self.target, &self.shape.name)
    }

    /// Gives a column the type that the pipeline has, and lets it be null where the pipeline may leave it so.
    pub(super) fn retype(&self, field: &Field) -> String {
        match self.target.dialect {
            Dialect::Postgres => format!(
                "ALTER TABLE {} ALTER COLUMN {} TYPE {} USING {}",
                self.name(),
                quoted(field.name()),
                column_type(Dialect::Postgres, self.shape, field),
                self.converted(field)
            ),
            Dialect::Redshift if self.is_bound(field.name()) => self.rebuild(),
            Dialect::Redshift => self.swap(field),
        }
    }

    /// Lets a column be null.
    pub(super) fn allow_null(&self, field: &Field) -> String {
        match self.target.dialect {
            Dialect::Postgres => {
                format!("ALTER TABLE {} ALTER COLUMN {} DROP NOT NULL", self.name(), quoted(field.name()))
            }
            Dialect::Redshift if self.is_bound(field.name()) => self.rebuild(),
            Dialect::Redshift => self.swap(field),
        }
    }

    /// Removes a column.
    pub(super) fn drop(&self, column: &str) -> String {
        format!("ALTER TABLE {} DROP COLUMN {}", self.name(), quoted(column))
    }

    /// Widens a string in Redshift, which does so outside a transaction only.
    pub(super) fn widen(&self, field: &Field) -> String {
        let wanted = column_type(Dialect::Redshift, self.shape, field);
        format!("ALTER TABLE {} ALTER COLUMN {} TYPE {wanted}", self.name(), quoted(field.name()))
    }

    /// Widens a string that is part of the primary key, which Redshift must be without for that.
    pub(super) fn widen_key(&self, field: &Field) -> String {
        let (name, key) = (self.name(), list(&primary_key(self.shape)));
        let constraint = quoted(&format!("{}_pkey", self.shape.name));
        let widen = self.widen(field);
        format!("ALTER TABLE {name} DROP CONSTRAINT {constraint}; {widen}; ALTER TABLE {name} ADD PRIMARY KEY ({key})")
    }

    /// Widens a string whose encoding Redshift does not widen.
    pub(super) fn widen_encoded(&self, field: &Field) -> String {
        let column = quoted(field.name());
        format!("ALTER TABLE {} ALTER COLUMN {column} ENCODE zstd; {}", self.name(), self.widen(field))
    }

    /// Whether Redshift drops the column only with its table.
    fn is_bound(&self, column: &str) -> bool {
        primary_key(self.shape).contains(&column) || physical::carries(self.shape, column)
    }

    /// A new column takes the old one's values and then its name.
    fn swap(&self, field: &Field) -> String {
        let (table, old) = (self.name(), quoted(field.name()));
        let new = quoted(&format!("{}_new", field.name()));
        format!(
            "ALTER TABLE {table} ADD COLUMN {new} {}; UPDATE {table} SET {new} = {}; ALTER TABLE {table} DROP COLUMN \
             {old}; ALTER TABLE {table} RENAME COLUMN {new} TO {old}",
            stored_as(self.target, self.shape, field),
            self.converted(field)
        )
    }

    /// A new table takes the rows of the old one.
    fn rebuild(&self) -> String {
        let before = format!("{}_before", self.shape.name);
        let made = create_table(self.target, self.shape);
        // Without the comment, on one line.
        let made = made.lines().skip(1).map(str::trim).collect::<Vec<_>>().join(" ");
        let held = |field: &&std::sync::Arc<Field>| self.of(field.name()).is_some();
        let fields: Vec<_> = self.shape.table.fields().iter().filter(held).collect();
        let names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
        let values: Vec<String> = fields.iter().map(|field| self.converted(field)).collect();
        format!(
            "ALTER TABLE {table} RENAME TO {}; {made}; INSERT INTO {table} ({}) SELECT {} FROM {old}; DROP TABLE {old}",
            quoted(&before),
            list(&names),
            values.join(", "),
            table = self.name(),
            old = qualified(self.target, &before),
        )
    }

    /// The column of this name.
    pub(super) fn of(&self, name: &str) -> Option<&FoundColumn> {
        self.found.iter().copied().find(|found| same_name(self.target.dialect, &found.column, name))
    }

    /// A column's value in the type that the pipeline has.
    fn converted(&self, field: &Field) -> String {
        let (column, dialect) = (quoted(field.name()), self.target.dialect);
        let wanted = column_type(dialect, self.shape, field);
        let found = self.of(field.name()).map(|found| found.spelled(dialect));
        if found.as_ref() == Some(&wanted) {
            return column;
        }
        let is_text = found.is_some_and(|found| found.starts_with("VARCHAR("));
        match field.data_type() {
            DataType::Struct(_) | DataType::List(_) if is_text => format!("JSON_PARSE({column})"),
            // A collation is no part of a type that a value is converted to.
            _ => format!("CAST({column} AS {})", wanted.split(" COLLATE").next().unwrap_or_default()),
        }
    }
}

/// Whether the warehouse takes two names for one: Redshift folds them to lower case.
pub(super) fn same_name(dialect: Dialect, found: &str, ours: &str) -> bool {
    match dialect {
        Dialect::Redshift => found.eq_ignore_ascii_case(ours),
        Dialect::Postgres => found == ours,
    }
}
