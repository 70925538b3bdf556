//! The host from outside, over HTTP, and its promises from inside.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ferrokinesis::actions::{Operation, dispatch};
use ferrokinesis::sequence::parse_sequence;
use ferrokinesis::store::{Store, StoreOptions};
use futures::FutureExt;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::durable::{Durable, OnDisk, RESERVED, Refusal};
use super::files::{self, RECORDS, STREAMS};
use super::frame::{sequence_of, write_frame};
use super::log::{Frames, HEAD, Head, Log};
use super::restore::restore;
use super::saved::Saved;
use super::*;
use crate::error::ErrorKind;

mod odd_states;
mod subscriptions;

/// A client that knows just enough HTTP.
struct Client {
    connection: TcpStream,
    body: Vec<u8>,
}

impl Client {
    fn new(endpoint: &StreamEndpoint) -> Self {
        let connection = TcpStream::connect(("127.0.0.1", endpoint.port)).expect("connect");
        connection.set_nodelay(true).expect("no delay");
        Self { connection, body: Vec::new() }
    }

    fn try_call(&mut self, operation: &str, request: &Value) -> (u16, Value) {
        self.send(operation, request);
        self.answer()
    }

    fn send(&mut self, operation: &str, request: &Value) {
        let body = request.to_string();
        let head = format!(
            "POST / HTTP/1.1\r\nhost: 127.0.0.1\r\nx-amz-target: Kinesis_20131202.{operation}\r\n\
             content-type: application/x-amz-json-1.1\r\nx-amz-date: 20261120T000000Z\r\n\
             authorization: AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=c\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        self.connection.write_all(head.as_bytes()).expect("send");
        self.connection.write_all(body.as_bytes()).expect("send");
    }

    fn answer(&mut self) -> (u16, Value) {
        self.body.clear();
        let mut chunk = [0; 1 << 16];
        loop {
            let read = self.connection.read(&mut chunk).expect("receive");
            assert!(read > 0, "the server hung up");
            self.body.extend_from_slice(&chunk[..read]);
            let Some(end) = self.body.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
            let head = String::from_utf8_lossy(&self.body[..end]).to_lowercase();
            let length = head.split("content-length: ").nth(1).expect("a length").lines().next().expect("a line");
            let body = &self.body[end + 4..];
            if body.len() == length.parse::<usize>().expect("a number") {
                let status = head[9..12].parse().expect("a status");
                return (status, serde_json::from_slice(body).unwrap_or(Value::Null));
            }
        }
    }

    fn call(&mut self, operation: &str, request: &Value) -> Value {
        let (status, answer) = self.try_call(operation, request);
        assert_eq!(status, 200, "{operation}: {answer}");
        answer
    }

    fn create(&mut self, shards: u32) {
        self.call("CreateStream", &json!({ "StreamName": "orders", "ShardCount": shards }));
    }

    fn put(&mut self, keys: std::ops::Range<u32>) {
        let records: Vec<Value> = keys
            .map(|key| json!({ "PartitionKey": format!("k{key}"), "Data": BASE64.encode(format!("data {key}")) }))
            .collect();
        let answer = self.call("PutRecords", &json!({ "StreamName": "orders", "Records": records }));
        assert_eq!(answer["FailedRecordCount"], 0);
    }

    fn summary(&mut self) -> Value {
        self.call("DescribeStreamSummary", &json!({ "StreamName": "orders" }))["StreamDescriptionSummary"].take()
    }

    fn shards(&mut self) -> Vec<Value> {
        self.call("ListShards", &json!({ "StreamName": "orders" }))["Shards"].as_array().expect("shards").clone()
    }

    fn iterator(&mut self, shard: &Value) -> Value {
        let request =
            json!({ "StreamName": "orders", "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON" });
        self.call("GetShardIterator", &request)["ShardIterator"].take()
    }

    /// All records of all shards, in order, as the service gives them.
    fn records(&mut self) -> BTreeMap<String, Vec<Value>> {
        let mut records = BTreeMap::new();
        for shard in self.shards() {
            let iterator = self.iterator(&shard);
            let mut answer = self.call("GetRecords", &json!({ "ShardIterator": iterator, "Limit": 10000 }));
            let found = answer["Records"].as_array_mut().expect("records");
            records.insert(shard["ShardId"].as_str().expect("an id").to_owned(), std::mem::take(found));
        }
        records
    }
}

fn count(records: &BTreeMap<String, Vec<Value>>) -> usize {
    records.values().map(Vec::len).sum()
}

fn sequences(records: &BTreeMap<String, Vec<Value>>, shard: &str) -> Vec<String> {
    records[shard].iter().map(|record| record["SequenceNumber"].as_str().expect("a number").to_owned()).collect()
}

async fn host(folder: &Path) -> Host {
    match host_or_connect(&HostSettings { folder: folder.to_owned(), port: 0, reset: false }).await.expect("a stream") {
        Hosting::Hosting(host) => host,
        Hosting::Connected(endpoint) => panic!("another hosts at {}", endpoint.url),
    }
}

/// What a process that is killed now leaves behind: the files as they are, and no lock.
fn killed(folder: &Path) -> TempDir {
    let copy = tempfile::tempdir().expect("folder");
    std::fs::create_dir(copy.path().join("kinesis")).expect("folder");
    for name in ["stream.port", "kinesis/lock", "kinesis/records.log", "kinesis/streams.json"] {
        std::fs::copy(folder.join(name), copy.path().join(name)).expect(name);
    }
    copy
}

/// The same where it was the machine that went down: the log has another boot's id, and only so many of its bytes.
fn power_cut(folder: &Path, bytes: u64) -> TempDir {
    let copy = killed(folder);
    let log = copy.path().join("kinesis").join(RECORDS);
    let head = Frames::open(&log).expect("open").and_then(|frames| frames.head()).expect("a head");
    let length = std::fs::metadata(&log).expect("a log").len();
    Log::open(&log, Head { boot: uuid::Uuid::from_u128(1), ..head }, length).expect("written");
    File::options().write(true).open(&log).expect("open").set_len(bytes).expect("cut");
    copy
}

#[tokio::test]
async fn a_kill_loses_nothing_and_all_comes_back_as_it_was() {
    let folder = tempfile::tempdir().expect("folder");
    let first = host(folder.path()).await;
    let mut client = Client::new(&first.endpoint());
    client.create(3);
    client.put(0..200);
    let odd = json!({ "StreamName": "orders", "PartitionKey": "ключ", "Data": "" });
    client.call("PutRecord", &odd);
    let (records, summary, shards) = (client.records(), client.summary(), client.shards());
    assert_eq!(count(&records), 201);

    let copy = killed(folder.path());
    let second = host(copy.path()).await;
    let mut client = Client::new(&second.endpoint());
    assert_eq!((client.records(), client.summary(), client.shards()), (records.clone(), summary, shards));

    client.put(200..300);
    let grown = client.records();
    assert_eq!(count(&grown), 301);
    for (shard, old) in &records {
        assert_eq!(grown[shard][..old.len()], old[..], "what was there comes first, unchanged");
        let numbers = sequences(&grown, shard);
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "numbers of one length grow");
    }
}

