//! Whole folders, sound and broken: the pipeline they give and the exact faults.

use std::fs;
use std::path::Path;
use std::time::Duration;

use chrono::NaiveDate;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::schema::{Field, FieldType, History, TableKind};

/// The smallest sound pipeline; what is appended to it begins at line 11.
const BASE: &str = r#"[pipeline]
name = "shop"
[source]
stream = "orders"
[[event.field]]
name = "id"
type = "bigint"
[[table]]
name = "fact_sales"
kind = "fact"
"#;

/// A dimension that a file fills; six lines.
const DIMENSION: &str = r#"[[table]]
name = "dim_shops"
kind = "dimension"
key = ["shop_id"]
from = "dims/shops.csv"
field = [{ name = "shop_id", path = "Shop ID", type = "integer", required = true }]
"#;

/// A folder with this pipeline.toml, the SQL of both tables above, and the dimension's file.
fn folder(pipeline: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    put(&folder, "pipeline.toml", pipeline);
    put(&folder, "fact_sales.sql", "select id from events");
    if pipeline.contains("\"dim_shops\"\nkind") {
        put(&folder, "dim_shops.sql", "select shop_id from file");
    }
    put(&folder, "dims/shops.csv", "Shop ID\n1\n");
    folder
}

fn put(folder: &TempDir, path: &str, content: impl AsRef<[u8]>) {
    let path = folder.path().join(path);
    fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
    fs::write(path, content).expect("a file");
}

/// The faults as shown, with the folder's own path taken out.
fn faults(folder: &TempDir) -> Vec<String> {
    shown(folder, &read(folder.path()).faults)
}

fn shown(folder: &TempDir, faults: &[Fault]) -> Vec<String> {
    let prefix = folder.path().display().to_string();
    let strip = |fault: &Fault| fault.to_string().replace(&format!("{prefix}/"), "").replace(&prefix, "FOLDER");
    faults.iter().map(strip).collect()
}

/// The pipeline of a text that has no fault.
fn sound(pipeline: &str) -> Pipeline {
    let folder = folder(pipeline);
    let reading = read(folder.path());
    assert_eq!(shown(&folder, &reading.faults), Vec::<String>::new());
    reading.pipeline.expect("a pipeline")
}

/// A table of cases: what of BASE is replaced (nothing: appended to it), by what, and the faults after `pipeline.toml`.
fn check(cases: &[(&str, &str, &[&str])]) {
    for (old, new, expected) in cases {
        assert!(BASE.contains(old), "{old:?} is not in BASE");
        let text = if old.is_empty() { format!("{BASE}{new}") } else { BASE.replacen(old, new, 1) };
        let expected: Vec<String> = expected.iter().map(|fault| format!("pipeline.toml:{fault}")).collect();
        assert_eq!(faults(&folder(&text)), expected, "{text}");
    }
}

#[test]
fn the_smallest_pipeline_has_every_default() {
    let pipeline = sound(BASE);
    assert_eq!(pipeline.name, "shop");
    assert_eq!(pipeline.source, SourceSettings { stream: "orders".into(), ..SourceSettings::default() });
    let batch = BatchSettings { max_rows: 200_000, max_bytes: 12 << 20, max_age: Duration::from_secs(2) };
    assert_eq!(pipeline.batch, batch);
    assert_eq!(
        pipeline.load,
        LoadSettings { freshness: Duration::from_secs(10), max_entries: 1000, ..LoadSettings::default() }
    );
    let field = Field { name: "id".into(), path: vec!["id".into()], field_type: FieldType::Bigint, required: false };
    assert_eq!(pipeline.fields, [field]);
    assert!(pipeline.checks.is_empty() && pipeline.reports.is_empty());
    assert_eq!(pipeline.targets.get("local"), Some(&Target::Local));
    let [table] = pipeline.tables.as_slice() else { panic!("{:?}", pipeline.tables) };
    assert_eq!((table.name.as_str(), table.kind, table.history), ("fact_sales", TableKind::Fact, History::Overwrite));
    assert_eq!((table.line, table.sql.as_str(), &table.input), (8, "select id from events", &Input::Events));
    assert!(table.key.is_empty() && table.references.is_empty());
    assert_eq!(table.sql_path, Path::new("fact_sales.sql"));
}

#[test]
fn every_setting_is_read() {
    let source = "[source]\nstart = 2024-03-01T12:00:00+02:00\nshards = 1_000";
    let more = r#"key = ["id"]
references = { shop = "dim_shops" }
[batch]
max_rows = 0x10
max_bytes = "64KiB"
max_age = "500ms"
[load]
freshness = "1m"
max_entries = 7
[target.local]
[[check]]
name = "positive"
expr = "id > 0"
"#;
    let text = format!("{}{more}{DIMENSION}history = \"keep\"\n", BASE.replace("[source]", source));
    let pipeline = sound(&text);
    assert_eq!((pipeline.source.start, pipeline.source.shards), (Start::Time(1_709_287_200_000), 1000));
    let batch = BatchSettings { max_rows: 16, max_bytes: 65_536, max_age: Duration::from_millis(500) };
    assert_eq!(pipeline.batch, batch);
    assert_eq!(
        pipeline.load,
        LoadSettings { freshness: Duration::from_secs(60), max_entries: 7, ..LoadSettings::default() }
    );
    assert_eq!(pipeline.checks, [Check { name: "positive".into(), expr: "id > 0".into(), line: 25 }]);
    let [fact, dimension] = pipeline.tables.as_slice() else { panic!("{:?}", pipeline.tables) };
    assert_eq!((fact.key.as_slice(), fact.references["shop"].as_str()), (&["id".to_owned()][..], "dim_shops"));
    assert_eq!((dimension.kind, dimension.history, dimension.line), (TableKind::Dimension, History::Keep, 26));
    let path = vec!["Shop ID".to_owned()];
    let field = Field { name: "shop_id".into(), path, field_type: FieldType::Integer, required: true };
    assert_eq!(dimension.input, Input::File { path: "dims/shops.csv".into(), fields: vec![field] });
}

