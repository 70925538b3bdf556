//! A server of AWS's APIs for the tests of this module: it answers as each test says, keeps what it was asked, and makes
//! trouble on order.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::response::Response;
use futures::stream;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::aws_call::Apis;
use crate::aws::AwsChain;
use crate::error::Error;
use crate::runtime::{Clock, Context, ManualClock, Random, SystemClock, Tasks};

/// Status and body for an operation and its parameters.
pub(super) type Answer = (u16, String);

/// What becomes of one request instead of its answer.
#[derive(Debug, Clone)]
pub(super) enum Trouble {
    /// It is not carried out, and refused with this status and code.
    Refused(u16, &'static str),
    /// It is carried out, and the connection is reset in the middle of its answer.
    Torn,
}

/// A running server; it ends when this is dropped.
pub(super) struct StandIn {
    endpoint: String,
    pub(super) clock: Arc<ManualClock>,
    log: Arc<Mutex<Log>>,
    _tasks: Tasks,
}

#[derive(Default)]
struct Log {
    requests: Vec<(String, Value)>,
    troubles: VecDeque<(&'static str, Trouble)>,
}

impl StandIn {
    pub(super) async fn start(answers: impl Fn(&str, &Value) -> Answer + Send + Sync + 'static) -> Self {
        let log = Arc::new(Mutex::new(Log::default()));
        let (seen, answers) = (Arc::clone(&log), Arc::new(answers));
        let app = Router::new().fallback(move |request: Request| {
            let (seen, answers) = (Arc::clone(&seen), Arc::clone(&answers));
            async move {
                let (operation, asked) = parsed(request).await;
                answer(&seen, &operation, asked, answers.as_ref())
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
        let mut tasks = Tasks::new();
        tasks.spawn("stand-in", async move {
            axum::serve(listener, app).await.map_err(|error| Error::internal("the stand-in fell").with_source(error))
        });
        let clock = Arc::new(ManualClock::at(SystemClock.now_micros()));
        Self { endpoint, clock, log, _tasks: tasks }
    }

    pub(super) fn apis(&self) -> Apis {
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        Apis {
            chain: AwsChain::fixed("eu-central-1", "AKIDFIXED", "very-secret"),
            endpoint: Some(self.endpoint.clone()),
            context: Context { clock, random: Random::seeded(1) },
        }
    }

    /// The next requests of this operation meet this trouble.
    pub(super) fn trouble(&self, operation: &'static str, trouble: Trouble, times: usize) {
        let troubles = std::iter::repeat_n((operation, trouble), times);
        self.log.lock().expect("no panic").troubles.extend(troubles);
    }

    /// The parameters of the requests of this operation so far.
    pub(super) fn requests(&self, operation: &str) -> Vec<Value> {
        let log = self.log.lock().expect("no panic");
        log.requests.iter().filter(|(seen, _)| seen == operation).map(|(_, asked)| asked.clone()).collect()
    }
}

fn answer(log: &Mutex<Log>, operation: &str, asked: Value, answers: &dyn Fn(&str, &Value) -> Answer) -> Response {
    let mut log = log.lock().expect("no panic");
    let index = log.troubles.iter().position(|(awaited, _)| *awaited == operation);
    let trouble = index.and_then(|index| log.troubles.remove(index)).map(|(_, trouble)| trouble);
    log.requests.push((operation.to_owned(), asked.clone()));
    let (status, body) = match trouble {
        Some(Trouble::Refused(status, code)) => (status, json!({ "__type": code, "message": "on order" }).to_string()),
        _ => answers(operation, &asked),
    };
    let body = match trouble {
        Some(Trouble::Torn) => {
            let half = Bytes::from(body).slice(..1);
            Body::from_stream(stream::iter([Ok(half), Err(io::Error::other("reset"))]))
        }
        _ => Body::from(body),
    };
    let builder = Response::builder().status(status).header("content-type", "application/x-amz-json-1.1");
    builder.body(body).expect("a response")
}

/// The operation and its parameters, of the JSON protocol or the query protocol.
async fn parsed(request: Request) -> (String, Value) {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.expect("a body");
    match head.headers.get("x-amz-target").and_then(|value| value.to_str().ok()) {
        Some(target) => {
            let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
            (operation, serde_json::from_slice(&body).expect("json"))
        }
        None => {
            let pairs = url::form_urlencoded::parse(&body).into_owned();
            let asked: Value = pairs.map(|(name, value)| (name, Value::String(value))).collect();
            (asked["Action"].as_str().expect("an action").to_owned(), asked)
        }
    }
}
