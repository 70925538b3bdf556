//! What each step hands to the next.
//!
//! `RawBatch` → `Decoded` → `Cleaned` → `Staged`. Each owns its data and says in its Debug how much it holds, never
//! what: payloads belong in no log.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use bytes::Bytes;

use super::arrivals::Arrivals;
use super::entry::{Counts, DataFile, DimensionFile};
use super::marks::{Loss, Marks};
use super::position::{Position, ShardId};
use super::ranges::Ranges;

/// One record as the source gave it.
#[derive(Clone)]
pub struct RawRecord {
    /// The shard it was read from.
    pub shard: ShardId,
    /// Its place in the shard.
    pub position: Position,
    /// When the stream took it, µs since 1970 UTC.
    pub arrived_at: i64,
    /// The producer's bytes: a plain record's, or one part's of an aggregated record.
    pub payload: Bytes,
    /// Why an aggregated record could not be taken apart: its payload is then the whole of it, for quarantine.
    pub damage: Option<Box<Damage>>,
}

/// Why the source could not take a record apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// A short name to count by: `damaged_aggregate`.
    pub reason: &'static str,
    /// The sentence for a person.
    pub message: String,
}

impl fmt::Debug for RawRecord {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "RawRecord({} {}, {} bytes)", self.shard, self.position, self.payload.len())
    }
}

/// What one micro-batch read: the records in shard order, and the range per shard that they cover.
///
/// A range may reach beyond the last record (an aggregate whose rest belongs to a sibling shard), never short of it.
#[derive(Clone, Default)]
pub struct RawBatch {
    /// The records; those of one shard stand in its order.
    pub records: Vec<RawRecord>,
    /// What they cover.
    pub ranges: Ranges,
    /// What else became known of the shards.
    pub marks: Marks,
}

impl RawBatch {
    /// The payloads' bytes together.
    pub fn bytes(&self) -> usize {
        self.records.iter().map(|record| record.payload.len()).sum()
    }

    /// The first `index` records and the rest, as two batches that join to this one where the first is committed first.
    ///
    /// A shard's range ends in the first part with its last record there, where more of them follow. What a range covers
    /// beyond its last record stays with that record; a shard without a record in the first part is in the second. That
    /// shards have ended or are caught up is true with the second. A loss is in the part that passes it.
    pub fn split_at(mut self, index: usize) -> (Self, Self) {
        let rest = self.records.split_off(index.min(self.records.len()));
        let going_on: BTreeSet<&ShardId> = rest.iter().map(|record| &record.shard).collect();
        let lasts: BTreeMap<&ShardId, &Position> =
            self.records.iter().map(|record| (&record.shard, &record.position)).collect();
        let end_of = |(shard, last): (&ShardId, &Position)| {
            let beyond = self.ranges.get(shard).filter(|_| !going_on.contains(shard)).map(|range| &range.through);
            (shard.clone(), beyond.unwrap_or(last).clone())
        };
        let ends = lasts.into_iter().map(end_of).collect();
        let (ranges, ranges_left) = self.ranges.cut_after(&ends);
        let is_passed = |loss: &Loss| {
            ranges.get(&loss.shard).is_some_and(|range| loss.after.as_ref().is_none_or(|after| range.through > *after))
        };
        let (losses, losses_left) = self.marks.losses.into_iter().partition(is_passed);
        let marks = Marks { losses, ..Marks::default() };
        let marks_left = Marks { losses: losses_left, ..self.marks };
        let first = Self { records: self.records, ranges, marks };
        (first, Self { records: rest, ranges: ranges_left, marks: marks_left })
    }
}

impl fmt::Debug for RawBatch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "RawBatch({} records, {} bytes, {:?})", self.records.len(), self.bytes(), self.ranges)
    }
}

