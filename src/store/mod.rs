//! The object store with Millstream's promises: what a put, a conditional put and a listing mean.
//!
//! Owns the only way to objects. Paths are from the store's root with `/` between (`journal/…`, `staged/…`). It knows
//! no format: bytes in, bytes out. An object that a put reported as written is whole and, on a local file system,
//! synced; one that a put failed on is either absent or whole. `local` writes to a folder, `s3` opens a bucket, `upload`
//! puts large objects in parts, `named` holds files against what the journal or a table's log says of them, and `verified`
//! does so for readers that go past the store.

mod folder;
mod local;
mod named;
mod s3;
mod upload;
mod verified;

use std::error::Error as StdError;
use std::fmt;
use std::path::Path as FilePath;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use url::Url;

use crate::error::{Error, ErrorKind, Result, is_storage_full};

pub use folder::Folder;
pub use named::{NamedBy, NamedFile};
pub use s3::{S3Settings, parse_s3};
pub use verified::{FailedRead, Reading, Room, verified};

/// What a conditional put found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// The object was absent, and is now what was put.
    Created,
    /// An object of that name was there already, and is untouched.
    Exists,
}

/// An object in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// From the store's root.
    pub path: String,
    /// Its exact size.
    pub bytes: u64,
    /// What the store calls these very bytes; none on a local disk, as with [`Store::put`].
    pub etag: Option<String>,
    /// When it was written by the store's clock, ms since 1970 UTC.
    pub written_at: i64,
}

/// An object store; clones share it.
#[derive(Clone)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    /// The same objects and those around them, from where the URL's path begins.
    root: Arc<dyn ObjectStore>,
    /// From the root to the store's objects.
    prefix: Path,
    /// On a local file system: the way to write that outlives a power cut.
    folder: Option<local::Folder>,
    proven: Arc<verified::Proven>,
    url: Url,
}

impl Store {
    /// Any object store, for wrappers that inject faults; `name` tells stores apart in [`Store::url`].
    ///
    /// # Errors
    /// Invalid where the name cannot be a URL's host.
    pub fn new(objects: Arc<dyn ObjectStore>, name: &str) -> Result<Self> {
        let url = Url::parse(&format!("store://{name}/"))
            .map_err(|error| Error::invalid(format!("{name:?} cannot name a store")).with_source(error))?;
        let (root, proven) = (Arc::clone(&objects), Default::default());
        Ok(Self { root, objects, prefix: Path::default(), folder: None, proven, url })
    }

    /// A store in memory, for tests and benchmarks.
    ///
    /// # Errors
    /// As [`Store::new`].
    pub fn memory(name: &str) -> Result<Self> {
        Self::new(Arc::new(InMemory::new()), name)
    }

    /// Any object store as the bucket of this name: for tests of what S3's addresses go into.
    ///
    /// # Errors
    /// Invalid where the name cannot be a URL's host.
    #[cfg(test)]
    pub(crate) fn bucket_of(objects: Arc<dyn ObjectStore>, bucket: &str) -> Result<Self> {
        let url = Url::parse(&format!("s3://{bucket}/"))
            .map_err(|error| Error::invalid(format!("{bucket:?} cannot name a bucket")).with_source(error))?;
        Ok(Self { url, ..Self::new(objects, bucket)? })
    }

    /// A folder as a store; it is made where it is missing.
    ///
    /// # Errors
    /// Invalid where the folder can be neither found nor made.
    pub fn local(folder: &FilePath) -> Result<Self> {
        let refused = |error: std::io::Error| {
            Error::invalid(format!("cannot use the folder {} as a store", folder.display())).with_source(error)
        };
        let root = local::make_root(folder).map_err(refused)?;
        let objects = LocalFileSystem::new_with_prefix(&root)
            .map_err(|error| fault("open", &root.display().to_string(), error))?;
        let objects = Arc::new(objects);
        let store = Self::new(Arc::clone(&objects) as Arc<dyn ObjectStore>, "lake")?;
        Ok(Self { folder: Some(local::Folder::new(root, objects)), ..store })
    }

