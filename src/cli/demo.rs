//! `demo`: the main job on this machine with generated orders, and what came of it.

use std::process::ExitCode;

use super::arguments::{Common, Demo};
use super::open;
use super::orders::{Sending, Wanted, put_orders};
use super::output::{self, thousands};
use super::query::print_report;
use super::reach::must_be_local;
use super::run::{seconds_since, show, tell_pause};
use super::site::Site;
use super::summary::Summary;
use super::watch::{Line, Stop, watched};
use crate::engine::{self, Controls};
use crate::error::{Error, Result};
use crate::journal;

/// Puts orders and runs the pipeline beside, until all of them are loaded.
pub(super) async fn demo(common: &Common, arguments: &Demo) -> Result<ExitCode> {
    // Mock orders have no place in a stream that others read.
    must_be_local(common, "`millstream demo`")?;
    let (site, stream) = Site::with_stream(common, open::plan(common, &arguments.pipeline).await?).await?;
    let journaled = journal::fold(&site.store, &site.plan.pipeline.name).await?.counts.records;
    let wanted =
        Wanted { records: Some(arguments.records), rate: arguments.rate, seed: arguments.seed, aggregate: false };
    if !common.json {
        let (records, place) = (thousands(arguments.records), stream.place().await?);
        output::line(format_args!("putting {records} orders into a stream ({place}), and running the pipeline on it"))?;
    }
    let controls = Controls::default();
    let started_at = site.context.clock.now_millis();
    let line = Line::new(Some(arguments.records));
    let outcome = watched(&site.context, &Stop::draining(&controls.stop), || show(&line, &controls.progress), async {
        let running = engine::run(site.job(stream.connect(&site.context, None)), controls.clone());
        let putting = async {
            let sending = Sending { context: &site.context, stop: &controls.stop, limits: None, sent: &|_| () };
            let sent = put_orders(&site.plan, &stream, wanted, &sending).await;
            // Whatever has been put is read to its end, even where putting failed.
            controls.drain.cancel();
            sent
        };
        let (ran, sent) = tokio::join!(running, putting);
        ran.and(sent)
    })
    .await;
    line.clear();
    let sent = match outcome {
        Ok(sent) => sent,
        Err(error) => {
            stream.close().await?;
            return Err(error);
        }
    };
    let summary = Summary::new(&controls.progress, seconds_since(&site.context, started_at), site.address());
    stream.close().await?;
    let now = journal::fold(&site.store, &site.plan.pipeline.name).await?.counts.records;
    // One that was stopped leaves what it had not read yet to the next run.
    if now - journaled < sent.records && !controls.stop.is_cancelled() {
        return Err(Error::internal(format!(
            "{} records were put, but the journal holds only {} more; `millstream audit` tells more",
            sent.records,
            now - journaled
        )));
    }
    if common.json {
        output::json(&summary)?;
        return Ok(ExitCode::SUCCESS);
    }
    output::lines(&summary)?;
    tell_pause(&site)?;
    print_report(&site).await?;
    tell_where(common, arguments, &site)?;
    Ok(ExitCode::SUCCESS)
}

/// Where all of it is, and how to ask it more.
fn tell_where(common: &Common, arguments: &Demo, site: &Site) -> Result<()> {
    output::line("")?;
    output::line(format_args!(
        "all of it is in {data}{tables}; ask it more: millstream query {pipeline} --data {data}{named} \"select * from fact_orders limit 5\"",
        data = site.address(),
        tables = site.warehouse.address().map_or(String::new(), |address| format!(", the star schema in {address}")),
        pipeline = arguments.pipeline.display(),
        named = common.warehouse.as_ref().map_or(String::new(), |url| format!(" --warehouse \"{url}\"")),
    ))
}
