//! `run`: the stream job.

use std::process::ExitCode;

use chrono::DateTime;

use super::arguments::{Common, Run};
use super::open;
use super::output::{self, thousands};
use super::site::Site;
use super::summary::Summary;
use super::watch::{Line, Stop, watched};
use crate::engine::{self, Controls, Progress};
use crate::error::{Error, Result};
use crate::runtime::Context;
use crate::serve::MetricsServer;

/// Runs until stopped, or with `--once` until what is there now is loaded.
pub(super) async fn run(common: &Common, arguments: &Run) -> Result<ExitCode> {
    // Before anything is written or hosted.
    let metrics = match &arguments.metrics {
        Some(address) => Some(MetricsServer::bind(address).await?),
        None => None,
    };
    let plan = open::plan(common, &arguments.folder.pipeline).await?;
    let fan_out = plan.pipeline.source.fan_out.clone();
    if arguments.deregister && fan_out.is_none() {
        return Err(Error::invalid("--deregister takes a fan-out consumer away, but [source] names none (fan_out)"));
    }
    let (site, stream) = Site::with_stream(common, plan).await?;
    let controls = Controls::default();
    if arguments.once {
        controls.drain.cancel();
    }
    let warehouse = site.warehouse.address().unwrap_or("Delta tables");
    tracing::info!(pipeline = site.plan.pipeline.name, stream = stream.place().await?, warehouse, "running");

    let started_at = site.context.clock.now_millis();
    let line = Line::new(None);
    let connect = stream.connect(&site.context, fan_out.clone());
    let running = engine::run(site.job(connect), controls.clone());
    let work = async {
        match metrics {
            Some(server) => server.beside((controls.progress.clone(), site.context.clone()), running).await,
            None => running.await,
        }
    };
    let outcome =
        watched(&site.context, &Stop::draining(&controls.stop), || show(&line, &controls.progress), work).await;
    line.clear();
    let deregistered = match fan_out.filter(|_| arguments.deregister) {
        Some(name) => stream.deregister(&site.context, &name).await,
        None => Ok(()),
    };
    let closed = stream.close().await;
    outcome.and(deregistered).and(closed)?;

    let summary = Summary::new(&controls.progress, seconds_since(&site.context, started_at), site.address());
    if common.json {
        output::json(&summary)?
    } else {
        output::lines(&summary)?;
        tell_pause(&site)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Says why nothing is loaded, in a maintenance window.
pub(super) fn tell_pause(site: &Site) -> Result<()> {
    let paused_until = site.plan.pipeline.load.paused_until(site.context.clock.now_millis());
    match paused_until.and_then(DateTime::from_timestamp_millis) {
        Some(until) => output::line(format_args!("a maintenance window keeps loads from starting until {until}")),
        None => Ok(()),
    }
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
