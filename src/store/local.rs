//! Syncing on a local file system: object_store writes whole files and links them, but leaves them to the page cache.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result, is_storage_full};
use crate::runtime::blocking;

/// Syncs a written object and its folder, so that it outlives a power cut.
#[derive(Clone)]
pub(super) struct Sync(Arc<PathBuf>);

impl Sync {
    pub(super) fn new(root: PathBuf) -> Self {
        Self(Arc::new(root))
    }

    pub(super) async fn object(&self, path: &str) -> Result<()> {
        let file = self.0.join(path);
        let path = path.to_owned();
        blocking(move || sync(&file).map_err(|error| fault(&path, error))).await
    }
}

fn sync(file: &Path) -> std::io::Result<()> {
    File::open(file)?.sync_all()?;
    match file.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn fault(path: &str, error: std::io::Error) -> Error {
    if is_storage_full(&error) {
        return super::full(path).with_source(error);
    }
    Error::transient(format!("cannot sync {path} in the object store")).with_source(error)
}
