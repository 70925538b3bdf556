//! A load as the statements of one transaction, and a warehouse's own words for reading and making tables.
//!
//! Owns the statements' order: the ledger is locked and must stand where the plan begins; all rows come in; dimensions,
//! each with the members that facts infer, facts; the ledger is written. Pure: text out, nothing run, and no statement
//! depends on what an earlier one answered. `BEGIN` and `COMMIT` are the session's. A table's rows after it are what
//! `merge` and `history` make of them; where that cannot be said in SQL, `script::history` tells. Redshift compares strings
//! without their trailing blanks: there two keys that differ in nothing else are one, and such a change is none.

mod history;
mod inferred;
mod names;
mod newest;
mod queries;
mod surrogate;
#[cfg(test)]
mod tests;
mod values;

use std::sync::Arc;

use arrow::datatypes::Field;

use names::{Named, list, quoted};

use super::plan::{Copy, LoadPlan};
use super::shape::Style;
use super::tables::column_type;

pub(in crate::load) use queries::{
    held_query, ledger_query, ledger_table, load_query, receipts_query, rows_query, schema_query,
};

/// Which SQL, and where the tables are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SqlTarget {
    /// Which SQL.
    pub(super) dialect: Dialect,
    /// The schema of all tables.
    pub(super) schema: String,
}

/// Which SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// PostgreSQL 12 and later.
    Postgres,
    /// Redshift, which knows less and other words.
    Redshift,
}

/// A step of a load's transaction.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Statement {
    /// Is run; what it answers is no matter.
    Run(String),
    /// Answers one whole number, which must be this one, or the transaction ends.
    Expect {
        /// The statement.
        sql: String,
        /// The number.
        number: u64,
    },
    /// Brings the rows of staged files in; as many as the journal says, or the transaction ends.
    Copy {
        /// The files.
        copy: Copy,
        /// The table that takes them, as SQL writes it.
        into: String,
    },
}

/// The statements of a load.
pub(super) fn script(target: &SqlTarget, plan: &LoadPlan) -> Vec<Statement> {
    let tables = Named::all(target, plan);
    let mut statements = vec![run(lock(target)), stands_at(target, plan.after)];
    statements.extend(tables.iter().flat_map(bring_in));
    let staged: Vec<&str> = tables.iter().filter(|table| table.load.is_staged()).map(|t| t.staged.as_str()).collect();
    statements.extend(statistics(target.dialect, &staged));
    for table in &tables {
        statements.extend(merge(table));
        statements.extend(inferred::members(table, &tables).map(run));
    }
    statements.push(run(record(target, plan)));
    let temporary: Vec<&str> = tables.iter().flat_map(temporary).collect();
    if !temporary.is_empty() {
        statements.push(run(format!("DROP TABLE {}", temporary.join(", "))));
    }
    statements
}

/// Rows of the staged files by table, as the ledger keeps them.
pub(super) fn copied_text(plan: &LoadPlan) -> String {
    // Names and numbers always have a JSON form.
    serde_json::to_string(&plan.copied()).unwrap_or_default()
}

fn run(sql: String) -> Statement {
    Statement::Run(sql)
}

/// One load at a time; who reads the ledger goes on.
fn lock(target: &SqlTarget) -> String {
    let ledger = ledger_table(target);
    match target.dialect {
        Dialect::Postgres => format!("LOCK TABLE {ledger} IN EXCLUSIVE MODE"),
        Dialect::Redshift => format!("LOCK {ledger}"),
    }
}

fn stands_at(target: &SqlTarget, after: u64) -> Statement {
    let ledger = ledger_table(target);
    let sql = format!("SELECT COALESCE(MAX(\"loaded_through\"), 0) AS \"loaded_through\" FROM {ledger}");
    Statement::Expect { sql, number: after }
}

/// The staged rows of a table into its temp table, or straight into itself.
fn bring_in(table: &Named<'_>) -> Vec<Statement> {
    let copies = |into: &String| {
        let copy = |copy: &Copy| Statement::Copy { copy: copy.clone(), into: into.clone() };
        table.load.copies.iter().map(copy).collect::<Vec<_>>()
    };
    if !table.load.is_staged() {
        return copies(&table.target);
    }
    let fields = table.shape.staged.fields().iter();
    let column = |field: &Arc<Field>| {
        let data_type = column_type(table.dialect, table.shape, field);
        format!("    {} {data_type}", quoted(field.name()))
    };
    let columns = fields.map(column).collect::<Vec<_>>().join(",\n");
    let mut statements = vec![run(format!("CREATE TEMP TABLE {} (\n{columns}\n)", table.staged))];
    statements.extend(copies(&table.staged));
    statements
}

/// What PostgreSQL knows of a temp table it is told, or it guesses and joins row by row; Redshift finds out by itself.
fn statistics(dialect: Dialect, tables: &[&str]) -> Option<Statement> {
    let told = dialect == Dialect::Postgres && !tables.is_empty();
    told.then(|| run(format!("ANALYZE {}", tables.join(", "))))
}

/// The staged rows of a table into it.
fn merge(table: &Named<'_>) -> Vec<Statement> {
    if !table.load.is_staged() {
        return Vec::new();
    }
    match table.shape.style {
        Style::Append => {
            let (target, staged, columns) = (&table.target, &table.staged, list(&table.columns()));
            vec![run(format!("INSERT INTO {target} ({columns})\nSELECT {columns}\nFROM {staged}"))]
        }
        Style::Newest | Style::Overwrite => newest::newest(table),
        Style::Keep => history::history(table),
    }
}

/// The temp tables of a table.
fn temporary<'a>(table: &'a Named<'_>) -> Vec<&'a str> {
    if !table.load.is_staged() {
        return Vec::new();
    }
    match table.shape.style {
        Style::Append => vec![&table.staged],
        Style::Newest | Style::Overwrite => vec![&table.staged, &table.newest],
        Style::Keep => vec![&table.staged, &table.observed],
    }
}

fn record(target: &SqlTarget, plan: &LoadPlan) -> String {
    let ledger = ledger_table(target);
    let text = |value: &str| values::text(target.dialect, value);
    let values = [
        text(&plan.id),
        text(&plan.pipeline),
        plan.after.to_string(),
        plan.through.to_string(),
        text(&plan.attempt),
        text(&copied_text(plan)),
        values::instant(plan.loaded_at),
    ];
    format!("INSERT INTO {ledger} ({})\nVALUES ({})", list(&queries::LEDGER_COLUMNS), values.join(", "))
}
