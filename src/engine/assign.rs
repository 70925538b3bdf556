//! Which shards this worker reads now: discovery, the order of parents and children, and its share among workers.
//!
//! Owns the readers of a pass: it starts one for each shard that may be read and is this worker's, and stops one whose
//! shard has gone to another. It decides by three things that it looks at again and again: the stream's list of shards,
//! the journal (which parent is read to its end), and the heartbeats (who lives). It commits nothing: what it decides is
//! for speed and order, the journal's check of ranges is for truth. Nothing but the store keeps a heartbeat waiting.
//!
//! A shard that goes to another worker is said to be read here until what was read of it is in the journal: the other
//! begins there, and so does this one where the shard comes back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::listing::{self, Listing, Listings};
use super::loss::{self, Evidence};
use super::read::{Beginning, End, Read, Reading, read};
use super::share::Share;
use crate::batch::{Marks, Opening, ShardId, StartAt};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{Follower, State};
use crate::runtime::Tasks;
use crate::source::{Known, Shard, ShardPlan, plan};
use crate::workers::BEAT_EVERY;

/// Ends of readers that wait to be noted.
const ENDS_WAITING: usize = 16;

/// A start that was nearer to the horizon when the chain opened is no promise: records go while the first run begins.
const TO_SPARE: Duration = Duration::from_secs(600);

/// What becomes of a shard that has a reader.
enum Reader {
    /// It reads until this is cancelled.
    Running(CancellationToken),
    /// It was told to stop; the shard is another worker's.
    Leaving,
    /// The shard is read to its end, which the journal does not say yet.
    Finished,
    /// It has all there was when draining began, and another would go on here.
    AtTip(Beginning),
}

pub(super) struct Assignment<'a> {
    reading: Reading,
    share: &'a mut Share,
    follower: Follower,
    readers: BTreeMap<ShardId, Reader>,
    /// Shards that this pass has read and left to others, and where.
    left: BTreeMap<ShardId, StartAt>,
    listings: Listings,
    /// Shards that were read to their end.
    finished: u64,
    plan: ShardPlan,
    /// Vanished shards, and the entry that the journal was known through when they were first missed.
    missing: BTreeMap<ShardId, u64>,
    /// Ends of shards that are given up, to be sent as there is room.
    given_up: VecDeque<Read>,
    tasks: Tasks,
    ends: Ends,
}

/// Both sides of the channel on which readers tell how they ended.
type Ends = (mpsc::Sender<(ShardId, End)>, mpsc::Receiver<(ShardId, End)>);

impl<'a> Assignment<'a> {
    pub(super) fn new(reading: Reading, share: &'a mut Share, follower: Follower) -> Self {
        Self {
            reading,
            share,
            follower,
            readers: BTreeMap::new(),
            left: BTreeMap::new(),
            listings: Listings::default(),
            finished: 0,
            plan: ShardPlan::default(),
            missing: BTreeMap::new(),
            given_up: VecDeque::new(),
            tasks: Tasks::new(),
            ends: mpsc::channel(ENDS_WAITING),
        }
    }

    /// Assigns until drained or stopped, or until one of `steps` or a reader fails; then every reader has ended, and
    /// nothing more is sent. `committed` is told of each commit that ends a shard.
    ///
    /// # Errors
    /// The first failure of a reader, a step or the assignment itself.
    pub(super) async fn run(mut self, steps: &mut Tasks, committed: &Notify) -> Result<()> {
        let stop = self.reading.controls.stop.clone();
        let outcome = tokio::select! {
            biased;
            // Whatever the stream or the store keeps it waiting for.
            () = stop.cancelled() => Ok(()),
            outcome = self.assign(steps, committed) => outcome,
        };
        for reader in self.readers.values() {
            if let Reader::Running(stop) = reader {
                stop.cancel();
            }
        }
        drop(self.ends.1);
        let joined = self.tasks.join().await;
        // Whatever the readers say once they are told to stop is worth less than why they were.
        outcome.and(joined)
    }