#[test]
fn a_heading_is_never_split_and_a_path_into_json_is() {
    let text = BASE.replace("name = \"id\"", "name = \"id\"\npath = \"Order.Line Item.Id\"");
    let pipeline = sound(&format!("{text}{}", DIMENSION.replace("Shop ID", "Shop. No. 1")));
    assert_eq!(pipeline.fields[0].path, ["Order", "Line Item", "Id"]);
    let Input::File { fields, .. } = &pipeline.tables[1].input else { panic!("a file") };
    assert_eq!(fields[0].path, ["Shop. No. 1"]);
}

#[test]
fn structs_nest_inline_and_in_lists() {
    let field = r#"[[event.field]]
name = "lines"
type = "list<list<struct>>"
fields = [
    { name = "sku", path = "Stock.Code", type = "string(8)", required = true },
    { name = "price", type = "struct", fields = [{ name = "net", type = "decimal(5,2)" }] },
]
[[table]]"#;
    let pipeline = sound(&BASE.replace("[[table]]", field));
    let leaf = |name: &str, path: &[&str], field_type: FieldType, required| Field {
        name: name.into(),
        path: path.iter().map(|key| (*key).to_owned()).collect(),
        field_type,
        required,
    };
    let net = leaf("net", &["net"], FieldType::Decimal { precision: 5, scale: 2 }, false);
    let members = FieldType::Struct(vec![
        leaf("sku", &["Stock", "Code"], FieldType::String { max_bytes: 8 }, true),
        leaf("price", &["price"], FieldType::Struct(vec![net]), false),
    ]);
    let lines = FieldType::List(Box::new(FieldType::List(Box::new(members))));
    assert_eq!(pipeline.fields[1], leaf("lines", &["lines"], lines, false));
}

#[test]
fn days_are_toml_dates_or_strings() {
    for dates in ["{ from = 2023-01-01, through = 2023-01-31 }", "{ from = \"2023-01-01\", through = \"2023-01-31\" }"]
    {
        let table = format!("[[table]]\nname = \"dim_shops\"\nkind = \"dimension\"\nkey = [\"d\"]\ndates = {dates}\n");
        let pipeline = sound(&format!("{BASE}{table}"));
        let day = |day| NaiveDate::from_ymd_opt(2023, 1, day).expect("a day");
        assert_eq!(pipeline.tables[1].input, Input::Dates { from: day(1), through: day(31) });
    }
}

#[test]
fn a_start_is_a_word_or_an_instant() {
    let cases = [
        ("\"trim_horizon\"", Start::TrimHorizon),
        ("\"latest\"", Start::Latest),
        ("\"2024-03-01T00:00:00.5Z\"", Start::Time(1_709_251_200_500)),
        ("2024-03-01T00:00:00.5Z", Start::Time(1_709_251_200_500)),
        ("2024-03-01 01:00-01:00", Start::Time(1_709_258_400_000)),
        ("1969-12-31T23:59:59Z", Start::Time(-1000)),
    ];
    for (text, expected) in cases {
        let pipeline = sound(&BASE.replace("[source]", &format!("[source]\nstart = {text}")));
        assert_eq!(pipeline.source.start, expected, "{text}");
    }
}

#[test]
fn durations_and_sizes_have_units() {
    let ages = [("1ms", 1), ("500ms", 500), ("2s", 2000), (" 2 s ", 2000), ("1m", 60_000), ("1h", 3_600_000)];
    for (text, millis) in ages {
        let pipeline = sound(&format!("{BASE}[batch]\nmax_age = \"{text}\"\n"));
        assert_eq!(pipeline.batch.max_age, Duration::from_millis(millis), "{text}");
    }
    let sizes = [("1", 1), ("1_000", 1000), ("\"2KiB\"", 2048), ("\"3 MiB\"", 3 << 20), ("\"1GiB\"", 1 << 30)];
    for (text, bytes) in sizes {
        let pipeline = sound(&format!("{BASE}[batch]\nmax_bytes = {text}\n"));
        assert_eq!(pipeline.batch.max_bytes, bytes, "{text}");
    }
}

