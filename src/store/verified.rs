//! A store for readers that go past [`Store`]: no named file gives a byte of it before all of it is checked.
//!
//! Owns when a file is read whole and checked (`named` owns the check): at its first use in a session. That is dear for one
//! column of a large file, and was chosen all the same: Parquet has checksums of pages, but arrow-rs writes none; most staged
//! files are small, and for these one whole read takes fewer requests than a footer and its columns; and an answer from a
//! file that was not checked would be a guess. Small files are kept where there is room for them, so that they are read once.
//!
//! A large file that was checked is not read whole by the process's next session, where the store has e-tags: it is asked for
//! under the e-tag that it had then, and an object that was put since has another. What that leaves open: a store that
//! gives altered bytes under the same e-tag, which S3 watches itself. A local disk has no such tag (what stands for it
//! outlives a flipped bit): there every session checks anew, and what changes between the check and the last read of a large
//! file, within one session, is not seen.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload,
    OBJECT_STORE_COALESCE_DEFAULT, ObjectMeta, ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, Result as StoreResult, coalesce_ranges,
};
use tokio::sync::OnceCell;

use super::named::{Fault, NamedFile, sum, told};
use super::{Store, kind_of};
use crate::batch::Checksum;
use crate::error::{Error, ErrorKind, root_cause};

/// Files up to this size are kept once they are checked, as long as there is room.
const KEPT_FILE: u64 = 4 << 20;

/// The files that a store remembers as checked; beyond them it begins anew.
const PROVEN: usize = 100_000;

/// Takes so many bytes of memory for files that are kept, for as long as it lives; or says that there are none.
pub type Room = Arc<dyn Fn(u64) -> bool + Send + Sync>;

/// The first read of a session that failed, as an error of this program's: readers on the way keep but the words of it.
#[derive(Debug, Default)]
pub struct FailedRead(Mutex<Option<Error>>);

impl FailedRead {
    /// It, if there was one since the last call.
    pub fn take(&self) -> Option<Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn set(&self, error: Error) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }
}

/// What a session that reads checked files brings along.
#[derive(Clone)]
pub struct Reading {
    /// Where files are kept.
    pub room: Room,
    /// Where it is told what failed.
    pub failed: Arc<FailedRead>,
}

/// The files of a store that were checked since the process began: the sum that they had, under which e-tag.
#[derive(Default)]
pub(super) struct Proven(Mutex<HashMap<Path, (Checksum, String)>>);

impl Proven {
    fn etag(&self, location: &Path, said: Checksum) -> Option<String> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(location).filter(|(sum, _)| *sum == said).map(|(_, etag)| etag.clone())
    }

    fn add(&self, location: &Path, sum: Checksum, etag: String) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= PROVEN {
            known.clear();
        }
        known.insert(location.clone(), (sum, etag));
    }

    fn forget(&self, location: &Path) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(location);
    }
}

impl Store {
    /// The objects as [`Store::root`] has them, for readers that go past the store: none of these files gives a byte
    /// before all of it is checked. Paths are from the root.
    pub fn verified(&self, files: Vec<(Path, NamedFile)>, reading: Reading) -> Arc<dyn ObjectStore> {
        let proven = self.folder.is_none().then(|| Arc::clone(&self.proven));
        Verified::over(self.root(), files, reading, proven)
    }
}

/// As [`Store::verified`], over objects of a local disk.
pub fn verified(
    objects: Arc<dyn ObjectStore>,
    files: Vec<(Path, NamedFile)>,
    reading: Reading,
) -> Arc<dyn ObjectStore> {
    Verified::over(objects, files, reading, None)
}

/// A store whose named files are checked before they are read.
struct Verified {
    objects: Arc<dyn ObjectStore>,
    files: HashMap<Path, Checked>,
    reading: Reading,
    /// None where the store's e-tags tell nothing of the bytes.
    proven: Option<Arc<Proven>>,
}

/// A named file; its content is set once it is found to be what is said of it.
struct Checked {
    named: NamedFile,
    content: OnceCell<Content>,
}

/// How a checked file is read.
#[derive(Clone)]
enum Content {
    /// It is kept.
    Kept(ObjectMeta, Bytes),
    /// From the store, under this e-tag where it has one.
    Stored(Option<String>),
}

impl Verified {
    fn over(
        objects: Arc<dyn ObjectStore>,
        files: Vec<(Path, NamedFile)>,
        reading: Reading,
        proven: Option<Arc<Proven>>,
    ) -> Arc<dyn ObjectStore> {
        let files =
            files.into_iter().map(|(path, named)| (path, Checked { named, content: OnceCell::new() })).collect();
        Arc::new(Self { objects, files, reading, proven })
    }

