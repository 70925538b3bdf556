//! One writer's view of the log, and the commit protocol.
//!
//! A logical commit keeps one attempt id through all its puts. It moves on to the next number only after it has seen
//! this one taken by someone else's entry: from then on its own put at this number, even one still on its way, can
//! never land. So a batch stands in the log at most once, whatever became of an answer.

use std::sync::Arc;

use bytes::Bytes;

use super::check::Broken;
use super::log::{BACKOFF, Log};
use super::record::{FORMAT, Recorded, encode, entry_path};
use super::snapshot;
use super::state::State;
use crate::batch::{Counts, Entry, Marks, Opening, RangeError, Ranges, Staged};
use crate::error::{Error, Result};
use crate::runtime::{Context, retry};
use crate::store::{Put, Store};

/// A batch is committed again soon or never.
const REMEMBERED: usize = 16;

/// One writer's view of a pipeline's journal.
pub struct Journal {
    log: Log,
    context: Context,
    pipeline: String,
    writer: String,
    state: State,
    /// Entries of this writer that stand in the log without their commit having said so: it failed, or was dropped,
    /// before the answer came. The same batch committed again is one of these, and not a second entry.
    unacknowledged: Vec<Arc<Entry>>,
    /// The newest opening that was folded without the caller knowing: a batch in its hands is of the chain before,
    /// and its positions mean nothing in this one, even where they happen to fit.
    untold_chain: Option<Arc<Entry>>,
}

/// How a put ended.
enum Outcome {
    /// This attempt's entry stands in the log.
    Ours,
    /// The number is someone else's.
    Taken(Recorded),
    /// It cannot be told: the store does not answer.
    Unknown(Error),
}

impl Journal {
    /// Opens the journal of `pipeline` on the store for one more writer, and folds it; an empty store is an empty
    /// journal. Nothing is written, but for a snapshot where much was folded.
    ///
    /// # Errors
    /// Transient; Corrupt where the log contradicts itself; Invalid where it is another pipeline's or a newer
    /// Millstream's.
    pub async fn open(store: Store, context: Context, pipeline: &str) -> Result<Self> {
        let log = Log::patient(store, context.clone());
        let state = snapshot::resume(&log, pipeline).await?;
        let writer = context.random.id();
        let (pipeline, unacknowledged, untold_chain) = (pipeline.to_owned(), Vec::new(), None);
        Ok(Self { log, context, pipeline, writer, state, unacknowledged, untold_chain })
    }

    /// What the log says, as far as this writer has folded it.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The pipeline's name.
    pub(super) fn pipeline(&self) -> &str {
        &self.pipeline
    }

    /// Opens the chain of a stream: positions start anew. Where another writer opens the chain of the same stream at
    /// the same time, there is one entry, and both get it.
    ///
    /// # Errors
    /// Fenced where the stream's chain is open already, or another writer opens another stream's meanwhile;
    /// Transient where the store does not answer: the chain may then be open all the same.
    pub async fn open_chain(&mut self, opening: Opening) -> Result<Arc<Entry>> {
        let mut draft = self.draft();
        draft.opening = Some(opening);
        let entry = self.append(draft).await?;
        self.untold_chain.take_if(|chain| chain.number <= entry.number);
        Ok(entry)
    }

    /// Commits a staged batch: when this returns its entry, everything in it is true.
    ///
    /// # Errors
    /// Fenced where other entries cover its ranges, or the stream was made anew: it is not in the log, drop it and
    /// start again from [`Journal::state`]. Transient where the store does not answer: it may be in the log; commit
    /// the same batch again through this journal, or start again from the log. Internal where its counts do not add
    /// up, it is empty, or no chain is open.
    pub async fn commit(&mut self, staged: &Staged) -> Result<Arc<Entry>> {
        let draft = Entry {
            ranges: staged.ranges.clone(),
            marks: staged.marks.clone(),
            tables: staged.tables.clone(),
            quarantine: staged.quarantine.clone(),
            counts: staged.counts.clone(),
            dimension_files: staged.dimension_files.clone(),
            ..self.draft()
        };
        self.append(draft).await
    }

    /// An entry of this writer without contents, a place in the log or an attempt.
    fn draft(&self) -> Entry {
        Entry {
            format: FORMAT,
            number: 0,
            previous: None,
            pipeline: self.pipeline.clone(),
            writer: self.writer.clone(),
            attempt: String::new(),
            written_at: 0,
            opening: None,
            ranges: Ranges::new(),
            marks: Marks::default(),
            tables: Default::default(),
            quarantine: Vec::new(),
            counts: Counts::default(),
            dimension_files: Default::default(),
        }
    }

