//! What must hold inside one entry: it says something, and its counts add up.
//!
//! Pure; the rules that need the entries before it are in `state`. Sums are in u128, which no record can overflow.

use std::collections::BTreeMap;

use crate::batch::{DataFile, Entry, RangeError, ShardId, StreamIdentity};

/// Why an entry cannot stand in the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    #[error("it calls itself entry {0}")]
    Misnamed(u64),
    #[error("it is entry {found}, where entry {expected} is next")]
    OutOfOrder { expected: u64, found: u64 },
    #[error("it belongs to the pipeline {found:?}, the entries before it to {expected:?}")]
    Pipeline { expected: String, found: String },
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
    #[error("{rows} rows in quarantine are not the {rejected} refused events")]
    Quarantine { rows: u128, rejected: u128 },
    #[error("{table}: {passed} passed are not {filtered} filtered + {superseded} superseded + {staged} staged")]
    Passed { table: String, passed: u64, filtered: u64, superseded: u64, staged: u64 },
    #[error("{table}: its files hold {rows} rows, {staged} are counted as staged")]
    Staged { table: String, rows: u128, staged: u64 },
}

/// Checks what can be seen in the entry alone.
pub(super) fn alone(entry: &Entry) -> Result<(), Broken> {
    if is_empty(entry) {
        return Err(Broken::Empty);
    }
    events(entry)?;
    for (table, counts) in &entry.counts.tables {
        let Some(filtered) = counts.filtered else { continue };
        let (passed, superseded, staged) = (entry.counts.passed, counts.superseded, counts.staged);
        if u128::from(passed) != u128::from(filtered) + u128::from(superseded) + u128::from(staged) {
            return Err(Broken::Passed { table: table.clone(), passed, filtered, superseded, staged });
        }
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
    let (rows, rejected) = (rows(&entry.quarantine), undecodable + failed);
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

fn total(counts: &BTreeMap<String, u64>) -> u128 {
    counts.values().map(|count| u128::from(*count)).sum()
}

fn rows(files: &[DataFile]) -> u128 {
    files.iter().map(|file| u128::from(file.rows)).sum()
}
