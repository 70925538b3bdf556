//! The journal's newest entries lost after they were loaded: their numbers count as loaded, so nothing may be committed under
//! them.

use super::super::load::Signals;
use super::super::share::Share;
use super::troubled_warehouse::TroubledWarehouse;
use super::*;
use crate::load::{DeltaWarehouse, LoadBounds, Place};
use crate::store::Folder;

/// The same job into memory, and into Delta tables.
async fn jobs(bench: &Bench) -> [Job; 2] {
    let (job, _) = bench.job().await;
    let folder = Folder::Store(Store::memory("warehouse").expect("a store"), "warehouse".to_owned());
    let place = Place { folder, store: bench.store.clone(), pipeline: "test".to_owned() };
    let bounds = LoadBounds { memory_bytes: 64 << 20, partitions: 1 };
    let delta = DeltaWarehouse::new(place, job.cleaner.specs(), bench.context.clone(), bounds).expect("a warehouse");
    [job.clone(), Job { warehouse: Arc::new(delta), ..job }]
}

/// Takes the newest entries away, and gives their objects.
async fn lose(bench: &Bench, count: usize) -> Vec<(String, bytes::Bytes)> {
    let mut lost = Vec::new();
    for entry in bench.entries().await.iter().rev().take(count) {
        let path = journal::entry_path(entry.number);
        lost.push((path.clone(), bench.store.get(&path).await.expect("read").expect("there")));
        bench.store.delete(&path).await.expect("deleted");
    }
    lost
}

async fn restore(bench: &Bench, lost: Vec<(String, bytes::Bytes)>) {
    for (path, bytes) in lost {
        bench.store.put(&path, bytes).await.expect("put back");
    }
}

impl Bench {
    async fn last(&self) -> Arc<Entry> {
        self.entries().await.pop().expect("an entry")
    }
}

