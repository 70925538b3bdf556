//! What the engine has done so far, for progress bars, summaries and machines.
//!
//! Owns the running totals, what each shard's reader says of it, and the two latencies: from a record's arrival to its
//! journal entry, and to its load.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::batch::{Arrivals, Counts, Entry, Position, Receipt, ShardId};
use crate::error::first_line;
use crate::source::CallCounts;
use crate::workers::LoadingStopped;

/// Batches whose arrivals wait for their load, 16 kB each at most; beyond it the oldest go uncounted rather than fill
/// the memory.
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
    /// Since when loading has failed, and why; none where it goes on.
    pub loading_stopped: Option<LoadingStopped>,
    /// Rows copied into the warehouse, by table.
    pub loaded: BTreeMap<String, u64>,
    /// Records read, whether or not they are committed yet.
    pub read: u64,
    /// What is known of each shard that this process reads.
    pub shards: BTreeMap<ShardId, ShardProgress>,
    /// Gaps that reading went on behind.
    pub losses: u64,
    /// What became of the calls to the stream.
    pub calls: CallCounts,
    /// Workers of the stream that live, this one included; 0 before the first heartbeat.
    pub workers: usize,
    /// How long the stream keeps a record; none for ever, and before it has said so.
    pub retention: Option<Duration>,
}

/// What a shard's reader says of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ShardProgress {
    /// The last record read, committed or not.
    pub position: Option<Position>,
    /// Records read.
    pub records: u64,
    /// How far behind the shard's newest record the last answer was; none where the stream did not say.
    pub behind: Option<Duration>,
    /// When the last record that was read arrived, ms since 1970 UTC.
    pub newest_read: Option<i64>,
    /// Everything that arrived before this time is read, in this process or earlier, ms since 1970 UTC.
    pub caught_up: Option<i64>,
    /// When the shard last gave an answer, µs since 1970 UTC.
    pub read_at: i64,
    /// Times that it was reconnected since it last made progress: more than one, and it stalls.
    pub reconnects: u32,
    rate: f64,
}

/// The time over which a shard's rate is an average, in s.
const RATE_OVER: f64 = 10.0;

/// A word of the shard that nothing is unread holds so long, in s.
const WORD_HOLDS: f64 = 10.0;

impl ShardProgress {
    /// Records per second over about the last 10 s before `now` (µs since 1970 UTC).
    pub fn records_per_second(&self, now: i64) -> f64 {
        self.rate * (-seconds(self.read_at, now) / RATE_OVER).exp()
    }

    /// How long until the oldest unread record is past a retention; none where nothing is unread by a word that is fresh,
    /// or where it is not known since when. What is unread arrived after what was read last and after the time that the
    /// shard is caught up to, so the true time is never shorter.
    pub fn expires_in(&self, retention: Duration, now: i64) -> Option<Duration> {
        let is_at_tip = self.behind.is_some_and(|behind| behind.is_zero());
        if is_at_tip && seconds(self.read_at, now) < WORD_HOLDS {
            return None;
        }
        let read_through = self.newest_read.max(self.caught_up)?;
        let age = u64::try_from(now.div_euclid(1000).saturating_sub(read_through)).unwrap_or(0);
        Some(retention.saturating_sub(Duration::from_millis(age)))
    }

    fn note(&mut self, records: usize, now: i64) {
        self.rate = self.records_per_second(now) + records as f64 / RATE_OVER;
        self.records += records as u64;
        self.read_at = now;
    }
}

fn seconds(from: i64, to: i64) -> f64 {
    to.saturating_sub(from).max(0) as f64 / 1e6
}

/// Shared by the loops; cheap to clone.
#[derive(Clone)]
pub struct Progress(Arc<Mutex<Inner>>);

struct Inner {
    totals: Totals,
    staged: Histogram<u64>,
    loaded: Histogram<u64>,
    waiting: VecDeque<(u64, Arrivals)>,
    /// The calls of earlier passes.
    calls_before: CallCounts,
}