#[test]
fn unknown_keys_are_refused_with_the_nearest_known_one() {
    check(&[
        (
            "kind",
            "knid",
            &[
                "8:1: missing key \"kind\" in [[table]]",
                "10:1: unknown key \"knid\" in [[table]]; did you mean \"kind\"?",
            ],
        ),
        (
            "",
            "  colour = 1\n",
            &[
                "11:3: unknown key \"colour\" in [[table]]; known are name, kind, key, history, references, from, dates, field",
            ],
        ),
        (
            "[pipeline]",
            "[pipelines]",
            &[" missing section [pipeline]", "1:2: unknown key \"pipelines\"; did you mean \"pipeline\"?"],
        ),
        (
            "[[event.field]]",
            "[[event.fields]]",
            &[
                " there is no [[event.field]]: an event has at least one",
                "5:9: unknown key \"fields\" in [event]; did you mean \"field\"?",
            ],
        ),
        ("", "[batch]\nMax-Rows = 1\n", &["12:1: unknown key \"Max-Rows\" in [batch]; did you mean \"max_rows\"?"]),
        ("", "[load]\nfreshnes = \"1s\"\n", &["12:1: unknown key \"freshnes\" in [load]; did you mean \"freshness\"?"]),
        (
            "stream =",
            "stream_name = \"x\"\nstream =",
            &["4:1: unknown key \"stream_name\" in [source]; did you mean \"stream\"?"],
        ),
        (
            "",
            "[[check]]\nname = \"a\"\nexpr = \"true\"\nexpression = \"\"\n",
            &["14:1: unknown key \"expression\" in [[check]]; did you mean \"expr\"?"],
        ),
        ("", "[target.local]\nport = 1\n", &["12:1: unknown key \"port\" in [target.local]"]),
    ]);
}

#[test]
fn a_target_says_where_its_services_are() {
    let text = format!(
        "{BASE}[target.aws]\nregion = \"eu-central-1\"\nstore = \"s3://lake/orders\"\nwarehouse = {{ kind = \"delta\" }}\n\
         [target.stage]\nstream_endpoint = \"http://127.0.0.1:4567\"\nstore = \"s3://lake\"\n\
         store_endpoint = \"https://minio:9000\"\npath_style = true\nwarehouse = {{ kind = \"delta\" }}\n\
         [target.shared]\nstore = \"file:///mnt/lake\"\nwarehouse = {{ kind = \"delta\" }}\n"
    );
    let folder = folder(&text);
    assert_eq!(faults(&folder), Vec::<String>::new());
    let targets = read(folder.path()).pipeline.expect("a pipeline").targets;
    let aws = AwsTarget {
        region: Some("eu-central-1".into()),
        stream_endpoint: None,
        store: StoreAddress::S3("s3://lake/orders".into()),
        store_endpoint: None,
        path_style: false,
        warehouse: WarehouseSettings::Delta,
    };
    let stage = AwsTarget {
        region: None,
        stream_endpoint: Some("http://127.0.0.1:4567".into()),
        store: StoreAddress::S3("s3://lake".into()),
        store_endpoint: Some("https://minio:9000".into()),
        path_style: true,
        ..aws.clone()
    };
    let shared = AwsTarget { region: None, store: StoreAddress::Folder("/mnt/lake".into()), ..aws.clone() };
    let expected = [
        ("aws", Target::Aws(aws)),
        ("local", Target::Local),
        ("shared", Target::Aws(shared)),
        ("stage", Target::Aws(stage)),
    ];
    assert_eq!(targets, expected.map(|(name, target)| (name.to_owned(), target)).into());
}

#[test]
fn what_a_target_cannot_be_is_told_with_its_place() {
    check(&[
        (
            "",
            "[target.aws]\nregion = \"us-east-1\"\n",
            &["11:1: missing key \"store\" in [target.NAME]", "11:1: missing key \"warehouse\" in [target.NAME]"],
        ),
        ("", "[target.locl]\n", &["11:9: unknown target \"locl\"; did you mean \"local\"?"]),
        (
            "",
            "[target.aws]\nstore = \"lake/orders\"\nwarehouse = { kind = \"redshift\" }\n",
            &[
                "12:9: \"store\" in [target.NAME]: \"lake/orders\" is no store: write \"s3://bucket/prefix\", or \"file:///folder\" for a folder",
                "13:22: \"kind\" in warehouse = { … }: this version of Millstream loads \"delta\" only; \"redshift\" comes with a later one",
            ],
        ),
        (
            "",
            "[target.aws]\nstore = \"s3://lake\"\nstore_endpoint = \"https://me:secret@host\"\nwarehouse = { kind = \"hive\", x = 1 }\nbucket = 1\n",
            &[
                "13:18: \"store_endpoint\" in [target.NAME]: an endpoint holds no user and no password",
                "14:22: \"kind\" in warehouse = { … }: expected \"delta\", found \"hive\"",
                "14:30: unknown key \"x\" in warehouse = { … }; known are kind",
                "15:1: unknown key \"bucket\" in [target.NAME]; known are region, stream_endpoint, store, store_endpoint, path_style, warehouse",
            ],
        ),
        (
            "",
            "[target.nfs]\nstore = \"file:///lake\"\nstore_endpoint = \"http://h\"\npath_style = true\nwarehouse = { kind = \"delta\" }\n",
            &[
                "13:18: \"store_endpoint\" in [target.NAME]: a store that is a folder has no use for it: take it out",
                "14:14: \"path_style\" in [target.NAME]: a store that is a folder has no use for it: take it out",
            ],
        ),
        (
            "",
            "[target]\nlocal = 1\n",
            &["12:9: \"local\" in [target.NAME]: expected a table, [target.local]; found an integer"],
        ),
    ]);
}