#[tokio::test]
async fn reading_goes_on_after_a_restart_where_a_sequence_number_says() {
    let folder = tempfile::tempdir().expect("folder");
    let first = host(folder.path()).await;
    let mut client = Client::new(&first.endpoint());
    client.create(1);
    client.put(0..10);
    let last = sequences(&client.records(), "shardId-000000000000")[6].clone();
    first.shutdown().await.expect("a graceful end");
    let second = host(folder.path()).await;
    let mut client = Client::new(&second.endpoint());
    client.put(10..12);
    let after = json!({ "StreamName": "orders", "ShardId": "shardId-000000000000",
        "ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": last });
    let iterator = client.call("GetShardIterator", &after)["ShardIterator"].take();
    let answer = client.call("GetRecords", &json!({ "ShardIterator": iterator }));
    let keys: Vec<_> =
        answer["Records"].as_array().expect("records").iter().map(|r| r["PartitionKey"].clone()).collect();
    assert_eq!(keys, ["k7", "k8", "k9", "k10", "k11"]);
}

#[tokio::test]
async fn a_torn_end_costs_only_what_no_client_was_told() {
    let folder = tempfile::tempdir().expect("folder");
    let first = host(folder.path()).await;
    let mut client = Client::new(&first.endpoint());
    client.create(1);
    client.put(0..5);
    let mut whole = std::fs::read(folder.path().join("kinesis").join(RECORDS)).expect("read");
    client.put(5..9);
    let copy = killed(folder.path());
    let log = copy.path().join("kinesis").join(RECORDS);
    let longer = std::fs::read(&log).expect("read");
    whole.extend_from_slice(&longer[whole.len()..][..31]);
    std::fs::write(&log, whole).expect("tear");
    let second = host(copy.path()).await;
    let mut client = Client::new(&second.endpoint());
    assert_eq!(count(&client.records()), 5);
    client.put(9..11);
    drop(second);
    let copy = killed(copy.path());
    let third = host(copy.path()).await;
    assert_eq!(count(&Client::new(&third.endpoint()).records()), 7);
}

