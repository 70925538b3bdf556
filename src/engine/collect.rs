//! Pages in, micro-batches out: a batch closes at the first of its bounds.
//!
//! Owns the open batch. Pure: it is told the time. Records of a page may fall into two batches; the range is cut
//! where the records are, so that the pieces join.

use std::time::Duration;

use crate::batch::{Position, Range, RawBatch, RawRecord, ShardId};
use crate::config::BatchSettings;
use crate::error::{Error, Result};
use crate::source::Page;

/// The open batch.
pub(super) struct Collector {
    settings: BatchSettings,
    open: RawBatch,
    bytes: u64,
    opened_at: Option<i64>,
}

impl Collector {
    pub(super) fn new(settings: BatchSettings) -> Self {
        Self { settings, open: RawBatch::default(), bytes: 0, opened_at: None }
    }

    /// Takes a page of a shard in at `now` (µs), and gives the batches that it fills.
    ///
    /// # Errors
    /// Internal where the page does not join what the shard gave before.
    pub(super) fn add(&mut self, shard: &ShardId, page: Page, now: i64) -> Result<Vec<RawBatch>> {
        let Some(range) = page.range else { return Ok(Vec::new()) };
        let mut full = Vec::new();
        let mut after = range.after;
        let mut records = page.records.into_iter().peekable();
        while let Some(last) = self.fill(&mut records) {
            self.opened_at.get_or_insert(now);
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
            self.opened_at.get_or_insert(now);
            self.cover(shard, Range::new(after, range.through))?;
        }
        Ok(full)
    }

    /// When the open batch is due, µs since 1970; none where nothing is open.
    pub(super) fn due_at(&self) -> Option<i64> {
        let age = i64::try_from(self.settings.max_age.as_micros()).unwrap_or(i64::MAX);
        self.opened_at.map(|opened_at| opened_at.saturating_add(age))
    }

    /// How long from `now` (µs) until the open batch is due.
    pub(super) fn due_in(&self, now: i64) -> Option<Duration> {
        self.due_at().map(|due_at| Duration::from_micros(u64::try_from(due_at - now).unwrap_or(0)))
    }

    /// The open batch, closed now; none where nothing is open.
    pub(super) fn close(&mut self) -> Option<RawBatch> {
        self.opened_at.take()?;
        self.bytes = 0;
        Some(std::mem::take(&mut self.open))
    }

    fn is_full(&self) -> bool {
        self.open.records.len() >= self.settings.max_rows || self.bytes >= self.settings.max_bytes
    }

    /// Moves records in until the batch is full or they end, and gives the last one's position.
    fn fill(&mut self, records: &mut impl Iterator<Item = RawRecord>) -> Option<Position> {
        let mut last = None;
        for record in records {
            self.bytes += record.payload.len() as u64;
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

    const SETTINGS: BatchSettings = BatchSettings { max_rows: 3, max_bytes: 100, max_age: Duration::from_secs(2) };

    fn at(number: u64) -> Position {
        Position::new(number.into(), 0)
    }

    fn page(after: Option<u64>, numbers: std::ops::RangeInclusive<u64>, bytes: usize) -> Page {
        let record = |number| RawRecord {
            shard: ShardId::new("s"),
            position: at(number),
            arrived_at: 0,
            payload: vec![b'x'; bytes].into(),
            damage: None,
        };
        let through = at(*numbers.end());
        let range = Some(Range::new(after.map(at), through));
        Page { records: numbers.map(record).collect(), range, behind: None, end_of_shard: false, gap: None }
    }

    fn shapes(batches: &[RawBatch]) -> Vec<(usize, String)> {
        batches.iter().map(|batch| (batch.records.len(), format!("{:?}", batch.ranges))).collect()
    }

    #[test]
    fn a_page_is_cut_where_a_batch_is_full() {
        let mut collector = Collector::new(SETTINGS);
        let full = collector.add(&ShardId::new("s"), page(None, 1..=7, 1), 0).expect("joins");
        assert_eq!(shapes(&full), [(3, r#"{"s": (-, 3]}"#.to_owned()), (3, r#"{"s": (3, 6]}"#.to_owned())]);
        assert_eq!(shapes(&[collector.close().expect("open")]), [(1, r#"{"s": (6, 7]}"#.to_owned())]);
        assert!(collector.close().is_none());
    }

    #[test]
    fn bytes_close_a_batch_too_and_one_big_record_still_goes_in() {
        let mut collector = Collector::new(SETTINGS);
        let full = collector.add(&ShardId::new("s"), page(None, 1..=2, 250), 0).expect("joins");
        assert_eq!(shapes(&full).len(), 2);
    }

    #[test]
    fn the_age_counts_from_the_first_record() {
        let mut collector = Collector::new(SETTINGS);
        assert_eq!(collector.due_in(5), None);
        collector.add(&ShardId::new("s"), page(None, 1..=1, 1), 1_000_000).expect("joins");
        collector.add(&ShardId::new("s"), page(Some(1), 2..=2, 1), 2_500_000).expect("joins");
        assert_eq!(collector.due_in(2_500_000), Some(Duration::from_millis(500)));
        assert_eq!(collector.due_in(9_000_000), Some(Duration::ZERO));
    }

    #[test]
    fn a_range_beyond_the_last_record_is_covered_and_a_gap_is_a_bug() {
        let mut collector = Collector::new(SETTINGS);
        let mut beyond = page(None, 1..=1, 1);
        beyond.range = Some(Range::new(None, at(5)));
        collector.add(&ShardId::new("s"), beyond, 0).expect("joins");
        let empty = Page {
            records: Vec::new(),
            range: Some(Range::new(Some(at(5)), at(8))),
            behind: None,
            end_of_shard: false,
            gap: None,
        };
        collector.add(&ShardId::new("s"), empty, 0).expect("joins");
        assert_eq!(shapes(&[collector.open.clone()]), [(1, r#"{"s": (-, 8]}"#.to_owned())]);
        let error = collector.add(&ShardId::new("s"), page(Some(9), 10..=10, 1), 0).expect_err("a gap");
        assert!(error.to_string().contains("do not join"), "{error}");
    }
}
