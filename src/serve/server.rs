//! The server: `GET /metrics` and `GET /health` on one address, for as long as the work beside it.
//!
//! Owns the address and the server's life. Health is 200 while the process reads and loads, and 503 with a sentence while
//! loading does not go on by itself: alert on it, and do not restart for it, since what is staged waits either way.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, Version, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use chrono::{DateTime, SecondsFormat};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::snapshot::Snapshot;
use crate::engine::Progress;
use crate::error::{Error, Result};
use crate::http::{self, Limits};
use crate::runtime::{Context, Tasks};
use crate::workers::LoadingStopped;

/// Whoever names no host is heard on this machine only: metrics are open to everyone who reaches them.
const LOOPBACK: &str = "127.0.0.1";

/// More than all who scrape one worker; an answer takes no longer than Prometheus itself waits for it, unless told
/// otherwise.
const LIMITS: Limits = Limits {
    connections: 256,
    first_request: Duration::from_secs(5),
    next_request: Duration::from_secs(5),
    life: Some(Duration::from_secs(10)),
    buffer: 16 << 10,
    drain: Duration::from_secs(1),
};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A server of metrics that listens already and does not answer yet.
pub struct MetricsServer {
    listener: TcpListener,
    address: SocketAddr,
}

/// What answers are made from.
#[derive(Clone)]
struct Told {
    progress: Progress,
    context: Context,
}

