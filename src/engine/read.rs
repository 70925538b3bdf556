//! One shard's reader: page after page until it is told to stop, its shard ends or it fails.
//!
//! Owns what a page means for its shard: how far it is caught up, whether records were lost, whether it stalls. A
//! shard that makes no progress for `[source] stall_after` though it is behind, whose next answer does not come, or
//! whose reader fails though the same may succeed, is reconnected from where it stands; if that does not help it is told
//! as an error and reconnected again and again, while the other shards go on. A run that is to end by itself fails
//! instead, and so does one whose shard the stream lists no more: the shards are to be looked at anew. Only the wait for
//! the stream counts: the steps after reading may take as long as they like.
//!
//! The budget is asked only once the reader may ask the stream: one that rests holds nothing, and one whose answer does
//! not come holds next to nothing. So neither a pace nor a stall of some shards holds up the others. What is left of an
//! answer that comes in several pages stays reserved until its last page is handed over.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::budget::{Held, LEAST, bytes_of};
use super::loss::{self, Evidence};
pub(super) use super::reading::{Beginning, Read, Reading};
use crate::batch::{Position, RawRecord, StartAt};
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::{Backoff, Clock};
use crate::source::{Page, Shard, ShardReader};

/// An answer that has not come so long after it was asked for keeps no more than the least of the budget.
const PROMPT: Duration = Duration::from_secs(1);

