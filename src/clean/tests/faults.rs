//! What a wrong pipeline gets: every fault, with its place and its words.

use super::*;

/// Each fault as `file:line:column: message`.
async fn faults(checks: Vec<Check>, tables: Vec<Table>) -> Vec<String> {
    let faults = Cleaner::plan(&pipeline(checks, tables), SETTINGS).await.expect_err("faults");
    let told =
        |fault: &PlanFault| format!("{}:{}:{}: {}", fault.file.display(), fault.line, fault.column, fault.message);
    faults.iter().map(told).collect()
}

async fn of_sql(key: &[&str], sql: &str) -> Vec<String> {
    faults(Vec::new(), vec![table("t", key, sql)]).await
}

#[tokio::test]
async fn sql_that_is_not_one_select_over_events_is_refused_with_its_place() {
    let cases: &[(&str, &[&str])] = &[
        ("", &["t.sql:1:1: the file holds no statement; a table's SQL is one SELECT over events"]),
        ("-- only a comment\n", &["t.sql:1:1: the file holds no statement; a table's SQL is one SELECT over events"]),
        (
            "SELECT id FROM events;\nSELECT name FROM events",
            &["t.sql:2:1: the file holds 2 statements; a table's SQL is one SELECT over events"],
        ),
        ("DROP TABLE events", &["t.sql:1:1: this is no SELECT; a table's SQL is one SELECT over events"]),
        ("DELETE FROM events", &["t.sql:1:1: this is no SELECT; a table's SQL is one SELECT over events"]),
        ("INSERT INTO events SELECT id FROM events", &["this is no SELECT"]),
        ("COPY events TO 'x'", &["t.sql:1:1: this is no SELECT"]),
        ("CREATE EXTERNAL TABLE x STORED AS CSV LOCATION 'x'", &["t.sql:1:1: this is no SELECT"]),
        ("SELECT id,\n  FROM WHERE", &["t.sql:2:8: "]),
        ("SELECT 1 AS id", &["t.sql:1:1: the SQL reads nothing; it must select FROM events"]),
        (
            "SELECT id\nFROM orders",
            &["t.sql:2:6: \"orders\" is not here to be read; a table's SQL reads events and nothing else"],
        ),
        ("SELECT e.id FROM events e JOIN event v ON v.id = e.id", &["t.sql:1:32: \"event\" is not here to be read"]),
        ("SELECT table_name AS id FROM information_schema.tables", &["\"information_schema.tables\" is not here"]),
        ("SELECT value AS id FROM generate_series(1, 3)", &["\"generate_series\" is not here"]),
        (
            "WITH RECURSIVE r AS (SELECT id FROM events UNION ALL SELECT id + 1 FROM r WHERE id < 3) \
             SELECT id FROM events WHERE id IN (SELECT id FROM r)",
            &["WITH RECURSIVE is not allowed"],
        ),
    ];
    for (sql, expected) in cases {
        let told = of_sql(&["id"], sql).await;
        assert_eq!(told.len(), expected.len(), "{sql}: {told:?}");
        for (fault, words) in told.iter().zip(*expected) {
            assert!(fault.contains(words), "{sql}: {fault}");
        }
    }
}

#[tokio::test]
async fn an_unknown_column_is_named_with_its_place_and_its_neighbours() {
    let told = of_sql(&["id"], "SELECT id,\n       amuont\nFROM events").await;
    let known = "known are id, name, amount, tags, _shard, _sequence, _subsequence, _index, _arrived_at, _position";
    assert_eq!(told, [format!("t.sql:2:8: there is no column \"amuont\"; did you mean \"amount\"? {known}")]);
    let told = of_sql(&["id"], "SELECT id FROM events WHERE colour = 'red'").await;
    assert_eq!(told, [format!("t.sql:1:29: there is no column \"colour\"; {known}")]);
    let told = of_sql(&["id"], "SELECT id, lower(nome) AS name FROM events").await;
    assert!(told[0].starts_with("t.sql:1:18: there is no column \"nome\"; did you mean \"name\"?"), "{told:?}");
    let told = of_sql(&["id"], "SELECT id, lowr(name) AS name FROM events").await;
    assert!(told[0].starts_with("t.sql:1:12: invalid function 'lowr'"), "{told:?}");
}

