//! A stream in memory with shards that hang, say that they are behind, or tell their end late.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;

use super::*;
use crate::source::{CallCounts, Page, Shard, ShardReader, StreamDescription};

/// What is odd about a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Oddity {
    /// Its readers get no answer, on connections before this one (counted from 1).
    HangsBefore(usize),
    /// Its readers get no records, and answers that it is this far behind, and now and then a little less.
    StaysBehind(Duration),
}

/// The stream; clones are the same.
#[derive(Clone)]
pub(super) struct OddSource {
    inner: MemorySource,
    context: Context,
    shared: Arc<Shared>,
    /// Which connection this is.
    connection: usize,
}

#[derive(Default)]
struct Shared {
    odd: Mutex<BTreeMap<ShardId, Oddity>>,
    connections: AtomicUsize,
    /// The last page of a closed shard does not say that it is the last.
    tells_ends_late: AtomicBool,
    lists_never: AtomicBool,
    /// How long a list takes, in ms.
    lists_within: std::sync::atomic::AtomicU64,
    connects_never: AtomicBool,
    refuses: AtomicBool,
    /// Readers that wait for an answer now, and the most there ever were.
    asking: AtomicUsize,
    most_asking: AtomicUsize,
    /// When another stream of the same name takes its place, ms since 1970 UTC; 0 for never.
    made_anew_at: std::sync::atomic::AtomicI64,
}

pub(super) fn shard(number: usize) -> ShardId {
    ShardId::new(format!("shardId-{number:012}"))
}

impl OddSource {
    pub(super) fn new(inner: &MemorySource, context: Context) -> Self {
        Self { inner: inner.clone(), context, shared: Arc::default(), connection: 0 }
    }

    pub(super) fn connect(&self) -> Connect {
        let source = self.clone();
        Arc::new(move || {
            let connection = source.shared.connections.fetch_add(1, Ordering::SeqCst) + 1;
            let connected = Self { connection, ..source.clone() };
            Box::pin(async move {
                if connected.shared.connects_never.load(Ordering::SeqCst) {
                    return std::future::pending().await;
                }
                if connected.shared.refuses.load(Ordering::SeqCst) {
                    return Err(Error::transient("no answer"));
                }
                Ok(Arc::new(connected) as _)
            })
        })
    }

    pub(super) fn set(&self, number: usize, oddity: Oddity) {
        self.shared.odd.lock().expect("lock").insert(shard(number), oddity);
    }

    pub(super) fn mend(&self) {
        self.shared.odd.lock().expect("lock").clear();
    }

    pub(super) fn tell_ends_late(&self) {
        self.shared.tells_ends_late.store(true, Ordering::SeqCst);
    }

    pub(super) fn list_never(&self) {
        self.shared.lists_never.store(true, Ordering::SeqCst);
    }

    pub(super) fn list_slowly(&self, takes: Duration) {
        let millis = u64::try_from(takes.as_millis()).expect("not that long");
        self.shared.lists_within.store(millis, Ordering::SeqCst);
    }

    pub(super) fn connect_never(&self) {
        self.shared.connects_never.store(true, Ordering::SeqCst);
    }

    pub(super) fn refuse(&self) {
        self.shared.refuses.store(true, Ordering::SeqCst);
    }

    pub(super) fn make_anew(&self, created_at: i64) {
        self.shared.made_anew_at.store(created_at, Ordering::SeqCst);
    }

    pub(super) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    pub(super) fn most_asking(&self) -> usize {
        self.shared.most_asking.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Source for OddSource {
    async fn describe(&self) -> Result<StreamDescription> {
        let mut description = self.inner.describe().await?;
        description.identity.created_at = self.shared.made_anew_at.load(Ordering::SeqCst);
        Ok(description)
    }

    async fn shards(&self) -> Result<Vec<Shard>> {
        if self.shared.lists_never.load(Ordering::SeqCst) {
            return std::future::pending().await;
        }
        let takes = self.shared.lists_within.load(Ordering::SeqCst);
        if takes > 0 {
            self.context.clock.sleep(Duration::from_millis(takes)).await;
        }
        self.inner.shards().await
    }

    fn counts(&self) -> CallCounts {
        CallCounts::default()
    }

    async fn open(&self, shard: &Shard, start: StartAt) -> Result<Box<dyn ShardReader>> {
        let inner = self.inner.open(shard, start).await?;
        let (source, shard) = (self.clone(), shard.id.clone());
        Ok(Box::new(OddReader { inner, source, shard, owes_its_end: false, answers: 0 }))
    }
}

struct OddReader {
    inner: Box<dyn ShardReader>,
    source: OddSource,
    shard: ShardId,
    owes_its_end: bool,
    answers: u64,
}

impl OddReader {
    /// The answer of an odd shard; none where there is nothing odd about it any more.
    async fn odd(&mut self) -> Option<Page> {
        loop {
            let oddity = self.source.shared.odd.lock().expect("lock").get(&self.shard).copied();
            match oddity {
                Some(Oddity::HangsBefore(connection)) if self.source.connection < connection => {}
                Some(Oddity::StaysBehind(behind)) => {
                    self.source.context.clock.sleep(Duration::from_millis(100)).await;
                    self.answers += 1;
                    let less = Duration::from_millis(self.answers % 3);
                    return Some(Page { behind: Some(behind - less), ..Page::default() });
                }
                _ => return None,
            }
            self.source.context.clock.sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Counts a reader for as long as it asks.
struct Asking<'a>(&'a Shared);

impl<'a> Asking<'a> {
    fn begin(shared: &'a Shared) -> Self {
        let asking = shared.asking.fetch_add(1, Ordering::SeqCst) + 1;
        shared.most_asking.fetch_max(asking, Ordering::SeqCst);
        Self(shared)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.asking.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl ShardReader for OddReader {
    async fn next(&mut self) -> Result<Page> {
        let shared = Arc::clone(&self.source.shared);
        let _asking = Asking::begin(&shared);
        if let Some(page) = self.odd().await {
            return Ok(page);
        }
        if std::mem::take(&mut self.owes_its_end) {
            return Ok(Page { behind: Some(Duration::ZERO), end_of_shard: true, ..Page::default() });
        }
        let mut page = self.inner.next().await?;
        if page.end_of_shard && shared.tells_ends_late.load(Ordering::SeqCst) {
            page.end_of_shard = false;
            self.owes_its_end = true;
        }
        Ok(page)
    }
}
