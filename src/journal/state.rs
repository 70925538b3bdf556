//! The log, folded: what holds after an entry, and whether the next one follows from it.
//!
//! Pure. Folding is all-or-nothing: an entry that does not follow leaves the state as it was.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::check::{Broken, alone, chained};
use super::record::{Recorded, SEALED, entry_path};
use crate::batch::{Checksum, Counts, DataFile, DimensionFile, Entry, Marks, Opening, Position, ShardId, TableCounts};
use crate::error::{Error, Result};

/// Files, rows and bytes together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableTotals {
    /// Parquet objects.
    pub files: u64,
    /// Rows in them.
    pub rows: u64,
    /// Their exact sizes together.
    pub bytes: u64,
}

/// What the log says, through its last folded entry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// The last folded entry; 0 for none.
    pub through: u64,
    /// Its digest, which the next entry must name; none before the first.
    pub digest: Option<Checksum>,
    /// The newest chain; none before the first.
    pub opening: Option<Opening>,
    /// Where each shard stands in the newest chain, inclusive.
    pub positions: BTreeMap<ShardId, Position>,
    /// What else is known of the newest chain's shards.
    #[serde(default, skip_serializing_if = "Marks::is_empty")]
    pub marks: Marks,
    /// Everything counted over all chains; rows of dimension files are not of the stream and not counted here.
    pub counts: Counts,
    /// Each table's staged files.
    pub tables: BTreeMap<String, TableTotals>,
    /// The files of rejects.
    pub quarantine: TableTotals,
    /// The newest dimension file of each table that has one.
    pub dimension_files: BTreeMap<String, DimensionFile>,
    /// When the last folded entry was written, by its writer's clock, ms since 1970 UTC.
    pub last_written_at: Option<i64>,
}

impl State {
    /// Checks that `entry` follows.
    pub(super) fn follows(&self, pipeline: &str, entry: &Entry) -> Result<(), Broken> {
        let expected = self.through + 1;
        if entry.number != expected {
            return Err(Broken::OutOfOrder { expected, found: entry.number });
        }
        if entry.pipeline != pipeline {
            return Err(Broken::Pipeline { expected: pipeline.to_owned(), found: entry.pipeline.clone() });
        }
        chained(self.digest, entry)?;
        alone(entry)?;
        self.dimension_files_follow(entry)?;
        let Some(opening) = &entry.opening else {
            if self.opening.is_none() && !(entry.ranges.is_empty() && entry.marks.is_empty()) {
                return Err(Broken::NoChain);
            }
            entry.ranges.follow(&self.positions)?;
            let touched = entry.ranges.iter().map(|(shard, _)| shard).chain(&entry.marks.ended);
            let ended = touched.into_iter().find(|shard| self.marks.ended.contains(*shard));
            return ended.map_or(Ok(()), |shard| Err(Broken::Ended(shard.clone())));
        };
        if self.opening.as_ref().is_some_and(|open| open.stream == opening.stream) {
            return Err(Broken::Reopened(opening.stream.clone()));
        }
        Ok(entry.ranges.follow(&BTreeMap::new())?)
    }

    /// Of two workers that stage a dimension at the same time, the second has not seen what it replaces.
    fn dimension_files_follow(&self, entry: &Entry) -> Result<(), Broken> {
        for (table, file) in entry.dimension_files.iter().filter(|_| entry.format >= SEALED) {
            let newest = self.dimension_files.get(table).map(|newest| newest.fingerprint.clone());
            if newest != file.replaces {
                let found = file.replaces.clone();
                return Err(Broken::Replaces { table: table.clone(), expected: newest, found });
            }
        }
        Ok(())
    }

    /// Moves on over an entry.
    ///
    /// Errors: Corrupt where it does not follow; Invalid where the whole journal is another pipeline's.
    pub(super) fn fold(&mut self, pipeline: &str, recorded: &Recorded) -> Result<()> {
        let Recorded { entry, digest } = recorded;
        self.follows(pipeline, entry).map_err(|broken| self.refusal(broken, entry.number))?;
        if let Some(opening) = &entry.opening {
            self.opening = Some(opening.clone());
            self.positions.clear();
            self.marks = Marks::default();
        }
        entry.ranges.advance(&mut self.positions);
        self.marks.extend(&entry.marks);
        if entry.dimension_files.is_empty() {
            add_counts(&mut self.counts, &entry.counts);
        }
        for (table, files) in &entry.tables {
            self.tables.entry(table.clone()).or_default().add(files);
        }
        self.quarantine.add(&entry.quarantine);
        let files = entry.dimension_files.iter().map(|(table, file)| (table.clone(), file.clone()));
        self.dimension_files.extend(files);
        self.last_written_at = Some(entry.written_at);
        self.through = entry.number;
        self.digest = Some(*digest);
        Ok(())
    }

    fn refusal(&self, broken: Broken, number: u64) -> Error {
        match broken {
            Broken::Pipeline { expected, found } if self.through == 0 => Error::invalid(format!(
                "this store holds the journal of the pipeline {found:?}, not of {expected:?}: give each pipeline a \
                 folder of its own, or run the one that this folder belongs to"
            )),
            broken => corrupt(number, &broken),
        }
    }
}

/// The error of an entry that is in the log and must not be.
pub(super) fn corrupt(number: u64, broken: &Broken) -> Error {
    Error::corrupt(format!(
        "the journal contradicts itself at {}: {broken}; the entries before it are sound, nothing after it can be \
         trusted: stop all writers, and bring this object (or the one before it) back from a backup or an older version in \
         the bucket",
        entry_path(number)
    ))
}

impl TableTotals {
    fn add(&mut self, files: &[DataFile]) {
        for file in files {
            self.files = self.files.saturating_add(1);
            self.rows = self.rows.saturating_add(file.rows);
            self.bytes = self.bytes.saturating_add(file.bytes);
        }
    }
}

fn add_counts(sum: &mut Counts, more: &Counts) {
    sum.records = sum.records.saturating_add(more.records);
    sum.foreign = sum.foreign.saturating_add(more.foreign);
    sum.events = sum.events.saturating_add(more.events);
    sum.passed = sum.passed.saturating_add(more.passed);
    add_reasons(&mut sum.undecodable, &more.undecodable);
    add_reasons(&mut sum.failed_checks, &more.failed_checks);
    for (table, counts) in &more.tables {
        let joined = sum.tables.get(table).map_or(*counts, |present| joined(present, counts));
        sum.tables.insert(table.clone(), joined);
    }
}

fn add_reasons(sum: &mut BTreeMap<String, u64>, more: &BTreeMap<String, u64>) {
    for (reason, count) in more {
        let present = sum.entry(reason.clone()).or_default();
        *present = present.saturating_add(*count);
    }
}

/// A table counts as one-to-one only while all of its entries say so.
fn joined(left: &TableCounts, right: &TableCounts) -> TableCounts {
    TableCounts {
        filtered: left.filtered.zip(right.filtered).map(|(left, right)| left.saturating_add(right)),
        superseded: left.superseded.saturating_add(right.superseded),
        refused: left.refused.saturating_add(right.refused),
        staged: left.staged.saturating_add(right.staged),
    }
}
