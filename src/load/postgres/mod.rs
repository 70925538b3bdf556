//! PostgreSQL as a warehouse: sessions over the wire, and staged rows through `COPY … FROM STDIN (FORMAT binary)`.
//!
//! Owns the session's settings, how a COPY gets its rows (`copy`), and how Arrow values look in binary (`encode`,
//! `numeric`). It does not own what is loaded, nor in which order.

mod copy;
mod encode;
mod numeric;
#[cfg(test)]
mod tests;

use async_trait::async_trait;

use super::Answer;
use super::script::Statement;
use super::session::{Broken, Session};
use super::wire::Wire;
use crate::error::Result;

/// What a session starts with: values read back as they are written whatever the server is set to, and the pipeline's
/// tables go by their bare names.
pub(super) fn settings(schema: &str) -> [String; 4] {
    [
        "SET TIME ZONE 'UTC'".to_owned(),
        "SET datestyle TO 'ISO'".to_owned(),
        "SET extra_float_digits TO 1".to_owned(),
        format!("SET search_path TO {}", quoted(schema)),
    ]
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A way to a PostgreSQL.
pub(super) struct PostgresSession {
    wire: Wire,
    copies: copy::Copies,
}

impl PostgresSession {
    /// Over this wire; COPY gets its rows from files of this store.
    pub(super) fn new(wire: Wire, store: crate::store::Store) -> Self {
        Self { wire, copies: copy::Copies { store } }
    }
}

#[async_trait]
impl Session for PostgresSession {
    async fn transact(&self, _id: &str, script: &[Statement]) -> Result<(), Broken> {
        self.wire.transact(script, &self.copies).await
    }

    async fn execute(&self, statements: &[String]) -> Result<()> {
        self.wire.execute(statements).await
    }

    async fn read(&self, sql: &str) -> Result<Answer> {
        self.wire.read(sql).await
    }

    fn needs_columns(&self) -> bool {
        // Staged rows are matched with the table's columns by name as they are sent.
        false
    }
}