const SHARD: &str = "shardId-000000000000";

fn index_of(sequence: &str) -> u64 {
    parse_sequence(sequence).expect("a sequence number").seq_ix.expect("an index")
}

#[tokio::test]
async fn a_log_that_lost_its_end_costs_records_and_gives_no_number_a_second_time() {
    let folder = tempfile::tempdir().expect("folder");
    let first = host(folder.path()).await;
    let mut client = Client::new(&first.endpoint());
    client.create(1);
    let log = |folder: &Path| folder.join("kinesis").join(RECORDS);
    let mut lengths = vec![HEAD];
    for put in 0..2 {
        client.put(put * 10..put * 10 + 10);
        lengths.push(std::fs::metadata(log(folder.path())).expect("a log").len());
    }
    let position = sequences(&client.records(), SHARD).pop().expect("records");
    for length in lengths {
        let copy = power_cut(folder.path(), length);
        let second = host(copy.path()).await;
        let mut client = Client::new(&second.endpoint());
        client.put(100..103);
        let after = json!({ "StreamName": "orders", "ShardId": SHARD,
            "ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": position });
        let iterator = client.call("GetShardIterator", &after)["ShardIterator"].take();
        let mut answer = client.call("GetRecords", &json!({ "ShardIterator": iterator }));
        let records = answer["Records"].as_array_mut().map(std::mem::take).expect("records");
        let keys: Vec<_> = records.iter().map(|record| record["PartitionKey"].clone()).collect();
        assert_eq!(keys, ["k100", "k101", "k102"], "who reads on after the cut to {length} bytes misses nothing");
        for number in sequences(&BTreeMap::from([(SHARD.to_owned(), records)]), SHARD) {
            assert!(number.len() == position.len() && number > position, "{number} after {position}");
        }
    }
}

#[tokio::test]
async fn numbers_go_on_without_a_gap_after_each_graceful_end() {
    let folder = tempfile::tempdir().expect("folder");
    let mut running = host(folder.path()).await;
    Client::new(&running.endpoint()).create(1);
    for round in 0..3 {
        Client::new(&running.endpoint()).put(round * 10..round * 10 + 5);
        running.shutdown().await.expect("a graceful end");
        running = host(folder.path()).await;
    }
    let told = sequences(&Client::new(&running.endpoint()).records(), SHARD);
    let indices: Vec<u64> = told.iter().map(|number| index_of(number)).collect();
    assert_eq!(indices, (1..16).collect::<Vec<_>>());
}

#[tokio::test]
async fn arrivals_are_told_to_the_millisecond_and_never_go_backwards() {
    let folder = tempfile::tempdir().expect("folder");
    let host = host(folder.path()).await;
    let mut client = Client::new(&host.endpoint());
    client.create(1);
    let mut between = Vec::new();
    for put in 0..20 {
        let before = SystemClock.now_millis();
        client.put(put..put + 1);
        between.push(before..=SystemClock.now_millis());
    }
    let records = client.records();
    let arrivals: Vec<f64> =
        records[SHARD].iter().map(|r| r["ApproximateArrivalTimestamp"].as_f64().expect("a time")).collect();
    for (arrival, between) in arrivals.iter().zip(&between) {
        let millis = arrival * 1e3;
        assert!(between.contains(&(millis.round() as i64)), "{arrival} within {between:?} ms");
        assert!((millis - millis.round()).abs() < 1e-2, "{arrival} has no more than milliseconds");
    }
    assert!(arrivals.windows(2).all(|pair| pair[0] <= pair[1]), "{arrivals:?}");
}

