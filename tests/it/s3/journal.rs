//! The journal on S3: racing writers, and answers that are lost.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use millstream::batch::{
    Counts, DataFile, Opening, Position, Range, Ranges, ShardId, Staged, StartAt, StreamIdentity, TableCounts,
};
use millstream::error::ErrorKind;
use millstream::journal::{Journal, entries};
use millstream::runtime::Context;
use millstream::store::Store;

use super::buckets;
use super::proxy::Fault;

const PIPELINE: &str = "food_delivery";

fn opening() -> Opening {
    let arn = "arn:aws:kinesis:us-east-1:000000000000:stream/orders".to_owned();
    Opening {
        stream: StreamIdentity { arn, created_at: 1 },
        start: StartAt::TrimHorizon,
        opened_at: None,
        shards: None,
    }
}

async fn open(store: &Store) -> Journal {
    Journal::open(store.clone(), Context::system(), PIPELINE).await.expect("opens")
}

async fn opened(store: &Store) -> Journal {
    let mut journal = open(store).await;
    if journal.state().opening.is_none() {
        journal.open_chain(opening()).await.expect("opens the chain");
    }
    journal
}

fn shard(number: usize) -> ShardId {
    ShardId::new(format!("shardId-{number:012}"))
}

/// The record at `through` of this shard, as a batch that names itself by its file.
fn batch(id: &str, number: usize, through: u64) -> Staged {
    let at = |number: u64| Position::new(number.into(), 0);
    let mut ranges = Ranges::new();
    let after = (through > 1).then(|| at(through - 1));
    ranges.extend(&shard(number), Range::new(after, at(through))).expect("one range");
    let counts = TableCounts { filtered: Some(0), superseded: 0, refused: 0, staged: 1 };
    let file = DataFile::of(format!("staged/orders/{id}.parquet"), 1, id.as_bytes());
    Staged {
        tables: BTreeMap::from([("orders".to_owned(), vec![file])]),
        counts: Counts {
            records: 1,
            events: 1,
            passed: 1,
            tables: BTreeMap::from([("orders".to_owned(), counts)]),
            ..Counts::default()
        },
        ranges,
        ..Staged::default()
    }
}

/// The ids of the batches in the log, in order.
async fn log(store: &Store) -> Vec<String> {
    let entries = entries(store, 0, usize::MAX).await.expect("a sound log");
    let files = entries.iter().flat_map(|entry| entry.tables.values().flatten());
    files.map(|file| file.path["staged/orders/".len()..].trim_end_matches(".parquet").to_owned()).collect()
}

/// Commits `batches` records of a shard, each once, beside others that may be at the same; the ids of its own.
async fn commit(store: Store, writer: usize, number: usize, batches: u64) -> Vec<String> {
    let mut journal = open(&store).await;
    let mut own = Vec::new();
    loop {
        let reached = journal.state().positions.get(&shard(number)).cloned();
        let position = |through: u64| Some(Position::new(through.into(), 0));
        let next = (1..=batches).find(|&through| reached < position(through));
        let Some(through) = next else { return own };
        let id = format!("{writer}-{number}-{through}");
        match journal.commit(&batch(&id, number, through)).await {
            Ok(_) => own.push(id),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Fenced, "{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_writers_commit_each_batch_once() {
    const BATCHES: u64 = 5;
    for bucket in buckets() {
        let store = bucket.store();
        opened(&store).await;
        // Three shards with a writer each, and one that three believe to be theirs.
        let writers = [(0, 0), (1, 1), (2, 2), (3, 3), (4, 3), (5, 3)];
        let commits = writers.map(|(writer, number)| tokio::spawn(commit(bucket.store(), writer, number, BATCHES)));
        let commits = join_all(commits).await.into_iter().flat_map(|ids| ids.expect("no panic"));
        let told: BTreeSet<String> = commits.collect();
        let found = log(&store).await;
        assert_eq!(found.len(), told.len(), "nothing twice: {found:?}");
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), told, "{}", bucket.server.name);
        let journal = open(&store).await;
        let state = journal.state();
        assert_eq!(state.through, 1 + 4 * BATCHES);
        assert_eq!((state.counts.records, state.tables["orders"].files), (4 * BATCHES, 4 * BATCHES));
        for number in 0..4 {
            assert_eq!(state.positions[&shard(number)], Position::new(BATCHES.into(), 0));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_whose_answer_was_lost_stands_in_the_journal_once() {
    for bucket in buckets() {
        let (proxy, store) = bucket.behind_proxy().await;
        let mut journal = opened(&store).await;
        let faults = [Fault::Unanswered, Fault::AppliedButFailed, Fault::Busy, Fault::Reset, Fault::Conflict];
        for (number, fault) in faults.into_iter().enumerate() {
            proxy.next("PUT", "/journal/0000", &[fault]);
            let through = number as u64 + 1;
            let entry = journal.commit(&batch(&format!("{fault:?}"), 0, through)).await.expect("committed");
            assert_eq!(entry.number, through + 1, "{fault:?} on {}", bucket.server.name);
            assert_eq!(proxy.waiting(), 0, "{fault:?} was met");
        }
        let expected: Vec<String> = faults.iter().map(|fault| format!("{fault:?}")).collect();
        assert_eq!(log(&bucket.store()).await, expected, "{}", bucket.server.name);
        assert_eq!(open(&bucket.store()).await.state().through, 6);
    }
}
