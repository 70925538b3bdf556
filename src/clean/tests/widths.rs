//! How many bytes the columns of a planned table hold, and what becomes of longer texts.

use std::path::Path;

use super::*;
use crate::config;
use crate::schema::{Distribution, MAX_STRING_BYTES};

/// `id` integer, `code` string(8), `note` string(40), `free` string(65535), `tags` list<string(4)>.
fn pipeline_of(tables: Vec<Table>) -> Pipeline {
    let string = |max_bytes| FieldType::String { max_bytes };
    let field = |name: &str, field_type| Field {
        name: name.to_owned(),
        path: vec![name.to_owned()],
        field_type,
        required: false,
    };
    let fields = vec![
        field("id", FieldType::Integer),
        field("code", string(8)),
        field("note", string(40)),
        field("free", string(65_535)),
        field("tags", FieldType::List(Box::new(string(4)))),
    ];
    Pipeline { fields, ..pipeline(Vec::new(), tables) }
}

async fn specs(tables: Vec<Table>) -> Result<Vec<TableSpec>, Vec<String>> {
    let planned = Cleaner::plan(&pipeline_of(tables), SETTINGS).await;
    let told = |fault: PlanFault| format!("{}:{}: {}", fault.file.display(), fault.line, fault.message);
    planned.map(|cleaner| cleaner.specs().to_vec()).map_err(|faults| faults.into_iter().map(told).collect())
}

/// The width of the one column `x` that the SQL yields.
async fn width_of(sql: &str) -> Option<u32> {
    let mut read = table("t", &[], sql);
    if sql.contains("FROM file") {
        read.input =
            Input::File { path: "dims/a.csv".into(), fields: pipeline_of(Vec::new()).fields, allow_outside: false };
    }
    let specs = specs(vec![read]).await.unwrap_or_else(|faults| panic!("{sql}: {faults:?}"));
    assert_eq!(specs[0].columns.fields().len(), 1, "{sql}");
    specs[0].max_bytes.get("x").copied()
}

