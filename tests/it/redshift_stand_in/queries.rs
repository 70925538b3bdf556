//! Queries, MERGE, UPDATE and what PostgreSQL alone would take.

use super::{House, refused, rows, run};
use crate::databases::redshift::Options;

const TABLES: &[&str] = &[
    "CREATE TABLE t (k INTEGER, v INTEGER, s VARCHAR(20))",
    "CREATE TABLE n (k INTEGER, v INTEGER, s VARCHAR(20))",
    "INSERT INTO t VALUES (1, 10, 'a'), (2, 20, 'b')",
    "INSERT INTO n VALUES (2, 21, 'c'), (3, 30, 'd')",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_does_not_know_super_asks_in_vain_and_aborts() {
    let (_house, client) = House::new(Options::default()).connect_and_keep().await;
    run(&client, &["BEGIN READ ONLY"]).await;
    let error = client.prepare("SELECT json_parse('{}') AS v").await.expect_err("its type is not known");
    assert_eq!(error.code().map(|code| code.code()), Some("25P02"), "{error}");
    refused(&client, &[("SELECT 1", "25P02", "current transaction is aborted")]).await;
    run(&client, &["ROLLBACK"]).await;
    refused(&client, &[("SELECT * FROM pg_catalog.pg_range", "42P01", "does not exist")]).await;
    assert_eq!(rows(&client, "SELECT json_parse('{}') AS v").await, ["{}"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn merge_has_one_form() {
    let (_house, client) = House::new(Options::default()).connect_and_keep().await;
    run(&client, TABLES).await;
    let tail = "WHEN MATCHED THEN UPDATE SET v = n.v WHEN NOT MATCHED THEN INSERT VALUES (n.k, n.v, n.s)";
    run(&client, &[&format!("MERGE INTO t USING n ON t.k = n.k {tail}")]).await;
    assert_eq!(rows(&client, "SELECT k, v, s FROM t ORDER BY k").await, ["1|10|a", "2|21|b", "3|30|d"]);
    let with = |middle: &str| format!("MERGE INTO {middle} {tail}");
    let and = "MERGE INTO t USING n ON t.k = n.k WHEN MATCHED AND n.v > t.v THEN UPDATE SET v = n.v \
               WHEN NOT MATCHED THEN INSERT VALUES (n.k, n.v, n.s)";
    let half = "MERGE INTO t USING n ON t.k = n.k WHEN MATCHED THEN UPDATE SET v = n.v";
    refused(
        &client,
        &[
            (&with("t AS x USING n ON x.k = n.k"), "42601", "no alias"),
            (&with("t USING (SELECT * FROM n) n ON t.k = n.k"), "0A000", "must be a table"),
            (&with("t USING n ON t.k = n.k AND n.v > 1"), "0A000", "equality"),
            (and, "42601", "AND"),
            (half, "42601", "WHEN NOT MATCHED"),
        ],
    )
    .await;
    run(&client, &["INSERT INTO n VALUES (2, 22, 'e')"]).await;
    refused(&client, &[(&with("t USING n ON t.k = n.k"), "XX000", "multiple matches")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn update_and_delete_join_by_equality_without_alias() {
    let (_house, client) = House::new(Options::default()).connect_and_keep().await;
    run(&client, TABLES).await;
    let equijoin = "Target table must be part of an equijoin predicate";
    refused(
        &client,
        &[
            ("UPDATE t AS x SET v = 1", "42601", "no alias"),
            ("UPDATE t SET t.v = 1", "42601", "may not name its table"),
            ("UPDATE t SET v = n.v FROM n", "XX000", equijoin),
            ("UPDATE t SET v = n.v FROM n LEFT JOIN n AS m ON m.k = n.k WHERE t.k = n.k", "XX000", equijoin),
            ("UPDATE t SET v = 1 RETURNING v", "42601", "RETURNING"),
            ("DELETE FROM t AS x WHERE x.k = 1", "42601", "no alias"),
            ("DELETE FROM t RETURNING k", "42601", "RETURNING"),
            ("INSERT INTO t VALUES (1, 1, '') RETURNING k", "42601", "RETURNING"),
            ("INSERT INTO t VALUES (1, 1, '') ON CONFLICT DO NOTHING", "42601", "ON"),
        ],
    )
    .await;
    run(
        &client,
        &["UPDATE t SET v = n.v FROM n WHERE t.k = n.k AND n.v >= t.v", "DELETE FROM t USING n WHERE t.k = n.k + 1"],
    )
    .await;
    assert_eq!(rows(&client, "SELECT k, v FROM t ORDER BY k").await, ["1|10", "2|21"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_and_functions_are_redshifts() {
    let (_house, client) = House::new(Options::default()).connect_and_keep().await;
    run(&client, TABLES).await;
    let frame = "require a frame clause";
    refused(
        &client,
        &[
            ("SELECT sum(v) OVER (ORDER BY k) FROM t", "0A000", frame),
            ("SELECT last_value(v) OVER (PARTITION BY s ORDER BY k) FROM t", "0A000", frame),
            ("SELECT sum(v) OVER (ORDER BY k RANGE UNBOUNDED PRECEDING) FROM t", "0A000", "ROWS"),
            ("SELECT row_number() OVER (ORDER BY k ROWS UNBOUNDED PRECEDING) FROM t", "0A000", "frame clause"),
            ("SELECT lag(v, 1, 0) OVER (ORDER BY k) FROM t", "0A000", "Default parameter"),
            ("SELECT sum(v) OVER w FROM t WINDOW w AS (PARTITION BY k)", "0A000", "WINDOW"),
            ("SELECT count(*) FILTER (WHERE v > 1) FROM t", "42601", "syntax"),
            ("SELECT string_agg(s, ',') FROM t", "42883", "string_agg does not exist"),
            ("SELECT array_agg(s) FROM t", "42883", "array_agg does not exist"),
            ("SELECT now()", "42883", "now does not exist"),
        ],
    )
    .await;
    let sums = "SELECT sum(v) OVER (ORDER BY k ROWS UNBOUNDED PRECEDING), lag(v) OVER (ORDER BY k), sum(v) OVER () FROM t ORDER BY k";
    assert_eq!(rows(&client, sums).await, ["10|null|30", "30|10|30"]);
    for (expression, value) in [
        ("strtol(substring(md5('x'), 1, 15), 16)", "710810379057940483"),
        ("strtol('-ff', 16)", "-255"),
        ("datediff(microsecond, '2026-01-01'::timestamp, '2026-01-01 00:00:00.000007'::timestamp)", "7"),
        ("datediff(millisecond, '2026-01-01'::timestamp, '2026-01-01 00:00:01.5'::timestamp)", "1500"),
        ("datediff(day, '2026-01-01 23:00'::timestamp, '2026-01-02 01:00'::timestamp)", "1"),
        ("datediff(year, '2025-12-31'::timestamp, '2026-01-01'::timestamp)", "1"),
        ("dateadd(day, 2, '2026-01-30'::timestamp)", "2026-02-01 00:00:00"),
        ("octet_length('é')", "2"),
        ("len('é')", "1"),
        ("json_serialize(json_parse('{\"a\": [1]}'))", "{\"a\": [1]}"),
        ("pg_last_copy_count()", "0"),
        ("getdate() > '2026-01-01'::timestamp", "t"),
        ("date_trunc('day', '2026-01-30 10:00'::timestamp)", "2026-01-30 00:00:00"),
        ("CAST('5.5' AS DECIMAL(10,2))", "5.50"),
    ] {
        assert_eq!(rows(&client, &format!("SELECT {expression}")).await, [value], "{expression}");
    }
    refused(
        &client,
        &[
            ("SELECT strtol('ffffffffffffffff', 16)", "22003", "out of range"),
            ("SELECT strtol('xyz', 16)", "22023", "not valid"),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn words_of_postgres_are_refused() {
    let (_house, client) = House::new(Options::default()).connect_and_keep().await;
    run(&client, TABLES).await;
    refused(
        &client,
        &[
            ("SELECT DISTINCT ON (k) v FROM t", "0A000", "DISTINCT ON"),
            ("SELECT * FROM t WHERE k IS DISTINCT FROM v", "42601", "DISTINCT"),
            ("SELECT * FROM t, LATERAL (SELECT t.k) x", "0A000", "LATERAL"),
            ("SELECT * FROM t ORDER BY s COLLATE \"C\"", "0A000", "COLLATE"),
            ("SELECT ARRAY[1, 2]", "42601", "["),
            ("SELECT k = ANY (SELECT k FROM n) FROM t", "0A000", "ANY"),
            ("SELECT '1'::bit(64)", "0A000", "unsupported type"),
            ("SELECT '{}'::jsonb", "0A000", "unsupported type"),
            ("SELECT json_parse('{\"a\": 1}') ->> 'a'", "42883", "operator does not exist"),
            ("SELECT * FROM generate_series(1, 3)", "0A000", "function"),
            ("SELECT * FROM (VALUES (1), (2)) x", "0A000", "VALUES"),
            ("SELECT * FROM t WHERE (k, v) = (1, 2)", "0A000", "comparing rows"),
            ("SELECT * FROM t FOR UPDATE", "0A000", "FOR UPDATE"),
            ("SELECT k FROM t EXCEPT ALL SELECT k FROM n", "0A000", "EXCEPT ALL"),
            ("SELECT k FROM t FETCH FIRST 1 ROWS ONLY", "0A000", "FETCH FIRST"),
            ("WITH x AS MATERIALIZED (SELECT 1) SELECT * FROM x", "42601", "materialized"),
            ("SELECT 1 FROM t nonsense here", "42601", "syntax"),
            ("UNLOAD ('SELECT 1') TO 's3://lake/x'", "0A000", "the stand-in cannot"),
            ("LOCK t IN SHARE MODE", "42601", "in"),
        ],
    )
    .await;
    let fine = "WITH x AS (SELECT k, row_number() OVER (PARTITION BY k ORDER BY v DESC) AS place FROM (SELECT * FROM t UNION ALL \
                SELECT * FROM n) y) SELECT x.k FROM x LEFT JOIN n ON n.k = x.k WHERE place = 1 AND NOT EXISTS \
                (SELECT 1 FROM n m WHERE m.k = 7) AND x.k IN (1, 2) ORDER BY \"X\".\"K\" NULLS LAST LIMIT 5";
    assert_eq!(rows(&client, fine).await, ["1", "2"]);
    let two = "SELECT 1; SELECT 2";
    assert_eq!(rows(&client, two).await, ["1", "2"]);
}
