//! HTTP servers: how long a client may take, how many there may be, and who is let in.
//!
//! Owns the life of a server's connections and the rule that no web page speaks to a server on loopback. What is asked
//! and answered is its users' business. The contract: no client, however slow or silent, holds up another one.

mod admission;
mod server;
mod streams;

pub use admission::{Refused, admit};
pub use server::{Limits, serve};