#[tokio::test]
async fn a_width_is_proved_or_absent() {
    let versions = "max(_arrived_at) AS _arrived_at, max(_position) AS _position";
    let cases: &[(&str, Option<u32>)] = &[
        ("SELECT code AS x FROM events", Some(8)),
        ("SELECT free AS x FROM events", Some(65_535)),
        ("SELECT e.note AS x FROM events AS e WHERE id > 1 ORDER BY id", Some(40)),
        ("WITH a AS (SELECT code AS y, note AS z FROM events) SELECT y AS x FROM a", Some(8)),
        ("SELECT x FROM (SELECT id, note AS x FROM (SELECT * FROM events) AS i) AS o WHERE id = 1", Some(40)),
        ("SELECT e.code AS x FROM events e LEFT JOIN (VALUES (1, 'one')) AS v(n, word) ON e.id = v.n", Some(8)),
        ("SELECT e.code AS x FROM (VALUES (1, 'one')) AS v(n, word) JOIN events e ON e.id = v.n", Some(8)),
        ("SELECT v.word AS x FROM events e LEFT JOIN (VALUES (1, 'one')) AS v(n, word) ON e.id = v.n", None),
        ("SELECT code AS x FROM events WHERE id IN (SELECT n FROM (VALUES (1)) AS v(n))", Some(8)),
        ("SELECT code AS x FROM events UNION ALL SELECT note FROM events", Some(40)),
        ("SELECT 'Zürich' AS x FROM events", Some(7)),
        ("SELECT '' AS x FROM events", Some(1)),
        ("SELECT CASE WHEN id = 1 THEN 'one' WHEN id = 2 THEN 'three' END AS x FROM events", Some(5)),
        ("SELECT CASE code WHEN 'a' THEN 'one' ELSE note END AS x FROM events", Some(40)),
        ("SELECT CASE WHEN id = 1 THEN 'one' ELSE upper(code) END AS x FROM events", None),
        ("SELECT CASE WHEN id = 1 THEN 'one' ELSE CAST(id AS varchar) END AS x FROM events", None),
        ("SELECT coalesce(code, 'nothing at all') AS x FROM events", Some(14)),
        ("SELECT coalesce(code, note) AS x FROM events", Some(40)),
        ("SELECT nullif(code, 'a longer text than that') AS x FROM events", Some(8)),
        ("SELECT trim(note) AS x FROM events", Some(40)),
        ("SELECT ltrim(rtrim(coalesce(code, '-')), 'x') AS x FROM events", Some(8)),
        ("SELECT CAST(code AS varchar) AS x FROM events", Some(8)),
        ("SELECT CAST(CAST(code AS int) AS varchar) AS x FROM events", None),
        ("SELECT lower(code) AS x FROM events", None),
        ("SELECT code || note AS x FROM events", None),
        ("SELECT replace(code, 'a', 'bb') AS x FROM events", None),
        ("SELECT tags[1] AS x FROM events", None),
        ("SELECT unnest(tags) AS x FROM events", None),
        ("SELECT _shard AS x FROM events", None),
        ("SELECT CAST(id AS varchar) AS x FROM events", None),
    ];
    for (sql, expected) in cases {
        assert_eq!(width_of(sql).await, *expected, "{sql}");
    }
    let whole: &[(&str, Option<u32>)] = &[
        ("SELECT code AS x, {versions} FROM file GROUP BY code", Some(8)),
        ("SELECT max(note) AS x, {versions} FROM file GROUP BY id", Some(40)),
        ("SELECT coalesce(min(code), 'nothing at all') AS x, {versions} FROM file GROUP BY id", Some(14)),
        ("SELECT string_agg(code, ',') AS x, {versions} FROM file GROUP BY id", None),
        ("SELECT x, {versions} FROM (SELECT DISTINCT code AS x, _arrived_at, _position FROM file) GROUP BY x", Some(8)),
        ("SELECT code AS x, {versions} FROM file GROUP BY ROLLUP (code)", None),
        ("SELECT x FROM (SELECT note AS x, row_number() OVER (ORDER BY id) AS n FROM file) WHERE n = 1", Some(40)),
        ("SELECT x FROM (SELECT lag(note) OVER (ORDER BY id) AS x FROM file)", None),
        ("SELECT code AS x FROM file LIMIT 3", Some(8)),
    ];
    for (sql, expected) in whole {
        let sql = sql.replace("{versions}", versions);
        assert_eq!(width_of(&sql).await, *expected, "{sql}");
    }
}

#[tokio::test]
async fn what_the_pipeline_says_stands_over_what_is_proved() {
    let mut said = table("t", &["id"], "SELECT id, code, lower(note) AS note FROM events");
    said.widths = BTreeMap::from([("code".to_owned(), 5), ("note".to_owned(), 60)]);
    said.layout = TableLayout {
        distribution: Some(Distribution::Key("id".to_owned())),
        sort_key: vec!["code".to_owned()],
        encodings: BTreeMap::from([("note".to_owned(), "zstd".to_owned())]),
    };
    let specs = specs(vec![said.clone()]).await.expect("no fault");
    assert_eq!((&specs[0].max_bytes, &specs[0].layout), (&said.widths, &said.layout));
}

