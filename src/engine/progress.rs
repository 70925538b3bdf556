//! What the engine has done so far, for progress bars, summaries and machines.
//!
//! Owns the running totals and the two latencies: from a record's arrival to its journal entry, and to its load.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::batch::{Arrivals, Counts, Entry, Receipt, ShardId};

/// Batches whose arrivals wait for their load; beyond it the oldest go uncounted rather than fill the memory.
const WAITING_LIMIT: usize = 512;

/// The percentiles of a latency, in ms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Latency {
    /// Half of the records took no longer.
    pub p50: u64,
    /// 99 of 100 records took no longer.
    pub p99: u64,
}

/// The totals since the start of this process.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// The audit identity's terms over all committed entries; tables' staged rows are in `counts.tables`.
    pub counts: Counts,
    /// Data files staged.
    pub files: u64,
    /// Journal entries committed.
    pub entries: u64,
    /// The newest journal entry of ours.
    pub committed: u64,
    /// Loads made.
    pub loads: u64,
    /// The newest entry that is loaded.
    pub loaded_through: u64,
    /// Rows copied into the warehouse, by table.
    pub loaded: BTreeMap<String, u64>,
    /// Records read, whether or not they are committed yet.
    pub read: u64,
    /// How far behind the tip each shard was when it was last read.
    pub behind: BTreeMap<ShardId, Duration>,
}

/// Shared by the loops; cheap to clone.
#[derive(Clone)]
pub struct Progress(Arc<Mutex<Inner>>);

struct Inner {
    totals: Totals,
    staged: Histogram<u64>,
    loaded: Histogram<u64>,
    waiting: VecDeque<(u64, Arrivals)>,
}

impl Default for Progress {
    fn default() -> Self {
        let inner =
            Inner { totals: Totals::default(), staged: histogram(), loaded: histogram(), waiting: VecDeque::new() };
        Self(Arc::new(Mutex::new(inner)))
    }
}

/// Three significant digits are kept, up to a day; longer waits count as a day.
fn histogram() -> Histogram<u64> {
    const DAY_MS: u64 = 86_400_000;
    #[expect(clippy::expect_used, reason = "the bounds are constants that the crate accepts")]
    Histogram::new_with_max(DAY_MS, 3).expect("constant bounds are valid")
}

impl Progress {
    /// The totals as they are now.
    pub fn totals(&self) -> Totals {
        self.with(|inner| inner.totals.clone())
    }

    /// From arrival to the journal entry.
    pub fn stage_latency(&self) -> Latency {
        self.with(|inner| latency(&inner.staged))
    }

    /// From arrival to the load's commit.
    pub fn load_latency(&self) -> Latency {
        self.with(|inner| latency(&inner.loaded))
    }

    pub(super) fn read(&self, shard: &ShardId, records: usize, behind: Option<Duration>) {
        self.with(|inner| {
            inner.totals.read += records as u64;
            if let Some(behind) = behind {
                inner.totals.behind.insert(shard.clone(), behind);
            }
        });
    }

    pub(super) fn committed(&self, entry: &Entry, arrivals: Arrivals, now_ms: i64) {
        self.with(|inner| {
            count(&mut inner.staged, &arrivals, now_ms);
            if inner.waiting.len() == WAITING_LIMIT {
                inner.waiting.pop_front();
            }
            inner.waiting.push_back((entry.number, arrivals));
            let totals = &mut inner.totals;
            totals.entries += 1;
            totals.committed = entry.number;
            totals.files += entry.tables.values().map(|files| files.len() as u64).sum::<u64>();
            add(&mut totals.counts, &entry.counts, entry.dimension_files.is_empty());
        });
    }

    pub(super) fn loaded(&self, receipt: &Receipt) {
        self.with(|inner| {
            while inner.waiting.front().is_some_and(|(number, _)| *number <= receipt.loaded_through) {
                if let Some((_, arrivals)) = inner.waiting.pop_front() {
                    count(&mut inner.loaded, &arrivals, receipt.loaded_at);
                }
            }
            let totals = &mut inner.totals;
            totals.loads += 1;
            totals.loaded_through = receipt.loaded_through;
            for (table, rows) in &receipt.copied {
                *totals.loaded.entry(table.clone()).or_default() += rows;
            }
        });
    }

    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn latency(histogram: &Histogram<u64>) -> Latency {
    Latency { p50: histogram.value_at_quantile(0.5), p99: histogram.value_at_quantile(0.99) }
}

fn count(histogram: &mut Histogram<u64>, arrivals: &Arrivals, now_ms: i64) {
    for (arrived_ms, records) in arrivals.iter() {
        let waited = u64::try_from(now_ms - arrived_ms).unwrap_or(0);
        histogram.saturating_record_n(waited, records);
    }
}

/// Adds an entry's counts; the records of dimension files are not records of the stream, their rows are rows.
fn add(total: &mut Counts, counts: &Counts, of_the_stream: bool) {
    if of_the_stream {
        total.records += counts.records;
        total.events += counts.events;
        total.passed += counts.passed;
    }
    for (reason, events) in &counts.undecodable {
        *total.undecodable.entry(reason.clone()).or_default() += events;
    }
    for (check, events) in &counts.failed_checks {
        *total.failed_checks.entry(check.clone()).or_default() += events;
    }
    for (table, rows) in &counts.tables {
        let sum = total.tables.entry(table.clone()).or_default();
        sum.staged += rows.staged;
        sum.superseded += rows.superseded;
        sum.filtered = rows.filtered.map(|filtered| filtered + sum.filtered.unwrap_or(0)).or(sum.filtered);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::TableCounts;

    fn entry(number: u64, records: u64) -> Entry {
        let tables = BTreeMap::from([("t".to_owned(), TableCounts { filtered: Some(1), superseded: 0, staged: 2 })]);
        Entry {
            format: 1,
            number,
            pipeline: "p".into(),
            writer: "w".into(),
            attempt: "a".into(),
            written_at: 0,
            opening: None,
            ranges: Default::default(),
            marks: Default::default(),
            tables: BTreeMap::new(),
            quarantine: Vec::new(),
            counts: Counts { records, events: records, passed: records, tables, ..Counts::default() },
            dimension_files: BTreeMap::new(),
        }
    }

    #[test]
    fn latencies_count_each_record_from_its_arrival() {
        let progress = Progress::default();
        let mut arrivals = Arrivals::default();
        (0..99).for_each(|_| arrivals.add(900_000));
        arrivals.add(0);
        progress.committed(&entry(1, 100), arrivals, 1_000);
        assert_eq!(progress.stage_latency(), Latency { p50: 100, p99: 100 });
        assert_eq!(progress.load_latency(), Latency::default());
        let receipt = Receipt { loaded_after: 0, loaded_through: 1, copied: BTreeMap::new(), loaded_at: 1_900 };
        progress.loaded(&receipt);
        // Three digits are kept: 1000 falls into the bucket that ends at 1000.
        assert_eq!(progress.load_latency().p50, 1_000);
        assert_eq!(progress.totals().loaded_through, 1);
    }

    #[test]
    fn totals_add_up_over_entries() {
        let progress = Progress::default();
        progress.committed(&entry(1, 3), Arrivals::default(), 0);
        progress.committed(&entry(2, 3), Arrivals::default(), 0);
        let totals = progress.totals();
        assert_eq!((totals.counts.records, totals.entries, totals.committed), (6, 2, 2));
        assert_eq!(totals.counts.tables["t"], TableCounts { filtered: Some(2), superseded: 0, staged: 4 });
    }
}
