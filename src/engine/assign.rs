//! Which shards this worker reads now: discovery, the order of parents and children, and its share among workers.
//!
//! Owns the readers of a pass: it starts one for each shard that may be read and is this worker's, and stops one whose
//! shard has gone to another. It decides by three things that it looks at again and again: the stream's list of shards,
//! the journal (which parent is read to its end), and the heartbeats (who lives). It commits nothing: what it decides is
//! for speed and order, the journal's check of ranges is for truth.
//!
//! A shard that comes back to this worker within a pass ends the pass: what was read of it before may still be on its
//! way to the journal, and the next pass begins from there.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::loss::{self, Evidence};
use super::read::{Beginning, End, Read, Reading, read};
use super::share::Share;
use crate::batch::{Marks, ShardId, StartAt};
use crate::error::{Error, Result};
use crate::journal::{Follower, State};
use crate::runtime::Tasks;
use crate::source::{Known, Shard, ShardPlan, plan};
use crate::workers::BEAT_EVERY;

/// The stream's shards are listed this often at least, in µs: new ones are seen within 10 s.
const LIST_EVERY: i64 = 5_000_000;

/// Ends of readers that wait to be noted.
const ENDS_WAITING: usize = 16;

/// How an assignment ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// Drained or stopped.
    Done,
    /// A shard came back to this worker: go on from the journal.
    Again,
}

/// What becomes of a shard that has a reader.
enum Reader {
    /// It reads until this is cancelled.
    Running(CancellationToken),
    /// It was told to stop; the shard is another worker's.
    Leaving,
    /// The shard is read to its end, which the journal does not say yet.
    Finished,
    /// It has all there was when draining began.
    AtTip,
}

pub(super) struct Assignment<'a> {
    reading: Reading,
    share: &'a mut Share,
    follower: Follower,
    readers: BTreeMap<ShardId, Reader>,
    /// Shards that this pass has read and left to others.
    left: BTreeSet<ShardId>,
    listed: Vec<Shard>,
    /// When the shards were listed, µs since 1970 UTC; none where they must be listed anew.
    listed_at: Option<i64>,
    plan: ShardPlan,
    tasks: Tasks,
    ends: (mpsc::Sender<(ShardId, End)>, mpsc::Receiver<(ShardId, End)>),
}

impl<'a> Assignment<'a> {
    pub(super) fn new(reading: Reading, share: &'a mut Share, follower: Follower) -> Self {
        Self {
            reading,
            share,
            follower,
            readers: BTreeMap::new(),
            left: BTreeSet::new(),
            listed: Vec::new(),
            listed_at: None,
            plan: ShardPlan::default(),
            tasks: Tasks::new(),
            ends: mpsc::channel(ENDS_WAITING),
        }
    }

    /// Assigns until drained or stopped, until a shard comes back, or until one of `steps` or a reader fails; then every
    /// reader has ended, and nothing more is sent. `committed` is told of each commit that ends a shard.
    ///
    /// # Errors
    /// The first failure of a reader, a step or the assignment itself.
    pub(super) async fn run(mut self, steps: &mut Tasks, committed: &Notify) -> Result<Ended> {
        let outcome = self.assign(steps, committed).await;
        for reader in self.readers.values() {
            if let Reader::Running(stop) = reader {
                stop.cancel();
            }
        }
        drop(self.ends.1);
        let joined = self.tasks.join().await;
        // Whatever the readers say once they are told to stop is worth less than why they were.
        outcome.and_then(|ended| joined.map(|()| ended))
    }

    async fn assign(&mut self, steps: &mut Tasks, committed: &Notify) -> Result<Ended> {
        let context = self.reading.job.context.clone();
        let controls = self.reading.controls.clone();
        self.beat().await?;
        let mut beat = context.clock.sleep(BEAT_EVERY);
        loop {
            if let Some(ended) = self.look(context.clock.now_micros()).await? {
                return Ok(ended);
            }
            tokio::select! {
                biased;
                () = controls.stop.cancelled() => return Ok(Ended::Done),
                Some(step) = steps.next() => step?,
                Some((shard, end)) = self.ends.1.recv() => self.note(shard, end),
                Some(reader) = self.tasks.next() => reader?,
                () = committed.notified() => drop(self.follower.catch_up().await?),
                () = &mut beat => {
                    beat = context.clock.sleep(BEAT_EVERY);
                    self.follower.catch_up().await?;
                    self.beat().await?;
                }
            }
        }
    }

    async fn beat(&mut self) -> Result<()> {
        let runs = |(shard, reader): (&ShardId, &Reader)| matches!(reader, Reader::Running(_)).then(|| shard.clone());
        let running: Vec<ShardId> = self.readers.iter().filter_map(runs).collect();
        let known = (&self.reading.controls.progress, self.follower.state());
        let reports = self.share.reports(&running, known, self.reading.retention);
        self.share.beat(reports).await
    }