async fn refused(bench: &Bench, job: &Job) -> String {
    let before = bench.entries().await;
    let error = run(job.clone(), draining()).await.expect_err("it does not fit");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(bench.entries().await, before, "nothing is committed");
    let audit = audit(&bench.store, job.warehouse.as_ref(), &[], None).await.expect("it audits");
    let told = audit.findings.iter().any(|found| found.identity == "loads" && found.message == error.to_string());
    assert!(told, "{:?}", audit.findings);
    error.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_commits_nothing_where_loaded_entries_are_gone() {
    for count in [1, 3] {
        for which in [0, 1] {
            let bench = Bench::new();
            bench.put(1..201);
            let job = jobs(&bench).await.into_iter().nth(which).expect("a job");
            run(job.clone(), draining()).await.expect("it loads");
            let lost = lose(&bench, count).await;
            bench.put(201..301);
            let told = refused(&bench, &job).await;
            for words in ["does not reach so far", "the last entries of the journal were deleted", "restore them"] {
                assert!(told.contains(words), "{told}");
            }
            restore(&bench, lost).await;
            run(job.clone(), draining()).await.expect("it fits again");
            assert_eq!(bench.journaled().await, 300);
            let audit = audit(&bench.store, job.warehouse.as_ref(), &[], None).await.expect("it audits");
            assert_eq!((audit.findings, audit.waiting), (Vec::new(), 0));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_commits_nothing_where_others_were_written_in_their_place() {
    for which in [0, 1] {
        let bench = Bench::new();
        bench.put(1..201);
        let job = jobs(&bench).await.into_iter().nth(which).expect("a job");
        run(job.clone(), draining()).await.expect("it loads");
        lose(&bench, 1).await;
        // With an empty warehouse, as a run of an earlier release would go on with this one.
        let (elsewhere, _) = bench.job().await;
        bench.put(201..301);
        run(elsewhere, draining()).await.expect("it loads elsewhere");
        let told = refused(&bench, &job).await;
        assert!(told.contains("another entry") && told.contains("written in their place"), "{told}");
        assert!(!told.contains("loaded later"), "{told}");
    }
}

/// What an earlier release went on with: the load of the entry that was replaced is not the newest one any more.
#[tokio::test(flavor = "multi_thread")]
async fn an_audit_finds_an_entry_that_was_replaced_after_its_load_however_many_loads_followed() {
    let bench = Bench::new();
    bench.put(1..101);
    let (job, warehouse) = bench.job().await;
    run(job.clone(), draining()).await.expect("it loads");
    let loaded = bench.entries().await.len() as u64;
    lose(&bench, 1).await;
    bench.put(101..301);
    run(bench.job().await.0, draining()).await.expect("it loads elsewhere");
    let rest = journal::entries(&bench.store, loaded, usize::MAX).await.expect("entries");
    warehouse.load(&rest).await.expect("loaded without a look at the journal");
    let found = audit(&bench.store, warehouse.as_ref(), &[], None).await.expect("it audits").findings;
    let told = format!("{loaded}] took another entry of this number");
    assert!(found.iter().any(|found| found.identity == "loads" && found.message.contains(&told)), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_began_without_the_warehouse_ends_when_it_finds_that_they_do_not_fit() {
    let bench = Bench::new();
    bench.put(1..101);
    let (job, warehouse) = bench.job().await;
    run(job.clone(), draining()).await.expect("it loads");
    lose(&bench, 1).await;
    let troubled = TroubledWarehouse::new(&warehouse, &[]);
    troubled.be_away(true);
    let controls = Controls::default();
    bench.put(101..201);
    let back = async {
        bench.journaled_soon(200).await;
        troubled.be_away(false);
    };
    let (ran, ()) = tokio::join!(run(Job { warehouse: troubled.clone(), ..job }, controls.clone()), back);
    let error = ran.expect_err("it does not fit");
    assert!(error.kind() == ErrorKind::Corrupt && error.to_string().contains("another entry"), "{error}");
    assert_eq!(troubled.loads(), 0);
}

/// Writes the newest entry as that of another writer, which has come in its place.
async fn replace_newest(bench: &Bench) {
    let last = bench.last().await;
    let path = journal::entry_path(last.number);
    let bytes = bench.store.get(&path).await.expect("read").expect("there");
    let text = String::from_utf8(bytes.to_vec()).expect("text");
    let body = text.rsplit_once(",\"checksum\"").expect("a checksum").0.replace(&last.attempt, "another");
    let other = format!("{body},\"checksum\":\"{}\"}}\n", crate::batch::Checksum::of(body.as_bytes()));
    bench.store.put(&path, other.into()).await.expect("put");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loader_compares_before_each_load_and_signals_that_nothing_more_is_to_be_committed() {
    let bench = Bench::new();
    bench.put(1..101);
    let (job, warehouse) = bench.job().await;
    run(job.clone(), draining()).await.expect("it loads");
    let troubled = TroubledWarehouse::new(&warehouse, &[]);
    let (signals, loaded) = (Signals::default(), bench.last().await.number);
    let mut share = Share::new(bench.store.clone(), bench.context.clone());
    share.beat(Vec::new(), None).await.expect("it is alone");
    let alter = async {
        // It has asked the ledger and compared: ledger, tables, ledger.
        bench.soon("the loader has compared", async || troubled.calls() >= 3).await;
        replace_newest(&bench).await;
        let mut journal = Journal::open(bench.store.clone(), bench.context.clone(), "test").await.expect("a journal");
        let marks = Marks { ended: [ShardId::new("new")].into(), ..Marks::default() };
        journal.commit(&Staged { marks, ..Staged::default() }).await.expect("commits");
    };
    let job = Job { warehouse: troubled.clone(), ..job };
    let loading = load::run(job, Controls::default(), (share.duty(), signals.clone()));
    let (ran, ()) = tokio::join!(loading, alter);
    let error = ran.expect_err("it does not fit");
    assert!(error.kind() == ErrorKind::Corrupt && error.to_string().contains("another entry"), "{error}");
    assert!(signals.mismatched.is_cancelled());
    assert_eq!((troubled.loads(), warehouse.ledger().await.expect("a ledger").loaded_through), (0, loaded));
}

/// Whichever of its steps meets the entry first.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_newest_entry_is_replaced_meanwhile_ends_and_loads_nothing_more() {
    let bench = Bench::new();
    bench.put(1..101);
    let (job, _) = bench.job().await;
    let controls = Controls::default();
    let alter = async {
        bench.journaled_soon(100).await;
        let is_loaded = async || controls.progress.totals().loaded_through >= bench.last().await.number;
        bench.soon("everything is loaded", is_loaded).await;
        let loaded = bench.last().await.number;
        replace_newest(&bench).await;
        bench.put(101..141);
        loaded
    };
    let (ran, loaded) = tokio::join!(run(job, controls.clone()), alter);
    assert_eq!(ran.expect_err("it does not fit").kind(), ErrorKind::Corrupt);
    assert_eq!(controls.progress.totals().loaded_through, loaded);
}
