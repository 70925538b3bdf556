//! Where reading begins and goes on: `latest` across a kill, and records that the stream dropped before they were read.

use std::fs;
use std::path::Path;

use ferrokinesis::store::{Store, StoreOptions};
use millstream::batch::Checksum;
use millstream::error::Error;
use millstream::runtime::Tasks;
use serde_json::{Value, json};

use super::{STREAM, number, on_stage, with_stage};
use crate::command::{Millstream, PipelineCopy, until};
use crate::python::{python, python_with_input};

const DAYS: i64 = 24 * 3600 * 1000;

/// Puts the orders of these ids through boto3.
fn put(port: u16, ids: std::ops::Range<u64>) {
    let order = |id: u64| {
        format!(
            "{{\"OrderID\":{id},\"CustomerID\":1,\"RestaurantID\":2,\"RiderID\":3,\"OrderDate\":\"2026-11-20T10:00:00Z\",\
             \"OrderValue\":10.5,\"OrderStatus\":\"Placed\"}}\n"
        )
    };
    let count = (ids.end - ids.start).to_string();
    let orders: String = ids.map(order).collect();
    python_with_input("put_records", &[&port.to_string(), STREAM, &count], orders.as_bytes());
}

/// The ids of the loaded orders, first to last, and how many there are.
fn orders(millstream: &Millstream) -> (u64, u64, u64) {
    let rows = millstream.query("select min(order_id) as low, max(order_id) as high, count(*) as n from fact_orders");
    (number(&rows[0]["low"]), number(&rows[0]["high"]), number(&rows[0]["n"]))
}

#[test]
fn what_comes_after_a_first_start_at_latest_is_read_though_that_start_was_killed() {
    let pipeline = PipelineCopy::new().replace("pipeline.toml", "\"trim_horizon\"", "\"latest\"");
    let millstream = Millstream::over(pipeline.pipeline.clone());
    let (_host, port) = millstream.host_stream();
    put(port, 1..101);
    let journal = millstream.data.path().join("lake/journal/00000000000000000001.json");
    let mut running = millstream.start("run", &[]);
    until("the journal's first entry", || journal.exists().then_some(()));
    running.kill();
    let first: Value = serde_json::from_slice(&fs::read(&journal).expect("the entry")).expect("json");
    assert!(first["opening"]["start"]["time"].is_i64(), "`latest` is journaled as a time: {first}");

    put(port, 101..301);
    let summary = millstream.json("run", &["--once"]);
    assert_eq!(summary["records"], 200, "{summary}");
    assert_eq!(orders(&millstream), (101, 300, 200));
    assert_eq!(millstream.json("audit", &[])["clean"], true);
}

/// A Kinesis server in this process, with the stream of one shard.
async fn kinesis(tasks: &mut Tasks) -> (u16, Store) {
    let options = StoreOptions { create_stream_ms: 0, ..StoreOptions::default() };
    let (app, store) = ferrokinesis::create_app(options);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    tasks.spawn("kinesis", async move {
        axum::serve(listener, app).await.map_err(|error| Error::internal(error.to_string()))
    });
    python("create_stream", &[&port.to_string(), STREAM, "1"]);
    (port, store)
}

/// The oldest records of the shard pass retention.
async fn forget(store: &Store, count: usize) {
    let bound = ferrokinesis::sequence::shard_ix_to_hex;
    let oldest = store.get_records_range_limited(STREAM, &bound(0), &bound(1), count).await;
    let keys: Vec<String> = oldest.into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys.len(), count);
    store.delete_record_keys(STREAM, &keys).await;
}

/// Makes the journal one of a job that has stood still for days: a shard is caught up to then, and no later. What was
/// lost is judged by the clock, and this test has no days.
fn age(journal: &Path, by: i64) {
    let (mut aged, mut before) = (0, None);
    let mut files: Vec<_> =
        fs::read_dir(journal).expect("the journal").map(|file| file.expect("an entry").path()).collect();
    files.sort();
    for file in files {
        let mut entry: Value = serde_json::from_slice(&fs::read(&file).expect("an entry")).expect("json");
        let marks = entry.pointer_mut("/marks/caught_up").and_then(Value::as_object_mut);
        for mark in marks.into_iter().flat_map(|marks| marks.values_mut()) {
            *mark = json!(mark.as_i64().expect("a time") - by);
            aged += 1;
        }
        // The log is a chain, and each entry ends with the checksum of what stands before.
        let fields = entry.as_object_mut().expect("an entry");
        fields.remove("checksum");
        if let Some(before) = before {
            fields.insert("previous".to_owned(), json!(before));
        }
        let text = entry.to_string();
        let body = text.strip_suffix('}').expect("an object");
        let checksum = Checksum::of(body.as_bytes()).to_string();
        fs::write(file, format!("{body},\"checksum\":\"{checksum}\"}}\n")).expect("written");
        before = Some(checksum);
    }
    assert!(aged > 0, "the journal notes how far each shard is caught up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_expired_unread_stop_the_run_or_are_journaled_as_lost_once() {
    let mut tasks = Tasks::new();
    let (port, store) = kinesis(&mut tasks).await;
    let folder = tempfile::tempdir().expect("a folder");
    let lake = folder.path().join("lake");
    let stage = |pipeline| with_stage(pipeline, port, &format!("store = \"file://{}\"", lake.display()));
    let stopping = stage(PipelineCopy::new());
    let millstream = on_stage(&stopping);
    put(port, 1..101);
    millstream.json("run", &["--once"]);
    put(port, 101..301);
    // Those that were read, and a hundred that were not.
    forget(&store, 200).await;
    age(&lake.join("journal"), 3 * DAYS);

    let said = millstream.say("run", &["--once"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    for words in ["shardId-000000000000", "dropped records before they were read", "on_loss = \"continue\""] {
        assert!(said.stderr.contains(words), "{words:?} is not in {}", said.stderr);
    }
    assert_eq!(orders(&millstream), (1, 100, 100), "nothing was read past the gap");

    let going_on =
        stage(PipelineCopy::new().replace("pipeline.toml", "shards = 4 ", "on_loss = \"continue\"\nshards = 4 "));
    let millstream = on_stage(&going_on);
    let said = millstream.say("run", &["--once"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stderr.contains("going on without them"), "{}", said.stderr);
    assert_eq!(orders(&millstream), (1, 300, 200), "what the stream still had");
    let audit = millstream.json("audit", &[]);
    assert_eq!(audit["clean"], true, "{audit}");

    let said = millstream.say("run", &["--once"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(!said.stderr.contains("going on without them"), "told once: {}", said.stderr);
    let losses = &millstream.json("status", &[])["losses"];
    assert_eq!(losses.as_array().map(Vec::len), Some(1), "journaled once: {losses}");
    assert_eq!(losses[0]["shard"], "shardId-000000000000", "{losses}");
    let status = millstream.ok("status", &[]);
    assert!(status.contains("LOST   shardId-000000000000: the stream dropped records"), "{status}");
}