#[tokio::test]
async fn a_server_that_ended_is_noticed_by_all_who_wait_and_can_be_hosted_anew() {
    let folder = tempfile::tempdir().expect("folder");
    assert!(!is_served(folder.path()));
    let mut first = host(folder.path()).await;
    assert!(!first.has_ended());
    assert!(is_served(folder.path()));
    assert!(first.ended().now_or_never().is_none(), "it runs; and who waits may stop waiting");
    drop(std::mem::replace(&mut first.stop, CancellationToken::new().drop_guard()));
    futures::future::join(first.ended(), first.ended()).await;
    assert!(first.has_ended());
    assert!(!is_served(folder.path()));
    let second = host(folder.path()).await;
    assert!(!second.has_ended());
    first.shutdown().await.expect("it ended well");
    assert!(is_served(folder.path()), "the first one's end is no concern of the second");
}

#[tokio::test]
async fn a_killed_hosts_port_file_stays_but_nobody_serves() {
    let folder = tempfile::tempdir().expect("folder");
    let host = host(folder.path()).await;
    let copy = killed(folder.path());
    assert_eq!(endpoint_of(copy.path()), Some(host.endpoint()));
    assert!(!is_served(copy.path()));
}

#[tokio::test]
async fn the_second_connects_and_the_next_after_a_graceful_end_hosts() {
    let folder = tempfile::tempdir().expect("folder");
    let first = host(folder.path()).await;
    let endpoint = first.endpoint();
    assert_eq!(endpoint.url, format!("http://127.0.0.1:{}", endpoint.port));
    let text = std::fs::read_to_string(folder.path().join("stream.port")).expect("read");
    assert_eq!(text, format!("{}\n", endpoint.port));
    for port in [0, endpoint.port, endpoint.port.wrapping_add(1).max(1024)] {
        let settings = HostSettings { folder: folder.path().to_owned(), port, reset: false };
        let Ok(Hosting::Connected(found)) = host_or_connect(&settings).await else { panic!("two hosts") };
        assert_eq!(found, endpoint, "asked for {port}");
    }
    Client::new(&endpoint).create(1);
    first.shutdown().await.expect("a graceful end");
    assert_eq!(endpoint_of(folder.path()), None);
    std::fs::write(folder.path().join("stream.port"), "1\n").expect("a stale one");
    let second = host(folder.path()).await;
    assert_eq!(endpoint_of(folder.path()), Some(second.endpoint()));
    assert_eq!(Client::new(&second.endpoint()).summary()["StreamStatus"], "ACTIVE");
}

#[tokio::test]
async fn a_port_in_use_is_told_and_nothing_is_written() {
    let folder = tempfile::tempdir().expect("folder");
    let inside = folder.path().join("data");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = taken.local_addr().expect("an address").port();
    let error =
        host_or_connect(&HostSettings { folder: inside.clone(), port, reset: false }).await.expect_err("in use");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let expected = format!("port {port} is in use by another program; choose another with --port, or --port 0 for");
    assert!(error.to_string().starts_with(&expected), "{error}");
    assert!(!inside.exists());
}

#[tokio::test]
async fn files_that_are_not_ours_are_told_and_the_folder_is_free_again() {
    let folder = tempfile::tempdir().expect("folder");
    std::fs::create_dir(folder.path().join("kinesis")).expect("folder");
    std::fs::write(folder.path().join("kinesis").join(RECORDS), "a diary of mine").expect("write");
    for _ in 0..2 {
        let settings = HostSettings { folder: folder.path().to_owned(), port: 0, reset: false };
        let error = host_or_connect(&settings).await.expect_err("not ours");
        assert!(error.to_string().contains("records.log is not a log of records"), "{error}");
    }
    assert_eq!(endpoint_of(folder.path()), None);
}

