//! How much of the stream may be in memory on its way to a batch.
//!
//! Owns the bytes that readers share: a reader reserves what its next answer may hold before it asks, and what the
//! answer really holds stays reserved until the collector has the last record of it, however many pages it is given on in.
//! So a thousand shards hold no more than four do.
//!
//! An answer may hold more than was reserved: the first one, one after small ones, one that came late. The difference is
//! taken as far as it is free and never waited for, because all who wait could hold what the others wait for. So beyond
//! the budget there is at most one answer ([`LARGEST`]) for each reader that reserved too little, and no further one: it
//! then reserves by what it got, and whoever reserves waits until the rest is given back.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::batch::RawRecord;

/// What all readers hold together.
const BYTES: usize = 40 << 20;

/// The largest answer that Kinesis gives.
const LARGEST: usize = 10 << 20;

/// How many times its bytes an answer takes while it comes: in pieces, whole, and decoded.
const COMING: usize = 3;

/// The least that is expected of a shard that is behind: it may be the largest there is, whatever the last one was.
const BEHIND: usize = LARGEST / 4;

/// What is reserved for a shard that gives next to nothing.
pub(super) const LEAST: usize = 32 << 10;

/// What a record costs beside its payload.
const RECORD: usize = 160;

/// A unit of the semaphore, whose count has 32 bits only.
const UNIT: usize = 1 << 10;

/// The bytes that readers share; clones share them.
#[derive(Clone)]
pub(super) struct Budget(Arc<Semaphore>);

/// Bytes held until dropped.
#[derive(Debug, Default)]
pub(super) struct Held(Option<OwnedSemaphorePermit>);

impl Budget {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(BYTES / UNIT)))
    }

    /// Waits until an answer is welcome after one that held `last` bytes, while its shard is behind or not. A shard that has
    /// not answered yet counts as one that is behind: a start must not take one shard after the other.
    pub(super) async fn reserve(&self, last: Option<usize>, is_behind: bool) -> Held {
        let expected = last.map_or(BEHIND, |bytes| bytes.saturating_add(bytes / 4));
        let expected = if is_behind { expected.max(BEHIND) } else { expected };
        let bytes = (expected.min(LARGEST) * COMING).max(LEAST);
        let units = u32::try_from(bytes / UNIT).unwrap_or(1);
        // It is never closed; without a permit the reader would go on unbounded, but for its channel.
        Held(Arc::clone(&self.0).acquire_many_owned(units).await.ok())
    }
}

impl Held {
    /// Gives back what the answer does not need, or takes what it needs more as far as that is free.
    pub(super) fn fit(&mut self, bytes: usize) {
        let Some(permit) = &mut self.0 else { return };
        let (held, needed) = (permit.num_permits(), bytes.div_ceil(UNIT));
        let budget = Arc::clone(permit.semaphore());
        drop(permit.split(held.saturating_sub(needed)));
        let missing = needed.saturating_sub(held).min(budget.available_permits());
        if let Ok(more) = budget.try_acquire_many_owned(u32::try_from(missing).unwrap_or(0)) {
            permit.merge(more);
        }
    }

    /// Parts with so many of its bytes, as far as there are so many.
    pub(super) fn split(&mut self, bytes: usize) -> Self {
        let permit = self.0.as_mut();
        Self(permit.and_then(|permit| permit.split(bytes.div_ceil(UNIT).min(permit.num_permits()))))
    }
}

/// What a record holds in memory.
pub(super) fn bytes_of(record: &RawRecord) -> usize {
    record.payload.len() + RECORD
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio::task::unconstrained;

    use super::*;

    #[tokio::test]
    async fn readers_wait_for_each_other_once_the_bytes_are_given_out() {
        let budget = Budget::new();
        let mut held = Vec::new();
        while let Some(reserved) = budget.reserve(Some(LARGEST), true).now_or_never() {
            held.push(reserved);
        }
        assert_eq!(held.len(), BYTES / (COMING * LARGEST));
        held[0].fit(1);
        assert!(budget.reserve(Some(LARGEST), true).now_or_never().is_some(), "what was not needed is given back");
        held.clear();
        let reserve = |_| unconstrained(budget.reserve(Some(0), false)).now_or_never();
        let idle: Vec<Held> = (0..1000).filter_map(reserve).collect();
        assert_eq!(idle.len(), 1000, "a thousand idle shards wait for nobody");
    }

    #[tokio::test]
    async fn an_answer_larger_than_expected_takes_what_is_free_and_waits_for_nothing() {
        let budget = Budget::new();
        let free = || budget.0.available_permits() * UNIT;
        let mut held = budget.reserve(Some(0), false).await;
        held.fit(LARGEST);
        assert_eq!(free(), BYTES - LARGEST);
        let mut others: Vec<Held> = (0..5).filter_map(|_| budget.reserve(Some(0), false).now_or_never()).collect();
        others.iter_mut().for_each(|held| held.fit(LARGEST));
        assert_eq!((others.len(), free()), (5, 0), "what there was");
        assert!(budget.reserve(Some(0), false).now_or_never().is_none(), "the next one waits");
        drop((held, others));
        assert_eq!(free(), BYTES);
    }

    #[tokio::test]
    async fn what_is_left_of_an_answer_stays_reserved() {
        let budget = Budget::new();
        let free = || budget.0.available_permits() * UNIT;
        let mut held = budget.reserve(None, true).await;
        held.fit(LARGEST);
        let mut left = held.split(LARGEST / 2);
        drop(held);
        assert_eq!(free(), BYTES - LARGEST / 2);
        assert!(budget.reserve(None, true).now_or_never().is_some(), "one comes while another is handed over");
        let more = left.split(LARGEST);
        drop(left);
        assert_eq!(free(), BYTES - LARGEST / 2, "no more than there was");
        drop(more);
        assert_eq!(free(), BYTES);
    }

    #[tokio::test]
    async fn several_shards_of_which_nothing_is_known_or_that_are_behind_are_asked_at_once() {
        let full = 3_600_000;
        let cases =
            [(None, true, 5), (None, false, 5), (Some(0), true, 5), (Some(LEAST), true, 5), (Some(full), true, 3)];
        for (last, is_behind, expected) in cases {
            let budget = Budget::new();
            let held: Vec<Held> = (0..100).filter_map(|_| budget.reserve(last, is_behind).now_or_never()).collect();
            assert_eq!(held.len(), expected, "{last:?}");
        }
    }
}
