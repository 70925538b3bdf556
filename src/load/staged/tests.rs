//! The columns of a file out of its footer alone, from a store that counts what is asked of it.

use std::fmt;
use std::sync::Mutex;

use arrow::array::{ArrayRef, Decimal128Array, Int64Array, ListArray, StringArray};
use arrow::datatypes::Int32Type;
use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetRange, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use parquet::arrow::ArrowWriter;

use super::*;
use crate::error::ErrorKind;

/// A store in memory that remembers the ranges of its reads; none for a whole object.
#[derive(Debug, Default)]
struct Watched {
    objects: InMemory,
    reads: Mutex<Vec<Option<GetRange>>>,
}

impl fmt::Display for Watched {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Watched")
    }
}

#[async_trait]
impl ObjectStore for Watched {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> object_store::Result<PutResult> {
        self.objects.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.objects.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        if !options.head {
            self.reads.lock().expect("reads").push(options.range.clone());
        }
        self.objects.get_opts(path, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.objects.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.objects.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.objects.copy_opts(from, to, options).await
    }
}

/// A file of so many row groups of so many rows; each group adds to the footer.
async fn staged(store: &Store, groups: i64, rows: i64) -> DataFile {
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values((0..rows).map(|row| row * 2_654_435_761)));
    let batch = RecordBatch::try_from_iter([("a", column)]).expect("a batch");
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).expect("a writer");
    for _ in 0..groups {
        writer.write(&batch).expect("written");
        writer.flush().expect("flushed");
    }
    let bytes = writer.into_inner().expect("closed");
    let path = format!("staged/{groups}-{rows}.parquet");
    let file = DataFile::of(path.clone(), (groups * rows) as u64, &bytes);
    store.put(&path, bytes.into()).await.expect("staged");
    file
}

#[tokio::test]
async fn columns_are_read_from_the_footer_alone() {
    let watched = Arc::new(Watched::default());
    let store = Store::new(Arc::clone(&watched) as _, "watched").expect("a store");
    for (groups, rows, requests) in [(1, 1, 1), (1, 100_000, 1), (1_500, 1, 2)] {
        let file = staged(&store, groups, rows).await;
        let found = columns(&store, 1, &file).await.expect("columns");
        assert_eq!(found.field(0).name(), "a");
        let reads = std::mem::take(&mut *watched.reads.lock().expect("reads"));
        assert_eq!(reads.len(), requests, "{groups} groups of {rows} rows: {reads:?}");
        for read in reads {
            let Some(GetRange::Suffix(bytes)) = read else { panic!("more than the end is read: {read:?}") };
            assert!(bytes < 1 << 19 && (rows == 1 || bytes < file.bytes), "{bytes} of {}", file.bytes);
        }
        for (lie, told) in [
            (DataFile { rows: 7, ..file.clone() }, "rows, and entry 1 of the journal says 7"),
            (DataFile { bytes: 7, ..file.clone() }, "bytes, and entry 1 of the journal says 7"),
            (DataFile { path: "staged/gone".to_owned(), ..file }, "is not in the object store"),
        ] {
            let error = columns(&store, 1, &lie).await.expect_err(told);
            assert!(error.kind() == ErrorKind::Corrupt && error.to_string().contains(told), "{error}");
        }
        watched.reads.lock().expect("reads").clear();
    }
}

#[test]
fn alike_rows_count_as_what_they_become_and_not_as_what_they_shrink_to() {
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..2_000).map(|row| "x".repeat(5_000 + row % 2))));
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..2_000));
    let amounts = Decimal128Array::from_iter_values(0..2_000).with_precision_and_scale(9, 2).expect("they fit");
    let lists = (0..2_000).map(|row| Some((0..row % 50).map(Some).collect::<Vec<_>>()));
    let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists));
    let columns = [("text", texts), ("number", numbers), ("amount", Arc::new(amounts) as _), ("list", lists)];
    for (name, column) in columns {
        let batch = RecordBatch::try_from_iter([(name, column)]).expect("a batch");
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).expect("a writer");
        writer.write(&batch).expect("written");
        let bytes: Bytes = writer.into_inner().expect("closed").into();
        let file = DataFile::of("f".to_owned(), 2_000, &bytes);
        let told = decoded_bytes(opened(bytes, 1, &file).expect("a file").metadata());
        let held = batch.column(0).to_data().get_slice_memory_size().expect("its size") as u64;
        assert!((held * 9 / 10..held * 3 / 2 + 20_000).contains(&told), "{name}: {told} bytes told of {held}");
        assert!(name != "text" || file.bytes < held / 50, "it shrinks: {} of {held}", file.bytes);
    }
}
