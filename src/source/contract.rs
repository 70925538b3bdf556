//! What every source keeps: one suite, run on each implementation.

use std::collections::BTreeMap;

use async_trait::async_trait;
use tokio::task::yield_now;

use super::{Page, Shard, ShardReader, Source};
use crate::batch::{Position, Range, Ranges, RawRecord, StartAt};

/// Puts records into the stream that a source under test reads, one after the other.
#[async_trait]
pub(super) trait Filler: Sync {
    /// Each as (partition key, payload).
    async fn put_all(&self, records: Vec<(String, String)>);
}

/// Runs the suite on an empty stream with so many open shards.
pub(super) async fn source_contract(source: &dyn Source, filler: &dyn Filler, shards: usize) {
    let listed = the_stream_describes_itself(source, shards).await;
    an_empty_answer_is_not_the_end(source, filler, &listed).await;
    the_rest_after_a_position_is_exactly_the_rest(source, &listed).await;
    a_dropped_call_loses_nothing(source, &listed).await;
    a_time_starts_without_a_position(source, &listed).await;
}

async fn the_stream_describes_itself(source: &dyn Source, shards: usize) -> Vec<Shard> {
    let description = source.describe().await.expect("a description");
    assert!(!description.identity.arn.is_empty());
    assert_eq!(source.describe().await.expect("a description"), description);
    let listed = source.shards().await.expect("shards");
    assert_eq!(listed.len(), shards);
    assert!(listed.iter().all(|shard| shard.parents.is_empty() && !shard.closed));
    listed
}

/// Readers opened on the empty stream see all that is put afterwards: complete, and in each key's order.
async fn an_empty_answer_is_not_the_end(source: &dyn Source, filler: &dyn Filler, listed: &[Shard]) {
    let mut readers = Vec::new();
    for shard in listed {
        let mut reader = source.open(shard, StartAt::TrimHorizon).await.expect("open");
        for _ in 0..3 {
            let page = reader.next().await.expect("a page");
            assert!(page.records.is_empty() && page.range.is_none() && !page.end_of_shard, "{page:?}");
        }
        readers.push(reader);
    }
    let records: Vec<(String, String)> =
        (0..200).map(|number| (format!("key-{}", number % 23), format!("key-{}:{number:03}", number % 23))).collect();
    let mut by_key: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut positions: Vec<Option<Position>> = vec![None; listed.len()];
    for half in [&records[..120], &records[120..]] {
        filler.put_all(half.to_vec()).await;
        for ((reader, shard), position) in readers.iter_mut().zip(listed).zip(&mut positions) {
            let read = read_to_the_tip(reader.as_mut(), position.clone()).await;
            *position = read.last().map(|record| record.position.clone());
            assert!(position.is_some(), "23 keys reach every shard");
            for record in read {
                assert_eq!(record.shard, shard.id);
                let payload = String::from_utf8(record.payload.to_vec()).expect("text");
                let (key, _) = payload.split_once(':').expect("a key");
                by_key.entry(key.to_owned()).or_default().push(payload);
            }
            assert!(reader.next().await.expect("a page").records.is_empty(), "nothing is given twice");
        }
    }
    let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (key, payload) in records {
        expected.entry(key).or_default().push(payload);
    }
    assert_eq!(by_key, expected);
}

async fn the_rest_after_a_position_is_exactly_the_rest(source: &dyn Source, listed: &[Shard]) {
    for shard in listed {
        let all = positions(source, shard, StartAt::TrimHorizon).await;
        for index in [0, all.len() / 2, all.len() - 1] {
            let after = all[index].clone();
            let rest = positions(source, shard, StartAt::After(after.clone())).await;
            assert_eq!(rest, all[index + 1..], "{} after {after}", shard.id);
            // A position inside an aggregated record: that record is not read again.
            let inside = Position::new(after.sequence, 1);
            assert_eq!(positions(source, shard, StartAt::After(inside)).await, all[index + 1..]);
        }
    }
}

async fn a_dropped_call_loses_nothing(source: &dyn Source, listed: &[Shard]) {
    for shard in listed {
        let all = positions(source, shard, StartAt::TrimHorizon).await;
        let mut reader = source.open(shard, StartAt::TrimHorizon).await.expect("open");
        let mut read = Vec::new();
        let mut dropped = 0;
        for patience in [0, 1, 2, 3, 5, 8, 16, 32, 64, 128, 256, 512] {
            tokio::select! {
                biased;
                () = yields(patience) => dropped += 1,
                page = reader.next() => read.extend(page.expect("a page").records),
            }
        }
        assert!(dropped > 0, "a call without patience is dropped");
        let after = read.last().map(|record| record.position.clone());
        read.extend(read_to_the_tip(reader.as_mut(), after).await);
        let read: Vec<Position> = read.into_iter().map(|record| record.position).collect();
        assert_eq!(read, all, "{}", shard.id);
    }
}

async fn a_time_starts_without_a_position(source: &dyn Source, listed: &[Shard]) {
    for shard in listed {
        let all = positions(source, shard, StartAt::TrimHorizon).await;
        assert_eq!(positions(source, shard, StartAt::Time(0)).await, all);
        let mut reader = source.open(shard, StartAt::Time(32_503_680_000_000)).await.expect("open");
        let page = reader.next().await.expect("a page");
        assert!(page.records.is_empty() && page.range.is_none() && !page.end_of_shard, "the year 3000: {page:?}");
    }
}

async fn positions(source: &dyn Source, shard: &Shard, start: StartAt) -> Vec<Position> {
    let after = match &start {
        StartAt::After(position) => Some(position.clone()),
        StartAt::TrimHorizon | StartAt::Time(_) => None,
    };
    let mut reader = source.open(shard, start).await.expect("open");
    let records = read_to_the_tip(reader.as_mut(), after).await;
    records.into_iter().map(|record| record.position).collect()
}

/// Reads until the reader has all, and checks on the way that the pages join without a gap or a repeat.
async fn read_to_the_tip(reader: &mut dyn ShardReader, after: Option<Position>) -> Vec<RawRecord> {
    let mut records: Vec<RawRecord> = Vec::new();
    let mut ranges = Ranges::new();
    let mut position = after;
    loop {
        let page = reader.next().await.expect("a page");
        let has_all = page.behind.is_some_and(|behind| behind.is_zero());
        let Page { records: next, range, .. } = page;
        let expected = next.last().map(|last| Range::new(position.clone(), last.position.clone()));
        assert_eq!(range, expected, "a page covers from the reader's position through its last record");
        if let Some(range) = range {
            position = Some(range.through.clone());
            ranges.extend(&next[0].shard, range).expect("the pages join");
        }
        let earlier = records.last().map(|record| record.position.clone());
        let in_order = earlier.iter().chain(next.iter().map(|record| &record.position));
        assert!(in_order.clone().zip(in_order.skip(1)).all(|(left, right)| left < right), "positions rise");
        records.extend(next);
        if has_all {
            return records;
        }
    }
}

/// Lets everything else go on so many times.
pub(super) async fn yields(times: usize) {
    for _ in 0..times {
        yield_now().await;
    }
}
