//! ferrokinesis in the test's own process: fast, its limits enforced and its iterators as short-lived as a test wants.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use ferrokinesis::store::{Store, StoreOptions};
use tokio::net::TcpListener;
use tokio::sync::RwLock;

/// A server on loopback; it ends with the test's runtime.
pub(crate) struct InProcess {
    pub(crate) port: u16,
}

impl InProcess {
    /// A server without streams.
    pub(crate) async fn start(options: StoreOptions) -> Self {
        let options = StoreOptions { create_stream_ms: 0, update_stream_ms: 0, shard_limit: 10_000, ..options };
        let (app, store) = ferrokinesis::create_app(options);
        let gate = Arc::new(RwLock::new(()));
        let app = app.layer(from_fn(move |request, next| pass(Arc::clone(&gate), store.clone(), (request, next))));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { port }
    }
}

/// The engine gives a record its number before it stores it: a reader between two puts at once would skip one, and a put
/// in the middle of a split would land in a closed shard. So whoever changes something is alone.
async fn pass(gate: Arc<RwLock<()>>, store: Store, (request, next): (Request, Next)) -> Response {
    let target = request.headers().get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let operation = target.rsplit('.').next().unwrap_or_default();
    if ["Get", "List", "Describe"].iter().any(|reads| operation.starts_with(reads)) {
        let _shared = gate.read().await;
        return next.run(request).await;
    }
    let reshards = ["SplitShard", "MergeShards"].contains(&operation);
    let _alone = gate.write().await;
    let response = next.run(request).await;
    while reshards && is_changing(&store).await {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    response
}

/// Whether a stream is still on its way to its new shards.
async fn is_changing(store: &Store) -> bool {
    for name in store.list_stream_names().await {
        let stream = store.get_stream(&name).await.expect("a stream");
        if serde_json::to_value(stream.stream_status).expect("a word") != "ACTIVE" {
            return true;
        }
    }
    false
}
