//! A connection of the PostgreSQL protocol, shared by the warehouses that speak it.
//!
//! Owns connecting (TLS, login, keepalive, the session's settings), the one idle connection that is kept, a script as one
//! transaction, and answers as Arrow rows. It does not own what the statements say, nor how a COPY gets its rows. The
//! contract: a connection on which anything went wrong, or that is dropped in the middle of something, is closed and never
//! used again, and so whatever it had not committed is rolled back.

mod fault;
mod login;
mod rows;
#[cfg(test)]
mod tests;
mod tls;
mod transaction;
mod values;

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio_postgres::config::SslMode;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{CancelToken, Client, Config, NoTls, Socket};

use super::Answer;
use super::script::Statement;
use super::session::Broken;
use crate::config::{ServerSettings, Tls};
use crate::error::{Error, Result};
use crate::runtime::Tasks;

use fault::Asked;
pub(super) use fault::{Place, fault};
pub(super) use login::{EnvironmentLogin, LoginNow, Logins, Secret};
pub(super) use transaction::{CopyIn, Transaction};
pub(super) use values::array;

/// How long the server may take to accept a connection.
const ACCEPT: Duration = Duration::from_secs(10);

/// How long it may take from there to a session that is ready.
const GREET: Duration = Duration::from_secs(30);

/// How long COMMIT may take: Redshift does one after the other, so that many may wait before it.
const COMMIT: Duration = Duration::from_secs(15 * 60);

/// After this much silence the connection is probed: Redshift's network forgets silent ones after 300 s.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(45);

/// The time between probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// Probes without an answer, until the connection counts as lost.
const KEEPALIVE_RETRIES: u32 = 3;

/// How long bytes that were sent may stay unacknowledged.
const UNACKNOWLEDGED: Duration = Duration::from_secs(75);

/// A way to a server: it connects where it must.
pub(super) struct Wire {
    server: ServerSettings,
    place: Place,
    logins: Arc<dyn Logins>,
    settings: String,
    /// How long a server may be silent where it answers at once.
    prompt: Duration,
    /// How long it may be silent after COMMIT.
    commit: Duration,
    idle: Idle,
    /// By which the server is told to give up what the living connections ask.
    living: Mutex<Vec<Weak<CancelToken>>>,
}

/// The connection that is kept between two uses.
type Idle = Arc<Mutex<Option<Connection>>>;

/// A session of the server. Dropped, it is closed.
pub(super) struct Connection {
    client: Client,
    _cancel: Arc<CancelToken>,
    /// Moves the bytes.
    _task: Tasks,
}

impl Wire {
    /// A way to this server's database. Each new session starts with `settings`, which are statements. Nothing is
    /// connected yet.
    pub(super) fn new(server: &ServerSettings, database: &str, logins: Arc<dyn Logins>, settings: &[&str]) -> Self {
        Self {
            server: server.clone(),
            place: Place { host: server.host.clone(), port: server.port, database: database.to_owned() },
            logins,
            settings: settings.join("; "),
            prompt: ACCEPT + GREET,
            commit: COMMIT,
            idle: Idle::default(),
            living: Mutex::default(),
        }
    }

    /// Runs a script as one transaction; what a COPY brings in comes from `copies`.
    pub(super) async fn transact(&self, script: &[Statement], copies: &dyn CopyIn) -> Result<(), Broken> {
        let transaction = self.begin("BEGIN").await.map_err(Broken::Failed)?;
        transaction.run_script(script, copies).await?;
        transaction.commit().await
    }

    /// Runs statements one after the other, each by itself.
    ///
    /// # Errors
    /// Invalid where one is refused, with the server's words; Transient.
    pub(super) async fn execute(&self, statements: &[String]) -> Result<()> {
        let connection = self.connection().await?;
        for statement in statements {
            connection.run(&self.place, statement).await?;
        }
        keep(&self.idle, connection);
        Ok(())
    }

    /// Answers one statement in a transaction that may only read, and that leaves no trace in the session.
    ///
    /// # Errors
    /// As [`Wire::execute`].
    pub(super) async fn read(&self, sql: &str) -> Result<Answer> {
        rows::answer(self.begin(rows::READ_ONLY).await?, sql).await
    }

