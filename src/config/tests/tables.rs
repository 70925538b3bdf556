//! Tables: their SQL, inputs and references.

use chrono::NaiveDate;

use super::*;

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
            vec!["15:8: \"from\" in [[table]]: dims is a folder: only a regular file is read"],
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
