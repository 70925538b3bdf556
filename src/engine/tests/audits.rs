//! What an audit in haste finds and what it cannot, and what becomes of a table that never rests.

use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;

use super::*;
use crate::batch::Receipt;
use crate::load::Ledger;
use crate::query::{Holdings, Loaded, Query, QuerySettings};

/// The journal and the files, without the warehouse's tables.
async fn files(bench: &Bench, warehouse: &dyn Warehouse, fast: bool) -> Vec<String> {
    let open = |_| -> futures::future::BoxFuture<'_, Result<Query>> {
        Box::pin(async { Err(Error::internal("no table is asked for")) })
    };
    let counting = Counting { open: &open, warehouse: None, fast };
    let audit = audit(&bench.store, warehouse, &[], Some(counting)).await.expect("it audits");
    audit.findings.into_iter().map(|finding| format!("{}: {}", finding.identity, finding.message)).collect()
}

/// A bit of the file's first rows, which no footer tells.
async fn flip(store: &Store, path: &str) {
    let mut bytes = store.get(path).await.expect("read").expect("there").to_vec();
    bytes[10] ^= 1;
    store.put(path, bytes.into()).await.expect("put");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_haste_what_a_listing_and_the_footers_tell_is_found_and_a_flipped_bit_on_a_disk_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Bench { store: Store::local(folder.path()).expect("a store"), ..Bench::new() };
    for (bench, has_etags) in [(Bench::new(), true), (disk, false)] {
        bench.put(1..101);
        let (job, warehouse) = bench.job().await;
        run(job, draining()).await.expect("it runs");
        let warehouse = warehouse.as_ref();
        assert_eq!(files(&bench, warehouse, true).await, Vec::<String>::new());
        let entries = bench.entries().await;
        let file = entries.iter().find_map(|entry| entry.tables.get("fact")?.first()).expect("a file");
        let whole = bench.store.get(&file.path).await.expect("read").expect("there");

        flip(&bench.store, &file.path).await;
        let found = files(&bench, warehouse, true).await;
        match has_etags {
            true => assert!(found.len() == 1 && found[0].contains("its e-tag is not the entry's"), "{found:?}"),
            false => assert_eq!(found, Vec::<String>::new(), "nothing was read but the footer"),
        }
        let found = files(&bench, warehouse, false).await;
        assert!(found.len() == 1 && found[0].contains("SHA-256"), "{found:?}");

        bench.store.put(&file.path, whole.slice(1..)).await.expect("put");
        let found = files(&bench, warehouse, true).await;
        assert!(found.len() == 1 && found[0].contains(&format!("bytes, not {}", whole.len())), "{found:?}");
        bench.store.delete(&file.path).await.expect("deleted");
        let found = files(&bench, warehouse, true).await;
        assert!(found.len() == 1 && found[0].contains("is not on the store"), "{found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_haste_a_footer_that_tells_other_rows_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let bench = Bench { store: Store::local(folder.path()).expect("a store"), ..Bench::new() };
    bench.put(1..101);
    let (job, warehouse) = bench.job().await;
    run(job, draining()).await.expect("it runs");
    let entries = bench.entries().await;
    let file = entries.iter().find_map(|entry| entry.tables.get("fact")?.first()).expect("a file");
    let mut bytes = bench.store.get(&file.path).await.expect("read").expect("there").to_vec();
    let magic = bytes.len() - 1;
    bytes[magic] ^= 1;
    bench.store.put(&file.path, bytes.into()).await.expect("put");
    let found = files(&bench, warehouse.as_ref(), true).await;
    assert!(found.len() == 1 && found[0].contains("a footer that cannot be read"), "{found:?}");
}

/// A warehouse into which something is loaded each time that somebody looks, so often.
struct Restless {
    inner: Arc<MemoryWarehouse>,
    left: AtomicU64,
}

#[async_trait]
impl Warehouse for Restless {
    async fn prepare(&self) -> Result<()> {
        self.inner.prepare().await
    }

    async fn ledger(&self) -> Result<Ledger> {
        self.inner.ledger().await
    }

    async fn receipts(&self, limit: usize) -> Result<Vec<Receipt>> {
        self.inner.receipts(limit).await
    }

    async fn load(&self, entries: &[Arc<Entry>]) -> Result<Receipt> {
        self.inner.load(entries).await
    }

    async fn loaded_through(&self, table: &str) -> Result<u64> {
        let left = self.left.load(Ordering::SeqCst);
        self.left.store(left.saturating_sub(1), Ordering::SeqCst);
        Ok(self.inner.loaded_through(table).await? + left)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_loaded_into_all_the_time_is_named_and_nothing_is_claimed_of_it() {
    let bench = Bench::new();
    bench.put(1..101);
    let (job, inner) = bench.job().await;
    run(job.clone(), draining()).await.expect("it runs");
    let specs = job.cleaner.specs();
    let (store, nobody) = (&bench.store, specs);
    let open = move |entries: Vec<Arc<Entry>>| -> futures::future::BoxFuture<'_, Result<Query>> {
        Box::pin(async move {
            // As a table that holds nothing would be: that would be a finding, if it counted.
            let holdings =
                Holdings { store, warehouse: Loaded::Nothing, specs: nobody, entries: &entries, verify: false };
            Query::open(holdings, QuerySettings { memory_bytes: 64 << 20, partitions: 1 }).await
        })
    };
    let counting = Counting { open: &open, warehouse: None, fast: false };
    for (left, names) in [(1_000, vec!["fact", "dim_date"]), (0, vec![])] {
        let warehouse = Restless { inner: Arc::clone(&inner), left: AtomicU64::new(left) };
        let audit = audit(&bench.store, &warehouse, specs, Some(counting)).await.expect("it audits");
        assert_eq!(audit.not_compared, names);
        assert_eq!(audit.findings.is_empty(), left > 0, "{:?}", audit.findings);
    }
}
