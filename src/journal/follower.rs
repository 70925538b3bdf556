//! A reader's view of the log that keeps up with it.
//!
//! Owns the folded state of one who writes nothing: what other writers, and this process's own, have committed shows
//! when it is asked to catch up.

use super::log::Log;
use super::state::State;
use super::writer::Journal;
use crate::error::Result;
use crate::store::Store;

/// A view of a pipeline's journal.
pub struct Follower {
    log: Log,
    pipeline: String,
    state: State,
}

impl Follower {
    /// A view that begins where `journal` stands.
    pub fn of(journal: &Journal, store: &Store) -> Self {
        Self { log: Log::new(store), pipeline: journal.pipeline().to_owned(), state: journal.state().clone() }
    }

    /// What the log says, as far as it is folded here.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Folds what has been committed since; false where there is nothing new. Cheap enough to poll.
    ///
    /// # Errors
    /// Transient; Corrupt where the log contradicts itself.
    pub async fn catch_up(&mut self) -> Result<bool> {
        let found = self.log.entries(self.state.through, usize::MAX).await?;
        for recorded in &found {
            self.state.fold(&self.pipeline, recorded)?;
        }
        Ok(!found.is_empty())
    }
}
