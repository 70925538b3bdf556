//! The journal: one log per pipeline on the object store, and the commit that makes a batch true.
//!
//! Owns `journal/00000000000000000042.json` (entries, numbered from 1 without a gap, never changed or deleted) and
//! `journal/snapshots/…` (the log folded through an entry; a shortcut that may be missing). It writes no data file
//! and loads nothing.
//!
//! `docs/journal.md` describes all of it for those who read it with other tools.
//!
//! The contract: nothing is true before its entry exists, everything in it is true after. An entry is written with
//! put-if-absent at the first free number, and only where it follows from everything before it, so of two writers
//! that read the same records one commits and the other is told so (Fenced). A put without a clear answer is
//! put again until it has one, never guessed. Each entry carries its own checksum and the digest of the one before: one
//! that was changed, or contradicts the log, stops everyone who reads or folds it (Corrupt).

mod check;
mod follower;
mod log;
mod record;
mod replay;
mod snapshot;
mod state;
#[cfg(test)]
mod tests;
mod writer;

pub use follower::Follower;
pub use log::entries;
pub use record::entry_path;
pub use replay::Replay;
pub use snapshot::{fold, fold_sound};
pub use state::{State, TableTotals};
pub use writer::Journal;
