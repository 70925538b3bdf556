//! A Redshift that says no: the wire protocol in front, Redshift's rules in between, a real PostgreSQL behind.
//!
//! Owns the rules of `README.md` beside it, each with its source. It is our reading of Redshift's documentation, never
//! Redshift. Knows nothing of Millstream. A server lives until it is dropped; its databases live in the PostgreSQL.
#![expect(clippy::disallowed_methods, reason = "a server of its own, with tasks and a runtime of its own")]

mod backend;
mod commands;
mod copy;
mod expressions;
mod front;
mod functions;
mod layout;
mod merge;
mod prepared;
mod refusal;
mod session;
mod tables;
mod tls;
mod tokens;

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use object_store::ObjectStore;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// How concurrent transactions of a database see each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolation {
    /// Older databases: a cycle of reads and writes ends one of the transactions with error 1023.
    Serializable,
    /// New databases: only two writers of one row end so.
    #[default]
    Snapshot,
}

/// Where a failed COPY is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ErrorViews {
    /// Serverless and newer clusters: `sys_load_error_detail`.
    #[default]
    Sys,
    /// Older clusters: `stl_load_errors`.
    Stl,
}

/// What the server is.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// How concurrent transactions see each other.
    pub isolation: Isolation,
    /// The objects of each bucket, by the bucket's name.
    pub buckets: HashMap<String, Arc<dyn ObjectStore>>,
    /// Where a failed COPY is told.
    pub error_views: ErrorViews,
    /// Whether it speaks TLS, with a certificate of its own for `localhost` and 127.0.0.1.
    pub tls: bool,
    /// Every user's password; none: everybody is let in.
    pub password: Option<String>,
    /// Whether a Parquet DECIMAL must be a fixed-length byte array.
    pub fixed_length_decimals: bool,
}

/// How a connection is lost at the next COMMIT of a transaction that may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Nothing is committed, nothing is answered.
    BeforeCommit,
    /// It is committed, and the answer never comes.
    DuringCommit,
    /// It is committed and answered; then the connection ends.
    AfterCommit,
}

/// How the next transaction fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Error 1023 at its COMMIT.
    SerializableIsolation,
    /// A deadlock at its first LOCK or writing statement.
    Deadlock,
}

/// A server.
pub struct Redshift {
    /// Its port on 127.0.0.1.
    pub port: u16,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
    certificate: Option<tls::Certificate>,
}

/// What all connections share.
struct Shared {
    options: Options,
    postgres_port: u16,
    next: Mutex<Next>,
    statements: Mutex<Vec<String>>,
}

/// What happens next.
#[derive(Default)]
struct Next {
    losses: VecDeque<Loss>,
    failures: VecDeque<Failure>,
}

impl Redshift {
    /// Starts a server in front of the tests' PostgreSQL.
    ///
    /// # Panics
    /// Where no PostgreSQL can be started.
    pub fn start(options: Options) -> Self {
        let postgres_port = backend::port();
        let certificate = options.tls.then(tls::Certificate::make);
        let acceptor = certificate.as_ref().map(tls::Certificate::acceptor);
        let shared = Arc::new(Shared { options, postgres_port, next: Mutex::default(), statements: Mutex::default() });
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let listening = Arc::clone(&shared);
        let port = wait(&runtime, async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let port = listener.local_addr().expect("its address").port();
            tokio::spawn(accept(listener, acceptor, listening));
            port
        });
        Self { port, shared, runtime: Some(runtime), certificate }
    }

    /// Makes a new database and returns its name.
    pub fn database(&self) -> String {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("redshift_{}_{number}", std::process::id());
        let runtime = self.runtime.as_ref().expect("it runs until it is dropped");
        let (port, made) = (self.shared.postgres_port, name.clone());
        wait(runtime, async move { backend::make_database(port, &made).await });
        name
    }

    /// The certificate to trust, as a PEM file; none without TLS.
    pub fn certificate(&self) -> Option<PathBuf> {
        self.certificate.as_ref().map(tls::Certificate::file)
    }

    /// Loses the connection so at the next COMMIT of a transaction that may write.
    pub fn lose(&self, loss: Loss) {
        self.shared.next().losses.push_back(loss);
    }

    /// Lets the next transaction fail so.
    pub fn fail_next(&self, failure: Failure) {
        self.shared.next().failures.push_back(failure);
    }

    /// What was asked for and has not happened yet: losses and failures.
    pub fn awaited(&self) -> usize {
        let next = self.shared.next();
        next.losses.len() + next.failures.len()
    }

    /// Every statement that was sent, of all connections, in order.
    pub fn statements(&self) -> Vec<String> {
        self.shared.statements.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Redshift {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A test may drop it on an async thread, where waiting for the tasks would panic.
            runtime.shutdown_background();
        }
    }
}

impl Shared {
    fn next(&self) -> std::sync::MutexGuard<'_, Next> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn saw(&self, statement: &str) {
        self.statements.lock().unwrap_or_else(PoisonError::into_inner).push(statement.trim().to_owned());
    }

    /// The next failure, where it is this one.
    fn fails(&self, failure: Failure) -> bool {
        self.next().failures.pop_front_if(|next| *next == failure).is_some()
    }
}

/// Waits for work on a runtime, also from an async thread.
fn wait<T: Send + 'static>(runtime: &Runtime, work: impl Future<Output = T> + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    runtime.spawn(async move {
        let done = work.await;
        let _ = sender.send(done);
    });
    receiver.recv().expect("the work ends without a panic")
}

async fn accept(listener: TcpListener, acceptor: Option<pgwire::tokio::TlsAcceptor>, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let connection = front::Connection::new(Arc::clone(&shared));
        connections.spawn(pgwire::tokio::process_socket(socket, acceptor.clone(), connection));
    }
}
