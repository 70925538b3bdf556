//! What a running job tells machines: its metrics, and that it lives, over HTTP.
//!
//! Owns the server, and the names, units and words of the metrics. It keeps no counter of its own: each scrape is made
//! from the engine's `Progress` as it is at that moment, so a metric and the summary cannot tell different things. It
//! decides nothing and changes nothing. The contract: serving never holds up the work beside it, neither while it runs
//! nor at its end.

mod families;
mod server;
mod snapshot;

pub use server::MetricsServer;
