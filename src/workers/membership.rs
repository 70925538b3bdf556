//! A worker's place among the others: it writes its heartbeat, looks at theirs, and takes its own away at the end.
//!
//! Owns our own heartbeat object. It decides nothing (`watch.rs` does) and keeps no time: whoever calls `beat` every
//! [`super::BEAT_EVERY`] is alive to the others. Deleting a long dead worker's heartbeat may fail; the next look tries
//! again.

use std::collections::{BTreeMap, BTreeSet};

use super::heartbeat::{FORMAT, Heartbeat, Host, LoadingStopped, ShardReport, WorkerId};
use super::machine::Machine;
use super::members::Members;
use super::objects;
use super::watch::{Findings, Sight, Watch};
use crate::error::Result;
use crate::runtime::{Context, blocking};
use crate::store::Store;

/// What this process says of itself, and what it has seen of the others.
pub struct Membership {
    store: Store,
    context: Context,
    machine: Machine,
    id: WorkerId,
    started_at: i64,
    /// Asked of the machine at the first beat.
    host: Option<Host>,
    beat: u64,
    loads: bool,
    loading_stopped: Option<LoadingStopped>,
    watch: Watch,
    /// Who lived at the last look, and where, to tell what changed.
    known: BTreeMap<WorkerId, String>,
}

impl Membership {
    /// A new worker; nothing is written yet.
    pub fn new(store: Store, context: Context) -> Self {
        Self::on(Machine::ours(), store, context)
    }

    pub(super) fn on(machine: Machine, store: Store, context: Context) -> Self {
        let id = WorkerId::new(context.random.id());
        let started_at = context.clock.now_millis();
        let (watch, known) = (Watch::new(id.clone()), BTreeMap::new());
        Self {
            store,
            context,
            machine,
            id,
            started_at,
            host: None,
            beat: 0,
            loads: true,
            loading_stopped: None,
            watch,
            known,
        }
    }

    /// Our id: random, new for each start.
    pub fn id(&self) -> &WorkerId {
        &self.id
    }

    /// From the next beat on, whether we offer to load, and why our loading has stopped where it has. While we do not
    /// offer it, loading goes to another.
    pub fn loading(&mut self, offered: bool, stopped: Option<LoadingStopped>) {
        self.loads = offered;
        self.loading_stopped = stopped;
        self.watch.loading(offered);
    }

    /// Writes our heartbeat with these reports, looks at the others', and says who lives. Safe to cancel; but a write
    /// that was under way may still come to its end, even after [`Membership::leave`].
    ///
    /// # Errors
    /// Transient where the store fails (Invalid where it is full): nothing new is known, and the members of the last
    /// beat are the best there are.
    pub async fn beat(&mut self, reports: Vec<ShardReport>) -> Result<Members> {
        let host = self.host().await?;
        self.write(host, reports).await?;
        // Before the first read: a sleep amid the reads is then a long way to the next look.
        let at = self.context.clock.now_millis();
        let sights = self.sights().await?;
        let found: BTreeMap<WorkerId, String> = sights.iter().map(place).collect();
        let Findings { members, buried, slept_ms, unreadable } = self.watch.look(at, sights);
        if let Some(millis) = slept_ms {
            tracing::warn!(millis, "no heartbeat of ours for so long; the other workers may have taken our shards");
        }
        for (worker, reason) in unreadable {
            tracing::warn!(path = worker.path(), %reason, "a worker's heartbeat can't be read; it counts while it changes");
        }
        self.tell(&members, &found);
        self.bury(buried).await;
        Ok(members)
    }

    /// Takes our heartbeat away: the others take our shards at their next look.
    ///
    /// # Errors
    /// Transient where the store fails; the others then take us for dead in time.
    pub async fn leave(&mut self) -> Result<()> {
        self.store.delete(&self.id.path()).await
    }

    async fn host(&mut self) -> Result<Host> {
        if let Some(host) = &self.host {
            return Ok(host.clone());
        }
        let machine = self.machine.clone();
        let host = blocking(move || Ok(machine.host())).await?;
        tracing::info!(worker = %self.id, host = named(&host), "this is a worker of the stream");
        self.host = Some(host.clone());
        Ok(host)
    }

    async fn write(&mut self, host: Host, shards: Vec<ShardReport>) -> Result<()> {
        // A number is used up even where its write fails: it may have succeeded all the same.
        self.beat += 1;
        let heartbeat = Heartbeat {
            format: FORMAT,
            worker: self.id.clone(),
            beat: self.beat,
            written_at: self.context.clock.now_millis(),
            started_at: self.started_at,
            host,
            loads: self.loads,
            loading_stopped: self.loading_stopped.clone(),
            shards,
        };
        self.store.put(&self.id.path(), heartbeat.to_json()?).await.map(drop)
    }

    /// What lies there, with a look for the processes of those seen for the first time.
    async fn sights(&self) -> Result<Vec<Sight>> {
        let mut sights = objects::look(&self.store).await?;
        let is_new = |sight: &Sight| sight.worker != self.id && !self.watch.knows(&sight.worker);
        if !sights.iter().any(is_new) {
            return Ok(sights);
        }
        let unknown: BTreeSet<WorkerId> =
            sights.iter().filter(|sight| is_new(sight)).map(|sight| sight.worker.clone()).collect();
        let machine = self.machine.clone();
        blocking(move || {
            for sight in sights.iter_mut().filter(|sight| unknown.contains(&sight.worker)) {
                sight.process_gone = sight.heartbeat.as_ref().is_ok_and(|heartbeat| machine.is_gone(&heartbeat.host));
            }
            Ok(sights)
        })
        .await
    }

    /// Logs who came and who went; `found` is where each worker runs whose heartbeat lies there, alive or not.
    fn tell(&mut self, members: &Members, found: &BTreeMap<WorkerId, String>) {
        let workers = members.ids().count();
        let at = |worker: &WorkerId| (worker.clone(), found.get(worker).cloned().unwrap_or_default());
        let now: BTreeMap<WorkerId, String> = members.ids().filter(|worker| **worker != self.id).map(at).collect();
        for (worker, host) in now.iter().filter(|(worker, _)| !self.known.contains_key(worker)) {
            tracing::info!(%worker, host, workers, "another worker shares the stream");
        }
        for (worker, host) in self.known.iter().filter(|(worker, _)| !now.contains_key(worker)) {
            if found.contains_key(worker) {
                tracing::warn!(%worker, host, workers, "a worker has died or is frozen; its shards go to the others");
            } else {
                tracing::info!(%worker, host, workers, "a worker has left; its shards go to the others");
            }
        }
        self.known = now;
    }

    async fn bury(&self, dead: Vec<WorkerId>) {
        for worker in dead {
            match self.store.delete(&worker.path()).await {
                Ok(()) => tracing::debug!(%worker, "deleted the heartbeat of a long dead worker"),
                Err(error) => tracing::debug!(%worker, %error, "cannot delete the heartbeat of a long dead worker"),
            }
        }
    }
}

/// Where the worker of a heartbeat runs, in words.
fn place(sight: &Sight) -> (WorkerId, String) {
    let host = sight.heartbeat.as_ref().map_or_else(|_| "unknown".to_owned(), |heartbeat| named(&heartbeat.host));
    (sight.worker.clone(), host)
}

fn named(host: &Host) -> String {
    format!("{}, process {}", host.name, host.pid)
}
