//! What each step hands to the next.
//!
//! `RawBatch` → `Decoded` → `Cleaned` → `Staged`. Each owns its data and says in its Debug how much it holds, never
//! what: payloads belong in no log.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use bytes::Bytes;

use super::entry::{Counts, DataFile, DimensionFile};
use super::marks::Marks;
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

impl fmt::Debug for Decoded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (events, rejects) = (self.events.num_rows(), self.rejects.len());
        write!(formatter, "Decoded({events} events, {rejects} rejects, {:?})", self.raw.ranges)
    }
}

/// When the records of a batch arrived, counted by the millisecond: enough for percentiles, small enough to keep
/// until the batch is loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arrivals(BTreeMap<i64, u64>);

impl Arrivals {
    /// Counts one arrival, µs since 1970 UTC.
    pub fn add(&mut self, arrived_at: i64) {
        *self.0.entry(arrived_at.div_euclid(1000)).or_default() += 1;
    }

    /// The arrivals as (ms since 1970 UTC, count), in time order.
    pub fn iter(&self) -> impl Iterator<Item = (i64, u64)> {
        self.0.iter().map(|(millis, count)| (*millis, *count))
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