/// Where an event came from: row i of [`Decoded::events`] has origin i.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The index into [`RawBatch::records`].
    pub record: u32,
    /// The event's place in the record's payload, from 0.
    pub index: u32,
    /// The event's bytes in the payload: `start..end`.
    pub start: u32,
    /// One past the event's last byte.
    pub end: u32,
}

/// A record or event that was refused, on its way to quarantine.
#[derive(Clone, PartialEq, Eq)]
pub struct Reject {
    /// A short name to count by: a decode rule (`not_json`) or a check's name.
    pub reason: String,
    /// The sentence for a person: the field, the value, what was expected.
    pub message: String,
    /// The shard; for a row of a dimension file, the file as the pipeline names it.
    pub shard: ShardId,
    /// The position; for a row of a dimension file, when it was staged (µs since 1970 UTC) as the sequence number and
    /// its line, from 1 for the heading, as the sub-sequence.
    pub position: Position,
    /// The event's place in its record, from 0.
    pub index: u32,
    /// When the stream took the record, µs since 1970 UTC.
    pub arrived_at: i64,
    /// The refused bytes: the event's own where its record holds several, else the whole payload.
    pub payload: Bytes,
}

impl fmt::Debug for Reject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Reject({} {} {}#{}: {})", self.reason, self.shard, self.position, self.index, self.message)
    }
}

/// The events of a batch, typed, and what could not be decoded.
pub struct Decoded {
    /// The declared fields, then `schema::SYSTEM_COLUMNS`; one row an event.
    pub events: RecordBatch,
    /// One for each row of `events`.
    pub origins: Vec<Origin>,
    /// What could not be decoded: whole records, or single events of one.
    pub rejects: Vec<Reject>,
    /// The records the events came from, for the payloads of events that fail a check.
    pub raw: Arc<RawBatch>,
}

impl Decoded {
    /// The events of so many records from the batch's start.
    pub fn rows_of(&self, records: usize) -> usize {
        self.origins.partition_point(|origin| (origin.record as usize) < records)
    }

    /// The first `index` records with their events and rejects, and the rest, as [`RawBatch::split_at`] cuts them.
    pub fn split_at(self, index: usize) -> (Self, Self) {
        let rows = self.rows_of(index);
        let Self { events, mut origins, mut rejects, raw } = self;
        let (first, second) = Arc::unwrap_or_clone(raw).split_at(index);
        let mut origins_left = origins.split_off(rows);
        let before = u32::try_from(first.records.len()).unwrap_or(u32::MAX);
        origins_left.iter_mut().for_each(|origin| origin.record -= before);
        let places: BTreeSet<(&ShardId, &Position)> =
            second.records.iter().map(|record| (&record.shard, &record.position)).collect();
        let is_left = |reject: &mut Reject| places.contains(&(&reject.shard, &reject.position));
        let rejects_left: Vec<Reject> = rejects.extract_if(.., is_left).collect();
        let events_left = events.slice(rows, events.num_rows() - rows);
        let second = Self { events: events_left, origins: origins_left, rejects: rejects_left, raw: Arc::new(second) };
        (Self { events: events.slice(0, rows), origins, rejects, raw: Arc::new(first) }, second)
    }
}

impl fmt::Debug for Decoded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (events, rejects) = (self.events.num_rows(), self.rejects.len());
        write!(formatter, "Decoded({events} events, {rejects} rejects, {:?})", self.raw.ranges)
    }
}

/// The rows of one table, cleaned.
#[derive(Clone)]
pub struct TableRows {
    /// The table's name.
    pub table: String,
    /// The table's columns, then `schema::VERSION_COLUMNS`; one row per key where the table has one.
    pub rows: RecordBatch,
}

impl fmt::Debug for TableRows {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "TableRows({}, {} rows)", self.table, self.rows.num_rows())
    }
}

