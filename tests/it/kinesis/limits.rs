//! How often and how much a reader asks of a shard, counted between it and the server.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use aws_sdk_kinesis::config::{Credentials, SharedCredentialsProvider};
use ferrokinesis::store::StoreOptions;
use millstream::batch::StartAt;
use millstream::runtime::Context;
use millstream::source::{KinesisSettings, KinesisSource, PutItem, Shard, Source};

use super::proxy::ReadCall;
use super::{InProcess, Plan, Proxy, Stream};

const STREAM: &str = "limits";
/// What a shard gives: 5 calls/s, 2 MiB/s.
const CALLS: usize = 5;
const BYTES: f64 = 2_097_152.0;
/// Calls come later than they were made on a busy machine, and so the next one sooner after them.
const JITTER: Duration = Duration::from_millis(150);

/// Every call that came before what it and its forerunners cost was paid for by time.
fn too_early(calls: &[&ReadCall]) -> Vec<String> {
    let mut found = Vec::new();
    for (later, call) in calls.iter().enumerate() {
        let mut bytes = 0.0;
        for (earlier, before) in calls[..later].iter().enumerate().rev() {
            bytes += before.bytes as f64;
            let elapsed = call.at - before.at + JITTER;
            let by_calls = (later - earlier) as f64 / CALLS as f64;
            let by_bytes = bytes / BYTES;
            if elapsed.as_secs_f64() < by_calls.max(by_bytes) {
                found.push(format!("call {later} of {}: {elapsed:?} after call {earlier}, {bytes} bytes", call.shard));
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_keeps_to_what_a_shard_gives_at_the_tip_and_behind() {
    let server = InProcess::start(StoreOptions { enforce_limits: true, ..StoreOptions::default() }).await;
    let proxy = Proxy::before(server.port, Plan::calm()).await;
    let stream = Stream::make(server.port, STREAM, 2).await;
    let endpoint = Some(format!("http://127.0.0.1:{}", proxy.port));
    let keys = SharedCredentialsProvider::new(Credentials::new("test", "test", None, None, "tests"));
    let settings = KinesisSettings::aws(endpoint, "us-east-1", STREAM, keys);
    let source = KinesisSource::new(settings, Context::system());
    let shards = source.shards().await.expect("shards");
    let heavy = |round: u128| -> Vec<PutItem> {
        let item = |number: u128| PutItem {
            explicit_hash_key: Some((round * 100 + number).to_string()),
            ..PutItem::new("heavy", vec![b'x'; 30_000])
        };
        (0..33).map(item).collect()
    };
    // The server takes a MiB a second and shard: this backlog takes two seconds to put, and one to read.
    for round in 0..2 {
        stream.producer.put(heavy(round)).await.expect("put");
    }
    let started = Instant::now();
    // Each reader on its own: a call that is dropped half-way has cost the shard what its reader never sees.
    let read = |shard: &Shard| {
        let (source, shard) = (&source, shard.clone());
        async move {
            let mut reader = source.open(&shard, StartAt::TrimHorizon).await.expect("open");
            let mut records = 0;
            while started.elapsed() < Duration::from_secs(5) {
                records += reader.next().await.expect("a page").records.len();
            }
            records
        }
    };
    let refill = async {
        for round in 2..4 {
            stream.producer.put(heavy(round)).await.expect("put");
        }
    };
    let (first, second, ()) = tokio::join!(read(&shards[0]), read(&shards[1]), refill);
    assert_eq!(first + second, 4 * 33, "all was read meanwhile");

    let calls = proxy.reads();
    let mut by_shard: BTreeMap<&str, Vec<&ReadCall>> = BTreeMap::new();
    calls.iter().for_each(|call| by_shard.entry(&call.shard).or_default().push(call));
    assert_eq!(by_shard.len(), 2);
    for calls in by_shard.values() {
        // An idle shard is asked once a second in the end.
        assert!(calls.len() >= 5, "{} calls in five seconds are no reading", calls.len());
        assert_eq!(too_early(calls), [""; 0]);
    }
    let heaviest = calls.iter().map(|call| call.bytes).max();
    assert!(heaviest > Some(1_000_000), "an answer of half a second's bytes at least: {heaviest:?}");
}

#[test]
fn calls_that_come_too_early_are_found() {
    let start = Instant::now();
    let call = |millis, bytes| ReadCall { shard: "s".into(), at: start + Duration::from_millis(millis), bytes };
    let found = |calls: &[ReadCall]| too_early(&calls.iter().collect::<Vec<_>>()).len();
    let paced: Vec<ReadCall> = (0..20).map(|number| call(number * 200, 400_000)).collect();
    assert_eq!(found(&paced), 0);
    let hasty: Vec<ReadCall> = (0..20).map(|number| call(number * 150, 0)).collect();
    assert!(found(&hasty) > 0, "more than five a second");
    let unpaid = [call(0, 10_000_000), call(4_000, 0)];
    assert_eq!(found(&unpaid), 1, "ten megabytes are paid for by five seconds");
}