    async fn append(&mut self, draft: Entry) -> Result<Arc<Entry>> {
        let attempt = self.context.random.id();
        loop {
            if let Some(entry) = self.acknowledged(&draft) {
                return Ok(entry);
            }
            if let Some(entry) = self.same_chain(&draft)? {
                return Ok(entry);
            }
            let (number, written_at) = (self.state.through + 1, self.context.clock.now_millis());
            let (previous, attempt) = (self.state.digest, attempt.clone());
            let entry = Arc::new(Entry { number, previous, written_at, attempt, ..draft.clone() });
            if let Err(broken) = self.state.follows(&self.pipeline, &entry) {
                // Its ranges may begin where another writer's newest entry ends, which is not folded here yet.
                if self.catch_up().await?.is_empty() {
                    return Err(refusal(number, broken));
                }
                continue;
            }
            let (bytes, digest) = encode(entry.as_ref())?;
            match self.put(&entry, bytes).await? {
                Outcome::Ours => {
                    self.fold(&Recorded { entry: Arc::clone(&entry), digest })?;
                    if snapshot::is_due(number) {
                        snapshot::write(&self.log.store, &self.pipeline, &self.state).await;
                    }
                    self.unacknowledged.retain(|own| own.number != number);
                    return Ok(entry);
                }
                Outcome::Taken(other) => {
                    self.fold(&other)?;
                    self.catch_up().await?;
                }
                Outcome::Unknown(error) => return Err(error),
            }
        }
    }

    /// Folds what is in the log after the state, and returns it.
    pub(super) async fn catch_up(&mut self) -> Result<Vec<Recorded>> {
        let found = self.log.entries(self.state.through, usize::MAX).await?;
        for recorded in &found {
            self.fold(recorded)?;
        }
        Ok(found)
    }

    /// The opening that the caller does not know of, where it is the one that `draft` wants; Fenced where the draft
    /// rests on the chain before.
    fn same_chain(&mut self, draft: &Entry) -> Result<Option<Arc<Entry>>> {
        let rests_on_chain = draft.opening.is_some() || !(draft.ranges.is_empty() && draft.marks.is_empty());
        let Some(chain) = self.untold_chain.take_if(|_| rests_on_chain) else { return Ok(None) };
        let stream = |entry: &Entry| entry.opening.as_ref().map(|opening| opening.stream.clone());
        if stream(&chain) == stream(draft) {
            return Ok(Some(chain));
        }
        Err(Error::fenced(format!(
            "{} has opened a new chain meanwhile: drop the batch and start again from the journal",
            entry_path(chain.number)
        )))
    }

    /// Takes the entry that an earlier try with the same contents left in the log.
    fn acknowledged(&mut self, draft: &Entry) -> Option<Arc<Entry>> {
        let place = self.unacknowledged.iter().position(|own| same_contents(own, draft))?;
        Some(self.unacknowledged.remove(place))
    }

    fn fold(&mut self, recorded: &Recorded) -> Result<()> {
        self.state.fold(&self.pipeline, recorded)?;
        let entry = &recorded.entry;
        if entry.opening.is_some() {
            self.untold_chain = Some(Arc::clone(entry));
        }
        if entry.writer == self.writer {
            if self.unacknowledged.len() == REMEMBERED {
                self.unacknowledged.remove(0);
            }
            self.unacknowledged.push(Arc::clone(entry));
        }
        Ok(())
    }

    async fn put(&self, entry: &Entry, bytes: Bytes) -> Result<Outcome> {
        retry(&self.context, BACKOFF, || self.put_once(entry, bytes.clone())).await
    }

    /// Puts the entry and finds out what became of it. After an error it may be there, but not for good: only a put
    /// that answers says that what has the number, whosever it is, outlives a power cut.
    async fn put_once(&self, entry: &Entry, bytes: Bytes) -> Result<Outcome> {
        let path = entry_path(entry.number);
        if self.log.store.put_if_absent(&path, bytes).await? == Put::Created {
            return Ok(Outcome::Ours);
        }
        Ok(match self.log.read(entry.number).await {
            Ok(Some(found)) if found.entry.attempt == entry.attempt => Outcome::Ours,
            Ok(Some(found)) => Outcome::Taken(found),
            Ok(None) => Outcome::Unknown(Error::corrupt(format!(
                "{path} was there and is gone: something deletes entries of the journal; stop it"
            ))),
            Err(error) => Outcome::Unknown(error.context(format!("cannot tell whether {path} was written"))),
        })
    }
}

fn same_contents(left: &Entry, right: &Entry) -> bool {
    left.opening == right.opening
        && left.ranges == right.ranges
        && left.marks == right.marks
        && left.tables == right.tables
        && left.quarantine == right.quarantine
        && left.counts == right.counts
        && left.dimension_files == right.dimension_files
}

/// Why this writer's own entry cannot be written.
fn refusal(number: u64, broken: Broken) -> Error {
    let path = entry_path(number);
    match broken {
        Broken::Ranges(RangeError::NotContiguous { .. })
        | Broken::Reopened(_)
        | Broken::Ended(_)
        | Broken::Replaces { .. } => Error::fenced(format!(
            "{path} is not written: {broken}; another writer was first: drop the batch and start again from the journal"
        )),
        broken => Error::internal(format!("{path} is not written: {broken}")),
    }
}
