//! How several workers share a stream: heartbeats as objects, rendezvous hashing, no leader, no database of its own.
//!
//! Owns the objects `workers/<id>.json`, who of their writers lives, and which of the living a shard goes to. It knows
//! no source, no journal and no shard's contents, and it gives nobody a right: two workers may believe for a while
//! that a shard is theirs, and the journal lets one of them commit. A wrong answer here costs time, never a row.
//!
//! The contract, where each worker calls [`Membership::beat`] every [`BEAT_EVERY`]:
//!
//! | event                          | the others see it                          | by                                  |
//! |--------------------------------|--------------------------------------------|-------------------------------------|
//! | a worker joins, or wakes       | at their next look                         | a heartbeat that is new or changed  |
//! | a worker leaves                | at their next look                         | its heartbeat being gone            |
//! | a worker dies, or freezes      | within [`DEAD_AFTER`] + 2 × [`BEAT_EVERY`] | its heartbeat not changing          |
//! | one dies, a new one starts on  | the new one at its first look, the others  | no process of that id on the same   |
//! | the same machine               | as above                                   | host and boot                       |
//!
//! Workers that see the same members agree on every shard's owner, in every version of the program: the hash is fixed
//! in `rendezvous.rs`. Who lives is decided in `watch.rs`, without IO.

mod heartbeat;
mod machine;
mod members;
mod membership;
mod objects;
mod rendezvous;
mod watch;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use heartbeat::{Heartbeat, Host, LoadingStopped, ShardReport, WorkerId};
pub use members::Members;
pub use membership::Membership;
pub use objects::heartbeats;

/// How often a worker writes its heartbeat and looks at the others'.
pub const BEAT_EVERY: Duration = Duration::from_secs(2);

/// A heartbeat that has not changed for so long, by the clock of the one who looks, is a dead worker's.
pub const DEAD_AFTER: Duration = Duration::from_secs(8);
