//! Type 2 dimensions: each version a row.
//!
//! Owns their statements: what is known of each key that comes (the staged rows, and what the stored versions tell of
//! earlier ones: when each was opened, and when it was seen last) goes into a temp table, one row an instant; the
//! versions of these keys are deleted, and made anew from the runs of equal rows.
//!
//! `load::history` is the definition. It folds rows one by one, in the journal's order, and forgets what lies between
//! the first and the newest row of a run; a load sees its own rows at once, in time's order. So the two may differ where
//! more than two rows agree and a late one falls between them, and where a confirmation opens a version or shares its
//! instant with a row: one of the same load still has its `_position`.

use arrow::datatypes::{DataType, Field};

use super::names::{HELD, Named, agree, list, list_of, of, quoted};
use super::surrogate::{From, beginning, instant_text, surrogate};
use super::values::BEGINNING;
use super::{Dialect, Statement, run, statistics};
use crate::load::shape::{
    ARRIVED_AT, CONFIRMED_AT, IS_CURRENT, IS_INFERRED, POSITION, SURROGATE_KEY, VALID_FROM, VALID_TO,
};

/// The statements of a table whose rows are staged.
pub(super) fn history(table: &Named<'_>) -> Vec<Statement> {
    let mut statements = vec![run(observe(table))];
    statements.extend(statistics(table.dialect, &[&table.observed]));
    statements.extend([run(forget(table)), run(rebuild(table))]);
    statements
}

/// What is known of the keys that come: one row an instant, the one with the greatest position.
fn observe(table: &Named<'_>) -> String {
    let (observed, staged, target) = (&table.observed, &table.staged, &table.target);
    let keys = table.key();
    let (key, columns) = (list(&keys), list(&table.staged_columns()));
    let row = list(&row_columns(table));
    let held = list_of(HELD, &row_columns(table));
    let stored =
        format!("FROM {target} AS {HELD}\n    INNER JOIN \"touched\" ON {}", agree(HELD, "\"touched\"", &keys));
    let known = format!("NOT {}", of(HELD, IS_INFERRED));
    let (arrived_at, position) = (quoted(ARRIVED_AT), quoted(POSITION));
    let (opened, opener) = (of(HELD, ARRIVED_AT), of(HELD, POSITION));
    let confirmed = of(HELD, CONFIRMED_AT);
    format!(
        "CREATE TEMP TABLE {observed} AS\n\
         WITH \"touched\" AS (\n    SELECT DISTINCT {key} FROM {staged}\n),\n\
         \"seen\" AS (\n    \
             SELECT {row}, GREATEST({arrived_at}, {BEGINNING}) AS {arrived_at}, {position}, 1 AS \"_millstream_new\"\n    \
             FROM {staged}\n    \
             UNION ALL\n    \
             SELECT {held}, {opened}, {opener}, 0\n    {stored}\n    WHERE {known}\n    \
             UNION ALL\n    \
             SELECT {held}, {confirmed}, '', 0\n    {stored}\n    WHERE {known} AND {confirmed} > {opened}\n\
         )\n\
         SELECT {columns}\n\
         FROM (\n    \
             SELECT {columns},\n        \
                 ROW_NUMBER() OVER (\n            \
                     PARTITION BY {key}, {arrived_at} ORDER BY {position} DESC, \"_millstream_new\" DESC\n        \
                 ) AS \"_millstream_row\"\n    \
             FROM \"seen\"\n\
         ) AS \"ranked\"\n\
         WHERE \"_millstream_row\" = 1"
    )
}

fn forget(table: &Named<'_>) -> String {
    let (target, observed) = (&table.target, &table.observed);
    format!("DELETE FROM {target}\nUSING {observed}\nWHERE {}", agree(&table.table, observed, &table.key()))
}

