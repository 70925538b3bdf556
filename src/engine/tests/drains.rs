//! How a drained run comes to its end: with everything that was there when draining began, and without waiting for more.

use super::odd_source::{Oddity, shard};
use super::workers::{Worker, drained, fast};
use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_shard_that_tells_its_end_late_is_read_to_its_end_and_so_are_its_children() {
    let (bench, _) = fast(1);
    let (job, warehouse, odd) = bench.odd_job().await;
    odd.tell_ends_late();
    bench.orders(1..41);
    bench.source.split(0).expect("split");
    bench.orders(41..81);
    drained(&job).await.expect("it comes to its end");
    bench.is_whole_and_in_order(80, &warehouse).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_is_split_after_its_tip_was_reached_does_not_hold_the_end_up() {
    let (bench, clock) = fast(2);
    let (job, warehouse, odd) = bench.odd_job().await;
    bench.orders(1..41);
    odd.set(1, Oddity::HangsBefore(usize::MAX));
    let worker = Worker::start(&job);
    worker.controls.drain.cancel();
    bench.soon("the tip of one shard is reached", async || worker.read() > 0).await;
    clock.sleep(Duration::from_secs(4)).await;
    bench.source.split(0).expect("split");
    bench.orders(41..81);
    // Long enough that the shards are listed again.
    clock.sleep(Duration::from_secs(12)).await;
    odd.mend();
    worker.ended().await.expect("it comes to its end");
    drained(&job).await.expect("it runs");
    bench.is_whole_and_in_order(80, &warehouse).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_told_to_drain_reads_the_children_of_a_moment_ago() {
    let (bench, _) = fast(1);
    let (job, warehouse) = bench.job().await;
    let worker = Worker::start(&job);
    bench.orders(1..21);
    bench.journaled_soon(20).await;
    let [low, _] = bench.source.split(0).expect("split");
    bench.source.split(low).expect("split");
    bench.orders(21..61);
    worker.drain().await.expect("it runs");
    bench.is_whole_and_in_order(60, &warehouse).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_stopped_whatever_keeps_it_waiting() {
    for place in 0..3 {
        let (mut bench, clock) = fast(1);
        bench.pipeline.source.stall_after = Duration::from_secs(1);
        let (job, _, odd) = bench.odd_job().await;
        bench.orders(1..11);
        let worker = Worker::start(&job);
        bench.journaled_soon(10).await;
        match place {
            0 => odd.list_never(),
            1 => odd.set(0, Oddity::HangsBefore(usize::MAX)),
            _ => {
                odd.connect_never();
                odd.set(0, Oddity::HangsBefore(usize::MAX));
                bench.soon("it connects anew", async || odd.connections() > 1).await;
            }
        }
        clock.sleep(Duration::from_secs(12)).await;
        worker.stop().await.expect("it stops");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn once_an_hour_the_journal_learns_that_nothing_of_a_quiet_shard_is_unread() {
    let (bench, clock) = fast(1);
    let (job, _) = bench.job().await;
    let worker = Worker::start(&job);
    bench.orders(1..11);
    bench.journaled_soon(10).await;
    let marks = async || {
        let entries = bench.entries().await;
        let alone = entries.iter().filter(|entry| entry.ranges.is_empty() && !entry.marks.caught_up.is_empty());
        alone.map(|entry| entry.marks.caught_up[&shard(0)]).collect::<Vec<i64>>()
    };
    clock.sleep(Duration::from_secs(10)).await;
    assert_eq!(marks().await, [0; 0], "seconds are not worth an entry");
    for hour in 1..=2 {
        clock.advance(Duration::from_secs(3_601));
        bench.soon("the hour is noted", async || marks().await.len() == hour).await;
    }
    let told = marks().await;
    assert!(told[1] - told[0] >= 3_600_000 && told[1] <= clock.now_millis(), "{told:?}");
    worker.stop().await.expect("it runs");
}
