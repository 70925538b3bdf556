//! This worker's share of the stream: its heartbeats, and what they carry.
//!
//! Owns the membership for the life of a run, passes and all, so that a failure that is passed over within
//! [`crate::workers::DEAD_AFTER`] costs no shard its worker. In a longer pause, or while it connects, the worker is
//! silent on purpose: it reads nothing, and a shard goes to another only once its worker counts as dead. A heartbeat that
//! cannot be written leaves everything as it was: the journal decides anyway.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::{CancellationToken, DropGuard};

use super::progress::Progress;
use crate::batch::ShardId;
use crate::error::Result;
use crate::journal::State;
use crate::runtime::Context;
use crate::store::Store;
use crate::workers::{LoadingStopped, Members, Membership, ShardReport};

/// Heartbeats that fail in a row are told at the first, and then about once a minute.
const WARN_EVERY: u32 = 30;

/// Whether loading falls to this worker, as the last heartbeats say; clones see the same.
#[derive(Clone)]
pub(super) struct Duty {
    ours: Arc<AtomicBool>,
    /// Whether we would load now; where not, another may do better.
    offered: Arc<AtomicBool>,
    /// Cancelled when nobody here loads any more.
    laid_down: CancellationToken,
}

impl Duty {
    pub(super) fn is_ours(&self) -> bool {
        self.ours.load(Ordering::Relaxed)
    }

    /// From the next heartbeat on, loading goes to another, or comes back where none does better.
    pub(super) fn offer(&self, offered: bool) {
        self.offered.store(offered, Ordering::Relaxed);
    }

    fn is_offered(&self) -> bool {
        self.offered.load(Ordering::Relaxed) && !self.laid_down.is_cancelled()
    }

    /// Leaves loading to the others once the guard is dropped: whoever loads holds it.
    pub(super) fn hold(&self) -> DropGuard {
        self.laid_down.clone().drop_guard()
    }
}

pub(super) struct Share {
    membership: Membership,
    members: Members,
    duty: Duty,
    context: Context,
    /// Whether a heartbeat of ours has ever been written.
    is_known: bool,
    /// Shards read here, by the last heartbeat.
    shards: usize,
    /// The number of shards that was logged last.
    told: usize,
    /// Heartbeats that failed since the last that did not.
    failures: u32,
}

impl Share {
    /// Alone until the first heartbeat.
    pub(super) fn new(store: Store, context: Context) -> Self {
        let membership = Membership::new(store, context.clone());
        let members = Members::alone(membership.id().clone());
        Self {
            membership,
            members,
            duty: Duty {
                ours: Arc::new(AtomicBool::new(true)),
                offered: Arc::new(AtomicBool::new(true)),
                laid_down: CancellationToken::new(),
            },
            context,
            is_known: false,
            shards: 0,
            told: 0,
            failures: 0,
        }
    }

    pub(super) fn members(&self) -> &Members {
        &self.members
    }

    pub(super) fn duty(&self) -> Duty {
        self.duty.clone()
    }

    /// Says what is read here, and why loading has stopped here where it has; learns who lives.
    ///
    /// # Errors
    /// The store's, where not even a first heartbeat can be written.
    pub(super) async fn beat(&mut self, reports: Vec<ShardReport>, stopped: Option<LoadingStopped>) -> Result<()> {
        let shards = reports.len();
        let fails = stopped.is_some();
        self.membership.loading(self.duty.is_offered(), stopped);
        match self.membership.beat(reports).await {
            Ok(members) => {
                self.tell(shards, members.loads(), fails);
                self.duty.ours.store(members.loads(), Ordering::Relaxed);
                self.members = members;
                self.is_known = true;
                self.failures = 0;
                Ok(())
            }
            Err(error) if self.is_known => {
                if self.failures.is_multiple_of(WARN_EVERY) {
                    let failures = self.failures + 1;
                    tracing::warn!(%error, failures, "no heartbeat written; reading goes on as it was shared");
                }
                self.failures += 1;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Logs what has changed for this worker. A pass that begins reads nothing yet: a number of shards counts once two
    /// heartbeats have it.
    fn tell(&mut self, shards: usize, loads: bool, fails: bool) {
        if self.failures > 0 {
            tracing::info!(failures = self.failures, "heartbeats are written again");
        }
        // Whose loading fails has said so, and why; each try of it is no news.
        if loads != self.duty.is_ours() && self.duty.is_offered() && !fails {
            let whose = if loads { "this worker's from now on" } else { "no longer this worker's" };
            tracing::info!("loading is {whose}");
        }
        if shards == self.shards && shards != self.told {
            tracing::info!(shards, before = self.told, "the share of this worker has changed");
            self.told = shards;
        }
        self.shards = shards;
    }

    /// Takes the heartbeat away, so that the others take over at once.
    pub(super) async fn leave(&mut self) {
        if self.is_known
            && let Err(error) = self.membership.leave().await
        {
            tracing::warn!(%error, "our heartbeat stays behind; the other workers wait until it is old");
        }
    }

    /// What the heartbeat says of these shards.
    pub(super) fn reports(
        &self,
        running: &[ShardId],
        (progress, state): (&Progress, &State),
        retention: Option<Duration>,
    ) -> Vec<ShardReport> {
        let now = self.context.clock.now_micros();
        let totals = progress.totals();
        let report = |shard: &ShardId| {
            let known = totals.shards.get(shard).cloned().unwrap_or_default();
            let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
            ShardReport {
                shard: shard.clone(),
                position: state.positions.get(shard).cloned(),
                behind_ms: known.behind.map(millis),
                records_per_second: known.records_per_second(now),
                expires_in_ms: retention.and_then(|retention| known.expires_in(retention, now)).map(millis),
                read_at: known.read_at.div_euclid(1000),
            }
        };
        running.iter().map(report).collect()
    }
}