    async fn assign(&mut self, steps: &mut Tasks, committed: &Notify) -> Result<()> {
        let context = self.reading.job.context.clone();
        let (drain, pages) = (self.reading.controls.drain.clone(), self.reading.pages.clone());
        self.beat().await?;
        // Soon, for the first one could not say yet what is read here.
        let mut beat = context.clock.sleep(BEAT_EVERY / 8);
        loop {
            // However many readers ended: one look.
            while let Ok((shard, end)) = self.ends.1.try_recv() {
                self.note(shard, end);
            }
            let drains = drain.is_cancelled();
            self.look(context.clock.now_micros(), drains)?;
            if self.is_drained() {
                return Ok(());
            }
            tokio::select! {
                biased;
                // Whatever else there is to do: who is silent is dead to the others.
                () = &mut beat => {
                    beat = context.clock.sleep(BEAT_EVERY);
                    self.beat().await?;
                }
                Some(step) = steps.next() => step?,
                Some((shard, end)) = self.ends.1.recv() => self.note(shard, end),
                Some(reader) = self.tasks.next() => reader?,
                () = committed.notified() => self.follow().await?,
                () = drain.cancelled(), if !drains => {}
                // A closed channel means that a step has failed; its error is the one to tell.
                Ok(place) = pages.reserve(), if !self.given_up.is_empty() => {
                    if let Some(end) = self.given_up.pop_front() {
                        place.send(end);
                    }
                }
                listed = self.listings.next() => {
                    listed?;
                    self.reading.controls.progress.called(self.reading.source.counts());
                }
            }
        }
    }

    /// Tells the others what is read here, and learns from them and from the journal; in this order, for who has left a
    /// shard has committed what it read.
    async fn beat(&mut self) -> Result<()> {
        let state = self.follower.state();
        let holds = |(shard, reader): (&ShardId, &Reader)| match reader {
            Reader::Running(_) | Reader::Leaving | Reader::Finished => Some(shard.clone()),
            Reader::AtTip(place) => (!is_committed(shard, &place.start, state)).then(|| shard.clone()),
        };
        let mut held: Vec<ShardId> = self.readers.iter().filter_map(holds).collect();
        let unsaved = self.left.iter().filter(|(shard, at)| !is_committed(shard, at, state));
        held.extend(unsaved.map(|(shard, _)| shard.clone()));
        let progress = self.reading.controls.progress.clone();
        let reports = self.share.reports(&held, (&progress, state), self.reading.retention.get());
        self.share.beat(reports, progress.totals().loading_stopped).await?;
        progress.shared_by(self.share.members().ids().count());
        self.follow().await?;
        self.forget_others();
        Ok(())
    }

    /// Tells no more of shards that are neither read here nor to be read. One of an earlier pass is among them where another
    /// worker has read it to its end meanwhile.
    fn forget_others(&self) {
        let (members, state) = (self.share.members(), self.follower.state());
        let is_unsaved = |shard: &ShardId| self.left.get(shard).is_some_and(|at| !is_committed(shard, at, state));
        let is_ours = |shard: &ShardId| members.is_ours(shard) && !state.marks.ended.contains(shard);
        let is_told = |shard: &ShardId| self.readers.contains_key(shard) || is_unsaved(shard) || is_ours(shard);
        self.reading.controls.progress.keep(is_told);
    }

    /// Learns what was committed. A store that does not answer now is asked again with the next heartbeat.
    async fn follow(&mut self) -> Result<()> {
        match self.follower.catch_up().await {
            Err(error) if error.kind() == ErrorKind::Transient => {
                tracing::warn!(%error, "cannot look at the journal; reading goes on as it was assigned");
                Ok(())
            }
            outcome => outcome.map(drop),
        }
    }

    /// Looks at what there is to read, starts and stops readers, and asks for a new list where it needs one.
    fn look(&mut self, now: i64, draining: bool) -> Result<()> {
        self.is_same_chain()?;
        if let Some(listing) = self.listings.latest() {
            let state = self.follower.state();
            let (opening, positions) = (state.opening.as_ref(), &state.positions);
            self.plan = plan(&listing.shards, &Known { opening, positions, ended: &state.marks.ended });
            self.give_up_vanished(now)?;
            self.stop_others();
            self.start_ours();
        }
        let known = listing::Known { through: self.follower.state().through, ends: self.finished, draining };
        self.listings.ask(&self.reading, known, !self.missing.is_empty());
        Ok(())
    }

