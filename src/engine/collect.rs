//! Pages in, micro-batches out: a batch closes at the first of its bounds.
//!
//! Owns the open batch and its marks. Pure: it is told the time. Records of a page may fall into two batches; the range
//! is cut where the records are, so that the pieces join. A shard's end closes the batch soon, because its children
//! wait for the journal to say so. How far a shard is caught up goes into the journal with its ranges, and by itself
//! where a quiet shard's last word on it is an hour old.

use std::collections::BTreeMap;
use std::time::Duration;

use super::budget::bytes_of;
use super::read::Read;
use crate::batch::{Position, Range, RawBatch, RawRecord, ShardId};
use crate::config::BatchSettings;
use crate::error::{Error, Result};

/// How long an ended shard waits for others to end too, so that their ends share an entry.
const END_WAITS: i64 = 100_000;

/// How old the journal's word on a quiet shard may grow, in ms: short of any retention, and worth an entry.
const MARK_EVERY: i64 = 3_600_000;

/// The open batch.
pub(super) struct Collector {
    settings: BatchSettings,
    open: RawBatch,
    bytes: u64,
    /// When the open batch is due, µs since 1970 UTC; none where nothing is open.
    due_at: Option<i64>,
    /// How far each shard is caught up, ms since 1970 UTC.
    caught_up: BTreeMap<ShardId, i64>,
    /// What the journal knows of that, or will by the batches that are closed.
    marked: BTreeMap<ShardId, i64>,
    /// The first time that was told of each shard: where the journal has no word yet, the hour begins then.
    told: BTreeMap<ShardId, i64>,
}

impl Collector {
    /// A collector for shards that the journal says are caught up so far.
    pub(super) fn new(settings: BatchSettings, marked: BTreeMap<ShardId, i64>) -> Self {
        let (open, bytes, due_at) = (RawBatch::default(), 0, None);
        Self { settings, open, bytes, due_at, caught_up: BTreeMap::new(), marked, told: BTreeMap::new() }
    }

    /// Takes in what a reader tells at `now` (µs), and gives the batches that it fills.
    ///
    /// # Errors
    /// Internal where the page does not join what the shard gave before.
    pub(super) fn add(&mut self, read: Read, now: i64) -> Result<Vec<RawBatch>> {
        let Read { shard, records, range, ended, loss, caught_up, held: _held } = read;
        if let Some(loss) = loss {
            self.open_until(now + self.max_age());
            self.open.marks.losses.push(loss);
        }
        let full = match range {
            Some(range) => self.fill(&shard, records, range, now)?,
            None => Vec::new(),
        };
        if let Some(time) = caught_up {
            self.catch_up(&shard, time, now);
        }
        if ended {
            self.open_until(now + END_WAITS);
            self.open.marks.ended.insert(shard);
        }
        Ok(full)
    }

    fn fill(&mut self, shard: &ShardId, records: Vec<RawRecord>, range: Range, now: i64) -> Result<Vec<RawBatch>> {
        let mut full = Vec::new();
        let mut after = range.after;
        let mut records = records.into_iter().peekable();
        while let Some(last) = self.take(&mut records) {
            self.open_until(now + self.max_age());
            // The last piece reaches as far as the page does, which may be beyond its last record.
            let through = if records.peek().is_some() { last } else { range.through.clone() };
            self.cover(shard, Range::new(after, through.clone()))?;
            after = Some(through);
            if self.is_full() {
                full.extend(self.close());
            }
        }
        // A page without records still moves the position (an aggregate that belongs to a sibling).
        if after.as_ref() != Some(&range.through) {
            self.open_until(now + self.max_age());
            self.cover(shard, Range::new(after, range.through))?;
        }
        Ok(full)
    }

    /// When the open batch is due, µs since 1970; none where nothing is open.
    pub(super) fn due_at(&self) -> Option<i64> {
        self.due_at
    }

    /// How long from `now` (µs) until the open batch is due.
    pub(super) fn due_in(&self, now: i64) -> Option<Duration> {
        self.due_at().map(|due_at| Duration::from_micros(u64::try_from(due_at - now).unwrap_or(0)))
    }