    /// Looks at what there is to read, and starts and stops readers; tells where the pass is over.
    async fn look(&mut self, now: i64) -> Result<Option<Ended>> {
        if self.listed_at.is_none_or(|listed_at| now.saturating_sub(listed_at) >= LIST_EVERY) {
            self.listed = self.reading.source.shards().await?;
            self.listed_at = Some(now);
            self.reading.controls.progress.called(self.reading.source.counts());
        }
        self.is_same_chain()?;
        let state = self.follower.state();
        let known = Known { opening: state.opening.as_ref(), positions: &state.positions, ended: &state.marks.ended };
        self.plan = plan(&self.listed, &known);
        self.give_up_vanished(now).await?;
        self.stop_others();
        if self.start_ours().await? {
            return Ok(Some(Ended::Again));
        }
        Ok(self.is_drained().then_some(Ended::Done))
    }

    /// A chain that another worker opened meanwhile is another stream's.
    fn is_same_chain(&self) -> Result<()> {
        let stream = self.follower.state().opening.as_ref().map(|opening| &opening.stream);
        if stream == Some(&self.reading.stream) {
            return Ok(());
        }
        Err(Error::fenced("another worker has found the stream made anew, and opened a new chain in the journal"))
    }

    /// Shards that the stream dropped before they were read to their end.
    async fn give_up_vanished(&mut self, now: i64) -> Result<()> {
        let (members, state) = (self.share.members(), self.follower.state());
        let ours = |shard: &&ShardId| members.is_ours(shard) && !self.readers.contains_key(*shard);
        let vanished: Vec<ShardId> = self.plan.vanished.iter().filter(ours).cloned().collect();
        for shard in vanished {
            let evidence = Evidence::at(now, state.marks.caught_up.get(&shard).copied(), self.reading.retention);
            let loss = loss::judge(&shard, (state.positions.get(&shard), None), evidence);
            self.reading.answer_for(loss.as_ref())?;
            self.readers.insert(shard.clone(), Reader::Finished);
            // A closed channel means that a step has failed; its error is the one to tell.
            let _ = self.reading.pages.send(Read::end(shard, loss)).await;
        }
        Ok(())
    }

    /// Stops the readers of shards that went to another worker, or that another worker has read to their end.
    fn stop_others(&mut self) {
        let ended = &self.follower.state().marks.ended;
        self.readers.retain(|shard, reader| !(matches!(reader, Reader::Finished) && ended.contains(shard)));
        let members = self.share.members();
        for (shard, reader) in &mut self.readers {
            let is_over = ended.contains(shard) || !members.is_ours(shard);
            match reader {
                Reader::Running(stop) if is_over => {
                    stop.cancel();
                    *reader = Reader::Leaving;
                }
                _ => {}
            }
        }
    }

    /// Starts a reader for each shard that is ours, may be read and is read by nobody; true where one of them was
    /// read in this pass before.
    async fn start_ours(&mut self) -> Result<bool> {
        let members = self.share.members();
        let free = |shard: &ShardId| members.is_ours(shard) && members.still_reads(shard).is_none();
        let ready = self.plan.ready.iter();
        let starting: Vec<(Shard, StartAt)> =
            ready.filter(|(shard, _)| !self.readers.contains_key(&shard.id) && free(&shard.id)).cloned().collect();
        if starting.iter().any(|(shard, _)| self.left.contains(&shard.id)) {
            return Ok(true);
        }
        for (shard, start) in starting {
            let (id, stop) = (shard.id.clone(), CancellationToken::new());
            let caught_up = caught_up(&shard, self.follower.state());
            let work = read(self.reading.clone(), Beginning { shard, start, caught_up }, stop.clone());
            let (ends, told) = (self.ends.0.clone(), id.clone());
            self.tasks.spawn(format!("reading {id}"), async move {
                let end = work.await?;
                // Nobody listens only where the pass is over already.
                let _ = ends.send((told, end)).await;
                Ok(())
            });
            self.readers.insert(id, Reader::Running(stop));
        }
        Ok(false)
    }

    fn note(&mut self, shard: ShardId, end: End) {
        match end {
            End::OfShard => {
                self.readers.insert(shard, Reader::Finished);
                // Its children are to be seen.
                self.listed_at = None;
            }
            End::AtTip => drop(self.readers.insert(shard, Reader::AtTip)),
            End::Stopped => {
                self.readers.remove(&shard);
                self.reading.controls.progress.released(&shard);
                self.left.insert(shard);
            }
        }
    }

    /// Whether everything of ours that is in the stream now has been read.
    fn is_drained(&self) -> bool {
        let members = self.share.members();
        let at_tip = |shard: &ShardId| matches!(self.readers.get(shard), Some(Reader::AtTip));
        let under_way = |reader: &Reader| matches!(reader, Reader::Running(_) | Reader::Leaving | Reader::Finished);
        self.reading.controls.drain.is_cancelled()
            && !self.readers.values().any(under_way)
            && self.plan.ready.iter().all(|(shard, _)| at_tip(&shard.id) || !members.is_ours(&shard.id))
            && !self.plan.waiting.keys().any(|shard| members.is_ours(shard))
    }
}

/// Until when everything of a shard is known to be read, ms since 1970 UTC: by its own mark, else by what came before it.
fn caught_up(shard: &Shard, state: &State) -> Option<i64> {
    let Marks { caught_up, .. } = &state.marks;
    let parents = || shard.parents.iter().filter_map(|parent| caught_up.get(parent)).max().copied();
    let opened_at = || state.opening.as_ref().and_then(|opening| opening.opened_at);
    caught_up.get(&shard.id).copied().or_else(parents).or_else(opened_at)
}
