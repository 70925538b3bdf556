//! Aggregated records against aws_kinesis_agg, which shares no code with Millstream.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use millstream::source::{Aggregate, Aggregator};
use serde_json::{Value, json};

use crate::command::Millstream;
use crate::python::{python, python_with_input};

const STREAM: &str = "incoming-food-order-data";

fn taken_apart(aggregates: &[Aggregate]) -> Vec<Value> {
    let payloads: Vec<String> = aggregates.iter().map(|aggregate| STANDARD.encode(&aggregate.payload)).collect();
    taken_apart_payloads(&payloads)
}

/// Each payload's records as the other implementation finds them; payloads as base64.
fn taken_apart_payloads(payloads: &[String]) -> Vec<Value> {
    let answer = python_with_input("aggregates", &["take-apart"], json!(payloads).to_string().as_bytes());
    answer.as_array().expect("a list").clone()
}

fn pack(users: &[(String, Option<String>, Bytes)], max_bytes: usize) -> Vec<Aggregate> {
    let mut aggregator = Aggregator::new(max_bytes);
    let users = users.iter().cloned();
    let full: Vec<Aggregate> = users.filter_map(|(key, hash_key, data)| aggregator.add(key, hash_key, data)).collect();
    full.into_iter().chain(aggregator.flush()).collect()
}

#[test]
fn what_we_pack_another_implementation_takes_apart() {
    let keys = ["42", "Zürich", "東京", "🍜", " ", &"k".repeat(256)].map(str::to_owned);
    let explicit = [None, Some("0"), Some("340282366920938463463374607431768211455")].map(|key| key.map(str::to_owned));
    let users: Vec<(String, Option<String>, Bytes)> = (0..2000usize)
        .map(|number| {
            let payload = format!("{{\"OrderID\": {number}}} ").repeat(number % 7);
            (keys[number % keys.len()].clone(), explicit[number % explicit.len()].clone(), Bytes::from(payload))
        })
        .collect();
    let aggregates = pack(&users, 20_000);
    assert!(aggregates.len() > 5, "{}", aggregates.len());
    let mut expected = users.iter();
    for (aggregate, found) in aggregates.iter().zip(taken_apart(&aggregates)) {
        let found = found.as_array().expect("records");
        assert_eq!(found.len() as u64, aggregate.records);
        assert_eq!(found[0]["hash_key"].as_str(), aggregate.explicit_hash_key.as_deref(), "where it is put");
        for (sub_sequence, record) in found.iter().enumerate() {
            let (key, hash_key, payload) = expected.next().expect("no more than were packed");
            assert_eq!(record["aggregated"], true, "{record}");
            assert_eq!((&record["partition_key"], &record["explicit_hash_key"]), (&json!(key), &json!(hash_key)));
            assert_eq!(record["payload_base64"], STANDARD.encode(payload));
            assert_eq!(record["sub_sequence"], sub_sequence);
        }
    }
    assert_eq!(expected.next(), None, "and no fewer");
}

#[test]
fn a_damaged_aggregate_is_none_for_the_other_implementation_either() {
    let users = [("a".to_owned(), None, Bytes::from_static(b"x")), ("b".to_owned(), None, Bytes::from_static(b"y"))];
    let mut aggregates = pack(&users, 20_000);
    let mut bytes = aggregates[0].payload.to_vec();
    bytes[6] ^= 1;
    aggregates[0].payload = Bytes::from(bytes);
    assert_eq!(taken_apart(&aggregates)[0][0]["aggregated"], false);
}

#[test]
fn the_kept_aggregates_are_what_the_other_implementation_makes() {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/aggregates");
    let made = tempfile::tempdir().expect("a folder");
    let names = python("aggregates", &["make", made.path().to_str().expect("UTF-8")]);
    let files: Vec<String> = names
        .as_array()
        .expect("names")
        .iter()
        .filter_map(Value::as_str)
        .flat_map(|name| [format!("{name}.bin"), format!("{name}.json")])
        .collect();
    assert_eq!(files.len(), fs::read_dir(&kept).expect("the folder").count());
    for file in files {
        let read = |folder: &Path| fs::read(folder.join(&file)).expect("a file");
        assert!(read(&kept) == read(made.path()), "{file}");
    }
}

/// The payloads, as base64, of all Kinesis records of a stream, read by boto3.
fn stream_payloads(port: u16) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("records");
    python("read_stream", &[&port.to_string(), STREAM, file.to_str().expect("UTF-8")]);
    let text = fs::read_to_string(file).expect("the records");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("json"));
    lines.map(|line| line["payload_base64"].as_str().expect("base64").to_owned()).collect()
}

/// An order without its date, which the moment of generating decides; of one that is no JSON, its first bytes.
fn undated(payload_base64: &str) -> String {
    let bytes = STANDARD.decode(payload_base64).expect("base64");
    match serde_json::from_slice::<Value>(&bytes) {
        Ok(Value::Object(mut order)) => {
            order.remove("OrderDate");
            Value::Object(order).to_string()
        }
        _ => String::from_utf8_lossy(&bytes).chars().take(12).collect(),
    }
}

/// What `generate` with these arguments says, and the payloads of the stream's Kinesis records.
fn generated(arguments: &[&str]) -> (Value, Vec<String>) {
    let millstream = Millstream::new();
    let (_host, port) = millstream.host_stream();
    let said = millstream.json("generate", arguments);
    (said, stream_payloads(port))
}

#[test]
fn generate_packs_exactly_the_wanted_orders_into_far_fewer_records() {
    let arguments = ["--records", "3000", "--rate", "0", "--seed", "5"];
    let (plain, orders) = generated(&arguments);
    let (packed, kinesis_records) = generated(&[arguments.as_slice(), &["--aggregate"]].concat());
    for (said, records) in [(&plain, &orders), (&packed, &kinesis_records)] {
        assert_eq!((&said["records"], &said["repeated"], &said["maybe_doubled"]), (&json!(3000), &json!(0), &json!(0)));
        assert_eq!(said["kinesis_records"], records.len(), "{said}");
        assert_eq!(said["fell_short"], Value::Null, "{said}");
    }
    assert_eq!(orders.len(), 3000);
    assert!((1..300).contains(&kinesis_records.len()), "{}", kinesis_records.len());

    let mut expected: Vec<String> = orders.iter().map(|order| undated(order)).collect();
    let mut found: Vec<String> = taken_apart_payloads(&kinesis_records)
        .iter()
        .flat_map(|records| records.as_array().expect("records"))
        .inspect(|record| assert_eq!(record["aggregated"], true, "{record}"))
        .map(|record| undated(record["payload_base64"].as_str().expect("base64")))
        .collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
}

#[test]
fn generate_packs_what_falls_due_in_a_tenth_of_a_second_and_tells_what_it_achieved() {
    let millstream = Millstream::new();
    let said = millstream.ok("generate", &["--records", "600", "--rate", "400", "--aggregate"]);
    let records: u64 = {
        let (_, after) = said.split_once("\nas ").unwrap_or_else(|| panic!("{said}"));
        after.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{said}"))
    };
    assert!(said.starts_with("600 records put in ") && said.contains(" records/s (400 wanted)\n"), "{said}");
    assert!((10..300).contains(&records), "{said}");
}
