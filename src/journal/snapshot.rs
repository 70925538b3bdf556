//! Snapshots: the log folded through an entry, so that a start reads a hundred entries and not all of them.
//!
//! A snapshot is a shortcut and never the truth: one that cannot be read, does not have its checksum, or does not follow
//! the entry that it names is left aside for the one before it, and at last for the whole log. It is told by a warning
//! each time. The snapshots of formats 1 and 2 have no checksum, so they are left aside too: the first start after an
//! upgrade folds the whole log. A start that had to fold much leaves a snapshot of what it came to, so that the next one
//! need not. Writing and deleting them is best effort.

use futures::StreamExt;
use serde::{Deserialize, Serialize};

use super::log::Log;
use super::record::{FORMAT, SEALED, SNAPSHOTS, Versioned, decode, encode, is_unsealed};
use super::state::State;
use crate::error::{Error, ErrorKind, Result};
use crate::store::Store;

/// The writer of every so-many-th entry writes a snapshot, and so does a start that folds so many.
const EVERY: u64 = 100;
/// So many are kept: the newest, and one to fall back to.
const KEPT: usize = 2;

/// The record: the state after an entry, whose number and digest are in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Snapshot {
    /// The form of this record: 3.
    pub(super) format: u32,
    /// The pipeline that it belongs to.
    pub(super) pipeline: String,
    /// The fold.
    pub(super) state: State,
}

impl Versioned for Snapshot {
    const OLDEST: u32 = SEALED;

    fn format(&self) -> u32 {
        self.format
    }
}

/// What the whole log says: a view for reading, without a writer.
///
/// # Errors
/// Transient; Corrupt where the log contradicts itself; Invalid where it is another pipeline's or a newer Millstream's.
pub async fn fold(store: &Store, pipeline: &str) -> Result<State> {
    let (state, damage) = fold_sound(store, pipeline).await?;
    damage.map_or(Ok(state), Err)
}

/// What the log says as far as it is sound, and why it ends there where it is damaged: for those who look at what is left.
///
/// # Errors
/// As [`fold`], but for the damage.
pub async fn fold_sound(store: &Store, pipeline: &str) -> Result<(State, Option<Error>)> {
    let log = Log::new(store);
    let begun = newest(&log, pipeline).await?.unwrap_or_default();
    sound(&log, pipeline, begun).await
}

/// What the log says, for a writer: the newest snapshot that fits, and the entries after it.
pub(super) async fn resume(log: &Log, pipeline: &str) -> Result<State> {
    let begun = newest(log, pipeline).await?.unwrap_or_default();
    let from = begun.through;
    let (state, damage) = sound(log, pipeline, begun).await?;
    if let Some(damage) = damage {
        return Err(damage);
    }
    if state.through - from >= EVERY {
        write(&log.store, pipeline, &state).await;
    }
    Ok(state)
}

/// The state after the entries that follow, as far as they are sound.
async fn sound(log: &Log, pipeline: &str, mut state: State) -> Result<(State, Option<Error>)> {
    let last = log.last(state.through).await?;
    let mut entries = std::pin::pin!(log.read_all(state.through, last));
    while let Some(next) = entries.next().await {
        match next.and_then(|recorded| state.fold(pipeline, &recorded)) {
            Err(error) if error.kind() == ErrorKind::Corrupt => return Ok((state, Some(error))),
            folded => folded?,
        }
    }
    Ok((state, None))
}

/// Whether it is this entry's turn to be followed by a snapshot.
pub(super) fn is_due(number: u64) -> bool {
    number.is_multiple_of(EVERY)
}

/// Writes the snapshot of `state`, and deletes old ones. A failure is logged: the commit stands all the same.
pub(super) async fn write(store: &Store, pipeline: &str, state: &State) {
    let snapshot = Snapshot { format: FORMAT, pipeline: pipeline.to_owned(), state: state.clone() };
    if let Err(error) = replace(store, &snapshot).await {
        tracing::warn!(%error, entry = state.through, "no snapshot written; the next start reads more of the journal");
    }
}

async fn replace(store: &Store, snapshot: &Snapshot) -> Result<()> {
    store.put(&path(snapshot.state.through), encode(snapshot)?.0).await?;
    let numbers = Log::new(store).snapshots().await?;
    for old in numbers.iter().rev().skip(KEPT) {
        store.delete(&path(*old)).await?;
    }
    Ok(())
}

/// The newest snapshot that fits the log.
async fn newest(log: &Log, pipeline: &str) -> Result<Option<State>> {
    for number in log.snapshots().await?.into_iter().rev() {
        match read(log, pipeline, number).await {
            Ok(state) => return Ok(Some(state)),
            Err(error) if error.kind() == ErrorKind::Transient => return Err(error),
            Err(error) => tracing::warn!(
                %error,
                "a snapshot of the journal is left aside; an older one, or the log itself, takes its place"
            ),
        }
    }
    Ok(None)
}

async fn read(log: &Log, pipeline: &str, number: u64) -> Result<State> {
    let path = path(number);
    let unfit = |why: &str| Error::corrupt(format!("{path} {why}"));
    let bytes = log.get(&path).await?.ok_or_else(|| unfit("has been deleted meanwhile"))?;
    let snapshot = parse(&bytes, number)?;
    if snapshot.pipeline != pipeline {
        return Err(unfit("is another pipeline's"));
    }
    match log.read(number).await? {
        Some(recorded) if Some(recorded.digest) == snapshot.state.digest => Ok(snapshot.state),
        _ => Err(unfit("is of another log than the one beside it")),
    }
}

fn parse(bytes: &[u8], number: u64) -> Result<Snapshot> {
    let path = path(number);
    let (snapshot, _): (Snapshot, _) = decode(&path, bytes)?;
    match snapshot.state.through == number {
        true => Ok(snapshot),
        false => Err(Error::corrupt(format!("{path} is the snapshot of entry {}", snapshot.state.through))),
    }
}

/// What the snapshot of this number says, whether it is true or not; none where there is none, or one of a format that
/// no start believes.
pub(super) async fn claimed(log: &Log, number: u64) -> Result<Option<State>> {
    match log.get(&path(number)).await? {
        Some(bytes) if !is_unsealed(&bytes) => parse(&bytes, number).map(|snapshot| Some(snapshot.state)),
        _ => Ok(None),
    }
}

/// The path of a snapshot's object, from the store's root.
pub(super) fn path(number: u64) -> String {
    format!("{SNAPSHOTS}/{number:020}.json")
}
