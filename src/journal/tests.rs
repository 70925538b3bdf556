//! Tests of the journal, and the batches and stores that they share.

mod chain;
mod faults;
mod folding;
mod follower;
mod protocol;
mod records;
mod simulation;
mod snapshots;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::*;
use crate::batch::{
    Checksum, Counts, DataFile, DimensionFile, Entry, Loss, Marks, Opening, Position, Range, Ranges, ShardId, Staged,
    StartAt, StreamIdentity, TableCounts,
};
use crate::journal;
use crate::runtime::{Context, ManualClock, Random};
use crate::store::Store;

const PIPELINE: &str = "food_delivery";
/// 2026-11-20 12:00:00 UTC, in µs.
const NOON: i64 = 1_795_176_000_000_000;

fn context(seed: u64) -> Context {
    Context { clock: Arc::new(ManualClock::at(NOON)), random: Random::seeded(seed) }
}

fn memory() -> Store {
    Store::memory("journal-tests").expect("store")
}

async fn open(store: &Store, seed: u64) -> Journal {
    Journal::open(store.clone(), context(seed), PIPELINE).await.expect("opens")
}

/// A journal on this store whose chain is open.
async fn opened(store: &Store, seed: u64) -> Journal {
    let mut journal = open(store, seed).await;
    if journal.state().opening.is_none() {
        journal.open_chain(opening(1)).await.expect("opens the chain");
    }
    journal
}

fn opening(created_at: i64) -> Opening {
    let arn = "arn:aws:kinesis:us-east-1:000000000000:stream/orders".to_owned();
    Opening { stream: StreamIdentity { arn, created_at }, start: StartAt::TrimHorizon, opened_at: None, shards: None }
}

fn at(number: u64) -> Position {
    Position::new(number.into(), 0)
}

fn shard(number: usize) -> ShardId {
    ShardId::new(format!("shardId-{number:012}"))
}

/// Ranges over shards by number; an `after` of 0 is the shard's beginning.
fn ranges(of: &[(usize, u64, u64)]) -> Ranges {
    let mut ranges = Ranges::new();
    for (number, after, through) in of {
        let after = (*after > 0).then(|| at(*after));
        ranges.extend(&shard(*number), Range::new(after, at(*through))).expect("one range a shard");
    }
    ranges
}

fn file(path: String, rows: u64) -> DataFile {
    let checksum = Some(Checksum::of(path.as_bytes()));
    DataFile { path, rows, bytes: 10 * rows, checksum, etag: None }
}

/// A batch of the stream in which every position is one record, one event and one row of `orders`.
fn batch(id: &str, of: &[(usize, u64, u64)]) -> Staged {
    let rows = of.iter().map(|(_, after, through)| through - after).sum();
    let counts = TableCounts { filtered: Some(0), staged: rows, ..TableCounts::default() };
    Staged {
        tables: BTreeMap::from([("orders".to_owned(), vec![file(format!("staged/orders/{id}.parquet"), rows)])]),
        counts: Counts {
            records: rows,
            events: rows,
            passed: rows,
            tables: BTreeMap::from([("orders".to_owned(), counts)]),
            ..Counts::default()
        },
        ranges: ranges(of),
        ..Staged::default()
    }
}

/// A dimension file of three rows, the first of a table of its own.
fn dimension(id: &str) -> Staged {
    dimension_of(&format!("riders_{id}"), id, None)
}

/// The newest dimension file of `riders`.
fn replacing(state: &State, id: &str) -> Staged {
    let replaces = state.dimension_files.get("riders").map(|file| file.fingerprint.clone());
    dimension_of("riders", id, replaces)
}

fn dimension_of(table: &str, id: &str, replaces: Option<String>) -> Staged {
    let table = || table.to_owned();
    let read = DimensionFile { path: "dims/riders.csv".into(), fingerprint: id.into(), replaces, effective_at: NOON };
    let counts = TableCounts { filtered: Some(0), staged: 3, ..TableCounts::default() };
    Staged {
        tables: BTreeMap::from([(table(), vec![file(format!("staged/riders/{id}.parquet"), 3)])]),
        counts: Counts {
            records: 3,
            events: 3,
            passed: 3,
            tables: BTreeMap::from([(table(), counts)]),
            ..Counts::default()
        },
        dimension_files: BTreeMap::from([(table(), read)]),
        ..Staged::default()
    }
}

/// The ids of the batches in the log, in order.
async fn log(store: &Store) -> Vec<String> {
    let all = entries(store, 0, usize::MAX).await.expect("a sound log");
    let ids = all.iter().flat_map(|entry| entry.tables.values().flatten().map(|file| id(&file.path)));
    ids.collect()
}

/// The batch's id in the path of its file.
fn id(path: &str) -> String {
    path.rsplit('/').next().and_then(|name| name.strip_suffix(".parquet")).expect("a file of these tests").to_owned()
}

/// The entry's object, read and written as JSON with the right checksum: what a fault in the writer looks like.
async fn rewrite(store: &Store, number: u64, change: impl FnOnce(&mut serde_json::Value)) {
    let path = entry_path(number);
    let bytes = store.get(&path).await.expect("read").expect("present");
    let mut value: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
    change(&mut value);
    store.put(&path, sealed(value).into()).await.expect("put");
}

/// The bytes of a record, as `docs/journal.md` describes them.
fn sealed(mut record: serde_json::Value) -> String {
    record.as_object_mut().expect("an object").remove("checksum");
    let text = record.to_string();
    let body = text.strip_suffix('}').expect("an object");
    format!("{body},\"checksum\":\"{}\"}}\n", Checksum::of(body.as_bytes()))
}
