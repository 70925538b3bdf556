//! The stream: listing its shards, reading them page by page, and putting records into it.
//!
//! Owns the `Source` seam, its implementations (Kinesis by polling and by fan-out, and one in memory) and all use of
//! aws-sdk-kinesis, the producer and the making of a stream included. It does not decide which shards are read, in
//! what order, or where a batch ends: that is the engine's; it remembers no position beyond a reader's life: that is
//! the journal's. The contract: the pages of a reader, one after the other, are the shard from its start on, without
//! a gap, without a repeat, in the stream's order; every implementation passes `contract::source_contract`.

mod aggregate;
mod kinesis;
mod memory;
mod shards;

#[cfg(test)]
mod contract;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::batch::{Position, Range, RawRecord, ShardId, StartAt, StreamIdentity};
use crate::error::Result;

pub use aggregate::{Aggregate, Aggregator, Part, Parts, Taken, take_apart};
pub use kinesis::{
    CallCounts, Credentials, FanOutConsumer, KinesisSettings, KinesisSource, Producer, ProducerLimits, PutItem,
    PutReport, ReadLimits, StreamAdmin,
};
pub use memory::MemorySource;
pub use shards::{Known, ShardPlan, plan};

/// A shard as the stream lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    /// Its name.
    pub id: ShardId,
    /// The shards that it was split or merged from: none, one or two. They may be past retention and listed no more.
    pub parents: Vec<ShardId>,
    /// Whether it takes no more records (it has an ending sequence number); it may still hold some.
    pub closed: bool,
    /// The hash keys that it takes.
    pub hashes: HashRange,
}

/// A range of hash keys, both ends inclusive: the MD5 of a partition key, or the explicit hash key, as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashRange {
    /// The lowest.
    pub first: u128,
    /// The highest.
    pub last: u128,
}

impl HashRange {
    /// All hash keys.
    pub const ALL: Self = Self { first: 0, last: u128::MAX };

    /// Whether the key is in it.
    pub fn contains(&self, hash_key: u128) -> bool {
        self.first <= hash_key && hash_key <= self.last
    }
}

/// What a stream says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamDescription {
    /// Which stream it is.
    pub identity: StreamIdentity,
    /// How long it keeps a record; none for ever.
    pub retention: Option<Duration>,
}

/// A reader went on after a position whose record the stream holds no more: what stood between may be lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The position, exclusive.
    pub after: Position,
    /// The first record that is there after it, and when it arrived (µs since 1970 UTC); none where none is left.
    pub next: Option<(Position, i64)>,
}

/// One answer to a reader: some records, or none.
#[derive(Clone, Default)]
pub struct Page {
    /// In the shard's order.
    pub records: Vec<RawRecord>,
    /// What the page covers: from the reader's position before it (none where the reader had none yet) through its
    /// last record, or through the last part of an aggregated record that belongs to a sibling shard and is not among
    /// `records`: so a page without records may have a range. None if nothing is covered.
    pub range: Option<Range>,
    /// How far the page's end lies behind the shard's newest record; zero: nothing more was there. None if the
    /// stream doesn't say.
    pub behind: Option<Duration>,
    /// The shard is closed and read to its end: nothing will follow.
    pub end_of_shard: bool,
    /// Told once, with the first page that shows it.
    pub gap: Option<Gap>,
    /// What the reader still holds of the same answer, in bytes: the next page goes on with it, and asks the stream for
    /// nothing. 0: the answer is given on whole.
    pub left: usize,
}

impl fmt::Debug for Page {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (records, range) = (self.records.len(), &self.range);
        let (behind, end, left) = (self.behind, self.end_of_shard, self.left);
        write!(
            formatter,
            "Page({records} records, {range:?}, behind {behind:?}, end of shard: {end}, {left} bytes left)"
        )
    }
}

/// A stream that can be read. Errors are Transient where the same again may succeed (the tries inside are used up),
/// Invalid where the user must change something, Corrupt where the stream's answers contradict themselves.
#[async_trait]
pub trait Source: Send + Sync {
    /// Which stream this is, and how long it keeps a record.
    async fn describe(&self) -> Result<StreamDescription>;

    /// All its shards, the closed ones too.
    async fn shards(&self) -> Result<Vec<Shard>>;

    /// What became of the calls so far, of all readers together.
    fn counts(&self) -> CallCounts;

    /// A reader of a shard from `start` on. Nothing is asked of the stream before the reader's first `next`.
    async fn open(&self, shard: &Shard, start: StartAt) -> Result<Box<dyn ShardReader>>;
}

/// A place in a shard that moves on with each page. A reader that starts after a position, or has fallen so far behind
/// that the stream may have dropped what it would read next, looks whether the record at its position is still there,
/// and where it is not says so by [`Page::gap`].
#[async_trait]
pub trait ShardReader: Send {
    /// Waits until the stream may be asked: for the pace of its limits, and to rest after failures. Whoever reserves
    /// memory for an answer waits here first, with none. Safe to cancel; where it was not called, `next` waits.
    async fn ready(&mut self) -> Result<()>;

    /// The next answer, possibly empty: an empty answer is not the end. It waits as long as the stream's limits and
    /// its troubles ask for. Safe to cancel: a dropped call loses nothing, for the place moves only when a page is
    /// returned. After the end of the shard, empty pages that say so again.
    async fn next(&mut self) -> Result<Page>;
}
