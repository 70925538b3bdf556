//! The extended protocol as far as drivers ask with it for a query's columns: a statement is prepared, never executed.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use futures::Sink;
use pgwire::api::portal::{Format, Portal};
use pgwire::api::query::ExtendedQueryHandler;
use pgwire::api::results::{FieldFormat, FieldInfo, Response};
use pgwire::api::stmt::QueryParser;
use pgwire::api::store::PortalStore;
use pgwire::api::{ClientInfo, ClientPortalStore, Type};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::PgWireBackendMessage;

use super::front::Queries;
use super::refusal::Refusal;
use super::session::Description;

/// Prepares in the session that the simple statements run in.
pub(super) struct Preparing(pub(super) Arc<Queries>);

#[async_trait]
impl QueryParser for Preparing {
    type Statement = Description;

    async fn parse_sql<C>(&self, client: &C, sql: &str, _types: &[Option<Type>]) -> PgWireResult<Option<Description>>
    where
        C: ClientInfo + Unpin + Send + Sync,
    {
        Ok(Some(self.0.describe(client, sql).await?))
    }

    fn get_parameter_types(&self, statement: &Description) -> PgWireResult<Vec<Type>> {
        Ok(statement.parameters.clone())
    }

    fn get_result_schema(&self, statement: &Description, format: Option<&Format>) -> PgWireResult<Vec<FieldInfo>> {
        let columns = statement.columns.iter().enumerate();
        let fields = columns.map(|(place, (name, kind))| {
            let format = format.map_or(FieldFormat::Text, |wanted| wanted.format_for(place));
            FieldInfo::new(name.clone(), None, None, kind.clone(), format)
        });
        Ok(fields.collect())
    }
}

/// Refuses to execute.
pub(super) struct Describing(pub(super) Arc<Preparing>);

#[async_trait]
impl ExtendedQueryHandler for Describing {
    type Statement = Description;
    type QueryParser = Preparing;

    fn query_parser(&self) -> Arc<Preparing> {
        Arc::clone(&self.0)
    }

    async fn do_query<C>(&self, _client: &mut C, _portal: &Portal<Description>, _rows: usize) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Description>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        Err(Refusal::stand_in_cannot("statements of the extended protocol: send them as simple queries").into())
    }
}
