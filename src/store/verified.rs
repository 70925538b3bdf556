//! Objects held against what is said of them: in the journal's entries, or in the log of a Delta table.
//!
//! Owns the check of a file's size, e-tag and SHA-256, and the store that other readers go through: [`Verified`] reads a
//! named file whole and checks it before it gives the first byte of it. That is dear for one column of a large file, and
//! was chosen all the same: Parquet has checksums of pages, but arrow-rs writes none; most staged files are small, and
//! for these one whole read takes fewer requests than a footer and its columns; and an answer from a file that was not
//! checked would be a guess. A file is checked once a session, and small ones are kept, so that they are read once.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result as StoreResult,
};
use tokio::sync::OnceCell;

use super::{Store, fault};
use crate::batch::{Checksum, Checksummer, DataFile};
use crate::error::{Error, Result};
use crate::runtime::blocking;

/// Files up to this size are kept once they are checked …
const KEPT_FILE: u64 = 4 << 20;

/// … as long as they take no more together.
const KEPT: u64 = 64 << 20;

/// What says how the bytes of a file are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedBy {
    /// The entry of the journal with this number.
    Entry(u64),
    /// The log of a table of the warehouse, as it is at this version.
    Table(String, u64),
}

/// A file that something names.
#[derive(Debug, Clone)]
pub struct NamedFile {
    /// What names it.
    pub by: NamedBy,
    /// Where it is, as a person looks for it: from the store's root, or from the warehouse's folder.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// The checksum of its bytes; none where nobody wrote it down.
    pub checksum: Option<Checksum>,
}

/// Why an object is not the file that is named.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("the file {path} is not in {}, though {by} names it", by.place())]
    Missing { path: String, by: NamedBy },
    #[error("the file {path} has {found} bytes, and {by} says {said}")]
    Size { path: String, by: NamedBy, found: u64, said: u64 },
    #[error(
        "the file {path} was altered or damaged after it was written: the SHA-256 of its bytes is {found}, and {by} says \
         {said}"
    )]
    Checksum { path: String, by: NamedBy, found: Checksum, said: Checksum },
}

impl NamedBy {
    fn place(&self) -> &'static str {
        match self {
            Self::Entry(_) => "the object store",
            Self::Table(..) => "the warehouse's folder",
        }
    }
}

impl Fault {
    fn by(&self) -> &NamedBy {
        let (Self::Missing { by, .. } | Self::Size { by, .. } | Self::Checksum { by, .. }) = self;
        by
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        let now = match fault.by() {
            NamedBy::Entry(_) => "and start again",
            NamedBy::Table(..) => {
                "or move the whole warehouse folder away, and the next run loads everything anew from the staged files"
            }
        };
        Error::corrupt(format!(
            "{fault}; none of its rows is used: bring the file back as it was, from a backup or an older version in the \
             bucket, {now}"
        ))
        .with_source(fault)
    }
}

impl fmt::Display for NamedBy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry(number) => write!(formatter, "entry {number} of the journal"),
            Self::Table(name, version) => write!(formatter, "the log of the table {name} (version {version})"),
        }
    }
}

impl NamedFile {
    /// A file of the journal's entry with this number.
    pub fn of(entry: u64, file: &DataFile) -> Self {
        Self { by: NamedBy::Entry(entry), path: file.path.clone(), bytes: file.bytes, checksum: file.checksum }
    }

    fn missing(&self) -> Fault {
        Fault::Missing { path: self.path.clone(), by: self.by.clone() }
    }

    fn check_size(&self, found: u64) -> Result<(), Fault> {
        match found == self.bytes {
            true => Ok(()),
            false => Err(Fault::Size { path: self.path.clone(), by: self.by.clone(), found, said: self.bytes }),
        }
    }

    fn check_sum(&self, found: Checksum) -> Result<(), Fault> {
        match self.checksum {
            Some(said) if said != found => {
                Err(Fault::Checksum { path: self.path.clone(), by: self.by.clone(), found, said })
            }
            _ => Ok(()),
        }
    }
}

