//! `widths` and `redshift` of a table.

use super::*;

#[test]
fn a_table_says_how_wide_its_columns_are_and_how_redshift_lays_it_out() {
    let table = |lines: &str| sound(&format!("{BASE}{lines}\n")).tables.remove(0);
    let full = table(
        "widths = { status = 16, note = 65535 }\n\
         redshift = { distribution = \"key(id)\", sort_key = [\"day\", \"id\"], encodings = { id = \"raw\", day = \"az64\" } }",
    );
    assert_eq!(full.widths, [("note".to_owned(), 65_535), ("status".to_owned(), 16)].into());
    let expected = TableLayout {
        distribution: Some(Distribution::Key("id".into())),
        sort_key: vec!["day".into(), "id".into()],
        encodings: [("day".to_owned(), "az64".to_owned()), ("id".to_owned(), "raw".to_owned())].into(),
    };
    assert_eq!(full.layout, expected);
    let columns: Vec<&str> = full.layout.columns().map(String::as_str).collect();
    assert_eq!(columns, ["id", "day", "id", "day", "id"]);
    for (text, expected) in [("all", Distribution::All), ("even", Distribution::Even), ("auto", Distribution::Auto)] {
        let layout = table(&format!("redshift = {{ distribution = \"{text}\" }}")).layout;
        assert_eq!(layout, TableLayout { distribution: Some(expected), ..TableLayout::default() });
    }
    let encodings = "raw az64 bytedict delta delta32k lzo mostly8 mostly16 mostly32 runlength text255 text32k zstd";
    for encoding in encodings.split(' ') {
        let layout = table(&format!("redshift = {{ encodings = {{ id = \"{encoding}\" }} }}")).layout;
        assert_eq!(layout.encodings["id"], encoding);
    }
}

#[test]
fn what_no_width_and_no_layout_is_is_told_with_its_place() {
    let too_many: Vec<String> = (0..401).map(|column| format!("\"c{column}\"")).collect();
    let too_many = format!("redshift = {{ sort_key = [{}] }}\n", too_many.join(", "));
    let known = "\"raw\" or \"az64\" or \"bytedict\" or \"delta\" or \"delta32k\" or \"lzo\" or \"mostly8\" or \"mostly16\" or \"mostly32\" or \"runlength\" or \"text255\" or \"text32k\" or \"zstd\"";
    check(&[
        (
            "",
            "widths = { status = 0, note = 65536, Wide = 1, surrogate_key = 1, _a = 1 }\n",
            &[
                "11:21: \"status\" in widths = { column = 16 }: expected a number from 1 to 65535, found 0",
                "11:31: \"note\" in widths = { column = 16 }: expected a number from 1 to 65535, found 65536",
                "11:38: \"widths\" in widths = { column = 16 }: \"Wide\" is not a name: lower-case letters, digits and \"_\", a letter first, at most 127 bytes",
                "11:48: \"widths\" in widths = { column = 16 }: \"surrogate_key\" is a column that the warehouse adds to dimensions",
                "11:67: \"widths\" in widths = { column = 16 }: \"_a\": names that begin with \"_\" are kept for the columns that Millstream adds",
            ],
        ),
        (
            "",
            "widths = 16\n",
            &["11:10: \"widths\" in [[table]]: expected a table, widths = { column = 16 }; found an integer"],
        ),
        (
            "",
            "redshift = { distribution = \"key\", sort_key = [\"a\", \"a\"], distkey = \"a\" }\n",
            &[
                "11:29: \"distribution\" in redshift = { … }: expected \"key(column)\" or \"all\" or \"even\" or \"auto\", found \"key\"",
                "11:47: \"sort_key\" in redshift = { … }: \"a\" stands twice",
                "11:59: unknown key \"distkey\" in redshift = { … }; did you mean \"sort_key\"?",
            ],
        ),
        (
            "",
            "redshift = { distribution = \"key(A)\", encodings = { a = \"gzip\" } }\n",
            &[
                "11:29: \"distribution\" in redshift = { … }: \"A\" is not a name: lower-case letters, digits and \"_\", a letter first, at most 127 bytes",
                &format!("11:57: \"a\" in encodings = {{ column = \"zstd\" }}: expected {known}, found \"gzip\""),
            ],
        ),
        ("", &too_many, &["11:25: \"sort_key\" in redshift = { … }: 401 columns; a sort key has at most 400"]),
    ]);
}
