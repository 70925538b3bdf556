//! The load loop: follows the journal in order, apart from ingestion.
//!
//! Owns when to load and how much: entries are coalesced until the oldest is as old as `[load] freshness` allows, or
//! there are as many as one load takes (entries, files or bytes). In a maintenance window no load starts. What is
//! loaded is the warehouse's ledger's to say: the loop asks it at its start and after each failure. Before each load the
//! ledger is held against the journal; where they do not belong together, the run commits nothing more.
//!
//! While the run reads, no failure ends loading: what does not pass by itself (a missing right, a full quota, a damaged
//! file) is tried again at growing intervals, and between two tries loading is left to another worker, if one offers it.
//! Since when and why loading has stopped stands in the heartbeat, the metrics and the health meanwhile. Once nothing is
//! left to read, a few tries are all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use tokio_util::sync::CancellationToken;

use super::share::Duty;
use super::verify_ledger::verify_ledger;
use super::{Controls, Job};
use crate::batch::{Entry, Receipt};
use crate::config::LoadSettings;
use crate::error::{Error, ErrorKind, Result};
use crate::journal;
use crate::runtime::{Backoff, Clock};
use crate::store::Store;

/// Between tries at what may pass by itself, and once the run is ending.
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(500), longest: Duration::from_secs(60), attempts: 6 };

/// Between tries at what somebody must mend, for as long as the run reads.
const MENDING: Backoff =
    Backoff { first: Duration::from_secs(5), longest: Duration::from_secs(300), attempts: u32::MAX };

/// How often the ledger is asked whether another worker has loaded what failed here, in µs.
const LOOK_EVERY: i64 = 30_000_000;

/// What the load loop shares with ingestion, beside the journal.
#[derive(Clone, Default)]
pub(super) struct Signals {
    /// Ingestion is over: no more will come.
    pub(super) ingested: CancellationToken,
    /// Ledger and journal do not belong together: what is committed would never be loaded.
    pub(super) mismatched: CancellationToken,
}

/// Loads until ingestion is over, and then what is in the journal by then; while it is another worker's duty it waits.
///
/// # Errors
/// The last failure, once nothing is left to read; or a mismatch.
pub(super) async fn run(job: Job, controls: Controls, (duty, signals): (Duty, Signals)) -> Result<()> {
    // However it ends: a worker that loads no more must not keep the others from it.
    let _held = duty.hold();
    let clock = &*job.context.clock;
    let ingested = &signals.ingested;
    let mut loader = Loader::new(&job, &controls, signals.mismatched.clone());
    let (mut failures, mut is_last) = (0, false);
    loop {
        let last = ingested.is_cancelled();
        if last && !is_last {
            (failures, is_last) = (0, true);
        }
        // Who is alone need not be told by a heartbeat, which the stream may keep from being written.
        let is_ours = duty.is_ours() || controls.progress.totals().workers <= 1;
        if !last && !is_ours {
            // What the other loads meanwhile is for the ledger to say.
            loader.last = None;
            loader.look_at_others().await;
            wait(clock, (ingested, last), poll(job.pipeline.load.freshness)).await;
            continue;
        }
        match loader.load_due(last).await {
            Ok(Due::Loaded) => failures = 0,
            Ok(Due::Nothing | Due::Paused) if last => return Ok(()),
            Ok(Due::Nothing | Due::Paused) => {
                failures = if loader.failed.is_none() { 0 } else { failures };
                wait(clock, (ingested, last), poll(job.pipeline.load.freshness)).await;
            }
            Err(error) => {
                failures += 1;
                // Another worker may have what is missing here.
                duty.offer(error.kind() == ErrorKind::Fenced || passes(&error) && failures < BACKOFF.attempts);
                let pause = loader.what_next(&error, failures, last)?;
                wait(clock, (ingested, last), pause).await;
                duty.offer(true);
            }
        }
    }
}