/// Everything a batch puts into the lake: rows per table, rejects, counts.
#[derive(Clone, Default)]
pub struct Cleaned {
    /// One for each table that has rows, in the pipeline's order.
    pub tables: Vec<TableRows>,
    /// From decode and from the checks, together.
    pub rejects: Vec<Reject>,
    /// The audit identity's terms; `staged` of each table equals its rows here.
    pub counts: Counts,
    /// What the batch covers; empty for dimension files.
    pub ranges: Ranges,
    /// As read.
    pub marks: Marks,
    /// When its records arrived.
    pub arrivals: Arrivals,
    /// The dimension files that the rows came from, by table; empty for a batch of the stream.
    pub dimension_files: BTreeMap<String, DimensionFile>,
}

impl fmt::Debug for Cleaned {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Cleaned({:?}, {} rejects, {:?})", self.tables, self.rejects.len(), self.ranges)
    }
}

/// The files a batch wrote, not yet true: only its journal entry makes them so.
#[derive(Clone, Default)]
pub struct Staged {
    /// Each table's files.
    pub tables: BTreeMap<String, Vec<DataFile>>,
    /// The files of rejects.
    pub quarantine: Vec<DataFile>,
    /// As cleaned.
    pub counts: Counts,
    /// As read.
    pub ranges: Ranges,
    /// As read.
    pub marks: Marks,
    /// As read.
    pub arrivals: Arrivals,
    /// As cleaned.
    pub dimension_files: BTreeMap<String, DimensionFile>,
}

impl fmt::Debug for Staged {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files: usize = self.tables.values().map(Vec::len).sum();
        write!(formatter, "Staged({files} files, {} of rejects, {:?})", self.quarantine.len(), self.ranges)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Range;
    use proptest::prelude::*;

    fn at(number: u64) -> Position {
        Position::new(number.into(), 0)
    }

    fn record(shard: &str, number: u64) -> RawRecord {
        let (position, payload) = (at(number), Bytes::from_static(b"{}"));
        RawRecord { shard: ShardId::new(shard), position, arrived_at: 0, payload, damage: None }
    }

    fn loss(shard: &str, after: Option<u64>, next: u64) -> Loss {
        Loss { shard: ShardId::new(shard), after: after.map(at), next: Some(at(next)), from: 0, to: 1 }
    }

    /// Records of these places, in these ranges.
    fn batch(records: &[(&str, u64)], ranges: &[(&str, Option<u64>, u64)]) -> RawBatch {
        let records = records.iter().map(|(shard, number)| record(shard, *number)).collect();
        let mut batch = RawBatch { records, ..RawBatch::default() };
        for (shard, after, through) in ranges {
            batch.ranges.extend(&ShardId::new(*shard), Range::new(after.map(at), at(*through))).expect("one a shard");
        }
        batch
    }

    fn places(batch: &RawBatch) -> Vec<(String, Position)> {
        batch.records.iter().map(|record| (record.shard.to_string(), record.position.clone())).collect()
    }