/// The versions of the keys that come: a run of equal rows is one.
fn rebuild(table: &Named<'_>) -> String {
    let (target, observed) = (&table.target, &table.observed);
    let (columns, row) = (list(&table.columns()), list(&row_columns(table)));
    let (arrived_at, position) = (quoted(ARRIVED_AT), quoted(POSITION));
    let (valid_from, valid_to, confirmed_at) = (quoted(VALID_FROM), quoted(VALID_TO), quoted(CONFIRMED_AT));
    let each = format!("PARTITION BY {}", list(&table.key()));
    let in_time = format!("{each} ORDER BY {arrived_at}");
    let before = before(table, &in_time);
    let changed = changed(table);
    let (first, opened) = (beginning(), instant_text(table.dialect, &arrived_at, true));
    let values = versions(table);
    format!(
        "INSERT INTO {target} ({columns})\n\
         WITH \"neighbours\" AS (\n    \
             SELECT {row}, {arrived_at}, {position},\n        \
                 MAX({arrived_at}) OVER ({each}) AS \"_millstream_last\",\n        \
                 {before}\n    \
             FROM {observed}\n\
         ),\n\
         \"openings\" AS (\n    \
             SELECT {row}, {arrived_at}, {position}, \"_millstream_last\", \"_millstream_before\"\n    \
             FROM \"neighbours\"\n    \
             WHERE {changed}\n\
         ),\n\
         \"versions\" AS (\n    \
             SELECT {row}, {arrived_at}, {position},\n        \
                 CASE WHEN \"_millstream_before\" IS NULL THEN {BEGINNING} ELSE {arrived_at} END AS {valid_from},\n        \
                 CASE WHEN \"_millstream_before\" IS NULL THEN '{first}' ELSE {opened} END AS \"_millstream_from\",\n        \
                 LEAD({arrived_at}) OVER ({in_time}) AS {valid_to},\n        \
                 COALESCE(LEAD(\"_millstream_before\") OVER ({in_time}), \"_millstream_last\") AS {confirmed_at}\n    \
             FROM \"openings\"\n\
         )\n\
         SELECT {values}\n\
         FROM \"versions\""
    )
}

/// When the row before was seen, and each attribute of it.
fn before(table: &Named<'_>, in_time: &str) -> String {
    let instant = format!("LAG({}) OVER ({in_time}) AS \"_millstream_before\"", quoted(ARRIVED_AT));
    let attributes = attributes(table);
    let attribute = |(field, number): (&&Field, usize)| {
        format!("LAG({}) OVER ({in_time}) AS \"_millstream_{number}\"", compared(table.dialect, field))
    };
    let attributes = attributes.iter().zip(1..).map(attribute);
    std::iter::once(instant).chain(attributes).collect::<Vec<_>>().join(",\n        ")
}

/// That a row is its key's first, or differs from the one before. Null equals null.
fn changed(table: &Named<'_>) -> String {
    let attributes = attributes(table);
    let differs = |(field, number): (&&Field, usize)| {
        let (now, before) = (compared(table.dialect, field), format!("\"_millstream_{number}\""));
        format!("NOT COALESCE({now} = {before}, {now} IS NULL AND {before} IS NULL)")
    };
    let differences = attributes.iter().zip(1..).map(differs);
    let first = "\"_millstream_before\" IS NULL".to_owned();
    std::iter::once(first).chain(differences).collect::<Vec<_>>().join("\n        OR ")
}

/// The columns of the table out of `versions`.
fn versions(table: &Named<'_>) -> String {
    let value = |column: &&str| match *column {
        SURROGATE_KEY => surrogate(table, "\"versions\"", &From::Text("\"_millstream_from\"")),
        IS_INFERRED => "FALSE".to_owned(),
        IS_CURRENT => format!("{} IS NULL", quoted(VALID_TO)),
        column => quoted(column),
    };
    table.columns().iter().map(value).collect::<Vec<_>>().join(", ")
}

/// The declared columns.
fn row_columns<'a>(table: &Named<'a>) -> Vec<&'a str> {
    let columns = table.staged_columns().into_iter();
    columns.filter(|column| ![ARRIVED_AT, POSITION].contains(column)).collect()
}

fn attributes<'a>(table: &Named<'a>) -> Vec<&'a Field> {
    let names = table.shape.attributes();
    table
        .shape
        .staged
        .fields()
        .iter()
        .map(AsRef::as_ref)
        .filter(|field| names.contains(&field.name().as_str()))
        .collect()
}

/// What tells whether two values are equal: of nested ones their text, which Redshift refuses to write where it is longer
/// than 65,535 bytes.
fn compared(dialect: Dialect, field: &Field) -> String {
    let column = quoted(field.name());
    match (field.data_type(), dialect) {
        (DataType::Struct(_) | DataType::List(_), Dialect::Postgres) => format!("CAST({column} AS text)"),
        (DataType::Struct(_) | DataType::List(_), Dialect::Redshift) => format!("JSON_SERIALIZE({column})"),
        _ => column,
    }
}
