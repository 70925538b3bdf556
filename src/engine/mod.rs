//! The order of the steps: the ingest loop, the load loop, and their supervision.
//!
//! `engine` alone knows that decode comes before clean and clean before stage. It owns the loops, the micro-batches,
//! the progress and the way to an end; it knows no format, no SQL and no service. Reading never waits for loading:
//! the two loops share nothing but the journal.
//!
//! The order of an end: readers stop at a page, the open batch is committed, what is committed is loaded.

mod assign;
mod audit;
mod budget;
mod collect;
mod compare;
mod deep;
mod dimensions;
mod ingest;
mod listing;
mod load;
mod loss;
mod progress;
mod read;
mod reading;
mod share;
mod supervise;
mod verify_ledger;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::clean::Cleaner;
use crate::config::Pipeline;
use crate::decode::Decoder;
use crate::error::Result;
use crate::load::Warehouse;
use crate::runtime::Context;
use crate::source::Source;
use crate::stage::Stager;
use crate::store::Store;

pub use audit::{Audit, Counting, Finding, audit};
pub use deep::{Deep, DeepAudit};
pub use dimensions::{ChangedDimension, DimensionOutcome, Dimensions};
pub use load::load_all;
pub use progress::{Latency, Progress, ShardProgress, Totals};
pub use supervise::run;
pub use verify_ledger::{prepare, verify_ledger};

/// Connects to the stream, again after each loss of it.
pub type Connect = Arc<dyn Fn() -> BoxFuture<'static, Result<Arc<dyn Source>>> + Send + Sync>;

/// What a pipeline runs on: built once by whoever starts it.
#[derive(Clone)]
pub struct Job {
    /// The settings.
    pub pipeline: Arc<Pipeline>,
    /// How to reach the stream.
    pub connect: Connect,
    /// Payloads to events.
    pub decoder: Arc<Decoder>,
    /// Events to rows.
    pub cleaner: Arc<Cleaner>,
    /// Rows to files.
    pub stager: Arc<Stager>,
    /// Where files and journal are.
    pub store: Store,
    /// What the files are loaded into.
    pub warehouse: Arc<dyn Warehouse>,
    /// Clock and dice.
    pub context: Context,
}

/// How a run is told to end, and where it tells what it does.
#[derive(Clone, Default)]
pub struct Controls {
    /// Ends reading at the tip: what is in the stream now is read, committed and loaded, then the run ends.
    pub drain: CancellationToken,
    /// Ends reading at once: the open batch is committed and loaded, then the run ends.
    pub stop: CancellationToken,
    /// What has been done.
    pub progress: Progress,
}
