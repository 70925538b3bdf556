//! One shard's reader: page after page until it is told to stop, its shard ends or it fails.
//!
//! Owns what a page means for its shard: how far it is caught up, whether records were lost, whether it stalls. A
//! shard that makes no progress for `[source] stall_after` though it is behind, or whose next answer does not come, is
//! reconnected from where it stands; if that does not help it is told as an error and reconnected again and again,
//! while the other shards go on. A run that is to end by itself fails instead.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::budget::{Budget, Held, bytes_of};
use super::loss::{self, Evidence};
use super::{Controls, Job};
use crate::batch::{Loss, Position, Range, RawRecord, ShardId, StartAt, StreamIdentity};
use crate::config::OnLoss;
use crate::error::{Error, Result};
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The shard is read to its end.
    OfShard,
    /// The reader has all there was when draining began.
    AtTip,
    /// It was told to stop, or nobody takes its pages any more.
    Stopped,
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
            () = stop.cancelled() => return Ok(End::Stopped),
            held = reader.reading.budget.reserve(reader.last_bytes, reader.is_behind) => held,
        };
        let Some(page) = reader.page(&stop).await? else { return Ok(End::Stopped) };
        let at_tip = page.behind.is_some_and(|behind| behind.is_zero());
        let ended = page.end_of_shard;
        let told = reader.take(page, held)?;
        if worth_telling(&told) && reader.reading.pages.send(told).await.is_err() {
            return Ok(End::Stopped);
        }
        if ended {
            return Ok(End::OfShard);
        }
        if draining && at_tip {
            return Ok(End::AtTip);
        }
    }
}

fn worth_telling(read: &Read) -> bool {
    read.range.is_some() || read.ended || read.loss.is_some() || read.caught_up.is_some()
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
    /// When the shard last made progress, or was last reconnected since, µs since 1970 UTC.
    watched_from: i64,
    /// Reconnected since its last progress, so many times.
    reconnects: u32,
    /// It begins without a position, later than the stream keeps records.
    is_late: bool,
}

impl Reader {
    async fn open(reading: Reading, beginning: Beginning) -> Result<Self> {
        let Beginning { shard, start, caught_up } = beginning;
        let pages = reading.source.open(&shard, start.clone()).await?;
        let watched_from = reading.job.context.clock.now_micros();
        let is_fresh = !matches!(start, StartAt::After(_));
        let is_late = is_fresh && Evidence::at(watched_from, caught_up, reading.retention).is_overdue();
        let (last_bytes, is_behind, behind, reconnects) = (0, true, None, 0);
        let at = start;
        Ok(Self {
            reading,
            shard,
            pages,
            at,
            caught_up,
            last_bytes,
            is_behind,
            behind,
            watched_from,
            reconnects,
            is_late,
        })
    }

    /// The next page; none where the reader is told to stop first.
    async fn page(&mut self, stop: &CancellationToken) -> Result<Option<Page>> {
        loop {
            let clock = Arc::clone(&self.reading.job.context.clock);
            let patience = self.reading.job.pipeline.source.stall_after;
            let waited = clock.now_micros().saturating_sub(self.watched_from);
            let left = patience.saturating_sub(Duration::from_micros(u64::try_from(waited).unwrap_or(0)));
            // A shard that is not behind is not watched, but its answers are: they come at least this often.
            let left = if self.is_behind { left } else { patience };
            if !left.is_zero() {
                // Made when it is awaited: a page that is there needs no clock.
                let deadline = async { clock.sleep(left).await };
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return Ok(None),
                    page = self.pages.next() => return page.map(Some),
                    () = deadline => {}
                }
            }
            self.reconnect(patience).await?;
        }
    }

    /// Opens the shard anew on a new connection, where it stands.
    async fn reconnect(&mut self, patience: Duration) -> Result<()> {
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
        let source = (self.reading.job.connect)().await?;
        self.pages = source.open(&self.shard, self.at.clone()).await?;
        self.reconnects += 1;
        self.watched_from = self.reading.job.context.clock.now_micros();
        self.reading.controls.progress.reconnected(&self.shard.id, self.reconnects);
        Ok(())
    }

    /// Reads out of a page what the collector is to know, and moves on.
    fn take(&mut self, page: Page, mut held: Held) -> Result<Read> {
        let now = self.reading.job.context.clock.now_micros();
        let Page { records, range, behind, end_of_shard, gap } = page;
        let at_tip = behind.is_some_and(|behind| behind.is_zero()) || end_of_shard;
        let gap = gap.map(|gap| (Some(gap.after), gap.next)).or_else(|| self.unread(&records, at_tip));
        let evidence = Evidence::at(now, self.caught_up, self.reading.retention);
        let judge = |(after, next): (Option<Position>, Option<(Position, i64)>)| {
            loss::judge(&self.shard.id, (after.as_ref(), next.as_ref()), evidence)
        };
        let loss = gap.and_then(judge);
        self.reading.answer_for(loss.as_ref())?;

        self.watch(now, !records.is_empty() || end_of_shard, behind);
        let newest = records.last().map(|record| record.arrived_at.div_euclid(1000));
        let caught_up = if at_tip { Some(now.div_euclid(1000)) } else { newest };
        self.caught_up = self.caught_up.max(caught_up);
        self.last_bytes = bytes_of(&records);
        held.shrink_to(self.last_bytes);
        if let Some(range) = &range {
            self.at = StartAt::After(range.through.clone());
        }
        let position = range.as_ref().map(|range| &range.through);
        self.reading.controls.progress.read(&self.shard.id, (records.len(), position), (behind, newest), now);
        Ok(Read { shard: self.shard.id.clone(), records, range, ended: end_of_shard, loss, caught_up, held })
    }

    /// The gap before the first record of a shard of which nothing was read in time, told once it is known what is left.
    fn unread(&mut self, records: &[RawRecord], at_tip: bool) -> Option<(Option<Position>, Option<(Position, i64)>)> {
        if !self.is_late || (records.is_empty() && !at_tip) {
            return None;
        }
        self.is_late = false;
        Some((None, records.first().map(|record| (record.position.clone(), record.arrived_at))))
    }

    /// Notes whether the shard goes on: records came, or it is less far behind than before.
    fn watch(&mut self, now: i64, has_records: bool, behind: Option<Duration>) {
        let is_behind = behind.is_none_or(|behind| !behind.is_zero());
        let comes_closer = behind.zip(self.behind).is_some_and(|(now, before)| now < before);
        if has_records || !is_behind || comes_closer {
            self.watched_from = now;
            self.reconnects = 0;
        }
        self.behind = behind;
        self.is_behind = is_behind;
    }
}

fn place(at: &StartAt) -> String {
    match at {
        StartAt::TrimHorizon => "its beginning".to_owned(),
        StartAt::Time(time) => format!("the records of {time} ms since 1970 and later"),
        StartAt::After(position) => Position::to_string(position),
    }
}
