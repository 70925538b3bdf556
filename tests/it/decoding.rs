//! What records become, held against others' rules: the JSON parsing test suite, and a decoder in Python that was written
//! from docs/decoding.md alone. Both go through the binary: put by boto3, run, and read from the staged files.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::command::Millstream;
use crate::python::python;

/// A folder with a pipeline of one field and one table of it.
fn ids_only(folder: &Path) {
    let toml = "[pipeline]\nname = \"json_suite\"\n[source]\nstream = \"json-suite\"\nshards = 2\n\
                [[event.field]]\nname = \"id\"\ntype = \"bigint\"\nrequired = true\n\
                [[table]]\nname = \"fact_ids\"\nkind = \"fact\"\n[target.local]\n";
    fs::create_dir(folder).expect("a folder");
    fs::write(folder.join("pipeline.toml"), toml).expect("written");
    fs::write(folder.join("fact_ids.sql"), "select id from events\n").expect("written");
}

fn ids(numbers: &Value) -> Vec<u64> {
    let mut ids: Vec<u64> = numbers.as_array().expect("ids").iter().filter_map(Value::as_u64).collect();
    ids.sort_unstable();
    ids
}

/// The first id in the bytes of a reject, given in hexadecimal.
fn id_in(payload: &str) -> Option<u64> {
    let digits = payload.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("ASCII"));
    let text: Vec<u8> = digits.take(40).map(|pair| u8::from_str_radix(pair, 16).expect("hexadecimal")).collect();
    let number = text.strip_prefix(b"{\"id\":")?.iter().take_while(|byte| byte.is_ascii_digit());
    String::from_utf8(number.copied().collect()).ok()?.parse().ok()
}

#[test]
fn the_json_parsing_test_suite_is_taken_and_refused_with_all_neighbours_unharmed() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipeline = folder.path().join("json_suite");
    ids_only(&pipeline);
    let millstream = Millstream::over(pipeline);
    let (_host, port) = millstream.host_stream();
    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/json/parsing.jsonl");
    let put = python("json_suite", &[&port.to_string(), "json-suite", suite.to_str().expect("UTF-8")]);
    assert_eq!(put["cases"], json!({"y": 95, "n": 188, "i": 35}));
    assert_eq!(millstream.json("run", &["--once"])["records"], put["records"]);

    let free: BTreeMap<u64, &str> = put["free"]
        .as_object()
        .expect("an object")
        .iter()
        .map(|(id, outcome)| (id.parse().expect("an id"), outcome.as_str().expect("a word")))
        .collect();
    let mut expected = ids(&put["rows"]);
    expected.extend(free.iter().filter(|(_, outcome)| **outcome == "row").map(|(id, _)| id));
    expected.sort_unstable();
    let rows = millstream.query("select id from fact_ids order by id");
    let rows: Vec<u64> = rows.iter().filter_map(|row| row["id"].as_u64()).collect();
    assert_eq!(rows, expected);

    let rejects = millstream.query("select reason, payload from rejects");
    let mut reasons: BTreeMap<u64, &str> = BTreeMap::new();
    for reject in &rejects {
        let reason = reject["reason"].as_str().expect("a reason");
        match id_in(reject["payload"].as_str().expect("bytes")) {
            Some(id) => assert_eq!(reasons.insert(id, reason), None, "{id} is refused twice"),
            // What follows a line feed inside of a broken case begins like another event.
            None => assert!(["not_json", "invalid_utf8", "not_an_object"].contains(&reason), "{reject}"),
        }
    }
    for id in ids(&put["refused"]) {
        assert!(matches!(reasons.remove(&id), Some("not_json" | "invalid_utf8" | "too_deep")), "{id}");
    }
    let refused: BTreeMap<u64, &str> = free.into_iter().filter(|(_, outcome)| *outcome != "row").collect();
    assert_eq!(reasons, refused);
    assert_eq!(millstream.json("audit", &[])["clean"], true);
}

#[test]
fn a_decoder_written_from_the_page_alone_reads_every_record_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    python("decode_cases", &["pipeline", &path("every_type")]);
    let millstream = Millstream::over(path("every_type").into());
    let long = std::env::var("MILLSTREAM_LONG").is_ok_and(|long| long == "1");
    let seed = std::env::var("MILLSTREAM_SEED").unwrap_or_else(|_| "1".to_owned());
    let size = if long { "60000" } else { "3000" };
    let (host, port) = millstream.host_stream();
    let put = python("decode_cases", &["put", &port.to_string(), "every-type", &path("sent"), &seed, size]);
    let summary = millstream.json("run", &["--once"]);
    assert_eq!(summary["records"], put["records"], "{summary}");
    drop(host);
    let data = millstream.data.path().to_str().expect("UTF-8").to_owned();
    let compared = python("decode_cases", &["compare", &path("sent"), &data]);
    println!("seed {seed}: {} records, {}", put["records"], compared["counts"]);
    assert_eq!(compared["mismatches"], 0, "MILLSTREAM_SEED={seed}: {:#}", compared["first"]);
    let counts = compared["counts"].as_object().expect("counts");
    let all = [
        "rows",
        "not_json",
        "invalid_utf8",
        "too_deep",
        "empty_payload",
        "not_an_object",
        "duplicate_key",
        "missing_field",
        "wrong_type",
        "overflow",
        "fraction",
        "nul_byte",
        "lone_surrogate",
        "too_long",
        "out_of_range",
        "skipped_time",
    ];
    for outcome in all {
        assert!(counts.contains_key(outcome), "no record became {outcome}: {counts:?}");
    }
    assert_eq!(counts.len(), all.len(), "{counts:?}");
}