    /// How a file is read, once it is checked.
    async fn content(&self, location: &Path) -> StoreResult<Content> {
        match self.files.get(location) {
            Some(Checked { named, content }) => match named.checksum {
                Some(said) => content.get_or_try_init(|| self.check(location, named, said)).await.cloned(),
                // There is nothing to read it for.
                None => Ok(Content::Stored(None)),
            },
            None => Ok(Content::Stored(None)),
        }
    }

    async fn check(&self, location: &Path, named: &NamedFile, said: Checksum) -> StoreResult<Content> {
        let keep = named.bytes <= KEPT_FILE && (self.reading.room)(named.bytes);
        let known = self.proven.as_ref().and_then(|proven| proven.etag(location, said));
        if let (false, Some(etag)) = (keep, known) {
            return Ok(Content::Stored(Some(etag)));
        }
        let corrupt = |fault: Fault| told(fault.into());
        let found = match self.objects.get(location).await {
            Err(object_store::Error::NotFound { .. }) => return Err(corrupt(named.missing())),
            found => found?,
        };
        let meta = found.meta.clone();
        named.check_size(meta.size).map_err(corrupt)?;
        let (sum, bytes) = sum(found, keep).await?;
        named.check_sum(sum).map_err(corrupt)?;
        if keep {
            return Ok(Content::Kept(meta, bytes));
        }
        let etag = self.proven.as_ref().and(meta.e_tag);
        if let (Some(proven), Some(etag)) = (&self.proven, &etag) {
            proven.add(location, sum, etag.clone());
        }
        Ok(Content::Stored(etag))
    }

    /// Reads of an object that must still be the one that was checked.
    async fn stored(&self, location: &Path, options: GetOptions, etag: Option<String>) -> StoreResult<GetResult> {
        let options = GetOptions { if_match: etag.or(options.if_match.clone()), ..options };
        match self.objects.get_opts(location, options).await {
            Err(object_store::Error::Precondition { .. }) => {
                self.proven.iter().for_each(|proven| proven.forget(location));
                Err(told(Error::transient(format!(
                    "the file {location} was put anew after it was checked, so none of its rows is used; the same again \
                     checks it anew"
                ))))
            }
            found => found,
        }
    }

    async fn read(&self, location: &Path, options: GetOptions) -> StoreResult<GetResult> {
        let (meta, bytes) = match self.content(location).await? {
            Content::Kept(meta, bytes) => (meta, bytes),
            Content::Stored(etag) => return self.stored(location, options, etag).await,
        };
        let whole = GetRange::Bounded(0..meta.size);
        let range = options.range.as_ref().unwrap_or(&whole).as_range(meta.size);
        let range = range.map_err(|_| out_of_range(location))?;
        let bytes = part(location, &bytes, &range)?;
        let payload = GetResultPayload::Stream(stream::iter([Ok(bytes)]).boxed());
        Ok(GetResult { payload, meta, range, attributes: Default::default() })
    }

    async fn read_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> StoreResult<Vec<Bytes>> {
        match self.content(location).await? {
            Content::Kept(_, bytes) => ranges.iter().map(|range| part(location, &bytes, range)).collect(),
            Content::Stored(None) => self.objects.get_ranges(location, ranges).await,
            Content::Stored(etag) => {
                let fetch = |range| {
                    let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
                    let etag = etag.clone();
                    async move { self.stored(location, options, etag).await?.bytes().await }
                };
                coalesce_ranges(ranges, fetch, OBJECT_STORE_COALESCE_DEFAULT).await
            }
        }
    }

