//! Mock orders on their way into the stream, for `generate` and `demo`.

use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::open::{LocalStream, Plan};
use crate::config::{Input, Pipeline};
use crate::error::{Error, ErrorKind, Result};
use crate::generate::{self, Mess, OrderGenerator, OrderSettings, Pace};
use crate::runtime::{Context, blocking};
use crate::source::{Producer, PutItem, PutReport};

/// Records of one request: what PutRecords takes.
const REQUEST: u64 = 500;

/// The shortest wait for the next records to be due.
const SHORTEST_WAIT: Duration = Duration::from_millis(20);

/// What the records hold, for `--help`.
pub(super) fn mess_help() -> String {
    format!("Of the mock orders, {}.", Mess::default())
}

/// How many, how fast, and of which seed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// None for as many as come until stopped.
    pub(super) records: Option<u64>,
    /// Per second; 0 as fast as it goes.
    pub(super) rate: u64,
    pub(super) seed: u64,
}

/// What was put.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) records: u64,
    /// Records that the stream refused at first, and that were put again.
    pub(super) repeated: u64,
    /// Records put again because no answer came: each may stand in the stream twice.
    pub(super) maybe_doubled: u64,
}

/// Puts orders until there are as many as wanted, or until stopped; `sent` counts along.
///
/// # Errors
/// Invalid where the pipeline has no dimension files to draw ids from; the stream's.
pub(super) async fn put_orders(
    plan: &Plan,
    stream: &LocalStream,
    wanted: Wanted,
    sending: &Sending<'_>,
) -> Result<Sent> {
    let mut orders = generator(plan, wanted, sending.context).await?;
    let mut producer = Producer::new(stream.settings().await?, sending.context.clone());
    let pace = Pace::new(wanted.rate);
    let started_at = sending.context.clock.now_micros();
    let mut sent = Sent::default();
    while !sending.stop.is_cancelled() {
        let elapsed = sending.context.clock.now_micros() - started_at;
        let due = pace.due(Duration::from_micros(u64::try_from(elapsed).unwrap_or(0)));
        let chunk = due.saturating_sub(sent.records).min(REQUEST);
        if chunk == 0 {
            sending.context.clock.sleep(SHORTEST_WAIT).await;
            continue;
        }
        orders.set_now(sending.context.clock.now_micros());
        let items: Vec<PutItem> = orders
            .by_ref()
            .take(usize::try_from(chunk).unwrap_or(usize::MAX))
            .map(|record| PutItem { partition_key: record.partition_key, payload: Bytes::from(record.payload) })
            .collect();
        if items.is_empty() {
            break;
        }
        let records = items.len() as u64;
        let report = match producer.put(items.clone()).await {
            Ok(report) => report,
            // Whoever hosted the stream may be gone: it is looked for anew, or hosted here.
            Err(error) if error.kind() == ErrorKind::Transient => {
                tracing::warn!(%error, put = sent.records, "putting failed; looking for the stream anew");
                producer = Producer::new(stream.settings().await?, sending.context.clone());
                let report = producer.put(items).await.map_err(|error| told(error, sent))?;
                PutReport { maybe_doubled: report.maybe_doubled + records, ..report }
            }
            Err(error) => return Err(told(error, sent)),
        };
        sent.records += records;
        sent.repeated += report.refused;
        sent.maybe_doubled += report.maybe_doubled;
        (sending.sent)(sent);
    }
    Ok(sent)
}

fn told(error: Error, sent: Sent) -> Error {
    error.context(format_args!("after {} records were put", sent.records))
}

/// What putting runs under.
pub(super) struct Sending<'a> {
    pub(super) context: &'a Context,
    pub(super) stop: &'a CancellationToken,
    /// Told after each request.
    pub(super) sent: &'a (dyn Fn(Sent) + Sync),
}

async fn generator(plan: &Plan, wanted: Wanted, context: &Context) -> Result<OrderGenerator> {
    let pipeline = plan.pipeline.clone();
    let start_at = context.clock.now_micros();
    blocking(move || {
        OrderGenerator::new(OrderSettings {
            seed: wanted.seed,
            records: wanted.records,
            customers: ids(&pipeline, "CustomerID")?,
            restaurants: ids(&pipeline, "RestaurantID")?,
            riders: ids(&pipeline, "RiderID")?,
            start_at,
            mess: Mess::default(),
        })
    })
    .await
}

/// The ids in the first dimension file that is keyed by this heading.
fn ids(pipeline: &Pipeline, heading: &str) -> Result<Vec<i64>> {
    for table in &pipeline.tables {
        let Input::File { path, fields } = &table.input else { continue };
        if !fields.iter().any(|field| field.path.first().is_some_and(|first| first == heading)) {
            continue;
        }
        let file = pipeline.folder.join(path);
        let bytes = std::fs::read(&file)
            .map_err(|error| Error::invalid(format!("cannot read {}", file.display())).with_source(error))?;
        return generate::ids(&bytes, heading).map_err(|error| error.context(file.display()));
    }
    Err(Error::invalid(format!(
        "mock orders draw their ids from the pipeline's dimension files, but no file of {} has a column {heading}",
        pipeline.name
    )))
}
