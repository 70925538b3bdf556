//! A stream in memory, for tests and benches: the same contract as Kinesis, without a server.
//!
//! Owns records, shards and splits for the life of its last clone; clones share them, so that a test can push while
//! another reads. It has no retention and no limits.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::aggregate::hash_key;
use super::{CallCounts, Gap, HashRange, Page, Shard, ShardReader, Source, StreamDescription};
use crate::batch::{Position, Range, RawRecord, ShardId, StartAt, StreamIdentity};
use crate::error::{Error, Result};
use crate::runtime::{Clock, SystemClock};

/// How long a reader that has everything waits before it looks again.
const TIP_PAUSE: Duration = Duration::from_millis(10);

/// A stream in memory. Clones are the same stream.
#[derive(Clone)]
pub struct MemorySource {
    identity: StreamIdentity,
    retention: Option<Duration>,
    page_size: usize,
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<State>>,
}

struct State {
    shards: Vec<MemoryShard>,
    /// Counts through all shards, so that a child's records follow its parents'.
    last_sequence: u64,
}

struct MemoryShard {
    id: ShardId,
    parents: Vec<ShardId>,
    /// The hashes of partition keys that it takes, both ends inclusive.
    hashes: HashRange,
    closed: bool,
    /// Past retention: listed no more.
    gone: bool,
    records: Vec<RawRecord>,
}

