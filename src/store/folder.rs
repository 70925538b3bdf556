//! A folder of files that other crates read and write by their own means, as Delta Lake does.

use std::fmt;
use std::path::{Path, PathBuf};

use url::Url;

use super::Store;
use crate::error::{Error, Result};

/// A folder, on this machine's disk or in an object store. It need not exist.
#[derive(Debug, Clone)]
pub enum Folder {
    /// On this machine's disk.
    Local(PathBuf),
    /// In an object store, at this path from the store's root.
    Store(Store, String),
}

impl Folder {
    /// The folder of this name in it.
    pub fn join(&self, name: &str) -> Self {
        match self {
            Self::Local(path) => Self::Local(path.join(name)),
            Self::Store(store, path) => Self::Store(store.clone(), format!("{path}/{name}")),
        }
    }
}

impl Store {
    /// The address of a folder, with a slash at its end: `s3://bucket/prefix/warehouse/fact_orders/`.
    ///
    /// # Errors
    /// Invalid where the path cannot stand in an address.
    pub fn url_of(&self, folder: &str) -> Result<Url> {
        self.url.join(&format!("{folder}/")).map_err(|error| {
            Error::invalid(format!("{folder:?} cannot be a folder in the store {}", self.url)).with_source(error)
        })
    }
}

impl From<&Path> for Folder {
    fn from(path: &Path) -> Self {
        Self::Local(path.to_owned())
    }
}

impl From<PathBuf> for Folder {
    fn from(path: PathBuf) -> Self {
        Self::Local(path)
    }
}

/// As a person would look for it.
impl fmt::Display for Folder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => path.display().fmt(formatter),
            Self::Store(store, path) => write!(formatter, "{}{path}", store.url),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_told_as_a_person_would_look_for_it() {
        let store = Store::memory("lake").expect("a store");
        assert_eq!(store.url_of("warehouse/fact").expect("an address").as_str(), "store://lake/warehouse/fact/");
        let cases = [
            (Folder::Store(store, "warehouse".to_owned()), "store://lake/warehouse/fact"),
            (Folder::from(Path::new("/data/warehouse")), "/data/warehouse/fact"),
        ];
        for (folder, expected) in cases {
            assert_eq!(folder.join("fact").to_string(), expected);
        }
    }
}
