//! Records that passed the stream's retention before they were read: told once, with the run's end or without.

use super::odd_source::{OddSource, Oddity, shard};
use super::workers::{FastClock, Worker, drained, fast};
use super::*;
use crate::batch::Loss;
use crate::config::OnLoss;

const HOUR: Duration = Duration::from_secs(3600);

/// A stream of one shard that keeps records for a day.
struct Stream {
    bench: Bench,
    clock: Arc<FastClock>,
}

impl Stream {
    fn new(on_loss: OnLoss) -> Self {
        let (mut bench, clock) = fast(1);
        bench.source = bench.source.with_retention(24 * HOUR);
        bench.pipeline.source.on_loss = on_loss;
        Self { bench, clock }
    }

    /// Some hours go by, and what is past retention is dropped.
    fn wait(&self, hours: u32) {
        self.clock.advance(HOUR * hours);
        self.bench.source.trim(self.clock.now_micros() - 24 * 3_600_000_000);
    }

    async fn drained(&self) -> Result<()> {
        drained(&self.bench.job().await.0).await
    }

    async fn losses(&self) -> Vec<Loss> {
        self.bench.entries().await.iter().flat_map(|entry| entry.marks.losses.clone()).collect()
    }

    async fn records(&self) -> u64 {
        self.bench.journaled().await
    }

    async fn is_sound(&self) {
        let (_, warehouse) = self.bench.job().await;
        let audit = audit(&self.bench.store, warehouse.as_ref(), &[], None).await.expect("it audits");
        assert_eq!(audit.findings, Vec::new());
    }
}