    /// A chain that another worker opened meanwhile is another stream's.
    fn is_same_chain(&self) -> Result<()> {
        let stream = self.follower.state().opening.as_ref().map(|opening| &opening.stream);
        if stream == Some(&self.reading.stream) {
            return Ok(());
        }
        Err(Error::fenced("another worker has found the stream made anew, and opened a new chain in the journal"))
    }

    /// Whether the shard is this worker's, nobody reads it still, and what was read of it here is in the journal.
    fn is_free(&self, shard: &ShardId) -> bool {
        let (members, state) = (self.share.members(), self.follower.state());
        let is_known = self.left.get(shard).is_none_or(|at| is_committed(shard, at, state));
        is_known && members.is_ours(shard) && members.still_reads(shard).is_none()
    }

    /// Shards of ours that the stream dropped before they were read to their end, and that nobody reads.
    fn vanished(&self) -> BTreeSet<ShardId> {
        let ours = |shard: &&ShardId| !self.readers.contains_key(*shard) && self.is_free(shard);
        self.plan.vanished.iter().filter(ours).cloned().collect()
    }

    /// Gives up the shards that are gone. One that the journal knows and an older list does not may have come since, and
    /// the list may be another stream's: it takes one that was asked for after the shard was missed.
    fn give_up_vanished(&mut self, now: i64) -> Result<()> {
        let vanished = self.vanished();
        self.missing.retain(|shard, _| vanished.contains(shard));
        for shard in vanished {
            let state = self.follower.state();
            let missed = *self.missing.entry(shard.clone()).or_insert(state.through);
            let is_new = |listing: &Listing| listing.is_described && listing.known.through >= missed;
            if !self.listings.latest().is_some_and(is_new) {
                continue;
            }
            let evidence = Evidence::at(now, state.marks.caught_up.get(&shard).copied(), self.reading.retention.get());
            let loss = loss::judge(&shard, (state.positions.get(&shard), None), evidence);
            self.reading.answer_for(loss.as_ref())?;
            self.missing.remove(&shard);
            self.readers.insert(shard.clone(), Reader::Finished);
            self.given_up.push_back(Read::end(shard, loss));
        }
        Ok(())
    }

