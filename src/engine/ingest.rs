//! One pass of the ingest loop: from an open source to its end, its stop or its first failure.
//!
//! Four kinds of task, joined by bounded channels, so that a slow step holds up the ones before it and nothing
//! piles up: a reader per shard → collect → decode and clean → stage and commit. `assign` owns which readers there are.
//!
//! A failure of any of them ends all: the channels close behind it. Nothing is lost, because nothing was true before
//! its journal entry.

use std::sync::Arc;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};

use super::assign::Assignment;
use super::budget::Budget;
use super::collect::Collector;
use super::loss::Retention;
use super::read::{Read, Reading};
use super::share::Share;
use super::{Controls, Job};
use crate::batch::{Cleaned, RawBatch};
use crate::error::Result;
use crate::journal::{Follower, Journal};
use crate::runtime::{Tasks, blocking};
use crate::source::{Source, StreamDescription};

/// Pages that wait to be collected, over all shards; `budget` bounds their bytes.
const PAGES_WAITING: usize = 4;

/// Batches that wait between two steps.
const BATCHES_WAITING: usize = 1;

/// Batches under way between the collector and the journal: one is cleaned while one is staged. With the open one and
/// the pages, that is what ingestion holds in memory.
const BATCHES_UNDER_WAY: usize = 2;

/// A batch or a part of one, and the batch's place among those under way until its last part is dropped.
type UnderWay<T> = (T, Arc<OwnedSemaphorePermit>);

/// Reads this worker's share of `source` from where the journal stands, until drained or stopped.
///
/// # Errors
/// The first step's that failed; Fenced where another writer moved a shard on.
pub(super) async fn pass(
    job: &Job,
    controls: &Controls,
    (source, description): (Arc<dyn Source>, StreamDescription),
    (journal, share): (Journal, &mut Share),
) -> Result<()> {
    controls.progress.connected();
    controls.progress.note_retention(description.retention);
    let (page_sender, pages) = mpsc::channel(PAGES_WAITING);
    let (batch_sender, batches) = mpsc::channel(BATCHES_WAITING);
    let (cleaned_sender, cleaned) = mpsc::channel(BATCHES_WAITING);
    let (follower, ended) = (Follower::of(&journal, &job.store), Arc::new(Notify::new()));
    let collector = Collector::new(job.pipeline.batch, journal.state().marks.caught_up.clone());

    let outlet = Outlet { batches: batch_sender, places: Arc::new(Semaphore::new(BATCHES_UNDER_WAY)) };

    let mut steps = Tasks::new();
    steps.spawn("collecting", collect(job.clone(), (collector, pages), outlet));
    steps.spawn("cleaning", clean(job.clone(), batches, cleaned_sender));
    steps.spawn("committing", commit(job.clone(), controls.clone(), (journal, Arc::clone(&ended)), cleaned));
    let reading = Reading {
        job: job.clone(),
        controls: controls.clone(),
        source,
        stream: description.identity,
        retention: Retention::new(description.retention),
        budget: Budget::new(),
        pages: page_sender,
    };
    let assigned = Assignment::new(reading, share, follower).run(&mut steps, &ended).await;
    // The last sender is gone with the assignment: what is collected is committed, and the steps end.
    let joined = steps.join().await;
    assigned.and(joined)
}

async fn collect(
    job: Job,
    (mut collector, mut pages): (Collector, mpsc::Receiver<Read>),
    outlet: Outlet,
) -> Result<()> {
    let clock = &job.context.clock;
    loop {
        let due = collector.due_in(clock.now_micros());
        if due.is_some_and(|due| due.is_zero())
            && let Some(batch) = collector.close()
        {
            if !outlet.send(batch).await {
                return Ok(());
            }
            continue;
        }
        let due = async {
            match due {
                Some(due) => clock.sleep(due).await,
                None => std::future::pending().await,
            }
        };
        let closed = tokio::select! {
            biased;
            () = due => collector.close().into_iter().collect(),
            page = pages.recv() => match page {
                Some(read) => collector.add(read, clock.now_micros())?,
                None => break,
            },
        };
        for batch in closed {
            if !outlet.send(batch).await {
                return Ok(());
            }
        }
    }
    if let Some(last) = collector.close() {
        outlet.send(last).await;
    }
    Ok(())
}

/// Where the collector's batches go.
struct Outlet {
    batches: mpsc::Sender<UnderWay<RawBatch>>,
    places: Arc<Semaphore>,
}

impl Outlet {
    /// Sends a batch on once there is a place for it; false where a later step has failed: its error is the one to
    /// tell.
    async fn send(&self, batch: RawBatch) -> bool {
        match Arc::clone(&self.places).acquire_owned().await {
            Ok(place) => self.batches.send((batch, Arc::new(place))).await.is_ok(),
            Err(_) => false,
        }
    }
}

async fn clean(
    job: Job,
    mut batches: mpsc::Receiver<UnderWay<RawBatch>>,
    cleaned: mpsc::Sender<UnderWay<Cleaned>>,
) -> Result<()> {
    while let Some((batch, place)) = batches.recv().await {
        let mut rest = Some(batch);
        while let Some(raw) = rest {
            // A part takes its turn before it is decoded: one is made while one is staged, however many there are.
            let Ok(mut turn) = cleaned.reserve().await else { return Ok(()) };
            let decoder = Arc::clone(&job.decoder);
            let (mut decoded, left) = blocking(move || Ok(decoder.decode(raw))).await?;
            let mut most = usize::MAX;
            loop {
                let (part, uncleaned) = job.cleaner.clean_some(decoded, most).await?;
                // The next part is tried at twice what had room, not at all that is left.
                most = usize::try_from(part.counts.records).unwrap_or(usize::MAX).saturating_mul(2);
                turn.send((part, Arc::clone(&place)));
                let Some(uncleaned) = uncleaned else { break };
                let Ok(next) = cleaned.reserve().await else { return Ok(()) };
                (decoded, turn) = (uncleaned, next);
            }
            rest = left;
        }
    }
    Ok(())
}

async fn commit(
    job: Job,
    controls: Controls,
    (mut journal, ended): (Journal, Arc<Notify>),
    mut batches: mpsc::Receiver<UnderWay<Cleaned>>,
) -> Result<()> {
    while let Some((batch, _place)) = batches.recv().await {
        let staged = job.stager.stage(batch).await?;
        let entry = journal.commit(&staged).await?;
        tracing::debug!(entry = entry.number, records = entry.counts.records, "committed");
        controls.progress.committed(&entry, staged.arrivals, job.context.clock.now_millis());
        if !entry.marks.ended.is_empty() {
            ended.notify_one();
        }
    }
    Ok(())
}