    /// Has the server give up whatever it is asked now: a connection that is merely closed is looked at by a server when
    /// it has an answer.
    ///
    /// # Errors
    /// Transient or Invalid where the server cannot be reached for it.
    pub(super) async fn cancel(&self) -> Result<()> {
        let living = self.living.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for token in living.iter().filter_map(Weak::upgrade) {
            let cancelling = async {
                let told = match &self.server.tls {
                    Tls::Off => token.cancel_query(NoTls).await,
                    Tls::Verify { authorities } => token.cancel_query(tls::connector(authorities.clone()).await?).await,
                };
                told.map_err(|error| fault(&self.place, &error))
            };
            self.promptly(cancelling).await?;
        }
        Ok(())
    }

    /// Starts a transaction with this statement.
    ///
    /// # Errors
    /// As [`Wire::execute`].
    pub(super) async fn begin(&self, statement: &str) -> Result<Transaction> {
        let connection = self.connection().await?;
        self.promptly(connection.run(&self.place, statement)).await?;
        Ok(Transaction::new(connection, self.place.clone(), Arc::clone(&self.idle), self.commit))
    }

    /// The idle connection, where it still lives, or a new one.
    async fn connection(&self) -> Result<Connection> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).take();
        match idle.filter(|connection| !connection.client.is_closed()) {
            Some(connection) => Ok(connection),
            None => self.connect().await,
        }
    }

    async fn connect(&self) -> Result<Connection> {
        let LoginNow { user, password } = self.logins.login().await?;
        let mut config = Config::new();
        config.host(&self.server.host).port(self.server.port).dbname(&self.place.database).user(&user);
        config.application_name("millstream").connect_timeout(ACCEPT).tcp_user_timeout(UNACKNOWLEDGED);
        config.keepalives_idle(KEEPALIVE_IDLE).keepalives_interval(KEEPALIVE_INTERVAL);
        config.keepalives_retries(KEEPALIVE_RETRIES);
        if let Some(password) = &password {
            config.password(password.expose());
        }
        let connecting = async {
            let connection = match &self.server.tls {
                Tls::Off => self.connect_by(config.ssl_mode(SslMode::Disable), NoTls, &user).await?,
                Tls::Verify { authorities } => {
                    let connector = tls::connector(authorities.clone()).await?;
                    self.connect_by(config.ssl_mode(SslMode::Require), connector, &user).await?
                }
            };
            if !self.settings.is_empty() {
                connection.run(&self.place, &self.settings).await?;
            }
            Ok(connection)
        };
        let connection = self.promptly(connecting).await?;
        tracing::debug!(place = %self.place, "connected to the warehouse");
        Ok(connection)
    }

    async fn connect_by<T>(&self, config: &Config, tls: T, user: &str) -> Result<Connection>
    where
        T: MakeTlsConnect<Socket> + Send + 'static,
        T::Stream: Send + 'static,
        T::TlsConnect: Send,
        <T::TlsConnect as tokio_postgres::tls::TlsConnect<Socket>>::Future: Send,
    {
        let place = self.place.clone();
        let refused = |error| {
            let asked = Asked { user, origin: &self.logins.origin(), tls: &self.server.tls };
            fault::connecting(&place, &error, asked)
        };
        let (client, connection) = config.connect(tls).await.map_err(refused)?;
        let mut task = Tasks::new();
        // The client's calls tell what went wrong; this end of it is for the record.
        task.spawn("warehouse connection", async move { connection.await.map_err(|error| fault(&place, &error)) });
        let cancel = Arc::new(client.cancel_token());
        let mut living = self.living.lock().unwrap_or_else(PoisonError::into_inner);
        living.retain(|token| token.strong_count() > 0);
        living.push(Arc::downgrade(&cancel));
        Ok(Connection { client, _cancel: cancel, _task: task })
    }

    /// What a server answers at once: where it is silent, the connection is of no use.
    async fn promptly<T>(&self, answer: impl Future<Output = Result<T>>) -> Result<T> {
        let answered = tokio::time::timeout(self.prompt, answer).await;
        answered.unwrap_or_else(|_| {
            let (place, seconds) = (&self.place, self.prompt.as_secs());
            Err(Error::transient(format!(
                "{place} opened no session or transaction within {seconds} s; staged files wait and nothing is lost"
            )))
        })
    }
}

impl Connection {
    /// Runs statements that answer nothing of interest.
    async fn run(&self, place: &Place, sql: &str) -> Result<()> {
        self.client.batch_execute(sql).await.map_err(|error| fault(place, &error))
    }
}

/// Keeps a connection that is between two statements for the next use.
fn keep(idle: &Idle, connection: Connection) {
    if !connection.client.is_closed() {
        idle.lock().unwrap_or_else(PoisonError::into_inner).replace(connection);
    }
}