#[tokio::test]
async fn widths_and_layouts_are_of_columns_that_the_sql_yields() {
    let mut wrong = table("t", &["id"], "SELECT id, code FROM events");
    wrong.widths = BTreeMap::from([("note".to_owned(), 5), ("id".to_owned(), 60)]);
    wrong.layout = TableLayout {
        distribution: Some(Distribution::Key("shop".to_owned())),
        sort_key: vec!["id".to_owned(), "day".to_owned()],
        encodings: BTreeMap::from([("price".to_owned(), "zstd".to_owned())]),
    };
    let told = specs(vec![wrong]).await.expect_err("faults");
    let mut expected = ["widths \"note\"", "redshift \"shop\"", "redshift \"day\"", "redshift \"price\""]
        .map(|what| format!("pipeline.toml:40: the column of {what} is not yielded by t.sql; it yields id, code"))
        .to_vec();
    expected.push("pipeline.toml:40: the column of widths \"id\" is Int32; only strings have a width".to_owned());
    expected.sort();
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_text_longer_than_its_column_is_rejected_with_both_numbers() {
    let mut narrow = table("t", &["id"], "SELECT id, name || name AS twice, name FROM events");
    narrow.widths = BTreeMap::from([("twice".to_owned(), 6)]);
    let cleaner = cleaner(Vec::new(), vec![narrow, table("other", &["id"], "SELECT id, name FROM events")]).await;
    let batch = [event(1, "abc", 1), event(2, "abcd", 1), event(3, "\u{e9}a", 1), event(4, "\u{e9}\u{e9}", 1)];
    let cleaned = cleaner.clean(events(&batch)).await.expect("cleaned");
    let told: Vec<_> = cleaned.rejects.iter().map(|reject| (reject.reason.as_str(), reject.message.as_str())).collect();
    let words = "t: twice has 8 bytes; the column takes 6";
    assert_eq!(told, [("too_long", words), ("too_long", words)]);
    assert_eq!(shown(&cleaned, "t"), ["1|abcabc|abc", "3|\u{e9}a\u{e9}a|\u{e9}a"]);
    assert_eq!(shown(&cleaned, "other").len(), 2, "an event is in all tables or in none");
    adds_up(&cleaned.counts);
}

#[tokio::test]
async fn a_dimension_s_key_holds_what_refers_to_it() {
    let dimension = || Table { kind: TableKind::Dimension, ..table("dim", &["code"], "SELECT code, note FROM events") };
    let fact = |name: &str, expression: &str| {
        let sql = format!("SELECT id, {expression} AS ref FROM events");
        Table { references: BTreeMap::from([("ref".to_owned(), "dim".to_owned())]), ..table(name, &["id"], &sql) }
    };
    let cases: &[(&[&str], Option<u32>)] = &[
        (&[], Some(8)),
        (&["code"], Some(8)),
        (&["'a'"], Some(8)),
        (&["note"], Some(40)),
        (&["note", "coalesce(code, 'nothing')"], Some(40)),
        (&["note", "lower(code)"], Some(MAX_STRING_BYTES)),
    ];
    for (references, expected) in cases {
        let facts = references.iter().enumerate().map(|(number, column)| fact(&format!("fact{number}"), column));
        let specs = specs(facts.chain([dimension()]).collect()).await.expect("no fault");
        let dimension = specs.last().expect("the dimension");
        assert_eq!(dimension.max_bytes.get("code").copied(), *expected, "{references:?}");
        assert_eq!(dimension.max_bytes["note"], 40);
    }
    let narrow = Table { widths: BTreeMap::from([("code".to_owned(), 16)]), line: 50, ..dimension() };
    let told = specs(vec![fact("fact", "note"), narrow.clone()]).await.expect_err("a fault");
    let words = "dim.code is 16 bytes wide, but fact.ref, which refers to it, may have 40; make the key wider, or the \
                 reference narrower with widths = { ref = 16 }";
    assert_eq!(told, [format!("pipeline.toml:50: {words}")]);
    let held = Table { widths: BTreeMap::from([("ref".to_owned(), 16)]), ..fact("fact", "note") };
    assert!(specs(vec![held, narrow]).await.is_ok());
}

#[tokio::test]
async fn food_delivery_s_strings_are_as_wide_as_they_need_to_be() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("queries/food_delivery");
    let pipeline = config::read(&folder).pipeline.expect("sound");
    let cleaner = Cleaner::plan(&pipeline, SETTINGS).await.expect("no fault");
    let widths = |table: &str| {
        let spec = cleaner.specs().iter().find(|spec| spec.name == table).expect("the table");
        spec.max_bytes.iter().map(|(column, width)| format!("{column} {width}")).collect::<Vec<_>>()
    };
    assert_eq!(widths("fact_orders"), ["order_status 10"], "\"On the way\" is the longest status");
    let customers = ["customer_address 256", "customer_email 254", "customer_name 128", "customer_phone 40"];
    assert_eq!(widths("dim_customers"), customers);
    assert_eq!(widths("dim_date"), ["day_name 9", "month_name 9"], "September and Wednesday");
}