#[tokio::test]
async fn a_stream_made_anew_is_another_and_its_forerunners_records_stay_gone() {
    let folder = tempfile::tempdir().expect("folder");
    let first = host(folder.path()).await;
    let mut client = Client::new(&first.endpoint());
    client.create(2);
    client.put(0..50);
    let old = client.summary();
    client.call("DeleteStream", &json!({ "StreamName": "orders" }));
    assert_eq!(client.try_call("DescribeStreamSummary", &json!({ "StreamName": "orders" })).0, 400);
    client.create(2);
    client.put(50..53);
    let new = client.summary();
    assert_eq!(new["StreamARN"], old["StreamARN"]);
    assert!(new["StreamCreationTimestamp"].as_i64() > old["StreamCreationTimestamp"].as_i64());
    let copy = killed(folder.path());
    let length = std::fs::metadata(copy.path().join("kinesis").join(RECORDS)).expect("a log").len();
    let second = host(copy.path()).await;
    let mut client = Client::new(&second.endpoint());
    assert_eq!((count(&client.records()), client.summary()), (3, new));
    let shorter = std::fs::metadata(copy.path().join("kinesis").join(RECORDS)).expect("a log").len();
    assert!(shorter < length / 4, "the dead frames are gone: {length} bytes, then {shorter}");
}

#[tokio::test]
async fn a_split_and_a_longer_retention_survive_a_kill() {
    let folder = tempfile::tempdir().expect("folder");
    let first = host(folder.path()).await;
    let mut client = Client::new(&first.endpoint());
    client.create(1);
    client.put(0..40);
    let half = (1u128 << 127).to_string();
    let split = json!({ "StreamName": "orders", "ShardToSplit": "shardId-000000000000", "NewStartingHashKey": half });
    client.call("SplitShard", &split);
    client.put(40..80);
    let longer = json!({ "StreamName": "orders", "RetentionPeriodHours": 48 });
    client.call("IncreaseStreamRetentionPeriod", &longer);
    let (records, shards) = (client.records(), client.shards());
    assert_eq!((shards.len(), count(&records)), (3, 80));
    assert_eq!(records["shardId-000000000000"].len(), 40);

    let copy = killed(folder.path());
    let second = host(copy.path()).await;
    let mut client = Client::new(&second.endpoint());
    assert_eq!((client.records(), client.shards()), (records.clone(), shards));
    assert_eq!(client.summary()["RetentionPeriodHours"], 48);
    client.put(80..120);
    let grown = client.records();
    assert_eq!(grown["shardId-000000000000"].len(), 40, "the closed shard takes nothing");
    for shard in ["shardId-000000000001", "shardId-000000000002"] {
        assert_eq!(grown[shard][..records[shard].len()], records[shard][..]);
        assert!(sequences(&grown, shard).windows(2).all(|pair| pair[0] < pair[1]));
    }
}

#[tokio::test]
async fn consumers_tags_and_a_larger_record_size_survive_a_kill() {
    let folder = tempfile::tempdir().expect("folder");
    let first = host(folder.path()).await;
    let mut client = Client::new(&first.endpoint());
    client.create(1);
    let arn = client.summary()["StreamARN"].clone();
    client.call("RegisterStreamConsumer", &json!({ "StreamARN": arn, "ConsumerName": "fan" }));
    client.call("AddTagsToStream", &json!({ "StreamName": "orders", "Tags": { "team": "food" } }));
    client.call("UpdateMaxRecordSize", &json!({ "StreamARN": arn, "MaxRecordSizeInKiB": 2048 }));
    let saved = Saved::load(&folder.path().join("kinesis").join(STREAMS)).expect("load").expect("a file");
    assert_eq!(saved.streams[0].stream().max_record_size_kib, 2048);

    let copy = killed(folder.path());
    let second = host(copy.path()).await;
    let mut client = Client::new(&second.endpoint());
    let found = client.call("DescribeStreamConsumer", &json!({ "StreamARN": arn, "ConsumerName": "fan" }));
    assert_eq!(found["ConsumerDescription"]["ConsumerStatus"], "ACTIVE");
    let tags = client.call("ListTagsForStream", &json!({ "StreamName": "orders" }));
    assert_eq!(tags["Tags"], json!([{ "Key": "team", "Value": "food" }]));
}

/// The sequence numbers that are in the log now.
fn logged(folder: &Path) -> Vec<String> {
    let mut numbers = Vec::new();
    let mut frames = Frames::open(&folder.join(RECORDS)).expect("open").expect("a log");
    while let Some(frame) = frames.next().expect("a frame") {
        numbers.extend(frame.records.into_iter().map(|(key, _)| sequence_of(&key).to_owned()));
    }
    numbers
}

