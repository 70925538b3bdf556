//! PostgreSQL as a warehouse: sessions over the wire, and staged rows through `COPY … FROM STDIN (FORMAT binary)`.
//!
//! Owns the session's settings, how a COPY gets its rows (`copy`), and how Arrow values look in binary (`encode`,
//! `numeric`). It does not own what is loaded, nor in which order.

mod copy;
mod encode;
mod numeric;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;

use super::script::{Dialect, SqlTarget, Statement};
use super::session::{Broken, Session};
use super::tables::quoted;
use super::upsert::{SqlPlace, UpsertWarehouse};
use super::wire::{EnvironmentLogin, Logins, Wire};
use super::{Answer, redshift};
use crate::aws::AwsChain;
use crate::config::{Login, PostgresSettings};
use crate::error::{Error, Result};
use crate::runtime::Context;
use crate::schema::TableSpec;
use crate::store::Store;

/// A PostgreSQL database as a warehouse.
pub enum PostgresWarehouse {}

impl PostgresWarehouse {
    /// The tables of a pipeline in a schema of the database. Nothing is connected yet.
    ///
    /// # Errors
    /// Invalid where a table cannot be loaded as it is declared, or the login is one of Redshift's alone.
    #[expect(
        clippy::new_ret_no_self,
        reason = "what is loaded, and in which order, is the same for all SQL warehouses"
    )]
    pub fn new(
        settings: &PostgresSettings,
        chain: Option<AwsChain>,
        place: SqlPlace,
        (specs, context): (&[TableSpec], Context),
    ) -> Result<UpsertWarehouse> {
        let PostgresSettings { server, database, schema } = settings;
        let schema = schema.clone().unwrap_or_else(|| place.pipeline.clone());
        let address = format!("postgres://{}:{}/{database}, schema {schema}", server.host, server.port);
        let started_with = session_start(&schema);
        let started_with = started_with.each_ref().map(String::as_str);
        let wire = Wire::new(server, database, logins(&server.login, chain, &context)?, &started_with);
        let session = Arc::new(PostgresSession::new(wire, place.store.clone()));
        let target = SqlTarget { dialect: Dialect::Postgres, schema };
        UpsertWarehouse::new((session, target, address), place, specs, context)
    }
}

fn logins(login: &Login, chain: Option<AwsChain>, context: &Context) -> Result<Arc<dyn Logins>> {
    match (login, chain) {
        (Login::Environment { user, variable }, _) => {
            Ok(Arc::new(EnvironmentLogin { user: user.clone(), variable: variable.clone() }))
        }
        (Login::Secret(secret), Some(chain)) => Ok(redshift::secret_login(secret, chain, context.clone())),
        (Login::Secret(_), None) => Err(Error::internal("a login by a secret, and no AWS chain to ask for it")),
        (Login::Iam { .. }, _) => Err(Error::invalid(
            "a PostgreSQL database knows no temporary credentials of an AWS identity: log in with a user, whose password \
             an environment variable or a secret holds",
        )),
    }
}

/// What a session starts with: values read back as they are written whatever the server is set to, and the pipeline's
/// tables go by their bare names.
fn session_start(schema: &str) -> [String; 5] {
    [
        // A backslash in a text escapes nothing, for us and for the server.
        "SET standard_conforming_strings TO on".to_owned(),
        "SET TIME ZONE 'UTC'".to_owned(),
        "SET datestyle TO 'ISO'".to_owned(),
        "SET extra_float_digits TO 1".to_owned(),
        format!("SET search_path TO {}", quoted(schema)),
    ]
}

/// A way to a PostgreSQL.
struct PostgresSession {
    wire: Wire,
    copies: copy::Copies,
}

impl PostgresSession {
    /// Over this wire; COPY gets its rows from files of this store.
    fn new(wire: Wire, store: Store) -> Self {
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

    async fn cancel(&self) -> Result<()> {
        self.wire.cancel().await
    }

    fn needs_columns(&self) -> bool {
        // Staged rows are matched with the table's columns by name as they are sent.
        false
    }
}
