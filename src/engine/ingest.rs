//! One pass of the ingest loop: from an open source to its end, its stop or its first failure.
//!
//! Four kinds of task, joined by bounded channels, so that a slow step holds up the ones before it and nothing
//! piles up: a reader per shard → collect → decode and clean → stage and commit.
//!
//! A failure of any of them ends all: the channels close behind it. Nothing is lost, because nothing was true before
//! its journal entry.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::collect::Collector;
use super::{Controls, Job};
use crate::batch::{Cleaned, RawBatch, ShardId, StartAt};
use crate::error::{Error, Result};
use crate::journal::Journal;
use crate::runtime::{Tasks, blocking};
use crate::source::{Page, ShardReader, Source};

/// Pages that wait to be collected, over all shards: with at most 10 MB a page, what reading holds at most.
const PAGES_WAITING: usize = 4;

/// Batches that wait between two steps.
const BATCHES_WAITING: usize = 1;

/// Reads `source` from where the journal stands until drained or stopped, and gives the journal back.
///
/// # Errors
/// The first step's that failed; Fenced where another writer moved a shard on.
pub(super) async fn pass(job: &Job, controls: &Controls, source: &dyn Source, journal: Journal) -> Result<Journal> {
    let end = End { controls: controls.clone(), failed: CancellationToken::new() };
    let (page_sender, pages) = mpsc::channel(PAGES_WAITING);
    let (batch_sender, batches) = mpsc::channel(BATCHES_WAITING);
    let (cleaned_sender, cleaned) = mpsc::channel(BATCHES_WAITING);
    let (journal_sender, journal_back) = tokio::sync::oneshot::channel();

    let mut tasks = Tasks::new();
    for (shard, start) in starts(source, &journal).await? {
        let reader = source.open(&shard, start).await?;
        tasks.spawn(format!("reading {shard}"), read(shard, reader, page_sender.clone(), end.clone()));
    }
    drop(page_sender);
    tasks.spawn("collecting", collect(job.clone(), pages, batch_sender));
    tasks.spawn("cleaning", clean(job.clone(), batches, cleaned_sender));
    let commit = commit(job.clone(), controls.clone(), journal, cleaned);
    tasks.spawn("committing", async move {
        // The receiver is gone only where the pass was dropped, and then nobody wants the journal.
        let _ = journal_sender.send(commit.await?);
        Ok(())
    });

    let mut outcome = Ok(());
    while let Some(ended) = tasks.next().await {
        if ended.is_err() {
            end.failed.cancel();
        }
        outcome = outcome.and(ended);
    }
    outcome?;
    journal_back.await.map_err(|_| Error::internal("the committing task ended without its journal"))
}

/// Every shard with the place to read it from.
async fn starts(source: &dyn Source, journal: &Journal) -> Result<Vec<(ShardId, StartAt)>> {
    let state = journal.state();
    let start = state.opening.as_ref().map_or(StartAt::TrimHorizon, |opening| opening.start.clone());
    let shards = source.shards().await?;
    Ok(shards
        .into_iter()
        .map(|shard| match state.positions.get(&shard.id) {
            Some(position) => (shard.id, StartAt::After(position.clone())),
            None => (shard.id, start.clone()),
        })
        .collect())
}

/// When readers stop.
#[derive(Clone)]
struct End {
    controls: Controls,
    failed: CancellationToken,
}

async fn read(
    shard: ShardId,
    mut reader: Box<dyn ShardReader>,
    pages: mpsc::Sender<(ShardId, Page)>,
    end: End,
) -> Result<()> {
    loop {
        // Asked before the page, so that the page answers for everything that was there when draining began.
        let draining = end.controls.drain.is_cancelled();
        let page = tokio::select! {
            biased;
            () = end.controls.stop.cancelled() => return Ok(()),
            () = end.failed.cancelled() => return Ok(()),
            page = reader.next() => page?,
        };
        end.controls.progress.read(&shard, page.records.len(), page.behind);
        let at_tip = page.behind.is_some_and(|behind| behind.is_zero());
        let last = page.end_of_shard || (draining && at_tip);
        let gone = page.range.is_some() && pages.send((shard.clone(), page)).await.is_err();
        if last || gone {
            return Ok(());
        }
    }
}

async fn collect(job: Job, mut pages: mpsc::Receiver<(ShardId, Page)>, batches: mpsc::Sender<RawBatch>) -> Result<()> {
    let clock = &job.context.clock;
    let mut collector = Collector::new(job.pipeline.batch);
    loop {
        let due = collector.due_in(clock.now_micros());
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
                Some((shard, page)) => collector.add(&shard, page, clock.now_micros())?,
                None => break,
            },
        };
        for batch in closed {
            if batches.send(batch).await.is_err() {
                return Ok(());
            }
        }
    }
    if let Some(last) = collector.close() {
        // A closed channel means that a later step has failed; its error is the one to tell.
        let _ = batches.send(last).await;
    }
    Ok(())
}

async fn clean(job: Job, mut batches: mpsc::Receiver<RawBatch>, cleaned: mpsc::Sender<Cleaned>) -> Result<()> {
    while let Some(batch) = batches.recv().await {
        let decoder = Arc::clone(&job.decoder);
        let decoded = blocking(move || Ok(decoder.decode(Arc::new(batch)))).await?;
        if cleaned.send(job.cleaner.clean(decoded).await?).await.is_err() {
            break;
        }
    }
    Ok(())
}

async fn commit(
    job: Job,
    controls: Controls,
    mut journal: Journal,
    mut batches: mpsc::Receiver<Cleaned>,
) -> Result<Journal> {
    while let Some(batch) = batches.recv().await {
        let staged = job.stager.stage(batch).await?;
        let entry = journal.commit(&staged).await?;
        tracing::debug!(entry = entry.number, records = entry.counts.records, "committed");
        controls.progress.committed(&entry, staged.arrivals, job.context.clock.now_millis());
    }
    Ok(journal)
}
