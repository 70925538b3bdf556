//! The server that the tests of this module run against: ferrokinesis in-process, and in front of it troubles on
//! order.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::header::CONTENT_LENGTH;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use ferrokinesis::store::{Store, StoreOptions};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{KinesisSettings, Producer, PutItem, StreamAdmin};
use crate::error::Error;
use crate::runtime::{Backoff, Clock, Context, ManualClock, Random, SystemClock, Tasks};

/// What becomes of one request instead of its answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It is refused with this status and code.
    Refused(u16, &'static str),
    /// It is answered with this JSON.
    Answered(Value),
    /// It is carried out, and its answer is lost.
    Unanswered,
    /// The records of these indices are refused, the others put.
    Partly(Vec<usize>),
    /// It is carried out, and the connection is reset in the middle of its answer.
    Torn,
    /// No answer comes at all.
    Mute,
    /// A subscription gives so many messages, half of the next one, and is reset.
    Cut(usize),
    /// A subscription gives so many messages, and nothing more.
    Hang(usize),
    /// A subscription gives these messages, then it ends.
    Messages(Vec<Vec<u8>>),
}

/// A running server; it ends when this is dropped.
pub(super) struct StandIn {
    pub(super) endpoint: String,
    store: Store,
    log: Arc<Mutex<Log>>,
    _tasks: Tasks,
}

#[derive(Default)]
struct Log {
    troubles: VecDeque<(&'static str, Trouble)>,
    operations: Vec<String>,
}

/// A clock that shows the time of day but on which nobody waits, and fixed dice.
pub(super) fn context() -> Context {
    Context { clock: Arc::new(ManualClock::at(SystemClock.now_micros())), random: Random::seeded(1) }
}

impl StandIn {
    pub(super) async fn start(options: StoreOptions) -> Self {
        let log = Arc::new(Mutex::new(Log::default()));
        let seen = log.clone();
        let (app, store) = ferrokinesis::create_app(options);
        let app = app.layer(from_fn(move |request, next| meddle(seen.clone(), request, next)));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
        let mut tasks = Tasks::new();
        tasks.spawn("stand-in", async move {
            axum::serve(listener, app).await.map_err(|error| Error::internal("the stand-in fell").with_source(error))
        });
        Self { endpoint, store, log, _tasks: tasks }
    }

    pub(super) fn settings(&self, stream: &str) -> KinesisSettings {
        let backoff = Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(5), attempts: 6 };
        KinesisSettings { backoff, ..KinesisSettings::local(&self.endpoint, stream) }
    }

    /// Makes a stream and gives its producer.
    pub(super) async fn stream(&self, name: &str, shards: u32) -> Producer {
        let admin = StreamAdmin::new(self.settings(name), context());
        assert!(admin.ensure_stream(shards).await.expect("a stream"), "made here");
        Producer::new(self.settings(name), context())
    }

    /// The next request of this operation meets this trouble; further ones wait their turn behind it.
    pub(super) fn trouble(&self, operation: &'static str, trouble: Trouble) {
        self.log.lock().expect("no panic").troubles.push_back((operation, trouble));
    }

    /// How many requests of this operation have come.
    pub(super) fn requests(&self, operation: &str) -> usize {
        self.log.lock().expect("no panic").operations.iter().filter(|seen| *seen == operation).count()
    }

    /// The oldest records of a shard pass retention.
    pub(super) async fn forget(&self, stream: &str, shard: i64, count: usize) {
        let from = ferrokinesis::sequence::shard_ix_to_hex(shard);
        let end = ferrokinesis::sequence::shard_ix_to_hex(shard + 1);
        let oldest = self.store.get_records_range_limited(stream, &from, &end, count).await;
        let keys: Vec<String> = oldest.into_iter().map(|(key, _)| key).collect();
        self.store.delete_record_keys(stream, &keys).await;
    }

    pub(super) fn item(key: &str, payload: &str) -> PutItem {
        PutItem::new(key, payload.to_owned())
    }
}

