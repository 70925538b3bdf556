//! What must hold inside one entry: it says something, and its counts add up.
//!
//! Pure; the rules that need the entries before it are in `state`. Sums are in u128, which no record can overflow.

use std::collections::BTreeMap;

use super::record::SEALED;
use crate::batch::{Checksum, DataFile, Entry, RangeError, ShardId, StreamIdentity};

/// Why an entry cannot stand in the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    #[error("it calls itself entry {0}")]
    Misnamed(u64),
    #[error("it is entry {found}, where entry {expected} is next")]
    OutOfOrder { expected: u64, found: u64 },
    #[error("it belongs to the pipeline {found:?}, the entries before it to {expected:?}")]
    Pipeline { expected: String, found: String },
    #[error("it follows an entry with the digest {}, and the entry before it has {}: one of the two was altered or replaced", told(.found), told(.expected))]
    Chain { expected: Option<Checksum>, found: Option<Checksum> },
    #[error("it names the file {0} without its checksum")]
    NoChecksum(String),
    #[error("its dimension file of {table} replaces {}, and the newest before it is {}", shown(.found), shown(.expected))]
    Replaces { table: String, expected: Option<String>, found: Option<String> },
    #[error("it has neither an opening, ranges, marks, files nor rejects")]
    Empty,
    #[error("it has ranges, but no entry before it has opened a chain")]
    NoChain,
    #[error("it opens the stream {} a second time, which would read everything in it twice", .0.arn)]
    Reopened(StreamIdentity),
    #[error("it reads {0}, which an entry before it says was read to its end")]
    Ended(ShardId),
    #[error(transparent)]
    Ranges(#[from] RangeError),
    #[error("{events} events are not {undecodable} undecodable + {failed} failed + {passed} passed")]
    Events { events: u64, undecodable: u128, failed: u128, passed: u64 },
    #[error("{rows} rows in quarantine are not the {rejected} refused events and rows")]
    Quarantine { rows: u128, rejected: u128 },
    #[error(
        "{table}: {passed} passed are not {filtered} filtered + {superseded} superseded + {refused} refused + {staged} \
         staged"
    )]
    Passed { table: String, passed: u64, filtered: u64, superseded: u64, refused: u64, staged: u64 },
    #[error("{table}: its files hold {rows} rows, {staged} are counted as staged")]
    Staged { table: String, rows: u128, staged: u64 },
}

/// Checks that the entry names the digest of the one before it.
pub(super) fn chained(before: Option<Checksum>, entry: &Entry) -> Result<(), Broken> {
    // Earlier formats name none.
    let expected = before.filter(|_| entry.format >= SEALED);
    match entry.previous == expected {
        true => Ok(()),
        false => Err(Broken::Chain { expected, found: entry.previous }),
    }
}

/// Checks what can be seen in the entry alone.
pub(super) fn alone(entry: &Entry) -> Result<(), Broken> {
    if is_empty(entry) {
        return Err(Broken::Empty);
    }
    events(entry)?;
    for (table, counts) in &entry.counts.tables {
        let Some(filtered) = counts.filtered else { continue };
        let (passed, superseded) = (entry.counts.passed, counts.superseded);
        let (refused, staged) = (counts.refused, counts.staged);
        let becomes = [filtered, superseded, refused, staged].into_iter().map(u128::from).sum::<u128>();
        if u128::from(passed) != becomes {
            return Err(Broken::Passed { table: table.clone(), passed, filtered, superseded, refused, staged });
        }
    }
    let mut files = entry.tables.values().flatten().chain(&entry.quarantine);
    if let Some(file) = files.find(|file| entry.format >= SEALED && file.checksum.is_none()) {
        return Err(Broken::NoChecksum(file.path.clone()));
    }
    for table in entry.tables.keys().chain(entry.counts.tables.keys()) {
        let rows = entry.tables.get(table).map_or(0, |files| rows(files));
        let staged = entry.counts.tables.get(table).map_or(0, |counts| counts.staged);
        if rows != u128::from(staged) {
            return Err(Broken::Staged { table: table.clone(), rows, staged });
        }
    }
    Ok(())
}

fn events(entry: &Entry) -> Result<(), Broken> {
    let (events, passed) = (entry.counts.events, entry.counts.passed);
    let (undecodable, failed) = (total(&entry.counts.undecodable), total(&entry.counts.failed_checks));
    if u128::from(events) != undecodable + failed + u128::from(passed) {
        return Err(Broken::Events { events, undecodable, failed, passed });
    }
    let refused: u128 = entry.counts.tables.values().map(|counts| u128::from(counts.refused)).sum();
    let (rows, rejected) = (rows(&entry.quarantine), undecodable + failed + refused);
    if rows != rejected {
        return Err(Broken::Quarantine { rows, rejected });
    }
    Ok(())
}

/// A dimension file without a row is worth an entry: it need not be read again.
fn is_empty(entry: &Entry) -> bool {
    entry.opening.is_none()
        && entry.ranges.is_empty()
        && entry.marks.is_empty()
        && entry.tables.values().all(Vec::is_empty)
        && entry.quarantine.is_empty()
        && entry.dimension_files.is_empty()
}

fn told(digest: &Option<Checksum>) -> String {
    digest.map_or("none".to_owned(), |digest| digest.to_string())
}

fn shown(fingerprint: &Option<String>) -> String {
    fingerprint.clone().unwrap_or_else(|| "none".to_owned())
}

fn total(counts: &BTreeMap<String, u64>) -> u128 {
    counts.values().map(|count| u128::from(*count)).sum()
}

fn rows(files: &[DataFile]) -> u128 {
    files.iter().map(|file| u128::from(file.rows)).sum()
}
