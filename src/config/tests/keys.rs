//! Keys and their values: unknown, missing, of the wrong type, out of bounds, twice.

use super::*;

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
                "11:3: unknown key \"colour\" in [[table]]; known are name, kind, key, history, references, widths, redshift, from, allow_outside, dates, field",
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
        ("", "[target.local]\nport = 1\n", &["12:1: unknown key \"port\" in [target.local]; known are warehouse"]),
    ]);
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