#[tokio::test]
async fn a_reader_sees_every_record_in_order_and_none_that_is_not_in_the_log() {
    let folder = tempfile::tempdir().expect("folder");
    let host = host(folder.path()).await;
    let endpoint = host.endpoint();
    let mut client = Client::new(&endpoint);
    client.create(1);
    let writers: Vec<_> = (0..3)
        .map(|writer| {
            let endpoint = endpoint.clone();
            blocking(move || {
                let mut client = Client::new(&endpoint);
                (0..20).for_each(|put| client.put(writer * 1000 + put * 10..writer * 1000 + put * 10 + 10));
                Ok(())
            })
        })
        .collect();
    let in_folder = folder.path().join("kinesis");
    let reader = blocking(move || {
        let shard = client.shards().remove(0);
        let mut iterator = client.iterator(&shard);
        let mut seen: Vec<String> = Vec::new();
        while seen.len() < 600 {
            let mut answer = client.call("GetRecords", &json!({ "ShardIterator": iterator }));
            let on_disk = logged(&in_folder);
            for record in answer["Records"].as_array().expect("records") {
                seen.push(record["SequenceNumber"].as_str().expect("a number").to_owned());
            }
            assert_eq!(seen[..], on_disk[..seen.len()], "what is read is what is logged, in its order");
            iterator = answer["NextShardIterator"].take();
        }
        assert!(seen.windows(2).all(|pair| pair[0] < pair[1]));
        Ok(())
    });
    futures::future::try_join(futures::future::try_join_all(writers), reader).await.expect("no one fails");
}

#[tokio::test]
async fn a_request_that_is_too_large_is_refused_and_a_large_one_is_not() {
    let folder = tempfile::tempdir().expect("folder");
    let host = host(folder.path()).await;
    let mut client = Client::new(&host.endpoint());
    client.create(1);
    let megabyte = BASE64.encode(vec![7; 1_000_000]);
    let record = json!({ "PartitionKey": "k", "Data": megabyte });
    let request = json!({ "StreamName": "orders", "Records": vec![record.clone(); 5] });
    assert_eq!(client.call("PutRecords", &request)["FailedRecordCount"], 0);
    let head = format!(
        "POST / HTTP/1.1\r\nhost: localhost\r\nx-amz-target: Kinesis_20131202.PutRecords\r\ncontent-length: {}\r\n\r\n",
        17 << 20
    );
    client.connection.write_all(head.as_bytes()).expect("send");
    let (status, answer) = client.answer();
    assert_eq!((status, &answer["__type"]), (413, &json!("SerializationException")));
}

/// An engine with one stream of one shard.
async fn durable(folder: &Path) -> Durable {
    durable_within(folder, 1, None).await
}

/// The same with some shards and a bound on the engine's memory, bytes.
async fn durable_within(folder: &Path, shards: u32, max_retained_bytes: Option<u64>) -> Durable {
    let options =
        StoreOptions { create_stream_ms: 0, delete_stream_ms: 0, max_retained_bytes, ..StoreOptions::default() };
    let (saved, frames) = files::make(folder).expect("made");
    let log = Log::open(&folder.join(RECORDS), frames.head().expect("a head"), HEAD).expect("open");
    let disk = OnDisk { log, saved, tails: Vec::new(), newest_arrival: 0 };
    let mut durable = Durable::new(Store::new(options), folder.to_owned(), disk);
    durable.begin(true).await.expect("begin");
    let request = json!({ "StreamName": "orders", "ShardCount": shards });
    dispatch(&durable.store, Operation::CreateStream, request).await.expect("create");
    durable.settle().await.expect("settle");
    durable
}

async fn put_one(durable: &Durable) {
    let request = json!({ "StreamName": "orders", "PartitionKey": "k", "Data": "aGk=" });
    dispatch(&durable.store, Operation::PutRecord, request).await.expect("put");
}

#[tokio::test]
async fn what_a_vanished_client_left_is_logged_by_the_next_one() {
    let folder = tempfile::tempdir().expect("folder");
    let mut durable = durable(folder.path()).await;
    durable.begin(false).await.expect("begin");
    put_one(&durable).await;
    assert!(!durable.is_settled(), "readers see that they must settle first");
    assert_eq!(logged(folder.path()).len(), 0);
    durable.begin(false).await.expect("begin");
    assert_eq!(logged(folder.path()).len(), 1);
}