/// The tries after failures: as many before a drained run fails as its passes have.
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(200), longest: Duration::from_secs(30), attempts: 6 };

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
/// The source's that repeating cannot cure; Corrupt where records were lost and the run is to stop at that; Transient
/// where the shard stalls or fails and the run is to end by itself, and where the stream lists the shard no more.
pub(super) async fn read(reading: Reading, beginning: Beginning, stop: CancellationToken) -> Result<End> {
    let mut reader = Reader::open(reading, beginning).await?;
    loop {
        let (page, held) = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(End::Stopped(reader.place())),
            page = reader.page() => page?,
        };
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
        if reader.is_draining && at_tip && !reader.shard.closed {
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
    /// What its last answer held; none before the first.
    last_bytes: Option<usize>,
    /// What is held for the rest of the last answer; none where the next page is of a new one.
    rest: Option<Held>,
    /// Whether the last page was not the first one of its answer.
    goes_on: bool,
    is_behind: bool,
    behind: Option<Duration>,
    /// The least that it was behind since its last progress: an answer that is further behind than another is none.
    nearest: Option<Duration>,
    /// How long it has waited for the stream since its last progress, or since it was last reconnected.
    waited: Duration,
    /// When the last answer was asked for, µs since 1970 UTC: what arrived later may not be in it.
    asked_at: i64,
    /// Whether draining had begun then: the answer has everything that was there when it began.
    is_draining: bool,
    /// Reconnected since its last progress, so many times.
    reconnects: u32,
    /// Failed since its last progress, so many times.
    failures: u32,
    /// It began without a position, and it is not known yet what the shard holds.
    is_unread: bool,
}

impl Reader {
    async fn open(reading: Reading, beginning: Beginning) -> Result<Self> {
        let Beginning { shard, start, caught_up } = beginning;
        let pages = reading.source.open(&shard, start.clone()).await?;
        let is_unread = !matches!(start, StartAt::After(_));
        reading.controls.progress.caught_up(&shard.id, caught_up);
        Ok(Self {
            reading,
            shard,
            pages,
            at: start,
            caught_up,
            last_bytes: None,
            rest: None,
            goes_on: false,
            is_behind: true,
            behind: None,
            nearest: None,
            waited: Duration::ZERO,
            asked_at: 0,
            is_draining: false,
            reconnects: 0,
            failures: 0,
            is_unread,
        })
    }

    /// Where another reader would go on.
    fn place(&self) -> Beginning {
        Beginning { shard: self.shard.clone(), start: self.at.clone(), caught_up: self.caught_up }
    }

    /// The next page, in what is held for it, however often the shard must be reconnected for it.
    async fn page(&mut self) -> Result<(Page, Held)> {
        loop {
            match self.ask().await {
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) => self.stalls()?,
                Err(error) if error.kind() == ErrorKind::Transient => self.fails(error).await?,
                Err(error) => return Err(error),
            }
            self.reconnect().await?;
        }
    }

    /// Room for a new answer, once the stream may be asked for it; none where that does not come in time.
    async fn room(&mut self) -> Result<Option<Held>> {
        let clock = Arc::clone(&self.reading.job.context.clock);
        let rested_from = clock.now_micros();
        match within(&*clock, self.patience(), self.pages.ready()).await {
            None => return Ok(None),
            Some(ready) => ready?,
        }
        self.note_wait(rested_from);
        let held = self.reading.budget.reserve(self.last_bytes, self.is_behind).await;
        (self.asked_at, self.is_draining) = (clock.now_micros(), self.reading.controls.drain.is_cancelled());
        Ok(Some(held))
    }

    /// The next page of the last answer, or of a new one once there is room for it; none where it does not come in time.
    async fn ask(&mut self) -> Result<Option<(Page, Held)>> {
        let clock = Arc::clone(&self.reading.job.context.clock);
        let rest = self.rest.take();
        self.goes_on = rest.is_some();
        let mut held = match rest {
            Some(rest) => rest,
            None => match self.room().await? {
                Some(held) => held,
                None => return Ok(None),
            },
        };
        let (from, left) = (clock.now_micros(), self.patience());
        let prompt = left.min(PROMPT);
        let page = {
            let mut next = self.pages.next();
            match within(&*clock, prompt, &mut next).await {
                None => {
                    // The others must not wait for a shard that does not answer.
                    held.fit(LEAST);
                    within(&*clock, left - prompt, next).await
                }
                page => page,
            }
        };
        self.note_wait(from);
        page.map(|page| Ok((page?, held))).transpose()
    }

    /// How much longer the stream is waited for. A shard that is not behind is not watched, but its answers are: they
    /// come at least this often.
    fn patience(&self) -> Duration {
        let patience = self.reading.job.pipeline.source.stall_after;
        if self.is_behind { patience.saturating_sub(self.waited) } else { patience }
    }

    fn note_wait(&mut self, from: i64) {
        let waited = self.reading.job.context.clock.now_micros().saturating_sub(from);
        self.waited += Duration::from_micros(u64::try_from(waited).unwrap_or(0));
    }

    /// Says that the shard's reader failed, and waits before the next try.
    async fn fails(&mut self, error: Error) -> Result<()> {
        self.failures = self.failures.saturating_add(1);
        let (shard, at, failures) = (&self.shard.id, place(&self.at), self.failures);
        if failures >= BACKOFF.attempts && self.reading.controls.drain.is_cancelled() {
            let tried = format!("tried {failures} times without progress, on new connections, at {at}");
            return Err(error.context(tried));
        }
        if failures == 1 {
            tracing::warn!(%shard, %error, "reading failed at {at}; connecting anew");
        } else {
            tracing::error!(
                %shard, %error, failures,
                "reading fails at {at} again and again, on new connections too; look at the stream. Nothing is lost as \
                 long as it keeps its records; trying again, the other shards go on"
            );
        }
        let context = &self.reading.job.context;
        context.clock.sleep(BACKOFF.pause(failures, context)).await;
        Ok(())
    }

    /// Says that the shard makes no progress.
    fn stalls(&self) -> Result<()> {
        let shard = &self.shard.id;
        let behind = self.behind.map_or("no answer since it was opened".to_owned(), |behind| {
            format!("{} ms behind at its last answer", behind.as_millis())
        });
        let (at, tried) = (place(&self.at), self.reconnects);
        let sentence = format!(
            "{shard} has made no progress for {} s, {behind}; it stands at {at} and was reconnected {tried} times \
             since. Nothing is lost as long as the stream keeps its records",
            self.reading.job.pipeline.source.stall_after.as_secs()
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
    async fn reconnect(&mut self) -> Result<()> {
        let (clock, patience) = (&self.reading.job.context.clock, self.reading.job.pipeline.source.stall_after);
        let connected = within(&**clock, patience, self.reading.open_anew(&self.shard, self.at.clone())).await;
        match connected.unwrap_or_else(|| Err(Error::transient("no connection in time"))) {
            Ok(Some(pages)) => self.pages = pages,
            Ok(None) => {
                return Err(Error::transient(format!(
                    "the stream lists {} no more: looking at its shards anew, and what of it was not read is told as lost",
                    self.shard.id
                )));
            }
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
        let Page { records, range, behind, end_of_shard, gap, left } = page;
        let at_tip = behind.is_some_and(|behind| behind.is_zero()) || end_of_shard;
        let evidence = Evidence::at(now, self.caught_up, self.reading.retention.get());
        let unread = self.unread(&records, at_tip, evidence);
        let missing = gap.map(|gap| Missing { after: Some(gap.after), next: gap.next }).or(unread);
        let judge =
            |missing: Missing| loss::judge(&self.shard.id, (missing.after.as_ref(), missing.next.as_ref()), evidence);
        let loss = missing.and_then(judge);
        self.reading.answer_for(loss.as_ref())?;

        self.watch(range.is_some() || end_of_shard, behind);
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
        let bytes = records.iter().map(bytes_of).sum::<usize>() + left;
        self.last_bytes = self.last_bytes.filter(|_| self.goes_on).max(Some(bytes));
        held.fit(bytes);
        self.rest = (left > 0).then(|| held.split(left));
        if let Some(range) = &range {
            self.at = StartAt::After(range.through.clone());
        }
        let position = range.as_ref().map(|range| &range.through);
        self.reading.controls.progress.read(&self.shard.id, (records.len(), position), (behind, newest), now);
        self.reading.controls.progress.caught_up(&self.shard.id, self.caught_up);
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

    /// Notes whether the shard goes on: its place moved, or it is less far behind than before.
    fn watch(&mut self, has_moved: bool, behind: Option<Duration>) {
        self.is_behind = behind.is_none_or(|behind| !behind.is_zero());
        self.behind = behind;
        let comes_closer = behind.zip(self.nearest).is_some_and(|(behind, nearest)| behind < nearest);
        if !has_moved && self.is_behind && !comes_closer {
            self.nearest = self.nearest.or(behind);
            return;
        }
        (self.waited, self.nearest, self.failures) = (Duration::ZERO, behind, 0);
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

/// What comes within the time; none where nothing does.
async fn within<T>(clock: &dyn Clock, time: Duration, answer: impl Future<Output = T>) -> Option<T> {
    if time.is_zero() {
        return None;
    }
    // Made when it is awaited: an answer that is there needs no clock.
    let deadline = async { clock.sleep(time).await };
    tokio::select! {
        biased;
        answer = answer => Some(answer),
        () = deadline => None,
    }
}
