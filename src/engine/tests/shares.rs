//! Several engines on one stream and one store: who reads what, who loads, and what becomes of the work of one that goes.

use std::collections::BTreeSet;

use super::odd_source::{Oddity, shard};
use super::troubled_warehouse::{LoadFault, TroubledWarehouse};
use super::workers::{Worker, fast, shared};
use super::*;
use crate::runtime::Random;
use crate::source::Shard;
use crate::workers::{Members, WorkerId, heartbeats};

/// The job for one more worker, with a count of its loads. Its dice are its own: they give it its id.
fn for_worker(job: &Job, warehouse: &Arc<MemoryWarehouse>, seed: u64) -> (Job, Arc<TroubledWarehouse>) {
    let counted = TroubledWarehouse::new(warehouse, &[]);
    let context = Context { random: Random::seeded(seed), ..job.context.clone() };
    (Job { warehouse: counted.clone(), context, ..job.clone() }, counted)
}

fn shards(worker: &Worker) -> BTreeSet<ShardId> {
    worker.shards().into_iter().collect()
}

/// Waits until each of these workers, all that live, knows of the others: it reads the open shards that fall to it, and
/// tells of no other.
async fn divided(bench: &Bench, workers: &[&Worker]) {
    let is_divided = async || {
        let ids: Vec<WorkerId> =
            heartbeats(&bench.store).await.expect("readable").into_iter().map(|beat| beat.worker).collect();
        let Some(us) = ids.first() else { return false };
        let members = Members::with(us.clone(), ids.iter().map(|id| (id.clone(), BTreeSet::new())).collect());
        let open: Vec<Shard> =
            bench.source.shards().await.expect("shards").into_iter().filter(|shard| !shard.closed).collect();
        let share = |id: &WorkerId| -> BTreeSet<ShardId> {
            open.iter().filter(|shard| members.owner(&shard.id) == id).map(|shard| shard.id.clone()).collect()
        };
        let (mut due, mut read): (Vec<_>, Vec<_>) =
            (ids.iter().map(share).collect(), workers.iter().map(|worker| shards(worker)).collect());
        due.sort();
        read.sort();
        let know = |worker: &&Worker| worker.controls.progress.totals().workers == workers.len();
        due == read && workers.iter().all(know)
    };
    bench.soon("the shards are divided", is_divided).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_divide_the_shards_and_the_one_that_is_left_takes_them_all() {
    let bench = shared(8);
    let (job, warehouse) = bench.job().await;
    let (one, other) = (for_worker(&job, &warehouse, 1).0, for_worker(&job, &warehouse, 2).0);
    let (one, other) = (Worker::start(&one), Worker::start(&other));
    bench.orders(1..101);
    bench.soon("both read", async || !one.shards().is_empty() && !other.shards().is_empty()).await;
    divided(&bench, &[&one, &other]).await;
    assert!(!one.shards().is_empty() && !other.shards().is_empty(), "{:?}", one.shards());
    bench.orders(101..201);
    bench.journaled_soon(200).await;
    other.stop().await.expect("it leaves");
    bench.orders(201..301);
    bench.journaled_soon(300).await;
    divided(&bench, &[&one]).await;
    one.drain().await.expect("it runs");
    bench.is_whole_and_in_order(300, &warehouse).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shards_of_a_worker_that_dies_are_taken_over() {
    let bench = shared(8);
    let clock = bench.context.clock.clone();
    let (job, warehouse) = bench.job().await;
    let (one, other) = (for_worker(&job, &warehouse, 1).0, for_worker(&job, &warehouse, 2).0);
    let (one, other) = (Worker::start(&one), Worker::start(&other));
    bench.orders(1..101);
    bench.soon("both read", async || !one.shards().is_empty() && !other.shards().is_empty()).await;
    divided(&bench, &[&one, &other]).await;
    bench.orders(101..201);
    other.kill().await;
    let died_at = clock.now_micros();
    bench.orders(201..401);
    bench.journaled_soon(400).await;
    let took = Duration::from_micros((clock.now_micros() - died_at).unsigned_abs());
    assert!(took >= Duration::from_secs(4), "{took:?}: nobody knew of the death");
    one.drain().await.expect("it runs");
    bench.is_whole_and_in_order(400, &warehouse).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_workers_come_and_go_over_a_stream_that_reshards() {
    let bench = shared(6);
    let (job, warehouse) = bench.job().await;
    let start = |seed| Worker::start(&for_worker(&job, &warehouse, seed).0);
    let (one, two) = (start(1), start(2));
    bench.orders(1..101);
    divided(&bench, &[&one, &two]).await;
    let three = start(3);
    for parent in 0..6 {
        bench.source.split(parent).expect("split");
        let first = 101 + 20 * parent as i64;
        bench.orders(first..first + 20);
    }
    divided(&bench, &[&one, &two, &three]).await;
    one.kill().await;
    bench.orders(221..301);
    bench.source.merge(6, 7).expect("merged");
    bench.orders(301..351);
    two.stop().await.expect("it leaves");
    bench.orders(351..401);
    bench.journaled_soon(400).await;
    three.drain().await.expect("it runs");
    bench.is_whole_and_in_order(400, &warehouse).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_worker_loads_and_another_when_it_is_gone() {
    let bench = shared(4);
    let (job, warehouse) = bench.job().await;
    let (jobs, counts): (Vec<Job>, Vec<Arc<TroubledWarehouse>>) =
        (1..=2).map(|seed| for_worker(&job, &warehouse, seed)).unzip();
    let mut workers: Vec<Worker> = jobs.iter().map(Worker::start).collect();
    bench.orders(1..41);
    divided(&bench, &[&workers[0], &workers[1]]).await;
    bench.journaled_soon(40).await;
    bench.soon("it is loaded", async || loaded(&warehouse, "fact") == good(1..41)).await;
    let loads = || -> Vec<usize> { counts.iter().map(|counted| counted.loads()).collect() };
    let before = loads();
    for round in 1..=5 {
        let (first, next) = (1 + 40 * round, 41 + 40 * round);
        bench.orders(first..next);
        bench.soon("it is loaded", async || loaded(&warehouse, "fact") == good(1..next)).await;
    }
    let made: Vec<usize> = loads().iter().zip(&before).map(|(now, before)| now - before).collect();
    assert_eq!(made.iter().filter(|made| **made > 0).count(), 1, "{made:?}");
    let loader = made.iter().position(|made| *made > 0).expect("one loads");
    workers.remove(loader).kill().await;
    bench.orders(241..281);
    bench.soon("the other loads", async || loaded(&warehouse, "fact") == good(1..281)).await;
    assert!(loads()[1 - loader] > before[1 - loader]);
    workers.remove(0).drain().await.expect("it runs");
    bench.is_whole_and_in_order(280, &warehouse).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_worker_loads_where_one_cannot_and_that_one_reads_on_and_loads_once_it_can() {
    let bench = shared(4);
    let (job, warehouse) = bench.job().await;
    let (jobs, counts): (Vec<Job>, Vec<Arc<TroubledWarehouse>>) =
        (1..=2).map(|seed| for_worker(&job, &warehouse, seed)).unzip();
    let mut workers: Vec<Worker> = jobs.iter().map(Worker::start).collect();
    divided(&bench, &[&workers[0], &workers[1]]).await;
    let loads = || -> Vec<usize> { counts.iter().map(|counted| counted.loads()).collect() };
    let before = loads();
    bench.orders(1..41);
    bench.soon("it is loaded", async || loaded(&warehouse, "fact") == good(1..41)).await;
    let loader = usize::from(loads()[1] > before[1]);
    counts[loader].be_broken(Some(LoadFault::Refused));
    bench.orders(41..81);
    // It is told until the other has loaded what failed.
    let tells_why = async || {
        let beats = heartbeats(&bench.store).await.expect("readable");
        let told = beats.iter().filter_map(|beat| beat.loading_stopped.as_ref());
        told.filter(|stopped| stopped.reason.contains("no right to write")).count() == 1
    };
    bench.soon("its heartbeat says why", tells_why).await;
    bench.soon("the other loads", async || loaded(&warehouse, "fact") == good(1..81)).await;
    let read = workers[loader].read();
    bench.orders(81..161);
    bench.soon("it is loaded", async || loaded(&warehouse, "fact") == good(1..161)).await;
    assert!(workers[loader].read() > read, "it reads on");
    let progress = workers[loader].controls.progress.clone();
    bench.soon("nothing is stopped any more", async || progress.totals().loading_stopped.is_none()).await;
    counts[loader].be_broken(None);
    workers.remove(1 - loader).drain().await.expect("it runs");
    let before = loads()[loader];
    bench.orders(161..201);
    bench.soon("it loads again", async || loaded(&warehouse, "fact") == good(1..201)).await;
    assert!(loads()[loader] > before);
    workers.remove(0).drain().await.expect("it runs");
    bench.is_whole_and_in_order(200, &warehouse).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_waits_for_a_parent_that_another_worker_reads() {
    let (bench, clock) = fast(2);
    let (job, warehouse, odd) = bench.odd_job().await;
    odd.set(0, Oddity::HangsBefore(usize::MAX));
    odd.set(1, Oddity::HangsBefore(usize::MAX));
    bench.orders(1..41);
    let start = |seed| Worker::start(&for_worker(&job, &warehouse, seed).0);
    let (one, other) = (start(1), start(2));
    for parent in 0..2 {
        bench.source.split(parent).expect("split");
    }
    bench.orders(41..121);
    one.controls.drain.cancel();
    other.controls.drain.cancel();
    clock.sleep(Duration::from_secs(15)).await;
    assert_eq!(bench.journaled().await, 0, "the parents hang");
    assert!(!(2..6).any(|child| one.shards().contains(&shard(child)) || other.shards().contains(&shard(child))));
    odd.mend();
    one.ended().await.expect("it runs");
    other.ended().await.expect("it runs");
    bench.is_whole_and_in_order(120, &warehouse).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_that_change_hands_and_come_back_while_records_flow_are_read_once() {
    let bench = shared(8);
    let (job, warehouse) = bench.job().await;
    let start = |seed| Worker::start(&for_worker(&job, &warehouse, seed).0);
    let one = start(1);
    let mut next = 1;
    let mut flow = async |what: &str, so: &dyn Fn() -> bool| {
        let more = async || {
            bench.orders(next..next + 5);
            next += 5;
            bench.context.clock.sleep(Duration::from_millis(100)).await;
            so()
        };
        bench.soon(what, more).await;
    };
    flow("the first reads", &|| one.read() > 100).await;
    let other = start(2);
    let is_shared = || shards(&one).len() + shards(&other).len() == 8 && other.read() > 50;
    flow("two share the shards", &is_shared).await;
    let taken = other.shards();
    other.stop().await.expect("it leaves");
    flow("the first takes them back", &|| taken.iter().all(|shard| shards(&one).contains(shard))).await;
    one.drain().await.expect("it runs");
    bench.is_whole_and_in_order(next - 1, &warehouse).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_list_and_many_shards_that_end_hold_up_no_heartbeat() {
    let bench = shared(200);
    let (job, _, odd) = bench.odd_job().await;
    odd.list_slowly(Duration::from_secs(3));
    for low in (0..200).step_by(2) {
        bench.source.merge(low, low + 1).expect("merged");
    }
    let worker = Worker::start(&job);
    // How long the machine kept the test itself from looking says how busy it was.
    let (mut last, mut longest, mut looked_at, mut unseen) = (None, 0, None, 0);
    let is_ended = async || bench.entries().await.iter().map(|entry| entry.marks.ended.len()).sum::<usize>() == 200;
    bench
        .soon("all are read to their end", async || {
            let now = bench.context.clock.now_micros() / 1000;
            unseen = unseen.max(now - looked_at.unwrap_or(now));
            looked_at = Some(now);
            for heartbeat in heartbeats(&bench.store).await.expect("readable") {
                longest = longest.max(heartbeat.written_at - last.unwrap_or(heartbeat.written_at));
                last = Some(heartbeat.written_at);
            }
            is_ended().await && worker.shards().len() == 100
        })
        .await;
    // What matters is that nobody is taken for dead.
    assert!(last.is_some() && longest < 6_000 + unseen, "{longest} ms without a heartbeat, {unseen} ms unseen");
    worker.stop().await.expect("it runs");
}