    /// The open batch, closed now; none where nothing is open.
    pub(super) fn close(&mut self) -> Option<RawBatch> {
        self.due_at.take()?;
        self.bytes = 0;
        let mut batch = std::mem::take(&mut self.open);
        for (shard, time) in &self.caught_up {
            let is_lossy = batch.marks.losses.iter().any(|loss| loss.shard == *shard);
            let is_touched = is_lossy || batch.ranges.get(shard).is_some() || batch.marks.ended.contains(shard);
            let is_news = self.marked.get(shard).is_none_or(|marked| time > marked);
            if is_news && (is_touched || self.is_stale(shard, *time)) {
                batch.marks.catch_up(shard, *time);
                self.marked.insert(shard.clone(), *time);
            }
        }
        Some(batch)
    }

    fn max_age(&self) -> i64 {
        i64::try_from(self.settings.max_age.as_micros()).unwrap_or(i64::MAX / 2)
    }

    fn open_until(&mut self, due_at: i64) {
        self.due_at = Some(self.due_at.map_or(due_at, |sooner| sooner.min(due_at)));
    }

    fn catch_up(&mut self, shard: &ShardId, time: i64, now: i64) {
        let known = self.caught_up.entry(shard.clone()).or_insert(time);
        *known = time.max(*known);
        self.told.entry(shard.clone()).or_insert(time);
        if self.is_stale(shard, time) {
            self.open_until(now + self.max_age());
        }
    }

    /// Whether the journal's word on the shard is an hour older than this time.
    fn is_stale(&self, shard: &ShardId, time: i64) -> bool {
        let word = self.marked.get(shard).or_else(|| self.told.get(shard));
        word.is_some_and(|word| time.saturating_sub(*word) >= MARK_EVERY)
    }

    fn is_full(&self) -> bool {
        self.open.records.len() >= self.settings.max_rows || self.bytes >= self.settings.max_bytes
    }

    /// Moves records in until the batch is full or they end, and gives the last one's position.
    fn take(&mut self, records: &mut impl Iterator<Item = RawRecord>) -> Option<Position> {
        let mut last = None;
        for record in records {
            self.bytes += bytes_of(&record) as u64;
            last = Some(record.position.clone());
            self.open.records.push(record);
            if self.is_full() {
                break;
            }
        }
        last
    }

