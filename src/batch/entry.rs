//! What is persisted and handed across: journal entries, and the receipts of loads.
//!
//! Owns the entry's fields and their JSON form (format 3, fixed by exact-byte tests in `journal`). The journal owns
//! the protocol; stage fills the files in; load reads them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::checksum::Checksum;
use super::marks::Marks;
use super::position::{Position, ShardId};
use super::ranges::Ranges;

/// Which stream this is: one made anew under the same name is another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamIdentity {
    /// The stream's ARN; for a source in memory, a name.
    pub arn: String,
    /// When the stream was made, ms since 1970 UTC.
    pub created_at: i64,
}

/// Where a shard without a position starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartAt {
    /// The oldest record that the stream still holds.
    TrimHorizon,
    /// The first record that arrived at this time or later, ms since 1970 UTC.
    Time(i64),
    /// The first record after this position.
    After(Position),
}

/// The opening of a chain: the first entry of a journal, and of each stream made anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opening {
    /// The stream that the chain reads; positions before it count no more.
    pub stream: StreamIdentity,
    /// Where shards without a position start (`latest` has become a time).
    pub start: StartAt,
    /// When it was opened, ms since 1970 UTC; none in an entry of format 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened_at: Option<i64>,
    /// The shards that the stream had then: `start` is about them, while those that come later are read from their
    /// beginning. None in an entry of format 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shards: Option<BTreeSet<ShardId>>,
}

/// A Parquet object, named by its path in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataFile {
    /// From the store's root, with `/` between: `staged/fact_orders/date=2026-11-20/….parquet`.
    pub path: String,
    /// Rows in it, at least one.
    pub rows: u64,
    /// The object's exact size.
    pub bytes: u64,
    /// Of the object's bytes as they were put; none in an entry of format 1 or 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Checksum>,
    /// What the store answered to the put: it tells a replaced object without reading it. None where the store has none
    /// that a copy of the folder keeps, and in an entry of format 1 or 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
}

impl DataFile {
    /// An object of these bytes; the store's e-tag comes with its put.
    pub fn of(path: String, rows: u64, bytes: &[u8]) -> Self {
        let (size, checksum) = (u64::try_from(bytes.len()).unwrap_or(u64::MAX), Checksum::of(bytes));
        Self { path, rows, bytes: size, checksum: Some(checksum), etag: None }
    }
}

/// A dimension file as it was when its rows were staged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DimensionFile {
    /// The file as the pipeline names it: `dims/dimCustomers.csv`.
    pub path: String,
    /// A fingerprint of its bytes and of the SQL and fields that read it: the same again need not be loaded.
    pub fingerprint: String,
    /// The fingerprint of the table's newest dimension file when this one was staged: of several workers that stage at
    /// the same time one commits. None for the table's first, and in an entry of format 1 or 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
    /// From when its rows hold, µs since 1970 UTC.
    pub effective_at: i64,
}

/// How many rows of a table the events of a batch became.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableCounts {
    /// Events (or file rows) that the table's SQL left out; none where the table is not one-to-one.
    pub filtered: Option<u64>,
    /// Rows that a newer one of the same key in the same batch replaced.
    pub superseded: u64,
    /// Rows that this table alone could not take; they are in quarantine.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub refused: u64,
    /// Rows in the staged files.
    pub staged: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The audit identity's terms: events = undecodable + failed + passed, and for each one-to-one table
/// passed = filtered + superseded + refused + staged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Records read (rows, for a dimension file).
    pub records: u64,
    /// Parts of aggregated records that were left out, because their hash key belongs to another shard; they are no
    /// events here.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub foreign: u64,
    /// Events found in them; a record that cannot be taken apart counts as one.
    pub events: u64,
    /// Events refused by decode, by reason.
    pub undecodable: BTreeMap<String, u64>,
    /// Events refused by a check, by the first check that each failed.
    pub failed_checks: BTreeMap<String, u64>,
    /// Events that passed.
    pub passed: u64,
    /// Per table.
    pub tables: BTreeMap<String, TableCounts>,
}

impl Counts {
    /// Events refused, by decode and by checks, by their reason; a check may bear the name of a decode rule.
    pub fn refused_by_reason(&self) -> BTreeMap<String, u64> {
        let mut refused = self.undecodable.clone();
        for (check, events) in &self.failed_checks {
            *refused.entry(check.clone()).or_default() += events;
        }
        refused
    }

    /// Events refused, by decode and by checks.
    pub fn rejected(&self) -> u64 {
        self.undecodable.values().sum::<u64>() + self.failed_checks.values().sum::<u64>()
    }

    /// Rows that quarantine holds: the refused events, and what single tables could not take.
    pub fn quarantined(&self) -> u64 {
        self.rejected() + self.tables.values().map(|table| table.refused).sum::<u64>()
    }
}

/// One entry of the journal: nothing in it is true before it exists, everything is true after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The form of this record: 3; 1 or 2 where an earlier Millstream wrote it.
    pub format: u32,
    /// The entry's number, from 1, as in its object's name.
    pub number: u64,
    /// The digest of the entry before: the log is a chain. None in the first entry, and in formats 1 and 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Checksum>,
    /// The pipeline that it belongs to.
    pub pipeline: String,
    /// The process that wrote it.
    pub writer: String,
    /// This attempt to write it: how a writer tells its own success after an ambiguous answer.
    pub attempt: String,
    /// When, by the writer's clock, ms since 1970 UTC.
    pub written_at: i64,
    /// Set where a chain opens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opening: Option<Opening>,
    /// What was read, per shard.
    #[serde(default)]
    pub ranges: Ranges,
    /// What else became known of the shards.
    #[serde(default, skip_serializing_if = "Marks::is_empty")]
    pub marks: Marks,
    /// Each table's new files.
    #[serde(default)]
    pub tables: BTreeMap<String, Vec<DataFile>>,
    /// The files of rejects.
    #[serde(default)]
    pub quarantine: Vec<DataFile>,
    /// The audit identity's terms.
    #[serde(default)]
    pub counts: Counts,
    /// The dimension files staged by this entry, by table.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dimension_files: BTreeMap<String, DimensionFile>,
}

impl Entry {
    /// The rows of a table's files.
    pub fn rows(&self, table: &str) -> u64 {
        self.tables.get(table).map_or(0, |files| files.iter().map(|file| file.rows).sum())
    }
}

/// What a warehouse says of a load: entries `(loaded_after, loaded_through]` are in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// The last entry that was loaded before, exclusive; 0 for none.
    pub loaded_after: u64,
    /// The last entry that is loaded now, inclusive.
    pub loaded_through: u64,
    /// Rows copied out of the staged files, by table: equal to the journal's.
    pub copied: BTreeMap<String, u64>,
    /// When the load was committed, ms since 1970 UTC.
    pub loaded_at: i64,
    /// The attempt that wrote the entry `loaded_through`: another journal's entry of the same number has another. None
    /// in the receipts of an earlier Millstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<String>,
}
