//! A transaction over the wire.
//!
//! Owns its end: committed, or (dropped) closed together with its connection, by which the server rolls back. Runs a
//! load's script in it.

use std::time::Duration;

use async_trait::async_trait;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::super::plan::Copy;
use super::super::script::Statement;
use super::super::session::Broken;
use super::fault::{Place, fault, leaves_commit_open};
use super::{Connection, Idle, keep};
use crate::error::{Error, ErrorKind, Result};

/// How the rows of staged files get into a table.
#[async_trait]
pub(in crate::load) trait CopyIn: Send + Sync {
    /// Brings the files' rows in, and tells how many the warehouse says came in.
    ///
    /// # Errors
    /// Corrupt where a file is not what the journal says; Invalid; Transient.
    async fn copy(&self, transaction: &Transaction, copy: &Copy, into: &str) -> Result<u64>;
}

/// An open transaction. Dropped, it is rolled back and its connection closed.
pub(in crate::load) struct Transaction {
    connection: Connection,
    place: Place,
    idle: Idle,
    /// How long COMMIT may take.
    patience: Duration,
}

impl Transaction {
    pub(super) fn new(connection: Connection, place: Place, idle: Idle, patience: Duration) -> Self {
        Self { connection, place, idle, patience }
    }

    /// The connection's client.
    pub(in crate::load) fn client(&self) -> &Client {
        &self.connection.client
    }

    /// Where the server is.
    pub(in crate::load) fn place(&self) -> &Place {
        &self.place
    }

    /// Runs statements that answer nothing of interest.
    ///
    /// # Errors
    /// Invalid where one is refused, with the server's words; Transient.
    pub(in crate::load) async fn run(&self, sql: &str) -> Result<()> {
        self.connection.run(&self.place, sql).await
    }

    /// The one whole number that a statement answers.
    ///
    /// # Errors
    /// As [`Transaction::run`]; Internal where it answers something else.
    pub(in crate::load) async fn number(&self, sql: &str) -> Result<u64> {
        let answer = self.client().simple_query(sql).await.map_err(|error| fault(&self.place, &error))?;
        let value = answer.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        let number = value.and_then(|value| value.parse().ok());
        number.ok_or_else(|| Error::internal("a statement of a load does not answer one whole number"))
    }

    /// Runs a load's script.
    pub(super) async fn run_script(&self, script: &[Statement], copies: &dyn CopyIn) -> Result<(), Broken> {
        for (at, statement) in script.iter().enumerate() {
            let failed = |error: Error| Broken::Failed(error.context(format!("statement {} of the load", at + 1)));
            match statement {
                Statement::Run(sql) => self.run(sql).await.map_err(failed)?,
                Statement::Expect { sql, number } => {
                    let found = self.number(sql).await.map_err(failed)?;
                    expected(at, *number, found)?;
                }
                Statement::Copy { copy, into } => {
                    // What is wrong with a file says itself where it is.
                    let told = |error: Error| match error.kind() {
                        ErrorKind::Corrupt => Broken::Failed(error),
                        _ => Broken::Failed(error.context(format!("copying staged rows of {}", copy.table))),
                    };
                    let found = copies.copy(self, copy, into).await.map_err(told)?;
                    expected(at, copy.rows(), found)?;
                }
            }
        }
        Ok(())
    }

    /// Makes it true. A server that does not answer may still do it: that end is not known.
    pub(in crate::load) async fn commit(self) -> Result<(), Broken> {
        let Ok(answered) = tokio::time::timeout(self.patience, self.client().batch_execute("COMMIT")).await else {
            return Err(Broken::Unanswered(Error::transient(format!(
                "{} did not answer COMMIT within {} s",
                self.place,
                self.patience.as_secs()
            ))));
        };
        match answered {
            Ok(()) => {
                keep(&self.idle, self.connection);
                Ok(())
            }
            Err(error) if leaves_commit_open(&error) => Err(Broken::Unanswered(fault(&self.place, &error))),
            Err(error) => Err(Broken::Failed(fault(&self.place, &error))),
        }
    }

    /// Undoes it, and keeps the connection.
    ///
    /// # Errors
    /// Transient where the connection is lost: the server undoes it by itself.
    pub(in crate::load) async fn roll_back(self) -> Result<()> {
        self.run("ROLLBACK").await?;
        keep(&self.idle, self.connection);
        Ok(())
    }
}

fn expected(at: usize, number: u64, found: u64) -> Result<(), Broken> {
    match found == number {
        true => Ok(()),
        false => Err(Broken::NotExpected { at, found: Some(found) }),
    }
}
