//! Mock orders on their way into the stream, for `generate` and `demo`.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::open::Plan;
use super::reach::Reach;
use crate::config::{Input, Pipeline};
use crate::error::{Error, ErrorKind, Result};
use crate::generate::{self, Mess, OrderGenerator, OrderSettings, Pace};
use crate::runtime::{Context, blocking};
use crate::source::{Producer, ProducerLimits, PutItem, PutReport};

/// Orders put at once: what one request takes.
const AT_ONCE: u64 = 500;

/// The same where they are packed: some megabytes, so that each shard's aggregates are well filled.
const PACKED_AT_ONCE: u64 = 5_000;

/// The shortest wait for the next records to be due.
const SHORTEST_WAIT: Duration = Duration::from_millis(20);

/// The same where they are packed: how long the producer library lets a record wait for others.
const PACKING_WAIT: Duration = Duration::from_millis(100);

/// What the records hold, for `--help`.
pub(super) fn mess_help() -> String {
    format!("Of the mock orders, {}.", Mess::default())
}

/// How many, how fast, of which seed, and whether packed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// None for as many as come until stopped.
    pub(super) records: Option<u64>,
    /// Per second; 0 as fast as it goes.
    pub(super) rate: u64,
    pub(super) seed: u64,
    /// Many orders in one Kinesis record.
    pub(super) aggregate: bool,
}

/// What was put.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sent {
    /// Orders.
    pub(super) records: u64,
    /// The Kinesis records that they were put in.
    pub(super) kinesis_records: u64,
    /// Payloads and partition keys of those.
    pub(super) bytes: u64,
    /// Kinesis records that the stream refused at first, and that were put again.
    pub(super) repeated: u64,
    /// Orders put again because no answer came: each may stand in the stream twice.
    pub(super) maybe_doubled: u64,
    /// Time waited for the shards' limits.
    pub(super) paced: Duration,
    /// Time waited before putting again what was refused or unanswered.
    pub(super) backed_off: Duration,
}

impl Sent {
    fn add(&mut self, report: PutReport) {
        self.records += report.records;
        self.kinesis_records += report.kinesis_records;
        self.bytes += report.bytes;
        self.repeated += report.refused;
        self.maybe_doubled += report.maybe_doubled;
        self.paced += report.paced;
        self.backed_off += report.backed_off;
    }
}

/// Puts orders until there are as many as wanted, or until stopped; `sent` counts along.
///
/// # Errors
/// Invalid where the pipeline has no dimension files to draw ids from; the stream's.
pub(super) async fn put_orders(plan: &Plan, stream: &Reach, wanted: Wanted, sending: &Sending<'_>) -> Result<Sent> {
    let mut orders = generator(plan, wanted, sending.context).await?;
    let mut way = Way { producer: producer(stream, sending).await?, stream, sending, aggregate: wanted.aggregate };
    let (at_once, wait) = if wanted.aggregate { (PACKED_AT_ONCE, PACKING_WAIT) } else { (AT_ONCE, SHORTEST_WAIT) };
    let pace = Pace::new(wanted.rate);
    let started_at = sending.context.clock.now_micros();
    let mut sent = Sent::default();
    while !sending.stop.is_cancelled() && wanted.records.is_none_or(|records| sent.records < records) {
        let elapsed = sending.context.clock.now_micros() - started_at;
        let due = pace.due(Duration::from_micros(u64::try_from(elapsed).unwrap_or(0)));
        let chunk = due.saturating_sub(sent.records).min(at_once);
        if chunk == 0 {
            sending.context.clock.sleep(wait).await;
            continue;
        }
        orders.set_now(sending.context.clock.now_micros());
        let items: Vec<PutItem> = orders
            .by_ref()
            .take(usize::try_from(chunk).unwrap_or(usize::MAX))
            .map(|record| PutItem::new(record.partition_key, record.payload))
            .collect();
        if items.is_empty() {
            break;
        }
        sent.add(way.put(items, sent).await?);
        (sending.sent)(sent);
        if wanted.aggregate && chunk < at_once {
            // Without others to pack them with, the few that fall due meanwhile would go alone.
            sending.context.clock.sleep(wait).await;
        }
    }
    Ok(sent)
}