    /// Stops the readers of shards that went to another worker, or that another worker has read to their end.
    fn stop_others(&mut self) {
        let ended = &self.follower.state().marks.ended;
        let before = self.readers.len();
        self.readers.retain(|shard, reader| !(matches!(reader, Reader::Finished) && ended.contains(shard)));
        if self.readers.len() < before {
            self.forget_others();
        }
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

    /// Starts a reader for each shard that is ours, may be read and is read by nobody.
    fn start_ours(&mut self) {
        let starting: Vec<Beginning> =
            self.plan.ready.iter().filter_map(|(shard, start)| self.beginning(shard, start)).collect();
        for beginning in starting {
            let (id, stop) = (beginning.shard.id.clone(), CancellationToken::new());
            let work = read(self.reading.clone(), beginning, stop.clone());
            let (ends, told) = (self.ends.0.clone(), id.clone());
            self.tasks.spawn(format!("reading {id}"), async move {
                let end = work.await?;
                // Nobody listens only where the pass is over already.
                let _ = ends.send((told, end)).await;
                Ok(())
            });
            self.left.remove(&id);
            self.readers.insert(id, Reader::Running(stop));
        }
    }

    /// Where a reader of this shard is to begin; none where it is not to be read here, or is read already.
    fn beginning(&self, shard: &Shard, start: &StartAt) -> Option<Beginning> {
        match self.readers.get(&shard.id) {
            None if self.is_free(&shard.id) => {
                let caught_up = caught_up(shard, self.follower.state(), self.reading.retention.get());
                Some(Beginning { shard: shard.clone(), start: start.clone(), caught_up })
            }
            // It was closed before draining began: its end is still to be told, and its children to be read.
            Some(Reader::AtTip(place)) if shard.closed && self.share.members().is_ours(&shard.id) => {
                Some(Beginning { shard: shard.clone(), ..place.clone() })
            }
            _ => None,
        }
    }

    fn note(&mut self, shard: ShardId, end: End) {
        match end {
            End::OfShard => {
                self.readers.insert(shard, Reader::Finished);
                // Its children are to be seen.
                self.finished += 1;
            }
            End::AtTip(place) => drop(self.readers.insert(shard, Reader::AtTip(place))),
            End::Stopped(place) => {
                self.readers.remove(&shard);
                self.left.insert(shard, place.start);
            }
        }
    }

    /// Whether everything of ours that was in the stream when draining began has been read.
    fn is_drained(&self) -> bool {
        let members = self.share.members();
        let under_way = |reader: &Reader| !matches!(reader, Reader::AtTip(_));
        let at_tip = |shard: &Shard| !shard.closed && matches!(self.readers.get(&shard.id), Some(Reader::AtTip(_)));
        let is_new = |listing: &Listing| listing.known.draining && listing.known.ends >= self.finished;
        self.listings.latest().is_some_and(is_new)
            && !self.readers.values().any(under_way)
            && self.plan.ready.iter().all(|(shard, _)| at_tip(shard) || !members.is_ours(&shard.id))
            && !self.plan.waiting.keys().any(|shard| members.is_ours(shard))
    }
}

/// Whether the journal knows everything that was read of the shard up to there.
fn is_committed(shard: &ShardId, at: &StartAt, state: &State) -> bool {
    match at {
        StartAt::After(position) => state.positions.get(shard).is_some_and(|committed| committed >= position),
        StartAt::TrimHorizon | StartAt::Time(_) => true,
    }
}

/// Until when everything of a shard is known to be read, ms since 1970 UTC: by its own mark, else by what came before it,
/// else by the opening of the chain.
fn caught_up(shard: &Shard, state: &State, retention: Option<Duration>) -> Option<i64> {
    let Marks { caught_up, .. } = &state.marks;
    let parents = || shard.parents.iter().filter_map(|parent| caught_up.get(parent)).max().copied();
    let opening = || state.opening.as_ref().and_then(|opening| at_opening(&shard.id, opening, retention));
    caught_up.get(&shard.id).copied().or_else(parents).or_else(opening)
}

/// The same for a shard of which nothing is known but the opening. Where the chain starts at a time, all that arrived
/// since is to be read, if the stream held it then with time to spare. The oldest record moves while the first run
/// begins: of a start there it is not known what was to be read, and only what came after the opening counts.
fn at_opening(shard: &ShardId, opening: &Opening, retention: Option<Duration>) -> Option<i64> {
    let opened_at = opening.opened_at?;
    let was_there = opening.shards.as_ref().is_some_and(|shards| shards.contains(shard));
    let kept = retention.map(|kept| i64::try_from(kept.saturating_sub(TO_SPARE).as_millis()).unwrap_or(i64::MAX));
    match opening.start {
        StartAt::Time(time) if was_there && kept.is_none_or(|kept| time >= opened_at.saturating_sub(kept)) => {
            Some(time)
        }
        _ => Some(opened_at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::StreamIdentity;

    #[test]
    fn a_start_at_a_time_that_the_stream_held_is_what_an_unread_shard_is_caught_up_to() {
        let (hour, opened_at) = (3_600_000, 1_795_176_000_000);
        let day = Some(Duration::from_secs(86_400));
        let held = opened_at - 20 * hour;
        let cases = [
            (StartAt::Time(held), true, day, held),
            (StartAt::Time(held), true, None, held),
            (StartAt::Time(opened_at + hour), true, day, opened_at + hour),
            (StartAt::Time(held), false, day, opened_at),
            (StartAt::Time(opened_at - 24 * hour), true, day, opened_at),
            (StartAt::Time(opened_at - 24 * hour + 599_999), true, day, opened_at),
            (StartAt::Time(opened_at - 24 * hour + 600_000), true, day, opened_at - 24 * hour + 600_000),
            (StartAt::Time(0), true, day, opened_at),
            (StartAt::TrimHorizon, true, day, opened_at),
        ];
        for (start, was_there, retention, expected) in cases {
            let stream = StreamIdentity { arn: "arn".into(), created_at: 0 };
            let shards = Some([ShardId::new(if was_there { "s" } else { "other" })].into());
            let opening = Opening { stream, start, opened_at: Some(opened_at), shards };
            assert_eq!(at_opening(&ShardId::new("s"), &opening, retention), Some(expected), "{opening:?}");
            let early = Opening { opened_at: None, ..opening };
            assert_eq!(at_opening(&ShardId::new("s"), &early, retention), None, "format 1 does not say");
        }
    }
}
