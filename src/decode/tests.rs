//! The rules of docs/decoding.md, row by row, and the properties that hold for any bytes.

mod wrappers;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Decimal128Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::util::display::array_value_to_string;
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::batch::{Position, RawRecord, Reject, SequenceNumber, ShardId};
use crate::error::{Error, ErrorKind};
use crate::schema::FieldType;

fn field(name: &str, field_type: &str) -> Field {
    let field_type = field_type.parse().expect(field_type);
    Field { name: name.to_owned(), path: vec![name.to_owned()], field_type, required: false }
}

fn required(mut field: Field) -> Field {
    field.required = true;
    field
}

fn at(mut field: Field, path: &str) -> Field {
    field.path = path.split('.').map(str::to_owned).collect();
    field
}

fn of(mut field: Field, field_type: FieldType) -> Field {
    field.field_type = field_type;
    field
}

fn batch(payloads: &[&[u8]]) -> RawBatch {
    let record = |(number, payload): (u64, &&[u8])| RawRecord {
        shard: ShardId::new("shardId-000000000001"),
        position: Position::new(SequenceNumber::from(100 + number), number),
        arrived_at: 1_700_000_000_000_000 + i64::try_from(number).expect("small"),
        payload: Bytes::copy_from_slice(payload),
        damage: None,
    };
    RawBatch { records: (0..).zip(payloads).map(record).collect(), ..RawBatch::default() }
}

fn decode(fields: &[Field], payload: &[u8]) -> Decoded {
    decode_all(fields, batch(&[payload]))
}

/// A batch that is not cut.
fn decode_all(fields: &[Field], raw: RawBatch) -> Decoded {
    let (decoded, rest) = Decoder::new(fields).decode(raw);
    assert!(rest.is_none(), "{rest:?}");
    decoded
}

/// Whether both batches hold the very same bytes.
fn is_the_same(left: &RawBatch, right: &RawBatch) -> bool {
    let places = |raw: &RawBatch| raw.records.iter().map(|record| record.payload.as_ptr()).collect::<Vec<_>>();
    places(left) == places(right)
}

/// A column as text; `null` for nulls.
fn shown(events: &RecordBatch, column: &str) -> Vec<String> {
    let array = events.column_by_name(column).expect(column);
    let cell = |row| if array.is_null(row) { "null".into() } else { array_value_to_string(array, row).expect("cell") };
    (0..array.len()).map(cell).collect()
}

fn reasons(decoded: &Decoded) -> Vec<&str> {
    decoded.rejects.iter().map(|reject| reject.reason.as_str()).collect()
}

fn payloads(decoded: &Decoded) -> Vec<String> {
    decoded.rejects.iter().map(|reject| String::from_utf8_lossy(&reject.payload).into_owned()).collect()
}

/// A value of this type, given as this JSON: the cell as text, or the reason of the reject.
fn one(field_type: &str, value: &str) -> Result<String, String> {
    let payload = format!("{{\"before\":[1],\"x\":{value},\"y\":7}}");
    let fields = [field("x", field_type), field("y", "smallint")];
    let decoded = decode(&fields, payload.as_bytes());
    assert_eq!(decoded.events.num_rows() + decoded.rejects.len(), 1, "{payload}");
    match decoded.rejects.first() {
        Some(reject) => Err(reject.reason.clone()),
        None => {
            assert_eq!(shown(&decoded.events, "y"), ["7"], "{payload}");
            Ok(shown(&decoded.events, "x").remove(0))
        }
    }
}

fn check(cases: &[(&str, &str, Result<&str, &str>)]) {
    for (field_type, value, expected) in cases {
        let outcome = one(field_type, value);
        let outcome = outcome.as_ref().map(String::as_str).map_err(String::as_str);
        assert_eq!(outcome, *expected, "{field_type} given {value}");
    }
}

#[test]
fn numbers_are_read_from_numbers_and_from_strings_of_them() {
    check(&[
        ("smallint", "32767", Ok("32767")),
        ("smallint", "32768", Err("overflow")),
        ("smallint", "-32768", Ok("-32768")),
        ("integer", "2147483647", Ok("2147483647")),
        ("integer", "-2147483649", Err("overflow")),
        ("bigint", "9223372036854775807", Ok("9223372036854775807")),
        ("bigint", "-9223372036854775808", Ok("-9223372036854775808")),
        ("bigint", "9223372036854775808", Err("overflow")),
        ("bigint", "1e400", Err("overflow")),
        ("integer", "\" 42 \"", Ok("42")),
        ("integer", "\"4\\u0032\"", Ok("42")),
        ("integer", "\"3.0\"", Ok("3")),
        ("integer", "\"abc\"", Err("wrong_type")),
        ("integer", "\"+1\"", Err("wrong_type")),
        ("integer", "\"007\"", Err("wrong_type")),
        ("integer", "\"1,000\"", Err("wrong_type")),
        ("double", "\"NaN\"", Err("wrong_type")),
        ("integer", "\"\"", Ok("null")),
        ("decimal(9,2)", "\" \\t\"", Ok("null")),
        ("integer", "3.0", Ok("3")),
        ("integer", "30e-1", Ok("3")),
        ("integer", "1e3", Ok("1000")),
        ("integer", "3.5", Err("fraction")),
        ("integer", "-0", Ok("0")),
        ("integer", "true", Err("wrong_type")),
        ("integer", "{\"a\":1}", Err("wrong_type")),
        ("integer", "[1]", Err("wrong_type")),
        ("integer", "null", Ok("null")),
        ("real", "0.1", Ok("0.1")),
        ("real", "3.5e38", Err("overflow")),
        ("double", "1e-400", Ok("0.0")),
        ("double", "-0", Ok("-0.0")),
        ("double", "1e309", Err("overflow")),
        ("double", "\"2.5\"", Ok("2.5")),
        ("double", "false", Err("wrong_type")),
    ]);
}

#[test]
fn decimals_are_exact_or_refused() {
    check(&[
        ("decimal(10,2)", "12.34", Ok("12.34")),
        ("decimal(10,2)", "\"12.34\"", Ok("12.34")),
        ("decimal(10,2)", "12", Ok("12.00")),
        ("decimal(10,2)", "12.3400", Ok("12.34")),
        ("decimal(10,2)", "12.345", Err("fraction")),
        ("decimal(10,2)", "1.234e1", Ok("12.34")),
        ("decimal(10,2)", "1234e-2", Ok("12.34")),
        ("decimal(10,2)", "99999999.99", Ok("99999999.99")),
        ("decimal(10,2)", "100000000", Err("overflow")),
        ("decimal(10,2)", "-100000000.00", Err("overflow")),
        ("decimal(10,2)", "0.1", Ok("0.10")),
        ("decimal(10,2)", "-0", Ok("0.00")),
        ("decimal(38,0)", "99999999999999999999999999999999999999", Ok("99999999999999999999999999999999999999")),
        ("decimal(38,0)", "100000000000000000000000000000000000000", Err("overflow")),
        ("decimal(38,18)", "0.100000000000000005", Ok("0.100000000000000005")),
        ("decimal(18,17)", "0.30000000000000004", Ok("0.30000000000000004")),
        ("decimal(5,5)", "0.99999", Ok("0.99999")),
        ("decimal(5,5)", "1", Err("overflow")),
        ("decimal(5,0)", "true", Err("wrong_type")),
    ]);
}