    /// A bucket on S3, or on a server that speaks as S3 does. Nothing is asked of it yet.
    ///
    /// # Errors
    /// Invalid where the settings cannot be a bucket's.
    pub fn s3(settings: S3Settings) -> Result<Self> {
        let s3::Bucket { root, objects, prefix, url } = s3::open(settings)?;
        Ok(Self { objects, root, prefix, folder: None, proven: Default::default(), url })
    }

    /// The objects themselves, for a reader that speaks object_store (Parquet); paths are from the store's root.
    pub fn objects(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.objects)
    }

    /// The objects of one folder (`warehouse/fact_orders`); paths are from that folder.
    pub fn objects_in(&self, folder: &str) -> Arc<dyn ObjectStore> {
        Arc::new(PrefixStore::new(self.objects(), folder))
    }

    /// The store's address, with a slash at its end: `s3://bucket/prefix/`, and `store://NAME/` for the others. Readers
    /// that find a store by a URL's scheme and host (DataFusion, Delta) register [`Store::root`] under it.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The objects, with paths as in a URL that begins as [`Store::url`] does: on S3 from the bucket's root.
    pub fn root(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.root)
    }

    /// A path from the store's root, as [`Store::root`] knows it.
    pub fn path_in_root(&self, path: &str) -> String {
        self.prefix.parts().chain(Path::from(path).parts()).collect::<Path>().to_string()
    }

    /// An object's whole address, as others who read the store are told it: `s3://bucket/prefix/staged/a.parquet`.
    pub fn address_of(&self, path: &str) -> String {
        let host = self.url.host_str().unwrap_or_default();
        format!("{}://{host}/{}", self.url.scheme(), self.path_in_root(path))
    }

    /// Writes an object, over whatever was there, and gives the store's e-tag of it: another put of the name gives
    /// another. A local disk has none: what stands for it there changes when a folder is copied. A large object goes in
    /// parts, and is there when all of them are.
    ///
    /// # Errors
    /// Transient, or Invalid where the disk is full or the bucket is not there, not ours or elsewhere.
    pub async fn put(&self, path: &str, bytes: Bytes) -> Result<Option<String>> {
        if let Some(folder) = &self.folder {
            return folder.put(path, bytes).await.map(|()| None);
        }
        let location = Path::from(path);
        let put = match bytes.len() > upload::WHOLE {
            true => upload::put(self.objects.as_ref(), &location, bytes).await,
            false => self.objects.put(&location, bytes.into()).await,
        };
        put.map(|put| put.e_tag).map_err(|error| fault("write", path, error))
    }

    /// Writes an object only where none is; of several racing writers exactly one creates it. One that exists is, as
    /// one that was created, kept for good when it is told of, whoever wrote it: on S3 it may be this very put that
    /// wrote it, where a first answer was lost on the way.
    ///
    /// # Errors
    /// Transient, and then the put may have succeeded all the same, though not for good: put again to know.
    /// Invalid as [`Store::put`].
    pub async fn put_if_absent(&self, path: &str, bytes: Bytes) -> Result<Put> {
        if let Some(folder) = &self.folder {
            return folder.put_if_absent(path, bytes).await;
        }
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.objects.put_opts(&Path::from(path), bytes.into(), options).await {
            Ok(_) => Ok(Put::Created),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(Put::Exists),
            Err(error) => Err(fault("write", path, error)),
        }
    }

    /// An object's bytes; none where there is no such object.
    ///
    /// # Errors
    /// Transient, or Invalid where the bucket is not there, not ours or elsewhere.
    pub async fn get(&self, path: &str) -> Result<Option<Bytes>> {
        let found = match self.objects.get(&Path::from(path)).await {
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            found => found.map_err(|error| fault("read", path, error))?,
        };
        found.bytes().await.map(Some).map_err(|error| fault("read", path, error))
    }

    /// The last bytes of an object, at most so many; none where there is no such object.
    ///
    /// # Errors
    /// Transient, or Invalid where the bucket is not there, not ours or elsewhere.
    pub async fn tail(&self, path: &str, bytes: u64) -> Result<Option<Bytes>> {
        let options = GetOptions { range: Some(GetRange::Suffix(bytes)), ..GetOptions::default() };
        let found = match self.objects.get_opts(&Path::from(path), options).await {
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            found => found.map_err(|error| fault("read", path, error))?,
        };
        found.bytes().await.map(Some).map_err(|error| fault("read", path, error))
    }

    /// An object's exact size; none where there is no such object.
    ///
    /// # Errors
    /// Transient, or Invalid where the bucket is not there, not ours or elsewhere.
    pub async fn size(&self, path: &str) -> Result<Option<u64>> {
        match self.objects.head(&Path::from(path)).await {
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            found => found.map(|meta| Some(meta.size)).map_err(|error| fault("read", path, error)),
        }
    }

    /// The objects in a folder and below it whose paths come after `after`, in the order of their paths.
    ///
    /// # Errors
    /// Transient, or Invalid where the bucket is not there, not ours or elsewhere.
    pub async fn list(&self, folder: &str, after: Option<&str>) -> Result<Vec<Object>> {
        let prefix = Path::from(folder);
        let listing = match after {
            Some(after) => self.objects.list_with_offset(Some(&prefix), &Path::from(after)),
            None => self.objects.list(Some(&prefix)),
        };
        let mut objects: Vec<Object> = listing
            .map_ok(|meta| Object {
                path: meta.location.to_string(),
                bytes: meta.size,
                etag: meta.e_tag.filter(|_| self.folder.is_none()),
                written_at: meta.last_modified.timestamp_millis(),
            })
            .try_collect()
            .await
            .map_err(|error| fault("list", folder, error))?;
        objects.sort_by(|left, right| left.path.cmp(&right.path));
        Ok(objects)
    }

    /// Removes an object; one that is not there is no error.
    ///
    /// # Errors
    /// Transient, or Invalid where the bucket is not there, not ours or elsewhere.
    pub async fn delete(&self, path: &str) -> Result<()> {
        match self.objects.delete(&Path::from(path)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(fault("delete", path, error)),
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Store({})", self.url)
    }
}

