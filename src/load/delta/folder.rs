//! What differs between a table on this machine's disk and one in an object store.
//!
//! Owns the making and looking for folders, and the syncs. On a disk a commit is a file that gets its name only where
//! none has it, and it and the data files are synced before anybody is told of them. In an object store a commit is a
//! conditional put, nothing has to be made first, and what is put is kept.

use std::fs::File;
use std::path::PathBuf;

use deltalake::DeltaTableBuilder;
use deltalake::logstore::{LogStoreRef, StorageConfig, default_logstore};
use url::Url;

use super::fault::full;
use crate::error::{Error, Result, is_storage_full};
use crate::runtime::blocking;
use crate::store::Folder;

/// Makes the folder, where one has to be made.
pub(super) async fn make(folder: &Folder) -> Result<()> {
    let Folder::Local(path) = folder.clone() else { return Ok(()) };
    blocking(move || {
        std::fs::create_dir_all(&path)
            .map_err(|error| Error::invalid(format!("cannot make the folder {}", path.display())).with_source(error))
    })
    .await
}

/// Whether there is a folder in which a table may be looked for.
pub(super) async fn exists(folder: &Folder) -> Result<bool> {
    let Folder::Local(path) = folder.clone() else { return Ok(true) };
    blocking(move || {
        path.try_exists()
            .map_err(|error| Error::invalid(format!("cannot look at the folder {}", path.display())).with_source(error))
    })
    .await
}

/// The log of the table in this folder.
pub(super) fn log(folder: &Folder) -> Result<LogStoreRef> {
    match folder {
        Folder::Local(path) => {
            let refused = || Error::invalid(format!("{} cannot be a table's folder", path.display()));
            let path = path.canonicalize().map_err(|error| missing(folder).with_source(error))?;
            let url = Url::from_directory_path(path).map_err(|()| refused())?;
            let table = DeltaTableBuilder::from_url(url).and_then(DeltaTableBuilder::build);
            table.map(|table| table.log_store()).map_err(|error| refused().with_source(error))
        }
        Folder::Store(store, path) => {
            let url = store.url_of(path)?;
            Ok(default_logstore(store.objects_in(path), store.root(), &url, &StorageConfig::default()))
        }
    }
}

pub(super) fn missing(folder: &Folder) -> Error {
    Error::invalid(format!("there is no warehouse table in {folder}"))
}

/// Syncs files of a folder on a disk, and the folder, so that they outlive a power cut.
pub(super) async fn sync(table: &str, folder: Folder, names: Vec<String>) -> Result<()> {
    let table = table.to_owned();
    blocking(move || sync_now(&table, &folder, names.iter().map(String::as_str))).await
}

/// As [`sync`], on this thread.
pub(super) fn sync_now<'a>(table: &str, folder: &Folder, names: impl Iterator<Item = &'a str>) -> Result<()> {
    let Folder::Local(path) = folder else { return Ok(()) };
    let sync = |path: PathBuf| File::open(path).and_then(|file| file.sync_all());
    let synced = names.map(|name| path.join(name)).chain([path.clone()]).try_for_each(sync);
    synced.map_err(|error| match is_storage_full(&error) {
        true => full(table).with_source(error),
        false => Error::transient(format!("cannot sync the warehouse's table {table}")).with_source(error),
    })
}
