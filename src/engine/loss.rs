//! Whether records were lost to the stream's retention, and what is said of it.
//!
//! Owns the judgement; `source` only tells that the record at a position is gone. Pure: it is told the time.
//!
//! A shard is caught up to a time: everything that it took before is read. What the stream still holds begins at the
//! horizon, the present less its retention.
//!
//! | caught up to | the record at the position | judged |
//! |---|---|---|
//! | any time | is there | nothing is lost |
//! | the horizon or later | is gone | nothing is lost: the shard was quiet, and its newest record is past retention |
//! | before the horizon | is gone | lost: what arrived from then on until the first record that is left |
//! | before the horizon | there is none: nothing of the shard was read | lost in the same way |
//! | not known | is gone | lost: as far back as the stream's retention reaches, and further |

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::batch::{Loss, Position, ShardId};
use crate::error::Error;

/// How long the stream keeps a record, as it said last; clones share it. It can be changed while the stream is read.
#[derive(Debug, Clone)]
pub(super) struct Retention(Arc<AtomicU64>);

impl Retention {
    /// In ms: the stream keeps everything.
    const FOR_EVER: u64 = u64::MAX;

    /// None for ever.
    pub(super) fn new(told: Option<Duration>) -> Self {
        let retention = Self(Arc::default());
        retention.note(told);
        retention
    }

    /// The stream says so now; none for ever.
    pub(super) fn note(&self, told: Option<Duration>) {
        let millis = |told: Duration| u64::try_from(told.as_millis()).unwrap_or(Self::FOR_EVER);
        self.0.store(told.map_or(Self::FOR_EVER, millis), Ordering::Relaxed);
    }

    /// None for ever.
    pub(super) fn get(&self) -> Option<Duration> {
        let millis = self.0.load(Ordering::Relaxed);
        (millis != Self::FOR_EVER).then_some(Duration::from_millis(millis))
    }
}

/// What is known of a shard where something is missing. Times in ms since 1970 UTC.
#[derive(Debug, Clone, Copy)]
pub(super) struct Evidence {
    /// Everything that arrived before is read; none where nobody noted it.
    pub(super) caught_up: Option<i64>,
    /// What arrived before is no longer in the stream; none where the stream keeps everything.
    pub(super) horizon: Option<i64>,
    /// The present.
    pub(super) now: i64,
}

impl Evidence {
    /// At `now` (µs since 1970 UTC), of a stream that keeps records so long.
    pub(super) fn at(now: i64, caught_up: Option<i64>, retention: Option<Duration>) -> Self {
        let now = now.div_euclid(1000);
        let back = |retention: Duration| now.saturating_sub(i64::try_from(retention.as_millis()).unwrap_or(i64::MAX));
        Self { caught_up, horizon: retention.map(back), now }
    }

    /// Whether something that was not read must have been dropped, if there was anything.
    pub(super) fn is_overdue(&self) -> bool {
        self.caught_up.zip(self.horizon).is_some_and(|(caught_up, horizon)| caught_up < horizon)
    }

    /// Whether nothing that was not read can have been dropped.
    pub(super) fn is_safe(&self) -> bool {
        self.caught_up.zip(self.horizon).is_some_and(|(caught_up, horizon)| caught_up >= horizon)
    }
}

/// The loss where what followed the position `after` may be gone, and `next` is the first record that is left, with its
/// arrival (µs since 1970 UTC); none where nothing can have been lost.
pub(super) fn judge(
    shard: &ShardId,
    (after, next): (Option<&Position>, Option<&(Position, i64)>),
    evidence: Evidence,
) -> Option<Loss> {
    if evidence.is_safe() {
        return None;
    }
    let Evidence { caught_up, now, .. } = evidence;
    let to = next.map_or(now, |(_, arrived_at)| arrived_at.div_euclid(1000));
    Some(Loss {
        shard: shard.clone(),
        after: after.cloned(),
        next: next.map(|(position, _)| position.clone()),
        from: caught_up.unwrap_or(0).min(to),
        to,
    })
}

/// The error of a run that is to stop at a loss.
pub(super) fn refusal(loss: &Loss) -> Error {
    Error::corrupt(format!(
        "{}; nothing was read past the gap. To go on without them set on_loss = \"continue\" under [source]: the gap \
         is then recorded in the journal. Against the next one raise the stream's retention, or look at `millstream \
         status` for what is about to expire",
        loss
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn at(number: u64) -> Position {
        Position::new(number.into(), 0)
    }

    #[test]
    fn a_gap_is_a_loss_unless_everything_before_the_horizon_was_read() {
        let (day, now) = (86_400_000, 1_795_176_000_000);
        let horizon = now - day;
        let next = Some((at(9), (horizon + 5) * 1000));
        let cases = [
            // (caught up, horizon, next, the loss from .. to)
            (Some(horizon), Some(horizon), next.clone(), None),
            (Some(now - 1), Some(horizon), None, None),
            (Some(horizon - 1), Some(horizon), next.clone(), Some((horizon - 1, horizon + 5))),
            (Some(horizon - 9 * day), Some(horizon), None, Some((horizon - 9 * day, now))),
            (None, Some(horizon), next.clone(), Some((0, horizon + 5))),
            // A stream that says it keeps everything, and yet the record is gone.
            (Some(now), None, next, Some((horizon + 5, horizon + 5))),
        ];
        for (caught_up, horizon, next, expected) in cases {
            let evidence = Evidence { caught_up, horizon, now };
            let loss = judge(&ShardId::new("s"), (Some(&at(3)), next.as_ref()), evidence);
            assert_eq!(loss.as_ref().map(|loss| (loss.from, loss.to)), expected, "{evidence:?} {next:?}");
            assert!(loss.is_none_or(|loss| loss.after == Some(at(3)) && loss.next == next.map(|next| next.0)));
        }
    }

    #[test]
    fn the_retention_is_what_the_stream_said_last_for_all_who_share_it() {
        let retention = Retention::new(None);
        let shared = retention.clone();
        for told in [Some(Duration::from_secs(86_400)), None, Some(Duration::ZERO)] {
            retention.note(told);
            assert_eq!(shared.get(), told);
        }
    }

    #[test]
    fn the_refusal_names_the_shard_the_gap_and_its_time_and_what_to_do() {
        let loss = Loss {
            shard: ShardId::new("shardId-000000000007"),
            after: Some(at(3)),
            next: Some(at(9)),
            from: 1_795_000_000_000,
            to: 1_795_089_600_000,
        };
        let error = refusal(&loss);
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let words = ["shardId-000000000007", "after 3", "before 9", "2026-11-18T11:06:40Z", "2026-11-19T12:00:00Z"];
        for word in words.into_iter().chain(["on_loss = \"continue\""]) {
            assert!(error.to_string().contains(word), "{word}: {error}");
        }
        let unknown = Loss { after: None, next: None, from: 0, ..loss }.to_string();
        assert!(unknown.contains("after its beginning and before its end, arrived from a time that is not known"));
    }
}
