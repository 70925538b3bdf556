//! Loading: journal entries into the star schema of a warehouse, exactly once.
//!
//! | warehouse | what stands in it |
//! |---|---|
//! | all | what tables look like (`shape`), type 2 (`history`), surrogate keys, staged files read back (`staged`) |
//! | Delta, memory | rows in Arrow: the order of a load (`protocol`), what incoming rows do (`merge`, `keep`, `keys`) |
//! | PostgreSQL, Redshift | rows in SQL: a load as data (`plan`) and as text (`script`), tables made and changed (`tables`), the order around one transaction (`upsert`), ways to a server (`session`: `wire`, `postgres`, `redshift`) |
//!
//! It does not own the journal, nor when to load. The contract, which one suite checks on all of them: entries go in, in
//! order, each exactly once, however often and by however many loaders they are tried; how they are cut into loads leaves
//! no trace in the tables (in SQL with the exception that `history` states).

#[cfg(test)]
mod contract;
mod delta;
#[cfg(test)]
mod golden;
mod history;
mod keep;
mod keys;
mod memory;
mod merge;
mod plan;
mod postgres;
mod protocol;
mod question;
mod redshift;
mod refusal;
mod script;
mod session;
mod shape;
mod staged;
mod surrogate;
mod tables;
mod upsert;
mod wire;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::batch::{Entry, Receipt};
use crate::error::{Error, Result};

pub use delta::{DeltaWarehouse, Place};
pub use memory::MemoryWarehouse;
pub use postgres::PostgresWarehouse;
pub use redshift::RedshiftWarehouse;
pub use surrogate::surrogates;
pub use tables::{DdlFor, ddl};
pub use upsert::{SqlPlace, UpsertWarehouse};

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

/// What an audit counts of a table: of a fact all rows, of a dimension those that are no inferred members (and, where
/// history is kept, current).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Rows.
    pub rows: u64,
    /// Different values of their key; the rows again, for a table without one.
    pub keys: u64,
}

/// The answer to a query in the warehouse: its columns, and its rows as they come.
pub struct Answer {
    /// The columns.
    pub schema: SchemaRef,
    /// The rows.
    pub batches: BoxStream<'static, Result<RecordBatch>>,
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

    /// That what its tables are made of is all there, as far as that is known without their data files: for whoever is about
    /// to read them past this. A database guards its own.
    ///
    /// # Errors
    /// Corrupt with what is gone or altered; Transient.
    async fn check(&self) -> Result<()> {
        Ok(())
    }

    /// What is damaged of the files that the warehouse itself consists of, in sentences; a database guards its own. In
    /// haste no data file is read.
    ///
    /// # Errors
    /// Transient.
    async fn damages(&self, _fast: bool) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// The last entry that a table holds: the ledger's; or a later one, where loads change one table after the other and
    /// the last one was cut off between them.
    ///
    /// # Errors
    /// As [`Warehouse::ledger`].
    async fn loaded_through(&self, _table: &str) -> Result<u64> {
        Ok(self.ledger().await?.loaded_through)
    }
}

/// A warehouse with a SQL engine of its own.
#[async_trait]
pub trait SqlWarehouse: Warehouse {
    /// What `prepare` would change, as statements in their order; empty where nothing is missing.
    ///
    /// # Errors
    /// As [`Warehouse::prepare`].
    async fn changes(&self) -> Result<Vec<String>>;

    /// Answers one statement, which may only read, in the warehouse's own SQL; unqualified names are the pipeline's
    /// tables.
    ///
    /// # Errors
    /// Invalid where it is not one statement that only reads, and nothing of it is sent; where the warehouse refuses it,
    /// with its words; Transient.
    async fn query(&self, sql: &str) -> Result<Answer>;

    /// Has the server give up whatever it is asked now.
    ///
    /// # Errors
    /// Transient, Invalid: it may go on.
    async fn cancel(&self) -> Result<()>;

    /// The rows of a table, with these columns of it (at least one), at most `limit`, in no order.
    ///
    /// # Errors
    /// Invalid where the table is not there; Transient.
    async fn rows(&self, table: &str, columns: &[&str], limit: Option<u64>) -> Result<Answer>;

    /// What an audit counts of a table.
    ///
    /// # Errors
    /// As [`SqlWarehouse::rows`].
    async fn held(&self, table: &str) -> Result<Held>;

    /// Whether it takes texts that differ in trailing blanks alone for equal.
    fn pads_texts(&self) -> bool;

    /// The digits that it writes of a REAL; none where it writes what it takes to tell any two of them apart.
    fn real_digits(&self) -> Option<usize> {
        None
    }
}

/// Arrow refused what the code above it had checked.
fn arrow_bug(error: arrow::error::ArrowError) -> Error {
    Error::internal("a load cannot rearrange its rows").with_source(error)
}
