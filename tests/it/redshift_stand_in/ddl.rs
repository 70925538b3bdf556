//! Tables: types, keys, layout, widths.

use super::{House, refused, rows, run};
use crate::databases::redshift::Options;

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_declared_and_not_enforced() {
    let (_house, client) = House::new(Options::default()).connect_and_keep().await;
    let parent = "CREATE TABLE p (id INTEGER PRIMARY KEY)";
    let child = "CREATE TABLE c (id INTEGER NOT NULL UNIQUE, p INTEGER REFERENCES p (id), x INTEGER, PRIMARY KEY (id, x), \
                 FOREIGN KEY (p) REFERENCES p (id))";
    run(&client, &[parent, child, "INSERT INTO p VALUES (1), (1)", "INSERT INTO c VALUES (1, 7, 1), (1, 7, 1)"]).await;
    refused(
        &client,
        &[("INSERT INTO p VALUES (null)", "23502", "not-null"), ("INSERT INTO c VALUES (1, 1, null)", "23502", "x")],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layout_is_checked() {
    let (_house, client) = House::new(Options::default()).connect_and_keep().await;
    let taken = "CREATE TABLE IF NOT EXISTS \"Facts\" (\"ID\" BIGINT NOT NULL ENCODE az64, name VARCHAR(10) ENCODE zstd, raw SUPER, \
                 amount DECIMAL(10,2) ENCODE az64, at TIMESTAMPTZ ENCODE raw) DISTSTYLE KEY DISTKEY (\"ID\") \
                 COMPOUND SORTKEY (at, \"ID\")";
    run(
        &client,
        &[taken, "ALTER TABLE facts ADD COLUMN more VARCHAR(3) ENCODE lzo", "CREATE TABLE e (a INT DISTKEY SORTKEY)"],
    )
    .await;
    let columns = "SELECT column_name, data_type, character_maximum_length, is_nullable FROM svv_columns \
                   WHERE table_name = 'facts' ORDER BY ordinal_position";
    let expected = [
        "id|bigint|null|NO",
        "name|character varying|10|YES",
        "raw|super|null|YES",
        "amount|numeric|null|YES",
        "at|timestamp with time zone|null|YES",
        "more|character varying|3|YES",
    ];
    assert_eq!(rows(&client, columns).await, expected, "names fold, in quotes too");
    refused(
        &client,
        &[
            ("CREATE TABLE t (a VARCHAR(5) ENCODE az64)", "0A000", "invalid encoding"),
            ("CREATE TABLE t (a INT ENCODE brotli)", "42601", "brotli"),
            ("CREATE TABLE t (a INT) DISTKEY (b)", "42703", "does not exist"),
            ("CREATE TABLE t (a INT) DISTSTYLE KEY", "42601", "requires a DISTKEY"),
            ("CREATE TABLE t (a INT) DISTSTYLE ALL DISTKEY (a)", "42601", "DISTKEY"),
            ("CREATE TABLE t (a INT) DISTSTYLE LOCAL", "42601", "local"),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn widths_count_bytes() {
    let (_house, client) = House::new(Options::default()).connect_and_keep().await;
    run(
        &client,
        &["CREATE TABLE t (s VARCHAR(4), d TEXT)", "CREATE TEMP TABLE u (LIKE t)", "INSERT INTO t VALUES ('éé', 'x')"],
    )
    .await;
    let too_long = "value too long for type character varying";
    let long = format!("INSERT INTO t (d) VALUES ('{}')", "x".repeat(257));
    let name = "n".repeat(128);
    let longest = "n".repeat(64);
    refused(
        &client,
        &[
            ("INSERT INTO t VALUES ('ééx', '')", "22001", too_long),
            ("INSERT INTO u VALUES ('ééx', '')", "22001", too_long),
            (&long, "22001", too_long),
            ("CREATE TABLE v (s VARCHAR(65536))", "22023", "cannot exceed 65535"),
            (&format!("CREATE TABLE {name} (s INT)"), "42622", "longer than 127 bytes"),
            (&format!("CREATE TABLE {longest} (s INT)"), "0A000", "the stand-in cannot"),
        ],
    )
    .await;
    run(
        &client,
        &[
            "CREATE TABLE v (s VARCHAR(MAX))",
            "ALTER TABLE t ALTER COLUMN s TYPE VARCHAR(5)",
            "INSERT INTO t VALUES ('ééx', '')",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn words_of_postgres_are_refused() {
    let (_house, client) = House::new(Options::default()).connect_and_keep().await;
    run(&client, &["CREATE TABLE t (a INT)"]).await;
    refused(
        &client,
        &[
            ("CREATE TABLE v (a SERIAL)", "0A000", "unsupported type"),
            ("CREATE TABLE v (a JSONB)", "0A000", "unsupported type"),
            ("CREATE TABLE v (a INT[])", "0A000", "unsupported type"),
            ("CREATE TABLE v (a UUID)", "0A000", "unsupported type"),
            ("CREATE TABLE v (a BYTEA)", "0A000", "unsupported type"),
            ("CREATE TABLE v (a INT GENERATED ALWAYS AS (1) STORED)", "0A000", "GENERATED"),
            ("CREATE TABLE v (a INT CHECK (a > 0))", "0A000", "CHECK"),
            ("CREATE TEMP TABLE v (a INT) ON COMMIT DROP", "0A000", "ON COMMIT"),
            ("CREATE INDEX i ON t (a)", "0A000", "CREATE INDEX"),
            ("ALTER TABLE t ADD COLUMN b INT, ADD COLUMN c INT", "42601", ","),
            ("ALTER TABLE t ADD COLUMN b INT NOT NULL", "0A000", "non-null default"),
            ("ALTER TABLE t ALTER COLUMN a TYPE BIGINT", "0A000", "not supported"),
            ("ALTER TABLE t ADD COLUMN IF NOT EXISTS b INT", "42601", "syntax"),
            ("CREATE EXTENSION hstore", "0A000", "not supported"),
            ("SET synchronous_commit = off", "42704", "synchronous_commit"),
            ("SET enable_case_sensitive_identifier TO true", "0A000", "the stand-in cannot"),
        ],
    )
    .await;
    run(&client, &["SET query_group TO 'load'", "SET TIME ZONE 'UTC'", "SET statement_timeout TO 60000", "ANALYZE t"])
        .await;
    run(
        &client,
        &[
            "CREATE SCHEMA s",
            "CREATE TABLE s.t (a INT DEFAULT 4)",
            "ALTER TABLE s.t ADD COLUMN b INT NOT NULL DEFAULT 3",
        ],
    )
    .await;
    run(&client, &["INSERT INTO s.t (a) SELECT a FROM t", "DROP TABLE IF EXISTS s.t", "DROP SCHEMA s"]).await;
}