impl Store {
    /// The bytes of a file that this entry names, as they were put.
    ///
    /// # Errors
    /// Corrupt where they are not, or the object is gone; Transient, or Invalid as [`Store::get`].
    pub async fn file(&self, entry: u64, file: &DataFile) -> Result<Bytes> {
        let named = NamedFile::of(entry, file);
        let bytes = self.get(&file.path).await?.ok_or_else(|| named.missing())?;
        blocking(move || {
            named.check_size(bytes.len() as u64)?;
            if named.checksum.is_some() {
                named.check_sum(Checksum::of(&bytes))?;
            }
            Ok(bytes)
        })
        .await
    }

    /// Checks that the object is still the one that was put, without reading it: by its size and its e-tag. One with
    /// another e-tag is read: it may have been brought back from a copy.
    ///
    /// # Errors
    /// As [`Store::file`].
    pub async fn check_file(&self, entry: u64, file: &DataFile) -> Result<()> {
        let named = NamedFile::of(entry, file);
        let found = match self.objects.head(&Path::from(file.path.as_str())).await {
            Err(object_store::Error::NotFound { .. }) => return Err(named.missing().into()),
            found => found.map_err(|error| fault("read", &file.path, error))?,
        };
        named.check_size(found.size)?;
        if self.folder.is_some() || file.etag.is_none() || file.etag == found.e_tag {
            return Ok(());
        }
        self.verify_file(entry, file).await?;
        tracing::debug!(path = file.path, "another e-tag than the journal's, and the same bytes");
        Ok(())
    }

    /// Reads the file and holds it against the journal, a piece at a time.
    ///
    /// # Errors
    /// As [`Store::file`].
    pub async fn verify_file(&self, entry: u64, file: &DataFile) -> Result<()> {
        let named = NamedFile::of(entry, file);
        let unread = |error| fault("read", &file.path, error);
        let found = match self.objects.get(&Path::from(file.path.as_str())).await {
            Err(object_store::Error::NotFound { .. }) => return Err(named.missing().into()),
            found => found.map_err(unread)?,
        };
        named.check_size(found.meta.size)?;
        let mut summer = Checksummer::default();
        let mut parts = found.into_stream();
        while let Some(part) = parts.try_next().await.map_err(unread)? {
            summer.add(&part);
        }
        Ok(named.check_sum(summer.finish())?)
    }
}

/// These objects, for readers that go past [`Store`]: none of these files gives a byte before all of it is checked.
/// Paths are as `objects` has them.
pub fn verified(objects: Arc<dyn ObjectStore>, files: Vec<(Path, NamedFile)>) -> Arc<dyn ObjectStore> {
    let files = files.into_iter().map(|(path, named)| (path, Checked { named, content: OnceCell::new() })).collect();
    Arc::new(Verified { objects, files, kept: AtomicU64::new(0) })
}

/// A store whose named files are checked before they are read.
struct Verified {
    objects: Arc<dyn ObjectStore>,
    files: HashMap<Path, Checked>,
    /// Bytes of the files that are kept.
    kept: AtomicU64,
}

/// A named file; its content is set once it is found to be what is said of it.
struct Checked {
    named: NamedFile,
    content: OnceCell<Content>,
}

#[derive(Clone)]
struct Content {
    meta: ObjectMeta,
    /// None for one that is too large to be kept.
    bytes: Option<Bytes>,
}

impl Verified {
    /// A named file's content, once it is checked; none for any other object.
    async fn content(&self, location: &Path) -> StoreResult<Option<&Content>> {
        let Some(Checked { named, content }) = self.files.get(location) else { return Ok(None) };
        // Without a checksum there is nothing to read it for.
        if named.checksum.is_none() {
            return Ok(None);
        }
        content.get_or_try_init(|| self.check(location, named)).await.map(Some)
    }