/// Loads everything that is in the journal now, as `dims` does after staging.
///
/// # Errors
/// The warehouse's.
pub async fn load_all(job: &Job, controls: &Controls) -> Result<()> {
    let mut loader = Loader::new(job, controls, CancellationToken::new());
    let mut failures = 0;
    loop {
        match loader.load_due(true).await {
            Ok(Due::Loaded) => failures = 0,
            Ok(Due::Nothing | Due::Paused) => return Ok(()),
            Err(error) => {
                failures += 1;
                job.context.clock.sleep(loader.what_next(&error, failures, true)?).await;
            }
        }
    }
}

/// How often the journal is asked for new entries: often enough that freshness is kept within a quarter.
fn poll(freshness: Duration) -> Duration {
    (freshness / 4).clamp(Duration::from_millis(50), Duration::from_secs(5))
}

/// What became of a look at the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// A load was made.
    Loaded,
    /// There is nothing to load yet.
    Nothing,
    /// A maintenance window keeps back whatever there is.
    Paused,
}

struct Loader<'a> {
    job: &'a Job,
    controls: &'a Controls,
    /// The last load, as the ledger said, or our own; none where the ledger must be asked.
    last: Option<Receipt>,
    mismatched: CancellationToken,
    /// The last entry that the ledger had loaded when it was asked last.
    loaded_through: u64,
    /// The entry whose load has failed: loading goes on once it is loaded, by whomever.
    failed: Option<u64>,
    /// When the ledger is asked whether another worker has loaded it, µs since 1970 UTC.
    look_at: i64,
    /// The entry to load through, once everything is wanted: others may commit for ever.
    goal: Option<u64>,
    /// The end of the maintenance window that was told of, ms since 1970 UTC.
    paused_until: Option<i64>,
}

impl<'a> Loader<'a> {
    fn new(job: &'a Job, controls: &'a Controls, mismatched: CancellationToken) -> Self {
        Self {
            job,
            controls,
            last: None,
            mismatched,
            loaded_through: 0,
            failed: None,
            look_at: 0,
            goal: None,
            paused_until: None,
        }
    }

    /// Makes the next load where one is due, or where `all` is wanted.
    async fn load_due(&mut self, all: bool) -> Result<Due> {
        if self.is_paused() {
            return Ok(Due::Paused);
        }
        let due = self.load_next(all).await?;
        self.goes_on();
        Ok(due)
    }

    /// Notes that loading goes on, where what had failed is loaded by now.
    fn goes_on(&mut self) {
        if self.failed.is_some_and(|entry| entry > self.loaded_through) {
            return;
        }
        self.failed = None;
        if let Some(stopped) = self.controls.progress.loading_goes_on() {
            tracing::info!(reason = stopped.reason, "loading goes on");
        }
    }

    /// Asks the ledger now and then whether another worker has loaded what failed here.
    async fn look_at_others(&mut self) {
        let context = &self.job.context;
        let now = context.clock.now_micros();
        if self.failed.is_none() || now < self.look_at {
            return;
        }
        self.look_at = now + LOOK_EVERY;
        // Where it does not answer, loading has not gone on.
        if let Ok(ledger) = self.job.warehouse.ledger().await {
            self.loaded_through = ledger.loaded_through;
            self.goes_on();
        }
    }

    async fn load_next(&mut self, all: bool) -> Result<Due> {
        let job = self.job;
        if all && self.goal.is_none() {
            self.goal = Some(journal::fold(&job.store, &job.pipeline.name).await?.through);
        }
        let last = match self.last.take() {
            Some(last) => last,
            None => self.ask().await?,
        };
        self.loaded_through = last.loaded_through;
        if self.goal.is_some_and(|goal| self.loaded_through >= goal) {
            return Ok(Due::Nothing);
        }
        let settings = &job.pipeline.load;
        let mut entries = journal::entries(&job.store, last.loaded_through, settings.max_entries).await?;
        if entries.is_empty() {
            // Nothing waits: whatever failed is over.
            self.failed = None;
        }
        let last = self.last.insert(last);
        let takes = one_load(settings, &entries);
        if entries.is_empty() || !(all || takes.is_full || has_waited(job, &entries)) {
            return Ok(Due::Nothing);
        }
        entries.truncate(takes.entries);
        verify(&job.store, Some(last), &self.mismatched).await?;
        let receipt = job.warehouse.load(&entries).await?;
        check_rows(&entries, &receipt.copied).inspect_err(|_| self.mismatched.cancel())?;
        tracing::debug!(through = receipt.loaded_through, entries = entries.len(), "loaded");
        self.controls.progress.loaded(&receipt);
        self.loaded_through = receipt.loaded_through;
        self.last = Some(receipt);
        Ok(Due::Loaded)
    }

