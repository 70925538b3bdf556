//! An object store that loses puts, loses answers, and lets puts land late.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::*;

/// What becomes of a put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is done and answered.
    None,
    /// It is not done, and an error says so or not.
    Lost,
    /// It is done, but the answer is an error.
    Unanswered,
    /// The answer is an error, and it is done at some later time.
    Late,
}

/// How often what goes wrong, in `[0, 1]`.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rates {
    /// Of each fault of a put.
    pub(super) put: f64,
    /// Of a read or listing that fails.
    pub(super) read: f64,
    /// Of an outage: everything fails for a while.
    pub(super) outage: f64,
    /// Of a pause, in which the others go on, before and after each call.
    pub(super) pause: f64,
}

/// The wrapper; its faults come from a script first, then by chance.
#[derive(Clone)]
pub(super) struct Faulty(Arc<Inner>);

struct Inner {
    objects: Arc<InMemory>,
    random: Random,
    rates: Rates,
    script: Mutex<VecDeque<Fault>>,
    late: Mutex<Vec<(Path, PutPayload, PutOptions)>>,
    outage: AtomicUsize,
    reads: AtomicUsize,
    listed: Mutex<Vec<String>>,
    reads_fail: AtomicBool,
    lists_fail: AtomicBool,
}

impl Faulty {
    pub(super) fn new(seed: u64, rates: Rates) -> Self {
        Self(Arc::new(Inner {
            objects: Arc::new(InMemory::new()),
            random: Random::seeded(seed),
            rates,
            script: Mutex::default(),
            late: Mutex::default(),
            outage: AtomicUsize::new(0),
            reads: AtomicUsize::new(0),
            listed: Mutex::default(),
            reads_fail: AtomicBool::new(false),
            lists_fail: AtomicBool::new(false),
        }))
    }

    /// No chance in it: only what [`Faulty::script`] says goes wrong.
    pub(super) fn scripted() -> Self {
        Self::new(0, Rates::default())
    }

    pub(super) fn store(&self) -> Store {
        Store::new(Arc::new(self.clone()), "faulty").expect("store")
    }

    /// The same objects without the faults.
    pub(super) fn untroubled(&self) -> Store {
        Store::new(Arc::new(Arc::clone(&self.0.objects)), "untroubled").expect("store")
    }

    /// The next puts' faults.
    pub(super) fn script(&self, faults: &[Fault]) {
        self.0.script.lock().expect("lock").extend(faults);
    }

    /// Lets the next so many calls fail.
    pub(super) fn outage(&self, calls: usize) {
        self.0.outage.store(calls, Ordering::SeqCst);
    }

    /// Whether every read and listing fails from now on.
    pub(super) fn fail_reads(&self, fail: bool) {
        self.0.reads_fail.store(fail, Ordering::SeqCst);
    }

    /// Whether every listing fails from now on.
    pub(super) fn fail_lists(&self, fail: bool) {
        self.0.lists_fail.store(fail, Ordering::SeqCst);
    }

    /// Objects read so far.
    pub(super) fn reads(&self) -> usize {
        self.0.reads.load(Ordering::SeqCst)
    }

    /// The folders listed so far.
    pub(super) fn listed(&self) -> Vec<String> {
        self.0.listed.lock().expect("lock").clone()
    }

    /// Lets every put land that is on its way.
    pub(super) async fn land(&self) {
        let late = std::mem::take(&mut *self.0.late.lock().expect("lock"));
        for (path, payload, options) in late {
            // One that finds its place taken changes nothing, and nobody waits for its answer.
            let _ = self.0.objects.put_opts(&path, payload, options).await;
        }
    }

    fn chance(&self, of: f64) -> bool {
        of > 0.0 && self.0.random.fraction() < of
    }

    async fn pause(&self) {
        while self.chance(self.0.rates.pause) {
            tokio::task::yield_now().await;
        }
        if self.chance(0.2) && !self.0.late.lock().expect("lock").is_empty() {
            self.land().await;
        }
    }

    /// Whether this call fails because nothing works at present.
    fn out(&self) -> bool {
        if self.chance(self.0.rates.outage) {
            self.outage(60);
        }
        let count = |left: usize| left.checked_sub(1);
        self.0.outage.fetch_update(Ordering::SeqCst, Ordering::SeqCst, count).is_ok()
    }

    fn unreadable(&self) -> bool {
        self.out() || self.0.reads_fail.load(Ordering::SeqCst) || self.chance(self.0.rates.read)
    }

    fn next_fault(&self) -> Fault {
        if let Some(fault) = self.0.script.lock().expect("lock").pop_front() {
            return fault;
        }
        let rate = self.0.rates.put;
        for fault in [Fault::Lost, Fault::Unanswered, Fault::Late] {
            if self.chance(rate) {
                return fault;
            }
        }
        Fault::None
    }
}

fn timed_out<T>() -> Result<T> {
    Err(Error::Generic { store: "faulty", source: "the call timed out".into() })
}

impl fmt::Display for Faulty {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Faulty")
    }
}

impl fmt::Debug for Faulty {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Faulty({:?})", self.0.rates)
    }
}

#[async_trait::async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.pause().await;
        if self.out() {
            return timed_out();
        }
        let fault = self.next_fault();
        let outcome = match fault {
            Fault::Lost => timed_out(),
            Fault::Late => {
                // Only a conditional put may land late: an overwriting one would undo what came after it.
                if options.mode == PutMode::Create {
                    self.0.late.lock().expect("lock").push((path.clone(), payload, options));
                }
                timed_out()
            }
            Fault::Unanswered => self.0.objects.put_opts(path, payload, options).await.and_then(|_| timed_out()),
            Fault::None => self.0.objects.put_opts(path, payload, options).await,
        };
        self.pause().await;
        outcome
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.0.objects.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.pause().await;
        if self.unreadable() {
            return timed_out();
        }
        self.0.reads.fetch_add(1, Ordering::SeqCst);
        let outcome = self.0.objects.get_opts(path, options).await;
        self.pause().await;
        outcome
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.0.objects.get_ranges(path, ranges).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.0.objects.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.listed.lock().expect("lock").extend(prefix.map(Path::to_string));
        if self.unreadable() || self.0.lists_fail.load(Ordering::SeqCst) {
            return stream::iter([timed_out()]).boxed();
        }
        self.0.objects.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.0.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.0.objects.copy_opts(from, to, options).await
    }
}
