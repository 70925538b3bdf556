//! Declared fields.

use super::*;

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
fn a_timestamptz_may_say_which_zone_texts_without_one_are_of() {
    let typed = |text: &str| BASE.replace("type = \"bigint\"", text);
    let berlin = FieldType::Timestamptz { assume_zone: Some(chrono_tz::Tz::Europe__Berlin) };
    let utc = FieldType::Timestamptz { assume_zone: Some(chrono_tz::Tz::UTC) };
    let given = |text: &str| sound(&typed(text)).fields[0].field_type.clone();
    assert_eq!(given("type = \"timestamptz\"\nassume_zone = \"Europe/Berlin\""), berlin);
    assert_eq!(given("type = \"timestamptz\"\nassume_zone = \"UTC\""), utc);
    let lists = FieldType::List(Box::new(FieldType::List(Box::new(berlin.clone()))));
    assert_eq!(given("type = \"list<list<timestamptz>>\"\nassume_zone = \"Europe/Berlin\""), lists);
    let member = "{ name = \"at\", type = \"timestamptz\", assume_zone = \"UTC\" }";
    let FieldType::Struct(members) = given(&format!("type = \"struct\"\nfields = [{member}]")) else {
        panic!("a struct")
    };
    assert_eq!(members[0].field_type, utc);
    let column = DIMENSION.replace("\"integer\"", "\"timestamptz\", assume_zone = \"Europe/Berlin\"");
    let pipeline = sound(&format!("{BASE}{column}"));
    let Input::File { fields, .. } = &pipeline.tables[1].input else { panic!("a file") };
    assert_eq!(fields[0].field_type, berlin);
}

#[test]
fn a_zone_that_is_none_is_refused_with_the_nearest_and_so_is_one_of_another_type() {
    let zoned = |field_type: &str, zone: &str| {
        BASE.replace("type = \"bigint\"", &format!("type = \"{field_type}\"\nassume_zone = {zone}"))
    };
    let unknown = |name: &str| {
        format!(
            "8:15: \"assume_zone\" in [[event.field]]: \"{name}\" is no time zone of the IANA database, such as \"UTC\" or \"Europe/Berlin\""
        )
    };
    let other = "only a timestamptz has a zone that texts without one are of, and the type is";
    let cases = [
        (
            zoned("timestamptz", "\"Europe/Berln\""),
            format!("{}; did you mean \"Europe/Berlin\"?", unknown("Europe/Berln")),
        ),
        (zoned("timestamptz", "\"new york\""), format!("{}; did you mean \"America/New_York\"?", unknown("new york"))),
        (zoned("list<timestamptz>", "\"utc\""), format!("{}; did you mean \"UTC\"?", unknown("utc"))),
        (zoned("timestamptz", "\"\""), unknown("")),
        (
            zoned("timestamptz", "2"),
            "8:15: \"assume_zone\" in [[event.field]]: expected a string, found an integer".to_owned(),
        ),
        (zoned("timestamp", "\"UTC\""), format!("8:15: \"assume_zone\" in [[event.field]]: {other} timestamp")),
        (zoned("list<date>", "\"UTC\""), format!("8:15: \"assume_zone\" in [[event.field]]: {other} list<date>")),
    ];
    for (text, expected) in cases {
        assert_eq!(faults(&folder(&text)), [format!("pipeline.toml:{expected}")], "{text}");
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