    /// The last load that the ledger knows, of a warehouse that is ready for the next.
    async fn ask(&self) -> Result<Receipt> {
        let warehouse = &self.job.warehouse;
        verify(&self.job.store, warehouse.ledger().await?.last.as_ref(), &self.mismatched).await?;
        warehouse.prepare().await?;
        let ledger = warehouse.ledger().await?;
        self.controls.progress.loaded_elsewhere(ledger.loaded_through);
        Ok(ledger.last.unwrap_or_default())
    }

    /// How long to wait before the ledger is asked again, or the error that ends loading.
    fn what_next(&mut self, error: &Error, failures: u32, last: bool) -> Result<Duration> {
        self.last = None;
        let context = &self.job.context;
        if self.mismatched.is_cancelled() {
            tracing::error!(%error, "the run ends: nothing more is committed or loaded");
            return Err(Error::corrupt(error.to_string()));
        }
        if error.kind() == ErrorKind::Fenced {
            tracing::info!(%error, "another worker has loaded; reading the ledger again");
            return Ok(BACKOFF.pause(failures, context));
        }
        self.failed = self.failed.or(Some(self.loaded_through + 1));
        let passes = passes(error);
        if !passes || failures >= BACKOFF.attempts {
            self.controls.progress.loading_stopped(context.clock.now_millis(), &error.to_string());
        }
        if last && failures >= BACKOFF.attempts {
            return Err(Error::transient(format!(
                "loading was given up after {failures} tries: {error}; what is staged waits, and the next run loads it"
            )));
        }
        if last || (passes && failures != BACKOFF.attempts) {
            let meanwhile = if last { "the run is ending" } else { "reading goes on" };
            tracing::warn!(%error, failures, "loading failed; trying again, {meanwhile}");
            return Ok(BACKOFF.pause(failures, context));
        }
        let pause = if passes { BACKOFF.pause(failures, context) } else { MENDING.pause(failures, context) };
        tracing::error!(%error, failures, again_in = ?pause, "loading has stopped until this is mended; reading goes on");
        Ok(pause)
    }

    /// Whether a maintenance window is open; each is told of once.
    fn is_paused(&mut self) -> bool {
        let until = self.job.pipeline.load.paused_until(self.job.context.clock.now_millis());
        if until != self.paused_until {
            match until.and_then(DateTime::from_timestamp_millis) {
                Some(until) => tracing::info!(%until, "maintenance: no load starts before; reading goes on"),
                None => tracing::info!("the maintenance window is over; loading goes on"),
            }
            self.paused_until = until;
        }
        until.is_some()
    }
}

/// How much of what waits one load takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Takes {
    /// The first so many entries.
    entries: usize,
    /// Whether there are as many as one load takes.
    is_full: bool,
}

/// As many entries as a load's bounds allow, at least one.
fn one_load(settings: &LoadSettings, entries: &[Arc<Entry>]) -> Takes {
    let (mut files, mut bytes) = (0, 0);
    for (taken, entry) in entries.iter().enumerate() {
        files += entry.tables.values().map(Vec::len).sum::<usize>();
        bytes += entry.tables.values().flatten().map(|file| file.bytes).sum::<u64>();
        if taken > 0 && (files > settings.max_files || bytes > settings.max_bytes) {
            return Takes { entries: taken, is_full: true };
        }
    }
    let is_full = entries.len() >= settings.max_entries || files >= settings.max_files || bytes >= settings.max_bytes;
    Takes { entries: entries.len(), is_full }
}

fn has_waited(job: &Job, entries: &[Arc<Entry>]) -> bool {
    let oldest = entries.first().map_or(i64::MAX, |entry| entry.written_at);
    let waited = u64::try_from(job.context.clock.now_millis().saturating_sub(oldest)).unwrap_or(0);
    Duration::from_millis(waited) >= job.pipeline.load.freshness
}

