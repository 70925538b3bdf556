//! A session over the wire.
//!
//! Owns how staged files get into a table (COPY by a manifest, and then the count), and what is looked up where a COPY
//! fails. `wire` owns the connection and the transaction's end. Every statement of a load goes by the simple protocol.

use std::time::Duration;

use async_trait::async_trait;
use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::error::DbError;

use super::copy::COUNT;
use super::lake::Lake;
use super::load_error::{self, LoadError};
use super::staged_value;
use crate::error::{Error, ErrorKind, Result};
use crate::load::Answer;
use crate::load::plan::Copy;
use crate::load::script::Statement;
use crate::load::session::{Broken, Session};
use crate::load::tables::quoted;
use crate::load::wire::{CopyIn, Transaction, Wire, fault};

/// How long the views of errors are asked: the refusal itself is known.
const LOOKING: Duration = Duration::from_secs(60);

/// The wire as a session.
pub(super) struct WireSession {
    wire: Wire,
    lake: Lake,
}

/// What each new connection is told: names that say no schema are the pipeline's tables, and values are written as
/// `wire` reads them.
pub(super) fn settings(schema: &str) -> [String; 4] {
    [
        "SET timezone TO 'UTC'".to_owned(),
        "SET datestyle TO 'ISO, MDY'".to_owned(),
        // The most that Redshift knows.
        "SET extra_float_digits TO 2".to_owned(),
        format!("SET search_path TO {}", quoted(schema)),
    ]
}

impl WireSession {
    /// A session by this way. Nothing is asked yet.
    pub(super) fn new(wire: Wire, lake: Lake) -> Self {
        Self { wire, lake }
    }
}

#[async_trait]
impl Session for WireSession {
    async fn transact(&self, id: &str, script: &[Statement]) -> Result<(), Broken> {
        self.lake.write_manifests(id, script).await.map_err(Broken::Failed)?;
        let outcome = self.wire.transact(script, &Copies { lake: &self.lake, load_id: id }).await;
        // Also where COMMIT was not answered: all copies were over before it.
        self.lake.delete_manifests(id, script).await;
        outcome
    }

    async fn execute(&self, statements: &[String]) -> Result<()> {
        self.wire.execute(statements).await
    }

    async fn read(&self, sql: &str) -> Result<Answer> {
        self.wire.read(sql).await
    }

    async fn cancel(&self) -> Result<()> {
        self.wire.cancel().await
    }

    fn needs_columns(&self) -> bool {
        // COPY takes Parquet's columns by their places.
        true
    }
}

/// The COPYs of one load.
struct Copies<'a> {
    lake: &'a Lake,
    load_id: &'a str,
}

#[async_trait]
impl CopyIn for Copies<'_> {
    async fn copy(&self, transaction: &Transaction, copy: &Copy, into: &str) -> Result<u64> {
        if copy.files.is_empty() {
            return Ok(0);
        }
        let sql = self.lake.copy(self.load_id, copy, into);
        match transaction.client().batch_execute(&sql).await {
            Ok(()) => transaction.number(COUNT).await,
            Err(error) => Err(self.told(transaction, copy, &error).await),
        }
    }
}

impl Copies<'_> {
    async fn told(&self, transaction: &Transaction, copy: &Copy, error: &tokio_postgres::Error) -> Error {
        let told = fault(transaction.place(), error);
        let Some(refused) = error.as_db_error().filter(|_| told.kind() != ErrorKind::Transient) else { return told };
        let words = words(refused);
        let row = self.load_error(transaction, copy).await;
        let row = match row.or_else(|| load_error::in_refusal(copy, self.lake, &words)) {
            Some(row) => Some(staged_value::completed(copy, self.lake, row).await),
            None => None,
        };
        load_error::told(copy, self.lake, row.as_ref(), &words)
    }

    /// What Redshift has kept of this session's COPY. In the transaction that failed nothing can be asked: it is over.
    async fn load_error(&self, transaction: &Transaction, copy: &Copy) -> Option<LoadError> {
        let looked = tokio::time::timeout(LOOKING, self.look(transaction, copy)).await;
        let looked = looked.unwrap_or_else(|_| Err(Error::transient("the views of errors do not answer")));
        looked.unwrap_or_else(|error| {
            tracing::debug!(%error, "the errors of a copy cannot be looked up");
            None
        })
    }

    async fn look(&self, transaction: &Transaction, copy: &Copy) -> Result<Option<LoadError>> {
        transaction.run("ROLLBACK").await?;
        let process = transaction.number(load_error::PROCESS).await?;
        let [first, second] = load_error::questions(i64::try_from(process).unwrap_or_default());
        let answers = [load_errors(transaction, &first).await, load_errors(transaction, &second).await];
        Ok(load_error::newest(copy, self.lake, answers))
    }
}

async fn load_errors(transaction: &Transaction, question: &str) -> Vec<LoadError> {
    let answer = transaction.client().simple_query(question).await.unwrap_or_else(|error| {
        tracing::debug!(%error, "the errors of a copy cannot be looked up in this view");
        Vec::new()
    });
    let text = |row: &tokio_postgres::SimpleQueryRow, index| row.try_get(index).ok().flatten().map(str::to_owned);
    let read = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => LoadError::read((0..row.len()).map(|index| text(row, index)).collect()),
        _ => None,
    };
    answer.iter().filter_map(read).collect()
}

/// Everything that the server says of it, a line each at least.
fn words(refused: &DbError) -> String {
    let parts = [Some(refused.message()), refused.detail(), refused.hint()];
    parts.into_iter().flatten().collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests;
