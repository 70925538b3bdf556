//! Large objects in parts.
//!
//! Owns the cut into parts, how many are under way at once, and that an upload which does not come to its end is taken
//! back: on a failure at once; where the future is dropped, on a thread of its own. What can't be cleaned from here: an
//! upload whose process ends at that moment, and one that the store began but whose answer never came. A bucket should
//! therefore have a lifecycle rule `AbortIncompleteMultipartUpload`.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload, PutResult, Result, UploadPart};

use crate::error::Error;
use crate::runtime::on_own_threads;

/// Objects larger than this go in parts.
pub(super) const WHOLE: usize = 16 << 20;

/// The size of a part but the last; S3 takes no fewer than 5 MiB, and 10,000 parts.
const PART: usize = 8 << 20;

/// Parts under way at once.
const AT_ONCE: usize = 4;

/// Puts an object in parts; it is there when all of them are, or not at all.
pub(super) async fn put(objects: &dyn ObjectStore, path: &Path, bytes: Bytes) -> Result<PutResult> {
    finish(objects.put_multipart(path).await?, path, bytes).await
}

async fn finish(mut upload: Box<dyn MultipartUpload>, path: &Path, bytes: Bytes) -> Result<PutResult> {
    let outcome = run(upload.as_mut(), bytes).await;
    if outcome.is_err()
        && let Err(error) = upload.abort().await
    {
        tracing::warn!(%path, %error, "an unfinished upload stays for the bucket's lifecycle rule");
    }
    outcome
}

async fn run(upload: &mut dyn MultipartUpload, bytes: Bytes) -> Result<PutResult> {
    let part_size = PART.max(bytes.len().div_ceil(10_000));
    let starts = (0..bytes.len()).step_by(part_size);
    let parts = starts.map(|start| bytes.slice(start..(start + part_size).min(bytes.len())));
    // The parts' numbers are given in the order of these calls; each shares the bytes, none copies them.
    let parts: Vec<_> = parts.map(|part| upload.put_part(part.into())).collect();
    stream::iter(parts).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
    upload.complete().await
}

/// An upload that is taken back where it is dropped before it was completed or aborted.
pub(super) struct TakenBack(Option<Box<dyn MultipartUpload>>);

impl TakenBack {
    pub(super) fn new(upload: Box<dyn MultipartUpload>) -> Self {
        Self(Some(upload))
    }

    fn under_way(&mut self) -> Result<&mut Box<dyn MultipartUpload>> {
        let ended = || object_store::Error::Generic { store: "upload", source: "it has ended already".into() };
        self.0.as_mut().ok_or_else(ended)
    }
}

#[async_trait]
impl MultipartUpload for TakenBack {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        match self.under_way() {
            Ok(upload) => upload.put_part(data),
            Err(error) => Box::pin(async { Err(error) }),
        }
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let completed = self.under_way()?.complete().await?;
        self.0 = None;
        Ok(completed)
    }

    async fn abort(&mut self) -> Result<()> {
        let aborted = self.under_way()?.abort().await;
        // One that cannot be taken back now cannot be a moment later.
        self.0 = None;
        aborted
    }
}

impl fmt::Debug for TakenBack {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TakenBack")
    }
}

impl Drop for TakenBack {
    fn drop(&mut self) {
        let Some(mut upload) = self.0.take() else { return };
        let abort = move || async move {
            upload.abort().await.map_err(|error| Error::transient("an upload cannot be taken back").with_source(error))
        };
        if let Err(error) = on_own_threads("abort-upload", 1, abort) {
            tracing::warn!(%error, "an unfinished upload stays for the bucket's lifecycle rule");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::FutureExt;
    use object_store::memory::InMemory;
    use tokio::sync::mpsc;

    use super::*;

    /// Large, of no period that a part could have.
    fn bytes(length: usize) -> Bytes {
        (0..length).map(|index| (index % 251) as u8).collect::<Vec<_>>().into()
    }

    #[tokio::test]
    async fn parts_come_together_in_their_order() {
        for length in [WHOLE + 1, 3 * PART, 40 << 20] {
            let objects = InMemory::new();
            put(&objects, &Path::from("a"), bytes(length)).await.expect("put");
            let found = objects.get(&Path::from("a")).await.expect("there").bytes().await.expect("read");
            assert!(found == bytes(length), "{length} bytes");
        }
    }

    #[derive(Debug, Clone, Copy)]
    enum Part {
        Fails,
        Hangs,
        Succeeds,
    }

    /// Does this to the third part, fails to complete, and tells when it is taken back.
    #[derive(Debug)]
    struct Scripted {
        third: Part,
        parts: usize,
        /// Now, and at most.
        under_way: Arc<[AtomicUsize; 2]>,
        aborted: mpsc::Sender<()>,
    }

    #[async_trait]
    impl MultipartUpload for Scripted {
        fn put_part(&mut self, _: PutPayload) -> UploadPart {
            self.parts += 1;
            let (part, third, under_way) = (self.parts, self.third, Arc::clone(&self.under_way));
            let work = async move {
                let now = under_way[0].fetch_add(1, Ordering::SeqCst) + 1;
                under_way[1].fetch_max(now, Ordering::SeqCst);
                tokio::task::yield_now().await;
                under_way[0].fetch_sub(1, Ordering::SeqCst);
                match third {
                    Part::Fails if part == 3 => {
                        Err(object_store::Error::Generic { store: "test", source: "away".into() })
                    }
                    Part::Hangs if part == 3 => futures::future::pending().await,
                    _ => Ok(()),
                }
            };
            work.boxed()
        }

        async fn complete(&mut self) -> Result<PutResult> {
            Err(object_store::Error::Generic { store: "test", source: "no answer".into() })
        }

        async fn abort(&mut self) -> Result<()> {
            self.aborted.send(()).await.expect("somebody listens");
            Ok(())
        }
    }

    fn scripted(third: Part) -> (Box<dyn MultipartUpload>, Arc<[AtomicUsize; 2]>, mpsc::Receiver<()>) {
        let (aborted, listener) = mpsc::channel(8);
        let under_way = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let upload = Scripted { third, parts: 0, under_way: Arc::clone(&under_way), aborted };
        (Box::new(TakenBack::new(Box::new(upload))), under_way, listener)
    }

    #[tokio::test]
    async fn a_failed_upload_is_taken_back_once() {
        for third in [Part::Fails, Part::Succeeds] {
            let (upload, under_way, mut aborted) = scripted(third);
            finish(upload, &Path::from("a"), bytes(40 << 20)).await.expect_err("it fails");
            assert_eq!((aborted.recv().await, aborted.recv().await), (Some(()), None), "{third:?}");
            assert_eq!(under_way[1].load(Ordering::SeqCst), AT_ONCE, "parts under way at once");
        }
    }

    #[tokio::test]
    async fn a_dropped_upload_is_taken_back() {
        let (upload, _, mut aborted) = scripted(Part::Hangs);
        let path = Path::from("a");
        let mut put = Box::pin(finish(upload, &path, bytes(40 << 20)));
        for _ in 0..20 {
            assert!((&mut put).now_or_never().is_none(), "it hangs");
        }
        assert!(aborted.try_recv().is_err(), "not before it is dropped");
        drop(put);
        assert_eq!((aborted.recv().await, aborted.recv().await), (Some(()), None));
    }
}
