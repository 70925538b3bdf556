//! The heartbeats as they lie in the store.
//!
//! Owns the listing and reading of `workers/`. It judges nobody: a dead worker's heartbeat is read as a live one's.

use futures::stream::{self, StreamExt, TryStreamExt};

use super::heartbeat::{FOLDER, Heartbeat, WorkerId};
use super::rendezvous;
use super::watch::Sight;
use crate::error::Result;
use crate::store::Store;

/// Objects that are read at the same time.
const CONCURRENT_READS: usize = 8;

/// All heartbeats as they lie there, in the order of their workers' ids, for a face that is no worker itself. One that
/// can't be read is logged and left out.
///
/// # Errors
/// Transient where the store fails.
pub async fn heartbeats(store: &Store) -> Result<Vec<Heartbeat>> {
    let mut readable = Vec::new();
    for sight in look(store).await? {
        match sight.heartbeat {
            Ok(heartbeat) => readable.push(heartbeat),
            Err(reason) => tracing::warn!(path = sight.worker.path(), %reason, "a worker's heartbeat is left out"),
        }
    }
    Ok(readable)
}

/// Every heartbeat object. One that goes away meanwhile is not there; no process is looked for.
pub(super) async fn look(store: &Store) -> Result<Vec<Sight>> {
    let objects = store.list(FOLDER, None).await?;
    let workers: Vec<WorkerId> = objects.iter().filter_map(|object| WorkerId::of_path(&object.path)).collect();
    let reads = workers.into_iter().map(|worker| one(store.clone(), worker));
    let found: Vec<Option<Sight>> = stream::iter(reads).buffered(CONCURRENT_READS).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}

async fn one(store: Store, worker: WorkerId) -> Result<Option<Sight>> {
    let Some(bytes) = store.get(&worker.path()).await? else { return Ok(None) };
    let (mark, heartbeat) = (rendezvous::mark(&bytes), Heartbeat::from_json(&bytes, &worker));
    Ok(Some(Sight { worker, mark, heartbeat, process_gone: false }))
}