#[tokio::test]
async fn a_put_that_finds_no_room_is_refused_and_not_seen() {
    let folder = tempfile::tempdir().expect("folder");
    let full = File::options().write(true).open("/dev/full").expect("a full device");
    let mut durable = durable(folder.path()).await;
    durable.log = Log::over(full, durable.log.head(), durable.log.length());
    // It has numbers to give out, and so does not write the other file.
    durable.saved.streams[0].counters = vec![100];
    durable.begin(false).await.expect("begin");
    put_one(&durable).await;
    assert!(matches!(durable.settle().await, Err(Refusal::Full)));
    assert!(durable.store.get_record_store("orders").await.is_empty());
    // This device cannot be cut either, so the log is in doubt: no further put is let in, readers are.
    durable.settle().await.expect("nothing is left to log");
    assert!(matches!(durable.begin(false).await, Err(Refusal::Broken)));
}

#[tokio::test]
async fn streams_that_cannot_be_saved_hold_up_everything_until_they_can() {
    let folder = tempfile::tempdir().expect("folder");
    let mut durable = durable(folder.path()).await;
    let gone = durable.folder.join("gone");
    let there = std::mem::replace(&mut durable.folder, gone);
    durable.begin(true).await.expect("begin");
    dispatch(&durable.store, Operation::DeleteStream, json!({ "StreamName": "orders" })).await.expect("delete");
    for _ in 0..2 {
        assert!(matches!(durable.settle().await, Err(Refusal::Unwritable(_))));
        assert!(matches!(durable.begin(false).await, Err(Refusal::Unwritable(_))));
    }
    durable.folder = there;
    durable.begin(true).await.expect("the folder is back");
    assert_eq!(Saved::load(&folder.path().join(STREAMS)).expect("load").expect("a file").streams.len(), 0);
}

#[tokio::test]
async fn after_the_end_nothing_is_taken() {
    let folder = tempfile::tempdir().expect("folder");
    let mut durable = durable(folder.path()).await;
    durable.close().await.expect("close");
    assert!(matches!(durable.begin(false).await, Err(Refusal::Closed)));
    assert!(matches!(durable.settle().await, Err(Refusal::Closed)));
}

#[tokio::test]
async fn expired_records_leave_memory_while_running_and_the_log_at_a_start_and_numbers_go_on() {
    let folder = tempfile::tempdir().expect("folder");
    let mut durable = durable(folder.path()).await;
    durable.begin(false).await.expect("begin");
    for _ in 0..1500 {
        put_one(&durable).await;
    }
    durable.settle().await.expect("settle");
    let now = SystemClock.now_millis() / 1000;
    let (fresh, expired) = (now + 23 * 3600, now + 25 * 3600);
    durable.trim(fresh).await;
    assert_eq!(durable.store.get_record_store("orders").await.len(), 1500);
    durable.trim(expired).await;
    assert_eq!(durable.store.get_record_store("orders").await.len(), 0);
    let before = logged(folder.path());
    assert_eq!(before.len(), 1500, "they are in the log until the next start");

    let store = || Store::new(StoreOptions::default());
    let kept = restore(folder.path(), store(), fresh).await.expect("restore");
    assert_eq!(kept.store.get_record_store("orders").await.len(), 1500);
    let dropped = restore(folder.path(), store(), expired).await.expect("restore");
    assert_eq!(dropped.store.get_record_store("orders").await.len(), 0);
    assert_eq!(logged(folder.path()).len(), 0);
    let mut again = restore(folder.path(), store(), expired).await.expect("restore");
    again.begin(false).await.expect("begin");
    put_one(&again).await;
    again.settle().await.expect("settle");
    assert!(logged(folder.path())[0] > before[1499], "its number is greater than that of any record before it");
}

fn reserved(folder: &Path) -> Vec<u64> {
    Saved::load(&folder.join(STREAMS)).expect("load").expect("a file").streams[0].counters.clone()
}

