//! When snapshots are written, kept, used and left aside.

use super::faults::{Fault, Faulty};
use super::*;

const SNAPSHOTS: &str = "journal/snapshots";

async fn snapshots(store: &Store) -> Vec<String> {
    let listed = store.list(SNAPSHOTS, None).await.expect("lists");
    listed.into_iter().map(|object| object.path).collect()
}

fn snapshot(number: u64) -> String {
    format!("{SNAPSHOTS}/{number:020}.json")
}

/// A log of so many entries: the opening, then a position of shard 0 in each.
async fn long(store: &Store, count: u64) -> Journal {
    let mut journal = opened(store, 1).await;
    extend(&mut journal, count).await;
    journal
}

async fn extend(journal: &mut Journal, count: u64) {
    for number in journal.state().through..count {
        journal.commit(&batch(&number.to_string(), &[(0, number - 1, number)])).await.expect("commits");
    }
}

#[tokio::test]
async fn every_hundredth_entry_is_followed_by_one_and_two_are_kept() {
    let store = memory();
    let mut journal = long(&store, 99).await;
    assert_eq!(snapshots(&store).await, Vec::<String>::new());
    extend(&mut journal, 201).await;
    assert_eq!(snapshots(&store).await, [snapshot(100), snapshot(200)]);
    extend(&mut journal, 400).await;
    assert_eq!(snapshots(&store).await, [snapshot(300), snapshot(400)]);
    assert_eq!(fold(&store, PIPELINE).await.expect("folds"), *journal.state());
}

#[tokio::test]
async fn a_start_reads_the_snapshot_and_the_entries_after_it() {
    let faulty = Faulty::scripted();
    let store = faulty.store();
    let journal = long(&store, 207).await;
    let before = faulty.reads();
    let reader = open(&store, 2).await;
    assert_eq!(reader.state(), journal.state());
    assert_eq!(faulty.reads() - before, 1 + 1 + 7, "the snapshot, its last entry, the entries after it");
}

#[tokio::test]
async fn one_that_cannot_be_used_is_left_aside() {
    let unusable = [
        "",
        "{\"format\":1,\"pipel",
        r#"{"format":9,"new":true}"#,
        include_str!("../../../tests/fixtures/journal/snapshot-format-2.json"),
        include_str!("../../../tests/fixtures/journal/snapshot-format-3.json"),
    ];
    for text in unusable {
        let store = memory();
        let journal = long(&store, 205).await;
        for number in [200, 100] {
            store.put(&snapshot(number), text.into()).await.expect("put");
            assert_eq!(fold(&store, PIPELINE).await.expect("folds"), *journal.state(), "{number} is {text:?}");
        }
    }
}

/// As after an upgrade, whose snapshots are of a format that nobody believes.
#[tokio::test]
async fn a_start_that_folds_much_leaves_a_snapshot_for_the_next() {
    let faulty = Faulty::scripted();
    let store = faulty.store();
    let journal = long(&store, 250).await;
    let old = include_str!("../../../tests/fixtures/journal/snapshot-format-2.json");
    for number in [100, 200] {
        store.put(&snapshot(number), old.into()).await.expect("put");
    }
    assert_eq!(fold(&store, PIPELINE).await.expect("folds"), *journal.state());
    assert_eq!(snapshots(&store).await, [snapshot(100), snapshot(200)], "who only looks writes nothing");
    assert_eq!(open(&store, 2).await.state(), journal.state());
    assert_eq!(snapshots(&store).await, [snapshot(200), snapshot(250)]);
    let before = faulty.reads();
    assert_eq!(open(&store, 3).await.state(), journal.state());
    assert_eq!(faulty.reads() - before, 2, "the snapshot and its last entry");
    let mut replay = Replay::new(&store).await.expect("opens");
    while !replay.next(1_000).await.expect("sound").is_empty() {}
    assert_eq!(replay.damaged(), Vec::<String>::new(), "it is what the log folds to");
}

#[tokio::test]
async fn one_of_another_log_is_left_aside() {
    let (store, other) = (memory(), memory());
    let journal = long(&store, 105).await;
    let mut foreign = open(&other, 77).await;
    foreign.open_chain(opening(5)).await.expect("opens");
    extend(&mut foreign, 300).await;
    for (from, to) in [(100, 100), (200, 100), (300, 300)] {
        let bytes = other.get(&snapshot(from)).await.expect("read");
        // The oldest is deleted by now; its place is taken by a copy under a wrong name.
        let bytes = match bytes {
            Some(bytes) => bytes,
            None => other.get(&snapshot(200)).await.expect("read").expect("kept"),
        };
        store.put(&snapshot(to), bytes).await.expect("put");
        assert_eq!(fold(&store, PIPELINE).await.expect("folds"), *journal.state(), "{from} as {to}");
    }
}

#[tokio::test]
async fn a_failing_one_never_fails_the_commit() {
    let faulty = Faulty::scripted();
    let store = faulty.store();
    let mut journal = long(&store, 99).await;
    faulty.script(&[Fault::None, Fault::Lost]);
    let entry = journal.commit(&batch("x", &[(0, 98, 99)])).await.expect("commits all the same");
    assert_eq!(entry.number, 100);
    assert_eq!(snapshots(&store).await, Vec::<String>::new());
    assert_eq!(open(&store, 2).await.state(), journal.state());
}

#[tokio::test]
async fn an_entry_whose_answer_was_lost_is_followed_by_one_as_well() {
    let faulty = Faulty::scripted();
    let mut journal = long(&faulty.store(), 99).await;
    faulty.script(&[Fault::Unanswered]);
    extend(&mut journal, 100).await;
    assert_eq!(snapshots(&faulty.store()).await, [snapshot(100)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_holds_a_journal_as_well() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::local(folder.path()).expect("store");
    let journal = long(&store, 103).await;
    assert_eq!(snapshots(&store).await, [snapshot(100)]);
    let reader = Journal::open(Store::local(folder.path()).expect("store"), context(2), PIPELINE).await;
    assert_eq!(reader.expect("opens").state(), journal.state());
    assert_eq!(entries(&store, 0, usize::MAX).await.expect("reads").len(), 103);
}
