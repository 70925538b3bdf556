//! `run`: the stream job.

use std::process::ExitCode;

use super::arguments::{Common, Run};
use super::open::Local;
use super::output::{self, thousands};
use super::summary::Summary;
use super::watch::{Line, watched};
use crate::engine::{self, Controls, Progress};
use crate::error::Result;
use crate::runtime::Context;

/// Runs until stopped, or with `--once` until what is there now is loaded.
pub(super) async fn run(common: &Common, arguments: &Run) -> Result<ExitCode> {
    let (local, stream) = Local::with_stream(common, &arguments.folder.pipeline).await?;
    let controls = Controls::default();
    if arguments.once {
        controls.drain.cancel();
    }
    let port = stream.endpoint().await?.port;
    let hosted = if stream.is_host().await { "hosted here" } else { "hosted by another process" };
    tracing::info!(pipeline = local.plan.pipeline.name, port, "running; the stream is {hosted}");

    let started_at = local.context.clock.now_millis();
    let line = Line::new(None);
    let work = engine::run(local.job(stream.connect()), controls.clone());
    let outcome = watched(&local.context, &controls.stop, || show(&line, &controls.progress), work).await;
    line.clear();
    let closed = stream.close().await;
    outcome.and(closed)?;

    let summary =
        Summary::new(&controls.progress, seconds_since(&local.context, started_at), local.data.root().to_owned());
    if common.json {
        output::json(&summary)?
    } else {
        output::line(&summary)?
    }
    Ok(ExitCode::SUCCESS)
}

/// The time gone by, in seconds.
pub(super) fn seconds_since(context: &Context, started_at: i64) -> f64 {
    (context.clock.now_millis() - started_at) as f64 / 1e3
}

/// Shows what has been done so far.
pub(super) fn show(line: &Line, progress: &Progress) {
    let totals = progress.totals();
    let staged: u64 = totals.counts.tables.values().map(|rows| rows.staged).sum();
    let loaded: u64 = totals.loaded.values().sum();
    let (read, staged, loaded) = (thousands(totals.read), thousands(staged), thousands(loaded));
    line.show(totals.read, format!("{read} records read, {staged} rows staged, {loaded} loaded"));
}
