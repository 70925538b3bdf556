//! Facts and type 1 dimensions: the newest row of a key wins.
//!
//! Owns their statements: one row of each key into a temp table, which is needed twice; the rows that are there and not
//! newer are overwritten; those whose key is not there are added. A type 1 row that is an inferred member is always
//! overwritten, and keeps its surrogate key. Two rows of one key at one instant and position are the same row.

use super::names::{HELD, Named, agree, list, list_of, of, quoted};
use super::surrogate::{From, surrogate};
use super::{Statement, run, statistics};
use crate::load::shape::{ARRIVED_AT, IS_INFERRED, POSITION, SURROGATE_KEY, Style};

/// The statements of a table whose rows are staged.
pub(super) fn newest(table: &Named<'_>) -> Vec<Statement> {
    let mut statements = vec![run(one_of_each_key(table))];
    statements.extend(statistics(table.dialect, &[&table.newest]));
    statements.extend([run(overwrite(table)), run(add(table))]);
    statements
}

fn one_of_each_key(table: &Named<'_>) -> String {
    let Named { staged, newest, .. } = table;
    let (columns, key) = (list(&table.staged_columns()), list(&table.key()));
    let order = format!("{} DESC, {} DESC", quoted(ARRIVED_AT), quoted(POSITION));
    format!(
        "CREATE TEMP TABLE {newest} AS\n\
         SELECT {columns}\n\
         FROM (\n    \
             SELECT {columns},\n        \
                 ROW_NUMBER() OVER (PARTITION BY {key} ORDER BY {order}) AS \"_millstream_row\"\n    \
             FROM {staged}\n\
         ) AS \"ranked\"\n\
         WHERE \"_millstream_row\" = 1"
    )
}

fn overwrite(table: &Named<'_>) -> String {
    let (target, bare, newest) = (&table.target, &table.table, &table.newest);
    let key = table.key();
    let values = table.staged_columns().into_iter().filter(|column| !key.contains(column));
    let mut set: Vec<String> = values.map(|column| format!("{} = {}", quoted(column), of(newest, column))).collect();
    let mut newer = newer(bare, newest);
    if table.shape.style == Style::Overwrite {
        set.push(format!("{} = FALSE", quoted(IS_INFERRED)));
        newer = format!("({} OR {newer})", of(bare, IS_INFERRED));
    }
    let (set, same) = (set.join(", "), agree(bare, newest, &key));
    format!("UPDATE {target}\nSET {set}\nFROM {newest}\nWHERE {same}\n    AND {newer}")
}

/// That what comes is at least as new as what is there.
fn newer(held: &str, newest: &str) -> String {
    let (comes_at, held_at) = (of(newest, ARRIVED_AT), of(held, ARRIVED_AT));
    let (comes, there) = (of(newest, POSITION), of(held, POSITION));
    format!("({comes_at} > {held_at} OR ({comes_at} = {held_at} AND {comes} >= {there}))")
}

fn add(table: &Named<'_>) -> String {
    let (target, newest) = (&table.target, &table.newest);
    let key = table.key();
    let value = |column: &&str| match *column {
        SURROGATE_KEY => surrogate(table, newest, &From::Beginning),
        IS_INFERRED => "FALSE".to_owned(),
        column => of(newest, column),
    };
    let values = table.columns().iter().map(value).collect::<Vec<_>>().join(", ");
    let (columns, same) = (list(&table.columns()), agree(HELD, newest, &key));
    let absent = list_of(HELD, &key[..1]);
    format!(
        "INSERT INTO {target} ({columns})\n\
         SELECT {values}\n\
         FROM {newest}\n\
         LEFT JOIN {target} AS {HELD} ON {same}\n\
         WHERE {absent} IS NULL"
    )
}
