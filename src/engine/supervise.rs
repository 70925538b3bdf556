//! Supervision: opens the journal and the source, runs both loops, and decides what a failure means.
//!
//! | the failure is | the ingest loop | the load loop |
//! |---|---|---|
//! | Transient | starts again from the journal, after a pause | the same load again, after a pause |
//! | Fenced | starts again from the journal, after a short pause | reads the ledger again |
//! | Invalid, Corrupt, Internal | ends the run | the same load again, after growing pauses, while the run reads |
//!
//! A run that is to end by itself (drained) gives up after as many Transient failures in a row as [`BACKOFF`] has
//! tries; one that runs until stopped never does.
//!
//! Before anything is committed the warehouse's ledger is held against the journal. Where the warehouse is away then, the
//! run reads and commits all the same: the loader compares before each load, and a mismatch that it finds ends the run at
//! once, without a further commit.

use std::sync::Arc;
use std::time::Duration;

use super::dimensions::{ChangedDimension, Dimensions};
use super::ingest;
use super::share::Share;
use super::verify_ledger::prepare;
use super::{Controls, Job, load};
use crate::batch::{Opening, StartAt, StreamIdentity};
use crate::config::Start;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::Journal;
use crate::runtime::{Backoff, Tasks};
use crate::source::{Source, StreamDescription};

const BACKOFF: Backoff = Backoff { first: Duration::from_millis(200), longest: Duration::from_secs(30), attempts: 6 };

/// Runs the whole pipeline until it is drained or stopped, and everything committed is loaded.
///
/// # Errors
/// The first failure that repeating cannot cure. What was committed before it stays, and the next run goes on there.
pub async fn run(job: Job, controls: Controls) -> Result<()> {
    fits(&job).await?;
    let signals = load::Signals::default();
    let mut tasks = Tasks::new();
    let mut run = Run { share: Share::new(job.store.clone(), job.context.clone()), dimensions_staged: false };
    let loading = load::run(job.clone(), controls.clone(), (run.share.duty(), signals.clone()));
    tasks.spawn("loading", loading);
    tasks.spawn("ingesting", async move {
        let _ended = signals.ingested.drop_guard();
        let outcome = tokio::select! {
            biased;
            () = signals.mismatched.cancelled() => Ok(()),
            outcome = ingest(job, controls, &mut run) => outcome,
        };
        if let Err(error) = &outcome {
            // Told again when the run has ended; until then loading may go on for minutes.
            tracing::error!(%error, "reading has ended; what is committed is still loaded");
        }
        run.share.leave().await;
        outcome
    });
    tasks.join().await
}

/// An open stream, and what it said of itself.
type Connected = (Arc<dyn Source>, StreamDescription);

/// What the passes of one run have in common.
struct Run {
    /// This worker among the others.
    share: Share,
    /// Dimension files are looked at once: one that is being edited must not end the stream job.
    dimensions_staged: bool,
}

/// What could never be loaded must not be staged either. A warehouse that is away is no reason to wait: loading finds out
/// by itself.
async fn fits(job: &Job) -> Result<()> {
    match prepare(&job.store, job.warehouse.as_ref()).await {
        Err(error) if error.kind() != ErrorKind::Transient => Err(error),
        _ => Ok(()),
    }
}

async fn ingest(job: Job, controls: Controls, run: &mut Run) -> Result<()> {
    let mut failures = 0;
    loop {
        let committed = controls.progress.totals().committed;
        let begun = tokio::select! {
            biased;
            // Nothing is read yet: there is nothing to wait for.
            () = controls.stop.cancelled() => return Ok(()),
            begun = run.begin(&job, &controls) => begun,
        };
        let passed = match begun {
            Ok((source, journal)) => ingest::pass(&job, &controls, source, (journal, &mut run.share)).await,
            Err(error) => Err(error),
        };
        let error = match passed {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if controls.progress.totals().committed > committed {
            failures = 0;
        }
        let pause = match error.kind() {
            ErrorKind::Fenced => {
                tracing::info!(%error, "another worker moved on; starting again from the journal");
                BACKOFF.pause(1, &job.context)
            }
            ErrorKind::Transient => {
                failures += 1;
                give_up(&job, &controls, failures, error)?
            }
            _ => return Err(error),
        };
        tokio::select! {
            () = job.context.clock.sleep(pause) => {}
            // What the pass had read and not committed is gone from memory, and still in the stream.
            () = controls.stop.cancelled() => return Ok(()),
        }
    }
}

/// The pause before the next try, or the error where there is to be none: a run that was told to stop has not
/// committed what it had read, and must not look as if it had.
fn give_up(job: &Job, controls: &Controls, failures: u32, error: Error) -> Result<Duration> {
    let last = controls.drain.is_cancelled() && failures >= BACKOFF.attempts;
    if last || controls.stop.is_cancelled() {
        return Err(error);
    }
    tracing::warn!(%error, failures, "reading failed; starting again from the journal");
    Ok(BACKOFF.pause(failures, &job.context))
}

impl Run {
    /// All that comes before reading.
    async fn begin(&mut self, job: &Job, controls: &Controls) -> Result<(Connected, Journal)> {
        let mut journal = Journal::open(job.store.clone(), job.context.clone(), &job.pipeline.name).await?;
        let source = (job.connect)().await?;
        let description = source.describe().await?;
        open_chain(job, (source.as_ref(), &description.identity), &mut journal).await?;
        if !self.dimensions_staged {
            let changed = Dimensions::new(job).stage_changed(&mut journal).await?;
            for entry in changed.iter().filter_map(ChangedDimension::entry) {
                controls.progress.committed(entry, Default::default(), job.context.clock.now_millis());
            }
            self.dimensions_staged = true;
        }
        Ok(((source, description), journal))
    }
}

/// Opens a chain where the journal has none for this very stream, and journals where it starts at once: `latest`
/// becomes the present time, so that a crash before the first batch loses nothing.
async fn open_chain(job: &Job, (source, stream): (&dyn Source, &StreamIdentity), journal: &mut Journal) -> Result<()> {
    if let Some(opening) = &journal.state().opening {
        if opening.stream == *stream {
            return Ok(());
        }
        same_name(&opening.stream, stream)?;
        tracing::warn!(arn = stream.arn, "the stream was made anew: its records are read from its beginning");
    }
    let start = match job.pipeline.source.start {
        _ if journal.state().opening.is_some() => StartAt::TrimHorizon,
        Start::TrimHorizon => StartAt::TrimHorizon,
        Start::Latest => StartAt::Time(job.context.clock.now_millis()),
        Start::Time(time) => StartAt::Time(time),
    };
    let opened_at = Some(job.context.clock.now_millis());
    let shards = Some(source.shards().await?.into_iter().map(|shard| shard.id).collect());
    journal.open_chain(Opening { stream: stream.clone(), start, opened_at, shards }).await.map(drop)
}

fn same_name(journaled: &StreamIdentity, found: &StreamIdentity) -> Result<()> {
    if journaled.arn == found.arn {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "the journal here belongs to the stream {}, but the pipeline reads {}; use another --data folder (or store) for it, or \
         name the journal's stream in pipeline.toml",
        journaled.arn, found.arn
    )))
}
