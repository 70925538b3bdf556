//! The pipeline as a whole: its defaults, every key of it, and what is handed on of a faulty one.

use proptest::prelude::*;

use super::*;

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
    assert_eq!(pipeline.targets.get("local"), Some(&Target::Local(LocalTarget::default())));
    let [table] = pipeline.tables.as_slice() else { panic!("{:?}", pipeline.tables) };
    assert_eq!((table.name.as_str(), table.kind, table.history), ("fact_sales", TableKind::Fact, History::Overwrite));
    assert_eq!((table.line, table.sql.as_str(), &table.input), (8, "select id from events", &Input::Events));
    assert!(table.key.is_empty() && table.references.is_empty() && table.widths.is_empty());
    assert_eq!(table.layout, TableLayout::default());
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
    assert_eq!(
        dimension.input,
        Input::File { path: "dims/shops.csv".into(), allow_outside: false, fields: vec![field] }
    );
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

/// What stands in a comment at the end of the example, from `# [target.aws]` on.
#[test]
fn the_examples_of_targets_read_once_they_are_no_comment() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("queries/food_delivery/pipeline.toml");
    let text = fs::read_to_string(example).expect("readable");
    let (before, commented) = text.split_once("\n# [target.").expect("an example");
    let uncommented = format!("[target.{commented}").replace("\n# ", "\n");
    assert!(!before.contains("[target.aws") && !uncommented.contains("\n#"), "{uncommented}");
    let mut targets = sound(&format!("{BASE}{uncommented}")).targets;
    assert_eq!(targets.remove("local"), Some(Target::Local(LocalTarget::default())));
    let kinds: Vec<(&str, &str)> = targets.iter().map(|(name, target)| (name.as_str(), kind(target))).collect();
    let expected = [("aws", "redshift by wire"), ("postgres", "postgres"), ("serverless", "redshift by data_api")];
    assert_eq!(kinds, expected);
}

fn kind(target: &Target) -> &'static str {
    let Target::Aws(AwsTarget { warehouse, .. }) = target else { return "local" };
    match warehouse {
        WarehouseSettings::Delta => "delta",
        WarehouseSettings::Postgres(_) => "postgres",
        WarehouseSettings::Redshift(RedshiftSettings { access: RedshiftAccess::Wire(_), .. }) => "redshift by wire",
        WarehouseSettings::Redshift(_) => "redshift by data_api",
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
