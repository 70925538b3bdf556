//! A store in memory whose puts below a folder fail, or are slow, by script.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult,
};

use crate::runtime::{Clock, SystemClock};

/// What becomes of puts below a folder.
#[derive(Debug, Clone, Copy)]
pub(super) enum Trouble {
    TimesOut,
    DiskFull,
    /// Done, after so long by the machine's clock.
    Slow(Duration),
}

/// A store in memory in which puts below a folder fail: some succeed, then some fail, then all succeed again.
#[derive(Debug)]
pub(super) struct TroubledStore {
    objects: InMemory,
    folder: &'static str,
    trouble: Trouble,
    succeed: AtomicUsize,
    fail: AtomicUsize,
}

impl TroubledStore {
    pub(super) fn new(folder: &'static str, trouble: Trouble, succeed: usize, fail: usize) -> Arc<Self> {
        let (succeed, fail) = (AtomicUsize::new(succeed), AtomicUsize::new(fail));
        Arc::new(Self { objects: InMemory::new(), folder, trouble, succeed, fail })
    }

    /// Ends the trouble, and tells how many failures were still to come.
    pub(super) fn clear(&self) -> usize {
        self.fail.swap(0, Ordering::SeqCst)
    }

    fn fails(&self, path: &Path) -> bool {
        let spend = |left: &AtomicUsize| {
            left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
        };
        path.as_ref().starts_with(self.folder) && !spend(&self.succeed) && spend(&self.fail)
    }
}

impl fmt::Display for TroubledStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TroubledStore")
    }
}

#[async_trait]
impl ObjectStore for TroubledStore {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> object_store::Result<PutResult> {
        if self.fails(path) {
            let kind = match self.trouble {
                Trouble::TimesOut => Some(io::ErrorKind::TimedOut),
                Trouble::DiskFull => Some(io::ErrorKind::StorageFull),
                Trouble::Slow(pause) => {
                    SystemClock.sleep(pause).await;
                    None
                }
            };
            if let Some(kind) = kind {
                return Err(object_store::Error::Generic { store: "troubled", source: io::Error::from(kind).into() });
            }
        }
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
        self.objects.get_opts(path, options).await
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> object_store::Result<Vec<Bytes>> {
        self.objects.get_ranges(path, ranges).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.objects.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.objects.list(prefix).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.objects.copy_opts(from, to, options).await
    }
}