    async fn check(&self, location: &Path, named: &NamedFile) -> StoreResult<Content> {
        let corrupt = |fault: Fault| told(fault.into());
        let found = match self.objects.get(location).await {
            Err(object_store::Error::NotFound { .. }) => return Err(corrupt(named.missing())),
            found => found?,
        };
        let meta = found.meta.clone();
        named.check_size(meta.size).map_err(corrupt)?;
        let keep = meta.size <= KEPT_FILE && self.kept.load(Ordering::Relaxed) + meta.size <= KEPT;
        let (mut summer, mut bytes) = (Checksummer::default(), BytesMut::new());
        let mut parts = found.into_stream();
        while let Some(part) = parts.try_next().await? {
            summer.add(&part);
            if keep {
                bytes.extend_from_slice(&part);
            }
        }
        named.check_sum(summer.finish()).map_err(corrupt)?;
        if keep {
            self.kept.fetch_add(meta.size, Ordering::Relaxed);
        }
        Ok(Content { meta, bytes: keep.then(|| bytes.freeze()) })
    }
}

/// This program's own error on its way through DataFusion.
fn told(error: Error) -> object_store::Error {
    object_store::Error::Generic { store: "verified", source: Box::new(error) }
}

fn out_of_range(location: &Path) -> object_store::Error {
    told(Error::internal(format!("a part of {location} was asked for that is not in it")))
}

/// A part of a kept object.
fn part(location: &Path, bytes: &Bytes, range: &Range<u64>) -> StoreResult<Bytes> {
    let bound = |bound: u64| usize::try_from(bound).ok().filter(|bound| *bound <= bytes.len());
    match (bound(range.start), bound(range.end)) {
        (Some(start), Some(end)) if start <= end => Ok(bytes.slice(start..end)),
        _ => Err(out_of_range(location)),
    }
}

impl fmt::Display for Verified {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.objects.fmt(formatter)
    }
}

impl fmt::Debug for Verified {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Verified({} files, {:?})", self.files.len(), self.objects)
    }
}