#[tokio::test]
async fn what_the_sql_must_yield_is_asked_for() {
    let cases: &[(&[&str], &str, &str)] = &[
        (
            &["order_id"],
            "SELECT id, name FROM events",
            "pipeline.toml:40:1: key column \"order_id\" is not yielded by t.sql; it yields id, name",
        ),
        (
            &["id"],
            "SELECT id, amount * 2 FROM events",
            "t.sql:1:12: the column \"events.amount * Int64(2)\" needs a plain name: a lower-case letter, then \
             letters, digits and _; give it another name with AS",
        ),
        (&["id"], "SELECT id, name AS \"Name\" FROM events", "t.sql:1:12: the column \"Name\" needs a plain name"),
        (&["id"], "SELECT id, name AS valid_to FROM events", "the column \"valid_to\" is one that loading adds"),
        (&["id"], "SELECT id, _shard FROM events", "t.sql:1:12: the column \"_shard\" starts with _"),
        (
            &["id"],
            "SELECT id, NULL AS nothing FROM events",
            "the column \"nothing\" has no type; give it one with CAST",
        ),
        (&["id"], "SELECT id, INTERVAL '1' DAY AS later FROM events", "which cannot be stored"),
        (&["tags"], "SELECT tags FROM events", "the key column \"tags\" is of type List"),
        (
            &["id"],
            "SELECT a.id, b.id FROM events a JOIN (VALUES (1)) b(id) ON a.id = b.id",
            "the column \"id\" is yielded twice",
        ),
        (&["id"], "SELECT id, 'x' AS _position FROM events", "t.sql:1:12: _position is the event's own"),
        (&["id"], "SELECT id, now() AS at FROM events", "now() is not allowed: a batch that is done again"),
        (&["id"], "SELECT id FROM events WHERE random() < 0.5", "random() is not allowed"),
        (
            &["id"],
            "SELECT id, lower(id + name) AS x FROM events",
            "t.sql:1:18: cannot coerce arithmetic expression Int32 + Utf8",
        ),
    ];
    for (key, sql, words) in cases {
        let told = of_sql(key, sql).await;
        assert!(told.iter().any(|fault| fault.contains(words)), "{sql}: {told:?}");
    }
}

