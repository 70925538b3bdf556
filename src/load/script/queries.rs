//! What is asked of a warehouse: its ledger, and its tables.
//!
//! Owns the queries' text. `loaded_at` comes as ms since 1970 UTC, a bigint, so that it reads back exactly.

use super::names::{list, quoted};
use super::{Dialect, SqlTarget, values};
use crate::load::shape::{IS_CURRENT, IS_INFERRED, Shape, Style};
use crate::load::tables::{LEDGER, qualified};

/// The ledger's columns.
pub(super) const LEDGER_COLUMNS: [&str; 7] =
    ["load_id", "pipeline", "loaded_after", "loaded_through", "attempt", "copied", "loaded_at"];

/// The ledger, as SQL writes it.
pub(in crate::load) fn ledger_table(target: &SqlTarget) -> String {
    qualified(target, LEDGER)
}

/// One row, none where the ledger is empty: `loads` (how many there are), then of the newest `load_id`, `pipeline`,
/// `loaded_after`, `loaded_through`, `attempt`, `copied`, `loaded_at`. Numbers are bigint, the rest texts.
pub(in crate::load) fn ledger_query(target: &SqlTarget) -> String {
    let (ledger, columns) = (ledger_table(target), receipt(target));
    format!(
        "SELECT (SELECT count(*) FROM {ledger}) AS \"loads\",\n    {columns}\n\
         FROM {ledger}\nORDER BY \"loaded_through\" DESC\nLIMIT 1"
    )
}

/// The newest loads, newest first, as [`ledger_query`] has them, without `loads`.
pub(in crate::load) fn receipts_query(target: &SqlTarget, limit: u64) -> String {
    let (ledger, columns) = (ledger_table(target), receipt(target));
    let limit = at_most(limit, "\n");
    format!("SELECT {columns}\nFROM {ledger}\nORDER BY \"loaded_through\" DESC{limit}")
}

/// The words of a limit; none for one that no table reaches: Redshift refuses a greater number than this.
fn at_most(limit: u64, space: &str) -> String {
    match i32::try_from(limit) {
        Ok(limit) => format!("{space}LIMIT {limit}"),
        Err(_) => String::new(),
    }
}

fn receipt(target: &SqlTarget) -> String {
    let loaded_at = values::millis(target.dialect, &quoted("loaded_at"));
    let columns = list(&LEDGER_COLUMNS[..6]);
    format!("{columns},\n    {loaded_at} AS \"loaded_at\"")
}

/// One number: how many loads of this id the ledger has, 0 or 1.
pub(in crate::load) fn load_query(target: &SqlTarget, id: &str) -> String {
    let (ledger, id) = (ledger_table(target), values::text(target.dialect, id));
    format!("SELECT count(*) AS \"loads\" FROM {ledger} WHERE \"load_id\" = {id}")
}

/// One row of two bigints, `rows` and `keys`: a table's `Held`.
pub(in crate::load) fn held_query(target: &SqlTarget, shape: &Shape) -> String {
    let table = qualified(target, &shape.name);
    let counted = match shape.style {
        Style::Append => return format!("SELECT count(*) AS \"rows\", count(*) AS \"keys\" FROM {table}"),
        Style::Newest => String::new(),
        Style::Overwrite => format!(" WHERE NOT {}", quoted(IS_INFERRED)),
        Style::Keep => format!(" WHERE NOT {} AND {}", quoted(IS_INFERRED), quoted(IS_CURRENT)),
    };
    let key = list(&shape.key.iter().map(String::as_str).collect::<Vec<_>>());
    format!(
        "SELECT CAST(COALESCE(SUM(\"of_key\"), 0) AS bigint) AS \"rows\", count(*) AS \"keys\"\n\
         FROM (\n    SELECT count(*) AS \"of_key\" FROM {table}{counted} GROUP BY {key}\n) AS \"counted\""
    )
}

/// One number: whether the schema is there, 0 or 1.
pub(in crate::load) fn schema_query(target: &SqlTarget) -> String {
    // Redshift folds names to lower case, quoted ones too.
    let schema = match target.dialect {
        Dialect::Redshift => target.schema.to_lowercase(),
        Dialect::Postgres => target.schema.clone(),
    };
    let schema = values::text(target.dialect, &schema);
    format!("SELECT count(*) AS \"schemas\" FROM pg_namespace WHERE nspname = {schema}")
}

/// The rows of a table with these columns of it (at least one), in no order.
pub(in crate::load) fn rows_query(target: &SqlTarget, table: &str, columns: &[&str], limit: Option<u64>) -> String {
    let table = qualified(target, table);
    let limit = limit.map(|limit| at_most(limit, " ")).unwrap_or_default();
    format!("SELECT {} FROM {table}{limit}", list(columns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_none_that_redshift_refuses() {
        let target = SqlTarget { dialect: Dialect::Redshift, schema: "S".to_owned() };
        for (limit, words) in [(0, Some("LIMIT 0")), (2_147_483_647, Some("LIMIT 2147483647")), (2_147_483_648, None)] {
            for sql in [receipts_query(&target, limit), rows_query(&target, "t", &["a"], Some(limit))] {
                assert_eq!(sql.find("LIMIT").map(|at| &sql[at..]), words, "{sql}");
            }
        }
        assert!(schema_query(&target).ends_with("nspname = 's'"), "Redshift folds it");
    }
}
