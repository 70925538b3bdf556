//! Reading one shard by enhanced fan-out: subscriptions one after the other, and polling where they fail.
//!
//! Owns a reader's place in its shard, which moves only when a page is returned. Whatever ends a subscription (its 5
//! minutes, a reset, silence, another subscriber), the next one starts at that place, so nothing is lost and nothing
//! comes twice. Where subscribing fails again and again the shard is polled for a while, and for as long as what was read
//! last may be past retention: a subscription passes over what the stream has dropped and does not say so, polling looks
//! at each place. Between two calls of `next` at most one event is held, in the SDK's own buffer: a slow reader slows
//! down the service.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_kinesis::operation::subscribe_to_shard::SubscribeToShardOutput;
use aws_sdk_kinesis::types::SubscribeToShardEvent;
use futures::future::BoxFuture;

use super::answered::{Answer, Answered, PIECE_BYTES};
use super::connection::Connection;
use super::consumer::FanOutConsumer;
use super::fault::Fault;
use super::gap::GapWatch;
use super::reader::KinesisReader;
use super::subscription::{Patience, Subscription, later, starting_position};
use crate::batch::{Position, Range, StartAt};
use crate::error::{Error, Result};
use crate::source::{Page, Shard, ShardReader};

/// So many failures in a row, without an event between them, and the shard is polled.
const FAILURES: u32 = 5;
/// An event with so many records may leave more that some servers do not count as being behind.
const FULL: usize = 10_000;
/// An event that is there sooner after it was asked for may have been sent before, and its word that nothing more was
/// there be out of date.
const FRESH_AFTER: Duration = Duration::from_millis(50);

/// A shard that is read by fan-out.
pub(super) struct FanOutReader {
    connection: Arc<Connection>,
    consumer: FanOutConsumer,
    shard: Shard,
    start: StartAt,
    /// The last record returned, or where `start` says to go on.
    position: Option<Position>,
    /// Where the last event said to go on: further than the position where no record came for long.
    continuation: Option<String>,
    state: State,
    /// What of the last event is still to be given on.
    rest: Option<Box<Event>>,
    /// No subscription is asked for before, µs since 1970 UTC.
    rest_until: i64,
    /// When the last subscription was granted.
    subscribed_at: Option<i64>,
    /// Until when all that arrived is read.
    gap_watch: GapWatch,
    /// Failures since the last event.
    failures: u32,
    /// Whether it was logged that this shard is polled.
    is_told: bool,
}

/// An event that is given on piece by piece.
struct Event {
    answer: Answer,
    /// When it came.
    came_at: i64,
    /// How far behind its end is.
    behind: Option<Duration>,
    has_children: bool,
    /// Its records, before they are taken apart.
    records: usize,
    continuation: String,
}

enum State {
    Waiting,
    /// Kept here, so that a call that is dropped does not ask the service again.
    Subscribing(BoxFuture<'static, Result<SubscribeToShardOutput, Fault>>, Patience),
    Listening(Box<Subscription>),
    /// At least one page is polled, then on until the time is over.
    Polling(Box<KinesisReader>, i64),
    Ended,
}

impl FanOutReader {
    /// A reader after a position polls its first page: polling looks whether what follows is still there.
    pub(super) fn new(connection: Arc<Connection>, consumer: FanOutConsumer, shard: Shard, start: StartAt) -> Self {
        let position = match &start {
            StartAt::After(position) => Some(position.clone()),
            StartAt::TrimHorizon | StartAt::Time(_) => None,
        };
        let is_after = position.is_some();
        let (continuation, subscribed_at, gap_watch) = (None, None, GapWatch::default());
        let (rest_until, failures, is_told, state) = (i64::MIN, 0, false, State::Waiting);
        let mut reader = Self {
            connection,
            consumer,
            shard,
            start,
            position,
            continuation,
            state,
            rest: None,
            rest_until,
            subscribed_at,
            gap_watch,
            failures,
            is_told,
        };
        if is_after {
            reader.poll_until(i64::MIN);
        }
        reader
    }

    fn now(&self) -> i64 {
        self.connection.context.clock.now_micros()
    }

    /// Waits until a subscription may be asked for.
    async fn rest(&mut self) {
        let (timing, backoff) = (self.consumer.timing, self.connection.settings.backoff);
        let granted = self.subscribed_at.map_or(i64::MIN, |at| later(at, timing.between));
        let left = self.rest_until.max(granted).saturating_sub(self.now());
        if let Ok(left @ 1..) = u64::try_from(left) {
            // Bounded for the case that the clock is set back.
            let left = Duration::from_micros(left).min(timing.between.max(backoff.longest));
            self.connection.context.clock.sleep(left).await;
        }
    }

    /// Whether the time to start at has not come yet: the service refuses a timestamp in the future.
    fn is_early(&self) -> bool {
        match self.start {
            StartAt::Time(millis) => self.position.is_none() && millis > self.now().div_euclid(1000),
            StartAt::TrimHorizon | StartAt::After(_) => false,
        }
    }

