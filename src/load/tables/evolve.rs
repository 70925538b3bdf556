//! What makes the tables that are there fit the pipeline, or why nothing does.
//!
//! Owns the comparison, column by column, of what a warehouse's catalog says with what the pipeline yields:
//!
//! | the table                                      | what happens                                                  |
//! |------------------------------------------------|---------------------------------------------------------------|
//! | is missing                                     | it is made                                                    |
//! | lacks a column that may be null                | `ADD COLUMN`: filled from now on, null in older rows          |
//! | has a wider varchar (Redshift)                 | it fits                                                       |
//! | has a narrower varchar (Redshift)              | it is widened, outside a transaction, where Redshift can: not |
//! |                                                | in a key, not with the encodings of [`NEVER_WIDENED`]         |
//! | takes null where the pipeline yields none      | it fits                                                       |
//! | anything else: a type, a width, a column of a  | refused, all differences at once, each with the statement     |
//! | key, NOT NULL, a column of nobody              | that a person would have to run                               |
//!
//! It fits or it is refused as a whole: with one refusal no statement comes back.

use std::sync::Arc;

use arrow::datatypes::Field;

use super::super::script::{Dialect, SqlTarget};
use super::super::shape::Shape;
use super::create::{create_schema, create_table, stored_as};
use super::cure::{There, same_name};
use super::found::FoundColumn;
use super::{column_type, ledger_shape, primary_key, quoted};
use crate::error::{Error, Result};

/// The encodings of which Redshift widens no column (its documentation of ALTER TABLE).
const NEVER_WIDENED: [&str; 4] = ["bytedict", "runlength", "text255", "text32k"];

/// The longest name that PostgreSQL does not cut, in bytes.
const POSTGRES_NAME_BYTES: usize = 63;

/// What makes the tables fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::load) struct Changes {
    /// In their order, each to be run by itself: Redshift widens a column outside a transaction only.
    pub(in crate::load) statements: Vec<String>,
}

/// What makes the schema's tables, of which these columns were found, fit the pipeline; the ledger too.
///
/// # Errors
/// Invalid with every difference that no statement of ours removes, and with names that the warehouse would cut.
pub(in crate::load) fn changes(target: &SqlTarget, shapes: &[Arc<Shape>], found: &[FoundColumn]) -> Result<Changes> {
    names_fit(target, shapes)?;
    let mut statements = Vec::new();
    let mut differences = Vec::new();
    if found.is_empty() {
        statements.push(create_schema(target));
    }
    for shape in std::iter::once(&ledger_shape()).chain(shapes) {
        let is_of_it = |column: &&FoundColumn| same_name(target.dialect, &column.table, &shape.name);
        let there = There { target, shape, found: found.iter().filter(is_of_it).collect() };
        if there.found.is_empty() {
            statements.push(create_table(target, shape));
            continue;
        }
        for verdict in there.verdicts() {
            match verdict {
                Verdict::Changed(statement) => statements.push(statement),
                Verdict::Refused { told, cure } => differences.push(format!("{}: {told}: {cure}", there.name())),
            }
        }
    }
    if differences.is_empty() {
        return Ok(Changes { statements });
    }
    Err(Error::invalid(format!(
        "the tables of the warehouse's schema {} do not fit the pipeline, and nothing was changed: undo the change to the \
         pipeline, or run what stands behind each difference, with no load running, and start again\n  {}",
        target.schema,
        differences.join("\n  ")
    )))
}

/// Whether PostgreSQL takes the names as they are.
///
/// # Errors
/// Invalid with all that it would cut.
pub(super) fn names_fit(target: &SqlTarget, shapes: &[Arc<Shape>]) -> Result<()> {
    if target.dialect == Dialect::Redshift {
        return Ok(());
    }
    let is_long = |name: &str| name.len() > POSTGRES_NAME_BYTES;
    let mut long = Vec::new();
    if is_long(&target.schema) {
        long.push(format!("the schema {}", target.schema));
    }
    for shape in shapes {
        if is_long(&shape.name) {
            long.push(format!("the table {}", shape.name));
        }
        let columns = shape.table.fields().iter().filter(|field| is_long(field.name()));
        long.extend(columns.map(|field| format!("the column {} of {}", field.name(), shape.name)));
    }
    if long.is_empty() {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "PostgreSQL cuts names after {POSTGRES_NAME_BYTES} bytes, and these are longer; give them shorter ones: {}",
        long.join(", ")
    )))
}

