//! The wire protocol: who may come in, statements one after the other, answers, and lost connections.

use std::fmt::Debug;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use futures::{Sink, SinkExt, stream};
use pgwire::api::auth::md5pass::{Md5PasswordAuthStartupHandler, hash_md5_password};
use pgwire::api::auth::noop::NoopStartupHandler;
use pgwire::api::auth::{AuthSource, DefaultServerParameterProvider, LoginInfo, Password, StartupHandler};
use pgwire::api::query::{
    ExtendedQueryHandler, SimpleQueryHandler, send_execution_response, send_query_response, send_ready_for_query,
};
use pgwire::api::results::{DataRowEncoder, FieldFormat, FieldInfo, QueryResponse, Response, Tag};
use pgwire::api::store::PortalStore;
use pgwire::api::{ClientInfo, ClientPortalStore, METADATA_DATABASE, PgWireConnectionState, PgWireServerHandlers};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::response::TransactionStatus;
use pgwire::messages::simplequery::Query;
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use tokio::sync::Mutex;

use super::prepared::{Describing, Preparing};
use super::refusal::Refusal;
use super::session::{Answer, Description, Session, Table, Transaction};
use super::{Shared, tokens};

/// What serves one connection.
pub(super) struct Connection {
    queries: Arc<Queries>,
}

/// Its statements.
pub(super) struct Queries {
    shared: Arc<Shared>,
    session: Mutex<Option<Session>>,
}

/// Who may come in.
struct Startup {
    password: Option<Md5PasswordAuthStartupHandler<OnePassword, DefaultServerParameterProvider>>,
}

/// Lets everybody in.
struct Anybody;

#[derive(Debug)]
struct OnePassword(String);

impl Connection {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { queries: Arc::new(Queries { shared, session: Mutex::new(None) }) }
    }
}

impl PgWireServerHandlers for Connection {
    fn simple_query_handler(&self) -> Arc<impl SimpleQueryHandler> {
        Arc::clone(&self.queries)
    }

    fn extended_query_handler(&self) -> Arc<impl ExtendedQueryHandler> {
        Arc::new(Describing(Arc::new(Preparing(Arc::clone(&self.queries)))))
    }

    fn startup_handler(&self) -> Arc<impl StartupHandler> {
        let mut parameters = DefaultServerParameterProvider::default();
        parameters.server_version = "8.0.2".to_owned();
        let password =
            self.queries.shared.options.password.clone().map(|password| {
                Md5PasswordAuthStartupHandler::new(Arc::new(OnePassword(password)), Arc::new(parameters))
            });
        Arc::new(Startup { password })
    }
}

#[async_trait]
#[expect(elided_lifetimes_in_paths, reason = "the trait is written so, and its lifetimes must match")]
impl AuthSource for OnePassword {
    async fn get_password(&self, login: &LoginInfo) -> PgWireResult<Password> {
        let salt = vec![7, 3, 5, 1];
        let hashed = hash_md5_password(login.user().unwrap_or_default(), &self.0, &salt);
        Ok(Password::new(Some(salt), hashed.into_bytes()))
    }
}

impl NoopStartupHandler for Anybody {}

#[async_trait]
impl StartupHandler for Startup {
    async fn on_startup<C>(&self, client: &mut C, message: PgWireFrontendMessage) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        match &self.password {
            Some(known) => known.on_startup(client, message).await,
            None => Anybody.on_startup(client, message).await,
        }
    }
}

