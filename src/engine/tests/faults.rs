//! Runs over a stream, a store and a warehouse that fail by script: what is lost, what comes twice, and how a run ends.
//!
//! The clock moves only when somebody sleeps, so that no pause takes time.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;

use super::odd_source::OddSource;
use super::troubled_store::{Trouble, TroubledStore};
use super::troubled_warehouse::{LoadFault, TroubledWarehouse};
use super::workers::{Worker, fast};
use super::*;
use crate::runtime::{ManualClock, Random};
use crate::source::{CallCounts, Page, Shard, ShardReader, StreamDescription};

/// 2026-01-15 12:00:00 UTC, in µs.
const NOON: i64 = 1_768_478_400_000_000;

/// As many tries as a run that is to end by itself makes before it gives up.
const TRIES: usize = 6;

/// A bench on a clock that nobody waits for, with a stream in pages of 15 records.
pub(super) fn bench() -> Bench {
    let clock = Arc::new(ManualClock::at(NOON));
    let source = MemorySource::new("orders", 2).with_page_size(15).with_clock(clock.clone());
    Bench { source, context: Context { clock, random: Random::seeded(1) }, ..Bench::new() }
}

impl Bench {
    async fn job_from(&self, source: Arc<BreakingSource>) -> (Job, Arc<MemoryWarehouse>) {
        let (job, warehouse) = self.job().await;
        let connect: Connect = Arc::new(move || {
            source.opened.fetch_add(1, Ordering::SeqCst);
            let source: Arc<dyn Source> = Arc::clone(&source) as _;
            Box::pin(async move { Ok(source) })
        });
        (Job { connect, ..job }, warehouse)
    }
}

