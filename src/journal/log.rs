//! Reading the log: which entries there are, and their contents in order.
//!
//! A listing only tells how far the log goes: on a folder it may miss what is written meanwhile. Every number up to
//! there is then read by name, so that a missing one is really missing.

use std::sync::Arc;

use futures::stream::{self, Stream};
use futures::{StreamExt, TryStreamExt};

use super::check::{Broken, alone};
use super::record::{FOLDER, decode, entry_path, number_in};
use super::state::corrupt;
use crate::batch::Entry;
use crate::error::{Error, Result};
use crate::store::Store;

/// Reads in flight at a time.
const CONCURRENT_READS: usize = 32;

/// The entries after number `after`, in order, at most `limit` of them; each is sound by itself (its name, its format,
/// its counts), while only [`super::fold`] checks that it follows from those before it.
///
/// # Errors
/// Transient; Corrupt for a gap or an unsound entry; Invalid for an entry of a newer Millstream.
pub async fn entries(store: &Store, after: u64, limit: usize) -> Result<Vec<Arc<Entry>>> {
    let farthest = after.saturating_add(u64::try_from(limit).unwrap_or(u64::MAX));
    let last = last(store, after).await?.min(farthest);
    read_all(store, after, last).map_ok(Arc::new).try_collect().await
}

/// The number of the last entry; `after` where there is none after it.
pub(super) async fn last(store: &Store, after: u64) -> Result<u64> {
    let listed = store.list(FOLDER, Some(&entry_path(after))).await?;
    Ok(listed.iter().filter_map(|object| number_in(FOLDER, &object.path)).max().unwrap_or(after))
}

/// The entries `(after, through]`, in order; Corrupt where one is missing.
pub(super) fn read_all(store: &Store, after: u64, through: u64) -> impl Stream<Item = Result<Entry>> + Send + use<> {
    let store = store.clone();
    let read_one = move |number| {
        let store = store.clone();
        async move { read(&store, number).await?.ok_or_else(|| gap(number)) }
    };
    stream::iter((after..through).map(|number| number + 1)).map(read_one).buffered(CONCURRENT_READS)
}

/// The entry of this number; none where there is no such object.
pub(super) async fn read(store: &Store, number: u64) -> Result<Option<Entry>> {
    let path = entry_path(number);
    let Some(bytes) = store.get(&path).await? else { return Ok(None) };
    let entry: Entry = decode(&path, &bytes)?;
    if entry.number != number {
        return Err(corrupt(number, &Broken::Misnamed(entry.number)));
    }
    alone(&entry).map_err(|broken| corrupt(number, &broken))?;
    Ok(Some(entry))
}

fn gap(number: u64) -> Error {
    Error::corrupt(format!(
        "{} is missing, but there are entries after it: the journal has lost an entry, and with it which files are \
         true; stop all writers and bring the object back from a copy",
        entry_path(number)
    ))
}