impl MetricsServer {
    /// Listens on `PORT` or `:PORT` (of loopback), or on `HOST:PORT`; port 0 is any free one.
    ///
    /// # Errors
    /// Invalid for anything else, and where the address cannot be had.
    pub async fn bind(address: &str) -> Result<Self> {
        let (host, port) = split(address)?;
        let refused = |error: io::Error| Error::invalid(refusal(address, &error)).with_source(error);
        let listener = TcpListener::bind((host, port)).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self { listener, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves the progress while `work` is being done, and returns the work's outcome. A fault of serving is logged,
    /// never the work's.
    ///
    /// # Errors
    /// The work's.
    pub async fn beside<T>(
        self,
        (progress, context): (Progress, Context),
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let done = CancellationToken::new();
        let mut tasks = Tasks::new();
        tasks.spawn("serving metrics", self.serve(Told { progress, context }, done.clone()));
        let outcome = work.await;
        done.cancel();
        if let Err(error) = tasks.join().await {
            tracing::warn!(%error, "the metrics were not served to the end");
        }
        outcome
    }

    async fn serve(self, told: Told, done: CancellationToken) -> Result<()> {
        tracing::info!(metrics = format!("http://{}/metrics", self.address), "serving metrics");
        let clock = told.context.clock.clone();
        let router = router(told, self.address.ip().is_loopback());
        http::serve(self.listener, router, (LIMITS, clock), done).await;
        Ok(())
    }
}

fn split(address: &str) -> Result<(&str, u16)> {
    let (host, port) = address.rsplit_once(':').unwrap_or(("", address));
    // As in an address: what holds colons of its own stands in brackets.
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_ambiguous = bare.is_none() && host.contains(':');
    match port.parse() {
        Ok(port) if !is_ambiguous => {
            Ok((bare.or(Some(host)).filter(|host| !host.is_empty()).unwrap_or(LOOPBACK), port))
        }
        _ => Err(Error::invalid(format!(
            "{address:?} is no address to serve metrics on; give PORT (on 127.0.0.1) or HOST:PORT, such as 9464 or \
             0.0.0.0:9464"
        ))),
    }
}

fn refusal(address: &str, error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => "the port is in use: choose another, or 0 for any free one",
        io::ErrorKind::PermissionDenied => "the system does not allow it: choose a port from 1024 on",
        _ => "name an address of this machine",
    };
    format!("metrics cannot be served on {address} ({advice}); nothing has been started")
}

fn router(told: Told, is_on_loopback: bool) -> Router {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/health", get(health))
        .layer(from_fn(close_after))
        .with_state(told);
    if is_on_loopback { router.layer(from_fn(admitted)) } else { router }
}

async fn admitted(request: Request, next: Next) -> Response {
    match http::admit(&request) {
        Ok(()) => next.run(request).await,
        Err(refused) => (StatusCode::FORBIDDEN, format!("{refused}\n")).into_response(),
    }
}

async fn metrics(State(told): State<Told>) -> Response {
    match Snapshot::of(&told.progress, told.context.clock.now_micros()).into_text() {
        Ok(page) => ([(header::CONTENT_TYPE, OPEN_METRICS)], page).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn health(State(told): State<Told>) -> Response {
    told.progress.totals().loading_stopped.map_or_else(|| "ok".into_response(), unhealthy)
}

fn unhealthy(stopped: LoadingStopped) -> Response {
    let since = DateTime::from_timestamp_millis(stopped.since).unwrap_or_default();
    let since = since.to_rfc3339_opts(SecondsFormat::Secs, true);
    let words = format!(
        "loading has stopped since {since}: {}; it is tried again at intervals; what is read is staged and waits\n",
        stopped.reason
    );
    (StatusCode::SERVICE_UNAVAILABLE, words).into_response()
}

/// A connection's time is bounded, so that one that is kept could end amid the next scrape: each gets its own.
async fn close_after(request: Request, next: Next) -> Response {
    let is_kept = request.version() <= Version::HTTP_11;
    let mut response = next.run(request).await;
    if is_kept {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener as BlockingListener, TcpStream};

    use super::*;
    use crate::error::ErrorKind;
    use crate::runtime::blocking;

    /// What the server answers to `GET path`, until it closes the connection.
    async fn ask(address: SocketAddr, request: &'static str) -> Result<String> {
        blocking(move || {
            let mut answer = String::new();
            let mut stream = TcpStream::connect(address).expect("it listens");
            let request = format!("{request} HTTP/1.1\r\nHost: {address}\r\n\r\n");
            stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_string(&mut answer)).expect("an answer");
            Ok(answer)
        })
        .await
    }

    #[tokio::test]
    async fn health_says_since_when_and_why_loading_has_stopped() {
        let stopped = LoadingStopped { since: 1_800_000_000_123, reason: "no right to write".into() };
        let response = unhealthy(stopped);
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        let body = axum::body::to_bytes(response.into_body(), 1 << 10).await.expect("short");
        let said = String::from_utf8(body.to_vec()).expect("text");
        assert!(said.starts_with("loading has stopped since 2027-01-15T08:00:00Z: no right to write; "), "{said}");
    }

    #[tokio::test]
    async fn metrics_and_health_are_answered_and_nothing_else() {
        let server = MetricsServer::bind("0").await.expect("bound");
        let address = server.address();
        assert!(address.ip().is_loopback());
        let work = async {
            let metrics = ask(address, "GET /metrics").await?;
            assert!(metrics.starts_with("HTTP/1.1 200 OK\r\n"), "{metrics}");
            assert!(metrics.contains("content-type: application/openmetrics-text; version=1.0.0"), "{metrics}");
            assert!(metrics.contains("\nmillstream_records_read_total 0\n"), "{metrics}");
            let health = ask(address, "GET /health").await?;
            assert!(health.starts_with("HTTP/1.1 200 OK\r\n") && health.ends_with("\r\n\r\nok"), "{health}");
            for (request, status) in [("GET /", "404"), ("POST /metrics", "405"), ("DELETE /health", "405")] {
                let answer = ask(address, request).await?;
                assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
            }
            Ok(7)
        };
        let outcome = server.beside((Progress::default(), Context::system()), work).await;
        assert_eq!(outcome.expect("the work's"), 7);
    }

    #[tokio::test]
    async fn it_ends_with_the_work_though_a_client_says_nothing() {
        let server = MetricsServer::bind("127.0.0.1:0").await.expect("bound");
        let address = server.address();
        let silent = TcpStream::connect(address).expect("connected");
        let work = async {
            // By then the silent one, who came first, has been accepted.
            ask(address, "GET /health").await?;
            Err::<(), _>(Error::corrupt("torn"))
        };
        let outcome = server.beside((Progress::default(), Context::system()), work).await;
        assert_eq!(outcome.expect_err("the work's").kind(), ErrorKind::Corrupt);
        assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
        drop(silent);
    }

    #[tokio::test]
    async fn a_port_in_use_is_told_before_anything_starts() {
        let taken = BlockingListener::bind("127.0.0.1:0").expect("bound");
        let port = taken.local_addr().expect("its address").port();
        let error = MetricsServer::bind(&port.to_string()).await.err().expect("it is taken");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(&format!("on {port} (the port is in use: choose another")), "{error}");
    }

    #[test]
    fn an_address_is_a_port_of_loopback_or_names_its_host() {
        let cases = [
            ("9464", Some(("127.0.0.1", 9464))),
            (":9464", Some(("127.0.0.1", 9464))),
            ("127.0.0.1:0", Some(("127.0.0.1", 0))),
            ("0.0.0.0:9464", Some(("0.0.0.0", 9464))),
            ("[::1]:9464", Some(("::1", 9464))),
            ("scraped.example:80", Some(("scraped.example", 80))),
            ("::1:9464", None),
            ("::1", None),
            ("", None),
            ("here", None),
            ("127.0.0.1", None),
            ("127.0.0.1:", None),
            ("127.0.0.1:65536", None),
            ("http://127.0.0.1:9464", None),
        ];
        for (address, expected) in cases {
            assert_eq!(split(address).ok(), expected, "{address:?}");
        }
    }
}
