//! A grammar of Redshift that shares no code with ours: sqlfluff's.
//!
//! Owns the question and the sentence of the answer. It knows the words and no meaning: what Redshift refuses beyond its
//! grammar is the stand-in's to refuse.

use crate::python::python_with_input;

/// Fails with the statements that sqlfluff's Redshift grammar does not know. One process parses them all.
///
/// # Panics
/// With each statement that does not parse, and why.
pub(crate) fn parse_redshift(statements: &[String]) {
    let input = serde_json::to_vec(statements).expect("texts as JSON");
    let unknown = python_with_input("parse_redshift", &[], &input);
    let unknown: Vec<_> = unknown
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| format!("{}\n{}", one["reason"], one["statement"]))
        .collect();
    assert!(unknown.is_empty(), "sqlfluff's Redshift grammar does not know:\n{}", unknown.join("\n"));
}

/// As texts of their own.
#[cfg(test)]
fn owned(statements: &[&str]) -> Vec<String> {
    statements.iter().map(|statement| (*statement).to_owned()).collect()
}

#[test]
fn redshifts_own_words_parse() {
    parse_redshift(&owned(&[
        "COPY \"t\" (\"a\", \"b\") FROM 's3://lake/m.json' IAM_ROLE 'arn:aws:iam::123456789012:role/load' FORMAT AS PARQUET \
         SERIALIZETOJSON MANIFEST",
        "CREATE TABLE IF NOT EXISTS \"t\" (\"a\" BIGINT NOT NULL ENCODE az64, \"b\" SUPER, PRIMARY KEY (\"a\")) DISTSTYLE KEY \
         DISTKEY (\"a\") SORTKEY (\"a\")",
        "LOCK \"t\"",
        "UPDATE \"t\" SET \"b\" = s.\"b\" FROM staged s WHERE \"t\".\"a\" = s.\"a\"",
        "BEGIN READ ONLY",
        "COMMIT",
    ]));
}

#[test]
#[should_panic(expected = "does not know:\n")]
fn words_that_redshift_does_not_know_fail() {
    parse_redshift(&owned(&["SELECT 1", "INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING"]));
}
