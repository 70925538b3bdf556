//! `generate`: mock orders into the stream.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio_util::sync::CancellationToken;

use super::arguments::{Common, Generate};
use super::data_folder::DataFolder;
use super::open::{self, LocalStream};
use super::orders::{Sending, Wanted, put_orders};
use super::output::{self, thousands};
use super::run::seconds_since;
use super::watch::{Line, watched};
use crate::error::Result;
use crate::runtime::Context;

/// Puts as many as wanted, at the rate wanted.
pub(super) async fn generate(common: &Common, arguments: &Generate) -> Result<ExitCode> {
    let plan = open::plan(common, &arguments.folder.pipeline).await?;
    let context = Context::system();
    let stream = LocalStream::open(common, &plan, &context).await?;
    DataFolder::claim(&common.data, &plan.pipeline)?;
    let wanted = Wanted { records: arguments.records, rate: arguments.rate, seed: arguments.seed };
    let (stop, put) = (CancellationToken::new(), AtomicU64::new(0));
    let started_at = context.clock.now_millis();
    let line = Line::new(wanted.records);
    let tick = || {
        let records = put.load(Ordering::Relaxed);
        line.show(records, format!("{} records put", thousands(records)));
    };
    let sending = Sending { context: &context, stop: &stop, sent: &|sent| put.store(sent.records, Ordering::Relaxed) };
    let outcome = watched(&context, &stop, tick, put_orders(&plan, &stream, wanted, &sending)).await;
    line.clear();
    let closed = stream.close().await;
    let sent = outcome.and_then(|sent| closed.map(|()| sent))?;
    let seconds = seconds_since(&context, started_at);
    let rate = if seconds > 0.0 { (sent.records as f64 / seconds).round() } else { 0.0 };
    if common.json {
        output::json(&serde_json::json!({
            "records": sent.records, "repeated": sent.repeated, "maybe_doubled": sent.maybe_doubled, "seconds": seconds, "records_per_second": rate,
        }))?;
    } else {
        let (records, rate) = (thousands(sent.records), thousands(rate as u64));
        output::line(format_args!("{records} records put in {seconds:.1} s, {rate} records/s"))?;
    }
    Ok(ExitCode::SUCCESS)
}