/// The producer, and how it is had anew.
struct Way<'a> {
    producer: Producer,
    stream: &'a Reach,
    sending: &'a Sending<'a>,
    aggregate: bool,
}

impl Way<'_> {
    async fn put(&mut self, items: Vec<PutItem>, sent: Sent) -> Result<PutReport> {
        let records = items.len() as u64;
        match self.put_once(items.clone()).await {
            // Whoever hosted the stream may be gone: it is looked for anew, or hosted here.
            Err(error) if error.kind() == ErrorKind::Transient => {
                tracing::warn!(%error, put = sent.records, "putting failed; looking for the stream anew");
                let first = self.producer.unfinished();
                self.producer = producer(self.stream, self.sending).await?;
                let report = self.put_once(items).await.map_err(|error| told(error, sent))?;
                Ok(put_twice(first, report, records))
            }
            outcome => outcome.map_err(|error| told(error, sent)),
        }
    }

    async fn put_once(&self, items: Vec<PutItem>) -> Result<PutReport> {
        if self.aggregate { self.producer.put_aggregated(items).await } else { self.producer.put(items).await }
    }
}

/// What two tries to put these records did: the first one failed, and what became of it is not known for each.
fn put_twice(first: PutReport, second: PutReport, records: u64) -> PutReport {
    PutReport {
        records: second.records,
        kinesis_records: first.kinesis_records + second.kinesis_records,
        bytes: first.bytes + second.bytes,
        requests: first.requests + second.requests,
        refused: first.refused + second.refused,
        maybe_doubled: first.maybe_doubled + second.maybe_doubled + records,
        paced: first.paced + second.paced,
        backed_off: first.backed_off + second.backed_off,
    }
}

async fn producer(stream: &Reach, sending: &Sending<'_>) -> Result<Producer> {
    let producer = Producer::new(stream.lasting_settings(sending.context).await?, sending.context.clone());
    Ok(producer.with_limits(sending.limits))
}

fn told(error: Error, sent: Sent) -> Error {
    error.context(format_args!("after {} records were put", sent.records))
}

/// What putting runs under.
pub(super) struct Sending<'a> {
    pub(super) context: &'a Context,
    pub(super) stop: &'a CancellationToken,
    /// What the stream's shards take; none where its server enforces nothing.
    pub(super) limits: Option<ProducerLimits>,
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
        let Input::File { path, allow_outside, fields } = &table.input else { continue };
        if !fields.iter().any(|field| field.path.first().is_some_and(|first| first == heading)) {
            continue;
        }
        let bytes = pipeline.read_dimension(path, *allow_outside)?;
        return generate::ids(&bytes, heading).map_err(|error| error.context(pipeline.folder.join(path).display()));
    }
    Err(Error::invalid(format!(
        "mock orders draw their ids from the pipeline's dimension files, but no file of {} has a column {heading}",
        pipeline.name
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_try_that_failed_counts_but_its_orders_are_put_once() {
        let seconds = Duration::from_secs;
        let report = |records, factor: u64| PutReport {
            records,
            kinesis_records: 10 * factor,
            bytes: 20 * factor,
            requests: 30 * factor,
            refused: 40 * factor,
            maybe_doubled: 50 * factor,
            paced: seconds(60 * factor),
            backed_off: seconds(70 * factor),
        };
        let mut sent = Sent::default();
        sent.add(put_twice(report(3, 1), report(8, 2), 8));
        let expected = Sent {
            records: 8,
            kinesis_records: 30,
            bytes: 60,
            repeated: 120,
            maybe_doubled: 158,
            paced: seconds(180),
            backed_off: seconds(210),
        };
        assert_eq!(sent, expected);
    }
}
