//! Which functions a statement can call, and what the server is asked about them.
//!
//! A name before a bracket may be a function's. So may a name behind a dot: to PostgreSQL `f.leak` is `leak(f)` where `f` has
//! no column of that name, and `f` may be a value of any type: `('/etc'::text).pg_ls_dir`. The server's catalog is asked which
//! of these are volatile, and they are refused but for the few that are known to change nothing. A bare name calls what the
//! search path shows, which a session sets to the pipeline's schema: what lies elsewhere concerns nobody. Pure.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::sql::sqlparser::tokenizer::{Token, Word};

use crate::load::script::{Dialect, SqlTarget};

/// Volatile functions of the server itself that change nothing and reach nothing outside the database: their value alone is
/// not fixed. `bernoulli` and `system` are ways to take a sample.
const HARMLESS: [&str; 50] = [
    "bernoulli",
    "clock_timestamp",
    "current_query",
    "currval",
    "gen_random_uuid",
    "getdate",
    "lastval",
    "pg_blocking_pids",
    "pg_collation_actual_version",
    "pg_control_checkpoint",
    "pg_control_init",
    "pg_control_recovery",
    "pg_control_system",
    "pg_current_wal_flush_lsn",
    "pg_current_wal_insert_lsn",
    "pg_current_wal_lsn",
    "pg_database_collation_actual_version",
    "pg_database_size",
    "pg_get_wal_replay_pause_state",
    "pg_indexes_size",
    "pg_is_in_recovery",
    "pg_is_wal_replay_paused",
    "pg_last_committed_xact",
    "pg_last_copy_count",
    "pg_last_copy_id",
    "pg_last_query_id",
    "pg_last_unload_id",
    "pg_last_wal_receive_lsn",
    "pg_last_wal_replay_lsn",
    "pg_last_xact_replay_timestamp",
    "pg_lock_status",
    "pg_notification_queue_usage",
    "pg_partition_ancestors",
    "pg_partition_tree",
    "pg_prepared_xact",
    "pg_relation_size",
    "pg_safe_snapshot_blocking_pids",
    "pg_sequence_last_value",
    "pg_stat_have_stats",
    "pg_table_size",
    "pg_tablespace_size",
    "pg_total_relation_size",
    "pg_xact_commit_timestamp",
    "pg_xact_status",
    "random",
    "random_normal",
    "sysdate",
    "system",
    "timeofday",
    "txid_status",
];

/// Functions that are not declared volatile and run SQL that they are given as a text.
const RUN_A_TEXT: [&str; 9] = [
    "connectby",
    "crosstab",
    "crosstab2",
    "crosstab3",
    "crosstab4",
    "query_to_xml",
    "query_to_xml_and_xmlschema",
    "query_to_xmlschema",
    "xpath_table",
];

/// The names in a statement that may be functions'.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Functions {
    /// Those before a bracket, by the schema that stands before them. Most are no functions' (`in (…)`, `numeric(10, 2)`).
    called: BTreeMap<Option<String>, BTreeSet<String>>,
    /// Those behind a dot: most are columns'.
    behind_dot: BTreeSet<String>,
}

impl Functions {
    /// Those in these tokens, which hold no blanks.
    pub(super) fn of(words: &[&Token]) -> Self {
        let mut functions = Self::default();
        for (place, token) in words.iter().enumerate() {
            let Token::Word(name) = token else { continue };
            let before = match words[..place] {
                [.., Token::Word(schema), Token::Period] => Some(schema),
                _ => None,
            };
            let is_behind_dot = place > 0 && *words[place - 1] == Token::Period;
            match words.get(place + 1) {
                Some(Token::LParen) => functions.call(before, name),
                _ if is_behind_dot => functions.behind_dot.extend(folded(name)),
                _ => {}
            }
        }
        functions
    }

    fn call(&mut self, schema: Option<&Word>, name: &Word) {
        let schemas = schema.map_or_else(|| vec![None], |schema| folded(schema).map(Some).to_vec());
        for schema in schemas {
            self.called.entry(schema).or_default().extend(folded(name));
        }
    }

    /// One that runs SQL that it is given as a text.
    pub(super) fn runs_a_text(&self) -> Option<&str> {
        let mut names = self.called.values().flatten().chain(&self.behind_dot).map(String::as_str);
        names.find(|name| RUN_A_TEXT.contains(name))
    }

    /// Asks the server which of them are volatile, by schema and name; nothing where there is nothing to ask. One of a
    /// harmless name is so in the server's own schema alone: elsewhere it is whatever somebody has made of it.
    pub(super) fn volatile_query(&self, target: &SqlTarget) -> Option<String> {
        // The server's own schema comes with any path. A schema is written as it is, or folded.
        let schemas = ["pg_catalog", &target.schema, &target.schema.to_lowercase()].map(str::to_owned);
        let mut reached = Vec::new();
        for (schema, names) in &self.called {
            let schemas = schema.as_ref().map_or(&schemas[..], std::slice::from_ref);
            reached.push(format!("p.proname IN ({}) AND n.nspname IN ({})", listed(names), listed(schemas)));
        }
        if !self.behind_dot.is_empty() {
            let (names, schemas, takes_one) = (listed(&self.behind_dot), listed(&schemas), takes_one(target.dialect));
            reached.push(format!("p.proname IN ({names}) AND n.nspname IN ({schemas}) AND {takes_one}"));
        }
        if reached.is_empty() {
            return None;
        }
        Some(format!(
            "SELECT n.nspname, p.proname FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_namespace AS n ON \
             n.oid = p.pronamespace WHERE {} AND ({}) AND NOT (n.nspname = 'pg_catalog' AND p.proname IN ({})) ORDER BY \
             n.nspname, p.proname",
            is_volatile(target.dialect),
            reached.join(" OR "),
            listed(&HARMLESS)
        ))
    }
}

/// An aggregate is never volatile itself: what it is made of may be. Redshift lets nobody make one.
fn is_volatile(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Redshift => "p.provolatile = 'v'",
        Dialect::Postgres => {
            "(p.provolatile = 'v' OR EXISTS (SELECT 1 FROM pg_catalog.pg_aggregate AS a JOIN pg_catalog.pg_proc AS part ON \
             part.oid IN (a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn, a.aggdeserialfn, a.aggmtransfn, \
             a.aggminvtransfn, a.aggmfinalfn) WHERE a.aggfnoid = p.oid AND part.provolatile = 'v'))"
        }
    }
}

/// What stands before the dot is the one argument. Redshift knows no defaults for others.
fn takes_one(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Redshift => "p.pronargs = 1",
        Dialect::Postgres => "p.pronargs > 0 AND p.pronargs - p.pronargdefaults <= 1",
    }
}

/// Texts in SQL.
fn listed<'a, T: AsRef<str> + 'a>(texts: impl IntoIterator<Item = &'a T>) -> String {
    let texts = texts.into_iter().map(|text| format!("'{}'", text.as_ref().replace('\'', "''")));
    texts.collect::<Vec<_>>().join(", ")
}

/// A name as the catalog may have it: some servers fold letters beyond ASCII as well.
fn folded(name: &Word) -> [String; 2] {
    match name.quote_style {
        None => [name.value.to_ascii_lowercase(), name.value.to_lowercase()],
        Some(_) => [name.value.replace("\"\"", "\""), name.value.replace("\"\"", "\"")],
    }
}
