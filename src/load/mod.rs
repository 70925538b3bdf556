//! Loading: journal entries into the star schema of a warehouse, exactly once.
//!
//! Owns what the warehouse's tables look like (`shape`), what staged rows do to them (`merge`, `history`), the order of
//! a load (`protocol`), and two warehouses: Delta tables and rows in memory. It does not own the journal, nor when to
//! load. The contract, which one suite checks on both: entries go in, in order, each exactly once, however often and by
//! however many loaders they are tried; how they are cut into loads leaves no trace in the tables.

#[cfg(test)]
mod contract;
mod ddl;
mod delta;
mod history;
mod keep;
mod keys;
mod memory;
mod merge;
mod protocol;
mod shape;
mod staged;
mod surrogate;

use std::sync::Arc;

use async_trait::async_trait;

use crate::batch::{Entry, Receipt};
use crate::error::{Error, Result};

pub use ddl::ddl;
pub use delta::{DeltaWarehouse, Place};
pub use memory::MemoryWarehouse;

/// What a warehouse remembers of its loads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    /// The last entry that is loaded; 0 for none.
    pub loaded_through: u64,
    /// How many loads there were.
    pub loads: u64,
    /// The newest load's receipt.
    pub last: Option<Receipt>,
}

/// What a load may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadBounds {
    /// What a load may hold at once, in bytes: it cuts its work accordingly.
    pub memory_bytes: usize,
    /// How many files are worked on at once.
    pub partitions: usize,
}

/// Where the star schema lives.
#[async_trait]
pub trait Warehouse: Send + Sync {
    /// Makes the tables that are missing, and looks at those that are there.
    ///
    /// # Errors
    /// Invalid where a table's columns are not what the pipeline yields, with the difference; Transient.
    async fn prepare(&self) -> Result<()>;

    /// What is loaded; nothing where the warehouse has not been prepared yet.
    ///
    /// # Errors
    /// Transient, or Corrupt where the ledger cannot be read.
    async fn ledger(&self) -> Result<Ledger>;

    /// The newest `limit` receipts, newest first.
    ///
    /// # Errors
    /// As [`Warehouse::ledger`].
    async fn receipts(&self, limit: usize) -> Result<Vec<Receipt>>;

    /// Loads consecutive entries, the first of which follows the last one loaded. A load that failed half-way is
    /// finished by the next one that starts with the same entry.
    ///
    /// # Errors
    /// Fenced where the first entry is not the next one, or another loader got there first: read the ledger again.
    /// Corrupt where staged files are not what the journal says. Invalid where the disk is full, or an entry does not
    /// fit the pipeline. Transient.
    async fn load(&self, entries: &[Arc<Entry>]) -> Result<Receipt>;
}

/// Arrow refused what the code above it had checked.
fn arrow_bug(error: arrow::error::ArrowError) -> Error {
    Error::internal("a load cannot rearrange its rows").with_source(error)
}
