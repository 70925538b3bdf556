//! Aggregated records against aws_kinesis_agg, which shares no code with Millstream.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use millstream::source::{Aggregate, Aggregator};
use serde_json::{Value, json};

use crate::python::{python, python_with_input};

fn taken_apart(aggregates: &[Aggregate]) -> Vec<Value> {
    let payloads: Vec<String> = aggregates.iter().map(|aggregate| STANDARD.encode(&aggregate.payload)).collect();
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
