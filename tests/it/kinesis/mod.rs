//! Kinesis as it really is: the source and the whole job on two servers from other hands, through a proxy of faults.

mod contract;
mod faults;
mod http;
mod in_process;
mod kinesis_local;
mod limits;
mod proxy;
mod reshard;
mod run;

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_kinesis::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_kinesis::types::StreamStatus;
use aws_sdk_kinesis::{Client, Config};
use millstream::runtime::{Clock, Context, ManualClock, Random, SystemClock};
use millstream::source::{KinesisSettings, KinesisSource, Producer, PutItem, Shard, Source, StreamAdmin};

pub(crate) use faults::Plan;
pub(crate) use in_process::InProcess;
pub(crate) use proxy::Proxy;

/// A stream, as its owner sees it: who puts into it and changes its shards.
pub(crate) struct Stream {
    pub(crate) name: String,
    pub(crate) client: Client,
    pub(crate) producer: Producer,
    source: KinesisSource,
}

impl Stream {
    /// Makes the stream on the server at this port.
    pub(crate) async fn make(port: u16, name: &str, shards: u32) -> Self {
        let made = StreamAdmin::new(settings(port, name), Context::system()).ensure_stream(shards).await;
        assert!(made.expect("a stream"), "{name} is new");
        Self::open(port, name)
    }

    /// The stream that is there.
    pub(crate) fn open(port: u16, name: &str) -> Self {
        let producer = Producer::new(settings(port, name), Context::system());
        let source = KinesisSource::new(settings(port, name), Context::system());
        Self { name: name.to_owned(), client: client(port), producer, source }
    }

    pub(crate) async fn put(&self, records: &[(String, String)]) {
        let items = records.iter().map(|(key, payload)| PutItem::new(key, payload.clone())).collect();
        self.producer.put(items).await.expect("put");
    }

    /// All shards, closed ones too.
    pub(crate) async fn shards(&self) -> Vec<Shard> {
        self.source.shards().await.expect("shards")
    }

    /// The shards that take records, by their hash keys.
    pub(crate) async fn open_shards(&self) -> Vec<Shard> {
        let mut open: Vec<Shard> = self.shards().await.into_iter().filter(|shard| !shard.closed).collect();
        open.sort_by_key(|shard| shard.hashes.first);
        open
    }

    /// Splits a shard: its upper child begins at this hash key.
    pub(crate) async fn split(&self, shard: &Shard, at: u128) {
        let split = self.client.split_shard().stream_name(&self.name).shard_to_split(shard.id.as_str());
        split.new_starting_hash_key(at.to_string()).send().await.expect("split");
        self.is_active().await;
    }

    /// Merges two shards whose hash keys touch.
    pub(crate) async fn merge(&self, lower: &Shard, upper: &Shard) {
        let merge = self.client.merge_shards().stream_name(&self.name).shard_to_merge(lower.id.as_str());
        merge.adjacent_shard_to_merge(upper.id.as_str()).send().await.expect("merged");
        self.is_active().await;
    }

    async fn is_active(&self) {
        for _ in 0..1_000 {
            let summary = self.client.describe_stream_summary().stream_name(&self.name).send().await;
            let summary = summary.expect("a summary").stream_description_summary.expect("a summary");
            if summary.stream_status == StreamStatus::Active {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{} is not active in ten seconds", self.name);
    }
}

/// The middle of a shard's hash keys, upper half.
pub(crate) fn middle(shard: &Shard) -> u128 {
    let hashes = shard.hashes;
    hashes.first + (hashes.last - hashes.first) / 2 + 1
}

pub(crate) fn settings(port: u16, stream: &str) -> KinesisSettings {
    KinesisSettings::local(format!("http://127.0.0.1:{port}"), stream)
}

/// A clock that shows the time of day but on which nobody waits, and fixed dice.
fn context() -> Context {
    Context { clock: Arc::new(ManualClock::at(SystemClock.now_micros())), random: Random::seeded(1) }
}

/// The SDK's own client, without anything of Millstream's.
fn client(port: u16) -> Client {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "tests"))
        .endpoint_url(format!("http://127.0.0.1:{port}"));
    Client::from_conf(config.build())
}