#[tokio::test]
async fn numbers_are_reserved_a_block_at_a_time_and_given_back_at_the_end() {
    let folder = tempfile::tempdir().expect("folder");
    let mut durable = durable(folder.path()).await;
    assert_eq!(reserved(folder.path()), [1]);
    let mut put = async |drawn: u64| {
        durable.begin(false).await.expect("begin");
        durable.store.allocate_sequences_batch("orders", &vec![0; drawn as usize]).await.expect("draw");
        put_one(&durable).await;
        durable.settle().await.expect("settle");
    };
    put(0).await;
    assert_eq!(reserved(folder.path()), [2 + RESERVED]);
    std::fs::remove_file(folder.path().join(STREAMS)).expect("remove");
    put(0).await;
    put(RESERVED - 2).await;
    assert!(!folder.path().join(STREAMS).exists(), "nothing is written until all are used");
    put(0).await;
    assert_eq!(reserved(folder.path()), [3 + 2 * RESERVED]);
    durable.close().await.expect("close");
    assert_eq!(reserved(folder.path()), [3 + RESERVED]);
}

#[tokio::test]
async fn a_put_whose_numbers_cannot_be_reserved_is_refused_and_not_seen() {
    let folder = tempfile::tempdir().expect("folder");
    let mut durable = durable(folder.path()).await;
    let there = std::mem::replace(&mut durable.folder, folder.path().join("gone"));
    durable.begin(false).await.expect("begin");
    put_one(&durable).await;
    assert!(matches!(durable.settle().await, Err(Refusal::Unwritable(_))));
    assert!(durable.store.get_record_store("orders").await.is_empty());
    durable.folder = there;
    durable.begin(false).await.expect("the folder is back");
    put_one(&durable).await;
    durable.settle().await.expect("settle");
    assert_eq!(logged(folder.path()).len(), 1);
}

#[tokio::test]
async fn a_put_that_cannot_be_stamped_leaves_nothing_in_any_shard() {
    // Records of 20 and 28 bytes, each there twice while it is stamped: with room for 70 the first is stamped and the
    // second is not, with room for 50 neither is.
    for room in [50, 70] {
        let folder = tempfile::tempdir().expect("folder");
        let mut durable = durable_within(folder.path(), 2, Some(room)).await;
        durable.begin(false).await.expect("begin");
        let records = [("0".to_owned(), "aGkgdGhl"), (u128::MAX.to_string(), "aGkgdGhlcmVoaSB0")]
            .map(|(key, data)| json!({ "PartitionKey": "k", "ExplicitHashKey": key, "Data": data }));
        let request = json!({ "StreamName": "orders", "Records": records });
        dispatch(&durable.store, Operation::PutRecords, request).await.expect("put");
        assert_eq!(durable.store.get_record_store("orders").await.len(), 2, "room for {room} bytes");
        assert!(matches!(durable.settle().await, Err(Refusal::Unwritable(_))), "room for {room} bytes");
        assert!(durable.store.get_record_store("orders").await.is_empty(), "room for {room} bytes");
        durable.settle().await.expect("nothing is left to log");
        assert_eq!(logged(folder.path()).len(), 0);
    }
}

#[tokio::test]
async fn after_a_restart_and_a_step_of_the_clock_no_arrival_is_older_than_the_newest_in_the_log() {
    let folder = tempfile::tempdir().expect("folder");
    let mut first = durable(folder.path()).await;
    first.begin(false).await.expect("begin");
    put_one(&first).await;
    first.settle().await.expect("settle");
    let (key, mut record) = newest(&first).await;
    let ahead = ((SystemClock.now_millis() + 3_600_000) / 1000 * 1000 + 123) as f64 / 1e3;
    record.approximate_arrival_timestamp = ahead;
    let mut frame = Vec::new();
    write_frame(&mut frame, first.saved.streams[0].number, 0, &[(format!("{key}0"), record)]);
    first.log.append(&frame).expect("append");

    let mut second = restore(folder.path(), Store::new(StoreOptions::default()), 0).await.expect("restore");
    second.begin(false).await.expect("begin");
    put_one(&second).await;
    second.settle().await.expect("settle");
    assert_eq!(newest(&second).await.1.approximate_arrival_timestamp, ahead);
}

async fn newest(durable: &Durable) -> (String, ferrokinesis::types::StoredRecord) {
    let records = durable.store.get_records_range_limited("orders", &durable.tails[0].shards[0].last_key, "~", 9).await;
    records.into_iter().next_back().expect("a record")
}