#[test]
fn booleans_are_read_from_their_words_and_from_0_and_1() {
    check(&[
        ("boolean", "true", Ok("true")),
        ("boolean", "false", Ok("false")),
        ("boolean", "\"true\"", Ok("true")),
        ("boolean", "\" False \"", Ok("false")),
        ("boolean", "1", Ok("true")),
        ("boolean", "0", Ok("false")),
        ("boolean", "\"1\"", Ok("true")),
        ("boolean", "\"\"", Ok("null")),
        ("boolean", "2", Err("wrong_type")),
        ("boolean", "1.0", Err("wrong_type")),
        ("boolean", "\"yes\"", Err("wrong_type")),
        ("boolean", "[]", Err("wrong_type")),
    ]);
}

#[test]
fn strings_are_kept_as_written_and_bounded_in_bytes() {
    check(&[
        ("string(5)", "\"abcde\"", Ok("abcde")),
        ("string(5)", "\"abcdef\"", Err("too_long")),
        ("string(4)", "\"\u{e9}\u{e9}\"", Ok("\u{e9}\u{e9}")),
        ("string(3)", "\"\u{e9}\u{e9}\"", Err("too_long")),
        ("string(4)", "\"\\ud83d\\ude00\"", Ok("😀")),
        ("string(9)", "\" a \"", Ok(" a ")),
        ("string(9)", "\"\"", Ok("")),
        ("string(9)", "1.50", Ok("1.50")),
        ("string(9)", "-1E+2", Ok("-1E+2")),
        ("string(9)", "true", Ok("true")),
        ("string(3)", "12345", Err("too_long")),
        ("string(9)", "null", Ok("null")),
        ("string(9)", "\"a\\u0000b\"", Err("nul_byte")),
        ("string(9)", "\"\\ud83d\"", Err("lone_surrogate")),
        ("string(9)", "\"\\ude00x\"", Err("lone_surrogate")),
        ("string(9)", "{}", Err("wrong_type")),
        ("string(9)", "[\"a\"]", Err("wrong_type")),
    ]);
}

#[test]
fn days_and_instants_are_read_in_the_forms_of_the_table() {
    check(&[
        ("date", "\"2024-05-01\"", Ok("2024-05-01")),
        ("date", "\"0001-01-01\"", Ok("0001-01-01")),
        ("date", "\"9999-12-31\"", Ok("9999-12-31")),
        ("date", "\"0000-12-31\"", Err("out_of_range")),
        ("date", "\"10000-01-01\"", Err("out_of_range")),
        ("date", "\"2023-02-29\"", Err("out_of_range")),
        ("date", "\"2024-05-01T00:00:00\"", Err("wrong_type")),
        ("date", "20240501", Err("wrong_type")),
        ("date", "\"\"", Ok("null")),
        ("timestamptz", "\"2024-05-01T12:34:56.789Z\"", Ok("2024-05-01T12:34:56.789Z")),
        ("timestamptz", "\"2024-05-01 14:34:56.1234567+0200\"", Ok("2024-05-01T12:34:56.123456Z")),
        ("timestamptz", "\"2024-05-01T12:34:56\"", Err("wrong_type")),
        ("timestamptz", "1714567890", Ok("2024-05-01T12:51:30Z")),
        ("timestamptz", "1714567890123", Ok("2024-05-01T12:51:30.123Z")),
        ("timestamptz", "1714567890123456", Err("out_of_range")),
        ("timestamptz", "\"1714567890\"", Err("wrong_type")),
        ("timestamptz", "\"9999-12-31T23:59:59-01:00\"", Err("out_of_range")),
        ("timestamptz", "1714566896.5", Ok("2024-05-01T12:34:56.500Z")),
        ("timestamptz", "1714566896.1234567", Ok("2024-05-01T12:34:56.123456Z")),
        ("timestamptz", "-1714566896.1234567", Ok("1915-09-02T11:25:03.876544Z")),
        ("timestamptz", "1.7e9", Ok("2023-11-14T22:13:20Z")),
        ("timestamptz", "\"1714566896.5\"", Err("wrong_type")),
        ("timestamp", "1714566896.5", Ok("2024-05-01T12:34:56.500")),
        ("timestamp", "\"2024-05-01 12:34:56\"", Ok("2024-05-01T12:34:56")),
        ("timestamptz", "\"2024-05-01 12:34:56\"", Err("wrong_type")),
        ("timestamptz", "\"2024-05-01 12:34:56 +02:00\"", Err("wrong_type")),
        ("timestamptz", "true", Err("wrong_type")),
        ("timestamp", "\"2024-05-01T12:34:56\"", Ok("2024-05-01T12:34:56")),
        ("timestamp", "\"2024-05-01T14:34:56+02:00\"", Ok("2024-05-01T12:34:56")),
        ("timestamp", "\"2024-05-01\"", Ok("2024-05-01T00:00:00")),
        ("timestamp", "\"2024-05-01T24:00:00\"", Err("out_of_range")),
        ("timestamp", "\"yesterday\"", Err("wrong_type")),
    ]);
}

/// A timestamptz that assumes a zone.
fn assuming(name: &str, zone: &str) -> Field {
    let assume_zone = Some(zone.parse().expect(zone));
    of(field(name, "date"), FieldType::Timestamptz { assume_zone })
}

#[test]
fn a_text_without_a_zone_is_of_the_zone_that_the_field_assumes() {
    let fields = [
        assuming("utc", "UTC"),
        assuming("york", "America/New_York"),
        of(field("list", "date"), FieldType::List(Box::new(assuming("", "Europe/Berlin").field_type))),
        of(field("inner", "date"), FieldType::Struct(vec![required(assuming("at", "Europe/Berlin"))])),
    ];
    let decoded = decode(
        &fields,
        br#"{"utc":"2024-05-01 12:34:56","york":"2024-05-01T12:34:56.5","list":["2024-05-01","2024-12-01T00:00Z",1714566896.5],
             "inner":{"at":"2024-10-27T02:30:00"}}
            {"utc":"2024-05-01","york":"2024-05-01T12:34:56-01:00","list":[" "],"inner":null}
            {"york":"2026-03-08T02:30:00"}
            {"list":["2024-03-31T02:30"]}
            {"inner":{"at":" "}}"#,
    );
    assert_eq!(shown(&decoded.events, "utc"), ["2024-05-01T12:34:56Z", "2024-05-01T00:00:00Z"]);
    assert_eq!(shown(&decoded.events, "york"), ["2024-05-01T16:34:56.500Z", "2024-05-01T13:34:56Z"]);
    let list = ["[2024-04-30T22:00:00Z, 2024-12-01T00:00:00Z, 2024-05-01T12:34:56.500Z]", "[]"];
    assert_eq!(shown(&decoded.events, "list"), list);
    assert_eq!(shown(&decoded.events, "inner"), ["{at: 2024-10-27T00:30:00Z}", "null"]);
    assert_eq!(reasons(&decoded), ["skipped_time", "skipped_time", "missing_field"]);
    assert_eq!(
        decoded.rejects[0].message,
        "field york is \"2026-03-08T02:30:00\", which is no timestamptz with assume_zone America/New_York: the clocks \
         there were put forward over that time"
    );
    let cells =
        decode_file(&fields[1..2], &info("f", 0), Bytes::from_static(b"york\n2024-05-01 12:34:56\n2026-03-08 02:30\n"));
    let cells = cells.expect("a heading");
    assert_eq!(
        (shown(&cells.events, "york"), reasons(&cells)),
        (vec!["2024-05-01T16:34:56Z".to_owned()], vec!["skipped_time"])
    );
}

