//! Batches that become too large once they are unwrapped: cut, and committed part by part.

use super::*;
use crate::batch::Range;

/// What is beside the fields in a record's text. Three such texts fit into what a batch may become, four do not.
const PADDING: usize = 11 << 20;

const RECORDS: i64 = 8;

fn compressed(id: i64) -> Vec<u8> {
    // Half of it compressed.
    let noise = |number: u64| format!("{:x}", number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let mut padding: String = (1..PADDING as u64 / 8).map(noise).collect();
    padding.truncate(PADDING);
    let text = format!(r#"{{"id": {id}, "value": {}, "padding": "{padding}"}}"#, id * 2);
    zstd::encode_all(text.as_bytes(), 1).expect("compressed")
}

/// Orders in one batch that only the end of the run closes.
fn bench() -> Bench {
    let mut bench = Bench::new();
    bench.pipeline.batch = BatchSettings { max_rows: 10_000, max_bytes: 1 << 30, max_age: Duration::from_secs(3600) };
    for id in 1..=RECORDS {
        let shard = usize::from(id > 4);
        bench.source.push(shard, compressed(id), bench.context.clock.now_micros()).expect("the shard is open");
    }
    bench
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_grows_too_large_becomes_several_entries_that_join_and_refuse_nothing() {
    let bench = bench();
    let (job, warehouse) = bench.job().await;
    let controls = draining();
    run(job.clone(), controls.clone()).await.expect("it runs");
    bench.is_whole(RECORDS, &warehouse).await;
    assert_eq!(controls.progress.totals().counts.undecodable, BTreeMap::new());

    let entries = bench.entries().await;
    let parts: Vec<_> = entries.iter().filter(|entry| !entry.ranges.is_empty()).collect();
    assert_eq!(parts.iter().map(|entry| entry.counts.records).collect::<Vec<_>>(), [3, 3, 2]);
    let mut positions = BTreeMap::new();
    for entry in &parts {
        entry.ranges.follow(&positions).expect("it follows the part before");
        entry.ranges.advance(&mut positions);
    }
    // Whichever shard was collected first, its four records are in two parts, and the other's as well.
    let touched: usize = parts.iter().map(|entry| entry.ranges.len()).sum();
    let begins = |range: &Range| range.after.is_none();
    let begun = parts.iter().flat_map(|entry| entry.ranges.iter()).filter(|(_, range)| begins(range)).count();
    assert_eq!((touched, begun, positions.len()), (4, 2, 2));

    run(job, draining()).await.expect("it runs");
    assert_eq!(bench.entries().await.len(), entries.len(), "nothing is read twice");
}
