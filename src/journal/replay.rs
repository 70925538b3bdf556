//! The log from its first entry, believing nothing: for an audit.
//!
//! Owns the fold without a snapshot, and what it says of the snapshots: each must be the state after its entry, to the
//! last number. A start folds only what follows a snapshot, so what came before is looked at here.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::log::Log;
use super::snapshot;
use super::state::State;
use crate::batch::Entry;
use crate::error::{Error, ErrorKind, Result};
use crate::store::Store;

/// The log, entry after entry.
pub struct Replay {
    log: Log,
    state: State,
    /// The state that each snapshot claims, by its entry, until the fold gets there.
    claimed: BTreeMap<u64, State>,
    /// What is wrong with the snapshots.
    damaged: Vec<String>,
    /// Why the fold ends, told once everything before is handed out.
    broken: Option<Error>,
}

impl Replay {
    /// Before the first entry.
    ///
    /// # Errors
    /// Transient.
    pub async fn new(store: &Store) -> Result<Self> {
        let log = Log::new(store);
        let (mut claimed, mut damaged) = (BTreeMap::new(), Vec::new());
        for number in log.snapshots().await? {
            match snapshot::claimed(&log, number).await {
                Ok(Some(state)) => drop(claimed.insert(number, state)),
                // It was deleted meanwhile, or is of a format that nobody believes.
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::Transient => return Err(error),
                Err(error) => damaged.push(error.to_string()),
            }
        }
        Ok(Self { log, state: State::default(), claimed, damaged, broken: None })
    }

    /// The next entries, at most `limit` of them, each folded; none at the end of the log.
    ///
    /// # Errors
    /// Corrupt where the log contradicts itself, after everything before that was given; Transient.
    pub async fn next(&mut self, limit: usize) -> Result<Vec<Arc<Entry>>> {
        if let Some(broken) = self.broken.take() {
            return Err(broken);
        }
        let (found, mut broken) = match self.log.entries(self.state.through, limit).await {
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                (self.log.sound(self.state.through, limit).await?, Some(error))
            }
            found => (found?, None),
        };
        let mut folded = Vec::new();
        for recorded in found {
            let pipeline = recorded.entry.pipeline.clone();
            if let Err(error) = self.state.fold(&pipeline, &recorded) {
                broken = Some(error);
                break;
            }
            self.compare();
            folded.push(recorded.entry);
        }
        match broken {
            Some(error) if folded.is_empty() => Err(error),
            broken => {
                self.broken = broken;
                Ok(folded)
            }
        }
    }

    /// What is folded so far.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// What is wrong with the snapshots, once the fold is at its end; starts leave such a one aside.
    pub fn damaged(self) -> Vec<String> {
        let beyond = self
            .claimed
            .into_keys()
            .map(|number| format!("{} follows an entry that the journal does not have", snapshot::path(number)));
        self.damaged.into_iter().chain(beyond).collect()
    }

    fn compare(&mut self) {
        let through = self.state.through;
        if self.claimed.remove(&through).is_some_and(|claimed| claimed != self.state) {
            let path = snapshot::path(through);
            self.damaged.push(format!(
                "{path} has its checksum, and is not what the journal folds to: whoever wrote it had folded it wrongly, and \
                 starts that believed it know wrong positions or counts; stop all workers, delete the folder of \
                 snapshots, and start again"
            ));
        }
    }
}
