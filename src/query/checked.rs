//! The object stores that a session reads, with every file that something vouches for checked before its first row.
//!
//! Owns which files those are: what the journal's entries name, and what the log of a Delta table holds the checksum of.
//! `store` owns the check. A data file without a checksum, which another program wrote, is read as it is, and counted.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::prelude::SessionContext;
use deltalake::kernel::LogicalFileView;
use deltalake::logstore::LogStoreRef;
use deltalake::{DeltaTable, ObjectStore, Path};
use url::{Position, Url};

use crate::batch::{Checksum, Entry};
use crate::error::{Error, Result};
use crate::store::{NamedBy, NamedFile, Store, verified};

/// The stores of a session, by the beginning of the addresses that lead to them.
#[derive(Default)]
pub(super) struct CheckedStores(BTreeMap<String, CheckedStore>);

struct CheckedStore {
    url: Url,
    objects: Arc<dyn ObjectStore>,
    files: Vec<(Path, NamedFile)>,
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

impl CheckedStores {
    /// The files that these entries name, on this store.
    pub(super) fn add_entries(&mut self, store: &Store, entries: &[Arc<Entry>]) {
        let files = entries.iter().flat_map(|entry| {
            let named = entry.tables.values().flatten().chain(&entry.quarantine);
            named.map(|file| (Path::from(store.path_in_root(&file.path)), NamedFile::of(entry.number, file)))
        });
        self.add(store.url(), store.root(), files.collect());
    }

    /// The data files of a table.
    pub(super) fn add_table(&mut self, table: DeltaFiles) {
        self.add(table.log.root_url(), table.log.root_object_store(None), table.named);
    }

    fn add(&mut self, url: &Url, objects: Arc<dyn ObjectStore>, files: Vec<(Path, NamedFile)>) {
        let store = || CheckedStore { url: url.clone(), objects, files: Vec::new() };
        self.0.entry(url[..Position::BeforePath].to_owned()).or_insert_with(store).files.extend(files);
    }

    /// Has the session read through them.
    pub(super) fn register(self, context: &SessionContext) {
        for CheckedStore { url, objects, files } in self.0.into_values() {
            context.register_object_store(&url, verified(objects, files));
        }
    }
}