impl Default for Progress {
    fn default() -> Self {
        let (staged, loaded) = (histogram(), histogram());
        let (totals, waiting, calls_before) = (Totals::default(), VecDeque::new(), CallCounts::default());
        let inner = Inner { totals, staged, loaded, waiting, calls_before };
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

    /// A page of so many records was read, through this position (none where it was empty), at `now` (µs). `lag` is how
    /// far behind the newest record it was, and when its last record arrived (ms).
    pub(super) fn read(
        &self,
        shard: &ShardId,
        (records, position): (usize, Option<&Position>),
        (behind, newest_read): (Option<Duration>, Option<i64>),
        now: i64,
    ) {
        self.with(|inner| {
            inner.totals.read += records as u64;
            let known = inner.totals.shards.entry(shard.clone()).or_default();
            known.note(records, now);
            known.position = position.cloned().or(known.position.take());
            known.newest_read = newest_read.or(known.newest_read);
            // Of an answer that is given on in pieces, the last piece says it.
            known.behind = behind.or(known.behind);
        });
    }

    /// Everything of the shard that arrived before this time (ms) is read; none where nothing is known of that.
    pub(super) fn caught_up(&self, shard: &ShardId, caught_up: Option<i64>) {
        self.with(|inner| {
            let known = inner.totals.shards.entry(shard.clone()).or_default();
            known.caught_up = known.caught_up.max(caught_up);
        });
    }

    /// The shard was reconnected so many times since it last made progress.
    pub(super) fn reconnected(&self, shard: &ShardId, times: u32) {
        self.with(|inner| inner.totals.shards.entry(shard.clone()).or_default().reconnects = times);
    }

    /// Of the shards that are read no more there is nothing to tell.
    pub(super) fn keep(&self, mut is_read: impl FnMut(&ShardId) -> bool) {
        self.with(|inner| inner.totals.shards.retain(|shard, _| is_read(shard)));
    }

    pub(super) fn lost(&self) {
        self.with(|inner| inner.totals.losses += 1);
    }

    pub(super) fn note_retention(&self, retention: Option<Duration>) {
        self.with(|inner| inner.totals.retention = retention);
    }

    /// A pass has begun, on a connection whose calls are counted from none.
    pub(super) fn connected(&self) {
        self.with(|inner| inner.calls_before = inner.totals.calls);
    }

    /// What became of the calls of this pass's connection so far.
    pub(super) fn called(&self, calls: CallCounts) {
        self.with(|inner| inner.totals.calls = inner.calls_before.plus(calls));
    }

    /// How many workers live.
    pub(super) fn shared_by(&self, workers: usize) {
        self.with(|inner| inner.totals.workers = workers);
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

    /// Loading has failed again, and does not go on by itself: at `now` (ms), for this reason.
    pub(super) fn loading_stopped(&self, now: i64, reason: &str) {
        self.with(|inner| {
            let since = inner.totals.loading_stopped.as_ref().map_or(now, |stopped| stopped.since);
            inner.totals.loading_stopped = Some(LoadingStopped { since, reason: first_line(reason) });
        });
    }

    /// Loading goes on; what had stopped it, if anything had.
    pub(super) fn loading_goes_on(&self) -> Option<LoadingStopped> {
        self.with(|inner| inner.totals.loading_stopped.take())
    }

    /// The ledger says that entries through this one are loaded, by whomever: when, it does not say.
    pub(super) fn loaded_elsewhere(&self, through: u64) {
        self.with(|inner| inner.waiting.retain(|(number, _)| *number > through));
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
    for (waited, records) in arrivals.waits(now_ms) {
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
        let tables =
            BTreeMap::from([("t".to_owned(), TableCounts { filtered: Some(1), superseded: 0, refused: 0, staged: 2 })]);
        Entry {
            format: 1,
            number,
            previous: None,
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
        let arrivals = Arrivals::of((0..100).map(|number| if number == 0 { 0 } else { 900_000 }));
        progress.committed(&entry(1, 100), arrivals, 1_000);
        assert_eq!(progress.stage_latency(), Latency { p50: 100, p99: 100 });
        assert_eq!(progress.load_latency(), Latency::default());
        let receipt = Receipt { loaded_through: 1, loaded_at: 1_900, ..Receipt::default() };
        progress.loaded(&receipt);
        // Three digits are kept: 1000 falls into the bucket that ends at 1000.
        assert_eq!(progress.load_latency().p50, 1_000);
        assert_eq!(progress.totals().loaded_through, 1);
    }

    #[test]
    fn what_another_worker_has_loaded_counts_for_no_latency_of_ours() {
        let progress = Progress::default();
        let arrivals = Arrivals::of([0].into_iter());
        progress.committed(&entry(1, 1), arrivals.clone(), 1);
        progress.committed(&entry(2, 1), arrivals, 1);
        progress.loaded_elsewhere(1);
        progress.loaded(&Receipt { loaded_after: 1, loaded_through: 2, loaded_at: 50, ..Receipt::default() });
        assert_eq!(progress.with(|inner| inner.loaded.len()), 1);
    }

    #[test]
    fn the_calls_of_all_passes_add_up() {
        let progress = Progress::default();
        let calls = |calls, failed| CallCounts { calls, failed, ..CallCounts::default() };
        progress.connected();
        progress.called(calls(5, 1));
        progress.called(calls(7, 1));
        progress.connected();
        progress.called(calls(2, 1));
        assert_eq!(progress.totals().calls, calls(9, 2));
    }

    #[test]
    fn totals_add_up_over_entries() {
        let progress = Progress::default();
        progress.committed(&entry(1, 3), Arrivals::default(), 0);
        progress.committed(&entry(2, 3), Arrivals::default(), 0);
        let totals = progress.totals();
        assert_eq!((totals.counts.records, totals.entries, totals.committed), (6, 2, 2));
        assert_eq!(totals.counts.tables["t"], TableCounts { filtered: Some(2), superseded: 0, refused: 0, staged: 4 });
    }

    #[test]
    fn a_shards_rate_is_that_of_the_last_seconds() {
        let progress = Progress::default();
        let shard = ShardId::new("s");
        let at = |second: i64| 1_000_000 * second;
        // 50 records/s for a minute.
        (0..240).for_each(|tick| progress.read(&shard, (13 - tick as usize % 2, None), (None, None), at(tick) / 4));
        let known = progress.totals().shards[&shard].clone();
        let rate = known.records_per_second(at(60));
        assert!((45.0..56.0).contains(&rate), "{rate}");
        assert!(known.records_per_second(at(120)) < 0.2, "and falls when nothing comes");
        assert_eq!(known.records, 240 * 25 / 2);
    }

    #[test]
    fn what_is_unread_expires_with_the_record_after_the_last_one_read() {
        let (day, now) = (Duration::from_secs(86_400), 100_000_000_000_000);
        let hour_ago = now / 1000 - 3_600_000;
        let hours = |hours: u64| Some(Duration::from_secs(hours * 3_600));
        let (tip, behind) = (Some(Duration::ZERO), Some(Duration::from_secs(3_000)));
        let (fresh, old) = (now - 2_000_000, now - 60_000_000);
        let cases = [
            // (behind, newest read, caught up, answered at, expires in)
            (behind, Some(hour_ago), None, fresh, hours(23)),
            (behind, Some(hour_ago), Some(hour_ago - 3_600_000), fresh, hours(23)),
            (behind, Some(hour_ago - 3_600_000), Some(hour_ago), fresh, hours(23)),
            (tip, Some(hour_ago), None, fresh, None),
            (tip, Some(hour_ago), Some(hour_ago), old, hours(23)),
            (behind, Some(0), None, fresh, hours(0)),
            // Nothing is read yet by this process.
            (None, None, Some(hour_ago), 0, hours(23)),
            (None, None, None, 0, None),
        ];
        for (behind, newest_read, caught_up, read_at, expected) in cases {
            let known = ShardProgress { behind, newest_read, caught_up, read_at, ..ShardProgress::default() };
            assert_eq!(known.expires_in(day, now), expected, "{known:?}");
        }
    }

    #[test]
    fn a_shard_that_never_answered_tells_what_is_known_of_it_from_before() {
        let (progress, shard) = (Progress::default(), ShardId::new("s"));
        for (told, known) in [(None, None), (Some(7), Some(7)), (None, Some(7)), (Some(5), Some(7))] {
            progress.caught_up(&shard, told);
            assert_eq!(progress.totals().shards[&shard].caught_up, known);
        }
    }
}
