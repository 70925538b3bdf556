//! The server: the engine behind a gate that lets nobody see, and no client be told of, what is not on disk.
//!
//! Owns the gate and the server's life. A request that changes something has the gate to itself until its change is on
//! disk, which also keeps a shard's records in the order of their sequence numbers: the engine numbers them before it
//! inserts them, and a reader between two concurrent puts would skip one. Readers share the gate. A request's body is
//! read before the gate, so a slow client holds up only itself; `bodies` bounds what is read. A fan-out subscription passes
//! the gate as a reader for each of its messages.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use ferrokinesis::store::{Store, StoreOptions};
use futures::future::FutureExt;
use tokio::sync::{RwLock, oneshot};
use tokio_util::sync::CancellationToken;

use super::bodies::{Bodies, LARGEST_REQUEST, Received, Unread};
use super::durable::{Durable, Refusal};
use super::restore::restore;
use super::subscription::{Reading, Subscription};
use crate::error::{Error, Result};
use crate::http::{self, Limits};
use crate::runtime::{Clock, SystemClock, Tasks};

/// Open shards of all streams; the engine's own default is 10.
const SHARDS: u32 = 1024;
/// How often expired records are looked for.
const TRIM_EVERY: Duration = Duration::from_secs(60);
/// Clients keep their connections, and reading many shards takes many of them.
const LIMITS: Limits = Limits {
    connections: 512,
    first_request: Duration::from_secs(5),
    next_request: Duration::from_secs(60),
    life: None,
    buffer: 64 << 10,
    drain: Duration::from_secs(5),
};

/// What a hosted stream's server is given.
pub(super) struct Server {
    /// `DIR/kinesis`.
    pub(super) folder: PathBuf,
    /// Bound to loopback.
    pub(super) listener: TcpListener,
    /// Ends the server.
    pub(super) stop: CancellationToken,
}

/// Everything that a request passes on its way to the engine.
struct Gate {
    bodies: Bodies,
    durable: Arc<RwLock<Durable>>,
    refusing: AtomicBool,
    /// Ends subscriptions, which would never end by themselves in time.
    stop: CancellationToken,
}

impl Server {
    /// Brings the streams back, says so through `ready`, and serves until told to stop; then all is synced.
    ///
    /// # Errors
    /// As [`restore`]; Invalid where the disk is full at the end.
    pub(super) async fn run(self, ready: oneshot::Sender<()>) -> Result<()> {
        let listener =
            self.listener.set_nonblocking(true).and_then(|()| tokio::net::TcpListener::from_std(self.listener));
        let listener = listener.map_err(|error| Error::internal("cannot serve the stream").with_source(error))?;
        let store = Store::new(options());
        let durable = restore(&self.folder, store.clone(), SystemClock.now_millis() / 1000).await?;
        let (durable, refusing) = (Arc::new(RwLock::new(durable)), AtomicBool::new(false));
        let gate = Arc::new(Gate { bodies: Bodies::default(), durable, refusing, stop: self.stop.clone() });
        let app = router(store, Arc::clone(&gate));
        let mut tasks = Tasks::new();
        let (trimmed, stop) = (Arc::clone(&gate), self.stop.clone());
        tasks.spawn("trim", async move {
            stop.run_until_cancelled(trim(trimmed)).await;
            Ok(())
        });
        // Nobody may be waiting any more: then the stop follows at once.
        let _ = ready.send(());
        http::serve(listener, app, (LIMITS, Arc::new(SystemClock)), self.stop).await;
        tasks.join().await?;
        let closed = gate.durable.write().await.close().await;
        closed.map_err(|refusal| Error::invalid(format!("the stream's end could not be synced: {refusal}")))
    }
}

fn options() -> StoreOptions {
    StoreOptions {
        create_stream_ms: 0,
        delete_stream_ms: 0,
        update_stream_ms: 0,
        shard_limit: SHARDS,
        aws_account_id: "000000000000".to_owned(),
        aws_region: "us-east-1".to_owned(),
        ..StoreOptions::default()
    }
}

fn router(store: Store, gate: Arc<Gate>) -> Router {
    ferrokinesis::create_router(store)
        .layer(DefaultBodyLimit::max(LARGEST_REQUEST))
        .layer(from_fn_with_state(gate, pass))
        .layer(from_fn(admitted))
}

async fn trim(gate: Arc<Gate>) {
    loop {
        SystemClock.sleep(TRIM_EVERY).await;
        gate.durable.read().await.trim(SystemClock.now_millis() / 1000).await;
    }
}

/// What a request does to the streams, by its operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Put,
    Create,
    Change,
}

impl Access {
    /// None for what is no operation: health and metrics.
    fn of(headers: &HeaderMap) -> Option<Self> {
        let target = headers.get("x-amz-target")?.to_str().ok()?;
        let (_, operation) = target.split_once('.')?;
        let reads = ["Get", "List", "Describe", "SubscribeToShard"];
        Some(match operation {
            "PutRecord" | "PutRecords" => Self::Put,
            "CreateStream" => Self::Create,
            _ if reads.iter().any(|read| operation.starts_with(read)) => Self::Read,
            _ => Self::Change,
        })
    }
}

/// Nobody but programs of this machine comes as far as the engine, which would let any web page in.
async fn admitted(request: Request, next: Next) -> Response {
    let Err(refused) = http::admit(&request) else { return next.run(request).await };
    refusal(StatusCode::FORBIDDEN, "AccessDeniedException", &refused.to_string(), is_cbor(request.headers()))
}

