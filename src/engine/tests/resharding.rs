//! Splits and merges, before a run and during it: everything once, and each shard after its parents.

use super::odd_source::{Oddity, shard};
use super::workers::{Worker, drained, fast};
use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_splits_and_merges_that_happened_before_is_read_in_its_order() {
    let (bench, _) = fast(2);
    bench.orders(1..61);
    bench.source.split(0).expect("split"); // 2 and 3
    bench.orders(61..121);
    bench.source.merge(3, 1).expect("merged"); // 4
    bench.orders(121..181);
    bench.source.split(2).expect("split"); // 5 and 6
    bench.source.split(4).expect("split"); // 7 and 8
    bench.orders(181..241);
    let (job, warehouse) = bench.job().await;
    drained(&job).await.expect("it runs");
    bench.is_whole_and_in_order(240, &warehouse).await;
    let entries = bench.entries().await.len();
    drained(&job).await.expect("it runs");
    assert_eq!(bench.entries().await.len(), entries, "what is read to its end is not read again");
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_that_come_while_it_runs_are_found_and_read_after_their_parents() {
    let (bench, _) = fast(2);
    let (job, warehouse) = bench.job().await;
    let worker = Worker::start(&job);
    bench.orders(1..41);
    bench.journaled_soon(40).await;
    let [low, high] = bench.source.split(1).expect("split");
    bench.orders(41..81);
    bench.journaled_soon(80).await;
    bench.source.split(high).expect("split");
    bench.source.merge(0, low).expect("merged");
    bench.orders(81..161);
    bench.journaled_soon(160).await;
    assert_eq!(
        worker.shards(),
        [5, 6, 4].map(shard).into_iter().collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>(),
        "what is told is what is open"
    );
    worker.stop().await.expect("it runs");
    bench.is_whole_and_in_order(160, &warehouse).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_shard_that_was_read_half_is_read_on_after_a_stop() {
    let (bench, _) = fast(1);
    let (job, warehouse, odd) = bench.odd_job().await;
    bench.orders(1..41);
    let worker = Worker::start(&job);
    bench.journaled_soon(40).await;
    odd.set(0, Oddity::HangsBefore(usize::MAX));
    // An answer that is on its way comes before.
    bench.context.clock.sleep(Duration::from_secs(2)).await;
    bench.orders(41..81);
    bench.source.split(0).expect("split");
    bench.orders(81..121);
    worker.stop().await.expect("it stops though a shard hangs");
    let unread = 120 - bench.journaled().await;
    assert!(unread >= 40, "{unread}");
    odd.mend();
    drained(&job).await.expect("it goes on");
    bench.is_whole_and_in_order(120, &warehouse).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merged_child_waits_for_both_parents() {
    let (bench, clock) = fast(2);
    let (job, warehouse, odd) = bench.odd_job().await;
    bench.orders(1..61);
    bench.source.merge(0, 1).expect("merged");
    bench.orders(61..121);
    odd.set(1, Oddity::HangsBefore(usize::MAX));
    let worker = Worker::start(&job);
    let is_ended = |entry: &Arc<Entry>| entry.marks.ended.contains(&shard(0));
    bench.soon("one parent is read to its end", async || bench.entries().await.iter().any(is_ended)).await;
    let then = clock.now_micros();
    bench.soon("the shards are listed again", async || clock.now_micros() - then > 12_000_000).await;
    assert!(!worker.shards().contains(&shard(2)), "the child waits for the other");
    odd.mend();
    worker.drain().await.expect("it runs");
    bench.is_whole_and_in_order(120, &warehouse).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn children_are_read_from_their_beginning_wherever_the_run_starts() {
    for start in [Start::Latest, Start::Time(0)] {
        let (mut bench, _) = fast(1);
        let early = if start == Start::Latest { 20 } else { 0 };
        bench.pipeline.source.start = start;
        bench.orders(1..21);
        let (job, _) = bench.job().await;
        bench.context.clock.sleep(Duration::from_secs(2)).await;
        let worker = Worker::start(&job);
        bench.soon("the chain is open", async || !bench.entries().await.is_empty()).await;
        // A clock that is behind ours stamps what comes later: only its place counts.
        bench.source.split(0).expect("split");
        for id in 21..61 {
            bench.source.put(&format!("customer-{id}"), payload(id), 0).expect("open");
        }
        bench.journaled_soon(60 - early).await;
        worker.drain().await.expect("it runs");
        assert_eq!(i64::try_from(bench.journaled().await).expect("few"), 60 - early, "{start:?}");
        bench.descent_is_kept().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_made_anew_while_it_is_read_gets_a_chain_of_its_own() {
    let (bench, _) = fast(1);
    let (job, _, odd) = bench.odd_job().await;
    bench.orders(1..21);
    let worker = Worker::start(&job);
    bench.journaled_soon(20).await;
    odd.make_anew(7);
    let chains = async || {
        let entries = bench.entries().await;
        entries
            .iter()
            .filter_map(|entry| entry.opening.as_ref())
            .map(|opening| opening.stream.created_at)
            .collect::<Vec<_>>()
    };
    bench.soon("a second chain is open", async || chains().await == vec![0, 7]).await;
    bench.journaled_soon(40).await;
    worker.stop().await.expect("it runs");
}
