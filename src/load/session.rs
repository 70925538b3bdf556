//! What a load needs of a database, whichever way leads to it.
//!
//! Owns the seam between the load's order (`SqlWarehouse`'s implementation) and a connection or an API. A session reconnects by
//! itself; it knows no tables.

use async_trait::async_trait;

use super::Answer;
use super::script::Statement;
use crate::error::{Error, Result};

/// Why a transaction did not come to its end.
#[derive(Debug)]
pub(super) enum Broken {
    /// A number was not the expected one; nothing happened. Of an `Expect` what was found, where it is known.
    NotExpected {
        /// The statement's place in the script.
        at: usize,
        /// The number that was found.
        found: Option<u64>,
    },
    /// The answer to COMMIT was lost: it may have happened, or not.
    Unanswered(Error),
    /// It failed, and nothing happened: Transient where the same again may succeed (a serialization failure, a
    /// deadlock, a lost connection before COMMIT).
    Failed(Error),
}

/// A way to a database.
#[async_trait]
pub(super) trait Session: Send + Sync {
    /// Runs a script as one transaction. `id` tells transactions apart, for an API that would run one twice.
    async fn transact(&self, id: &str, script: &[Statement]) -> Result<(), Broken>;

    /// Runs statements one after the other, each by itself.
    ///
    /// # Errors
    /// Invalid where one is refused, with the server's words; Transient.
    async fn execute(&self, statements: &[String]) -> Result<()>;

    /// Answers one statement in a transaction that may only read.
    ///
    /// # Errors
    /// As [`Session::execute`].
    async fn read(&self, sql: &str) -> Result<Answer>;

    /// Has the server give up whatever it is asked now through this session.
    ///
    /// # Errors
    /// As [`Session::execute`].
    async fn cancel(&self) -> Result<()>;

    /// Whether a COPY goes by the columns' places in the file, so that a load must look at the files first.
    fn needs_columns(&self) -> bool;
}
