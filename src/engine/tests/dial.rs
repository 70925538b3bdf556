//! When loads start and how much each takes: maintenance windows, and ledgers of other journals.

use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use chrono::NaiveTime;

use super::troubled_warehouse::TroubledWarehouse;
use super::*;
use crate::batch::Receipt;
use crate::config::MaintenanceWindow;
use crate::load::{Ledger, Warehouse};

/// A window that never ends.
fn always() -> Vec<MaintenanceWindow> {
    vec![MaintenanceWindow { days: Vec::new(), from: NaiveTime::MIN, until: NaiveTime::MIN }]
}

#[tokio::test]
async fn in_a_maintenance_window_everything_is_read_and_nothing_is_loaded() {
    let mut bench = Bench::new();
    bench.pipeline.load.maintenance = always();
    bench.put(1..401);
    let (paused, warehouse) = bench.job().await;
    let controls = draining();
    run(paused.clone(), controls.clone()).await.expect("it reads");
    assert_eq!((bench.journaled().await, loaded(&warehouse, "fact")), (400, 0));
    load_all(&paused, &controls).await.expect("nothing is due");
    assert_eq!((controls.progress.totals().loads, loaded(&warehouse, "fact")), (0, 0));
    let mut pipeline = bench.pipeline.clone();
    pipeline.load.maintenance.clear();
    run(Job { pipeline: Arc::new(pipeline), ..paused }, draining()).await.expect("it loads");
    bench.is_whole(400, &warehouse).await;
}

#[tokio::test]
async fn a_load_takes_no_more_files_or_bytes_than_it_may() {
    let cases: [fn(&mut LoadSettings); 3] =
        [|load| load.max_files = 1, |load| load.max_bytes = 1, |load| load.max_entries = 1];
    for limit in cases {
        let mut bench = Bench::new();
        bench.pipeline.load = LoadSettings { max_entries: 1000, ..bench.pipeline.load };
        limit(&mut bench.pipeline.load);
        bench.put(1..401);
        let (job, warehouse) = bench.job().await;
        let controls = draining();
        run(job, controls.clone()).await.expect("it runs");
        let entries = bench.entries().await.iter().filter(|entry| !entry.tables.is_empty()).count() as u64;
        assert!(controls.progress.totals().loads >= entries, "{} loads", controls.progress.totals().loads);
        bench.is_whole(400, &warehouse).await;
    }
}

#[tokio::test]
async fn a_warehouse_that_was_filled_from_another_store_is_left_alone() {
    let bench = Bench::new();
    bench.put(1..101);
    let (job, warehouse) = bench.job().await;
    run(job.clone(), draining()).await.expect("it loads");
    let troubled = TroubledWarehouse::new(&warehouse, &[]);
    let last = bench.entries().await.pop().expect("an entry");
    bench.put(101..201);
    troubled.filled_by("somebody else");
    let error = run(Job { warehouse: troubled.clone(), ..job.clone() }, draining()).await.expect_err("another journal");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("filled from another object store"), "{error}");
    assert_eq!((troubled.loads(), bench.journaled().await), (0, 100), "nothing is committed either");
    let found = audit(&bench.store, troubled.as_ref(), &[], None).await.expect("it audits").findings;
    assert!(found.iter().any(|found| found.message.contains("another object store")), "{found:?}");
    troubled.filled_by(&last.attempt);
    run(Job { warehouse: troubled, ..job }, draining()).await.expect("it is ours");
    bench.is_whole(200, &warehouse).await;
}

#[tokio::test]
async fn a_warehouse_that_is_ahead_of_the_journal_is_left_alone() {
    let (full, bench) = (Bench::new(), Bench::new());
    full.put(1..401);
    let (job, warehouse) = full.job().await;
    run(job, draining()).await.expect("it loads");
    bench.put(1..2);
    let (job, _) = bench.job().await;
    let rows = loaded(&warehouse, "fact");
    let error = run(Job { warehouse: warehouse.clone(), ..job }, draining()).await.expect_err("another journal");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("does not reach so far"), "{error}");
    assert_eq!((bench.journaled().await, loaded(&warehouse, "fact")), (0, rows), "nothing is committed either");
}

/// A warehouse beside which another worker commits five records during each load.
struct BusyWarehouse {
    inner: Arc<MemoryWarehouse>,
    bench: Bench,
    /// The other's job; its warehouse is away.
    other: Job,
    next: AtomicI64,
}

#[async_trait]
impl Warehouse for BusyWarehouse {
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
        let receipt = self.inner.load(entries).await?;
        let first = self.next.fetch_add(5, Ordering::SeqCst);
        // A run that never ends is stopped here, with words.
        assert!(first < 800, "it loads what others commit, for ever");
        self.bench.put(first..first + 5);
        run(self.other.clone(), draining()).await.expect_err("its warehouse is away");
        Ok(receipt)
    }
}

#[tokio::test]
async fn a_run_that_ends_loads_what_was_in_the_journal_by_then_and_leaves_later_entries_to_others() {
    let mut bench = super::faults::bench();
    bench.pipeline.load.max_entries = 2;
    bench.put(1..401);
    let (job, inner) = bench.job().await;
    let away = TroubledWarehouse::new(&inner, &[]);
    away.be_away(true);
    let other = Job { warehouse: away, ..job.clone() };
    let beside = Bench {
        source: bench.source.clone(),
        store: bench.store.clone(),
        pipeline: bench.pipeline.clone(),
        context: bench.context.clone(),
    };
    let busy = Arc::new(BusyWarehouse { inner: inner.clone(), bench: beside, other, next: AtomicI64::new(401) });
    run(Job { warehouse: busy.clone(), ..job.clone() }, draining()).await.expect("it ends");
    assert!(loaded(&inner, "fact") >= good(1..401), "all that it has read is loaded");
    let last = busy.next.load(Ordering::SeqCst) - 1;
    assert_eq!(bench.journaled().await, u64::try_from(last).expect("positive"));
    run(job, draining()).await.expect("it loads the rest");
    bench.is_whole(last, &inner).await;
}