#[test]
fn how_a_stream_is_read_is_said_under_source() {
    let with = |lines: &str| BASE.replace("stream = \"orders\"", &format!("stream = \"orders\"\n{lines}"));
    let text = with("fan_out = \"millstream\"\non_loss = \"continue\"\nstall_after = \"30s\"");
    let source = read(folder(&text).path()).pipeline.expect("a pipeline").source;
    let expected = (Some("millstream".to_owned()), OnLoss::Continue, Duration::from_secs(30));
    assert_eq!((source.fan_out, source.on_loss, source.stall_after), expected);
    let wrong = faults(&folder(&with("fan_out = \"a b\"\non_loss = \"skip\"\nstall_after = \"0s\"")));
    assert_eq!(wrong.len(), 3, "{wrong:?}");
    for (fault, words) in wrong.iter().zip(["not a consumer name", "expected \"stop\" or \"continue\"", "from 1s"]) {
        assert!(fault.contains(words), "{fault}");
    }
}

#[test]
fn wrong_types_are_named() {
    check(&[
        ("\"shop\"", "5", &["2:8: \"name\" in [pipeline]: expected a string, found an integer"]),
        ("\"orders\"", "[1]", &["4:10: \"stream\" in [source]: expected a string, found an array"]),
        ("\"bigint\"", "true", &["7:8: \"type\" in [[event.field]]: expected a string, found a boolean"]),
        (
            "\"bigint\"",
            "\"bigint\"\nrequired = \"yes\"",
            &["8:12: \"required\" in [[event.field]]: expected a boolean, found a string"],
        ),
        ("", "key = \"id\"\n", &["11:7: \"key\" in [[table]]: expected an array of strings, found a string"]),
        ("", "key = [1]\n", &["11:7: \"key\" in [[table]]: expected a string, found an integer"]),
        ("[source]", "[source]\nshards = 1.5", &["4:10: \"shards\" in [source]: expected an integer, found a float"]),
        (
            "[source]",
            "[source]\nstart = 7",
            &["4:9: \"start\" in [source]: expected \"trim_horizon\", \"latest\" or a time, found an integer"],
        ),
        (
            "",
            "[batch]\nmax_age = 2\n",
            &["12:11: \"max_age\" in [batch]: expected a duration such as \"2s\", found an integer"],
        ),
        (
            "",
            "[batch]\nmax_bytes = 1.0\n",
            &["12:13: \"max_bytes\" in [batch]: expected a size such as \"32MiB\", found a float"],
        ),
        (
            "[pipeline]\nname = \"shop\"",
            "pipeline = \"shop\"",
            &["1:12: \"pipeline\": expected a table, [pipeline]; found a string"],
        ),
        ("[[table]]", "[table]", &["8:1: \"table\": expected an array of tables, [[table]]; found a table"]),
        (
            "[[event.field]]",
            "[event.field]",
            &["5:1: \"field\" in [event]: expected an array of tables, [[event.field]]; found a table"],
        ),
        ("[pipeline]", "check = [1]\n[pipeline]", &["1:10: \"check\": expected a table, found an integer"]),
        ("", "references = { a = 1 }\n", &["11:20: \"references\" in [[table]]: expected a string, found an integer"]),
    ]);
}

#[test]
fn missing_keys_and_sections_are_named() {
    check(&[
        ("name = \"shop\"", "", &["1:1: missing key \"name\" in [pipeline]"]),
        ("[source]\nstream = \"orders\"\n", "", &[" missing section [source]"]),
        ("stream = \"orders\"", "", &["3:1: missing key \"stream\" in [source]"]),
        ("type = \"bigint\"", "", &["5:1: missing key \"type\" in [[event.field]]"]),
        ("", "[[check]]\n", &["11:1: missing key \"name\" in [[check]]", "11:1: missing key \"expr\" in [[check]]"]),
        (
            "kind = \"fact\"",
            "kind = \"dimension\"",
            &["8:1: missing key \"key\" in [[table]]: a dimension's rows need a name"],
        ),
        (
            "[[event.field]]\nname = \"id\"\ntype = \"bigint\"\n",
            "",
            &[" there is no [[event.field]]: an event has at least one"],
        ),
    ]);
}

