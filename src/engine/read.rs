//! One shard's reader: page after page until it is told to stop, its shard ends or it fails.
//!
//! Owns what a page means for its shard: how far it is caught up, whether records were lost, whether it stalls. A
//! shard that makes no progress for `[source] stall_after` though it is behind, or whose next answer does not come, is
//! reconnected from where it stands; if that does not help it is told as an error and reconnected again and again,
//! while the other shards go on. A run that is to end by itself fails instead. Only the wait for the stream counts:
//! the steps after reading may take as long as they like.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::budget::{Budget, Held, LARGEST, bytes_of};
use super::loss::{self, Evidence};
use super::{Controls, Job};
use crate::batch::{Loss, Position, Range, RawRecord, ShardId, StartAt, StreamIdentity};
use crate::config::OnLoss;
use crate::error::{Error, ErrorKind, Result};
use crate::source::{Page, Shard, ShardReader, Source};

/// What a reader tells the collector, in the shard's order.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) shard: ShardId,
    pub(super) records: Vec<RawRecord>,
    pub(super) range: Option<Range>,
    /// The shard is read to its end.
    pub(super) ended: bool,
    pub(super) loss: Option<Loss>,
    /// Everything that arrived before this time is read, ms since 1970 UTC.
    pub(super) caught_up: Option<i64>,
    /// The memory that the records take of the budget.
    pub(super) held: Held,
}

/// Where a reader begins, and what is known of its shard.
#[derive(Debug, Clone)]
pub(super) struct Beginning {
    pub(super) shard: Shard,
    pub(super) start: StartAt,
    /// Everything that arrived before this time is read, ms since 1970 UTC.
    pub(super) caught_up: Option<i64>,
}

/// What all readers of a pass share.
#[derive(Clone)]
pub(super) struct Reading {
    pub(super) job: Job,
    pub(super) controls: Controls,
    pub(super) source: Arc<dyn Source>,
    pub(super) stream: StreamIdentity,
    /// How long the stream keeps a record; none for ever.
    pub(super) retention: Option<Duration>,
    pub(super) budget: Budget,
    pub(super) pages: mpsc::Sender<Read>,
}

impl Reading {
    /// Whether this is the stream whose chain is open.
    ///
    /// # Errors
    /// Transient where it was made anew: what follows belongs to another chain.
    pub(super) async fn is_same_stream(&self, source: &dyn Source) -> Result<()> {
        if source.describe().await?.identity == self.stream {
            return Ok(());
        }
        Err(Error::transient("the stream was made anew while it was read: going on with a new chain in the journal"))
    }

    /// A reader of the shard on a connection of its own.
    async fn open_anew(&self, shard: &Shard, at: StartAt) -> Result<Box<dyn ShardReader>> {
        let source = (self.job.connect)().await?;
        self.is_same_stream(source.as_ref()).await?;
        source.open(shard, at).await
    }

    /// Says what is lost, and ends the run where it is to end at that.
    ///
    /// # Errors
    /// Corrupt, with the gap named.
    pub(super) fn answer_for(&self, loss: Option<&Loss>) -> Result<()> {
        match (loss, self.job.pipeline.source.on_loss) {
            (None, _) => Ok(()),
            (Some(loss), OnLoss::Stop) => Err(loss::refusal(loss)),
            (Some(loss), OnLoss::Continue) => {
                tracing::error!("{}; going on without them, and the gap is journaled", loss::sentence(loss));
                self.controls.progress.lost();
                Ok(())
            }
        }
    }
}

impl Read {
    /// Nothing but that the shard has ended, and what of it was lost.
    pub(super) fn end(shard: ShardId, loss: Option<Loss>) -> Self {
        Self { shard, records: Vec::new(), range: None, ended: true, loss, caught_up: None, held: Held::default() }
    }
}

/// Why a reader came to an end without a failure.
#[derive(Debug)]
pub(super) enum End {
    /// The shard is read to its end.
    OfShard,
    /// The reader has all there was when draining began; another one would go on here.
    AtTip(Beginning),
    /// It was told to stop, or nobody takes its pages any more; another one would go on here.
    Stopped(Beginning),
}