    fn cover(&mut self, shard: &ShardId, range: Range) -> Result<()> {
        self.open
            .ranges
            .extend(shard, range)
            .map_err(|error| Error::internal("the source gave pages that do not join").with_source(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Loss;

    const SETTINGS: BatchSettings = BatchSettings { max_rows: 3, max_bytes: 600, max_age: Duration::from_secs(2) };

    fn at(number: u64) -> Position {
        Position::new(number.into(), 0)
    }

    fn collector() -> Collector {
        Collector::new(SETTINGS, BTreeMap::new())
    }

    fn nothing() -> Read {
        let (records, held) = (Vec::new(), Default::default());
        Read { shard: ShardId::new("s"), records, range: None, ended: false, loss: None, caught_up: None, held }
    }

    fn page(after: Option<u64>, numbers: std::ops::RangeInclusive<u64>, bytes: usize) -> Read {
        let record = |number| RawRecord {
            shard: ShardId::new("s"),
            position: at(number),
            arrived_at: 0,
            payload: vec![b'x'; bytes].into(),
            damage: None,
        };
        let through = at(*numbers.end());
        let range = Some(Range::new(after.map(at), through));
        Read { records: numbers.map(record).collect(), range, ..nothing() }
    }

    fn shapes(batches: &[RawBatch]) -> Vec<(usize, String)> {
        batches.iter().map(|batch| (batch.records.len(), format!("{:?}", batch.ranges))).collect()
    }

    #[test]
    fn a_page_is_cut_where_a_batch_is_full() {
        let mut collector = collector();
        let full = collector.add(page(None, 1..=7, 1), 0).expect("joins");
        assert_eq!(shapes(&full), [(3, r#"{"s": (-, 3]}"#.to_owned()), (3, r#"{"s": (3, 6]}"#.to_owned())]);
        assert_eq!(shapes(&[collector.close().expect("open")]), [(1, r#"{"s": (6, 7]}"#.to_owned())]);
        assert!(collector.close().is_none());
    }

    #[test]
    fn bytes_close_a_batch_too_and_one_big_record_still_goes_in() {
        let mut collector = collector();
        let full = collector.add(page(None, 1..=2, 500), 0).expect("joins");
        assert_eq!(shapes(&full).len(), 2);
    }

    #[test]
    fn the_age_counts_from_the_first_record() {
        let mut collector = collector();
        assert_eq!(collector.due_in(5), None);
        collector.add(page(None, 1..=1, 1), 1_000_000).expect("joins");
        collector.add(page(Some(1), 2..=2, 1), 2_500_000).expect("joins");
        assert_eq!(collector.due_in(2_500_000), Some(Duration::from_millis(500)));
        assert_eq!(collector.due_in(9_000_000), Some(Duration::ZERO));
    }

    #[test]
    fn a_range_beyond_the_last_record_is_covered_and_a_gap_is_a_bug() {
        let mut collector = collector();
        let mut beyond = page(None, 1..=1, 1);
        beyond.range = Some(Range::new(None, at(5)));
        collector.add(beyond, 0).expect("joins");
        let empty = Read { range: Some(Range::new(Some(at(5)), at(8))), ..nothing() };
        collector.add(empty, 0).expect("joins");
        assert_eq!(shapes(&[collector.open.clone()]), [(1, r#"{"s": (-, 8]}"#.to_owned())]);
        let error = collector.add(page(Some(9), 10..=10, 1), 0).expect_err("a gap");
        assert!(error.to_string().contains("do not join"), "{error}");
    }

    #[test]
    fn a_shards_end_and_a_loss_are_in_the_batch_and_an_end_closes_it_soon() {
        let mut collector = collector();
        let loss = Loss { shard: ShardId::new("s"), after: Some(at(1)), next: Some(at(5)), from: 1, to: 2 };
        let read = Read { loss: Some(loss.clone()), ..page(Some(1), 5..=5, 1) };
        collector.add(read, 0).expect("joins");
        assert_eq!(collector.due_in(0), Some(Duration::from_secs(2)));
        collector.add(Read { ended: true, caught_up: Some(9), ..nothing() }, 0).expect("joins");
        assert_eq!(collector.due_in(0), Some(Duration::from_millis(100)));
        let marks = collector.close().expect("open").marks;
        assert_eq!((marks.ended.len(), marks.losses.as_slice()), (1, [loss].as_slice()));
    }

    #[test]
    fn how_far_a_shard_is_caught_up_goes_with_its_range_and_alone_once_an_hour() {
        let mut collector = Collector::new(SETTINGS, BTreeMap::from([(ShardId::new("s"), 1_000)]));
        collector.add(Read { caught_up: Some(2_000), ..nothing() }, 0).expect("joins");
        assert_eq!(collector.due_at(), None, "not worth an entry");
        collector.add(Read { caught_up: Some(3_000), ..page(None, 1..=1, 1) }, 0).expect("joins");
        let marks = collector.close().expect("open").marks;
        assert_eq!(marks.caught_up, BTreeMap::from([(ShardId::new("s"), 3_000)]));
        let later = 3_000 + MARK_EVERY;
        collector.add(Read { caught_up: Some(later - 1), ..nothing() }, 0).expect("joins");
        assert_eq!(collector.due_at(), None);
        collector.add(Read { caught_up: Some(later), ..nothing() }, 0).expect("joins");
        let batch = collector.close().expect("open");
        assert!(batch.records.is_empty() && batch.ranges.is_empty());
        assert_eq!(batch.marks.caught_up, BTreeMap::from([(ShardId::new("s"), later)]));
    }

    #[test]
    fn what_a_cut_page_leaves_for_the_next_batch_is_not_caught_up_yet() {
        let mut collector = collector();
        let full = collector.add(Read { caught_up: Some(7_000), ..page(None, 1..=4, 1) }, 0).expect("joins");
        assert!(full[0].marks.caught_up.is_empty(), "{:?}", full[0].marks);
        assert_eq!(collector.close().expect("open").marks.caught_up[&ShardId::new("s")], 7_000);
    }
}