#[test]
fn values_out_of_bounds_are_refused() {
    check(&[
        (
            "[source]",
            "[source]\nshards = 0",
            &["4:10: \"shards\" in [source]: expected a number from 1 to 1000, found 0"],
        ),
        (
            "[source]",
            "[source]\nshards = 1001",
            &["4:10: \"shards\" in [source]: expected a number from 1 to 1000, found 1001"],
        ),
        (
            "[source]",
            "[source]\nshards = -1",
            &["4:10: \"shards\" in [source]: expected a number from 1 to 1000, found -1"],
        ),
        (
            "[source]",
            "[source]\nstart = \"now\"",
            &[
                "4:9: \"start\" in [source]: expected \"trim_horizon\", \"latest\" or a time with its zone such as 2024-03-01T00:00:00Z, found \"now\"",
            ],
        ),
        (
            "[source]",
            "[source]\nstart = 2024-03-01T00:00:00",
            &[
                "4:9: \"start\" in [source]: expected \"trim_horizon\", \"latest\" or a time with its zone such as 2024-03-01T00:00:00Z, found 2024-03-01T00:00:00",
            ],
        ),
        (
            "\"orders\"",
            "\"my orders\"",
            &[
                "4:10: \"stream\" in [source]: \"my orders\" is not a stream name: letters, digits, \"_\", \".\" and \"-\", at most 128",
            ],
        ),
        (
            "",
            "[batch]\nmax_rows = 0\n",
            &["12:12: \"max_rows\" in [batch]: expected a number from 1 to 10000000, found 0"],
        ),
        (
            "",
            "[batch]\nmax_bytes = \"32MB\"\n",
            &[
                "12:13: \"max_bytes\" in [batch]: \"32MB\" is not a size; write \"64KiB\", \"32MiB\", \"1GiB\" or a number of bytes",
            ],
        ),
        (
            "",
            "[batch]\nmax_bytes = \"2GiB\"\n",
            &["12:13: \"max_bytes\" in [batch]: expected a size from 1 to 1073741824 bytes, found \"2GiB\""],
        ),
        (
            "",
            "[batch]\nmax_bytes = -5\n",
            &[
                "12:13: \"max_bytes\" in [batch]: -5 is not a size; write \"64KiB\", \"32MiB\", \"1GiB\" or a number of bytes",
            ],
        ),
        (
            "",
            "[batch]\nmax_age = \"2 days\"\n",
            &["12:11: \"max_age\" in [batch]: \"2 days\" is not a duration; write \"500ms\", \"2s\", \"1m\" or \"1h\""],
        ),
        (
            "",
            "[batch]\nmax_age = \"0s\"\n",
            &["12:11: \"max_age\" in [batch]: expected a duration from 1ms to 3600s, found \"0s\""],
        ),
        (
            "",
            "[load]\nfreshness = \"99999999999999999999s\"\n",
            &[
                "12:13: \"freshness\" in [load]: \"99999999999999999999s\" is not a duration; write \"500ms\", \"2s\", \"1m\" or \"1h\"",
            ],
        ),
        (
            "\"bigint\"",
            "\"int\"",
            &[
                "7:8: \"type\" in [[event.field]]: \"int\" is not a type; known are boolean, smallint, integer, bigint, real, double, decimal(p,s), string(n), date, timestamp, timestamptz, struct and list<type>",
            ],
        ),
        (
            "\"bigint\"",
            "\"bigint\"\npath = \"a..b\"",
            &[
                "8:8: \"path\" in [[event.field]]: \"a..b\" is not a path: keys with one dot between them, such as \"Order.Item.Price\"",
            ],
        ),
        ("\"fact\"", "\"fakt\"", &["10:8: \"kind\" in [[table]]: expected \"fact\" or \"dimension\", found \"fakt\""]),
        ("", "[[check]]\nname = \"a\"\nexpr = \" \"\n", &["13:8: \"expr\" in [[check]]: the string is empty"]),
    ]);
}

#[test]
fn names_follow_one_rule_and_are_not_those_of_the_warehouse() {
    let rule = "is not a name: lower-case letters, digits and \"_\", a letter first, at most 127 bytes";
    check(&[
        ("\"shop\"", "\"My-Shop\"", &[&format!("2:8: \"name\" in [pipeline]: \"My-Shop\" {rule}")]),
        ("\"id\"", "\"\"", &[&format!("6:8: \"name\" in [[event.field]]: \"\" {rule}")]),
        (
            "\"id\"",
            "\"_shard\"",
            &[
                "6:8: \"name\" in [[event.field]]: \"_shard\": names that begin with \"_\" are kept for the columns that Millstream adds",
            ],
        ),
        (
            "",
            "key = [\"id\", \"valid_from\", \"id\"]\n",
            &[
                "11:7: \"key\" in [[table]]: \"valid_from\" is a column that the warehouse adds to dimensions",
                "11:7: \"key\" in [[table]]: \"id\" stands twice",
            ],
        ),
    ]);
    let long = "a".repeat(127);
    assert_eq!(sound(&BASE.replace("shop", &long)).name, long);
    assert_eq!(faults(&folder(&BASE.replace("shop", &"a".repeat(128)))).len(), 1);
}

#[test]
fn a_table_of_a_name_that_is_refused_reads_no_sql() {
    let stray = |known: &str| {
        format!("fact_sales.sql: no [[table]] is named \"fact_sales\", so this file would be ignored; {known}")
    };
    let rule = "lower-case letters, digits and \"_\", a letter first, at most 127 bytes";
    let taken = "\"journal\" is what `millstream query` calls a relation of its own".to_owned();
    let cases = [
        ("journal", taken, "known are journal"),
        ("../fact_sales", format!("\"../fact_sales\" is not a name: {rule}"), "did you mean \"../fact_sales\"?"),
    ];
    for (name, expected, known) in cases {
        let folder = folder(&BASE.replace("\"fact_sales\"", &format!("{name:?}")));
        let reading = read(folder.path());
        let expected = [format!("pipeline.toml:9:8: \"name\" in [[table]]: {expected}"), stray(known)];
        assert_eq!(shown(&folder, &reading.faults), expected);
        assert!(reading.pipeline.expect("a pipeline").tables.is_empty());
    }
}

