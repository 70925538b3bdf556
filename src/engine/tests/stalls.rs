//! Shards that make no progress though they are behind, and such as only seem to.

use super::odd_source::{Oddity, shard};
use super::troubled_store::{Trouble, TroubledStore};
use super::workers::{Worker, drained, fast};
use super::*;

fn reconnects(worker: &Worker, number: usize) -> u32 {
    worker.controls.progress.totals().shards.get(&shard(number)).map_or(0, |known| known.reconnects)
}

/// Orders of one shard.
fn put_to(bench: &Bench, number: usize, ids: std::ops::Range<i64>) {
    for id in ids {
        bench.source.push(number, payload(id), bench.context.clock.now_micros()).expect("a shard");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_hangs_is_read_on_over_a_new_connection_and_the_others_do_not_wait() {
    let (mut bench, _) = fast(2);
    bench.pipeline.source.stall_after = Duration::from_secs(60);
    let (job, warehouse, odd) = bench.odd_job().await;
    odd.set(0, Oddity::HangsBefore(2));
    put_to(&bench, 0, 1..31);
    put_to(&bench, 1, 31..61);
    let worker = Worker::start(&job);
    bench.journaled_soon(30).await;
    assert_eq!((odd.connections(), bench.journaled().await), (1, 30), "the other shard does not wait");
    bench.journaled_soon(60).await;
    bench.soon("it is no stall any more", async || reconnects(&worker, 0) == 0).await;
    assert_eq!(odd.connections(), 2);
    worker.drain().await.expect("it runs");
    bench.is_whole(60, &warehouse).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_stalls_for_good_is_told_again_and_again_until_it_recovers() {
    for oddity in [Oddity::HangsBefore(usize::MAX), Oddity::StaysBehind(Duration::from_secs(90))] {
        let (mut bench, _) = fast(2);
        bench.pipeline.source.stall_after = Duration::from_secs(2);
        let (job, warehouse, odd) = bench.odd_job().await;
        odd.set(0, oddity);
        put_to(&bench, 0, 1..31);
        put_to(&bench, 1, 31..61);
        let worker = Worker::start(&job);
        bench.soon("it is told", async || reconnects(&worker, 0) >= 3).await;
        assert!(odd.connections() >= 4, "{oddity:?}: {}", odd.connections());
        bench.journaled_soon(30).await;
        put_to(&bench, 1, 61..91);
        bench.journaled_soon(60).await;
        assert_eq!(bench.journaled().await, 60, "{oddity:?}: the other shard goes on");
        odd.mend();
        bench.journaled_soon(90).await;
        bench.soon("it is no stall any more", async || reconnects(&worker, 0) == 0).await;
        worker.drain().await.expect("it runs");
        bench.is_whole(90, &warehouse).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_run_fails_with_what_was_tried_and_keeps_the_rest() {
    let (mut bench, _) = fast(2);
    bench.pipeline.source.stall_after = Duration::from_secs(1);
    let (job, warehouse, odd) = bench.odd_job().await;
    odd.set(0, Oddity::HangsBefore(usize::MAX));
    put_to(&bench, 0, 1..31);
    put_to(&bench, 1, 31..61);
    let error = drained(&job).await.expect_err("a shard is unread");
    assert_eq!(error.kind(), ErrorKind::Transient);
    let told = error.to_string();
    for words in ["shardId-000000000000 has made no progress for 1 s", "reconnected 1 times", "its beginning"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert_eq!(bench.journaled().await, 30);
    odd.mend();
    drained(&job).await.expect("it runs");
    bench.is_whole(60, &warehouse).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_store_is_no_stall_of_the_stream() {
    let (bench, _) = fast(2);
    // Each put takes 3 s of the tests' clock.
    let store = TroubledStore::new("staged/fact", Trouble::Slow(Duration::from_millis(150)), 0, usize::MAX);
    let mut bench = Bench { store: Store::new(store.clone(), "lake").expect("a store"), ..bench };
    bench.pipeline.source.stall_after = Duration::from_secs(2);
    let (job, warehouse, odd) = bench.odd_job().await;
    bench.orders(1..401);
    drained(&job).await.expect("it runs");
    assert!(store.clear() > 0);
    assert_eq!(odd.connections(), 1, "nobody connects anew");
    bench.is_whole(400, &warehouse).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_to_which_there_is_no_connection_is_asked_again_on_the_old_one() {
    let (mut bench, _) = fast(1);
    bench.pipeline.source.stall_after = Duration::from_secs(2);
    let (job, warehouse, odd) = bench.odd_job().await;
    bench.orders(1..21);
    let worker = Worker::start(&job);
    bench.journaled_soon(20).await;
    odd.connect_never();
    odd.set(0, Oddity::StaysBehind(Duration::from_secs(90)));
    bench.soon("it is told", async || reconnects(&worker, 0) >= 2).await;
    bench.orders(21..41);
    odd.mend();
    bench.journaled_soon(40).await;
    worker.drain().await.expect("it runs");
    bench.is_whole(40, &warehouse).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_fails_is_tried_again_where_it_stands_and_the_others_go_on() {
    let (bench, _) = fast(2);
    let (job, warehouse, odd) = bench.odd_job().await;
    put_to(&bench, 0, 1..31);
    put_to(&bench, 1, 31..61);
    let worker = Worker::start(&job);
    bench.journaled_soon(60).await;
    odd.set(0, Oddity::Fails);
    bench.soon("it fails", async || reconnects(&worker, 0) >= 1).await;
    put_to(&bench, 0, 61..71);
    bench.soon("it is tried again and again", async || reconnects(&worker, 0) >= 3).await;
    put_to(&bench, 1, 71..101);
    bench.journaled_soon(90).await;
    assert_eq!(bench.journaled().await, 90, "the other shard goes on");
    // One may be under way.
    let (connections, tries) = (odd.connections(), reconnects(&worker, 0) as usize);
    assert!((tries..=tries + 2).contains(&connections), "in the same pass: {connections}, {tries}");
    odd.mend();
    bench.journaled_soon(100).await;
    bench.soon("it is no failure any more", async || reconnects(&worker, 0) == 0).await;
    worker.drain().await.expect("it runs");
    bench.is_whole(100, &warehouse).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_is_listed_no_more_is_not_tried_again_but_looked_at_anew() {
    let (mut bench, clock) = fast(2);
    bench.source = bench.source.with_retention(Duration::from_secs(86_400));
    let (job, _, odd) = bench.odd_job().await;
    put_to(&bench, 0, 1..31);
    put_to(&bench, 1, 31..61);
    let worker = Worker::start(&job);
    bench.journaled_soon(60).await;
    odd.set(0, Oddity::Fails);
    bench.soon("it fails", async || reconnects(&worker, 0) >= 1).await;
    bench.source.close(0).expect("a shard");
    clock.advance(Duration::from_secs(60));
    let forgotten = clock.now_micros();
    put_to(&bench, 1, 61..71);
    bench.source.trim(forgotten);
    let ended = async || bench.entries().await.iter().any(|entry| entry.marks.ended.contains(&shard(0)));
    bench.soon("what is gone is told as ended", ended).await;
    worker.drain().await.expect("it runs");
    assert_eq!(bench.journaled().await, 70);
}
