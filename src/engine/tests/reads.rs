//! Readers side by side: what they wait for, what they hold meanwhile, and that nobody waits for another's trouble.

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::odd_source::{OddSource, Oddity, shard};
use super::workers::{Worker, fast};
use super::*;
use crate::batch::{Position, Range, RawRecord, StreamIdentity};
use crate::engine::budget::Budget;
use crate::engine::loss::Retention;
use crate::engine::read::{Beginning, Read, Reading, read};
use crate::runtime::Tasks;
use crate::source::{CallCounts, HashRange, Page, Shard, ShardReader, Source, StreamDescription};

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

fn identity() -> StreamIdentity {
    StreamIdentity { arn: "cut".to_owned(), created_at: 0 }
}

/// A shard whose one answer is given on in two pages, between which time passes.
#[derive(Clone)]
struct Cut {
    context: Context,
    given: usize,
}

#[async_trait]
impl Source for Cut {
    async fn describe(&self) -> crate::error::Result<StreamDescription> {
        Ok(StreamDescription { identity: identity(), retention: None })
    }

    async fn shards(&self) -> crate::error::Result<Vec<Shard>> {
        Ok(vec![Shard { id: shard(0), parents: Vec::new(), closed: false, hashes: HashRange::ALL }])
    }

    fn counts(&self) -> CallCounts {
        CallCounts::default()
    }

    async fn open(&self, _: &Shard, _: StartAt) -> crate::error::Result<Box<dyn ShardReader>> {
        Ok(Box::new(self.clone()))
    }
}

#[async_trait]
impl ShardReader for Cut {
    async fn ready(&mut self) -> crate::error::Result<()> {
        match self.given {
            2 => std::future::pending().await,
            _ => Ok(()),
        }
    }

    async fn next(&mut self) -> crate::error::Result<Page> {
        self.given += 1;
        let position = Position::new((self.given as u64).into(), 0);
        let after = (self.given == 2).then(|| Position::new(1u64.into(), 0));
        let payload = payload(1).into();
        let record = RawRecord { shard: shard(0), position: position.clone(), arrived_at: 7, payload, damage: None };
        let range = Some(Range::new(after, position));
        let page = Page { records: vec![record], range, ..Page::default() };
        if self.given == 1 {
            return Ok(Page { left: 1 << 20, ..page });
        }
        self.context.clock.sleep(Duration::from_secs(200)).await;
        Ok(Page { behind: Some(Duration::ZERO), ..page })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_page_of_an_answer_tells_what_was_read_when_the_answer_was_asked_for() {
    let (mut bench, clock) = fast(1);
    bench.pipeline.source.stall_after = Duration::from_secs(36_000);
    let (job, _) = bench.job().await;
    let (sender, mut pages) = mpsc::channel(1);
    let source = Arc::new(Cut { context: bench.context.clone(), given: 0 });
    let (stream, retention, budget) = (identity(), Retention::new(None), Budget::new());
    let reading = Reading { job, controls: Controls::default(), source, stream, retention, budget, pages: sender };
    let listed = reading.source.shards().await.expect("shards").remove(0);
    let beginning = Beginning { shard: listed, start: StartAt::TrimHorizon, caught_up: None };
    let (stop, before) = (CancellationToken::new(), clock.now_millis());
    let mut tasks = Tasks::new();
    let reader = read(reading, beginning, stop.clone());
    tasks.spawn("reading", async { reader.await.map(drop) });
    let first = pages.recv().await.expect("a page");
    assert_eq!(first.caught_up, Some(0), "no further than its record");
    let second = pages.recv().await.expect("a page");
    let caught_up = second.caught_up.expect("it is the last one");
    assert!((before..before + 100_000).contains(&caught_up), "{} ms later", caught_up - before);
    stop.cancel();
    tasks.join().await.expect("it stops");
}