    /// Whether what was read last may be past retention, and what follows it with it.
    async fn is_unsure(&mut self) -> bool {
        if self.position.is_none() || !self.gap_watch.needs_retention(self.now()) {
            return false;
        }
        match self.connection.retention().await {
            Ok(retention) => self.gap_watch.is_unsure(self.now(), retention),
            // Polling asks for it too, and tells why it is refused.
            Err(_) => true,
        }
    }

    /// One step on; a page if it gave one.
    async fn step(&mut self, asked_at: i64) -> Result<Option<Page>> {
        if let Some(event) = self.rest.take() {
            return self.piece(event).map(Some);
        }
        let clock = self.connection.context.clock.clone();
        let is_unsure = self.is_unsure().await;
        match &mut self.state {
            State::Waiting => {
                self.rest().await;
                if self.is_early() {
                    self.rest_until = later(self.now(), self.connection.settings.poll_interval);
                    return Ok(Some(self.nothing()));
                }
                match is_unsure {
                    true => self.poll_until(i64::MIN),
                    false => self.subscribe(),
                }
                Ok(None)
            }
            // What it has sent already comes again.
            State::Listening(_) if is_unsure => {
                self.poll_until(i64::MIN);
                Ok(None)
            }
            State::Subscribing(call, patience) => {
                let silent = || Err(Fault::Unreachable("no answer to a subscription".to_owned()));
                let outcome = patience.wait(&*clock, call).await.unwrap_or_else(silent);
                self.subscribed(outcome)?;
                Ok(None)
            }
            State::Listening(subscription) => match subscription.next(&*clock).await {
                Ok(Some(event)) => {
                    let is_first = subscription.since >= asked_at;
                    self.accept(event, is_first || self.now() >= later(asked_at, FRESH_AFTER)).map(Some)
                }
                Ok(None) => {
                    self.state = State::Waiting;
                    Ok(None)
                }
                Err(fault) => {
                    self.fail(fault);
                    Ok(None)
                }
            },
            State::Polling(reader, _) => {
                let page = reader.next().await?;
                Ok(Some(self.polled(page, is_unsure)))
            }
            State::Ended => Ok(Some(self.nothing())),
        }
    }

    fn nothing(&self) -> Page {
        let end_of_shard = matches!(self.state, State::Ended);
        Page { behind: Some(Duration::ZERO), end_of_shard, ..Page::default() }
    }

    fn subscribe(&mut self) {
        let place = starting_position(&self.start, self.position.as_ref(), self.continuation.as_deref());
        let (connection, consumer) = (self.connection.clone(), self.consumer.arn.clone());
        let shard = self.shard.id.to_string();
        let call = async move {
            let request = connection.client.subscribe_to_shard().consumer_arn(consumer).shard_id(shard);
            connection.once(request.starting_position(place?).send()).await
        };
        let patience = Patience::new(self.now(), self.consumer.timing.stall_after);
        self.state = State::Subscribing(Box::pin(call), patience);
    }

    fn subscribed(&mut self, outcome: Result<SubscribeToShardOutput, Fault>) -> Result<()> {
        match outcome {
            Ok(answer) => {
                self.connection.count_subscription();
                let now = self.now();
                self.subscribed_at = Some(now);
                self.state =
                    State::Listening(Box::new(Subscription::new(answer, now, self.consumer.timing.stall_after)));
            }
            // The position is asked for instead; where that is what is refused, polling tells why.
            Err(Fault::InvalidArgument(words)) if self.continuation.take().is_some() => {
                self.fail(Fault::Service(words))
            }
            Err(fault) => {
                // The shard has been polled meanwhile, so it is there.
                let is_deregistered = self.is_told && matches!(fault, Fault::NotFound(_));
                let told = is_deregistered.then(|| self.deregistered(&fault));
                self.fail(fault);
                return told.map_or(Ok(()), Err);
            }
        }
        Ok(())
    }

    fn deregistered(&self, fault: &Fault) -> Error {
        let (shard, stream) = (&self.shard.id, &self.connection.settings.stream);
        let message = format!("cannot subscribe to {shard}: the stream {stream} does not know our consumer any more");
        let advice = "somebody else deregistered it: connecting anew registers it again, and nothing is lost";
        Error::transient(format!("{message} ({fault}): {advice}"))
    }

    /// Notes a failure; polls where there were too many, or where the same will be refused again.
    fn fail(&mut self, fault: Fault) {
        self.state = State::Waiting;
        self.failures += 1;
        self.connection.count_broken_subscription();
        let (is_in_use, now) = (matches!(fault, Fault::InUse(_)), self.now());
        let pause = match is_in_use {
            true => self.consumer.timing.between,
            false => self.connection.pause(self.failures, &fault),
        };
        self.rest_until = later(now, pause);
        if self.failures >= FAILURES || !(fault.passes() || is_in_use) {
            self.fall_back(&fault);
        }
    }

