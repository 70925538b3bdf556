//! Kinesis, by polling or fan-out: AWS itself and every server that speaks its protocol, the local target's included.
//!
//! Owns all use of aws-sdk-kinesis. A call that fails by throttling, a lost connection or a fault of the server is
//! repeated with growing pauses and counted; only when the tries are used up does an error come out, Transient and
//! with the place in it.

mod admin;
mod answered;
mod connection;
mod consumer;
mod fan_out;
mod fault;
mod gap;
mod open_shards;
mod pace;
mod pace_puts;
mod pack_puts;
mod producer;
mod put_requests;
mod reader;
mod subscription;

#[cfg(test)]
mod stand_in;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_kinesis::types;

use super::{HashRange, Shard, ShardReader, Source, StreamDescription};
use crate::batch::{ShardId, StartAt, StreamIdentity};
use crate::error::{Error, Result};
use crate::runtime::Context;
use connection::Connection;
use fan_out::FanOutReader;
use reader::KinesisReader;

pub use admin::StreamAdmin;
pub use connection::{CallCounts, Credentials, KinesisSettings, ReadLimits};
pub use consumer::FanOutConsumer;
pub use pace_puts::ProducerLimits;
pub use producer::{Producer, PutItem};
pub use put_requests::PutReport;

/// A Kinesis stream, read shard by shard: polled, or subscribed to by a consumer of its own.
///
/// `StartAt::Time` counts by the millisecond, as the stream stamps arrivals; of a server that stamps whole seconds, the
/// records of the second in which it falls count as before it.
pub struct KinesisSource {
    connection: Arc<Connection>,
    fan_out: Option<FanOutConsumer>,
}

impl KinesisSource {
    /// A source for the stream of these settings. Nothing is asked of the server yet.
    pub fn new(settings: KinesisSettings, context: Context) -> Self {
        let stakes = "nothing is lost: a new start goes on from the last committed position";
        Self { connection: Arc::new(Connection::new(settings, context, stakes)), fan_out: None }
    }

    /// The same stream, its readers subscribing to their shards as this consumer of it. One consumer has one reader for
    /// each shard: of two, each would take the shard from the other again and again.
    pub fn with_fan_out(mut self, consumer: FanOutConsumer) -> Self {
        self.fan_out = Some(consumer);
        self
    }
}

#[async_trait]
impl Source for KinesisSource {
    async fn describe(&self) -> Result<StreamDescription> {
        let connection = &self.connection;
        let answer = connection.repeat(|| connection.summary()).await;
        let answer = answer.map_err(|fault| connection.give_up("ask for its identity", &fault))?;
        let stream = &connection.settings.stream;
        let unnamed = || Error::corrupt(format!("the stream {stream} does not describe itself"));
        let summary = answer.stream_description_summary.ok_or_else(unnamed)?;
        let created_at = summary.stream_creation_timestamp.to_millis().map_err(|error| unnamed().with_source(error))?;
        let identity = StreamIdentity { arn: summary.stream_arn, created_at };
        Ok(StreamDescription { identity, retention: connection.known_retention() })
    }

    async fn shards(&self) -> Result<Vec<Shard>> {
        list_shards(&self.connection).await
    }

    fn counts(&self) -> CallCounts {
        self.connection.counts()
    }

    async fn open(&self, shard: &Shard, start: StartAt) -> Result<Box<dyn ShardReader>> {
        let connection = self.connection.clone();
        Ok(match &self.fan_out {
            Some(consumer) => Box::new(FanOutReader::new(connection, consumer.clone(), shard.clone(), start)),
            None => Box::new(KinesisReader::new(connection, shard.clone(), start)),
        })
    }
}

/// All shards, the closed ones too. Pages are asked for by the last shard's name and not by `NextToken`: a token lives
/// 5 minutes only, and ferrokinesis does not know its own.
async fn list_shards(connection: &Connection) -> Result<Vec<Shard>> {
    let Connection { client, settings, .. } = connection;
    let mut shards: Vec<Shard> = Vec::new();
    loop {
        let last = shards.last().map(|shard| shard.id.to_string());
        let page = || {
            let request = client.list_shards().stream_name(&settings.stream).max_results(1000);
            request.set_exclusive_start_shard_id(last.clone()).send()
        };
        let answer = connection.repeat(page).await;
        let answer = answer.map_err(|fault| connection.give_up("list its shards", &fault))?;
        let is_last = answer.next_token.is_none() || answer.shards().is_empty();
        shards.extend(answer.shards.unwrap_or_default().into_iter().map(listed));
        if is_last {
            return Ok(shards);
        }
    }
}

fn listed(shard: types::Shard) -> Shard {
    let parents = shard.parent_shard_id.into_iter().chain(shard.adjacent_parent_shard_id);
    let range = shard.sequence_number_range;
    // A stream whose hash keys cannot be read takes all of them in each shard: nothing is dropped by mistake.
    let hashes = shard.hash_key_range.and_then(|range| {
        let (first, last) = (range.starting_hash_key.parse().ok()?, range.ending_hash_key.parse().ok()?);
        Some(HashRange { first, last })
    });
    Shard {
        id: ShardId::new(shard.shard_id),
        parents: parents.map(ShardId::new).collect(),
        closed: range.is_some_and(|range| range.ending_sequence_number.is_some()),
        hashes: hashes.unwrap_or(HashRange::ALL),
    }
}
