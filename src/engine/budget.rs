//! How much of the stream may be in memory on its way to a batch.
//!
//! Owns the bytes that readers share: a reader reserves what its next answer may hold before it asks, and what the
//! answer really holds stays reserved until the collector has it. So a thousand shards hold no more than four do.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::batch::RawRecord;

/// What all readers hold together.
const BYTES: usize = 48 << 20;

/// The largest answer that Kinesis gives.
pub(super) const LARGEST: usize = 10 << 20;

/// What is reserved for a shard that gives next to nothing.
const LEAST: usize = 32 << 10;

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

    /// Waits until an answer is welcome after one that held `last` bytes, while its shard is behind or not.
    pub(super) async fn reserve(&self, last: usize, is_behind: bool) -> Held {
        let expected = if is_behind { last.saturating_mul(2).max(LARGEST / 10) } else { last.saturating_mul(2) };
        let units = u32::try_from(expected.clamp(LEAST, LARGEST) / UNIT).unwrap_or(1);
        // It is never closed; without a permit the reader would go on unbounded, but for its channel.
        Held(Arc::clone(&self.0).acquire_many_owned(units).await.ok())
    }
}

impl Held {
    /// Gives back what the answer did not need.
    pub(super) fn shrink_to(&mut self, bytes: usize) {
        let Some(permit) = &mut self.0 else { return };
        let spare = permit.num_permits().saturating_sub(bytes.div_ceil(UNIT));
        drop(permit.split(spare));
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
        while let Some(reserved) = budget.reserve(LARGEST, true).now_or_never() {
            held.push(reserved);
        }
        assert_eq!(held.len(), BYTES / LARGEST);
        held[0].shrink_to(1);
        assert!(budget.reserve(LARGEST, true).now_or_never().is_some(), "what was not needed is given back");
        held.clear();
        let reserve = |_| unconstrained(budget.reserve(0, false)).now_or_never();
        let idle: Vec<Held> = (0..1000).filter_map(reserve).collect();
        assert_eq!(idle.len(), 1000, "a thousand idle shards wait for nobody");
    }

    #[tokio::test]
    async fn an_answer_larger_than_expected_keeps_what_it_has() {
        let budget = Budget::new();
        let mut held = budget.reserve(0, false).await;
        held.shrink_to(LARGEST);
        assert_eq!(held.0.as_ref().map(OwnedSemaphorePermit::num_permits), Some(LEAST / UNIT));
    }
}
