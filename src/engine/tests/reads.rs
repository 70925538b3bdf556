//! Readers side by side: what they wait for, what they hold meanwhile, and that nobody waits for another's trouble.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::odd_source::{OddSource, Oddity, shard};
use super::workers::{Worker, fast};
use super::*;
use crate::engine::budget::Budget;
use crate::engine::loss::Retention;
use crate::engine::read::{Beginning, Read, Reading, read};
use crate::runtime::Tasks;

const MIB: usize = 1 << 20;

/// Readers of all shards of a stream, without the steps behind them.
async fn readers(bench: &Bench, odd: &OddSource, stop: &CancellationToken) -> (Tasks, mpsc::Receiver<Read>) {
    let (job, _) = bench.job().await;
    let source = (odd.connect())().await.expect("a stream");
    let description = source.describe().await.expect("a stream");
    let (sender, pages) = mpsc::channel(4);
    let reading = Reading {
        job: Job { connect: odd.connect(), ..job },
        controls: Controls::default(),
        stream: description.identity,
        retention: Retention::new(None),
        budget: Budget::new(),
        pages: sender,
        source,
    };
    let mut tasks = Tasks::new();
    for shard in reading.source.shards().await.expect("shards") {
        let beginning = Beginning { shard, start: StartAt::TrimHorizon, caught_up: None };
        let reader = read(reading.clone(), beginning, stop.clone());
        tasks.spawn("reading", async { reader.await.map(drop) });
    }
    (tasks, pages)
}

#[tokio::test(flavor = "multi_thread")]
async fn paced_shards_with_large_answers_rest_side_by_side_and_hold_nothing_meanwhile() {
    let (shards, pages_each) = (20, 3);
    let (mut bench, _) = fast(shards);
    bench.source = bench.source.with_page_size(10);
    bench.pipeline.source.stall_after = Duration::from_secs(36_000);
    let payload = bytes::Bytes::from(vec![b' '; MIB]);
    for number in 0..shards * pages_each * 10 {
        bench.source.push(number % shards, payload.clone(), bench.context.clock.now_micros()).expect("a shard");
    }
    let (odd, stop) = (OddSource::paced(&bench.source, bench.context.clone()), CancellationToken::new());
    let (tasks, mut pages) = readers(&bench, &odd, &stop).await;
    let mut seen: BTreeMap<ShardId, usize> = BTreeMap::new();
    for round in 1..=pages_each {
        for _ in 0..shards {
            let page = loop {
                let read = pages.recv().await.expect("the readers live");
                if !read.records.is_empty() {
                    break read;
                }
            };
            *seen.entry(page.shard).or_default() += 1;
        }
        bench.soon("all rest at the same time", async || odd.resting() == shards).await;
        let total: usize = seen.values().sum();
        assert_eq!(total, round * shards);
        assert!(round > 1 || seen.values().all(|pages| *pages == 1), "nobody is left behind: {seen:?}");
        odd.give_leave(shards);
    }
    stop.cancel();
    drop(pages);
    tasks.join().await.expect("they stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_that_never_answer_hold_nobody_up() {
    let (mut bench, _) = fast(64);
    bench.pipeline.source.stall_after = Duration::from_secs(36_000);
    for id in 1..641 {
        let number = usize::try_from(id % 64).expect("positive");
        bench.source.push(number, payload(id), bench.context.clock.now_micros()).expect("a shard");
    }
    let (job, warehouse, odd) = bench.odd_job().await;
    (0..60).for_each(|number| odd.set(number, Oddity::HangsBefore(usize::MAX)));
    let worker = Worker::start(&job);
    bench.soon("all shards are asked, more than there is room for", async || odd.asking() >= 60).await;
    let of_others = async || {
        let entries = bench.entries().await;
        (60..64).all(|number| entries.iter().any(|entry| entry.ranges.get(&shard(number)).is_some()))
    };
    bench.soon("the others are read", of_others).await;
    odd.mend();
    worker.drain().await.expect("it runs");
    bench.is_whole(640, &warehouse).await;
}
