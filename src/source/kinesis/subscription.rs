//! One subscription to a shard: where it starts, its events one at a time, and how long its silence is borne.
//!
//! Owns no place in the shard: `fan_out` does, and asks for a new subscription where this one ends.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use aws_sdk_kinesis::operation::subscribe_to_shard::SubscribeToShardOutput;
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::{ShardIteratorType, StartingPosition, SubscribeToShardEvent, SubscribeToShardEventStream};
use futures::future::{Either, select};

use super::fault::Fault;
use crate::batch::{Position, StartAt};
use crate::runtime::Clock;

/// What came meanwhile is given so long to reach a reader that was not asked for longer than its patience.
const MOMENT: Duration = Duration::from_secs(1);

/// When a reader subscribes, renews, despairs and polls instead.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timing {
    /// A subscription lasts 5 minutes; after so long it is renewed.
    pub(super) renew_after: Duration,
    /// No new subscription to the same shard so soon after the last: the service refuses it.
    pub(super) between: Duration,
    /// The service sends an event at least every few seconds, be it empty: after so long without one the
    /// subscription is dead.
    pub(super) stall_after: Duration,
    /// Polling, where subscribing fails again and again, before it is tried again.
    pub(super) poll_for: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        let [renew_after, between, stall_after, poll_for] = [290, 5, 15, 300].map(Duration::from_secs);
        Self { renew_after, between, stall_after, poll_for }
    }
}

/// How long silence is borne, from the last sign of life on.
pub(super) struct Patience {
    until: i64,
    limit: Duration,
    is_extended: bool,
}

impl Patience {
    pub(super) fn new(now: i64, limit: Duration) -> Self {
        Self { until: later(now, limit), limit, is_extended: false }
    }

    /// Waits for `work`; none where patience runs out. Where it ran out while nobody waited, a moment is given once.
    /// As safe to cancel as `work` is.
    pub(super) async fn wait<T>(&mut self, clock: &dyn Clock, work: impl Future<Output = T>) -> Option<T> {
        let now = clock.now_micros();
        if now >= self.until && !self.is_extended {
            (self.until, self.is_extended) = (later(now, MOMENT), true);
        }
        let left = Duration::from_micros(u64::try_from(self.until.saturating_sub(now)).unwrap_or(0));
        match select(pin!(work), clock.sleep(left.min(self.limit.max(MOMENT)))).await {
            Either::Left((outcome, _)) => Some(outcome),
            Either::Right(_) => None,
        }
    }
}

/// A subscription that the service has granted.
pub(super) struct Subscription {
    answer: SubscribeToShardOutput,
    /// When it was granted, µs since 1970 UTC.
    pub(super) since: i64,
    /// Whether an event has come.
    pub(super) is_proven: bool,
    patience: Patience,
}

impl Subscription {
    pub(super) fn new(answer: SubscribeToShardOutput, now: i64, stall_after: Duration) -> Self {
        Self { answer, since: now, is_proven: false, patience: Patience::new(now, stall_after) }
    }

    /// The next event; none where the subscription has come to its end. Safe to cancel.
    pub(super) async fn next(&mut self, clock: &dyn Clock) -> Result<Option<SubscribeToShardEvent>, Fault> {
        loop {
            let Some(heard) = self.patience.wait(clock, self.answer.event_stream.recv()).await else {
                let silence = self.patience.limit.as_secs_f64();
                return Err(Fault::Unreachable(format!("the subscription was silent for {silence} s")));
            };
            let event = heard.map_err(Fault::of_subscription)?;
            self.patience = Patience::new(clock.now_micros(), self.patience.limit);
            match event {
                Some(SubscribeToShardEventStream::SubscribeToShardEvent(event)) => {
                    self.is_proven = true;
                    return Ok(Some(event));
                }
                // An event of a kind that came after this program.
                Some(_) => {}
                None if self.is_proven => return Ok(None),
                None => return Err(Fault::Unreachable("the subscription ended without an event".to_owned())),
            }
        }
    }
}

/// Where a subscription starts: where the last one said to go on, else at the last record, else where the reader does.
///
/// What the service sends from there that was read before is skipped. It goes on *at* a number and never after it: an
/// aggregated record may hold more than was read of it, and some servers name the next record to go on and not the last.
pub(super) fn starting_position(
    start: &StartAt,
    position: Option<&Position>,
    continuation: Option<&str>,
) -> Result<StartingPosition, Fault> {
    let builder = StartingPosition::builder();
    let builder = match (continuation, position, start) {
        (Some(sequence), _, _) => builder.r#type(ShardIteratorType::AtSequenceNumber).sequence_number(sequence),
        (None, Some(position), _) => {
            builder.r#type(ShardIteratorType::AtSequenceNumber).sequence_number(position.sequence.as_str())
        }
        // In whole seconds, for servers that know no others; what is too old is skipped.
        (None, None, StartAt::Time(millis)) => {
            builder.r#type(ShardIteratorType::AtTimestamp).timestamp(DateTime::from_secs(millis.div_euclid(1000)))
        }
        (None, None, _) => builder.r#type(ShardIteratorType::TrimHorizon),
    };
    builder.build().map_err(|error| Fault::Refused(error.to_string()))
}

/// This much later, µs since 1970 UTC.
pub(super) fn later(from: i64, pause: Duration) -> i64 {
    from.saturating_add(i64::try_from(pause.as_micros()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;
    use crate::runtime::ManualClock;

    #[test]
    fn a_subscription_starts_where_the_last_one_said_or_at_what_was_read_last_or_where_the_reader_does() {
        use ShardIteratorType::{AtSequenceNumber, AtTimestamp, TrimHorizon};
        let position = |subsequence| Some(Position::new(7.into(), subsequence));
        let (horizon, time) = (StartAt::TrimHorizon, StartAt::Time(2_900));
        let after = StartAt::After(Position::new(7.into(), 0));
        let cases = [
            (&horizon, None, None, (TrimHorizon, None, None)),
            (&time, None, None, (AtTimestamp, None, Some(2))),
            (&after, position(0), None, (AtSequenceNumber, Some("7"), None)),
            (&time, position(0), None, (AtSequenceNumber, Some("7"), None)),
            (&horizon, position(3), None, (AtSequenceNumber, Some("7"), None)),
            (&horizon, position(0), Some("9"), (AtSequenceNumber, Some("9"), None)),
            (&time, None, Some("9"), (AtSequenceNumber, Some("9"), None)),
        ];
        for (start, position, continuation, (kind, sequence, second)) in cases {
            let place = starting_position(start, position.as_ref(), continuation).expect("a place");
            let found = (place.r#type().clone(), place.sequence_number(), place.timestamp().map(DateTime::secs));
            assert_eq!(found, (kind, sequence, second), "{start:?} {position:?} {continuation:?}");
        }
    }

    #[tokio::test]
    async fn patience_lasts_as_long_as_it_says_and_a_moment_longer_once_where_nobody_waited() {
        let clock = ManualClock::at(0);
        let mut patience = Patience::new(0, Duration::from_secs(15));
        assert_eq!(patience.wait(&clock, pending::<()>()).await, None);
        assert_eq!(clock.now_micros(), 15_000_000);

        let mut patience = Patience::new(clock.now_micros(), Duration::from_secs(15));
        clock.advance(Duration::from_secs(100));
        assert_eq!(patience.wait(&clock, ready(7)).await, Some(7), "it came meanwhile");
        clock.advance(Duration::from_secs(100));
        let before = clock.now_micros();
        assert_eq!(patience.wait(&clock, pending::<()>()).await, None);
        assert_eq!(clock.now_micros(), before, "the moment is over");
    }
}
