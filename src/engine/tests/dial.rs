//! When loads start and how much each takes: maintenance windows, and ledgers of other journals.

use chrono::NaiveTime;

use super::troubled_warehouse::TroubledWarehouse;
use super::*;
use crate::config::MaintenanceWindow;

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