#[test]
fn what_stands_twice_says_where_the_first_is() {
    check(&[
        (
            "",
            "[[table]]\nname = \"fact_sales\"\nkind = \"fact\"\n",
            &["12:8: two tables are named \"fact_sales\"; the first is at line 9"],
        ),
        (
            "[[table]]",
            "[[event.field]]\nname = \"id\"\ntype = \"date\"\n[[table]]",
            &["9:8: two fields are named \"id\"; the first is at line 6"],
        ),
        (
            "",
            "[[check]]\nname = \"a\"\nexpr = \"true\"\n[[check]]\nname = \"a\"\nexpr = \"true\"\n",
            &["15:8: two checks are named \"a\"; the first is at line 12"],
        ),
    ]);
}

#[test]
fn a_struct_has_fields_and_nothing_else_has() {
    let nested = "fields = [{ name = \"a\", type = \"date\" }, { name = \"a\", type = \"dat\" }]";
    let typed = |text: &str| BASE.replace("type = \"bigint\"", text);
    let cases = [
        (
            typed("type = \"list<struct>\""),
            vec![
                "7:8: \"type\" in [[event.field]]: a struct needs its fields: fields = [{ name = \"a\", type = \"integer\" }]",
            ],
        ),
        (
            typed("type = \"date\"\nfields = [{ name = \"a\", type = \"date\" }]"),
            vec!["8:11: \"fields\" in [[event.field]]: only a struct has fields, and the type is date"],
        ),
        (
            typed(&format!("type = \"struct\"\n{nested}")),
            vec![
                "8:51: two fields are named \"a\"; the first is at line 8",
                "8:63: \"type\" in fields = [{ … }]: \"dat\" is not a type; known are boolean, smallint, integer, bigint, real, double, decimal(p,s), string(n), date, timestamp, timestamptz, struct and list<type>",
            ],
        ),
        (
            format!("{BASE}{}", DIMENSION.replace("\"integer\"", "\"list<date>\"")),
            vec!["16:55: \"type\" in [[table.field]]: a file's column holds single values, no struct and no list"],
        ),
    ];
    for (text, expected) in cases {
        let expected: Vec<String> = expected.iter().map(|fault| format!("pipeline.toml:{fault}")).collect();
        assert_eq!(faults(&folder(&text)), expected, "{text}");
    }
}

#[test]
fn types_nest_no_deeper_than_the_bound() {
    let structs = |depth: usize| {
        let inner = (1..depth).fold("type = \"date\"".to_owned(), |inner, _| {
            format!("type = \"struct\", fields = [{{ name = \"a\", {inner} }}]")
        });
        format!(
            "event = {{ field = [{{ name = \"id\", {inner} }}] }}\n{}",
            BASE.replace("[[event.field]]\nname = \"id\"\ntype = \"bigint\"\n", "")
        )
    };
    assert_eq!(sound(&structs(16)).fields.len(), 1);
    let [fault] = faults(&folder(&structs(17))).try_into().expect("one fault");
    assert!(fault.ends_with("\"fields\" in fields = [{ … }]: structs nest at most 16 deep"), "{fault}");
    let lists = |depth: usize| BASE.replace("bigint", &format!("{}date{}", "list<".repeat(depth), ">".repeat(depth)));
    assert_eq!(sound(&lists(16)).fields.len(), 1);
    let [fault] = faults(&folder(&lists(100_000))).try_into().expect("one fault");
    assert_eq!(fault, "pipeline.toml:7:8: \"type\" in [[event.field]]: lists nest at most 16 deep");
}

#[test]
fn inputs_are_for_dimensions_and_one_at_a_time() {
    let with = |text: &str| format!("{BASE}{DIMENSION}{text}");
    let dates = "dates = { from = 2023-01-01, through = 2023-12-31 }\n";
    let no_field = DIMENSION.lines().take(5).map(|line| format!("{line}\n")).collect::<String>();
    let by_days = format!("{}{dates}", DIMENSION.lines().take(4).map(|line| format!("{line}\n")).collect::<String>());
    let cases = [
        (
            with(dates),
            vec!["17:9: \"dates\" in [[table]]: a table reads a file (\"from\") or days (\"dates\"), not both"],
        ),
        (
            format!("{BASE}{no_field}"),
            vec!["11:1: a table with \"from\" needs a [[table.field]] for each column that it reads"],
        ),
        (format!("{BASE}{dates}"), vec!["8:1: \"dates\" in [[table]]: only a dimension has one; a fact reads events"]),
        (
            format!("{BASE}history = \"keep\"\n"),
            vec!["11:11: \"history\" in [[table]]: only a dimension has a history"],
        ),
        (
            format!("{BASE}field = [{{ name = \"a\", type = \"date\" }}]\n"),
            vec![
                "11:10: \"field\" in [[table]]: only a table with \"from\" declares fields; the others read those of the event",
            ],
        ),
        (
            with("references = { a = \"fact_sales\" }\n"),
            vec!["17:14: \"references\" in [[table]]: only a fact refers to dimensions"],
        ),
        (
            format!("{BASE}{}", DIMENSION.replace("shops.csv", "shop.csv")),
            vec!["15:8: \"from\" in [[table]]: dims/shop.csv does not exist"],
        ),
        (
            format!("{BASE}{}", DIMENSION.replace("dims/shops.csv", "dims")),
            vec!["15:8: \"from\" in [[table]]: dims is not a file"],
        ),
        (
            format!("{BASE}{}", by_days.replace("through = 2023", "through = 2022")),
            vec!["15:40: \"dates\" in [[table]]: the last day, 2022-12-31, is before the first, 2023-01-01"],
        ),
        (
            format!("{BASE}{}", by_days.replace("through = 2023", "through = 9023")),
            vec!["15:40: \"dates\" in [[table]]: from 2023-01-01 through 9023-12-31 are over 100000 days"],
        ),
        (
            format!("{BASE}{}", by_days.replace("2023-01-01", "2023-01-01T00:00:00Z")),
            vec![
                "15:18: \"from\" in dates = { from = 2023-01-01, through = 2028-12-31 }: expected a day such as 2023-01-01, found 2023-01-01T00:00:00Z",
            ],
        ),
        (
            format!("{BASE}{}", by_days.replace("2023-01-01", "\"2023-02-30\"")),
            vec![
                "15:18: \"from\" in dates = { from = 2023-01-01, through = 2028-12-31 }: expected a day such as 2023-01-01, found \"2023-02-30\"",
            ],
        ),
    ];
    for (text, expected) in cases {
        let expected: Vec<String> = expected.iter().map(|fault| format!("pipeline.toml:{fault}")).collect();
        assert_eq!(faults(&folder(&text)), expected, "{text}");
    }
}

