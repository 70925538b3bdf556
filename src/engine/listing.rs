//! The stream's list of shards: when it is asked for, and what was known when it was.
//!
//! Owns the call that is under way, a future that is polled beside everything else: a stream that answers slowly holds up
//! no heartbeat. It judges nothing: whether a list is new enough for a decision is the assignment's to say, by
//! [`Listing::known`]. Until an answer comes the list before it stands.

use std::time::Duration;

use futures::future::BoxFuture;

use super::read::Reading;
use crate::error::Result;
use crate::source::Shard;

/// The stream's shards are listed this often at least: new ones are seen within 10 s.
const LIST_EVERY: Duration = Duration::from_secs(5);

/// And this far apart, however many shards come to their end.
const LIST_APART: Duration = Duration::from_secs(1);

/// How often a list comes with a look whether the stream is still the same: the account has few such calls.
const DESCRIBE_EVERY: Duration = Duration::from_secs(60);

/// What was known, and so is answered for by a list that was asked for then.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Known {
    /// The entry that the journal was known through.
    pub(super) through: u64,
    /// Shards that were read to their end here, by this pass: their children are to be seen.
    pub(super) ends: u64,
    /// Whether draining had begun.
    pub(super) draining: bool,
}

/// The stream's shards, as they were told.
pub(super) struct Listing {
    pub(super) shards: Vec<Shard>,
    /// What was known before it was asked for.
    pub(super) known: Known,
    /// Whether the stream was found to be the same afterwards.
    pub(super) is_described: bool,
    /// When it was asked for, µs since 1970 UTC.
    at: i64,
}

/// The call that is under way, and what was known before it.
type Asking = (Known, BoxFuture<'static, Result<Listing>>);

#[derive(Default)]
pub(super) struct Listings {
    latest: Option<Listing>,
    asking: Option<Asking>,
    /// When the stream was last found to be the same, µs since 1970 UTC.
    described_at: Option<i64>,
}

impl Listings {
    pub(super) fn latest(&self) -> Option<&Listing> {
        self.latest.as_ref()
    }

    /// Asks for a list where one is due and none is under way; `is_missing` where a shard is, and needs a newer one.
    pub(super) fn ask(&mut self, reading: &Reading, known: Known, is_missing: bool) {
        // What was asked for before draining began does not say what is to be drained.
        if self.asking.as_ref().is_some_and(|(before, _)| before.draining != known.draining) {
            self.asking = None;
        }
        if self.asking.is_some() {
            return;
        }
        let now = reading.job.context.clock.now_micros();
        let Some(pause) = self.pause(now, known, is_missing) else { return };
        let describes = is_missing || self.described_at.is_none_or(|at| between(at, now) >= DESCRIBE_EVERY);
        self.asking = Some((known, Box::pin(list(reading.clone(), (known, describes), pause))));
    }

    /// How long the next call has to wait; none where none is due.
    fn pause(&self, now: i64, known: Known, is_missing: bool) -> Option<Duration> {
        let Some(latest) = &self.latest else { return Some(Duration::ZERO) };
        let age = between(latest.at, now);
        if latest.known.draining != known.draining || age >= LIST_EVERY {
            Some(Duration::ZERO)
        } else if latest.known.ends < known.ends || is_missing {
            Some(LIST_APART.saturating_sub(age))
        } else {
            None
        }
    }

    /// Waits for the list that was asked for, for ever where there is none. Safe to cancel.
    ///
    /// # Errors
    /// The source's; Transient where the stream was made anew.
    pub(super) async fn next(&mut self) -> Result<()> {
        let Some((_, asking)) = &mut self.asking else { return std::future::pending().await };
        let outcome = asking.await;
        self.asking = None;
        let listing = outcome?;
        if listing.is_described {
            self.described_at = Some(listing.at);
        }
        self.latest = Some(listing);
        Ok(())
    }
}

async fn list(reading: Reading, (known, is_described): (Known, bool), pause: Duration) -> Result<Listing> {
    let clock = &reading.job.context.clock;
    if !pause.is_zero() {
        clock.sleep(pause).await;
    }
    let at = clock.now_micros();
    let shards = reading.source.shards().await?;
    if is_described {
        reading.is_same_stream(reading.source.as_ref()).await?;
    }
    Ok(Listing { shards, known, is_described, at })
}

/// A clock that was set back makes what was noted before it old, not new.
fn between(one: i64, other: i64) -> Duration {
    Duration::from_micros(one.abs_diff(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    #[test]
    fn a_list_is_due_when_it_is_old_or_does_not_answer_for_what_is_known() {
        let known = Known { through: 7, ends: 3, draining: false };
        let none = Listings::default();
        assert_eq!(none.pause(0, known, false), Some(Duration::ZERO));
        let listing = Listing { shards: Vec::new(), known, is_described: true, at: 100 * SECOND };
        let listed = Listings { latest: Some(listing), ..Listings::default() };
        let (at_once, soon) = (Some(Duration::ZERO), Some(Duration::from_millis(600)));
        let cases = [
            // (ms since the list, known, a shard is missing, the pause)
            (400, known, false, None),
            (400, Known { through: 9, ..known }, false, None),
            (400, Known { ends: 4, ..known }, false, soon),
            (400, known, true, soon),
            (400, Known { draining: true, ..known }, false, at_once),
            (1_000, Known { ends: 4, ..known }, false, at_once),
            (4_999, known, false, None),
            (5_000, known, false, at_once),
            (-5_000, known, false, at_once),
        ];
        for (millis, known, is_missing, expected) in cases {
            let now = 100 * SECOND + millis * 1000;
            assert_eq!(listed.pause(now, known, is_missing), expected, "{millis} ms, {known:?}, {is_missing}");
        }
    }
}