#[async_trait]
impl ObjectStore for Verified {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> StoreResult<GetResult> {
        if options.head {
            return self.objects.get_opts(location, options).await;
        }
        let Some(Content { meta, bytes: Some(bytes) }) = self.content(location).await? else {
            return self.objects.get_opts(location, options).await;
        };
        let whole = GetRange::Bounded(0..meta.size);
        let range = options.range.as_ref().unwrap_or(&whole).as_range(meta.size);
        let range = range.map_err(|_| out_of_range(location))?;
        let bytes = part(location, bytes, &range)?;
        let payload = GetResultPayload::Stream(stream::iter([Ok(bytes)]).boxed());
        Ok(GetResult { payload, meta: meta.clone(), range, attributes: Default::default() })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> StoreResult<Vec<Bytes>> {
        match self.content(location).await? {
            Some(Content { bytes: Some(bytes), .. }) => {
                ranges.iter().map(|range| part(location, bytes, range)).collect()
            }
            _ => self.objects.get_ranges(location, ranges).await,
        }
    }

    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> StoreResult<PutResult> {
        self.objects.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        self.objects.put_multipart_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, StoreResult<Path>>) -> BoxStream<'static, StoreResult<Path>> {
        self.objects.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.objects.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> StoreResult<()> {
        self.objects.copy_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;
    use crate::error::ErrorKind;

    /// A file of so many bytes, put.
    async fn put(store: &Store, path: &str, bytes: usize) -> DataFile {
        let bytes: Bytes = (0..bytes).map(|index| (index % 251) as u8).collect::<Vec<_>>().into();
        let file = DataFile::of(path.to_owned(), 1, &bytes);
        DataFile { etag: store.put(path, bytes).await.expect("put"), ..file }
    }

    /// Changes one bit of the object.
    async fn flip(store: &Store, path: &str, place: usize) {
        let mut bytes = store.get(path).await.expect("read").expect("there").to_vec();
        bytes[place] ^= 1;
        store.put(path, bytes.into()).await.expect("put");
    }

    fn stores() -> [(Store, Option<tempfile::TempDir>); 2] {
        let folder = tempfile::tempdir().expect("a folder");
        [(Store::memory("lake").expect("a store"), None), (Store::local(folder.path()).expect("a store"), Some(folder))]
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn one_bit_is_found_wherever_it_is_read() {
        for (store, _folder) in stores() {
            for bytes in [1, 1000, KEPT_FILE as usize + 1] {
                let file = put(&store, "a", bytes).await;
                assert_eq!(store.file(7, &file).await.expect("whole").len(), bytes);
                flip(&store, "a", bytes - 1).await;
                let verified = verified(store.root(), vec![(Path::from("a"), NamedFile::of(7, &file))]);
                let path = Path::from("a");
                let through_others = verified.get_range(&path, 0..1).await.expect_err("the last byte differs");
                for error in [
                    store.file(7, &file).await.expect_err("read"),
                    store.verify_file(7, &file).await.expect_err("read"),
                    Error::new(super::super::kind_of(&through_others).expect("ours"), format!("{through_others:?}")),
                ] {
                    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                    assert!(error.to_string().contains("the file a was altered"), "{error}");
                    assert!(error.to_string().contains(&file.checksum.expect("one").to_string()), "{error}");
                }
                flip(&store, "a", bytes - 1).await;
                let range = verified.get_range(&path, 0..1).await.expect("checked anew, and now it is right");
                assert_eq!(range, Bytes::from_static(&[0]));
            }
        }
    }

    #[tokio::test]
    async fn a_replaced_object_is_seen_without_reading_it_and_a_copy_is_taken() {
        let store = Store::memory("lake").expect("a store");
        let file = put(&store, "a", 10).await;
        store.check_file(1, &file).await.expect("as it was put");
        flip(&store, "a", 3).await;
        let error = store.check_file(1, &file).await.expect_err("another object");
        assert!(error.kind() == ErrorKind::Corrupt && error.to_string().contains("altered"), "{error}");
        flip(&store, "a", 3).await;
        store.check_file(1, &file).await.expect("the same bytes, put again");
        for (lie, words) in [
            (DataFile { bytes: 9, ..file.clone() }, "has 10 bytes, and entry 1 of the journal says 9"),
            (DataFile { path: "b".to_owned(), ..file }, "is not in the object store, though entry 1"),
        ] {
            let error = store.check_file(1, &lie).await.expect_err(words);
            assert!(error.kind() == ErrorKind::Corrupt && error.to_string().contains(words), "{error}");
        }
    }

    #[tokio::test]
    async fn a_kept_file_answers_as_the_store_does() {
        let objects = Arc::new(InMemory::new());
        let store = Store::new(Arc::clone(&objects) as _, "lake").expect("a store");
        let file = put(&store, "a", 100).await;
        let verified = verified(store.root(), vec![(Path::from("a"), NamedFile::of(1, &file))]);
        let path = Path::from("a");
        for range in [GetRange::Bounded(3..7), GetRange::Bounded(90..200), GetRange::Offset(95), GetRange::Suffix(5)] {
            let options = || GetOptions { range: Some(range.clone()), ..GetOptions::default() };
            let (ours, theirs) = (verified.get_opts(&path, options()).await, objects.get_opts(&path, options()).await);
            let (ours, theirs) = (ours.expect("ours"), theirs.expect("theirs"));
            assert_eq!((&ours.range, &ours.meta), (&theirs.range, &theirs.meta), "{range}");
            assert_eq!(ours.bytes().await.expect("ours"), theirs.bytes().await.expect("theirs"), "{range}");
        }
        let ranges = [0..1, 50..100];
        let theirs = objects.get_ranges(&path, &ranges).await.expect("theirs");
        assert_eq!(verified.get_ranges(&path, &ranges).await.expect("ours"), theirs);
        assert!(verified.get_ranges(&path, &[0..1, 90..101]).await.is_err());
        put(&store, "b", 5).await;
        assert_eq!(verified.get_range(&Path::from("b"), 0..5).await.expect("no named one").len(), 5);
    }
}
