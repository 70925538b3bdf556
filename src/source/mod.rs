//! The stream: listing its shards, reading them page by page, and putting records into it.
//!
//! Owns the `Source` seam, its two implementations (Kinesis by polling, and one in memory) and all use of
//! aws-sdk-kinesis, the producer and the making of a stream included. It does not decide which shards are read, in
//! what order, or where a batch ends: that is the engine's; it remembers no position beyond a reader's life: that is
//! the journal's. The contract: the pages of a reader, one after the other, are the shard from its start on, without
//! a gap, without a repeat, in the stream's order; every implementation passes `contract::source_contract`.

mod aggregate;
mod kinesis;
mod memory;

#[cfg(test)]
mod contract;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::batch::{Range, RawRecord, ShardId, StartAt, StreamIdentity};
use crate::error::Result;

pub use aggregate::{Aggregate, Aggregator};
pub use kinesis::{CallCounts, Credentials, KinesisSettings, KinesisSource, Producer, PutItem, PutReport, StreamAdmin};
pub use memory::MemorySource;

/// A shard as the stream lists it.
// The range of hash keys belongs here when aggregated records need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    /// Its name.
    pub id: ShardId,
    /// The shards that it was split or merged from: none, one or two. They may be past retention and listed no more.
    pub parents: Vec<ShardId>,
    /// Whether it takes no more records (it has an ending sequence number); it may still hold some.
    pub closed: bool,
}

/// One answer to a reader: some records, or none.
#[derive(Clone, Default)]
pub struct Page {
    /// In the shard's order.
    pub records: Vec<RawRecord>,
    /// What the page covers: from the reader's position before it (none where the reader had none yet) through its
    /// last record. None if the page is empty.
    pub range: Option<Range>,
    /// How far the page's end lies behind the shard's newest record; zero: nothing more was there. None if the
    /// stream doesn't say.
    pub behind: Option<Duration>,
    /// The shard is closed and read to its end: nothing will follow.
    pub end_of_shard: bool,
}

impl fmt::Debug for Page {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (records, range) = (self.records.len(), &self.range);
        let (behind, end) = (self.behind, self.end_of_shard);
        write!(formatter, "Page({records} records, {range:?}, behind {behind:?}, end of shard: {end})")
    }
}

/// A stream that can be read. Errors are Transient where the same again may succeed (the tries inside are used up),
/// Invalid where the user must change something, Corrupt where the stream's answers contradict themselves.
#[async_trait]
pub trait Source: Send + Sync {
    /// Which stream this is.
    async fn identity(&self) -> Result<StreamIdentity>;

    /// All its shards, the closed ones too.
    async fn shards(&self) -> Result<Vec<Shard>>;

    /// A reader of a shard from `start` on. Nothing is asked of the stream before the reader's first `next`.
    async fn open(&self, shard: &ShardId, start: StartAt) -> Result<Box<dyn ShardReader>>;
}

/// A place in a shard that moves on with each page.
#[async_trait]
pub trait ShardReader: Send {
    /// The next answer, possibly empty: an empty answer is not the end. It waits as long as the stream's limits and
    /// its troubles ask for. Safe to cancel: a dropped call loses nothing, for the place moves only when a page is
    /// returned. After the end of the shard, empty pages that say so again.
    async fn next(&mut self) -> Result<Page>;
}