    fn fall_back(&mut self, fault: &Fault) {
        self.connection.count_fallback();
        let (shard, pause) = (&self.shard.id, self.consumer.timing.poll_for);
        if !self.is_told {
            tracing::warn!(%shard, %fault, again_after = ?pause, "fan-out fails, the shard is polled meanwhile");
        }
        // From now on one failure is enough, until an event comes.
        (self.is_told, self.failures) = (true, FAILURES);
        self.poll_until(later(self.now(), pause));
    }

    fn poll_until(&mut self, until: i64) {
        let start = self.position.clone().map_or_else(|| self.start.clone(), StartAt::After);
        let reader = KinesisReader::new(self.connection.clone(), self.shard.clone(), start);
        self.state = State::Polling(Box::new(reader), until);
    }

    /// Moves on by a polled page. One that was asked for in doubt is followed by another.
    fn polled(&mut self, page: Page, is_unsure: bool) -> Page {
        let arrived_at = page.records.last().map(|record| record.arrived_at);
        let is_at_tip = page.behind.is_some_and(|behind| behind.is_zero());
        self.cover(if is_at_tip { Some(self.now()) } else { arrived_at });
        if let Some(range) = &page.range {
            self.position = Some(range.through.clone());
            self.continuation = None;
        }
        if page.end_of_shard {
            self.state = State::Ended;
        } else if matches!(self.state, State::Polling(_, until) if self.now() >= until && !is_unsure && page.left == 0)
        {
            self.state = State::Waiting;
        }
        page
    }

    /// Notes that all was read that arrived before this time.
    fn cover(&mut self, time: Option<i64>) {
        if let Some(time) = time {
            self.gap_watch.cover(time);
        }
    }

    /// Turns an event into its first page.
    fn accept(&mut self, event: SubscribeToShardEvent, is_fresh: bool) -> Result<Page> {
        self.failures = 0;
        if std::mem::take(&mut self.is_told) {
            tracing::info!(shard = %self.shard.id, "fan-out works again");
        }
        let (has_children, records) = (!event.child_shards().is_empty(), event.records.len());
        let millis = u64::try_from(event.millis_behind_latest).unwrap_or(0);
        let says_all = is_fresh && records < FULL;
        let behind = (millis > 0 || says_all).then(|| Duration::from_millis(millis));
        let (answer, continuation) = (Answer::new(event.records), event.continuation_sequence_number);
        self.piece(Box::new(Event { answer, came_at: self.now(), behind, has_children, records, continuation }))
    }

    /// The next page of an event; only the last one is as far as the event.
    fn piece(&mut self, mut event: Box<Event>) -> Result<Page> {
        let brought = event.answer.piece(&self.shard, &self.start, self.position.as_ref(), PIECE_BYTES);
        let Answered { records, through, last_arrived_at, .. } =
            brought.inspect_err(|_| self.state = State::Waiting)?;
        let range = through.map(|through| Range::new(self.position.replace(through.clone()), through));
        if !event.answer.is_over() {
            self.cover(last_arrived_at);
            let left = event.answer.held();
            self.rest = Some(event);
            return Ok(Page { records, range, left, ..Page::default() });
        }
        let Event { came_at, behind, has_children, records: answered, continuation, .. } = *event;
        let is_at_tip = behind.is_some_and(|behind| behind.is_zero());
        self.cover(if is_at_tip { Some(came_at) } else { last_arrived_at });
        self.go_on(has_children, answered, continuation);
        let end_of_shard = matches!(self.state, State::Ended);
        Ok(Page { records, range, behind, end_of_shard, gap: None, left: 0 })
    }

    /// What comes after an event. AWS names no continuation in a closed shard's last one, and there alone its children;
    /// ferrokinesis names the children in all of a closed shard's, and a continuation always.
    fn go_on(&mut self, has_children: bool, answered: usize, continuation: String) {
        let continues = !continuation.is_empty();
        self.continuation = continues.then_some(continuation);
        let renewed_at = self.subscribed_at.map_or(i64::MIN, |at| later(at, self.consumer.timing.renew_after));
        if has_children && (!continues || answered == 0) {
            self.state = State::Ended;
        } else if !continues {
            // Neither goes it on nor has it ended: a poll tells which.
            self.poll_until(i64::MIN);
        } else if self.now() >= renewed_at {
            self.state = State::Waiting;
        }
    }
}

#[async_trait]
impl ShardReader for FanOutReader {
    async fn ready(&mut self) -> Result<()> {
        match &mut self.state {
            State::Waiting => self.rest().await,
            State::Polling(reader, _) => reader.ready().await?,
            State::Subscribing(..) | State::Listening(_) | State::Ended => {}
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<Page> {
        let asked_at = self.now();
        loop {
            if let Some(page) = self.step(asked_at).await? {
                return Ok(page);
            }
        }
    }
}

#[cfg(test)]
mod tests;
