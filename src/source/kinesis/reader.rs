//! Polling one shard: iterators, and the trouble between two pages.
//!
//! Owns a reader's place in its shard, which moves only when a page is returned. An iterator is always asked for at the
//! record that was read last, never after it: so the parts of an aggregate that are still to be read come again, and a
//! record that is there no more is missed. The failed tries are counted here and not in a call's own frame, so that a
//! caller who drops calls (a batch's deadline) still meets the limit.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::ShardIteratorType;

use super::answered::{Answer, Answered, PIECE_BYTES};
use super::connection::Connection;
use super::fault::Fault;
use super::gap::{Finding, GapWatch};
use super::pace::{Fetched, Pace};
use crate::batch::{Position, Range, StartAt};
use crate::error::Result;
use crate::source::{Gap, Page, Shard, ShardReader};

/// Records a call asks for: the service's own limit.
const RECORDS_A_CALL: usize = 10_000;

pub(super) struct KinesisReader {
    connection: Arc<Connection>,
    shard: Shard,
    start: StartAt,
    /// The last position covered, or where `start` says to go on.
    position: Option<Position>,
    iterator: Option<String>,
    /// What of the last answer is still to be given on.
    left: Option<Left>,
    gap_watch: GapWatch,
    pace: Pace,
    /// Failed tries since the last answer.
    failures: u32,
    ended: bool,
}

/// What of an answer is still to be given on.
struct Left {
    answer: Answer,
    /// How far behind its end is.
    behind: Option<Duration>,
    /// When the call for it was made.
    asked_at: i64,
}

impl KinesisReader {
    pub(super) fn new(connection: Arc<Connection>, shard: Shard, start: StartAt) -> Self {
        let position = match &start {
            StartAt::After(position) => Some(position.clone()),
            StartAt::TrimHorizon | StartAt::Time(_) => None,
        };
        let pace = Pace::new(&connection.settings);
        let gap_watch = GapWatch::default();
        let (iterator, left) = (None, None);
        Self { connection, shard, start, position, iterator, left, gap_watch, pace, failures: 0, ended: false }
    }

    fn now(&self) -> i64 {
        self.connection.context.clock.now_micros()
    }

    /// Whether the time to start at has not come yet: the service refuses a timestamp in the future.
    fn is_early(&self) -> bool {
        match self.start {
            StartAt::Time(millis) => self.position.is_none() && millis > self.now().div_euclid(1000),
            StartAt::TrimHorizon | StartAt::After(_) => false,
        }
    }

    /// The answer, and when the call for it was made: an iterator that it needed first may have taken long.
    async fn ask(&mut self) -> Result<(GetRecordsOutput, i64), Fault> {
        self.look_back().await?;
        let iterator = match &self.iterator {
            Some(iterator) => iterator.clone(),
            None => {
                let iterator = self.ask_for_iterator().await?;
                self.iterator.insert(iterator).clone()
            }
        };
        // Set before the call, so that one that is dropped half-way counts against the pace too.
        let asked_at = self.now();
        self.pace.call(asked_at);
        let call = self.connection.client.get_records().shard_iterator(iterator).limit(RECORDS_A_CALL as i32).send();
        match self.connection.once(call).await {
            // Not ours to repair, but a new one may be right: a server that was started anew, a clock set back.
            Err(Fault::InvalidArgument(words)) => Err(Fault::RefusedIterator(words)),
            outcome => outcome.map(|answer| (answer, asked_at)),
        }
    }

    /// Drops the iterator where what comes next may be past retention: a new one shows whether it is there.
    async fn look_back(&mut self) -> Result<(), Fault> {
        if self.iterator.is_none() || !self.gap_watch.needs_retention(self.now()) {
            return Ok(());
        }
        let retention = self.connection.retention().await?;
        let is_due = |position: &Position| self.gap_watch.is_due(self.now(), retention, position);
        if self.position.as_ref().is_some_and(is_due) {
            self.iterator = None;
        }
        Ok(())
    }

    async fn ask_for_iterator(&mut self) -> Result<String, Fault> {
        let retention = match self.gap_watch.needs_retention(self.now()) {
            true => self.connection.retention().await?,
            false => None,
        };
        let request = self.connection.client.get_shard_iterator().stream_name(&self.connection.settings.stream);
        let request = request.shard_id(self.shard.id.as_str());
        let request = match (&self.position, &self.start) {
            (Some(position), _) => request
                .shard_iterator_type(ShardIteratorType::AtSequenceNumber)
                .starting_sequence_number(position.sequence.as_str()),
            // In whole seconds, for servers that know no others; what is too old is left out of the answer.
            (None, StartAt::Time(millis)) => request
                .shard_iterator_type(ShardIteratorType::AtTimestamp)
                .timestamp(DateTime::from_secs(millis.div_euclid(1000))),
            (None, _) => request.shard_iterator_type(ShardIteratorType::TrimHorizon),
        };
        let nothing = || Fault::Unreachable("an answer without an iterator".to_owned());
        let iterator = match (self.connection.once(request.send()).await, &self.start) {
            // Our clock may be ahead of the service's: its now comes.
            (Err(Fault::InvalidArgument(words)), StartAt::Time(_)) if self.position.is_none() => {
                return Err(Fault::Service(words));
            }
            (outcome, _) => outcome?.shard_iterator.ok_or_else(nothing)?,
        };
        if let Some(position) = self.position.as_ref().filter(|_| self.gap_watch.is_unsure(self.now(), retention)) {
            self.gap_watch.ask_for(position);
        }
        Ok(iterator)
    }