    fn tell(&self, location: &Path, error: &object_store::Error) {
        let causes = std::iter::successors(Some(error as &(dyn StdError + 'static)), |&error| error.source());
        let own = causes.filter_map(|cause| cause.downcast_ref::<Error>()).next();
        self.reading.failed.set(match (own, error, self.files.get(location)) {
            (Some(own), ..) => Error::new(own.kind(), own.to_string()),
            (None, object_store::Error::NotFound { .. }, Some(checked)) => checked.named.missing().into(),
            (None, object_store::Error::NotFound { .. }, None) => Error::corrupt(format!(
                "the file {location} is not there, though the journal or the warehouse names it: the answer would lack rows, and none is \
                 given; `millstream audit` tells what else is missing"
            )),
            (None, _, checked) => {
                let path = checked.map_or(location.as_ref(), |checked| checked.named.path.as_str());
                let told = format!("the file {path} cannot be read: {}", root_cause(error));
                Error::new(kind_of(error).unwrap_or(ErrorKind::Transient), told)
            }
        });
    }
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
        self.read(location, options).await.inspect_err(|error| self.tell(location, error))
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> StoreResult<Vec<Bytes>> {
        self.read_ranges(location, ranges).await.inspect_err(|error| self.tell(location, error))
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
    use crate::batch::DataFile;

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

    /// A file named by an entry, through which it is read, with room for so many bytes.
    fn reader(store: &Store, entry: u64, file: &DataFile, room: u64) -> Arc<dyn ObjectStore> {
        let left = std::sync::atomic::AtomicU64::new(room);
        let take = move |bytes| {
            use std::sync::atomic::Ordering::SeqCst;
            left.fetch_update(SeqCst, SeqCst, |left: u64| left.checked_sub(bytes)).is_ok()
        };
        let reading = Reading { room: Arc::new(take), failed: Arc::default() };
        store.verified(vec![(Path::from(file.path.as_str()), NamedFile::of(entry, file))], reading)
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
                let verified = reader(&store, 7, &file, 64 << 20);
                let path = Path::from("a");
                let through_others = verified.get_range(&path, 0..1).await.expect_err("the last byte differs");
                for error in [
                    store.file(7, &file).await.expect_err("read"),
                    store.verify_file(7, &file).await.expect_err("read"),
                    Error::new(kind_of(&through_others).expect("ours"), format!("{through_others:?}")),
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
        let verified = reader(&store, 1, &file, 64 << 20);
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

    /// Objects that count what is read of them.
    #[derive(Debug)]
    struct Counted(InMemory, std::sync::atomic::AtomicU64);

    impl Counted {
        /// The bytes that were read since this was asked last.
        fn read(&self) -> u64 {
            self.1.swap(0, std::sync::atomic::Ordering::SeqCst)
        }
    }

    impl fmt::Display for Counted {
        fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("counted")
        }
    }

    #[async_trait]
    impl ObjectStore for Counted {
        async fn get_opts(&self, location: &Path, options: GetOptions) -> StoreResult<GetResult> {
            let found = self.0.get_opts(location, options).await?;
            self.1.fetch_add(found.range.end - found.range.start, std::sync::atomic::Ordering::SeqCst);
            Ok(found)
        }

        async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> StoreResult<PutResult> {
            self.0.put_opts(location, payload, options).await
        }

        async fn put_multipart_opts(
            &self,
            location: &Path,
            options: PutMultipartOptions,
        ) -> StoreResult<Box<dyn MultipartUpload>> {
            self.0.put_multipart_opts(location, options).await
        }

        fn delete_stream(
            &self,
            locations: BoxStream<'static, StoreResult<Path>>,
        ) -> BoxStream<'static, StoreResult<Path>> {
            self.0.delete_stream(locations)
        }

        fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
            self.0.list(prefix)
        }

        async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
            self.0.list_with_delimiter(prefix).await
        }

        async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> StoreResult<()> {
            self.0.copy_opts(from, to, options).await
        }
    }

    #[tokio::test]
    async fn a_large_file_is_checked_once_and_again_where_it_was_put_anew() {
        let objects = Arc::new(Counted(InMemory::new(), Default::default()));
        let store = Store::new(Arc::clone(&objects) as _, "lake").expect("a store");
        let size = KEPT_FILE + 1;
        let file = put(&store, "a", size as usize).await;
        let path = Path::from("a");
        let first = reader(&store, 1, &file, 0);
        first.get_range(&path, 0..10).await.expect("checked");
        assert_eq!(objects.read(), size + 10);
        // Another session of the process, over a clone of the store.
        let second = reader(&store.clone(), 1, &file, 0);
        second.get_ranges(&path, &[0..10, size - 10..size]).await.expect("known");
        assert_eq!(objects.read(), 20);
        flip(&store, "a", 5).await;
        objects.read();
        let error = second.get_range(&path, 0..10).await.expect_err("another object");
        assert_eq!(kind_of(&error), Some(ErrorKind::Transient), "{error:?}");
        let error = reader(&store, 1, &file, 0).get_range(&path, 0..10).await.expect_err("altered");
        assert_eq!(kind_of(&error), Some(ErrorKind::Corrupt), "{error:?}");
        assert_eq!(objects.read(), size, "it was read whole again");
    }

    #[tokio::test]
    async fn without_room_a_small_file_is_not_kept() {
        let objects = Arc::new(Counted(InMemory::new(), Default::default()));
        let store = Store::new(Arc::clone(&objects) as _, "lake").expect("a store");
        let file = put(&store, "a", 100).await;
        for (room, read) in [(100, 100), (99, 100 + 2 * 10)] {
            let reader = reader(&store, 1, &file, room);
            for _ in 0..2 {
                reader.get_range(&Path::from("a"), 0..10).await.expect("checked");
            }
            assert_eq!(objects.read(), read, "room for {room} bytes");
        }
    }
}
