//! One pass of the ingest loop: from an open source to its end, its stop or its first failure.
//!
//! Four kinds of task, joined by bounded channels, so that a slow step holds up the ones before it and nothing
//! piles up: a reader per shard → collect → decode and clean → stage and commit.
//!
//! A failure of any of them ends all: the channels close behind it. Nothing is lost, because nothing was true before
//! its journal entry. A shard that ends (it was split or merged) ends the pass too, where the stream lists shards that
//! the pass does not read: the next pass reads them.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::collect::Collector;
use super::{Controls, Job};
use crate::batch::{Cleaned, RawBatch, ShardId, StartAt};
use crate::error::Result;
use crate::journal::Journal;
use crate::runtime::{Tasks, blocking};
use crate::source::{Page, Shard, ShardReader, Source};

/// Pages that wait to be collected, over all shards: with at most 10 MB a page, what reading holds at most.
const PAGES_WAITING: usize = 4;

/// Batches that wait between two steps.
const BATCHES_WAITING: usize = 1;

/// How a pass ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// Drained or stopped, or there is no shard left to read.
    Done,
    /// The stream has shards that the pass did not read.
    Resharded,
}

/// Reads `source` from where the journal stands until drained, stopped or resharded; `finished` holds the shards that
/// are read to their end, and is added to.
///
/// # Errors
/// The first step's that failed; Fenced where another writer moved a shard on.
pub(super) async fn pass(
    job: &Job,
    controls: &Controls,
    (source, journal): (&dyn Source, Journal),
    finished: &mut BTreeSet<ShardId>,
) -> Result<Ended> {
    let (ended_sender, mut ended_shards) = mpsc::channel(PAGES_WAITING);
    let end = End { controls: controls.clone(), cut: CancellationToken::new(), ended: ended_sender };
    let (page_sender, pages) = mpsc::channel(PAGES_WAITING);
    let (batch_sender, batches) = mpsc::channel(BATCHES_WAITING);
    let (cleaned_sender, cleaned) = mpsc::channel(BATCHES_WAITING);

    let mut tasks = Tasks::new();
    let starts = starts(source, &journal, finished).await?;
    let reading: BTreeSet<ShardId> = starts.iter().map(|(shard, _)| shard.id.clone()).collect();
    for (shard, start) in starts {
        let reader = source.open(&shard, start).await?;
        let shard = shard.id;
        tasks.spawn(format!("reading {shard}"), read(shard, reader, page_sender.clone(), end.clone()));
    }
    drop(page_sender);
    tasks.spawn("collecting", collect(job.clone(), pages, batch_sender));
    tasks.spawn("cleaning", clean(job.clone(), batches, cleaned_sender));
    tasks.spawn("committing", commit(job.clone(), controls.clone(), journal, cleaned));

    let (mut outcome, mut how) = (Ok(()), Ended::Done);
    loop {
        let step = tokio::select! {
            biased;
            Some(shard) = ended_shards.recv() => {
                finished.insert(shard);
                unread(source, &reading, finished).await.map(|unread| {
                    if unread {
                        how = Ended::Resharded;
                        end.cut.cancel();
                    }
                })
            }
            ended = tasks.next() => match ended {
                Some(ended) => ended,
                None => break,
            },
        };
        if step.is_err() {
            end.cut.cancel();
        }
        outcome = outcome.and(step);
    }
    outcome.map(|()| how)
}

/// Every shard that is not read to its end yet, with the place to read it from.
async fn starts(source: &dyn Source, journal: &Journal, finished: &BTreeSet<ShardId>) -> Result<Vec<(Shard, StartAt)>> {
    let state = journal.state();
    let start = state.opening.as_ref().map_or(StartAt::TrimHorizon, |opening| opening.start.clone());
    let shards = source.shards().await?.into_iter().filter(|shard| !finished.contains(&shard.id));
    Ok(shards
        .map(|shard| match state.positions.get(&shard.id) {
            Some(position) => (shard, StartAt::After(position.clone())),
            None => (shard, start.clone()),
        })
        .collect())
}

/// Whether the stream lists a shard that is neither being read nor read to its end.
async fn unread(source: &dyn Source, reading: &BTreeSet<ShardId>, finished: &BTreeSet<ShardId>) -> Result<bool> {
    let shards = source.shards().await?;
    Ok(shards.iter().any(|shard| !reading.contains(&shard.id) && !finished.contains(&shard.id)))
}

/// When readers stop, and where they tell that their shard has ended.
#[derive(Clone)]
struct End {
    controls: Controls,
    /// Another task has failed, or the pass is over for all.
    cut: CancellationToken,
    ended: mpsc::Sender<ShardId>,
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
            () = end.cut.cancelled() => return Ok(()),
            page = reader.next() => page?,
        };
        end.controls.progress.read(&shard, page.records.len(), page.behind);
        let at_tip = page.behind.is_some_and(|behind| behind.is_zero());
        let (end_of_shard, last) = (page.end_of_shard, page.end_of_shard || (draining && at_tip));
        let gone = page.range.is_some() && pages.send((shard.clone(), page)).await.is_err();
        if end_of_shard && !gone {
            // Nobody listens only where the pass is over already.
            let _ = end.ended.send(shard).await;
            return Ok(());
        }
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
        if due.is_some_and(|due| due.is_zero())
            && let Some(batch) = collector.close()
        {
            if batches.send(batch).await.is_err() {
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
) -> Result<()> {
    while let Some(batch) = batches.recv().await {
        let staged = job.stager.stage(batch).await?;
        let entry = journal.commit(&staged).await?;
        tracing::debug!(entry = entry.number, records = entry.counts.records, "committed");
        controls.progress.committed(&entry, staged.arrivals, job.context.clock.now_millis());
    }
    Ok(())
}
