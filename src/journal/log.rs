//! Reading the log: which entries there are, and their contents in order.
//!
//! A listing only tells how far the log goes: on a folder it may miss what is written meanwhile. Every number up to
//! there is then read by name, so that a missing one is really missing.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, Stream};
use futures::{StreamExt, TryStreamExt};

use super::check::{Broken, alone};
use super::record::{FOLDER, decode, entry_path, number_in};
use super::state::corrupt;
use crate::batch::Entry;
use crate::error::{Error, Result};
use crate::runtime::{Backoff, Context, retry};
use crate::store::{Object, Store};

/// Reads in flight at a time.
const CONCURRENT_READS: usize = 32;

/// How long a writer waits for a store that fails.
pub(super) const BACKOFF: Backoff =
    Backoff { first: Duration::from_millis(50), longest: Duration::from_secs(2), attempts: 6 };

/// The log on a store; clones share it.
#[derive(Clone)]
pub(super) struct Log {
    pub(super) store: Store,
    /// With it, each call on the store is tried again where it fails; without, its caller does so.
    patience: Option<Context>,
}

/// The entries after number `after`, in order, at most `limit` of them; each is sound by itself (its name, its format,
/// its counts), while only [`super::fold`] checks that it follows from those before it.
///
/// # Errors
/// Transient; Corrupt for a gap or an unsound entry; Invalid for an entry of a newer Millstream.
pub async fn entries(store: &Store, after: u64, limit: usize) -> Result<Vec<Arc<Entry>>> {
    Log::new(store).entries(after, limit).await
}

impl Log {
    /// For a reader that tries once.
    pub(super) fn new(store: &Store) -> Self {
        Self { store: store.clone(), patience: None }
    }

    /// For a writer that waits for the store.
    pub(super) fn patient(store: Store, context: Context) -> Self {
        Self { store, patience: Some(context) }
    }

    pub(super) async fn entries(&self, after: u64, limit: usize) -> Result<Vec<Arc<Entry>>> {
        let farthest = after.saturating_add(u64::try_from(limit).unwrap_or(u64::MAX));
        let last = self.last(after).await?.min(farthest);
        self.read_all(after, last).map_ok(Arc::new).try_collect().await
    }

    /// The number of the last entry; `after` where there is none after it.
    pub(super) async fn last(&self, after: u64) -> Result<u64> {
        let listed = self.list(FOLDER, Some(&entry_path(after))).await?;
        Ok(listed.iter().filter_map(|object| number_in(FOLDER, &object.path)).max().unwrap_or(after))
    }

    /// The entries `(after, through]`, in order; Corrupt where one is missing.
    pub(super) fn read_all(&self, after: u64, through: u64) -> impl Stream<Item = Result<Entry>> + Send + use<> {
        let log = self.clone();
        let read_one = move |number| {
            let log = log.clone();
            async move { log.read(number).await?.ok_or_else(|| gap(number)) }
        };
        stream::iter((after..through).map(|number| number + 1)).map(read_one).buffered(CONCURRENT_READS)
    }

    /// The entry of this number; none where there is no such object.
    pub(super) async fn read(&self, number: u64) -> Result<Option<Entry>> {
        let path = entry_path(number);
        let Some(bytes) = self.get(&path).await? else { return Ok(None) };
        let entry: Entry = decode(&path, &bytes)?;
        if entry.number != number {
            return Err(corrupt(number, &Broken::Misnamed(entry.number)));
        }
        alone(&entry).map_err(|broken| corrupt(number, &broken))?;
        Ok(Some(entry))
    }

    /// As [`Store::get`].
    pub(super) async fn get(&self, path: &str) -> Result<Option<Bytes>> {
        match &self.patience {
            Some(context) => retry(context, BACKOFF, || self.store.get(path)).await,
            None => self.store.get(path).await,
        }
    }

    /// As [`Store::list`].
    pub(super) async fn list(&self, folder: &str, after: Option<&str>) -> Result<Vec<Object>> {
        match &self.patience {
            Some(context) => retry(context, BACKOFF, || self.store.list(folder, after)).await,
            None => self.store.list(folder, after).await,
        }
    }
}

fn gap(number: u64) -> Error {
    Error::corrupt(format!(
        "{} is missing, but there are entries after it: the journal has lost an entry, and with it which files are \
         true; stop all writers and bring the object back from a copy",
        entry_path(number)
    ))
}
