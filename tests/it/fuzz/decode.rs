//! Payloads and dimension files: judged by serde_json and by the csv crate, which share no code with the decoder.

use std::fmt;
use std::io::Write as _;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type};
use bytes::Bytes;
use millstream::batch::{Decoded, Position, RawBatch, RawRecord, SequenceNumber, ShardId};
use millstream::decode::{Decoder, FileInfo, decode_file};
use millstream::schema::Field;
use millstream::source::{Aggregator, Taken, take_apart};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::engine::Target;

fn field(name: &str, path: &str, field_type: &str) -> Field {
    let path = path.split('.').map(str::to_owned).collect();
    Field { name: name.to_owned(), path, field_type: field_type.parse().expect("a type"), required: false }
}

fn fields() -> Vec<Field> {
    vec![
        field("s", "s", "string(40)"),
        field("n", "n", "bigint"),
        field("d", "d", "double"),
        field("b", "b", "boolean"),
        field("x", "o.x", "bigint"),
    ]
}

fn record(payload: &[u8]) -> RawBatch {
    let record = RawRecord {
        shard: ShardId::new("shardId-000000000000"),
        position: Position::new(SequenceNumber::from(1), 0),
        arrived_at: 1_700_000_000_000_000,
        payload: Bytes::copy_from_slice(payload),
        damage: None,
    };
    RawBatch { records: vec![record], ..RawBatch::default() }
}

/// All events of a batch and their number of rejects, however often the batch is cut.
fn decode(decoder: &Decoder, raw: RawBatch) -> Result<Vec<Decoded>, String> {
    let (mut parts, mut rest, records) = (Vec::new(), Some(raw.clone()), raw.records.len());
    while let Some(raw) = rest.take() {
        let (decoded, left) = decoder.decode(raw);
        if decoded.events.num_rows() != decoded.origins.len() {
            return Err(format!("{} events have {} origins", decoded.events.num_rows(), decoded.origins.len()));
        }
        for origin in &decoded.origins {
            let payload = decoded.raw.records.get(origin.record as usize).map_or(0, |record| record.payload.len());
            if origin.start > origin.end || origin.end as usize > payload {
                return Err(format!("{origin:?} is not in its record of {payload} bytes"));
            }
        }
        parts.push(decoded);
        if parts.len() > records {
            return Err("a batch is cut more often than it has records".to_owned());
        }
        rest = left;
    }
    Ok(parts)
}