async fn meddle(log: Arc<Mutex<Log>>, request: Request, next: Next) -> Response {
    let target = request.headers().get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
    let trouble = {
        let mut log = log.lock().expect("no panic");
        log.operations.push(operation.clone());
        let index = log.troubles.iter().position(|(awaited, _)| *awaited == operation);
        index.and_then(|index| log.troubles.remove(index)).map(|(_, trouble)| trouble)
    };
    match trouble {
        None => next.run(request).await,
        Some(Trouble::Refused(status, code)) => refusal(status, code),
        Some(Trouble::Answered(body)) => answer(200, &body),
        Some(Trouble::Unanswered) => {
            next.run(request).await;
            refusal(500, "InternalFailure")
        }
        Some(Trouble::Partly(refused)) => put_partly(&refused, request, next).await,
        Some(Trouble::Torn) => torn(next.run(request).await).await,
        Some(Trouble::Mute) => std::future::pending().await,
        Some(Trouble::Cut(whole)) => next.run(request).await.map(|body| {
            let messages = body.into_data_stream().take(whole + 1).enumerate();
            let half = move |(index, message): (usize, Result<Bytes, _>)| {
                message.map(|message| if index < whole { message } else { message.slice(..message.len() / 2) })
            };
            let reset = stream::once(async { Err(axum::Error::new(io::Error::other("reset"))) });
            Body::from_stream(messages.map(half).chain(reset))
        }),
        Some(Trouble::Hang(whole)) => next
            .run(request)
            .await
            .map(|body| Body::from_stream(body.into_data_stream().take(whole).chain(stream::pending()))),
        Some(Trouble::Messages(messages)) => {
            let messages = messages.into_iter().map(Ok::<_, io::Error>);
            let builder = Response::builder().header("content-type", "application/vnd.amazon.eventstream");
            builder.body(Body::from_stream(stream::iter(messages))).expect("a response")
        }
    }
}

fn refusal(status: u16, code: &str) -> Response {
    answer(status, &json!({ "__type": code, "message": "on order" }))
}

fn answer(status: u16, body: &Value) -> Response {
    let builder = Response::builder().status(status).header("content-type", "application/x-amz-json-1.1");
    builder.body(Body::from(body.to_string())).expect("a response")
}

async fn torn(response: Response) -> Response {
    let (mut head, body) = response.into_parts();
    head.headers.remove(CONTENT_LENGTH);
    let whole = to_bytes(body, usize::MAX).await.expect("a body");
    let half = whole.slice(..whole.len() / 2);
    Response::from_parts(head, Body::from_stream(stream::iter([Ok(half), Err(io::Error::other("reset"))])))
}

async fn put_partly(refused: &[usize], request: Request, next: Next) -> Response {
    let (mut head, body) = request.into_parts();
    let mut put = parsed(body).await;
    let records = put["Records"].as_array().expect("records").clone();
    let taken: Vec<Value> = records
        .iter()
        .enumerate()
        .filter(|(index, _)| !refused.contains(index))
        .map(|(_, value)| value.clone())
        .collect();
    put["Records"] = Value::Array(taken);
    let body = Bytes::from(put.to_string());
    head.headers.insert(CONTENT_LENGTH, body.len().into());
    let given = parsed(next.run(Request::from_parts(head, Body::from(body))).await.into_body()).await;
    let mut given = given["Records"].as_array().expect("answers").clone().into_iter();
    let refusal = json!({ "ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "on order" });
    let merged: Vec<Value> = (0..records.len())
        .map(|index| if refused.contains(&index) { refusal.clone() } else { given.next().expect("an answer") })
        .collect();
    answer(200, &json!({ "FailedRecordCount": refused.len(), "Records": merged }))
}

async fn parsed(body: Body) -> Value {
    serde_json::from_slice(&to_bytes(body, usize::MAX).await.expect("a body")).expect("json")
}
