//! A stream in memory with shards that hang, say that they are behind, or tell their end late.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use tokio::sync::Semaphore;

use super::*;
use crate::source::{CallCounts, Page, Shard, ShardReader, StreamDescription};

/// What is odd about a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Oddity {
    /// Its readers get no answer, on connections before this one (counted from 1).
    HangsBefore(usize),
    /// Its readers get no records, and answers that it is this far behind, and now and then a little less.
    StaysBehind(Duration),
    /// Its readers fail, though the same may succeed.
    Fails,
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
    /// Pages that readers may ask for after their first ones; none where they need no leave.
    leave: Option<Semaphore>,
    /// Readers that wait for leave now.
    resting: AtomicUsize,
    /// Readers that wait for an answer now.
    asking: AtomicUsize,
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

    /// A stream whose readers rest after their first page until they are given leave.
    pub(super) fn paced(inner: &MemorySource, context: Context) -> Self {
        let shared = Shared { leave: Some(Semaphore::new(0)), ..Shared::default() };
        Self { shared: Arc::new(shared), ..Self::new(inner, context) }
    }

    /// Lets the readers ask for so many pages more, all together.
    pub(super) fn give_leave(&self, pages: usize) {
        self.shared.leave.as_ref().expect("a paced stream").add_permits(pages);
    }

    pub(super) fn resting(&self) -> usize {
        self.shared.resting.load(Ordering::SeqCst)
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

    pub(super) fn asking(&self) -> usize {
        self.shared.asking.load(Ordering::SeqCst)
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
        Ok(Box::new(OddReader { inner, source, shard, owes_its_end: false, answers: 0, pages: 0 }))
    }
}

struct OddReader {
    inner: Box<dyn ShardReader>,
    source: OddSource,
    shard: ShardId,
    owes_its_end: bool,
    answers: u64,
    /// Pages with records that it gave.
    pages: usize,
}

impl OddReader {
    /// The answer of an odd shard; none where there is nothing odd about it any more.
    async fn odd(&mut self) -> Result<Option<Page>> {
        loop {
            let oddity = self.source.shared.odd.lock().expect("lock").get(&self.shard).copied();
            match oddity {
                Some(Oddity::HangsBefore(connection)) if self.source.connection < connection => {}
                Some(Oddity::StaysBehind(behind)) => {
                    self.source.context.clock.sleep(Duration::from_millis(100)).await;
                    self.answers += 1;
                    let less = Duration::from_millis(self.answers % 3);
                    return Ok(Some(Page { behind: Some(behind - less), ..Page::default() }));
                }
                Some(Oddity::Fails) => return Err(Error::transient("the shard broke off")),
                _ => return Ok(None),
            }
            self.source.context.clock.sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Counts a reader for as long as it rests or asks.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn begin(readers: &'a AtomicUsize) -> Self {
        readers.fetch_add(1, Ordering::SeqCst);
        Self(readers)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl ShardReader for OddReader {
    async fn ready(&mut self) -> Result<()> {
        if let Some(leave) = self.source.shared.leave.as_ref().filter(|_| self.pages > 0) {
            let _resting = Counted::begin(&self.source.shared.resting);
            leave.acquire().await.expect("it is never closed").forget();
        }
        self.inner.ready().await
    }

    async fn next(&mut self) -> Result<Page> {
        let shared = Arc::clone(&self.source.shared);
        let _asking = Counted::begin(&shared.asking);
        if let Some(page) = self.odd().await? {
            return Ok(page);
        }
        if std::mem::take(&mut self.owes_its_end) {
            return Ok(Page { behind: Some(Duration::ZERO), end_of_shard: true, ..Page::default() });
        }
        let mut page = self.inner.next().await?;
        self.pages += usize::from(!page.records.is_empty());
        if page.end_of_shard && shared.tells_ends_late.load(Ordering::SeqCst) {
            page.end_of_shard = false;
            self.owes_its_end = true;
        }
        Ok(page)
    }
}