/// What is to be said of a column; of one that fits, nothing.
enum Verdict {
    /// A statement makes it fit.
    Changed(String),
    /// Only a person may make it fit.
    Refused {
        /// What is wrong.
        told: String,
        /// What a person would run.
        cure: String,
    },
}

impl There<'_> {
    fn verdicts(&self) -> Vec<Verdict> {
        let fields = self.shape.table.fields().iter();
        let mut verdicts: Vec<Verdict> = fields
            .flat_map(|field| match self.of(field.name()) {
                None => vec![self.missing(field)],
                Some(found) => self.compared(field, found),
            })
            .collect();
        let is_ours = |found: &FoundColumn| {
            let mut names = self.shape.table.fields().iter().map(|field| field.name());
            names.any(|name| same_name(self.target.dialect, &found.column, name))
        };
        let unknown = self.found.iter().filter(|found| !is_ours(found));
        verdicts.extend(unknown.map(|found| Verdict::Refused {
            told: format!("{} is not of the pipeline", found.column),
            cure: self.drop(&found.column),
        }));
        verdicts
    }

    fn missing(&self, field: &Field) -> Verdict {
        let stored = stored_as(self.target, self.shape, field);
        if field.is_nullable() {
            // Of two workers that start at once both may add it.
            let once = match self.target.dialect {
                Dialect::Postgres => "IF NOT EXISTS ",
                Dialect::Redshift => "",
            };
            let column = quoted(field.name());
            return Verdict::Changed(format!("ALTER TABLE {} ADD COLUMN {once}{column} {stored}", self.name()));
        }
        let (schema, before) = (quoted(&self.target.schema), quoted(&format!("{}_before", self.target.schema)));
        Verdict::Refused {
            told: format!(
                "{} {stored} NOT NULL is missing, and nothing tells its values in the rows that are there; with the whole \
                 schema out of the way the next run loads everything anew from the staged files",
                field.name()
            ),
            cure: format!("ALTER SCHEMA {schema} RENAME TO {before}"),
        }
    }

    fn compared(&self, field: &Field, found: &FoundColumn) -> Vec<Verdict> {
        let dialect = self.target.dialect;
        let wanted = column_type(dialect, self.shape, field);
        let spelled = found.spelled(dialect);
        let null = (!found.nullable && field.is_nullable()).then(|| Verdict::Refused {
            told: format!("{} is NOT NULL, and the pipeline may leave it null", field.name()),
            cure: self.allow_null(field),
        });
        if is_at_home(&wanted, &spelled) {
            return null.into_iter().collect();
        }
        let told = format!("{} is {spelled} and must be {wanted}", field.name());
        if let (Some(bytes), Some(needed)) = (varchar_bytes(&spelled), varchar_bytes(&wanted)) {
            let widened = (bytes < needed).then(|| self.widened(field, told));
            return widened.into_iter().chain(null).collect();
        }
        let retyped = Verdict::Refused { told, cure: self.retype(field) };
        // In Redshift the new column takes null anyway.
        let null = null.filter(|_| dialect == Dialect::Postgres);
        std::iter::once(retyped).chain(null).collect()
    }

    fn widened(&self, field: &Field, told: String) -> Verdict {
        if primary_key(self.shape).contains(&field.name().as_str()) {
            let told = format!("{told}, and Redshift widens no column of a primary key");
            return Verdict::Refused { told, cure: self.widen_key(field) };
        }
        let encoding = self.shape.layout.encodings.get(field.name()).map(|encoding| encoding.to_lowercase());
        match encoding.filter(|encoding| NEVER_WIDENED.contains(&encoding.as_str())) {
            Some(encoding) => Verdict::Refused {
                told: format!("{told}, and Redshift widens no column of the encoding {encoding}"),
                cure: self.widen_encoded(field),
            },
            None => Verdict::Changed(self.widen(field)),
        }
    }
}

/// Whether a column of this type holds the values as one of the wanted type does.
fn is_at_home(wanted: &str, found: &str) -> bool {
    // The order of `_position` must be that of its bytes; of any other text it is no matter.
    wanted == found || (wanted == "text" && found.starts_with("text COLLATE"))
}

/// The bytes of a VARCHAR as Redshift spells it; none for another type.
fn varchar_bytes(spelled: &str) -> Option<i64> {
    spelled.strip_prefix("VARCHAR(")?.strip_suffix(')')?.parse().ok()
}

#[cfg(test)]
mod tests;
