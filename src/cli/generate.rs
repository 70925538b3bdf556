//! `generate`: mock orders into the stream.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio_util::sync::CancellationToken;

use super::achieved::Achieved;
use super::arguments::{Common, Generate};
use super::data_folder::DataFolder;
use super::open;
use super::orders::{Sending, Sent, Wanted, put_orders};
use super::output::{self, thousands};
use super::reach::Reach;
use super::run::seconds_since;
use super::watch::{Line, Stop, watched};
use crate::error::Result;
use crate::runtime::Context;

/// Puts as many as wanted, at the rate wanted.
pub(super) async fn generate(common: &Common, arguments: &Generate) -> Result<ExitCode> {
    let plan = open::plan(common, &arguments.folder.pipeline).await?;
    let context = Context::system();
    let stream = Reach::open(common, &plan, &context).await?;
    if let Reach::Local(_) = stream {
        DataFolder::claim(&common.data, &plan.pipeline)?;
    }
    let wanted = Wanted {
        records: arguments.records,
        rate: arguments.rate,
        seed: arguments.seed,
        aggregate: arguments.aggregate,
    };
    let (stop, put) = (CancellationToken::new(), AtomicU64::new(0));
    let started_at = context.clock.now_millis();
    let line = Line::new(wanted.records);
    let tick = || {
        let records = put.load(Ordering::Relaxed);
        line.show(records, format!("{} records put", thousands(records)));
    };
    let counted = |sent: Sent| put.store(sent.records, Ordering::Relaxed);
    let sending = Sending { context: &context, stop: &stop, limits: stream.limits(), sent: &counted };
    let words = "stopping: the records under way are put, and then it is told how many; once more to end at once";
    let stopping = Stop { token: &stop, words };
    let outcome = watched(&context, &stopping, tick, put_orders(&plan, &stream, wanted, &sending)).await;
    line.clear();
    let closed = stream.close().await;
    let sent = outcome.and_then(|sent| closed.map(|()| sent))?;
    let achieved = Achieved::new(wanted, sent, seconds_since(&context, started_at));
    if common.json {
        output::json(&achieved)?;
    } else {
        output::lines(&achieved)?;
    }
    Ok(ExitCode::SUCCESS)
}