/// Reads a shard until `stop`, its end or, when draining, its tip.
///
/// # Errors
/// The source's; Corrupt where records were lost and the run is to stop at that; Transient where the shard stalls and
/// the run is to end by itself.
pub(super) async fn read(reading: Reading, beginning: Beginning, stop: CancellationToken) -> Result<End> {
    let mut reader = Reader::open(reading, beginning).await?;
    loop {
        // Asked before the page, so that the page answers for everything that was there when draining began.
        let draining = reader.reading.controls.drain.is_cancelled();
        let held = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(End::Stopped(reader.place())),
            held = reader.reading.budget.reserve(reader.last_bytes, reader.is_behind) => held,
        };
        let Some((page, held)) = reader.page(&stop, held).await? else { return Ok(End::Stopped(reader.place())) };
        let at_tip = page.behind.is_some_and(|behind| behind.is_zero());
        let ended = page.end_of_shard;
        let told = reader.take(page, held)?;
        if worth_telling(&told) && reader.reading.pages.send(told).await.is_err() {
            return Ok(End::Stopped(reader.place()));
        }
        if ended {
            return Ok(End::OfShard);
        }
        // A closed shard's end is still to be told: its children wait for it.
        if draining && at_tip && !reader.shard.closed {
            return Ok(End::AtTip(reader.place()));
        }
    }
}

fn worth_telling(read: &Read) -> bool {
    read.range.is_some() || read.ended || read.loss.is_some() || read.caught_up.is_some()
}

/// A stretch of the shard that may be gone: after a position (none: from the shard's beginning), before the first record
/// that is left and its arrival (µs since 1970 UTC).
struct Missing {
    after: Option<Position>,
    next: Option<(Position, i64)>,
}

struct Reader {
    reading: Reading,
    shard: Shard,
    pages: Box<dyn ShardReader>,
    /// Where to go on.
    at: StartAt,
    caught_up: Option<i64>,
    last_bytes: usize,
    is_behind: bool,
    behind: Option<Duration>,
    /// The least that it was behind since its last progress: an answer that is further behind than another is none.
    nearest: Option<Duration>,
    /// How long it has waited for the stream since its last progress, or since it was last reconnected.
    waited: Duration,
    /// When the last page was asked for, µs since 1970 UTC: what arrived later may not be in it.
    asked_at: i64,
    /// Reconnected since its last progress, so many times.
    reconnects: u32,
    /// It began without a position, and it is not known yet what the shard holds.
    is_unread: bool,
}

impl Reader {
    async fn open(reading: Reading, beginning: Beginning) -> Result<Self> {
        let Beginning { shard, start, caught_up } = beginning;
        let pages = reading.source.open(&shard, start.clone()).await?;
        let is_unread = !matches!(start, StartAt::After(_));
        Ok(Self {
            reading,
            shard,
            pages,
            at: start,
            caught_up,
            // The worst there is: nothing is known of its answers.
            last_bytes: LARGEST,
            is_behind: true,
            behind: None,
            nearest: None,
            waited: Duration::ZERO,
            asked_at: 0,
            reconnects: 0,
            is_unread,
        })
    }

    /// Where another reader would go on.
    fn place(&self) -> Beginning {
        Beginning { shard: self.shard.clone(), start: self.at.clone(), caught_up: self.caught_up }
    }