fn is_cbor(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == CBOR)
}

async fn pass(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let is_cbor = is_cbor(&head.headers);
    let Received { bytes, room: _room } = match gate.bodies.receive(body).await {
        Ok(received) => received,
        Err(unread) => return unread_body(unread, head.version, is_cbor),
    };
    let access = Access::of(&head.headers);
    let request = Request::from_parts(head, Body::from(bytes));
    let outcome = match access {
        None => return next.run(request).await,
        Some(Access::Read) => gate.read(request, next).await,
        Some(access) => gate.change(access, request, next).await,
    };
    gate.note(&outcome);
    outcome.unwrap_or_else(|refused| {
        refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalFailure", &refused.to_string(), is_cbor)
    })
}

/// What is left of the body would be taken for the next request: the connection ends.
fn unread_body(unread: Unread, version: Version, is_cbor: bool) -> Response {
    let (status, kind) = unread.kind();
    let mut refused = refusal(status, kind, &unread.to_string(), is_cbor);
    if version < Version::HTTP_2 {
        refused.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    refused
}

/// The gate for a reader: everything is on disk for as long as it is held.
async fn look(gate: Arc<RwLock<Durable>>) -> Result<Reading, Refusal> {
    loop {
        let reading = Arc::clone(&gate).read_owned().await;
        if reading.is_settled() {
            return Ok(reading);
        }
        drop(reading);
        gate.write().await.settle().await?;
    }
}

/// A subscription's body that passes the gate as a reader for each message.
pub(super) fn gated(body: Body, durable: &Arc<RwLock<Durable>>, stop: &CancellationToken) -> Subscription {
    let durable = Arc::clone(durable);
    Subscription::new(body, Box::new(move || look(Arc::clone(&durable)).boxed()), stop.clone())
}

impl Gate {
    async fn read(&self, request: Request, next: Next) -> Result<Response, Refusal> {
        let reading = look(Arc::clone(&self.durable)).await?;
        let response = next.run(request).await;
        drop(reading);
        if response.headers().get(header::CONTENT_TYPE).is_none_or(|kind| kind != EVENTS) {
            return Ok(response);
        }
        Ok(response.map(|body| Body::from_stream(gated(body, &self.durable, &self.stop))))
    }

    async fn change(&self, access: Access, request: Request, next: Next) -> Result<Response, Refusal> {
        let mut durable = self.durable.write().await;
        durable.begin(access != Access::Put).await?;
        if access == Access::Create {
            durable.await_new_creation_time().await;
        }
        let response = next.run(request).await;
        durable.settle().await?;
        Ok(response)
    }

    /// Logs the first refusal of a row of them, and the end of the row.
    fn note(&self, outcome: &Result<Response, Refusal>) {
        match outcome {
            Err(Refusal::Closed) => {}
            Err(refusal) if !self.refusing.swap(true, Ordering::Relaxed) => {
                tracing::error!(%refusal, "the stream refuses requests");
            }
            Ok(_) if self.refusing.load(Ordering::Relaxed) && self.refusing.swap(false, Ordering::Relaxed) => {
                tracing::info!("the stream takes requests again");
            }
            _ => {}
        }
    }
}

const JSON: &str = "application/x-amz-json-1.1";
const CBOR: &str = "application/x-amz-cbor-1.1";
const EVENTS: &str = "application/vnd.amazon.eventstream";

fn refusal(status: StatusCode, kind: &str, message: &str, is_cbor: bool) -> Response {
    let json = serde_json::json!({ "__type": kind, "message": message });
    // A client that speaks CBOR gets an empty map: the header names the error.
    let (content_type, body) = if is_cbor { (CBOR, vec![0xa0]) } else { (JSON, json.to_string().into_bytes()) };
    let headers = [("content-type", content_type), ("x-amzn-errortype", kind)];
    (status, headers, body).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    #[test]
    fn operations_are_told_apart_by_what_they_do() {
        let cases = [
            ("Kinesis_20131202.PutRecord", Some(Access::Put)),
            ("Kinesis_20131202.PutRecords", Some(Access::Put)),
            ("Kinesis_20131202.PutResourcePolicy", Some(Access::Change)),
            ("Kinesis_20131202.CreateStream", Some(Access::Create)),
            ("Kinesis_20131202.SplitShard", Some(Access::Change)),
            ("Kinesis_20131202.GetRecords", Some(Access::Read)),
            ("Kinesis_20131202.ListShards", Some(Access::Read)),
            ("Kinesis_20131202.SubscribeToShard", Some(Access::Read)),
            ("nonsense", None),
        ];
        for (target, access) in cases {
            let mut headers = HeaderMap::new();
            headers.insert("x-amz-target", target.parse().expect("a header"));
            assert_eq!(Access::of(&headers), access, "{target}");
        }
        assert_eq!(Access::of(&HeaderMap::new()), None);
    }

    #[tokio::test]
    async fn a_refusal_is_an_error_that_clients_of_both_formats_understand() {
        for (is_cbor, content_type, body) in
            [(false, JSON, &br#"{"__type":"InternalFailure","message":"full"}"#[..]), (true, CBOR, &[0xa0])]
        {
            let response = refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalFailure", "full", is_cbor);
            assert_eq!(response.status(), 500);
            assert_eq!(response.headers()["x-amzn-errortype"], "InternalFailure");
            assert_eq!(response.headers()["content-type"], content_type);
            assert_eq!(to_bytes(response.into_body(), 1000).await.expect("body"), body);
        }
    }
}