/// JSON as serde_json reads it, with every key of an object.
#[derive(Debug, Clone, PartialEq)]
enum Json {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Whatever;
        impl<'de> Visitor<'de> for Whatever {
            type Value = Json;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("JSON")
            }

            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
                Ok(Json::Bool(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
                Ok(Json::Integer(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
                Ok(Json::Integer(value.into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
                Ok(Json::Float(value))
            }

            fn visit_str<E>(self, value: &str) -> Result<Json, E> {
                Ok(Json::Text(value.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Json::List(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
                let mut object = Vec::new();
                while let Some(entry) = entries.next_entry()? {
                    object.push(entry);
                }
                Ok(Json::Object(object))
            }
        }
        deserializer.deserialize_any(Whatever)
    }
}

/// What a declared field holds, by the rules: none where the rules refuse the value, or the judge cannot tell.
#[derive(Debug, Clone, PartialEq)]
enum Expected {
    Null,
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
}

/// Of JSON's own types only: numbers and booleans in strings, and strings of numbers, are for the decoder's own tests.
fn expected(object: &[(String, Json)], key: &str) -> Option<Expected> {
    let mut found = object.iter().filter(|(name, _)| name == key).map(|(_, value)| value);
    let value = match (found.next(), found.next()) {
        (None, _) => return Some(Expected::Null),
        (Some(value), None) => value,
        (Some(_), Some(_)) => return None,
    };
    match (key, value) {
        (_, Json::Null) => Some(Expected::Null),
        ("s", Json::Text(text)) if text.len() <= 40 && !text.contains('\0') => Some(Expected::Text(text.clone())),
        ("n" | "x", Json::Integer(number)) => i64::try_from(*number).ok().map(Expected::Integer),
        ("d", Json::Integer(number)) if number.unsigned_abs() < 1 << 53 => Some(Expected::Float(*number as f64)),
        ("d", Json::Float(number)) => Some(Expected::Float(*number)),
        ("b", Json::Bool(value)) => Some(Expected::Bool(*value)),
        _ => None,
    }
}

/// serde_json reads a float to the last digit but one.
fn same(found: &Expected, wanted: &Expected) -> bool {
    match (found, wanted) {
        (Expected::Float(found), Expected::Float(wanted)) => {
            (found - wanted).abs() <= wanted.abs() * 4.0 * f64::EPSILON
        }
        _ => found == wanted,
    }
}

fn expected_row(event: &Json) -> Option<Vec<Expected>> {
    let Json::Object(object) = event else { return None };
    let mut inner = object.iter().filter(|(name, _)| name == "o").map(|(_, value)| value);
    let x = match (inner.next(), inner.next()) {
        (None | Some(Json::Null), None) => Some(Expected::Null),
        (Some(Json::Object(inner)), None) => expected(inner, "x"),
        _ => None,
    };
    let mut row = ["s", "n", "d", "b"].iter().map(|key| expected(object, key)).collect::<Option<Vec<_>>>()?;
    row.push(x?);
    Some(row)
}

fn decoded_row(events: &RecordBatch, row: usize) -> Vec<Expected> {
    let column = |name: &str| events.column_by_name(name).expect("a declared column");
    let integer = |name: &str| column(name).as_primitive::<Int64Type>().value(row);
    let cell = |name: &str| match name {
        _ if column(name).is_null(row) => Expected::Null,
        "s" => Expected::Text(column(name).as_string::<i32>().value(row).to_owned()),
        "d" => Expected::Float(column(name).as_primitive::<Float64Type>().value(row)),
        "b" => Expected::Bool(column(name).as_boolean().value(row)),
        name => Expected::Integer(integer(name)),
    };
    ["s", "n", "d", "b", "x"].map(cell).into()
}

fn depth(value: &Json) -> usize {
    match value {
        Json::List(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Json::Object(entries) => 1 + entries.iter().map(|(_, value)| depth(value)).max().unwrap_or(0),
        _ => 0,
    }
}

/// What serde_json makes of a payload: its events, or that it is none. None where the rules differ from JSON's.
fn judged(payload: &[u8]) -> Option<Result<Vec<Json>, String>> {
    let text = payload.strip_prefix(b"\xef\xbb\xbf").unwrap_or(payload);
    let values: Result<Vec<Json>, serde_json::Error> = serde_json::Deserializer::from_slice(text).into_iter().collect();
    match values {
        // RFC 8259 knows no largest number, nor halves of pairs in what no field reads.
        Err(error)
            if ["number out of range", "surrogate", "hex escape", "recursion limit"]
                .iter()
                .any(|words| error.to_string().contains(words)) =>
        {
            None
        }
        Err(error) => Some(Err(error.to_string())),
        Ok(values) => {
            let items = |value| if let Json::List(items) = value { items } else { vec![value] };
            Some(Ok(values.into_iter().flat_map(items).collect()))
        }
    }
}

const JSON_WORDS: [&str; 40] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "\n",
    " ",
    "\t",
    "null",
    "true",
    "false",
    "\"s\":",
    "\"n\":",
    "\"d\":",
    "\"b\":",
    "\"o\":{\"x\":",
    "\"s\"",
    "\\u0041",
    "\\ud83d\\ude00",
    "\\ud800",
    "\\n",
    "\\\"",
    "9223372036854775807",
    "-9223372036854775808",
    "1e400",
    "1.5e-10",
    "-0",
    "0.1",
    "1E5",
    "01",
    "+1",
    "NaN",
    "\u{feff}",
    "é",
    "😀",
    "{}",
    "[[[[[[[[[[[[[[[[",
];

#[test]
fn json_is_what_serde_json_accepts_with_the_same_values() {
    let seeds = [
        r#"{"s":"text","n":1,"d":1.5,"b":true,"o":{"x":7},"z":[1,{"y":null}]}"#,
        "{\"s\":\"a\\u00e9\\n\\\"\",\"n\":-5}\n{\"s\":null,\"d\":1e3}\n",
        r#"[{"n":1},{"n":2,"o":{"x":-1,"y":{}}},{"b":false}]"#,
        r#"{"z":{"s":"inner"},"s":"outer","n":9007199254740993,"d":12345678901234567890}"#,
        "{}",
        "[]",
        "{\"n\":1}{\"n\":2} {\"n\":3}",
    ];
    let decoder = Decoder::new(&fields());
    let target =
        Target { name: "json", seeds: seeds.map(|seed| seed.into()).into(), dictionary: &JSON_WORDS, longest: 4096 };
    target.run(|payload| {
        let parts = decode(&decoder, record(payload))?;
        let rejects: Vec<&str> =
            parts.iter().flat_map(|part| &part.rejects).map(|reject| reject.reason.as_str()).collect();
        let rows: Vec<Vec<Expected>> = parts
            .iter()
            .flat_map(|part| (0..part.events.num_rows()).map(|row| decoded_row(&part.events, row)))
            .collect();
        let events = match judged(payload) {
            None => return Ok(()),
            Some(Err(_)) if payload.windows(11).any(|part| part == b"messageType") => return Ok(()),
            Some(Err(error)) if rejects.is_empty() => {
                return Err(format!("serde_json refuses it ({error}), and nothing is rejected"));
            }
            Some(Err(_)) => return Ok(()),
            Some(Ok(events)) => events,
        };
        let sound = |event: &&Json| matches!(event, Json::Object(_)) && depth(event) <= 64;
        if events.is_empty() || !events.iter().all(|event| sound(&event)) {
            return if rejects.is_empty() {
                Err("no object, or one too deep, and nothing is rejected".to_owned())
            } else {
                Ok(())
            };
        }
        if rows.len() + rejects.len() != events.len() && !rejects.contains(&"not_json") {
            return Err(format!(
                "{} events are {} rows and {} rejects: {rejects:?}",
                events.len(),
                rows.len(),
                rejects.len()
            ));
        }
        if let Some(reason) = rejects
            .iter()
            .find(|reason| ["invalid_utf8", "empty_payload", "not_an_object", "too_deep"].contains(reason))
        {
            return Err(format!("serde_json accepts it, and it is rejected as {reason}"));
        }
        // Only a second array, or something after an object on its line, is refused where serde_json goes on.
        let lines_alone = payload.iter().all(|byte| *byte != b'\n') && payload.first() != Some(&b'[');
        if rejects.contains(&"not_json") && lines_alone {
            return Err("serde_json accepts it, and it is rejected as not_json".to_owned());
        }
        let known: Vec<Option<Vec<Expected>>> = events.iter().map(expected_row).collect();
        if known.iter().all(Option::is_some) {
            let wanted: Vec<Vec<Expected>> = known.into_iter().flatten().collect();
            if rows.len() != wanted.len()
                || !rows.iter().flatten().zip(wanted.iter().flatten()).all(|(row, wanted)| same(row, wanted))
            {
                return Err(format!("the rows are {rows:?} where {wanted:?} was sent; rejected: {rejects:?}"));
            }
        }
        Ok(())
    });
}

#[test]
fn csv_is_what_the_csv_crate_reads() {
    let seeds = [
        "a,b,c\n1,two,3\n\"4\",\"f\"\"ive\",6\n",
        "c,a,b\r\n\"line\nfeed\",x,\r\n,,\"\"\r\n",
        "\u{feff}a,b,c\né,😀,\"quoted, comma\"\n",
    ];
    let words = ["a,b,c\n", "\"", "\"\"", ",", "\r\n", "\n", "\u{feff}", ",,", "\n\n", "\0", "é"];
    let columns: Vec<Field> = ["a", "b", "c"].iter().map(|name| field(name, name, "string(60000)")).collect();
    let info = FileInfo { name: "dims/f.csv".to_owned(), effective_at: 1, staged_at: 2 };
    Target { name: "csv", seeds: seeds.map(|seed| seed.into()).into(), dictionary: &words, longest: 4096 }.run(
        |file| {
            let Ok(decoded) = decode_file(&columns, &info, Bytes::copy_from_slice(file)) else { return Ok(()) };
            let (rows, rejects) = (decoded.events.num_rows(), decoded.rejects.len());
            if rows + rejects != decoded.raw.records.len() {
                return Err(format!("{} lines are {rows} rows and {rejects} rejects", decoded.raw.records.len()));
            }
            // A carriage return alone ends a line for that crate, and is a letter for us.
            let alone = |place: usize| file[place] == b'\r' && file.get(place + 1) != Some(&b'\n');
            if rejects > 0 || (0..file.len()).any(alone) {
                return Ok(());
            }
            let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
            let mut reader = csv::ReaderBuilder::new().has_headers(true).trim(csv::Trim::None).from_reader(file);
            let headings = reader.headers().map_err(|error| format!("no headings: {error}"))?.clone();
            let place =
                |name: &str| headings.iter().position(|heading| heading.trim() == name).ok_or("a heading is missing");
            let places = [place("a")?, place("b")?, place("c")?];
            let records: Vec<csv::StringRecord> = reader
                .records()
                .collect::<Result<_, _>>()
                .map_err(|error| format!("the csv crate refuses it: {error}"))?;
            if records.len() != rows {
                return Err(format!("the csv crate reads {} rows, we read {rows}", records.len()));
            }
            for (row, record) in records.iter().enumerate() {
                for (name, place) in ["a", "b", "c"].iter().zip(places) {
                    let column = decoded.events.column_by_name(name).expect("declared").as_string::<i32>();
                    let (ours, theirs) = (if column.is_null(row) { "" } else { column.value(row) }, &record[place]);
                    if ours != theirs {
                        return Err(format!("row {row}, {name}: {ours:?} where the csv crate has {theirs:?}"));
                    }
                }
            }
            Ok(())
        },
    );
}

fn aggregate(payloads: &[&str]) -> Vec<u8> {
    let mut aggregator = Aggregator::default();
    for (number, payload) in payloads.iter().enumerate() {
        let explicit = (number % 2 == 1).then(|| "340282366920938463463374607431768211455".to_owned());
        assert!(
            aggregator.add(format!("key {number}"), explicit, Bytes::copy_from_slice(payload.as_bytes())).is_none()
        );
    }
    aggregator.flush().expect("records").payload.to_vec()
}

/// The aggregate with an MD5 that is right for its bytes, so that the protobuf is read.
fn sealed(mut aggregate: Vec<u8>) -> Vec<u8> {
    use md5::Digest as _;
    if aggregate.len() >= 20 {
        let end = aggregate.len() - 16;
        let digest = md5::Md5::digest(&aggregate[4..end]);
        aggregate[..4].copy_from_slice(&[0xf3, 0x89, 0x9a, 0xc2]);
        aggregate[end..].copy_from_slice(&digest);
    }
    aggregate
}

#[test]
fn aggregates_are_taken_apart_or_refused() {
    let seeds = vec![aggregate(&["{\"n\":1}"]), aggregate(&["a", "b", "c", "d"]), aggregate(&[&"x".repeat(2_000), ""])];
    Target { name: "aggregates", seeds, dictionary: &["\n", "\u{8}", "\u{1a}"], longest: 8192 }.run(|input| {
        for payload in [input.to_vec(), sealed(input.to_vec())] {
            let payload = Bytes::from(payload);
            match take_apart(&payload) {
                Taken::Parts(parts) if parts.len() == 0 => return Err("an aggregate of no parts".to_owned()),
                Taken::Parts(parts) => {
                    let bytes: usize = parts.map(|part| part.payload.len()).sum();
                    if bytes > payload.len() {
                        return Err(format!("the parts of {} bytes hold {bytes}", payload.len()));
                    }
                }
                Taken::Plain if payload.starts_with(&[0xf3, 0x89, 0x9a, 0xc2]) => {
                    return Err("an aggregate is taken for a plain record".to_owned());
                }
                Taken::Plain | Taken::Damaged(_) => {}
            }
        }
        Ok(())
    });
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("compressed");
    encoder.finish().expect("compressed")
}

#[test]
fn envelopes_are_unwrapped_or_refused() {
    let events = "{\"n\":1}\n{\"n\":2}\n{\"s\":\"text\"}\n";
    let logs = r#"{"messageType":"DATA_MESSAGE","owner":"1","logGroup":"g","logStream":"s","subscriptionFilters":["f"],"logEvents":[{"id":"1","timestamp":1,"message":"{\"n\":1}"},{"id":"2","timestamp":2,"message":"plain \ud83d\ude00"}]}"#;
    let control = r#"{"messageType":"CONTROL_MESSAGE","owner":"CloudwatchLogs","logGroup":"","logStream":"","subscriptionFilters":[],"logEvents":[{"id":"","timestamp":1,"message":"CWL"}]}"#;
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 3).expect("compressed");
    let seeds = vec![
        gzip(events.as_bytes()),
        zstd(events.as_bytes()),
        gzip(logs.as_bytes()),
        logs.into(),
        control.into(),
        [logs, control, logs].concat().into(),
        gzip(&zstd(logs.as_bytes())),
        gzip(&gzip(&gzip(events.as_bytes()))),
        zstd(&vec![b' '; 1 << 20]),
        [gzip(b"{\"n\":1}"), gzip(b"{\"n\":2}")].concat(),
    ];
    let words = [
        "\"messageType\":",
        "DATA_MESSAGE",
        "CONTROL_MESSAGE",
        "\"logEvents\":[",
        "\"message\":",
        "\\ud83d",
        "\u{1f}",
        "{\"n\":1}",
    ];
    let decoder = Decoder::new(&fields());
    Target { name: "envelopes", seeds, dictionary: &words, longest: 16_384 }.run(|payload| {
        let parts = decode(&decoder, record(payload))?;
        for reject in parts.iter().flat_map(|part| &part.rejects) {
            if reject.message.is_empty() || reject.message.len() > 2_000 {
                return Err(format!("a message of {} bytes ({})", reject.message.len(), reject.reason));
            }
        }
        Ok(())
    });
}