#[tokio::test]
async fn rows_that_would_depend_on_how_events_are_batched_are_refused_with_their_place() {
    let cases: &[(&str, &str)] = &[
        ("SELECT id FROM events LIMIT 10", "1:29: LIMIT or OFFSET"),
        ("SELECT id FROM events\nOFFSET 3", "2:8: LIMIT or OFFSET"),
        ("SELECT id FROM events ORDER BY id LIMIT 1", "1:41: LIMIT or OFFSET"),
        ("SELECT id FROM (SELECT id FROM events LIMIT 1) AS a", "1:45: LIMIT or OFFSET"),
        ("WITH a AS (SELECT * FROM events LIMIT 1) SELECT id FROM a", "1:39: LIMIT or OFFSET"),
        ("SELECT id, count(*) AS n FROM events GROUP BY id", "1:47: GROUP BY or an aggregate"),
        (
            "SELECT id, max(_arrived_at) AS _arrived_at, max(_position) AS _position FROM events GROUP BY id",
            "GROUP BY or an aggregate",
        ),
        ("SELECT max(id) AS id FROM events", "1:8: GROUP BY or an aggregate"),
        ("SELECT id FROM (SELECT id, sum(amount) AS a FROM events GROUP BY id) AS g", "GROUP BY or an aggregate"),
        ("SELECT name FROM events GROUP BY ROLLUP (name)", "GROUP BY or an aggregate"),
        ("SELECT DISTINCT id FROM events", "1:1: DISTINCT or UNION"),
        ("SELECT DISTINCT ON (id) id, name FROM events", "DISTINCT or UNION"),
        ("SELECT id FROM events UNION SELECT id + 1 FROM events", ":1:29: DISTINCT or UNION"),
        ("SELECT id FROM events UNION ALL SELECT DISTINCT id FROM events", "DISTINCT or UNION"),
        ("SELECT id, row_number() OVER (ORDER BY id) AS n FROM events", "1:12: a window function"),
        ("SELECT id FROM events QUALIFY row_number() OVER (PARTITION BY id ORDER BY name) = 1", "a window function"),
        (
            "SELECT id, count(*) OVER (PARTITION BY _shard, _sequence, _subsequence, _index) AS n FROM events",
            "a window",
        ),
        ("SELECT a.id FROM events a JOIN events b ON a.id = b.id", "1:32: events joined with events"),
        ("SELECT a.id FROM events a, events b", "events joined with events"),
        ("SELECT id FROM events INTERSECT SELECT id FROM events", "events joined with events"),
        ("SELECT id FROM events EXCEPT ALL SELECT id + 1 FROM events", "events joined with events"),
        ("SELECT e.id FROM events e LEFT ANTI JOIN events b ON e.id = b.id", "events joined with events"),
        ("SELECT id FROM events WHERE id = (SELECT max(id) FROM events)", "1:35: a subquery that reads events"),
        ("SELECT id FROM events WHERE id IN (SELECT id FROM events)", "1:36: a subquery that reads events"),
        (
            "SELECT id FROM events e WHERE EXISTS (SELECT 1 FROM events f WHERE f.id = e.id + 1)",
            "a subquery that reads",
        ),
        ("SELECT id, (SELECT count(*) FROM events) AS n FROM events", "a subquery that reads events"),
        (
            "SELECT v.id FROM (VALUES (1)) AS v(id) WHERE v.id IN (SELECT id FROM events)",
            "a subquery that reads events",
        ),
        ("SELECT v.id FROM (VALUES (1)) AS v(id) LEFT JOIN events e ON v.id = e.id", "a row that no event stands"),
        ("SELECT v.id FROM events e FULL JOIN (VALUES (1)) AS v(id) ON v.id = e.id", "a row that no event stands"),
        ("SELECT id FROM events UNION ALL SELECT 1", "a row that no event stands"),
        (
            "SELECT a.id FROM (SELECT id FROM events UNION ALL SELECT id FROM events) a JOIN (VALUES (1)) v(n) ON a.id = v.n",
            "a join after UNION ALL",
        ),
    ];
    for (sql, words) in cases {
        for key in [&["id"][..], &[]] {
            let told = of_sql(key, sql).await;
            assert!(told.len() == 1 && told[0].contains(words), "{sql}: {told:?}");
            assert!(told[0].contains("SQL over events sees one micro-batch"), "{sql}: {told:?}");
            assert!(!told[0].contains("max(_arrived_at)"), "{told:?}");
        }
    }
}

#[tokio::test]
async fn the_row_number_is_no_column() {
    let known = "known are id, name, amount, tags, _shard, _sequence, _subsequence, _index, _arrived_at, _position";
    for sql in [
        "SELECT id, _row AS n FROM events",
        "SELECT id FROM events WHERE _row = 0",
        "SELECT id FROM (SELECT * FROM events) AS e WHERE e._row < 5",
    ] {
        let told = of_sql(&["id"], sql).await;
        assert!(told.len() == 1 && told[0].contains("there is no column \"_row\""), "{sql}: {told:?}");
    }
    let told = faults(vec![check("c", "_row < 10")], vec![table("t", &["id"], "SELECT id FROM events")]).await;
    assert!(told.len() == 1 && told[0].contains("there is no column \"_row\"") && told[0].contains(known), "{told:?}");
}