impl MemorySource {
    /// A stream of this name with so many open shards (at least one), on the machine's clock, in pages of 10,000
    /// records.
    pub fn new(name: &str, shards: usize) -> Self {
        let count = shards.max(1) as u128;
        let width = u128::MAX / count;
        let open = |index: u128| {
            let last = if index + 1 == count { u128::MAX } else { (index + 1) * width - 1 };
            MemoryShard::new(index as usize, Vec::new(), HashRange { first: index * width, last })
        };
        let state = State { shards: (0..count).map(open).collect(), last_sequence: 0 };
        Self {
            identity: StreamIdentity { arn: name.to_owned(), created_at: 0 },
            retention: None,
            page_size: 10_000,
            clock: Arc::new(SystemClock),
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// The same stream, read in pages of so many records (at least one).
    pub fn with_page_size(mut self, records: usize) -> Self {
        self.page_size = records.max(1);
        self
    }

    /// The same stream, saying that it keeps records so long; what it drops is told by [`MemorySource::trim`].
    pub fn with_retention(mut self, retention: Duration) -> Self {
        self.retention = Some(retention);
        self
    }

    /// The same stream, its readers waiting on this clock.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Adds a record to the shard of this index, whatever its state, and returns where it stands. `arrived_at` is
    /// in µs since 1970 UTC.
    ///
    /// # Errors
    /// Invalid where there is no such shard.
    pub fn push(&self, shard_index: usize, payload: impl Into<Bytes>, arrived_at: i64) -> Result<Position> {
        self.state().append(shard_index, payload.into(), arrived_at)
    }

    /// Adds a record to the open shard that its partition key falls to.
    ///
    /// # Errors
    /// Invalid where that shard has been closed and no other took its place.
    pub fn put(&self, partition_key: &str, payload: impl Into<Bytes>, arrived_at: i64) -> Result<Position> {
        let hash_key = hash_key(partition_key, None).map_err(|error| Error::invalid(error.to_string()))?;
        let takes = |shard: &MemoryShard| !shard.closed && shard.hashes.contains(hash_key);
        let mut state = self.state();
        let index = state.shards.iter().position(takes);
        let nobody = || Error::invalid(format!("no open shard of {} takes the key {partition_key}", self.identity.arn));
        state.append(index.ok_or_else(nobody)?, payload.into(), arrived_at)
    }

    /// Closes a shard: its readers come to an end.
    ///
    /// # Errors
    /// Invalid where there is no such shard.
    pub fn close(&self, shard_index: usize) -> Result<()> {
        self.state().shard_mut(shard_index)?.closed = true;
        Ok(())
    }

    /// Closes a shard and opens two children in its place; returns their indices.
    ///
    /// # Errors
    /// Invalid where there is no such shard.
    pub fn split(&self, shard_index: usize) -> Result<[usize; 2]> {
        let mut state = self.state();
        let first = state.shards.len();
        let parent = state.shard_mut(shard_index)?;
        parent.closed = true;
        let HashRange { first: low, last: high } = parent.hashes;
        let middle = low + (high - low) / 2;
        let parents = vec![parent.id.clone()];
        let upper = HashRange { first: middle.saturating_add(1), last: high };
        for (index, hashes) in [(first, HashRange { first: low, last: middle }), (first + 1, upper)] {
            state.shards.push(MemoryShard::new(index, parents.clone(), hashes));
        }
        Ok([first, first + 1])
    }

    /// Closes two shards and opens one child in their place; returns its index.
    ///
    /// # Errors
    /// Invalid where one of them is not there.
    pub fn merge(&self, shard_index: usize, adjacent_index: usize) -> Result<usize> {
        let mut state = self.state();
        let child = state.shards.len();
        let mut parents = Vec::new();
        let mut hashes = HashRange { first: u128::MAX, last: 0 };
        for index in [shard_index, adjacent_index] {
            let parent = state.shard_mut(index)?;
            parent.closed = true;
            parents.push(parent.id.clone());
            hashes =
                HashRange { first: hashes.first.min(parent.hashes.first), last: hashes.last.max(parent.hashes.last) };
        }
        state.shards.push(MemoryShard::new(child, parents, hashes));
        Ok(child)
    }

    /// Drops the records that arrived before this time (µs since 1970 UTC), as retention does, and the closed shards
    /// that are empty then.
    pub fn trim(&self, before: i64) {
        for shard in &mut self.state().shards {
            shard.records.retain(|record| record.arrived_at >= before);
            shard.gone = shard.closed && shard.records.is_empty();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn append(&mut self, index: usize, payload: Bytes, arrived_at: i64) -> Result<Position> {
        let position = Position::new((self.last_sequence + 1).into(), 0);
        let shard = self.shard_mut(index)?;
        let record =
            RawRecord { shard: shard.id.clone(), position: position.clone(), arrived_at, payload, damage: None };
        shard.records.push(record);
        self.last_sequence += 1;
        Ok(position)
    }

    fn shard_mut(&mut self, index: usize) -> Result<&mut MemoryShard> {
        let count = self.shards.len();
        let missing = || Error::invalid(format!("there is no shard {index}: the stream has {count}"));
        self.shards.get_mut(index).ok_or_else(missing)
    }
}

impl MemoryShard {
    fn new(index: usize, parents: Vec<ShardId>, hashes: HashRange) -> Self {
        let id = ShardId::new(format!("shardId-{index:012}"));
        Self { id, parents, hashes, closed: false, gone: false, records: Vec::new() }
    }

    fn first_index(&self, start: &StartAt) -> usize {
        let first = match start {
            StartAt::TrimHorizon => Some(0),
            StartAt::Time(millis) => {
                let micros = millis.saturating_mul(1000);
                self.records.iter().position(|record| record.arrived_at >= micros)
            }
            StartAt::After(position) => Some(self.records.partition_point(|record| record.position <= *position)),
        };
        first.unwrap_or(self.records.len())
    }
}

#[async_trait]
impl Source for MemorySource {
    async fn describe(&self) -> Result<StreamDescription> {
        Ok(StreamDescription { identity: self.identity.clone(), retention: self.retention })
    }

    async fn shards(&self) -> Result<Vec<Shard>> {
        let listed = |shard: &MemoryShard| {
            let (id, parents) = (shard.id.clone(), shard.parents.clone());
            Shard { id, parents, closed: shard.closed, hashes: shard.hashes }
        };
        Ok(self.state().shards.iter().filter(|shard| !shard.gone).map(listed).collect())
    }

    fn counts(&self) -> CallCounts {
        CallCounts::default()
    }

    async fn open(&self, shard: &Shard, start: StartAt) -> Result<Box<dyn ShardReader>> {
        let index = self.state().shards.iter().position(|candidate| candidate.id == shard.id);
        let unknown = || Error::invalid(format!("{} has no shard {}", self.identity.arn, shard.id));
        let index = index.ok_or_else(unknown)?;
        let anchor = match &start {
            StartAt::After(position) => Some(position.clone()),
            StartAt::TrimHorizon | StartAt::Time(_) => None,
        };
        Ok(Box::new(MemoryReader { source: self.clone(), index, start, anchor, full_stop: false }))
    }
}

struct MemoryReader {
    source: MemorySource,
    index: usize,
    /// Moves on to `After` with the first page.
    start: StartAt,
    /// The position that it started after, until it is known whether its record is still there.
    anchor: Option<Position>,
    /// Whether the last page ended the shard.
    full_stop: bool,
}

impl MemoryReader {
    fn page(&mut self) -> Result<Page> {
        let mut state = self.source.state();
        let shard = state.shard_mut(self.index)?;
        let first = shard.first_index(&self.start);
        let end = (first + self.source.page_size).min(shard.records.len());
        let records = shard.records.get(first..end).unwrap_or_default().to_vec();
        let newest = shard.records.last().map_or(0, |record| record.arrived_at);
        let at_tip = end == shard.records.len();
        let behind = match records.last() {
            Some(last) if !at_tip => micros_between(last.arrived_at, newest).max(Duration::from_millis(1)),
            _ => Duration::ZERO,
        };
        let after = match &self.start {
            StartAt::After(position) => Some(position.clone()),
            StartAt::TrimHorizon | StartAt::Time(_) => None,
        };
        let range = records.last().map(|last| Range::new(after, last.position.clone()));
        let is_there =
            |anchor: &Position| shard.records.iter().any(|record| record.position.sequence == anchor.sequence);
        let gap = self.anchor.take().filter(|anchor| !is_there(anchor)).map(|after| {
            let next = records.first().map(|record| (record.position.clone(), record.arrived_at));
            Gap { after, next }
        });
        Ok(Page { records, range, behind: Some(behind), end_of_shard: at_tip && shard.closed, gap, left: 0 })
    }
}

fn micros_between(from: i64, to: i64) -> Duration {
    Duration::from_micros(u64::try_from(to.saturating_sub(from)).unwrap_or(0))
}

#[async_trait]
impl ShardReader for MemoryReader {
    async fn ready(&mut self) -> Result<()> {
        Ok(())
    }

    async fn next(&mut self) -> Result<Page> {
        if self.full_stop {
            return Ok(Page { behind: Some(Duration::ZERO), end_of_shard: true, ..Page::default() });
        }
        let mut page = self.page()?;
        if page.records.is_empty() && !page.end_of_shard && page.gap.is_none() {
            self.source.clock.sleep(TIP_PAUSE).await;
            page = self.page()?;
        }
        if let Some(range) = &page.range {
            self.start = StartAt::After(range.through.clone());
        }
        self.full_stop = page.end_of_shard;
        Ok(page)
    }
}

impl std::fmt::Debug for MemorySource {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.state();
        let records: usize = state.shards.iter().map(|shard| shard.records.len()).sum();
        write!(formatter, "MemorySource({}, {} shards, {records} records)", self.identity.arn, state.shards.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::ManualClock;
    use crate::source::contract::{Filler, source_contract};

    #[async_trait]
    impl Filler for MemorySource {
        async fn put_all(&self, records: Vec<(String, String)>) {
            for (key, payload) in records {
                self.put(&key, payload, SystemClock.now_micros()).expect("an open shard");
            }
        }

        async fn split(&self, shard: &Shard) {
            MemorySource::split(self, self.index(shard)).expect("a shard");
        }

        async fn merge(&self, lower: &Shard, upper: &Shard) {
            MemorySource::merge(self, self.index(lower), self.index(upper)).expect("two shards");
        }

        async fn forget(&self, shard: &Shard, count: usize) {
            let index = self.index(shard);
            let records = &mut self.state().shards[index].records;
            let count = count.min(records.len());
            records.drain(..count);
        }
    }

    impl MemorySource {
        fn index(&self, shard: &Shard) -> usize {
            self.state().shards.iter().position(|candidate| candidate.id == shard.id).expect("its shard")
        }
    }

    fn source(shards: usize) -> MemorySource {
        MemorySource::new("orders", shards).with_clock(Arc::new(ManualClock::at(0)))
    }

    async fn first(source: &MemorySource) -> Shard {
        source.shards().await.expect("shards").remove(0)
    }

    #[tokio::test]
    async fn it_keeps_the_contract_whatever_its_page_size() {
        for page_size in [1, 7, 10_000] {
            let source = source(3).with_page_size(page_size);
            source_contract(&source, &source, 3).await;
        }
    }

    #[tokio::test]
    async fn a_reader_at_the_tip_waits_and_then_sees_what_is_pushed() {
        let clock = Arc::new(ManualClock::at(0));
        let source = source(1).with_clock(clock.clone());
        let mut reader = source.open(&first(&source).await, StartAt::TrimHorizon).await.expect("open");
        let page = reader.next().await.expect("a page");
        assert!(page.records.is_empty() && !page.end_of_shard && page.behind == Some(Duration::ZERO));
        assert_eq!(clock.now_micros(), 10_000);
        source.push(0, "a", 5).expect("a shard");
        assert_eq!(reader.next().await.expect("a page").records.len(), 1);
        assert_eq!(clock.now_micros(), 10_000, "a page that has records does not wait");
    }

    #[tokio::test]
    async fn a_time_starts_at_the_first_arrival_then_or_later() {
        let source = source(1);
        for (payload, arrived_at) in [("a", 1_000), ("b", 2_000), ("c", 2_500)] {
            source.push(0, payload, arrived_at).expect("a shard");
        }
        for (millis, expected) in [(0, vec!["a", "b", "c"]), (2, vec!["b", "c"]), (3, vec![])] {
            let shard = first(&source).await;
            let page = source.open(&shard, StartAt::Time(millis)).await.expect("open").next().await.expect("a page");
            let payloads: Vec<&[u8]> = page.records.iter().map(|record| record.payload.as_ref()).collect();
            assert_eq!(payloads, expected.iter().map(|text| text.as_bytes()).collect::<Vec<_>>(), "{millis}");
        }
    }

    #[tokio::test]
    async fn behind_is_the_time_to_the_newest_record() {
        let source = source(1).with_page_size(1);
        source.push(0, "a", 1_000_000).expect("a shard");
        source.push(0, "b", 4_000_000).expect("a shard");
        let mut reader = source.open(&first(&source).await, StartAt::TrimHorizon).await.expect("open");
        let behind = [reader.next().await.expect("a page").behind, reader.next().await.expect("a page").behind];
        assert_eq!(behind, [Some(Duration::from_secs(3)), Some(Duration::ZERO)]);
    }

    #[tokio::test]
    async fn a_split_ends_the_parent_and_its_keys_go_to_the_children() {
        let source = source(1);
        source.put("k", "before", 0).expect("put");
        assert_eq!(source.split(0).expect("split"), [1, 2]);
        for key in 0..50 {
            source.put(&key.to_string(), "after", 0).expect("put");
        }
        let shards = source.shards().await.expect("shards");
        let closed: Vec<bool> = shards.iter().map(|shard| shard.closed).collect();
        assert_eq!(closed, [true, false, false]);
        assert!(shards[1].parents == [shards[0].id.clone()] && shards[2].parents == [shards[0].id.clone()]);

        let mut parent = source.open(&shards[0], StartAt::TrimHorizon).await.expect("open");
        let page = parent.next().await.expect("a page");
        assert!(page.end_of_shard && page.records.len() == 1);
        let page = parent.next().await.expect("a page");
        assert!(page.end_of_shard && page.records.is_empty() && page.range.is_none());
        let mut in_children = 0;
        for child in &shards[1..] {
            let page = source.open(child, StartAt::TrimHorizon).await.expect("open").next().await.expect("a page");
            assert!(!page.records.is_empty(), "both children get some of 50 keys");
            in_children += page.records.len();
        }
        assert_eq!(in_children, 50);
    }

    #[tokio::test]
    async fn a_merged_child_takes_what_both_parents_took() {
        let source = source(2);
        assert_eq!(source.merge(0, 1).expect("merged"), 2);
        source.put("any", "x", 0).expect("the child is open");
        let shards = source.shards().await.expect("shards");
        assert_eq!(shards[2].parents, [shards[0].id.clone(), shards[1].id.clone()]);
        assert_eq!(shards[2].hashes, HashRange::ALL);
    }

    #[tokio::test]
    async fn a_reader_says_once_that_the_record_at_its_start_is_gone() {
        let source = source(1);
        let positions: Vec<Position> = (1..=4).map(|at| source.push(0, "x", at * 1_000).expect("open")).collect();
        let start = StartAt::After(positions[0].clone());
        let mut reader = source.open(&first(&source).await, start.clone()).await.expect("open");
        assert_eq!(reader.next().await.expect("a page").gap, None, "its record is there");
        source.trim(3_000);
        let mut reader = source.open(&first(&source).await, start.clone()).await.expect("open");
        let page = reader.next().await.expect("a page");
        let next = Some((positions[2].clone(), 3_000));
        assert_eq!(page.gap, Some(Gap { after: positions[0].clone(), next }));
        assert_eq!(page.records.len(), 2);
        assert_eq!(reader.next().await.expect("a page").gap, None, "told once");
        source.trim(9_000);
        let mut reader = source.open(&first(&source).await, start).await.expect("open");
        assert_eq!(reader.next().await.expect("a page").gap, Some(Gap { after: positions[0].clone(), next: None }));
        source.close(0).expect("a shard");
        source.trim(9_000);
        assert_eq!(source.shards().await.expect("shards"), [], "closed, empty and past retention");
    }

    #[tokio::test]
    async fn what_is_not_there_is_refused() {
        let source = source(1);
        source.close(0).expect("a shard");
        assert!(source.put("k", "x", 0).is_err(), "no open shard is left");
        assert!(source.push(1, "x", 0).is_err() && source.split(1).is_err() && source.close(1).is_err());
        let elsewhere = Shard { id: ShardId::new("elsewhere"), ..first(&source).await };
        assert!(source.open(&elsewhere, StartAt::TrimHorizon).await.is_err());
    }
}