    #[test]
    fn a_batch_is_cut_by_the_table() {
        // Shard a goes on, b is over, c has no record, d has them in the second part alone.
        let records = [("a", 3), ("b", 1), ("a", 5), ("a", 7), ("d", 2)];
        let ranges = [("a", Some(2), 9), ("b", None, 4), ("c", Some(1), 6), ("d", None, 2)];
        let cases = [
            (0, "{}", r#"{"a": (2, 9], "b": (-, 4], "c": (1, 6], "d": (-, 2]}"#),
            (1, r#"{"a": (2, 3]}"#, r#"{"a": (3, 9], "b": (-, 4], "c": (1, 6], "d": (-, 2]}"#),
            (2, r#"{"a": (2, 3], "b": (-, 4]}"#, r#"{"a": (3, 9], "c": (1, 6], "d": (-, 2]}"#),
            (3, r#"{"a": (2, 5], "b": (-, 4]}"#, r#"{"a": (5, 9], "c": (1, 6], "d": (-, 2]}"#),
            (4, r#"{"a": (2, 9], "b": (-, 4]}"#, r#"{"c": (1, 6], "d": (-, 2]}"#),
            (5, r#"{"a": (2, 9], "b": (-, 4], "d": (-, 2]}"#, r#"{"c": (1, 6]}"#),
            (9, r#"{"a": (2, 9], "b": (-, 4], "d": (-, 2]}"#, r#"{"c": (1, 6]}"#),
        ];
        for (index, first_ranges, second_ranges) in cases {
            let (first, second) = batch(&records, &ranges).split_at(index);
            assert_eq!(first.records.len(), index.min(records.len()));
            assert_eq!(first.records.len() + second.records.len(), records.len());
            assert_eq!(
                (format!("{:?}", first.ranges), format!("{:?}", second.ranges)),
                (first_ranges.into(), second_ranges.into()),
                "{index}"
            );
        }
    }

    #[test]
    fn marks_wait_for_the_second_part_but_for_the_losses_that_the_first_passes() {
        let mut whole = batch(&[("a", 3), ("a", 8), ("b", 4)], &[("a", None, 9), ("b", Some(1), 4)]);
        let losses = [loss("a", None, 3), loss("a", Some(3), 8), loss("b", Some(1), 4), loss("c", None, 1)];
        whole.marks.losses = losses.to_vec();
        whole.marks.ended.insert(ShardId::new("a"));
        whole.marks.catch_up(&ShardId::new("a"), 7);
        let (first, second) = whole.clone().split_at(1);
        assert_eq!(first.marks, Marks { losses: losses[..1].to_vec(), ..Marks::default() });
        assert_eq!(second.marks, Marks { losses: losses[1..].to_vec(), ..whole.marks.clone() });
        let (first, second) = whole.split_at(2);
        assert_eq!((first.marks.losses.as_slice(), second.marks.losses.as_slice()), losses.split_at(2));
    }

    proptest! {
        #[test]
        fn any_cut_joins_back_to_the_whole(
            steps in prop::collection::vec((0..4_usize, 1..5_u64), 0..40),
            beyond in prop::collection::vec((0..3_u64, any::<bool>()), 4),
            cuts in prop::collection::vec(0..12_usize, 0..6),
        ) {
            let names = ["a", "b", "c", "d"];
            let mut ends = [0; 4];
            let mut records = Vec::new();
            for (shard, step) in steps {
                ends[shard] += step;
                records.push((names[shard], ends[shard]));
            }
            let span = |(shard, (beyond, begins)): (usize, &(u64, bool))| {
                (names[shard], (!begins).then_some(0), ends[shard] + beyond)
            };
            let ranges: Vec<_> = beyond.iter().enumerate().map(span).filter(|(_, _, through)| *through > 0).collect();
            let whole = batch(&records, &ranges);
            let mut positions: BTreeMap<ShardId, Position> =
                whole.ranges.iter().filter_map(|(shard, range)| Some((shard.clone(), range.after.clone()?))).collect();
            let mut joined = RawBatch::default();
            let mut rest = Some(whole.clone());
            let mut cuts = cuts.into_iter();
            while let Some(left) = rest.take() {
                let part = match cuts.next() {
                    Some(index) => {
                        let (part, left) = left.split_at(index);
                        rest = Some(left);
                        part
                    }
                    None => left,
                };
                prop_assert!(part.ranges.follow(&positions).is_ok(), "{:?} after {:?}", part, positions);
                part.ranges.advance(&mut positions);
                for record in &part.records {
                    let range = part.ranges.get(&record.shard).expect("its range");
                    prop_assert!(Some(&record.position) > range.after.as_ref() && record.position <= range.through);
                }
                for (shard, range) in part.ranges.iter() {
                    prop_assert!(joined.ranges.extend(shard, range.clone()).is_ok());
                }
                joined.records.extend(part.records);
            }
            prop_assert_eq!(&joined.ranges, &whole.ranges);
            prop_assert_eq!(places(&joined), places(&whole));
        }
    }
}
