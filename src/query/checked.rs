//! The object stores that a session reads, with every file that something vouches for checked before its first row.
//!
//! Owns which files those are: what the journal's entries name, and what the log of a Delta table holds the checksum of.
//! `store` owns the check; the memory in which small files are kept is
//! the session's. A data file without a checksum, which another program wrote, is read as it is, and counted.

use std::sync::Arc;

use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool};
use datafusion::prelude::SessionContext;
use deltalake::kernel::LogicalFileView;
use deltalake::logstore::LogStoreRef;
use deltalake::{DeltaTable, Path};
use url::{Position, Url};

use crate::batch::{Checksum, Entry};
use crate::error::{Error, Result};
use crate::store::{FailedRead, NamedBy, NamedFile, Reading, Room, Store, verified};

/// Small files are kept once they are checked, in one part in so many of the session's memory …
const KEPT_SHARE: usize = 8;

/// … which is at most this.
const KEPT: usize = 64 << 20;

/// What a session reads.
pub(super) struct CheckedStores<'a> {
    store: &'a Store,
    files: Vec<(Path, NamedFile)>,
    /// Tables that do not lie in the store.
    elsewhere: Option<(LogStoreRef, Vec<(Path, NamedFile)>)>,
}

/// The data files of a Delta table.
pub(super) struct DeltaFiles {
    log: LogStoreRef,
    named: Vec<(Path, NamedFile)>,
    /// How many carry no checksum.
    pub(super) unchecked: usize,
}

impl DeltaFiles {
    /// Those of this table, as it was opened.
    ///
    /// # Errors
    /// Corrupt where the log holds what cannot be a checksum.
    pub(super) fn of(name: &str, table: &DeltaTable) -> Result<Self> {
        let log = table.log_store();
        let damaged = || Error::corrupt(format!("the log of the table {name} is damaged"));
        let snapshot = table.snapshot().map_err(|error| damaged().with_source(error))?;
        let by = NamedBy::Table(name.to_owned(), snapshot.version());
        let root = Path::from_url_path(log.root_url().path()).map_err(|error| damaged().with_source(error))?;
        let mut files = Self { log, named: Vec::new(), unchecked: 0 };
        for view in snapshot.log_data().iter() {
            let Some(checksum) = checksum(&view) else {
                files.unchecked += 1;
                continue;
            };
            let (path, bytes) = (view.object_store_path(), u64::try_from(view.size()).unwrap_or_default());
            let checksum = checksum.parse().map_err(|error| damaged().with_source(error))?;
            let path_in_root = root.parts().chain(path.parts()).collect();
            let path = format!("{name}/{path}");
            files.named.push((path_in_root, NamedFile { by: by.clone(), path, bytes, checksum: Some(checksum) }));
        }
        Ok(files)
    }
}

fn checksum(view: &LogicalFileView) -> Option<String> {
    #[expect(deprecated, reason = "nothing else tells a file's tags")]
    view.add_action().tags?.remove(Checksum::DELTA_TAG).flatten()
}

impl<'a> CheckedStores<'a> {
    /// The files that these entries name, on this store.
    pub(super) fn of(store: &'a Store, entries: &[Arc<Entry>]) -> Self {
        let files = entries.iter().flat_map(|entry| {
            let named = entry.tables.values().flatten().chain(&entry.quarantine);
            named.map(|file| (Path::from(store.path_in_root(&file.path)), NamedFile::of(entry.number, file)))
        });
        Self { store, files: files.collect(), elsewhere: None }
    }

    /// And the data files of a table. All tables lie in one place.
    pub(super) fn add(&mut self, table: DeltaFiles) {
        let place = |url: &Url| url[..Position::BeforePath].to_owned();
        let files = match place(table.log.root_url()) == place(self.store.url()) {
            true => &mut self.files,
            false => &mut self.elsewhere.get_or_insert_with(|| (table.log, Vec::new())).1,
        };
        files.extend(table.named);
    }

    /// Has the session read through them; gives the place where it is told which read failed.
    pub(super) fn register(self, context: &SessionContext) -> Arc<FailedRead> {
        let room = room(&context.runtime_env().memory_pool);
        let reading = Reading { room, failed: Arc::default() };
        let failed = Arc::clone(&reading.failed);
        context.register_object_store(self.store.url(), self.store.verified(self.files, reading.clone()));
        if let Some((log, files)) = self.elsewhere {
            context.register_object_store(log.root_url(), verified(log.root_object_store(None), files, reading));
        }
        failed
    }
}

/// The room for files that are kept, which the session's operators then lack.
fn room(pool: &Arc<dyn MemoryPool>) -> Room {
    let most = match pool.memory_limit() {
        MemoryLimit::Finite(bytes) => KEPT.min(bytes / KEPT_SHARE),
        _ => KEPT,
    };
    let taken = MemoryConsumer::new("files that were checked").register(pool);
    Arc::new(move |bytes| {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        taken.size().saturating_add(bytes) <= most && taken.try_grow(bytes).is_ok()
    })
}

#[cfg(test)]
mod tests {
    use datafusion::execution::memory_pool::FairSpillPool;

    use super::*;

    #[test]
    fn what_is_kept_is_counted_in_the_sessions_memory() {
        let pool: Arc<dyn MemoryPool> = Arc::new(FairSpillPool::new(8_000));
        let room = room(&pool);
        assert!(room(600) && room(400) && !room(1), "an eighth");
        assert_eq!(pool.reserved(), 1_000);
        drop(room);
        assert_eq!(pool.reserved(), 0);
    }
}
