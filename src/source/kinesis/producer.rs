//! Putting records into a stream.
//!
//! Owns the ways of a put: as they come, packed into aggregates, within the shards' limits; and the list of open
//! shards that the last two need. A put is at least once: where an answer does not come, the request may have been
//! carried out, and sending it again doubles its records.

use std::collections::HashMap;
use std::sync::{self, Arc, PoisonError};

use bytes::Bytes;
use tokio::sync::Mutex;

use super::connection::{CallCounts, Connection, KinesisSettings};
use super::list_shards;
use super::open_shards::OpenShards;
use super::pace_puts::{Budgets, Next, ProducerLimits, Queues};
use super::pack_puts::{pack, to_put_again};
use super::put_requests::{Outgoing, PutReport, Requests, requests};
use crate::batch::ShardId;
use crate::error::{Error, Result};
use crate::runtime::Context;

/// After so many puts in a row with records refused, the shards are listed anew.
const REFUSED_PUTS: u32 = 5;
/// After this long, µs, they are listed anew too: a split takes more, and nothing is refused to tell of it.
const LIST_AGE: i64 = 60_000_000;
/// So often aggregates are packed anew for one put because the stream reshards under them.
const PACKINGS: usize = 5;

/// A record to put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutItem {
    /// What chooses the shard: 1 to 256 characters. Records of one key stand in one shard.
    pub partition_key: String,
    /// What chooses the shard instead: a decimal number below 2^128.
    pub explicit_hash_key: Option<String>,
    /// The bytes, at most 1 MiB unless the stream allows more.
    pub payload: Bytes,
}

impl PutItem {
    /// A record whose partition key chooses the shard.
    pub fn new(partition_key: impl Into<String>, payload: impl Into<Bytes>) -> Self {
        Self { partition_key: partition_key.into(), explicit_hash_key: None, payload: payload.into() }
    }

    /// What counts against the limits.
    pub(super) fn bytes(&self) -> usize {
        self.payload.len() + self.partition_key.len()
    }
}

/// Puts records into one stream.
pub struct Producer {
    connection: Connection,
    limits: Option<ProducerLimits>,
    known: Mutex<Known>,
    unfinished: sync::Mutex<PutReport>,
}

/// What the producer knows of the stream's shards.
#[derive(Default)]
struct Known {
    shards: Option<Arc<OpenShards>>,
    listed_at: i64,
    refused_puts: u32,
    budgets: Option<Budgets>,
}

impl Producer {
    /// For the stream of these settings, as fast as it takes records. Nothing is asked of the server yet.
    pub fn new(settings: KinesisSettings, context: Context) -> Self {
        let stakes = "some of these records may be in the stream already: putting all of them again would double those";
        let connection = Connection::new(settings, context, stakes);
        Self { connection, limits: None, known: Mutex::default(), unfinished: sync::Mutex::default() }
    }

    /// The same, keeping each shard within these limits: its puts wait, instead of being refused, and go one after the
    /// other. None for a stream whose server enforces none.
    pub fn with_limits(mut self, limits: Option<ProducerLimits>) -> Self {
        self.limits = limits;
        self
    }

    /// What became of the calls so far.
    pub fn counts(&self) -> CallCounts {
        self.connection.counts()
    }