#[test]
fn references_point_at_dimensions_with_one_key_column() {
    let cases = [
        (
            "{ shop = \"dim_shop\" }",
            DIMENSION.to_owned(),
            vec!["11:23: \"shop\" refers to \"dim_shop\", which is no table here; did you mean \"dim_shops\"?"],
        ),
        (
            "{ shop = \"fact_sales\" }",
            DIMENSION.to_owned(),
            vec!["11:23: \"shop\" refers to \"fact_sales\", which is a fact, not a dimension"],
        ),
        (
            "{ shop = \"dim_shops\" }",
            DIMENSION.replace("[\"shop_id\"]", "[\"a\", \"b\"]"),
            vec!["11:23: \"shop\" refers to \"dim_shops\", whose key has 2 columns; it must have exactly one"],
        ),
        (
            "{ is_current = \"dim_shops\" }",
            DIMENSION.to_owned(),
            vec![
                "11:16: \"references\" in [[table]]: \"is_current\" is a column that the warehouse adds to dimensions",
            ],
        ),
    ];
    for (references, dimension, expected) in cases {
        let expected: Vec<String> = expected.iter().map(|fault| format!("pipeline.toml:{fault}")).collect();
        assert_eq!(faults(&folder(&format!("{BASE}references = {references}\n{dimension}"))), expected);
    }
}

#[test]
fn what_is_not_toml_is_one_fault_with_its_place() {
    let cases = [
        ("name = \"shop\"", "name = \"shop", "2:13: this is not TOML: invalid basic string, expected `\"`"),
        ("name = \"shop\"", "name = \"shop\"\nname = \"shop\"", "3:1: this is not TOML: duplicate key"),
    ];
    for (old, new, expected) in cases {
        let folder = folder(&BASE.replace(old, new));
        let reading = read(folder.path());
        assert_eq!(shown(&folder, &reading.faults), [format!("pipeline.toml:{expected}")]);
        assert!(reading.pipeline.is_none());
    }
}

#[test]
fn a_path_that_is_no_pipeline_says_what_one_is() {
    let folder = folder(BASE);
    let what = "a PIPELINE is a folder with a pipeline.toml and one SQL file a table, such as queries/food_delivery";
    let cases = [
        ("nowhere", format!("nowhere: there is no such folder; {what}")),
        ("pipeline.toml", format!("pipeline.toml: this is a file; {what}")),
        ("pipeline.toml/x", format!("pipeline.toml/x: there is no such folder; {what}")),
        ("dims", format!("dims: there is no pipeline.toml in this folder; {what}")),
    ];
    for (path, expected) in cases {
        let reading = read(&folder.path().join(path));
        assert_eq!(shown(&folder, &reading.faults), [expected]);
        assert!(reading.pipeline.is_none());
    }
}

#[test]
fn sql_files_are_there_filled_and_named_by_a_table() {
    let folder = folder(&format!("{BASE}{DIMENSION}[[table]]\nname = \"fact_returns\"\nkind = \"fact\"\n"));
    put(&folder, "fact_sales.sql", "-- only a remark\n\n");
    put(&folder, "dim_shops.sql", b"select\n  'Z\xc3\xbcrich\xff'");
    put(&folder, "fact_return.sql", "select id from events");
    put(&folder, ".draft.sql", "");
    put(&folder, "notes.txt", "");
    put(&folder, "report/by_shop.sql", "select 1");
    put(&folder, "report/all.sql", "\u{feff}select 2");
    put(&folder, "report/none.sql", " ");
    let reading = read(folder.path());
    let expected = [
        "pipeline.toml:8:1: table \"fact_sales\" has no SQL: fact_sales.sql is empty",
        "pipeline.toml:17:1: table \"fact_returns\" has no SQL: fact_returns.sql does not exist",
        "dim_shops.sql:2:10: the file is not UTF-8 from here on",
        "fact_return.sql: no [[table]] is named \"fact_return\", so this file would be ignored; did you mean \"fact_returns\"?",
        "report/none.sql: the file is empty",
    ];
    assert_eq!(shown(&folder, &reading.faults), expected);
    let pipeline = reading.pipeline.expect("a pipeline");
    assert!(pipeline.tables.is_empty());
    let report = |name: &str, sql: &str| Report {
        name: name.into(),
        sql: sql.into(),
        path: Path::new("report").join(format!("{name}.sql")),
    };
    assert_eq!(pipeline.reports, [report("all", "select 2"), report("by_shop", "select 1")]);
}

