//! What every source keeps: one suite, run on each implementation.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use tokio::task::yield_now;

use super::{Gap, Known, Page, Shard, ShardReader, Source, plan};
use crate::batch::{Opening, Position, Ranges, RawRecord, ShardId, StartAt};

/// Changes the stream that a source under test reads.
#[async_trait]
pub(super) trait Filler: Sync {
    /// Puts records, one after the other, each as (partition key, payload).
    async fn put_all(&self, records: Vec<(String, String)>);
    /// Splits an open shard in its middle.
    async fn split(&self, shard: &Shard);
    /// Merges two open shards whose hash keys touch.
    async fn merge(&self, lower: &Shard, upper: &Shard);
    /// Drops so many of the shard's oldest records, as retention does.
    async fn forget(&self, shard: &Shard, count: usize);
}

/// Runs the suite on an empty stream with so many open shards.
pub(super) async fn source_contract(source: &dyn Source, filler: &dyn Filler, shards: usize) {
    let listed = the_stream_describes_itself(source, shards).await;
    an_empty_answer_is_not_the_end(source, filler, &listed).await;
    the_rest_after_a_position_is_exactly_the_rest(source, &listed).await;
    a_dropped_call_loses_nothing(source, &listed).await;
    a_time_starts_without_a_position(source, &listed).await;
    shards_that_are_split_and_merged_are_read_in_each_keys_order(source, filler, &listed).await;
    what_is_gone_at_a_position_is_told_once(source, filler).await;
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

/// What is read of a stream across its splits and merges, and what is known so.
struct Reading<'a> {
    source: &'a dyn Source,
    opening: Opening,
    positions: BTreeMap<ShardId, Position>,
    ended: BTreeSet<ShardId>,
    by_key: BTreeMap<String, Vec<String>>,
}

impl Reading<'_> {
    /// Reads all there is by shards that are listed anew until none is left to begin.
    async fn go_on(&mut self) {
        let mut read = BTreeSet::new();
        loop {
            let listed = self.source.shards().await.expect("shards");
            let known = Known { opening: Some(&self.opening), positions: &self.positions, ended: &self.ended };
            let plan = plan(&listed, &known);
            assert_eq!((plan.vanished.as_slice(), plan.ended), ([].as_slice(), self.ended.len()));
            let Some((shard, start)) = plan.ready.into_iter().find(|(shard, _)| !read.contains(&shard.id)) else {
                assert!(plan.waiting.is_empty(), "{:?}", plan.waiting);
                return;
            };
            read.insert(shard.id.clone());
            self.read(&shard, start).await;
        }
    }

    async fn read(&mut self, shard: &Shard, start: StartAt) {
        let mut reader = self.source.open(shard, start).await.expect("open");
        let after = self.positions.get(&shard.id).cloned();
        for record in read_to_the_tip(reader.as_mut(), after).await {
            let payload = String::from_utf8(record.payload.to_vec()).expect("text");
            let (key, _) = payload.split_once(':').expect("a key");
            self.by_key.entry(key.to_owned()).or_default().push(payload);
            self.positions.insert(shard.id.clone(), record.position);
        }
        // The tip of a closed shard may come some answers before its end.
        for _ in 0..20 {
            let page = reader.next().await.expect("a page");
            assert!(page.records.is_empty() && page.range.is_none(), "{page:?}");
            assert!(shard.closed || !page.end_of_shard, "an open shard does not end");
            if page.end_of_shard {
                assert!(reader.next().await.expect("a page").end_of_shard, "it says so again");
                self.ended.insert(shard.id.clone());
                return;
            }
        }
        assert!(!shard.closed, "a closed shard ends");
    }
}