    /// The next page, in what is held for it; none where the reader is told to stop first.
    async fn page(&mut self, stop: &CancellationToken, mut held: Held) -> Result<Option<(Page, Held)>> {
        loop {
            let clock = Arc::clone(&self.reading.job.context.clock);
            let patience = self.reading.job.pipeline.source.stall_after;
            // A shard that is not behind is not watched, but its answers are: they come at least this often.
            let left = if self.is_behind { patience.saturating_sub(self.waited) } else { patience };
            if !left.is_zero() {
                self.asked_at = clock.now_micros();
                // Made when it is awaited: a page that is there needs no clock.
                let deadline = async { clock.sleep(left).await };
                let page = tokio::select! {
                    biased;
                    () = stop.cancelled() => return Ok(None),
                    page = self.pages.next() => Some(page?),
                    () = deadline => None,
                };
                if let Some(page) = page {
                    let waited = clock.now_micros().saturating_sub(self.asked_at);
                    self.waited += Duration::from_micros(u64::try_from(waited).unwrap_or(0));
                    return Ok(Some((page, held)));
                }
            }
            // The others must not wait for a shard that stalls.
            held.shrink_to(0);
            self.stalls(patience)?;
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(None),
                reconnected = self.reconnect(patience) => reconnected?,
            }
        }
    }

    /// Says that the shard makes no progress.
    fn stalls(&self, patience: Duration) -> Result<()> {
        let shard = &self.shard.id;
        let behind = self.behind.map_or("no answer since it was opened".to_owned(), |behind| {
            format!("{} ms behind at its last answer", behind.as_millis())
        });
        let (at, tried) = (place(&self.at), self.reconnects);
        let sentence = format!(
            "{shard} has made no progress for {} s, {behind}; it stands at {at} and was reconnected {tried} times \
             since. Nothing is lost as long as the stream keeps its records",
            patience.as_secs()
        );
        if tried == 0 {
            tracing::warn!(%shard, "{sentence}; connecting anew");
        } else if self.reading.controls.drain.is_cancelled() {
            return Err(Error::transient(format!("{sentence}: look at the stream, then start again")));
        } else {
            tracing::error!(%shard, "{sentence}; look at the stream. Connecting anew, the other shards go on");
        }
        Ok(())
    }

    /// Opens the shard anew on a new connection, where it stands; where there is no connection to be had, the old one
    /// gets another chance.
    async fn reconnect(&mut self, patience: Duration) -> Result<()> {
        let clock = Arc::clone(&self.reading.job.context.clock);
        let deadline = async { clock.sleep(patience).await };
        let connected = tokio::select! {
            biased;
            connected = self.reading.open_anew(&self.shard, self.at.clone()) => connected,
            () = deadline => Err(Error::transient("no connection in time")),
        };
        match connected {
            Ok(pages) => self.pages = pages,
            Err(error) if error.kind() == ErrorKind::Transient => {
                tracing::warn!(shard = %self.shard.id, %error, "cannot connect anew");
            }
            Err(error) => return Err(error),
        }
        self.reconnects = self.reconnects.saturating_add(1);
        self.waited = Duration::ZERO;
        self.reading.controls.progress.reconnected(&self.shard.id, self.reconnects);
        Ok(())
    }

    /// Reads out of a page what the collector is to know, and moves on.
    fn take(&mut self, page: Page, mut held: Held) -> Result<Read> {
        let now = self.reading.job.context.clock.now_micros();
        let Page { records, range, behind, end_of_shard, gap } = page;
        let at_tip = behind.is_some_and(|behind| behind.is_zero()) || end_of_shard;
        let evidence = Evidence::at(now, self.caught_up, self.reading.retention);
        let unread = self.unread(&records, at_tip, evidence);
        let missing = gap.map(|gap| Missing { after: Some(gap.after), next: gap.next }).or(unread);
        let judge =
            |missing: Missing| loss::judge(&self.shard.id, (missing.after.as_ref(), missing.next.as_ref()), evidence);
        let loss = missing.and_then(judge);
        self.reading.answer_for(loss.as_ref())?;

        self.watch(!records.is_empty() || end_of_shard, behind);
        let newest = records.last().map(|record| record.arrived_at.div_euclid(1000));
        let asked_at = self.asked_at.div_euclid(1000);
        let caught_up = match (end_of_shard, at_tip) {
            // Its children begin with what was known of it while it was open: they took records from then on.
            (true, _) => newest.max(self.caught_up),
            (false, true) => Some(asked_at),
            (false, false) => newest,
        };
        // What is told as lost is not told again.
        let caught_up = caught_up.max(loss.as_ref().map(|loss| loss.to.min(asked_at)));
        self.caught_up = self.caught_up.max(caught_up);
        self.last_bytes = records.iter().map(bytes_of).sum();
        held.shrink_to(self.last_bytes);
        if let Some(range) = &range {
            self.at = StartAt::After(range.through.clone());
        }
        let position = range.as_ref().map(|range| &range.through);
        self.reading.controls.progress.read(&self.shard.id, (records.len(), position), (behind, newest), now);
        Ok(Read { shard: self.shard.id.clone(), records, range, ended: end_of_shard, loss, caught_up, held })
    }

    /// The gap before the first record of a shard of which nothing was read in time, told once it is known what is left.
    fn unread(&mut self, records: &[RawRecord], at_tip: bool, evidence: Evidence) -> Option<Missing> {
        if !self.is_unread || (records.is_empty() && !at_tip) {
            return None;
        }
        self.is_unread = false;
        let next = records.first().map(|record| (record.position.clone(), record.arrived_at));
        evidence.is_overdue().then_some(Missing { after: None, next })
    }

    /// Notes whether the shard goes on: records came, or it is less far behind than before.
    fn watch(&mut self, has_records: bool, behind: Option<Duration>) {
        self.is_behind = behind.is_none_or(|behind| !behind.is_zero());
        self.behind = behind;
        let comes_closer = behind.zip(self.nearest).is_some_and(|(behind, nearest)| behind < nearest);
        if !has_records && self.is_behind && !comes_closer {
            self.nearest = self.nearest.or(behind);
            return;
        }
        (self.waited, self.nearest) = (Duration::ZERO, behind);
        if self.reconnects > 0 {
            self.reconnects = 0;
            self.reading.controls.progress.reconnected(&self.shard.id, 0);
        }
    }
}

fn place(at: &StartAt) -> String {
    match at {
        StartAt::TrimHorizon => "its beginning".to_owned(),
        StartAt::Time(time) => format!("the records of {time} ms since 1970 and later"),
        StartAt::After(position) => Position::to_string(position),
    }
}