#[test]
fn what_is_not_json_is_refused_whole() {
    let deep = |open: usize| format!("{}{}", "[".repeat(open), "]".repeat(open));
    check(&[
        ("integer", "NaN", Err("not_json")),
        ("double", "Infinity", Err("not_json")),
        ("integer", "+1", Err("not_json")),
        ("integer", "01", Err("not_json")),
        ("double", "1.", Err("not_json")),
        ("double", ".5", Err("not_json")),
        ("integer", "", Err("not_json")),
        ("string(9)", "'a'", Err("not_json")),
        ("string(9)", "\"a\tb\"", Err("not_json")),
        ("string(9)", "\"a\0b\"", Err("not_json")),
        ("string(9)", "\"\\x\"", Err("not_json")),
        ("boolean", "True", Err("not_json")),
        ("integer", "1,\"u\":[1,]", Err("not_json")),
        ("integer", "1,\"u\":01", Err("not_json")),
        ("integer", "\"x\",\"u\":nul", Err("not_json")),
        ("integer", r#"1,"u":"\u0000\ud800""#, Ok("1")),
        ("integer", &format!("1,\"u\":{}", deep(63)), Ok("1")),
        ("integer", &format!("1,\"u\":{}", deep(64)), Err("too_deep")),
        ("integer", &format!("{},\"u\":1", deep(64)), Err("too_deep")),
        ("integer", &format!("1,\"u\":{}", deep(100_000)), Err("too_deep")),
    ]);
}

#[test]
fn trailing_bytes_and_wrong_wholes_are_refused() {
    let cases: [(&[u8], &str); 17] = [
        (b"", "empty_payload"),
        (b" \r\n\t ", "empty_payload"),
        (b"[]", "empty_payload"),
        (b"[ ]\n", "empty_payload"),
        (b"\xEF\xBB\xBF", "empty_payload"),
        (b"{\"x\":1}}", "not_json"),
        (b"{\"x\":1} garbage", "not_json"),
        (b"{\"x\":1},", "not_json"),
        (b"{\"x\":1", "not_json"),
        (b"\xFF\xFE{\x00", "invalid_utf8"),
        (b"{\"x\":1,\"y\":\"\xC3\"}", "invalid_utf8"),
        (b"{\"\xC3\":1}", "invalid_utf8"),
        (b"{\"x\":1}\xFF", "invalid_utf8"),
        (b"5", "not_an_object"),
        (b"\"{}\"", "not_an_object"),
        (b"[null]", "not_an_object"),
        (b"[[{\"x\":1}]]", "not_an_object"),
    ];
    for (payload, reason) in cases {
        let decoded = decode(&[field("x", "integer")], payload);
        let text = String::from_utf8_lossy(payload);
        assert_eq!((decoded.events.num_rows(), reasons(&decoded)), (0, vec![reason]), "{text}");
        assert_eq!(decoded.rejects[0].payload, payload, "a record's only reject keeps it whole: {text}");
    }
}

#[test]
fn keys_compare_exactly_whatever_their_order_and_escapes() {
    let fields = [field("id", "integer"), at(field("upper", "integer"), "ID"), at(field("quote", "integer"), "a\"b")];
    let payload =
        br#"{"id":1,"ID":2,"a\"b":3}{"ID":5,"a\u0022b":6,"unknown":{"id":9},"\u0069d":4}{"Id":7,"i\ud800d":8}"#;
    let decoded = decode(&fields, payload);
    assert_eq!(reasons(&decoded), Vec::<&str>::new());
    assert_eq!(shown(&decoded.events, "id"), ["1", "4", "null"]);
    assert_eq!(shown(&decoded.events, "upper"), ["2", "5", "null"]);
    assert_eq!(shown(&decoded.events, "quote"), ["3", "6", "null"]);
}

#[test]
fn a_declared_key_twice_is_refused_and_an_unknown_one_is_not() {
    let fields = [at(field("a", "integer"), "o.a"), at(field("b", "integer"), "o.b"), field("c", "integer")];
    for (payload, expected) in [
        (r#"{"c":1,"c":1}"#, "duplicate_key"),
        (r#"{"c":null,"\u0063":1}"#, "duplicate_key"),
        (r#"{"o":{"a":1},"o":{"b":2}}"#, "duplicate_key"),
        (r#"{"o":{"a":1,"a":2}}"#, "duplicate_key"),
    ] {
        assert_eq!(reasons(&decode(&fields, payload.as_bytes())), [expected], "{payload}");
    }
    let decoded = decode(&fields, br#"{"z":1,"z":2,"o":{"z":1,"z":1,"a":1},"a":5}"#);
    assert_eq!((decoded.events.num_rows(), shown(&decoded.events, "a")), (1, vec!["1".to_owned()]));
}

#[test]
fn paths_reach_into_nested_objects_and_may_share_them() {
    let fields = [
        required(at(field("code", "string(9)"), "Data.Item.Code")),
        at(field("price", "decimal(9,2)"), "Data.Item.Price"),
        at(field("store", "integer"), "Data.Store"),
        at(field("day", "date"), "Data.Day"),
        at(field("day_text", "string(10)"), "Data.Day"),
    ];
    let decoded = decode(
        &fields,
        br#"{"x":{},"Data":{"Day":"2024-05-01","Item":{"Price":1.5,"Q":[{}],"Code":85123},"Store":7}}
            {"Data":{"Item":{"Code":"A"}}}"#,
    );
    assert_eq!(reasons(&decoded), Vec::<&str>::new());
    assert_eq!(shown(&decoded.events, "code"), ["85123", "A"]);
    assert_eq!(shown(&decoded.events, "price"), ["1.50", "null"]);
    assert_eq!(shown(&decoded.events, "store"), ["7", "null"]);
    assert_eq!(shown(&decoded.events, "day"), ["2024-05-01", "null"]);
    assert_eq!(shown(&decoded.events, "day_text"), ["2024-05-01", "null"]);
    for (payload, reason) in [
        (r#"{"Data":{"Item":{"Price":1}}}"#, "missing_field"),
        (r#"{"Data":{"Item":null}}"#, "missing_field"),
        (r#"{"Data":{}}"#, "missing_field"),
        (r#"{}"#, "missing_field"),
        (r#"{"Data":{"Item":[{"Code":1}]}}"#, "wrong_type"),
        (r#"{"Data":"Item"}"#, "wrong_type"),
    ] {
        assert_eq!(reasons(&decode(&fields, payload.as_bytes())), [reason], "{payload}");
    }
    let optional = decode(&fields[1..], br#"{"Data":{"Item":null,"Store":2}}{"Data":null}"#);
    assert_eq!(shown(&optional.events, "store"), ["2", "null"]);
}

#[test]
fn required_fields_must_have_a_value() {
    let fields = [required(field("n", "integer")), required(field("s", "string(9)"))];
    for (payload, how) in [
        (r#"{"s":"a"}"#, "missing"),
        (r#"{"n":null,"s":"a"}"#, "null"),
        (r#"{"n":" ","s":"a"}"#, "blank"),
        (r#"{"n":1,"s":null}"#, "null"),
    ] {
        let decoded = decode(&fields, payload.as_bytes());
        assert_eq!(reasons(&decoded), ["missing_field"], "{payload}");
        let message = &decoded.rejects[0].message;
        assert!(message.contains(&format!("is required and {how}: expected")), "{message}");
    }
    let decoded = decode(&fields, br#"{"n":1,"s":""}"#);
    assert_eq!(shown(&decoded.events, "s"), [""], "an empty string is a value");
}

fn order_items() -> Vec<Field> {
    let line = FieldType::Struct(vec![
        required(field("sku", "string(9)")),
        at(field("cents", "integer"), "price.cents"),
        field("tags", "list<string(5)>"),
    ]);
    vec![
        field("id", "integer"),
        of(field("items", "date"), FieldType::List(Box::new(line.clone()))),
        of(field("first", "date"), line),
        field("matrix", "list<list<integer>>"),
    ]
}

#[test]
fn structs_and_lists_follow_the_same_rules() {
    let decoded = decode(
        &order_items(),
        br#"[{"id":1,"items":[{"sku":"a","price":{"cents":5},"tags":["x",null,7]},null,{"sku":"b","tags":[ ]}],
              "first":{"sku":"f"},"matrix":[[1,"2",""],[],null]},
             {"id":2,"items":[{"sku":"c"},{"tags":["y"]}],"matrix":[[9]]},
             {"id":3,"items":[],"first":null}, {"id":4,"first":{}}, {"id":5,"items":{"sku":"q"}}, {"id":6,"matrix":[[1,[2]]]},
             {"id":7,"first":{"sku":"g","tags":["toolong"]}}, {"id":8,"items":null,"first":{"sku":"h","tags":null}}]"#,
    );
    assert_eq!(reasons(&decoded), ["missing_field", "missing_field", "wrong_type", "wrong_type", "too_long"]);
    assert_eq!(decoded.rejects.iter().map(|reject| reject.index).collect::<Vec<_>>(), [1, 3, 4, 5, 6]);
    assert_eq!(shown(&decoded.events, "id"), ["1", "3", "8"]);
    assert_eq!(
        shown(&decoded.events, "items"),
        ["[{sku: a, cents: 5, tags: [x, , 7]}, , {sku: b, cents: , tags: []}]", "[]", "null"]
    );
    assert_eq!(shown(&decoded.events, "first"), ["{sku: f, cents: , tags: }", "null", "{sku: h, cents: , tags: }"]);
    assert_eq!(shown(&decoded.events, "matrix"), ["[[1, 2, ], [], ]", "null", "null"]);
    assert!(decoded.rejects[0].message.contains("field items[].sku"), "{}", decoded.rejects[0].message);
}

#[test]
fn every_event_carries_its_origin_and_system_columns() {
    let payloads: [&[u8]; 3] = [b" {\"x\":1}\n{\"x\":2} ", b"oops", b"[{\"x\":3},{\"x\":\"?\"},{\"x\":4}]"];
    let raw = batch(&payloads);
    let decoder = Decoder::new(&[field("x", "integer")]);
    let decoded = decode_all(&[field("x", "integer")], raw.clone());
    assert_eq!(decoded.events.schema(), decoder.schema());
    assert_eq!(decoder.schema(), input_schema(&[field("x", "integer")]));
    assert!(is_the_same(&decoded.raw, &raw));
    assert_eq!(shown(&decoded.events, "x"), ["1", "2", "3", "4"]);
    assert_eq!(shown(&decoded.events, "_shard"), ["shardId-000000000001"; 4]);
    assert_eq!(shown(&decoded.events, "_sequence"), ["100", "100", "102", "102"]);
    assert_eq!(shown(&decoded.events, "_subsequence"), ["0", "0", "2", "2"]);
    assert_eq!(shown(&decoded.events, "_index"), ["0", "1", "0", "2"]);
    assert_eq!(
        shown(&decoded.events, "_position"),
        [
            "003100.0000000000.000000",
            "003100.0000000000.000001",
            "003102.0000000002.000000",
            "003102.0000000002.000002"
        ]
    );
    assert_eq!(shown(&decoded.events, "_arrived_at")[2], "2023-11-14T22:13:20.000002Z");
    let spans = decoded.origins.iter().map(|origin| {
        std::str::from_utf8(&payloads[origin.record as usize][origin.start as usize..origin.end as usize])
            .expect("utf-8")
    });
    assert_eq!(spans.collect::<Vec<_>>(), ["{\"x\":1}", "{\"x\":2}", "{\"x\":3}", "{\"x\":4}"]);
    let Reject { reason, shard, position, index, arrived_at, .. } = &decoded.rejects[1];
    assert_eq!((reason.as_str(), shard, index), ("wrong_type", &raw.records[2].shard, &1));
    assert_eq!((position, *arrived_at), (&raw.records[2].position, raw.records[2].arrived_at));
    assert_eq!(decoded.rejects[0].payload, "oops");
    assert_eq!(decoded.rejects[1].payload, "{\"x\":\"?\"}");
}

/// Events, then the rejects' payloads.
fn framed(payload: &str) -> (Vec<String>, Vec<String>) {
    let decoded = decode(&[field("x", "integer")], payload.as_bytes());
    let mut places: Vec<u32> = decoded.origins.iter().map(|origin| origin.index).collect();
    places.extend(decoded.rejects.iter().map(|reject| reject.index));
    places.sort_unstable();
    assert!(places.iter().copied().eq(0..u32::try_from(places.len()).expect("few")), "{payload}");
    (shown(&decoded.events, "x"), payloads(&decoded))
}

#[test]
fn a_broken_event_among_lines_costs_only_itself() {
    type Case<'a> = (&'a str, &'a [&'a str], &'a [&'a str]);
    let cases: [Case<'_>; 18] = [
        ("{\"x\":1}\nbroken\n{\"x\":3}", &["1", "3"], &["broken"]),
        ("bad\nworse\n{\"x\":3}", &["3"], &["bad", "worse"]),
        ("{\"x\":1}\r\n{\"x\":2,}\r\n{\"x\":3}\r\n", &["1", "3"], &["{\"x\":2,}"]),
        ("{\"x\":1}\n{\"x\":2\n{\"x\":3}", &["1", "3"], &["{\"x\":2"]),
        ("{\"x\":1}\n{\"x\":\"2\n{\"x\":3}", &["1", "3"], &["{\"x\":\"2"]),
        ("{\"x\":1,\n{\"x\":2}", &["2"], &["{\"x\":1,"]),
        ("{\"x\":1} {\"x\":2}{\"x\":3}", &["1", "2", "3"], &[]),
        ("{\"x\":1}\n{\"x\":2} junk\n{\"x\":3}", &["1", "3"], &["{\"x\":2} junk"]),
        ("{\"x\":1}\n{\"x\":true} junk\n{\"x\":3}", &["1", "3"], &["{\"x\":true} junk"]),
        ("{\"x\":1}\n{\"x\":\"a\",\"b\":{\"c\":[1]}}\n{\"x\":3}", &["1", "3"], &["{\"x\":\"a\",\"b\":{\"c\":[1]}}"]),
        ("{\"x\":1}\n5\n{\"x\":3}", &["1", "3"], &["5"]),
        ("{\"x\":1}\n\n\n", &["1"], &[]),
        // A pretty-printed event that breaks is one reject: its own lines are no events.
        (
            "{\n  \"x\": 1,\n  \"l\": [\n    {\"x\":7}\n  ],,\n}\n{\"x\":3}",
            &["3"],
            &["{\n  \"x\": 1,\n  \"l\": [\n    {\"x\":7}\n  ],,\n}"],
        ),
        ("{ bad\n  {\"x\":7}\n}\n{\"x\":3}", &["3"], &["{ bad\n  {\"x\":7}\n}"]),
        ("  {\"x\":1}\n  bad\n  {\"x\":3}", &["1", "3"], &["bad"]),
        ("{\n \"x\": 1\n}\n{\n \"x\": 2\n}", &["1", "2"], &[]),
        ("\u{feff}{\"x\":1}", &["1"], &[]),
        ("[{\"x\":1}]\n{\"x\":2}\n[{\"x\":3}]", &["1", "2", "3"], &[]),
    ];
    for (payload, events, rejects) in cases {
        let (read, refused) = framed(payload);
        assert_eq!((read, refused), (events.map_owned(), rejects.map_owned()), "{payload}");
    }
}

/// `&[&str]` as owned strings.
trait MapOwned {
    fn map_owned(&self) -> Vec<String>;
}

impl MapOwned for [&str] {
    fn map_owned(&self) -> Vec<String> {
        self.iter().map(|text| (*text).to_owned()).collect()
    }
}

#[test]
fn an_array_keeps_what_stands_before_the_break() {
    type Case<'a> = (&'a str, &'a [&'a str], &'a [&'a str]);
    let cases: [Case<'_>; 11] = [
        ("[{\"x\":1},{\"x\":2}]", &["1", "2"], &[]),
        (" [ {\"x\":1} , {\"x\":2} ] \n", &["1", "2"], &[]),
        ("[{\"x\":1},{\"x\":\"a\"},{\"x\":3}]", &["1", "3"], &["{\"x\":\"a\"}"]),
        ("[{\"x\":1},7,{\"x\":3}]", &["1", "3"], &["7"]),
        ("[{\"x\":1},{\"x\":2,},{\"x\":3}]", &["1"], &["{\"x\":2,},{\"x\":3}]"]),
        ("[{\"x\":1},{\"x\":2", &["1"], &["{\"x\":2"]),
        ("[{\"x\":1} {\"x\":2}]", &["1"], &["{\"x\":2}]"]),
        ("[{\"x\":1},]", &["1"], &["]"]),
        ("[{\"x\":1}", &["1"], &[""]),
        ("[{\"x\":1}] x\n{\"x\":2}", &["1", "2"], &["x"]),
        ("[", &[], &["["]),
    ];
    for (payload, events, rejects) in cases {
        let (read, refused) = framed(payload);
        assert_eq!((read, refused), (events.map_owned(), rejects.map_owned()), "{payload}");
    }
}

#[test]
fn only_the_event_with_bad_utf8_or_too_much_nesting_is_refused() {
    let decoded =
        decode(&[field("x", "integer")], b"{\"x\":1}\n{\"x\":2,\"y\":\"\xff\"}\n{\"x\":3,\"y\":\"\xc3\xa9\"}");
    assert_eq!((shown(&decoded.events, "x"), reasons(&decoded)), (vec!["1".into(), "3".into()], vec!["invalid_utf8"]));
    let deep = format!("{{\"x\":2,\"y\":{}{}}}", "[".repeat(64), "]".repeat(64));
    for payload in [format!("{{\"x\":1}}\n{deep}\n{{\"x\":3}}"), format!("[{{\"x\":1}},{deep},{{\"x\":3}}]")] {
        let decoded = decode(&[field("x", "integer")], payload.as_bytes());
        assert_eq!((shown(&decoded.events, "x"), reasons(&decoded)), (vec!["1".into(), "3".into()], vec!["too_deep"]));
        assert_eq!(payloads(&decoded), [deep.as_str()]);
    }
}

#[test]
fn a_payload_that_is_no_text_is_one_reject_of_all_its_bytes() {
    let bytes: Vec<u8> = (0..=255).collect();
    let many: Vec<u8> = bytes.iter().copied().cycle().take(256 * 2 * settle::MAX_REJECTS).collect();
    for payload in [bytes, many] {
        let decoded = decode(&[field("x", "integer")], &payload);
        assert_eq!((decoded.events.num_rows(), decoded.rejects.len()), (0, 1));
        assert_eq!(decoded.rejects[0].payload, payload);
    }
}

#[test]
fn refused_events_beyond_the_bound_are_one_reject_and_the_good_ones_still_rows() {
    let many = settle::MAX_REJECTS;
    let bad: Vec<String> = (0..many + 3).map(|number| format!("{{\"x\":\"n{number}\"}}")).collect();
    let untold = bad[many..].join("\n");
    for payload in [format!("[{},{{\"x\":7}}]", bad.join(",{\"x\":7},")), bad.join("{\"x\":7}\n") + "{\"x\":7}"] {
        let decoded = decode(&[required(field("x", "integer"))], payload.as_bytes());
        assert_eq!(shown(&decoded.events, "x"), vec!["7"; many + 3]);
        let (told, last) = (&decoded.rejects[..many], &decoded.rejects[many..]);
        assert!(told.iter().all(|reject| reject.reason == "wrong_type"));
        let last: Vec<_> = last.iter().map(|reject| (reject.reason.as_str(), &reject.payload[..])).collect();
        assert_eq!(last, [("too_many_rejects", untold.as_bytes())]);
        // Places stay those in the record: a refused event's is nobody else's.
        assert_eq!(decoded.rejects[many].index as usize, 2 * many);
        assert_eq!(decoded.origins.last().expect("rows").index as usize, 2 * (many + 3) - 1);
    }
}

#[test]
fn a_record_of_nothing_but_the_smallest_bad_events_makes_few_rejects() {
    for payload in ["{}".repeat(524_288), "1\n".repeat(524_288)] {
        let decoded = decode(&[required(field("x", "integer"))], payload.as_bytes());
        let reasons = reasons(&decoded);
        assert_eq!(reasons.len(), settle::MAX_REJECTS + 2);
        assert_eq!(reasons[settle::MAX_REJECTS..], ["too_many_rejects", "too_many_events"]);
        let kept: usize = decoded.rejects.iter().map(|reject| reject.payload.trim_ascii().len()).sum();
        // All bytes are kept; the line feeds between the untold are ours in one case, the producer's in the other.
        assert!((1 << 19..1 << 21).contains(&kept), "{kept}");
    }
}

#[test]
fn an_event_that_becomes_too_much_is_refused_alone_with_its_size() {
    let wide = (0..40).map(|number| field(&format!("d{number}"), "decimal(38,0)")).collect();
    let items = Field { field_type: FieldType::List(Box::new(FieldType::Struct(wide))), ..field("l", "date") };
    // Three bytes that become 641.
    let event = |items: usize| format!("{{\"l\":[{}]}}", vec!["{}"; items].join(","));
    let most = event::MAX_EVENT_BYTES / 641;
    let (fits, large) = (event(most), event(most + 1));
    for payload in [format!("{{}}\n{large}\n{fits}\n{{}}"), format!("[{{}},{large},{fits},{{}}]")] {
        let decoded = decode(std::slice::from_ref(&items), payload.as_bytes());
        assert_eq!((decoded.events.num_rows(), payloads(&decoded)), (3, vec![large.clone()]));
        let Reject { reason, message, index, .. } = &decoded.rejects[0];
        assert_eq!((reason.as_str(), index), ("too_large_decoded", &1));
        let words = format!("the event of {} bytes becomes more than 16 MiB", large.len());
        assert!(message.starts_with(&words) && message.contains(&format!("byte {}", 6 + 3 * most)), "{message}");
    }
    // Many fields that read one long text.
    let name = |number| Field { path: vec!["name".to_owned()], ..field(&format!("n{number}"), "string(65535)") };
    let texts = |fields: u32| -> Vec<Field> { (0..fields).map(name).collect() };
    let event = format!("{{\"name\":\"{}\"}}", "n".repeat(65_535));
    assert_eq!(decode(&texts(256), event.as_bytes()).events.num_rows(), 1);
    assert_eq!(reasons(&decode(&texts(257), event.as_bytes())), ["too_large_decoded"]);
}

#[test]
fn a_record_holds_fewer_events_where_they_are_wide() {
    let wide: Vec<Field> = (0..200).map(|number| field(&format!("d{number}"), "decimal(38,0)")).collect();
    let list = [field("l", "list<bigint>")];
    let long = format!("{{\"l\":[{}]}}", vec!["1"; 10_000].join(","));
    for (fields, event, bytes) in [(wide.as_slice(), "{}", 200 * 16), (&list, long.as_str(), 80_000)] {
        let payload = vec![event; 12_000].join("\n");
        for payload in [payload.clone(), format!("[{}]", payload.replace('\n', ","))] {
            let decoded = decode(fields, payload.as_bytes());
            let rows = decoded.events.num_rows();
            let most = payload::MAX_RECORD_BYTES / bytes;
            assert!(rows <= most && rows > most * 9 / 10, "{rows} of {most}");
            let [rest] = &decoded.rejects[..] else { panic!("one: {:?}", decoded.rejects) };
            assert_eq!((rest.reason.as_str(), rest.index as usize), ("too_many_events", rows));
            let left = rest.payload.iter().filter(|byte| **byte == b'{').count();
            assert_eq!(left + rows, 12_000, "nothing is lost");
        }
    }
}

#[test]
fn events_beyond_what_a_record_may_hold_are_one_reject() {
    let many = usize::try_from(payload::MAX_EVENTS).expect("small");
    for payload in [format!("[{}]", vec!["{}"; many + 2].join(",")), "{}".repeat(many + 2)] {
        let decoded = decode(&[field("x", "integer")], payload.as_bytes());
        assert_eq!((decoded.events.num_rows(), reasons(&decoded)), (many, vec!["too_many_events"]));
        assert_eq!(decoded.rejects[0].index, payload::MAX_EVENTS);
    }
}

#[test]
fn hostile_nesting_is_read_in_bounded_time() {
    // Were each line's object followed to the payload's end, this would be 10^10 steps.
    let payload = "{\"a\":\n".repeat(100_000);
    let decoded = decode(&[field("x", "integer")], payload.as_bytes());
    assert_eq!((decoded.events.num_rows(), decoded.rejects.len()), (0, settle::MAX_REJECTS + 1));
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(64), "]".repeat(64));
    let decoded = decode(&[field("x", "integer")], deep.repeat(20_000).as_bytes());
    assert_eq!((decoded.events.num_rows(), decoded.rejects.len()), (0, settle::MAX_REJECTS + 1));
}

#[test]
fn messages_name_the_field_the_value_and_what_was_expected() {
    let fields = [
        required(at(field("order_id", "integer"), "OrderID")),
        field("value", "decimal(10,2)"),
        field("name", "string(3)"),
    ];
    for (payload, message) in [
        (r#"{"OrderID":"abc"}"#, r#"field order_id is "abc" where integer was expected"#),
        (r#"{"OrderID":3000000000}"#, "field order_id is 3000000000, which is beyond integer"),
        (r#"{}"#, "field order_id (at OrderID) is required and missing: expected integer"),
        (
            r#"{"OrderID":1,"value":1.005}"#,
            "field value is 1.005, which has more fraction digits than decimal(10,2) keeps",
        ),
        (r#"{"OrderID":1,"name":"abcd"}"#, r#"field name is "abcd", which has more bytes than string(3) takes"#),
        (r#"{"OrderID":1,"OrderID":2}"#, "the key OrderID stands twice in one object"),
        (r#"{"OrderID":1,"value":}"#, "not JSON at byte 21 of the event: expected a value"),
        ("", "the payload holds no event: expected an object"),
        (
            r#"{"OrderID":{"deep":[1,2,3],"more":"0123456789012345678901234567890123456789"}}"#,
            r#"field order_id is {"deep":[1,2,3],"more":"01234567890123456789012345678901234… where integer was expected"#,
        ),
    ] {
        assert_eq!(decode(&fields, payload.as_bytes()).rejects[0].message, message, "{payload}");
    }
    let second = decode(&fields, b"{\"OrderID\":1}\n{\"OrderID\":}");
    assert_eq!(second.rejects[0].message, "not JSON at byte 11 of the event: expected a value");
}

#[test]
fn a_batch_without_records_has_the_schema_and_no_rows() {
    let decoder = Decoder::new(&order_items());
    let decoded = decode_all(&order_items(), batch(&[]));
    assert_eq!((decoded.events.num_rows(), decoded.events.schema()), (0, decoder.schema()));
    assert!(decode_all(&[], batch(&[b"{\"a\":1}"])).events.num_rows() == 1);
}

fn customers() -> Vec<Field> {
    vec![
        required(at(field("customer_id", "integer"), "CustomerID")),
        at(field("name", "string(20)"), "CustomerName"),
        at(field("rating", "decimal(2,1)"), "Rating"),
        at(field("active", "boolean"), "Active"),
        at(field("since", "date"), "Since"),
    ]
}

/// A file that holds from 42 µs on.
fn info(name: &str, staged_at: i64) -> FileInfo {
    FileInfo { name: name.to_owned(), effective_at: 42, staged_at }
}

#[test]
fn a_row_of_a_file_staged_later_is_newer_also_where_it_moved_up() {
    let read = |text: &'static str, staged_at: i64| {
        let fields = [field("a", "integer")];
        let decoded = decode_file(&fields, &info("f", staged_at), Bytes::from(text)).expect("a file");
        assert_eq!(shown(&decoded.events, "_arrived_at")[0], "1970-01-01T00:00:00.000042Z");
        shown(&decoded.events, "_position")
    };
    let (first, second) = (read("a\n1\n2\n3\n", 999), read("a\n3\n", 1000));
    assert!(first.is_sorted());
    assert!(first[2] < second[0], "{first:?} {second:?}");
}

#[test]
fn a_file_is_read_by_the_same_rules() {
    let text = "\u{feff}Since,CustomerID, CustomerName ,Active,Rating,Extra\r\n\
                2024-05-01,1,\"Smith, \"\"J\"\"\nJr\",true,1.50,x\r\n\
                ,2,,,,\n\
                \" \",3,\"\",0, 2.5 ,\n";
    let decoded = decode_file(&customers(), &info("dims/customers.csv", 9), Bytes::from(text)).expect("a file");
    assert_eq!(reasons(&decoded), Vec::<&str>::new());
    assert_eq!(decoded.events.schema(), input_schema(&customers()));
    assert_eq!(shown(&decoded.events, "customer_id"), ["1", "2", "3"]);
    assert_eq!(shown(&decoded.events, "name"), ["Smith, \"J\"\nJr", "null", ""]);
    assert_eq!(shown(&decoded.events, "rating"), ["1.5", "null", "2.5"]);
    assert_eq!(shown(&decoded.events, "active"), ["true", "null", "false"]);
    assert_eq!(shown(&decoded.events, "since"), ["2024-05-01", "null", "null"]);
    assert_eq!(shown(&decoded.events, "_shard"), ["dims/customers.csv"; 3]);
    assert_eq!(shown(&decoded.events, "_sequence"), ["9"; 3]);
    assert_eq!(shown(&decoded.events, "_subsequence"), ["2", "4", "5"]);
    assert_eq!(shown(&decoded.events, "_index"), ["0"; 3]);
    assert_eq!(shown(&decoded.events, "_arrived_at")[0], "1970-01-01T00:00:00.000042Z");
    assert!(decoded.raw.ranges.is_empty());
    assert_eq!(decoded.raw.records[0].payload, "2024-05-01,1,\"Smith, \"\"J\"\"\nJr\",true,1.50,x");
    for (origin, record) in decoded.origins.iter().zip(&decoded.raw.records) {
        assert_eq!((origin.start, origin.end as usize), (0, record.payload.len()));
    }
}

#[test]
fn a_broken_line_of_a_file_costs_only_itself() {
    let text = b"CustomerID,CustomerName,Rating,Active,Since\n\
                 1,a,,,\n,b,,,\nx,c,,,\n3,d,12.5,,\n4,e,1.25,,\n5,f,,maybe,\n6,g,,,2024-13-01\n7,h,,\n8,i,,,,\n\
                 9,\"j\"k,,,\n10,\xff,,,\n11,a name of over twenty bytes,,,\n12,\x00,,,\n13,\"open,,,\n14,z,,,\n";
    let decoded = decode_file(&customers(), &info("c.csv", 0), Bytes::from_static(text)).expect("a file");
    assert_eq!(shown(&decoded.events, "customer_id"), ["1", "14"]);
    let expected = [
        "missing_field",
        "wrong_type",
        "overflow",
        "fraction",
        "wrong_type",
        "out_of_range",
        "wrong_cell_count",
        "wrong_cell_count",
        "not_csv",
        "invalid_utf8",
        "too_long",
        "nul_byte",
        "not_csv",
    ];
    assert_eq!(reasons(&decoded), expected);
    let lines: Vec<_> = decoded.rejects.iter().map(|reject| reject.position.subsequence).collect();
    assert_eq!(lines, (3..=15).collect::<Vec<_>>());
    assert_eq!(
        decoded.rejects[0].message,
        "field customer_id (at CustomerID) is required and missing: expected integer"
    );
    assert_eq!(decoded.rejects[1].message, "field customer_id is x where integer was expected");
    assert_eq!(decoded.rejects[1].payload, "x,c,,,");
    assert_eq!(decoded.raw.records.len(), 15);
}

#[test]
fn a_file_that_cannot_be_read_says_what_is_wrong_with_it() {
    let read = |text: &'static str| decode_file(&customers(), &info("c.csv", 0), Bytes::from(text)).expect_err(text);
    assert_eq!(read(""), FileFault::Empty);
    assert_eq!(read("\n\r\n"), FileFault::Empty);
    assert_eq!(read("\"CustomerID\nx"), FileFault::BrokenHeading);
    let twice = read("CustomerID,CustomerName,Rating,Active,Since,Rating\n");
    assert_eq!(twice, FileFault::TwiceHeading("Rating".to_owned()));
    let missing = read("customerid,CustomerName,Active,Since\n1,a,,\n");
    assert_eq!(
        missing.to_string(),
        "line 1: no heading \"CustomerID\", \"Rating\": the file has \"customerid\", \"CustomerName\", \"Active\", \"Since\""
    );
    assert_eq!(Error::from(missing).kind(), ErrorKind::Invalid);
    assert_eq!(
        missing_headings(&customers(), b"CustomerID,x\n"),
        Ok(["CustomerName", "Rating", "Active", "Since"].map(str::to_owned).to_vec())
    );
    assert_eq!(missing_headings(&customers(), b"Since,Active,CustomerName,Rating,CustomerID"), Ok(vec![]));
    assert_eq!(missing_headings(&customers(), b"\xff\xfea,b"), Err(FileFault::NotUtf8));
}

fn every_type() -> Vec<Field> {
    vec![
        required(field("id", "bigint")),
        field("small", "integer"),
        field("flag", "boolean"),
        field("double", "double"),
        field("amount", "decimal(20,4)"),
        field("text", "string(400)"),
        field("at", "timestamptz"),
        at(field("inner", "integer"), "deep.er.inner"),
        field("numbers", "list<bigint>"),
    ]
}

prop_compose! {
    fn any_event()(
        id in any::<i64>(),
        small in any::<Option<i32>>(),
        flag in any::<Option<bool>>(),
        double in prop::option::of(prop::num::f64::NORMAL | prop::num::f64::ZERO),
        amount in prop::option::of(-10_i64.pow(18)..10_i64.pow(18)),
        text in prop::option::of("\\PC{0,40}|[\"\\\\\n\t/é😀]{0,20}"),
        at in prop::option::of(-62_135_596_800_000_000_i64..253_402_300_800_000_000),
        inner in any::<Option<i32>>(),
        numbers in prop::option::of(prop::collection::vec(any::<Option<i64>>(), 0..5)),
        noise in prop::collection::vec(("n[a-z\"é]{1,9}", any::<Option<f32>>(), "\\PC{0,9}"), 0..3),
        absent in any::<u16>(),
    ) -> serde_json::Value {
        let amount = amount.map(|amount| {
            let sign = if amount < 0 { "-" } else { "" };
            format!("{sign}{}.{:04}", amount.unsigned_abs() / 10_000, amount.unsigned_abs() % 10_000)
        });
        let at = at.and_then(chrono::DateTime::from_timestamp_micros).map(|at| at.to_rfc3339());
        let mut event = json!({
            "id": id, "small": small, "flag": flag, "double": double, "amount": amount, "text": text, "at": at,
            "deep": {"er": {"inner": inner, "other": [{}]}, "x": text}, "numbers": numbers,
        });
        let object = event.as_object_mut().expect("an object");
        let optional = ["small", "flag", "double", "amount", "text", "at", "deep", "numbers"];
        for (bit, key) in optional.iter().enumerate() {
            if absent >> (bit * 2) & 3 == 3 {
                object.remove(*key);
            }
        }
        object.extend(noise.into_iter().map(|(key, number, text)| (key, json!({"v": [number, text, [], {}]}))));
        event
    }
}

/// What serde_json reads, against what the columns hold.
fn compare(events: &RecordBatch, row: usize, text: &str) -> Result<(), TestCaseError> {
    let expected: serde_json::Value = serde_json::from_str(text).expect("valid JSON");
    let column = |name: &str| events.column_by_name(name).expect(name);
    let valid = |name: &str| column(name).is_valid(row);
    prop_assert_eq!(Some(column("id").as_primitive::<Int64Type>().value(row)), expected["id"].as_i64());
    let small = valid("small").then(|| i64::from(column("small").as_primitive::<Int32Type>().value(row)));
    prop_assert_eq!(small, expected["small"].as_i64());
    let flag = valid("flag").then(|| column("flag").as_boolean().value(row));
    prop_assert_eq!(flag, expected["flag"].as_bool());
    let double = valid("double").then(|| column("double").as_primitive::<Float64Type>().value(row).to_bits());
    // serde_json's own float parsing may miss the nearest by one unit; its printing does not.
    let nearest = expected["double"].as_f64().map(|_| {
        let start = text.find("\"double\":").expect("key") + 9;
        let rest = text[start..].trim_start();
        rest[..rest.find([',', '}', '\n']).expect("end")].trim().parse::<f64>().expect("float").to_bits()
    });
    prop_assert_eq!(double, nearest);
    let amount = valid("amount").then(|| column("amount").as_primitive::<Decimal128Type>().value(row));
    let digits = expected["amount"].as_str().map(|text| text.replace('.', "").parse::<i128>().expect("digits"));
    prop_assert_eq!(amount, digits);
    let shown_text = valid("text").then(|| column("text").as_string::<i32>().value(row));
    prop_assert_eq!(shown_text, expected["text"].as_str());
    let instant = valid("at").then(|| column("at").as_primitive::<TimestampMicrosecondType>().value(row));
    let parsed = expected["at"].as_str().map(|text| chrono::DateTime::parse_from_rfc3339(text).expect(text));
    prop_assert_eq!(instant, parsed.map(|instant| instant.timestamp_micros()));
    let inner = valid("inner").then(|| i64::from(column("inner").as_primitive::<Int32Type>().value(row)));
    prop_assert_eq!(inner, expected["deep"]["er"]["inner"].as_i64());
    let numbers = valid("numbers").then(|| {
        let list = column("numbers").as_list::<i32>().value(row);
        list.as_primitive::<Int64Type>().iter().collect::<Vec<_>>()
    });
    let items = expected["numbers"].as_array().map(|items| items.iter().map(serde_json::Value::as_i64).collect());
    prop_assert_eq!(numbers, items);
    Ok(())
}

fn fits(text: &str) -> bool {
    !text.contains("\\u0000")
}

/// The batches of events and rejects agree in what every record must yield.
fn account(decoded: &Decoded) -> Result<(), TestCaseError> {
    let mut next_event = decoded.origins.iter().peekable();
    let mut next_reject = decoded.rejects.iter().peekable();
    prop_assert_eq!(decoded.origins.len(), decoded.events.num_rows());
    for (number, record) in (0..).zip(&decoded.raw.records) {
        let mut end = 0;
        for place in 0.. {
            if let Some(origin) = next_event.next_if(|origin| origin.record == number && origin.index == place) {
                let (start, event_end) = (origin.start as usize, origin.end as usize);
                prop_assert!(start >= end);
                end = event_end;
                let text = std::str::from_utf8(&record.payload[start..end]);
                prop_assert!(text.is_ok_and(|text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()));
            } else if next_reject.next_if(|it| it.position == record.position && it.index == place).is_none() {
                prop_assert!(place > 0, "record {} yields nothing", number);
                break;
            }
        }
    }
    prop_assert!(next_event.next().is_none() && next_reject.next().is_none());
    Ok(())
}

proptest! {
    #[test]
    fn what_serde_json_writes_is_read_as_serde_json_reads_it(
        events in prop::collection::vec((any_event(), any::<bool>()), 1..20),
        as_array in any::<bool>(),
    ) {
        let text = |(event, pretty): &(serde_json::Value, bool)| {
            if *pretty { serde_json::to_string_pretty(event) } else { serde_json::to_string(event) }.expect("json")
        };
        let texts: Vec<String> = events.iter().map(text).filter(|text| fits(text)).collect();
        prop_assume!(!texts.is_empty());
        let payload = if as_array { format!("[{}]", texts.join(",")) } else { texts.join("\n") };
        let decoded = decode(&every_type(), payload.as_bytes());
        prop_assert_eq!(decoded.rejects.first(), None);
        prop_assert_eq!(decoded.events.num_rows(), texts.len());
        for (row, text) in texts.iter().enumerate() {
            compare(&decoded.events, row, text)?;
        }
        account(&decoded)?;
    }

    #[test]
    fn mutated_bytes_never_panic_and_every_record_is_accounted_for(
        records in prop::collection::vec((prop::collection::vec(any_event(), 1..4), any::<bool>()), 1..4),
        mutations in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..4, any::<u8>()), 0..12),
    ) {
        let mut payloads: Vec<Vec<u8>> = Vec::new();
        for (events, as_array) in &records {
            let texts: Vec<String> = events.iter().map(ToString::to_string).collect();
            payloads.push(if *as_array { format!("[{}]", texts.join(",")) } else { texts.join("\n") }.into_bytes());
        }
        for (place, kind, byte) in mutations {
            let number = place.index(payloads.len());
            let payload = &mut payloads[number];
            if payload.is_empty() {
                continue;
            }
            let at = place.index(payload.len());
            match kind {
                0 => payload[at] = byte,
                1 => payload.insert(at, b"{}[]\",:\\\n0-e"[usize::from(byte) % 12]),
                2 => drop(payload.remove(at)),
                _ => payload.truncate(at),
            }
        }
        let slices: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
        let mut fields = every_type();
        fields.extend(order_items().into_iter().skip(1));
        account(&decode_all(&fields, batch(&slices)))?;
    }

    #[test]
    fn any_bytes_at_all_are_accounted_for(payload in "[{}\\[\\]\",:\\\\ \n01eatruefalsnxé]{0,60}", tail in any::<Vec<u8>>()) {
        let bytes = [payload.as_bytes(), &tail].concat();
        account(&decode_all(&[field("a", "integer"), field("x", "string(9)")], batch(&[&bytes, b"{}"])))?;
        let heading = [b"a,x\n".as_slice(), &bytes].concat();
        let fields = [field("a", "integer"), field("x", "string(9)")];
        let decoded = decode_file(&fields, &info("f", 0), Bytes::from(heading)).expect("a heading");
        prop_assert_eq!(decoded.raw.records.len(), decoded.events.num_rows() + decoded.rejects.len());
    }

    #[test]
    fn a_broken_record_leaves_its_neighbours_identical(
        events in prop::collection::vec(any_event(), 2..8),
        broken in any_event(),
        place in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let texts: Vec<String> = events.iter().map(ToString::to_string).filter(|text| fits(text)).collect();
        prop_assume!(!texts.is_empty());
        let whole = broken.to_string();
        let cut_at = (0..=cut.index(whole.len())).rev().find(|at| whole.is_char_boundary(*at)).unwrap_or(0);
        let place = place.index(texts.len() + 1);
        let mut disturbed = texts.clone();
        disturbed.insert(place, whole[..cut_at].to_owned());
        let declared = every_type().len();
        let columns: Vec<usize> = (0..declared).collect();
        let of = |payloads: &[&[u8]]| decode_all(&every_type(), batch(payloads));
        let as_slices = |texts: &[String]| -> Vec<Vec<u8>> { texts.iter().map(|text| text.clone().into_bytes()).collect() };
        let (calm, mixed) = (as_slices(&texts), as_slices(&disturbed));
        let calm = of(&calm.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let mixed = of(&mixed.iter().map(Vec::as_slice).collect::<Vec<_>>());
        prop_assert_eq!(mixed.rejects.len(), 1);
        prop_assert_eq!(mixed.events.project(&columns).expect("columns"), calm.events.project(&columns).expect("columns"));
        // The same as lines of one record.
        prop_assume!(cut_at > 0);
        let lines = decode(&every_type(), disturbed.join("\n").as_bytes());
        prop_assert_eq!(lines.rejects.len(), 1);
        prop_assert_eq!(lines.events.project(&columns).expect("columns"), calm.events.project(&columns).expect("columns"));
    }
}