#[async_trait]
impl SimpleQueryHandler for Queries {
    async fn on_query<C>(&self, client: &mut C, query: Query) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        client.set_state(PgWireConnectionState::QueryInProgress);
        let mut session = self.session.lock().await;
        if let Err(refusal) = self.answer_all(client, &mut session, &query.query).await? {
            client.feed(PgWireBackendMessage::ErrorResponse(refusal.into())).await?;
        }
        let transaction = session.as_ref().map_or(Transaction::None, |session| session.transaction);
        let status = match transaction {
            Transaction::None => TransactionStatus::Idle,
            Transaction::Open { .. } => TransactionStatus::Transaction,
            Transaction::Failed => TransactionStatus::Error,
        };
        client.set_state(PgWireConnectionState::ReadyForQuery);
        client.set_transaction_status(status);
        send_ready_for_query(client, status).await
    }

    async fn do_query<C>(&self, _client: &mut C, _query: &str) -> PgWireResult<Vec<Response>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        // `on_query` answers all.
        Ok(Vec::new())
    }
}

impl Queries {
    /// The columns that a statement answers.
    pub(super) async fn describe(&self, client: &impl ClientInfo, text: &str) -> Result<Description, Refusal> {
        let statements = tokens::statements(text)?;
        let [statement] = statements.as_slice() else { return Err(Refusal::syntax(";")) };
        let mut session = self.session.lock().await;
        self.opened(client, &mut session).await?.describe(statement).await
    }

    /// The session, opened by the first statement.
    async fn opened<'a>(
        &self,
        client: &impl ClientInfo,
        session: &'a mut Option<Session>,
    ) -> Result<&'a mut Session, Refusal> {
        let open = match session.take() {
            Some(open) => open,
            None => {
                let database = client.metadata().get(METADATA_DATABASE).cloned().unwrap_or_default();
                Session::open(Arc::clone(&self.shared), &database).await?
            }
        };
        Ok(session.insert(open))
    }

    /// Runs each statement and answers it; the first refusal ends the text.
    async fn answer_all<C>(
        &self,
        client: &mut C,
        session: &mut Option<Session>,
        text: &str,
    ) -> PgWireResult<Result<(), Refusal>>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let statements = match tokens::statements(text) {
            Ok(statements) => statements,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if statements.is_empty() {
            send_execution_response(client, Tag::new("")).await?;
        }
        for statement in &statements {
            let said = if statements.len() == 1 { text.to_owned() } else { tokens::text(statement) };
            self.shared.saw(&said);
            let answer = match self.opened(client, session).await {
                Ok(open) => open.run(statement).await,
                Err(refusal) => Err(refusal),
            };
            match answer {
                Ok(answer) => send(client, answer).await?,
                Err(refusal) => return Ok(Err(refusal)),
            }
        }
        Ok(Ok(()))
    }
}

/// Sends an answer, or ends the connection.
async fn send<C>(client: &mut C, answer: Answer) -> PgWireResult<()>
where
    C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
    C::Error: Debug,
    PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
{
    match answer {
        Answer::Rows(table) => send_query_response(client, rows(table), true).await,
        Answer::Done(words, None) => send_execution_response(client, Tag::new(words)).await,
        Answer::Done(words, Some(rows)) => send_execution_response(client, Tag::new(words).with_rows(rows)).await,
        Answer::Lost { answered } => {
            if answered {
                send_execution_response(client, Tag::new("COMMIT")).await?;
                send_ready_for_query(client, TransactionStatus::Idle).await?;
            }
            client.close().await?;
            Err(PgWireError::IoError(io::Error::from(io::ErrorKind::ConnectionAborted)))
        }
    }
}

fn rows(table: Table) -> QueryResponse {
    let fields =
        table.columns.into_iter().map(|(name, kind)| FieldInfo::new(name, None, None, kind, FieldFormat::Text));
    let fields = Arc::new(fields.collect::<Vec<_>>());
    let mut encoder = DataRowEncoder::new(Arc::clone(&fields));
    let mut encoded = Vec::new();
    for row in table.rows {
        let outcome = row.iter().try_for_each(|value| {
            encoder.encode_field_with_type_and_format(
                value,
                &pgwire::api::Type::VARCHAR,
                FieldFormat::Text,
                &Default::default(),
            )
        });
        encoded.push(outcome.map(|()| encoder.take_row()));
    }
    QueryResponse::new(fields, stream::iter(encoded))
}
