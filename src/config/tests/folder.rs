//! Folders that are no pipeline, and files that are no text.

use super::*;

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