/// The last term of the audit identity: rows copied = rows staged.
fn check_rows(entries: &[Arc<Entry>], copied: &BTreeMap<String, u64>) -> Result<()> {
    let tables: BTreeSet<&String> = entries.iter().flat_map(|entry| entry.tables.keys()).collect();
    for table in tables {
        let staged: u64 = entries.iter().map(|entry| entry.rows(table)).sum();
        let loaded = copied.get(table).copied().unwrap_or(0);
        if staged != loaded {
            return Err(Error::corrupt(format!(
                "{table}: the journal has {staged} rows for this load, the warehouse copied {loaded}; stop here and \
                 compare the two with `millstream audit`"
            )));
        }
    }
    Ok(())
}

/// Whether the same again may succeed without anybody's doing.
fn passes(error: &Error) -> bool {
    error.kind() == ErrorKind::Transient
}

/// As [`verify_ledger`]; a mismatch is also signalled.
async fn verify(store: &Store, last: Option<&Receipt>, mismatched: &CancellationToken) -> Result<()> {
    let verified = verify_ledger(store, last).await;
    if verified.as_ref().is_err_and(|error| error.kind() == ErrorKind::Corrupt) {
        mismatched.cancel();
    }
    verified
}

/// Waits, but not past the end of ingestion where that was not known when the loop looked last.
async fn wait(clock: &dyn Clock, (ingested, known): (&CancellationToken, bool), pause: Duration) {
    if known {
        return clock.sleep(pause).await;
    }
    if !ingested.is_cancelled() {
        tokio::select! {
            () = ingested.cancelled() => {}
            () = clock.sleep(pause) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::DataFile;
    use crate::runtime::ManualClock;

    /// An entry with so many files, of so many bytes each.
    fn entry(files: usize, bytes: u64) -> Arc<Entry> {
        let text = r#"{"format": 2, "number": 1, "pipeline": "p", "writer": "w", "attempt": "a", "written_at": 0}"#;
        let mut entry: Entry = serde_json::from_str(text).expect("an entry");
        let file = DataFile { path: "staged/t/a.parquet".to_owned(), rows: 1, bytes, checksum: None, etag: None };
        entry.tables.insert("t".to_owned(), vec![file; files]);
        Arc::new(entry)
    }

    #[test]
    fn a_load_takes_what_its_bounds_allow_and_at_least_one_entry() {
        let settings = LoadSettings { max_entries: 4, max_files: 10, max_bytes: 100, ..LoadSettings::default() };
        let takes = |entries, is_full| Takes { entries, is_full };
        // (files, bytes of each) of the entries; what one load takes.
        let cases: [(&[(usize, u64)], Takes); 9] = [
            (&[], takes(0, false)),
            (&[(1, 1)], takes(1, false)),
            (&[(1, 1), (1, 1), (1, 1)], takes(3, false)),
            (&[(0, 0), (0, 0), (0, 0), (0, 0)], takes(4, true)),
            (&[(4, 1), (4, 1), (4, 1)], takes(2, true)),
            (&[(5, 1), (5, 1)], takes(2, true)),
            (&[(1, 60), (1, 60)], takes(1, true)),
            (&[(1, 500)], takes(1, true)),
            (&[(99, 500), (1, 1)], takes(1, true)),
        ];
        for (waiting, expected) in cases {
            let entries: Vec<_> = waiting.iter().map(|(files, bytes)| entry(*files, *bytes)).collect();
            assert_eq!(one_load(&settings, &entries), expected, "{waiting:?}");
        }
    }

    #[tokio::test]
    async fn the_end_of_ingestion_is_waited_past_only_where_it_was_known_before() {
        let (clock, ingested) = (ManualClock::at(0), CancellationToken::new());
        ingested.cancel();
        wait(&clock, (&ingested, false), Duration::from_secs(5)).await;
        assert_eq!(clock.now_micros(), 0, "it came while the loop looked: there may be more to load");
        wait(&clock, (&ingested, true), Duration::from_secs(5)).await;
        assert_eq!(clock.now_micros(), 5_000_000, "a failure's pause is a pause");
    }
}