#[tokio::test]
async fn where_rows_of_a_file_melt_together_the_version_columns_are_asked_for() {
    for sql in [
        "SELECT id, count(*) AS n FROM file GROUP BY id",
        "SELECT DISTINCT id FROM file",
        "SELECT a.id FROM file a JOIN file b ON a.id = b.id",
    ] {
        let told = faults(Vec::new(), vec![of_file("t", &["id"], sql)]).await;
        let words = "add max(_arrived_at) AS _arrived_at, max(_position) AS _position";
        assert!(told.len() == 1 && told[0].contains(words), "{sql}: {told:?}");
    }
}

#[tokio::test]
async fn a_check_must_be_a_truth_about_one_event() {
    let cases = [
        ("amount", "pipeline.toml:20:1: check \"c\": \"amount\" is Decimal128(10, 2); a check must be true or false"),
        (
            "amout > 0",
            "check \"c\": there is no column \"amout\"; did you mean \"amount\"? known are id, name, amount, tags, \
             _shard, _sequence, _subsequence, _index, _arrived_at, _position (character 1 of the expression)",
        ),
        ("amount >", "check \"c\": expected: an expression, found: EOF"),
        ("amount > 0 amount", "check \"c\": "),
        ("sum(amount) > 0", "it looks at one event, so it takes no aggregate, window function or subquery"),
        ("id IN (SELECT 1)", "it looks at one event"),
        ("_arrived_at < now()", "now() is not allowed: the same event must always get the same verdict"),
        ("NULL", "is Null; a check must be true or false"),
    ];
    for (expr, words) in cases {
        let told = faults(vec![check("c", expr)], vec![table("t", &["id"], "SELECT id FROM events")]).await;
        assert!(told.len() == 1 && told[0].contains(words), "{expr}: {told:?}");
    }
}

#[tokio::test]
async fn all_faults_of_a_pipeline_are_told_at_once_in_order() {
    let tables = vec![
        table("b", &["id"], "SELECT nothing FROM events"),
        table("a", &["id", "x", "y"], "SELECT id, _index, name AS Name2, 1 AS \"Three\" FROM events"),
        table("c", &["x", "y"], "SELECT id FROM events"),
    ];
    let told = faults(vec![check("one", "id"), check("two", "idd > 0")], tables).await;
    let starts = [
        "a.sql:1:12: the column \"_index\"",
        "a.sql:1:35: the column \"Three\"",
        "b.sql:1:8: there is no column \"nothing\"",
        "pipeline.toml:20:1: check \"one\"",
        "pipeline.toml:20:1: check \"two\"",
        "pipeline.toml:40:1: key column \"x\"",
        "pipeline.toml:40:1: key column \"y\"",
    ];
    assert_eq!(told.len(), starts.len(), "{told:#?}");
    for (fault, start) in told.iter().zip(starts) {
        assert!(fault.starts_with(start), "{fault} / {start}");
    }
}

#[tokio::test]
async fn a_reference_must_be_yielded_and_of_the_key_s_type() {
    let mut fact = table("fact", &["id"], "SELECT id, name FROM events");
    fact.references = BTreeMap::from([("name".to_owned(), "dim".to_owned()), ("gone".to_owned(), "dim".to_owned())]);
    let mut dimension = table("dim", &["id"], "SELECT id, name FROM events");
    dimension.kind = TableKind::Dimension;
    let told = faults(Vec::new(), vec![fact.clone(), dimension.clone()]).await;
    assert_eq!(told, ["pipeline.toml:40:1: reference \"gone\" is not yielded by fact.sql; it yields id, name"]);
    fact.references.remove("gone");
    let told = faults(Vec::new(), vec![fact, dimension]).await;
    let words = "fact.name is Utf8 but the key dim.id is Int32; CAST one of them to the other's type";
    assert_eq!(told, [format!("pipeline.toml:40:1: {words}")]);
}