/// A stream whose readers fail by script: after so many pages more, over all readers, and so on.
struct BreakingSource {
    inner: MemorySource,
    script: Arc<Mutex<VecDeque<usize>>>,
    fail_with: fn(&'static str) -> Error,
    opened: AtomicUsize,
}

struct BreakingReader {
    inner: Box<dyn ShardReader>,
    script: Arc<Mutex<VecDeque<usize>>>,
    fail_with: fn(&'static str) -> Error,
}

impl BreakingSource {
    fn new(inner: &MemorySource, fail_with: fn(&'static str) -> Error, script: &[usize]) -> Arc<Self> {
        let script = Arc::new(Mutex::new(script.iter().copied().collect()));
        Arc::new(Self { inner: inner.clone(), script, fail_with, opened: AtomicUsize::new(0) })
    }

    fn left(&self) -> usize {
        self.script.lock().expect("lock").len()
    }

    /// Connections to the stream: one a pass, and one for each repeat of a reader.
    fn connections(&self) -> usize {
        self.opened.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Source for BreakingSource {
    async fn describe(&self) -> Result<StreamDescription> {
        self.inner.describe().await
    }

    async fn shards(&self) -> Result<Vec<Shard>> {
        self.inner.shards().await
    }

    fn counts(&self) -> CallCounts {
        CallCounts::default()
    }

    async fn open(&self, shard: &Shard, start: StartAt) -> Result<Box<dyn ShardReader>> {
        let inner = self.inner.open(shard, start).await?;
        Ok(Box::new(BreakingReader { inner, script: Arc::clone(&self.script), fail_with: self.fail_with }))
    }
}

#[async_trait]
impl ShardReader for BreakingReader {
    async fn ready(&mut self) -> Result<()> {
        self.inner.ready().await
    }

    async fn next(&mut self) -> Result<Page> {
        {
            let mut script = self.script.lock().expect("lock");
            match script.front_mut() {
                Some(0) => {
                    script.pop_front();
                    return Err((self.fail_with)("the stream broke off"));
                }
                Some(pages) => *pages -= 1,
                None => {}
            }
        }
        self.inner.next().await
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_again_and_again_loses_nothing_and_doubles_nothing() {
    for script in [&[0][..], &[1, 1, 1], &[3, 0, 2, 7], &[25]] {
        let bench = bench();
        bench.put(1..401);
        let source = BreakingSource::new(&bench.source, Error::transient, script);
        let (job, warehouse) = bench.job_from(source.clone()).await;
        run(job, draining()).await.expect("it recovers");
        assert!(source.left() == 0 && source.connections() > 1, "{script:?}: every failure has happened");
        bench.is_whole(400, &warehouse).await;
    }
}

#[tokio::test]
async fn a_drained_run_gives_up_on_a_stream_that_stays_away_and_keeps_what_it_has() {
    let bench = bench();
    bench.put(1..401);
    // Two readers a pass, each with as many tries.
    let script = [&[10][..], &[0; 4 * TRIES * TRIES]].concat();
    let source = BreakingSource::new(&bench.source, Error::transient, &script);
    let (job, warehouse) = bench.job_from(source.clone()).await;
    let error = run(job.clone(), draining()).await.expect_err("the stream stays away");
    assert_eq!(error.kind(), ErrorKind::Transient);
    let told = error.to_string();
    assert!(told.contains(&format!("tried {TRIES} times without progress")), "{told}");
    assert!(source.connections() >= TRIES * TRIES, "each of {TRIES} passes connects anew: {}", source.connections());
    assert!(source.left() > 0, "and yet it comes to its end");
    let journaled = bench.journaled().await;
    assert!(journaled > 0 && journaled < 400, "{journaled}");
    source.script.lock().expect("lock").clear();
    run(job, draining()).await.expect("it goes on");
    bench.is_whole(400, &warehouse).await;
}

#[tokio::test]
async fn what_repeating_cannot_cure_ends_the_run_at_once_and_what_is_committed_is_loaded() {
    let kinds: [fn(&'static str) -> Error; 3] =
        [|message| Error::invalid(message), |message| Error::corrupt(message), |message| Error::internal(message)];
    for fail_with in kinds {
        let bench = bench();
        bench.put(1..401);
        let source = BreakingSource::new(&bench.source, fail_with, &[10]);
        let (job, warehouse) = bench.job_from(source.clone()).await;
        let error = run(job.clone(), Controls::default()).await.expect_err("it fails for good");
        assert_eq!((error.kind(), source.connections()), (fail_with("").kind(), 1));
        let told = error.to_string();
        assert!(told.contains("reading shardId-") && told.contains("the stream broke off"), "{told}");
        let left = audit(&bench.store, warehouse.as_ref(), &[], None).await.expect("it audits");
        assert_eq!((left.findings, left.waiting), (Vec::new(), 0));
        let journaled = bench.journaled().await;
        assert!(journaled > 0 && journaled < 400, "{journaled}");
        run(job, draining()).await.expect("it goes on");
        bench.is_whole(400, &warehouse).await;
    }
}

#[tokio::test]
async fn a_store_that_times_out_delays_and_no_more() {
    for (folder, succeed, fail) in [("staged/", 0, 1), ("staged/", 3, 4), ("quarantine/", 1, 2), ("journal/", 3, 2)] {
        let store = TroubledStore::new(folder, Trouble::TimesOut, succeed, fail);
        let bench = Bench { store: Store::new(store.clone(), "lake").expect("a store"), ..bench() };
        bench.put(1..401);
        let (job, warehouse) = bench.job().await;
        run(job, draining()).await.expect("it recovers");
        assert_eq!(store.clear(), 0, "{folder}: every failure has happened");
        bench.is_whole(400, &warehouse).await;
    }
}

#[tokio::test]
async fn a_full_disk_ends_the_run_in_words_and_the_next_run_goes_on() {
    for folder in ["staged/", "quarantine/", "journal/"] {
        let store = TroubledStore::new(folder, Trouble::DiskFull, 5, usize::MAX);
        let bench = Bench { store: Store::new(store.clone(), "lake").expect("a store"), ..bench() };
        bench.put(1..401);
        let (job, warehouse) = bench.job().await;
        // Not even a run that never gives up on a Transient failure goes on.
        let error = run(job.clone(), Controls::default()).await.expect_err("the disk is full");
        assert_eq!((error.kind(), error.exit_code()), (ErrorKind::Invalid, 2));
        let told = error.to_string();
        assert!(told.contains("no space left") && told.contains(folder) && told.contains("start again"), "{told}");

        let journaled = bench.journaled().await;
        assert!(journaled > 0 && journaled < 400, "{folder}: {journaled}");
        let kept = bench.entries().await;
        let left = audit(&bench.store, warehouse.as_ref(), &[], None).await.expect("it audits");
        assert_eq!((left.findings, left.waiting), (Vec::new(), 0), "what is committed is whole, and loaded");

        assert!(store.clear() > 0);
        run(job, draining()).await.expect("it goes on");
        assert_eq!(bench.entries().await[..kept.len()], kept, "what was committed stays");
        bench.is_whole(400, &warehouse).await;
    }
}

#[tokio::test]
async fn a_load_that_fails_is_tried_again_and_loads_each_entry_once() {
    use LoadFault::{Fenced, Lost, Overtaken, Unanswered};
    for script in [&[Lost, Lost][..], &[Unanswered], &[Overtaken], &[Fenced], &[Lost, Unanswered, Overtaken, Fenced]] {
        let bench = bench();
        bench.put(1..401);
        let (job, warehouse) = bench.job().await;
        let troubled = TroubledWarehouse::new(&warehouse, script);
        run(Job { warehouse: troubled.clone(), ..job }, draining()).await.expect("it recovers");
        assert!(troubled.is_played(), "{script:?}: every failure has happened");
        bench.is_whole(400, &warehouse).await;
    }
}

#[tokio::test]
async fn what_somebody_must_mend_stops_loading_until_it_is_mended_and_never_reading() {
    let bench = bench();
    bench.put(1..201);
    let (job, warehouse) = bench.job().await;
    let troubled = TroubledWarehouse::new(&warehouse, &[]);
    troubled.be_broken(Some(LoadFault::Refused));
    let controls = Controls::default();
    let began = bench.context.clock.now_millis();
    let later = async {
        let stopped = || controls.progress.totals().loading_stopped;
        bench.soon("loading stops", async || stopped().is_some()).await;
        bench.put(201..401);
        let is_read = || controls.progress.totals().counts.records == 400;
        bench.soon("all is read, and loading tried again", async || is_read() && troubled.loads() > 2 * TRIES).await;
        let stopped_now = stopped().expect("it is still so");
        assert!(stopped_now.reason.contains("no right to write"), "{stopped_now:?}");
        let tried_for = bench.context.clock.now_millis() - stopped_now.since;
        assert!(stopped_now.since - began < 5_000 && tried_for > 60_000, "the first failure counts: {tried_for}");
        troubled.be_broken(None);
        bench.soon("it loads again", async || controls.progress.totals().loads > 0).await;
        bench.soon("loading goes on", async || stopped().is_none()).await;
        controls.drain.cancel();
    };
    let running = run(Job { warehouse: troubled.clone(), ..job }, controls.clone());
    let (ran, ()) = tokio::join!(running, later);
    ran.expect("no restart is needed");
    bench.is_whole(400, &warehouse).await;
}

#[tokio::test]
async fn a_drained_run_gives_up_on_what_nobody_mends_with_everything_journaled() {
    let bench = bench();
    bench.put(1..401);
    let (job, warehouse) = bench.job().await;
    let troubled = TroubledWarehouse::new(&warehouse, &[]);
    troubled.be_broken(Some(LoadFault::Corrupt));
    let error = run(Job { warehouse: troubled.clone(), ..job.clone() }, draining()).await.expect_err("nobody mends it");
    assert_eq!((error.kind(), error.exit_code()), (ErrorKind::Transient, 1));
    let told = error.to_string();
    assert!(told.contains("not what the journal says") && told.contains(&format!("after {TRIES} tries")), "{told}");
    assert_eq!((bench.journaled().await, loaded(&warehouse, "fact")), (400, 0));
    run(job, draining()).await.expect("a mended warehouse takes it all");
    bench.is_whole(400, &warehouse).await;
}

#[tokio::test]
async fn a_warehouse_that_is_away_delays_loading_and_never_reading() {
    let bench = bench();
    bench.put(1..401);
    let (job, warehouse) = bench.job().await;
    let troubled = TroubledWarehouse::new(&warehouse, &[]);
    troubled.be_away(true);
    let controls = Controls::default();
    let later = async {
        let is_read = || controls.progress.totals().counts.records == 400;
        bench.soon("all is read, and loading tried again", async || is_read() && troubled.calls() > 2 * TRIES).await;
        assert_eq!(loaded(&warehouse, "fact"), 0);
        troubled.be_away(false);
        bench.soon("it loads", async || controls.progress.totals().loads > 0).await;
        controls.drain.cancel();
    };
    let running = run(Job { warehouse: troubled.clone(), ..job }, controls.clone());
    let (ran, ()) = tokio::join!(running, later);
    ran.expect("it outlasts the warehouse");
    bench.is_whole(400, &warehouse).await;
}

#[tokio::test]
async fn a_drained_run_gives_up_on_a_warehouse_that_stays_away_with_everything_journaled() {
    let bench = bench();
    bench.put(1..401);
    let (job, warehouse) = bench.job().await;
    let troubled = TroubledWarehouse::new(&warehouse, &[]);
    troubled.be_away(true);
    let error = run(Job { warehouse: troubled.clone(), ..job.clone() }, draining()).await.expect_err("it stays away");
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert!(troubled.calls() >= TRIES, "{}", troubled.calls());
    assert_eq!((bench.journaled().await, loaded(&warehouse, "fact")), (400, 0));
    run(job, draining()).await.expect("it is back");
    bench.is_whole(400, &warehouse).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_heard_while_it_connects_and_between_two_passes() {
    let connects: [fn(&OddSource); 2] = [OddSource::connect_never, OddSource::refuse];
    for trouble in connects {
        let (bench, _) = fast(1);
        let (job, _, odd) = bench.odd_job().await;
        trouble(&odd);
        let worker = Worker::start(&job);
        bench.soon("it tries to connect", async || odd.connections() > 0).await;
        let connections = odd.connections();
        worker.stop().await.expect("it has nothing to commit");
        assert!(odd.connections() <= connections + 1, "no pass begins after the stop");
    }
}