/// Whether this error, or one that caused it, says that an object is not there: for readers that go past [`Store`].
pub fn is_missing(error: &(dyn StdError + 'static)) -> bool {
    let missing = |error: &&(dyn StdError + 'static)| {
        matches!(error.downcast_ref::<object_store::Error>(), Some(object_store::Error::NotFound { .. }))
    };
    std::iter::successors(Some(error), |&error| error.source()).any(|error| missing(&error))
}

/// What to do about an error which an object store's caused, however deep: for readers and writers that go past
/// [`Store`]. None where no object store's is among the causes, or all it says is that an object is not there.
pub fn kind_of(error: &(dyn StdError + 'static)) -> Option<ErrorKind> {
    std::iter::successors(Some(error), |&error| error.source()).find_map(|cause| {
        let own = cause.downcast_ref::<Error>().map(Error::kind);
        own.or_else(|| s3::kind(cause)).or_else(|| match cause.downcast_ref::<object_store::Error>()? {
            // These carry the reason as their cause.
            object_store::Error::NotFound { .. } => None,
            error => error.source().and_then(kind_of).or(Some(ErrorKind::Transient)),
        })
    })
}

fn fault(verb: &str, path: &str, error: object_store::Error) -> Error {
    if is_storage_full(&error) {
        return full(path).with_source(error);
    }
    s3::meaning(verb, path, &error)
        .unwrap_or_else(|| Error::transient(format!("cannot {verb} {path} in the object store")).with_source(error))
}

/// The error of a full disk: nothing is lost, and the person knows what to do.
fn full(path: &str) -> Error {
    Error::invalid(format!(
        "no space left for {path}; everything committed so far is safe: free some space and start again, it goes on \
         where it stopped"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn promises(store: Store) {
        assert_eq!(store.get("a/b").await.expect("read"), None);
        assert_eq!(store.size("a/b").await.expect("size"), None);
        store.delete("a/b").await.expect("deleting nothing is no error");
        assert_eq!(store.tail("a/b", 2).await.expect("read"), None);
        assert_eq!(store.put_if_absent("a/b", "one".into()).await.expect("put"), Put::Created);
        assert_eq!(store.tail("a/b", 2).await.expect("read"), Some("ne".into()));
        assert_eq!(store.tail("a/b", 99).await.expect("read"), Some("one".into()));
        assert_eq!(store.put_if_absent("a/b", "two".into()).await.expect("put"), Put::Exists);
        assert_eq!(store.get("a/b").await.expect("read"), Some("one".into()));
        store.put("a/b", "three".into()).await.expect("overwrite");
        assert_eq!(store.size("a/b").await.expect("size"), Some(5));
        for path in ["a/c/2", "a/c/10", "b"] {
            store.put(path, "x".into()).await.expect("put");
        }
        let paths = |objects: Vec<Object>| objects.into_iter().map(|object| object.path).collect::<Vec<_>>();
        assert_eq!(paths(store.list("a", None).await.expect("list")), ["a/b", "a/c/10", "a/c/2"]);
        assert_eq!(paths(store.list("a", Some("a/b")).await.expect("list")), ["a/c/10", "a/c/2"]);
        assert_eq!(paths(store.list("nowhere", None).await.expect("list")), Vec::<String>::new());
        store.delete("a/b").await.expect("delete");
        assert_eq!(store.get("a/b").await.expect("read"), None);
    }

    async fn one_of_many_creates(store: Store) {
        let puts = (0..16).map(|writer| {
            let store = store.clone();
            async move { store.put_if_absent("race", writer.to_string().into()).await.expect("put") }
        });
        let outcomes = futures::future::join_all(puts).await;
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == Put::Created).count(), 1);
    }

    #[tokio::test]
    async fn a_missing_object_is_seen_through_any_wrapping() {
        let objects = Store::memory("a").expect("store").objects();
        let missing = objects.head(&Path::from("nowhere")).await.expect_err("nothing there");
        assert!(is_missing(&Error::corrupt("query").with_source(Error::corrupt("scan").with_source(missing))));
        assert!(!is_missing(&Error::corrupt("query").with_source(std::io::Error::other("not found"))));
    }

    #[test]
    fn an_object_stores_error_keeps_its_kind_through_any_wrapping() {
        let away = || object_store::Error::Generic { store: "S3", source: "503".into() };
        let denied = object_store::Error::Generic { store: "S3", source: Error::invalid("no credentials").into() };
        let missing = object_store::Error::NotFound { path: "a".to_owned(), source: "404".into() };
        let cases = [
            (std::io::Error::other(Wrapped(std::io::Error::other(away()))), Some(ErrorKind::Transient)),
            (std::io::Error::other(denied), Some(ErrorKind::Invalid)),
            (std::io::Error::other(missing), None),
            (std::io::Error::other("no JSON"), None),
        ];
        for (error, kind) in cases {
            assert_eq!(kind_of(&Wrapped(error)), kind);
        }
    }

    /// Gives what it wraps as its cause, as thiserror's enums do.
    #[derive(Debug)]
    struct Wrapped(std::io::Error);

    impl fmt::Display for Wrapped {
        fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("wrapped")
        }
    }

    impl StdError for Wrapped {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            self.0.get_ref().map(|inner| inner as &(dyn StdError + 'static))
        }
    }

    #[tokio::test]
    async fn memory_keeps_the_promises() {
        promises(Store::memory("a").expect("store")).await;
        one_of_many_creates(Store::memory("b").expect("store")).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_folder_keeps_the_promises() {
        let folder = tempfile::tempdir().expect("folder");
        promises(Store::local(folder.path()).expect("store")).await;
        one_of_many_creates(Store::local(folder.path()).expect("store")).await;
    }
}