    /// What the last put that failed had done before it did.
    pub fn unfinished(&self) -> PutReport {
        *self.unfinished.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the records, in requests of at most 500 records and 5 MiB, one after the other. What a request leaves
    /// undone is sent again before the next request, so a key's records change their order only where one of them
    /// was refused and a later one of the same request was not. One producer at a time keeps a key's order.
    ///
    /// # Errors
    /// Transient where the server cannot be reached or throttles to the end of the tries, Invalid where it refuses
    /// the records (one too large, a key too long). In both cases earlier records may be in the stream.
    pub async fn put(&self, records: Vec<PutItem>) -> Result<PutReport> {
        let mut requests = Requests::new(&self.connection);
        let outcome = self.put_plain(records, &mut requests).await;
        self.reported(outcome, requests.report)
    }

    async fn put_plain(&self, records: Vec<PutItem>, requests: &mut Requests<'_>) -> Result<()> {
        if self.limits.is_none() || records.is_empty() {
            return send(requests, records.into_iter().map(Outgoing::plain).collect()).await;
        }
        let mut known = self.known.lock().await;
        let shards = self.shards(&mut known).await?;
        let placed = |item: PutItem| Ok((shards.place_of(&item)?, Outgoing::plain(item)));
        let outgoing = records.into_iter().map(placed).collect::<Result<Vec<_>>>()?;
        self.send_to(&shards, outgoing, &mut known, requests).await
    }

    /// The report of a put; that of one that failed is kept.
    fn reported(&self, outcome: Result<()>, report: PutReport) -> Result<PutReport> {
        if outcome.is_err() {
            *self.unfinished.lock().unwrap_or_else(PoisonError::into_inner) = report;
        }
        outcome.map(|()| report)
    }

    /// As [`Producer::put`], the records packed into aggregates as the producer library does: those of one shard
    /// together, up to 51,200 bytes. Where the stream reshards meanwhile and an aggregate gets to a shard that some of
    /// its records do not belong to, so that readers drop them there, those are packed and put anew, after the others.
    ///
    /// # Errors
    /// As [`Producer::put`], and Invalid where an explicit hash key is no number below 2^128.
    pub async fn put_aggregated(&self, records: Vec<PutItem>) -> Result<PutReport> {
        let mut requests = Requests::new(&self.connection);
        let given = records.len() as u64;
        let outcome = self.pack_and_put(records, &mut requests).await;
        // What strayed was counted each time; dropped by readers, it stands in the stream once.
        let records = if outcome.is_ok() { given } else { requests.report.records.min(given) };
        self.reported(outcome, PutReport { records, ..requests.report })
    }

    async fn pack_and_put(&self, mut waiting: Vec<PutItem>, requests: &mut Requests<'_>) -> Result<()> {
        let mut known = self.known.lock().await;
        for _ in 0..PACKINGS {
            if waiting.is_empty() {
                return Ok(());
            }
            let shards = self.shards(&mut known).await?;
            let outgoing = pack(std::mem::take(&mut waiting), &shards)?;
            self.send_to(&shards, outgoing, &mut known, requests).await?;
            let strayed = std::mem::take(&mut requests.strayed);
            if !strayed.is_empty() {
                known.shards = None;
                let again = to_put_again(strayed, &*self.shards(&mut known).await?)?;
                requests.report.maybe_doubled += again.maybe_doubled;
                waiting = again.records;
            }
        }
        if waiting.is_empty() {
            return Ok(());
        }
        let (count, stream) = (waiting.len(), &self.connection.settings.stream);
        Err(Error::transient(format!(
            "{count} records could not be packed for their shard in {PACKINGS} tries, because the stream {stream} \
             reshards: they are in no shard that readers take them from; put them again when it has come to rest"
        )))
    }

    /// Sends within the limits, where there are any, and as fast as it goes where not.
    async fn send_to(
        &self,
        shards: &OpenShards,
        outgoing: Vec<(usize, Outgoing)>,
        known: &mut Known,
        requests: &mut Requests<'_>,
    ) -> Result<()> {
        let Some(limits) = self.limits else {
            return send(requests, outgoing.into_iter().map(|(_, item)| item).collect()).await;
        };
        let refused = requests.report.refused;
        let clock = &self.connection.context.clock;
        let budgets = known.budgets.get_or_insert_with(|| Budgets::new(limits));
        let mut queues = Queues::new(shards, outgoing);
        loop {
            match budgets.next(&mut queues, clock.now_micros()) {
                Next::Done => break,
                Next::Wait(wait) => {
                    clock.sleep(wait).await;
                    requests.report.paced += wait;
                }
                Next::Request(request) => {
                    let spent = spent(shards, &request)?;
                    requests.put_all(request).await?;
                    budgets.spend(spent, clock.now_micros());
                }
            }
        }
        known.refused_puts = if requests.report.refused > refused { known.refused_puts + 1 } else { 0 };
        Ok(())
    }

    /// The open shards, as listed before where that still holds.
    async fn shards(&self, known: &mut Known) -> Result<Arc<OpenShards>> {
        let now = self.connection.context.clock.now_micros();
        let fresh = known.refused_puts < REFUSED_PUTS && now.saturating_sub(known.listed_at) < LIST_AGE;
        if let Some(shards) = known.shards.as_ref().filter(|_| fresh) {
            return Ok(Arc::clone(shards));
        }
        let shards = Arc::new(OpenShards::of(list_shards(&self.connection).await?)?);
        if let Some(budgets) = &mut known.budgets {
            budgets.keep(&shards);
        }
        (known.listed_at, known.refused_puts, known.shards) = (now, 0, Some(Arc::clone(&shards)));
        Ok(shards)
    }
}

async fn send(sending: &mut Requests<'_>, mut outgoing: Vec<Outgoing>) -> Result<()> {
    for request in requests(&outgoing) {
        let rest = outgoing.split_off(request.len());
        sending.put_all(std::mem::replace(&mut outgoing, rest)).await?;
    }
    Ok(())
}

/// Records and bytes of a request, by the shard that they go to.
pub(super) fn spent(shards: &OpenShards, request: &[Outgoing]) -> Result<HashMap<ShardId, (u64, u64)>> {
    let mut spent: HashMap<ShardId, (u64, u64)> = HashMap::new();
    for outgoing in request {
        let Some(id) = shards.id(shards.place_of(&outgoing.item)?) else { continue };
        let (records, bytes) = spent.entry(id.clone()).or_default();
        *records += 1;
        *bytes += outgoing.item.bytes() as u64;
    }
    Ok(spent)
}
