//! Supervision: opens the journal and the source, runs both loops, and decides what a failure means.
//!
//! | the failure is | the ingest loop | the load loop |
//! |---|---|---|
//! | Transient | starts again from the journal, after a pause | the same load again, after a pause |
//! | Fenced | starts again from the journal at once | reads the ledger again |
//! | Invalid, Corrupt, Internal | ends the run | ends loading; reading goes on until the run ends |
//!
//! A run that is to end by itself (drained) gives up after as many Transient failures in a row as [`BACKOFF`] has
//! tries; one that runs until stopped never does.

use std::sync::Arc;
use std::time::Duration;

use super::dimensions::Dimensions;
use super::{Controls, Job, ingest, load};
use crate::batch::{Opening, StartAt, StreamIdentity};
use crate::config::Start;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::Journal;
use crate::runtime::{Backoff, Tasks};
use crate::source::Source;

const BACKOFF: Backoff = Backoff { first: Duration::from_millis(200), longest: Duration::from_secs(30), attempts: 6 };

/// Runs the whole pipeline until it is drained or stopped, and everything committed is loaded.
///
/// # Errors
/// The first failure that repeating cannot cure. What was committed before it stays, and the next run goes on there.
pub async fn run(job: Job, controls: Controls) -> Result<()> {
    let ingested = tokio_util::sync::CancellationToken::new();
    let mut tasks = Tasks::new();
    let loading = load::run(job.clone(), controls.clone(), ingested.clone());
    tasks.spawn("loading", loading);
    tasks.spawn("ingesting", async move {
        let _ended = ingested.drop_guard();
        ingest(job, controls).await
    });
    tasks.join().await
}

async fn ingest(job: Job, controls: Controls) -> Result<()> {
    let mut failures = 0;
    loop {
        let committed = controls.progress.totals().committed;
        let error = match pass(&job, &controls).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if controls.progress.totals().committed > committed {
            failures = 0;
        }
        failures += 1;
        let ending = controls.drain.is_cancelled() || controls.stop.is_cancelled();
        match error.kind() {
            ErrorKind::Fenced => tracing::info!(%error, "another worker moved on; starting again from the journal"),
            ErrorKind::Transient if !ending || failures < BACKOFF.attempts => {
                tracing::warn!(%error, failures, "reading failed; starting again from the journal");
            }
            _ => return Err(error),
        }
        let pause = job.context.clock.sleep(BACKOFF.pause(failures, &job.context));
        tokio::select! {
            () = pause => {}
            () = controls.stop.cancelled() => return Ok(()),
        }
    }
}

async fn pass(job: &Job, controls: &Controls) -> Result<()> {
    let mut journal = Journal::open(job.store.clone(), job.context.clone(), &job.pipeline.name).await?;
    let source = (job.connect)().await?;
    open_chain(job, source.as_ref(), &mut journal).await?;
    for staged in Dimensions::new(job).stage_changed(&mut journal).await? {
        controls.progress.committed(&staged.entry, Default::default(), job.context.clock.now_millis());
    }
    ingest::pass(job, controls, source.as_ref(), journal).await.map(drop)
}

/// Opens a chain where the journal has none for this very stream, and journals where it starts at once: `latest`
/// becomes the present time, so that a crash before the first batch loses nothing.
async fn open_chain(job: &Job, source: &dyn Source, journal: &mut Journal) -> Result<()> {
    let stream = source.identity().await?;
    if let Some(opening) = &journal.state().opening {
        if opening.stream == stream {
            return Ok(());
        }
        same_name(&opening.stream, &stream)?;
        tracing::warn!(arn = stream.arn, "the stream was made anew: its records are read from its beginning");
    }
    let start = match job.pipeline.source.start {
        _ if journal.state().opening.is_some() => StartAt::TrimHorizon,
        Start::TrimHorizon => StartAt::TrimHorizon,
        Start::Latest => StartAt::Time(job.context.clock.now_millis()),
        Start::Time(time) => StartAt::Time(time),
    };
    journal.open_chain(Opening { stream, start }).await.map(|_: Arc<_>| ())
}

fn same_name(journaled: &StreamIdentity, found: &StreamIdentity) -> Result<()> {
    if journaled.arn == found.arn {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "the journal here belongs to the stream {}, but the pipeline reads {}; use another --data folder for it, or \
         name the journal's stream in pipeline.toml",
        journaled.arn, found.arn
    )))
}
