//! The load loop: follows the journal in order, apart from ingestion.
//!
//! Owns when to load and how much: entries are coalesced until the oldest is as old as `[load] freshness` allows, or
//! there are as many as one load takes. What is loaded is the warehouse's ledger's to say: the loop asks it at its
//! start and after each failure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::share::Duty;
use super::{Controls, Job};
use crate::batch::Entry;
use crate::error::{Error, ErrorKind, Result};
use crate::journal;
use crate::runtime::Backoff;

const BACKOFF: Backoff = Backoff { first: Duration::from_millis(500), longest: Duration::from_secs(60), attempts: 6 };

/// Loads until `ingested` says that no more will come, and then the rest; while it is another worker's duty it waits.
///
/// # Errors
/// The failure that ended loading for good; reading has gone on until the run's end.
pub(super) async fn run(job: Job, controls: Controls, (duty, ingested): (Duty, CancellationToken)) -> Result<()> {
    // However it ends: a worker that loads no more must not keep the others from it.
    let _held = duty.hold();
    let mut loader = Loader::new(&job, &controls);
    let mut failures = 0;
    loop {
        let last = ingested.is_cancelled();
        if !last && !duty.is_ours() {
            // What the other loads meanwhile is for the ledger to say.
            loader.loaded_through = None;
            wait(&job, &ingested, poll(job.pipeline.load.freshness)).await;
            continue;
        }
        match loader.load_due(last).await {
            Ok(true) => failures = 0,
            Ok(false) if last => return Ok(()),
            Ok(false) => wait(&job, &ingested, poll(job.pipeline.load.freshness)).await,
            Err(error) => {
                failures += 1;
                loader.loaded_through = None;
                let pause = what_next(error, failures, last, &job)?;
                wait(&job, &ingested, pause).await;
            }
        }
    }
}

/// Loads everything that is in the journal now, as `dims` does after staging.
///
/// # Errors
/// The warehouse's.
pub async fn load_all(job: &Job, controls: &Controls) -> Result<()> {
    let mut loader = Loader::new(job, controls);
    let mut failures = 0;
    loop {
        match loader.load_due(true).await {
            Ok(true) => failures = 0,
            Ok(false) => return Ok(()),
            Err(error) => {
                failures += 1;
                loader.loaded_through = None;
                job.context.clock.sleep(what_next(error, failures, true, job)?).await;
            }
        }
    }
}

/// How often the journal is asked for new entries: often enough that freshness is kept within a quarter.
fn poll(freshness: Duration) -> Duration {
    (freshness / 4).clamp(Duration::from_millis(50), Duration::from_secs(5))
}

struct Loader<'a> {
    job: &'a Job,
    controls: &'a Controls,
    /// As the ledger said, or as our own last load left it; none where it must be asked.
    loaded_through: Option<u64>,
}

impl<'a> Loader<'a> {
    fn new(job: &'a Job, controls: &'a Controls) -> Self {
        Self { job, controls, loaded_through: None }
    }

    /// Makes the next load where one is due, or where `all` is wanted; false where there is nothing to do.
    async fn load_due(&mut self, all: bool) -> Result<bool> {
        let job = self.job;
        let loaded_through = match self.loaded_through {
            Some(loaded_through) => loaded_through,
            None => {
                job.warehouse.prepare().await?;
                let loaded_through = job.warehouse.ledger().await?.loaded_through;
                is_journaled(job, loaded_through).await?;
                self.controls.progress.loaded_elsewhere(loaded_through);
                loaded_through
            }
        };
        self.loaded_through = Some(loaded_through);
        let entries = journal::entries(&job.store, loaded_through, job.pipeline.load.max_entries).await?;
        if entries.is_empty() || !(all || is_due(job, &entries)) {
            return Ok(false);
        }
        let receipt = job.warehouse.load(&entries).await?;
        check_rows(&entries, &receipt.copied)?;
        self.loaded_through = Some(receipt.loaded_through);
        tracing::debug!(through = receipt.loaded_through, entries = entries.len(), "loaded");
        self.controls.progress.loaded(&receipt);
        Ok(true)
    }
}

/// A ledger that is ahead of the journal would pass over the entries that are written next.
async fn is_journaled(job: &Job, loaded_through: u64) -> Result<()> {
    if loaded_through == 0 || !journal::entries(&job.store, loaded_through - 1, 1).await?.is_empty() {
        return Ok(());
    }
    Err(Error::corrupt(format!(
        "the warehouse has loaded entry {loaded_through}, which the journal does not hold: the object store is older \
         than the warehouse. Put the newer one back; or move the warehouse away, and everything is loaded anew"
    )))
}

fn is_due(job: &Job, entries: &[Arc<Entry>]) -> bool {
    let settings = &job.pipeline.load;
    let oldest = entries.first().map_or(i64::MAX, |entry| entry.written_at);
    let waited = u64::try_from(job.context.clock.now_millis().saturating_sub(oldest)).unwrap_or(0);
    entries.len() >= settings.max_entries || Duration::from_millis(waited) >= settings.freshness
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

fn what_next(error: Error, failures: u32, last: bool, job: &Job) -> Result<Duration> {
    match error.kind() {
        ErrorKind::Fenced => tracing::info!(%error, "another worker has loaded; reading the ledger again"),
        ErrorKind::Transient if !last || failures < BACKOFF.attempts => {
            tracing::warn!(%error, failures, "loading failed; trying again, reading goes on");
        }
        _ => {
            tracing::error!(%error, "loading has stopped; what is read is still staged and will be loaded later");
            return Err(error);
        }
    }
    Ok(BACKOFF.pause(failures, &job.context))
}

/// Waits, but not past the end of ingestion.
async fn wait(job: &Job, ingested: &CancellationToken, pause: Duration) {
    let already = ingested.is_cancelled();
    tokio::select! {
        () = job.context.clock.sleep(pause) => {}
        () = ingested.cancelled(), if !already => {}
    }
}