#[test]
fn a_pipeline_file_that_is_no_text_is_refused_with_the_place() {
    let folder = folder(BASE);
    put(&folder, "pipeline.toml", b"[pipeline]\nname = \"\xff\"\n");
    assert_eq!(faults(&folder), ["pipeline.toml:2:9: the file is not UTF-8 from here on"]);
}

#[test]
fn all_faults_of_a_folder_come_together_in_the_order_of_the_file() {
    let text = r#"[pipeline]
nmae = "shop"
[source]
stream = 5
[batch]
max_age = "2"
[[event.field]]
name = "ID"
type = "bigint"
[[event.field]]
name = "size"
type = "huge"
[[check]]
name = "a"
[[table]]
name = "fact_sales"
kind = "fact"
references = { shop = "dim_shops" }
colour = "red"
[target.aws]
"#;
    let folder = folder(text);
    put(&folder, "stray.sql", "select 1");
    let places: Vec<String> = faults(&folder)
        .iter()
        .map(|fault| fault.split_once(": ").map_or(fault.clone(), |(place, _)| place.to_owned()))
        .collect();
    let expected = ["1:1", "2:1", "4:10", "6:11", "8:8", "12:8", "13:1", "18:23", "19:1", "20:1", "20:1"];
    let expected: Vec<String> = expected.iter().map(|place| format!("pipeline.toml:{place}")).collect();
    assert_eq!(places[..11], expected);
    assert_eq!(places[11..], ["stray.sql"]);
}

#[test]
fn a_faulty_pipeline_keeps_what_planning_can_go_on_with() {
    let check_ok = "[[check]]\nname = \"a\"\nexpr = \"id > 0\"\ncolour = 1\n";
    let faulty = read(folder(&format!("{BASE}colour = 1\n{check_ok}{DIMENSION}")).path());
    assert_eq!(faulty.faults.len(), 2);
    let pipeline = faulty.pipeline.expect("a pipeline");
    assert_eq!((pipeline.tables.len(), pipeline.checks.len()), (2, 1));

    let no_type = BASE.replace("bigint", "int");
    let faulty = read(folder(&format!("{no_type}{check_ok}{DIMENSION}")).path());
    let pipeline = faulty.pipeline.expect("a pipeline");
    let names: Vec<&str> = pipeline.tables.iter().map(|table| table.name.as_str()).collect();
    assert_eq!(names, ["dim_shops"], "SQL over a broken event would only repeat its faults");
    assert!(pipeline.checks.is_empty());
}

#[test]
fn food_delivery_reads_without_fault() {
    let reading = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("queries/food_delivery"));
    assert_eq!(reading.faults, []);
    let pipeline = reading.pipeline.expect("a pipeline");
    assert_eq!(
        (pipeline.name.as_str(), pipeline.source.stream.as_str()),
        ("food_delivery", "incoming-food-order-data")
    );
    assert_eq!((pipeline.fields.len(), pipeline.checks.len()), (10, 5));
    let tables: Vec<_> = pipeline.tables.iter().map(|table| (table.name.as_str(), table.history)).collect();
    let expected = [
        ("fact_orders", History::Overwrite),
        ("dim_customers", History::Keep),
        ("dim_restaurants", History::Overwrite),
        ("dim_delivery_riders", History::Keep),
        ("dim_date", History::Overwrite),
    ];
    assert_eq!(tables, expected);
    assert_eq!(pipeline.tables[0].references.len(), 3);
    let reports: Vec<&str> = pipeline.reports.iter().map(|report| report.name.as_str()).collect();
    assert_eq!(reports, ["orders_by_status", "revenue_by_cuisine", "riders_by_delivery_time"]);
    let texts = pipeline.tables.iter().map(|table| &table.sql).chain(pipeline.reports.iter().map(|report| &report.sql));
    for sql in texts {
        assert!(sql.starts_with("-- One row is "), "{sql}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_reading_panic(line in 0_usize..10, column in 0_usize..20, noise in "[ \\-a-z0-9\"'\\[\\]{}=.,:<>()\n_é]{0,12}") {
        let mut lines: Vec<String> = BASE.lines().map(str::to_owned).collect();
        let cut: String = lines[line].chars().take(column).collect();
        lines[line] = format!("{cut}{noise}");
        let reading = read(folder(&lines.join("\n")).path());
        for fault in &reading.faults {
            prop_assert!(!fault.to_string().contains('\n'));
        }
        prop_assert!(reading.pipeline.is_some() || reading.faults.len() == 1);
    }
}