async fn shards_that_are_split_and_merged_are_read_in_each_keys_order(
    source: &dyn Source,
    filler: &dyn Filler,
    listed: &[Shard],
) {
    let stream = source.describe().await.expect("a description").identity;
    let shards = Some(listed.iter().map(|shard| shard.id.clone()).collect());
    let opening = Opening { stream, start: StartAt::TrimHorizon, opened_at: None, shards };
    let mut reading =
        Reading { source, opening, positions: BTreeMap::new(), ended: BTreeSet::new(), by_key: BTreeMap::new() };
    reading.go_on().await;
    let put = |from: usize| {
        let record = |number| (format!("key-{}", number % 23), format!("key-{}:{number:03}", number % 23));
        filler.put_all((from..from + 100).map(record).collect())
    };
    let children = |listed: &[Shard], parent: &Shard| -> Vec<Shard> {
        listed.iter().filter(|shard| shard.parents.contains(&parent.id)).cloned().collect()
    };
    put(200).await;
    filler.split(&listed[0]).await;
    put(300).await;
    let after_split = source.shards().await.expect("shards");
    let halves = children(&after_split, &listed[0]);
    assert_eq!((after_split.len(), halves.len()), (listed.len() + 2, 2));
    assert!(after_split.iter().all(|shard| shard.closed == (shard.id == listed[0].id)));
    let (lower, upper) = (&halves[0].hashes, &halves[1].hashes);
    assert_eq!((lower.first, upper.last), (listed[0].hashes.first, listed[0].hashes.last));
    assert_eq!(lower.last + 1, upper.first, "the halves touch");
    reading.go_on().await;

    put(400).await;
    filler.merge(&halves[0], &halves[1]).await;
    put(500).await;
    let after_merge = source.shards().await.expect("shards");
    let merged = children(&after_merge, &halves[1]);
    assert_eq!((merged.len(), merged[0].hashes), (1, listed[0].hashes));
    assert_eq!(merged[0].parents.len(), 2);
    reading.go_on().await;
    assert_eq!((reading.ended.len(), reading.by_key.len()), (3, 23));
    for (key, payloads) in reading.by_key {
        let number = key.strip_prefix("key-").and_then(|number| number.parse::<usize>().ok()).expect("its number");
        // The first 200 were put before.
        let numbers = (0..600).filter(|candidate| candidate % 23 == number);
        let expected: Vec<String> = numbers.map(|candidate| format!("{key}:{candidate:03}")).collect();
        assert_eq!(payloads, expected, "{key}");
    }
}

async fn what_is_gone_at_a_position_is_told_once(source: &dyn Source, filler: &dyn Filler) {
    let listed = source.shards().await.expect("shards");
    let shard = listed.iter().find(|shard| !shard.closed).expect("an open one");
    let all = positions(source, shard, StartAt::TrimHorizon).await;
    filler.forget(shard, 2).await;
    let cases = [(0, true), (1, true), (2, false), (all.len() - 1, false)];
    for (index, is_gone) in cases {
        let mut reader = source.open(shard, StartAt::After(all[index].clone())).await.expect("open");
        let page = reader.next().await.expect("a page");
        let gap = page.gap.map(|Gap { after, next }| (after, next.map(|next| next.0)));
        let expected = is_gone.then(|| (all[index].clone(), Some(all[2].clone())));
        assert_eq!(gap, expected, "after record {index}");
        assert_eq!(reader.next().await.expect("a page").gap, None, "told once");
    }
    let mut reader = source.open(shard, StartAt::After(all[0].clone())).await.expect("open");
    let left = read_to_the_tip(reader.as_mut(), Some(all[0].clone())).await;
    let left: Vec<Position> = left.into_iter().map(|record| record.position).collect();
    assert_eq!(left, all[2..], "what is left is read");
    filler.forget(shard, all.len()).await;
    let last = all.last().expect("some").clone();
    let page = source.open(shard, StartAt::After(last.clone())).await.expect("open").next().await.expect("a page");
    assert_eq!((page.gap, page.records.len()), (Some(Gap { after: last, next: None }), 0));
    assert_eq!(positions(source, shard, StartAt::TrimHorizon).await, [], "a start without a position loses nothing");
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
        assert!(range.is_some() || next.is_empty(), "records are covered");
        if let Some(range) = range {
            assert_eq!(range.after, position, "a page covers from the reader's position …");
            let last = next.last().map(|record| &record.position);
            assert!(last.is_none_or(|last| *last <= range.through), "… through its last record, or further");
            position = Some(range.through.clone());
            ranges.extend(&ShardId::new("the shard"), range).expect("the pages join");
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
