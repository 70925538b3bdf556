//! A warehouse whose loads fail by script, that can be away altogether, and that counts what it is asked for.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;

use super::*;
use crate::batch::Receipt;
use crate::load::Ledger;

/// What becomes of a load.
#[derive(Debug, Clone, Copy)]
pub(super) enum LoadFault {
    /// It is not done.
    Lost,
    /// It is done, but the answer is an error.
    Unanswered,
    /// Another loader does it first.
    Overtaken,
    /// It is refused as another loader's, though none was there.
    Fenced,
    /// What is stored contradicts itself.
    Corrupt,
    /// A person must mend something.
    Refused,
}

/// A warehouse whose loads fail by script, and that can be away altogether.
pub(super) struct TroubledWarehouse {
    inner: Arc<MemoryWarehouse>,
    script: Mutex<VecDeque<LoadFault>>,
    away: AtomicBool,
    calls: AtomicUsize,
    loads: AtomicUsize,
    /// What becomes of every load, until it is mended.
    broken: Mutex<Option<LoadFault>>,
    /// Whose journal it was filled from, where that is another.
    attempt: Mutex<Option<String>>,
}

impl TroubledWarehouse {
    pub(super) fn new(inner: &Arc<MemoryWarehouse>, script: &[LoadFault]) -> Arc<Self> {
        Arc::new(Self {
            inner: Arc::clone(inner),
            script: Mutex::new(script.iter().copied().collect()),
            away: AtomicBool::new(false),
            calls: AtomicUsize::new(0),
            loads: AtomicUsize::new(0),
            broken: Mutex::default(),
            attempt: Mutex::default(),
        })
    }

    /// How often it was asked for something.
    pub(super) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// How many loads were tried.
    pub(super) fn loads(&self) -> usize {
        self.loads.load(Ordering::SeqCst)
    }

    /// Whether every fault of the script has happened.
    pub(super) fn is_played(&self) -> bool {
        self.script.lock().expect("lock").is_empty()
    }

    pub(super) fn be_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    pub(super) fn be_broken(&self, broken: Option<LoadFault>) {
        *self.broken.lock().expect("lock") = broken;
    }

    /// From now on the ledger says that this attempt wrote the last entry loaded.
    pub(super) fn filled_by(&self, attempt: &str) {
        *self.attempt.lock().expect("lock") = Some(attempt.to_owned());
    }

    /// Counts a call; Transient while the warehouse is away.
    fn call(&self) -> Result<()> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if self.away.load(Ordering::SeqCst) { Err(Error::transient("the warehouse does not answer")) } else { Ok(()) }
    }
}

#[async_trait]
impl Warehouse for TroubledWarehouse {
    async fn prepare(&self) -> Result<()> {
        self.call()?;
        self.inner.prepare().await
    }

    async fn ledger(&self) -> Result<Ledger> {
        self.call()?;
        let mut ledger = self.inner.ledger().await?;
        if let (Some(attempt), Some(last)) = (self.attempt.lock().expect("lock").clone(), &mut ledger.last) {
            last.attempt = Some(attempt);
        }
        Ok(ledger)
    }

    async fn receipts(&self, limit: usize) -> Result<Vec<Receipt>> {
        self.inner.receipts(limit).await
    }

    async fn load(&self, entries: &[Arc<Entry>]) -> Result<Receipt> {
        self.call()?;
        self.loads.fetch_add(1, Ordering::SeqCst);
        let broken = *self.broken.lock().expect("lock");
        let fault = broken.or_else(|| self.script.lock().expect("lock").pop_front());
        match fault {
            None => self.inner.load(entries).await,
            Some(LoadFault::Lost) => Err(Error::transient("the load timed out")),
            Some(LoadFault::Unanswered) => {
                self.inner.load(entries).await?;
                Err(Error::transient("the load timed out, though it is in"))
            }
            Some(LoadFault::Overtaken) => {
                self.inner.load(entries).await?;
                self.inner.load(entries).await
            }
            Some(LoadFault::Fenced) => Err(Error::fenced("another loader holds the ledger")),
            Some(LoadFault::Corrupt) => Err(Error::corrupt("a staged file is not what the journal says")),
            Some(LoadFault::Refused) => Err(Error::invalid("no right to write")),
        }
    }
}