/// Ten records are read, then ten more come, are dropped and followed by ten more.
async fn with_a_gap(on_loss: OnLoss) -> Stream {
    let stream = Stream::new(on_loss);
    stream.bench.orders(1..11);
    stream.drained().await.expect("it runs");
    stream.wait(2);
    stream.bench.orders(11..21);
    stream.wait(23);
    stream.bench.orders(21..31);
    stream.wait(2);
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_stops_at_a_loss_with_the_gap_named_and_nothing_behind_it_is_committed() {
    let stream = with_a_gap(OnLoss::Stop).await;
    for _ in 0..2 {
        let error = stream.drained().await.expect_err("ten records are lost");
        assert_eq!((error.kind(), error.exit_code()), (ErrorKind::Corrupt, 1));
        let told = error.to_string();
        let words =
            ["shardId-000000000000", "after 10 ", "before 21,", "2026-01-15T12:00", "2026-01-16T13:00", "on_loss"];
        for words in words {
            assert!(told.contains(words), "{words}: {told}");
        }
        assert_eq!((stream.records().await, stream.losses().await), (10, Vec::new()));
    }
    stream.is_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_to_go_on_journals_the_gap_once() {
    let mut stream = with_a_gap(OnLoss::Continue).await;
    stream.drained().await.expect("it goes on");
    let losses = stream.losses().await;
    assert_eq!((losses.len(), stream.records().await), (1, 20), "{losses:?}");
    let place = |number: u64| Some(crate::batch::Position::new(number.into(), 0));
    assert_eq!((&losses[0].after, &losses[0].next), (&place(10), &place(21)));
    assert!(losses[0].to - losses[0].from >= 24 * 3_600_000, "{losses:?}");
    stream.bench.pipeline.source.on_loss = OnLoss::Stop;
    stream.bench.orders(31..41);
    stream.drained().await.expect("it was told");
    assert_eq!((stream.losses().await.len(), stream.records().await), (1, 30));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_with_nothing_behind_it_is_told_once_too() {
    let mut stream = Stream::new(OnLoss::Continue);
    stream.bench.orders(1..11);
    stream.drained().await.expect("it runs");
    stream.wait(26);
    stream.drained().await.expect("it goes on");
    let losses = stream.losses().await;
    assert!(losses.len() == 1 && losses[0].next.is_none(), "{losses:?}");
    stream.bench.pipeline.source.on_loss = OnLoss::Stop;
    stream.drained().await.expect("it was told");
    stream.bench.orders(11..21);
    stream.drained().await.expect("it was told");
    assert_eq!((stream.losses().await.len(), stream.records().await), (1, 20));
    stream.is_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_shard_whose_last_record_expired_while_it_was_caught_up_has_lost_nothing() {
    let stream = Stream::new(OnLoss::Stop);
    stream.bench.orders(1..11);
    let (job, _) = stream.bench.job().await;
    let worker = Worker::start(&job);
    stream.bench.journaled_soon(10).await;
    stream.clock.advance(2 * HOUR);
    let is_marked =
        async || stream.bench.entries().await.iter().any(|entry| entry.ranges.is_empty() && !entry.marks.is_empty());
    stream.bench.soon("the quiet shard is marked", is_marked).await;
    worker.stop().await.expect("it runs");
    stream.wait(23);
    stream.drained().await.expect("nothing is lost");
    stream.bench.orders(11..21);
    stream.drained().await.expect("nothing is lost");
    assert_eq!((stream.losses().await, stream.records().await), (Vec::new(), 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_of_which_nothing_was_read_in_time_is_told() {
    let stream = Stream::new(OnLoss::Continue);
    stream.drained().await.expect("it opens the chain");
    stream.wait(2);
    stream.bench.orders(1..11);
    stream.wait(23);
    stream.bench.orders(11..21);
    stream.wait(2);
    stream.drained().await.expect("it goes on");
    let losses = stream.losses().await;
    assert!(losses.len() == 1 && losses[0].after.is_none() && losses[0].next.is_some(), "{losses:?}");
    stream.drained().await.expect("it was told");
    assert_eq!((stream.losses().await.len(), stream.records().await), (1, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_shard_that_vanished_unread_is_a_loss_and_its_children_are_read() {
    let mut stream = Stream::new(OnLoss::Stop);
    stream.bench.orders(1..11);
    stream.drained().await.expect("it runs");
    stream.wait(1);
    stream.bench.orders(11..21);
    stream.bench.source.split(0).expect("split");
    stream.wait(25);
    stream.bench.orders(21..31);
    let error = stream.drained().await.expect_err("a shard is gone");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("after 10 and before its end"), "{error}");
    assert_eq!(stream.records().await, 10);
    stream.bench.pipeline.source.on_loss = OnLoss::Continue;
    stream.drained().await.expect("it goes on");
    let losses = stream.losses().await;
    let parents: Vec<&Loss> = losses.iter().filter(|loss| loss.shard == shard(0)).collect();
    assert!(parents.len() == 1 && parents[0].next.is_none(), "{losses:?}");
    assert_eq!(stream.records().await, 20);
    stream.bench.pipeline.source.on_loss = OnLoss::Stop;
    stream.drained().await.expect("it was told");
    assert_eq!(stream.losses().await, losses);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_end_of_a_parent_does_not_hide_what_its_children_lost() {
    let stream = Stream::new(OnLoss::Continue);
    let (job, _) = stream.bench.job().await;
    let odd = OddSource::new(&stream.bench.source, stream.bench.context.clone());
    let job = Job { connect: odd.connect(), ..job };
    drained(&job).await.expect("it opens the chain");
    stream.wait(1);
    stream.bench.orders(1..11);
    stream.bench.source.split(0).expect("split");
    stream.bench.orders(11..41);
    stream.wait(22);
    (1..=2).for_each(|child| odd.set(child, Oddity::HangsBefore(usize::MAX)));
    let worker = Worker::start(&job);
    let is_ended = |entry: &Arc<Entry>| entry.marks.ended.contains(&shard(0));
    stream.bench.soon("the parent is read", async || stream.bench.entries().await.iter().any(is_ended)).await;
    worker.stop().await.expect("it runs");
    // Now the children's first records are dropped.
    stream.wait(3);
    stream.bench.orders(41..71);
    odd.mend();
    drained(&job).await.expect("it goes on");
    let mut lossy: Vec<ShardId> = stream.losses().await.into_iter().map(|loss| loss.shard).collect();
    lossy.sort();
    assert_eq!(lossy, [shard(1), shard(2)]);
    assert_eq!(stream.records().await, 10 + 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_of_shards_that_never_took_a_record_has_lost_nothing() {
    let stream = Stream::new(OnLoss::Stop);
    let (job, _) = stream.bench.job().await;
    let worker = Worker::start(&job);
    stream.bench.soon("its tip is seen", async || worker.shards() == [shard(0)]).await;
    stream.bench.soon("its dimensions are staged", async || stream.bench.entries().await.len() == 2).await;
    for _ in 0..30 {
        let marks = stream.bench.entries().await.len();
        stream.clock.advance(HOUR);
        stream.bench.soon("the hour is noted", async || stream.bench.entries().await.len() > marks).await;
    }
    let [low, high] = stream.bench.source.split(0).expect("split");
    let child = stream.bench.source.merge(low, high).expect("merged");
    stream.bench.source.split(child).expect("split");
    stream.bench.orders(1..11);
    stream.bench.journaled_soon(10).await;
    worker.drain().await.expect("nothing is lost");
    assert_eq!(stream.losses().await, Vec::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loss_is_seen_while_it_runs() {
    let mut stream = Stream::new(OnLoss::Stop);
    stream.bench.pipeline.source.stall_after = Duration::from_secs(20);
    let (job, _) = stream.bench.job().await;
    let odd = OddSource::new(&stream.bench.source, stream.bench.context.clone());
    let worker = Worker::start(&Job { connect: odd.connect(), ..job });
    stream.bench.orders(1..11);
    stream.bench.journaled_soon(10).await;
    odd.set(0, Oddity::HangsBefore(2));
    // An answer that is on its way comes before.
    stream.clock.sleep(Duration::from_secs(2)).await;
    stream.bench.orders(11..21);
    stream.wait(25);
    stream.bench.orders(21..31);
    let error = worker.ended().await.expect_err("ten records are lost");
    assert!(error.kind() == ErrorKind::Corrupt && error.to_string().contains("before 21"), "{error}");
    assert_eq!(stream.records().await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_expired_of_a_start_in_the_past_before_the_first_read_is_a_loss_where_the_stream_held_it() {
    for (hours_before, is_lost) in [(1, true), (40, false)] {
        let mut stream = Stream::new(OnLoss::Stop);
        let noon = stream.clock.now_millis();
        stream.bench.pipeline.source.start = Start::Time(noon - hours_before * 3_600_000);
        stream.bench.orders(1..11);
        stream.wait(20);
        let (job, _) = stream.bench.job().await;
        let odd = OddSource::new(&stream.bench.source, stream.bench.context.clone());
        odd.set(0, Oddity::HangsBefore(usize::MAX));
        let worker = Worker::start(&Job { connect: odd.connect(), ..job });
        stream.bench.soon("the chain is open", async || !stream.bench.entries().await.is_empty()).await;
        worker.stop().await.expect("nothing was read");
        stream.wait(5);
        stream.bench.orders(11..21);
        match stream.drained().await {
            Ok(()) => assert!(!is_lost && stream.records().await == 10, "{hours_before} h before: nothing was told"),
            Err(error) => assert!(is_lost && error.kind() == ErrorKind::Corrupt, "{hours_before} h before: {error}"),
        }
    }
}