    /// The service does not say whether it is the stream or the shard that it does not find.
    async fn explained(&self, fault: Fault) -> Fault {
        let Fault::NotFound(words) = fault else { return fault };
        match self.connection.once(self.connection.summary()).await {
            Ok(_) => Fault::ShardGone(words),
            Err(Fault::NotFound(_)) => Fault::NotFound(words),
            Err(other) => other,
        }
    }

    /// Notes a failed try; an error where there is no point in another.
    fn postpone(&mut self, fault: &Fault) -> Result<()> {
        self.failures += 1;
        match fault {
            Fault::ExpiredIterator | Fault::RefusedIterator(_) => self.iterator = None,
            Fault::Throttled(_) => self.pace.throttled(),
            _ => {}
        }
        if !fault.passes() || self.failures >= self.connection.settings.backoff.attempts {
            self.failures = 0;
            return Err(self.connection.give_up(&format!("read {}", self.shard.id), fault));
        }
        let pause = self.connection.pause(self.failures, fault);
        self.pace.rest(self.now(), pause);
        Ok(())
    }

    /// Turns an answer to a call that was made at `asked_at` into a page, and moves on; none where the same must be
    /// asked once more.
    fn accept(&mut self, answer: GetRecordsOutput, asked_at: i64) -> Result<Option<Page>> {
        let count = answer.records.len();
        let is_full = count >= RECORDS_A_CALL;
        let mut records = Answer::new(answer.records);
        let bytes = records.bytes();
        let answered = records.piece(&self.shard, &self.start, self.position.as_ref(), PIECE_BYTES)?;
        let behind = answer.millis_behind_latest.map(|millis| u64::try_from(millis).unwrap_or(0));
        // A server may say 0 although a full answer leaves more to fetch: then how far behind is not known.
        let behind = behind.filter(|millis| *millis > 0 || !is_full).map(Duration::from_millis);
        let is_at_tip = behind.is_some_and(|behind| behind.is_zero());
        let is_behind = is_full || behind.is_some_and(|behind| !behind.is_zero());
        let is_end = answer.next_shard_iterator.is_none();

        self.pace.answered(asked_at, Fetched { records: count, bytes, is_behind });
        self.failures = 0;
        let gap = match self.gap_watch.find(answered.first.as_ref(), is_at_tip || is_end, asked_at) {
            Finding::GoOn => None,
            Finding::Lost(gap) => Some(gap),
            Finding::AskAgain => {
                self.iterator = None;
                return Ok(None);
            }
        };
        self.ended = is_end;
        self.iterator = answer.next_shard_iterator;
        Ok(Some(self.page(answered, Left { answer: records, behind, asked_at }, gap)))
    }

    /// The next page of an answer that is not given on to its end.
    fn go_on(&mut self, mut left: Left) -> Result<Page> {
        let piece = left.answer.piece(&self.shard, &self.start, self.position.as_ref(), PIECE_BYTES);
        // It is asked for anew, where the reader stands.
        let answered = piece.inspect_err(|_| (self.iterator, self.ended) = (None, false))?;
        Ok(self.page(answered, left, None))
    }

    /// A page of the first or a further piece; only the last one is as far as the answer.
    fn page(&mut self, answered: Answered, left: Left, gap: Option<Gap>) -> Page {
        let is_last = left.answer.is_over();
        let behind = left.behind.filter(|_| is_last);
        let is_at_tip = behind.is_some_and(|behind| behind.is_zero());
        if let Some(time) = if is_at_tip { Some(left.asked_at) } else { answered.last_arrived_at } {
            self.gap_watch.cover(time);
        }
        let range = answered.through.map(|through| Range::new(self.position.replace(through.clone()), through));
        let held = left.answer.held();
        self.left = (!is_last).then_some(left);
        Page { records: answered.records, range, behind, end_of_shard: self.ended && is_last, gap, left: held }
    }
}

#[async_trait]
impl ShardReader for KinesisReader {
    async fn ready(&mut self) -> Result<()> {
        if let Some(left) = self.pace.left(self.now()).filter(|_| !self.ended && self.left.is_none()) {
            self.connection.context.clock.sleep(left).await;
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<Page> {
        if let Some(left) = self.left.take() {
            return self.go_on(left);
        }
        let nothing = Page { behind: Some(Duration::ZERO), end_of_shard: self.ended, ..Page::default() };
        if self.ended {
            return Ok(nothing);
        }
        loop {
            self.ready().await?;
            if self.is_early() {
                self.pace.rest(self.now(), self.connection.settings.poll_interval);
                return Ok(nothing);
            }
            match self.ask().await {
                Ok((answer, asked_at)) => {
                    if let Some(page) = self.accept(answer, asked_at)? {
                        return Ok(page);
                    }
                }
                Err(fault) => {
                    let fault = self.explained(fault).await;
                    self.postpone(&fault)?;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
