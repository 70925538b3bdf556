//! Reading the log: which entries there are, and their contents in order.
//!
//! Entries are read by name, from one number to the next. A listing costs as much as the log is long, so only a start
//! lists, and who finds a sign of a gap; and it only tells how far the log goes: on a folder it may miss what is
//! written meanwhile. What is absent before an entry that is there is really missing, because numbers are written in
//! order.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, Stream};
use futures::{StreamExt, TryStreamExt};

use super::check::{Broken, alone, chained};
use super::record::{FOLDER, Recorded, SNAPSHOTS, decode, entry_path, number_in};
use super::state::corrupt;
use crate::batch::Entry;
use crate::error::{Error, ErrorKind, Result};
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

/// The entries after number `after`, in order, at most `limit` of them; each is sound by itself (its checksum, its name,
/// its counts) and names the one before it, while only [`super::fold`] checks that its contents follow. Cheap enough to poll: no entry
/// is listed while there is no sign of a gap.
///
/// # Errors
/// Transient; Corrupt for an unsound entry, and for a gap. A gap of several entries at the end of what is read may show
/// only in a later call, or in the next fold: its signs are the entry after the next, and a snapshot. Invalid for an
/// entry of a newer Millstream.
pub async fn entries(store: &Store, after: u64, limit: usize) -> Result<Vec<Arc<Entry>>> {
    let found = Log::new(store).entries(after, limit).await?;
    for pair in found.windows(2) {
        let (before, next) = (&pair[0], &pair[1].entry);
        chained(Some(before.digest), next).map_err(|broken| corrupt(next.number, &broken))?;
    }
    Ok(found.into_iter().map(|recorded| recorded.entry).collect())
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

    pub(super) async fn entries(&self, after: u64, limit: usize) -> Result<Vec<Recorded>> {
        let farthest = after.saturating_add(u64::try_from(limit).unwrap_or(u64::MAX));
        let (mut found, mut through, mut window) = (Vec::new(), after, 1);
        while through < farthest {
            let end = through.saturating_add(window).min(farthest);
            let read: Vec<Option<Recorded>> = self.read_each(through, end).try_collect().await?;
            let present = read.iter().take_while(|entry| entry.is_some()).count();
            let goes_on = read.iter().skip(present).any(Option::is_some);
            found.extend(read.into_iter().map_while(|entry| entry));
            through += present as u64;
            if through < end && self.ends_before(through + 1, goes_on).await? {
                break;
            }
            window = CONCURRENT_READS as u64;
        }
        Ok(found)
    }

    /// Whether the log ends before `number`, which was absent a moment ago; Corrupt where it goes on after it.
    async fn ends_before(&self, number: u64, goes_on: bool) -> Result<bool> {
        let goes_on = goes_on || (self.hints_beyond(number).await? && self.last(number).await? > number);
        if !goes_on {
            return Ok(true);
        }
        // It was written before those after it: by now it is there, or it is lost.
        self.read(number).await?.map(|_| false).ok_or_else(|| gap(number))
    }

    /// Whether anything that is cheap to see hints at an entry after `number`.
    async fn hints_beyond(&self, number: u64) -> Result<bool> {
        // Where there is no first entry, the folder is empty, or has lost its beginning.
        let hints = number == 1
            || self.get(&entry_path(number.saturating_add(1))).await?.is_some()
            || self.snapshots().await?.last().is_some_and(|newest| *newest > number);
        Ok(hints)
    }

    /// The snapshots' numbers, ascending.
    pub(super) async fn snapshots(&self) -> Result<Vec<u64>> {
        let listed = self.list(SNAPSHOTS, None).await?;
        Ok(listed.iter().filter_map(|object| number_in(SNAPSHOTS, &object.path)).collect())
    }

    /// The number of the last entry; `after` where there is none after it.
    pub(super) async fn last(&self, after: u64) -> Result<u64> {
        let listed = self.list(FOLDER, Some(&entry_path(after))).await?;
        Ok(listed.iter().filter_map(|object| number_in(FOLDER, &object.path)).max().unwrap_or(after))
    }

    /// The entries `(after, through]`, in order; Corrupt where one is missing.
    pub(super) fn read_all(&self, after: u64, through: u64) -> impl Stream<Item = Result<Recorded>> + Send + use<> {
        let numbers = stream::iter((after..through).map(|number| number + 1));
        let whole = |(entry, number): (Result<Option<Recorded>>, u64)| entry?.ok_or_else(|| gap(number));
        self.read_each(after, through).zip(numbers).map(whole)
    }

    /// The entries after number `after`, at most `limit`, as far as they are sound.
    pub(super) async fn sound(&self, after: u64, limit: usize) -> Result<Vec<Recorded>> {
        let farthest = after.saturating_add(u64::try_from(limit).unwrap_or(u64::MAX));
        let mut entries = std::pin::pin!(self.read_all(after, farthest));
        let mut found = Vec::new();
        while let Some(next) = entries.next().await {
            match next {
                Err(error) if error.kind() == ErrorKind::Corrupt => break,
                next => found.push(next?),
            }
        }
        Ok(found)
    }

    /// What there is at the numbers `(after, through]`, in order.
    fn read_each(&self, after: u64, through: u64) -> impl Stream<Item = Result<Option<Recorded>>> + Send + use<> {
        let log = self.clone();
        let read_one = move |number| {
            let log = log.clone();
            async move { log.read(number).await }
        };
        stream::iter((after..through).map(|number| number + 1)).map(read_one).buffered(CONCURRENT_READS)
    }

    /// The entry of this number; none where there is no such object.
    pub(super) async fn read(&self, number: u64) -> Result<Option<Recorded>> {
        let path = entry_path(number);
        let Some(bytes) = self.get(&path).await? else { return Ok(None) };
        let (entry, digest): (Entry, _) = decode(&path, &bytes)?;
        if entry.number != number {
            return Err(corrupt(number, &Broken::Misnamed(entry.number)));
        }
        alone(&entry).map_err(|broken| corrupt(number, &broken))?;
        Ok(Some(Recorded { entry: Arc::new(entry), digest }))
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
