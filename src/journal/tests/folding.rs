//! What the fold says, what it refuses, and that a snapshot in its middle changes nothing.

use proptest::prelude::*;

use super::super::record::{FORMAT, Recorded, decode, encode};
use super::super::snapshot::Snapshot;
use super::faults::Faulty;
use super::*;
use crate::error::ErrorKind;

#[tokio::test]
async fn an_empty_store_is_an_empty_journal() {
    let store = memory();
    assert_eq!(*open(&store, 1).await.state(), State::default());
    assert_eq!(entries(&store, 0, 10).await.expect("reads"), []);
    assert!(store.list("", None).await.expect("lists").is_empty(), "opening writes nothing");
}

#[tokio::test]
async fn the_fold_tells_positions_files_and_counts() {
    let store = memory();
    let mut journal = opened(&store, 1).await;
    journal.commit(&batch("a", &[(0, 0, 5), (1, 0, 2)])).await.expect("commits");
    let mut second = batch("b", &[(0, 5, 9)]);
    second.counts.events += 2;
    second.counts.undecodable.insert("not_json".into(), 2);
    second.quarantine.push(DataFile { bytes: 50, ..file("quarantine/b.parquet".into(), 2) });
    journal.commit(&second).await.expect("commits");
    journal.commit(&dimension("d")).await.expect("commits");

    let state = fold(&store, PIPELINE).await.expect("folds");
    assert_eq!(state, *journal.state());
    assert_eq!(state.through, 4);
    assert_eq!(state.positions, BTreeMap::from([(shard(0), at(9)), (shard(1), at(2))]));
    assert_eq!(state.tables["orders"], TableTotals { files: 2, rows: 11, bytes: 110 });
    assert_eq!(state.tables["riders_d"], TableTotals { files: 1, rows: 3, bytes: 30 });
    assert_eq!(state.quarantine, TableTotals { files: 1, rows: 2, bytes: 50 });
    assert_eq!((state.counts.events, state.counts.passed, state.counts.rejected()), (13, 11, 2));
    assert_eq!(state.counts.tables["orders"], TableCounts { filtered: Some(0), superseded: 0, refused: 0, staged: 11 });
    assert_eq!(state.dimension_files["riders_d"].fingerprint, "d");
    assert_eq!(state.last_written_at, Some(NOON / 1000));
}

#[tokio::test]
async fn a_new_chain_resets_positions_and_keeps_the_files() {
    let mut journal = opened(&memory(), 1).await;
    journal.commit(&batch("a", &[(0, 0, 5)])).await.expect("commits");
    journal.open_chain(opening(2)).await.expect("the stream was made anew");
    assert_eq!(journal.state().positions, BTreeMap::new());
    assert_eq!(journal.state().tables["orders"].rows, 5);
    journal.commit(&batch("b", &[(0, 0, 3)])).await.expect("from the new beginning");
    assert_eq!(journal.state().positions[&shard(0)], at(3));
}

#[tokio::test]
async fn entries_come_in_order_and_as_many_as_wanted() {
    let store = memory();
    let mut journal = opened(&store, 1).await;
    for number in 0..9 {
        journal.commit(&dimension(&format!("d{number}"))).await.expect("commits");
    }
    let cases: [(u64, usize, &[u64]); 6] = [
        (0, 3, &[1, 2, 3]),
        (0, usize::MAX, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        (4, 2, &[5, 6]),
        (8, 9, &[9, 10]),
        (10, 5, &[]),
        (3, 0, &[]),
    ];
    for (after, limit, expected) in cases {
        let found = entries(&store, after, limit).await.expect("reads");
        let numbers: Vec<u64> = found.iter().map(|entry| entry.number).collect();
        assert_eq!(numbers, expected, "after {after}, {limit} of them");
    }
}

#[tokio::test]
async fn a_missing_entry_is_a_torn_log() {
    let store = memory();
    let mut journal = opened(&store, 1).await;
    for id in ["a", "b", "c"] {
        journal.commit(&dimension(id)).await.expect("commits");
    }
    store.delete(&entry_path(3)).await.expect("deletes");
    for error in [
        entries(&store, 2, usize::MAX).await.expect_err("a gap"),
        fold(&store, PIPELINE).await.expect_err("a gap"),
        Journal::open(store.clone(), context(2), PIPELINE).await.err().expect("a gap"),
    ] {
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains("journal/00000000000000000003.json is missing"), "{error}");
    }
}

/// A log of so many entries, and of these only some are left.
async fn torn(entries: u64, lost: std::ops::RangeInclusive<u64>) -> Store {
    let store = memory();
    let mut journal = opened(&store, 1).await;
    for number in 2..=entries {
        journal.commit(&dimension(&number.to_string())).await.expect("commits");
    }
    for number in lost {
        store.delete(&entry_path(number)).await.expect("deletes");
    }
    store
}

#[tokio::test]
async fn a_gap_is_seen_wherever_reading_meets_it() {
    // Entries; those lost; after which one is read, and how many.
    let cases = [
        (8, 3..=3, 0, usize::MAX),
        (8, 3..=6, 0, usize::MAX),
        (8, 3..=6, 0, 7),
        (8, 3..=3, 2, 1),
        (8, 1..=1, 0, 1),
        (8, 1..=7, 0, usize::MAX),
        (60, 33..=33, 0, 1000),
        (60, 34..=34, 0, 1000),
        (130, 20..=90, 0, usize::MAX),
        (130, 20..=90, 19, 1),
    ];
    for (count, lost, after, limit) in cases {
        let case = format!("{count} entries without {lost:?}, {limit} after {after}");
        let first = entry_path(*lost.start());
        let error = entries(&torn(count, lost).await, after, limit).await.expect_err(&case);
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{case}");
        assert!(error.to_string().contains(&format!("{first} is missing")), "{case}: {error}");
    }
}

#[tokio::test]
async fn what_is_wanted_is_read_up_to_a_gap_after_it() {
    let store = torn(8, 5..=5).await;
    assert_eq!(entries(&store, 1, 3).await.expect("sound").len(), 3);
    entries(&store, 1, 4).await.expect_err("the gap");
}

#[tokio::test]
async fn polling_reads_what_is_new_and_lists_no_entries() {
    let faulty = Faulty::scripted();
    let store = faulty.store();
    let mut journal = opened(&store, 1).await;
    for number in 2..=150 {
        journal.commit(&dimension(&number.to_string())).await.expect("commits");
    }
    let listed = faulty.listed();
    for (after, wanted, most_reads) in [(150, 0, 2), (149, 1, 35), (50, 100, 140)] {
        let before = faulty.reads();
        assert_eq!(entries(&store, after, usize::MAX).await.expect("reads").len(), wanted);
        let reads = faulty.reads() - before;
        assert!(reads <= most_reads, "{reads} reads for {wanted} entries");
    }
    assert_eq!(faulty.listed()[listed.len()..], ["journal/snapshots"; 3]);
}

#[tokio::test]
async fn a_snapshot_of_another_log_is_no_gap() {
    let store = torn(9, 9..=9).await;
    store.put("journal/snapshots/00000000000000000300.json", "{}".into()).await.expect("put");
    assert_eq!(entries(&store, 0, usize::MAX).await.expect("sound").len(), 8);
    assert_eq!(entries(&store, 8, usize::MAX).await.expect("sound"), []);
    assert_eq!(entries(&store, u64::MAX, usize::MAX).await.expect("sound"), []);
}

#[tokio::test]
async fn other_objects_in_the_folder_are_no_entries() {
    let store = memory();
    opened(&store, 1).await;
    for path in ["journal/notes.txt", "journal/snapshots/00000000000000000007.json.tmp", "journal/2.json"] {
        store.put(path, "x".into()).await.expect("put");
    }
    assert_eq!(open(&store, 2).await.state().through, 1);
}

#[tokio::test]
async fn the_journal_of_another_pipeline_is_left_alone() {
    let store = memory();
    let mut early = Journal::open(store.clone(), context(9), "other").await.expect("still empty");
    opened(&store, 1).await;
    let late = Journal::open(store.clone(), context(2), "other").await.err().expect("refused");
    let racing = early.commit(&dimension("d")).await.expect_err("refused");
    for error in [late, racing] {
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(r#"of the pipeline "food_delivery", not of "other""#), "{error}");
    }
    assert_eq!(log(&store).await, Vec::<String>::new());
}

/// A fault in the JSON of entry 3, and the words that name it.
type Damage = (fn(&mut serde_json::Value), &'static str);

const DAMAGES: [Damage; 17] = [
    (|entry| entry["number"] = 4.into(), "calls itself entry 4"),
    (|entry| entry["pipeline"] = "other".into(), r#"belongs to the pipeline "other""#),
    (|entry| entry["counts"]["events"] = 9.into(), "9 events are not 0 undecodable + 0 failed + 4 passed"),
    (|entry| entry["counts"]["undecodable"]["x"] = u64::MAX.into(), "18446744073709551615 undecodable"),
    (
        |entry| entry["counts"]["tables"]["orders"]["superseded"] = 1.into(),
        "orders: 4 passed are not 0 filtered + 1 superseded + 0 refused",
    ),
    (|entry| entry["tables"]["orders"][0]["rows"] = 5.into(), "files hold 5 rows, 4 are counted"),
    (|entry| entry["tables"]["stray"] = entry["tables"]["orders"].clone(), "stray: its files hold 4 rows"),
    (
        |entry| entry["counts"]["tables"]["lost"] = serde_json::json!({"filtered": null, "superseded": 0, "staged": 1}),
        "lost: its files hold 0 rows, 1 are counted",
    ),
    (|entry| entry["quarantine"] = serde_json::json!([{"path": "q", "rows": 1, "bytes": 1}]), "1 rows in quarantine"),
    (
        |entry| entry["counts"]["tables"]["orders"]["refused"] = 1.into(),
        "quarantine are not the 1 refused events and rows",
    ),
    (
        |entry| {
            entry["counts"]["tables"]["orders"]["refused"] = 1.into();
            entry["quarantine"] =
                serde_json::json!([{"path": "q", "rows": 1, "bytes": 1, "checksum": entry["previous"]}]);
        },
        "0 superseded + 1 refused + 4 staged",
    ),
    (|entry| entry["tables"]["orders"][0]["checksum"] = serde_json::Value::Null, "without its checksum"),
    (|entry| entry["previous"] = serde_json::Value::Null, "follows an entry with the digest none"),
    (|entry| entry["previous"] = Checksum::of(b"").to_string().into(), "follows an entry with the digest e3b0c442"),
    (|entry| entry["ranges"]["shardId-000000000000"]["after"]["sequence"] = "4".into(), "starts after 4 (exclusive)"),
    (|entry| entry["ranges"]["shardId-000000000000"]["through"]["sequence"] = "5".into(), "holds no position"),
    (|entry| entry["opening"] = serde_json::to_value(opening(1)).expect("JSON"), "a second time"),
];

#[tokio::test]
async fn a_broken_entry_is_named_and_stops_the_fold() {
    for (damage, words) in DAMAGES {
        let store = memory();
        let mut journal = opened(&store, 1).await;
        journal.commit(&batch("a", &[(0, 0, 5)])).await.expect("commits");
        let mut reader = open(&store, 2).await;
        journal.commit(&batch("b", &[(0, 5, 9)])).await.expect("commits");
        rewrite(&store, 3, damage).await;
        let before = reader.state().clone();
        let error = reader.catch_up().await.expect_err(words);
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        let text = error.to_string();
        assert!(text.contains("journal/00000000000000000003.json") && text.contains(words), "{words}: {text}");
        assert_eq!(*reader.state(), before, "{words}: nothing of it is folded");
    }
}

#[tokio::test]
async fn ranges_without_a_chain_and_empty_entries_are_broken_too() {
    let store = memory();
    let mut journal = opened(&store, 1).await;
    journal.commit(&batch("a", &[(0, 0, 5)])).await.expect("commits");
    rewrite(&store, 1, |entry| entry["opening"] = serde_json::Value::Null).await;
    assert!(fold(&store, PIPELINE).await.expect_err("empty").to_string().contains("neither an opening"));
    store.put(&entry_path(1), encode(&headless()).expect("encodes").0).await.expect("put");
    assert!(fold(&store, PIPELINE).await.expect_err("no chain").to_string().contains("has opened a chain"));
}

/// The first entry of a journal, with ranges and without an opening.
fn headless() -> Entry {
    let staged = batch("a", &[(0, 0, 5)]);
    Entry {
        format: FORMAT,
        number: 1,
        previous: None,
        pipeline: PIPELINE.into(),
        writer: "w".into(),
        attempt: "a".into(),
        written_at: 0,
        opening: None,
        ranges: staged.ranges,
        marks: Marks::default(),
        tables: staged.tables,
        quarantine: Vec::new(),
        counts: staged.counts,
        dimension_files: BTreeMap::new(),
    }
}

/// A log from dice: each number picks what its entry does, always so that it follows.
fn made_up(dice: &[(u8, u64)]) -> Vec<Recorded> {
    let mut entries = vec![recorded(Entry {
        opening: Some(opening(1)),
        ranges: Ranges::new(),
        tables: BTreeMap::new(),
        counts: Counts::default(),
        ..headless()
    })];
    let mut positions = BTreeMap::<usize, u64>::new();
    for (number, (die, step)) in (2u64..).zip(dice) {
        let which = usize::from(*die % 3);
        let after = positions.get(&which).copied().unwrap_or(0);
        let staged = match die {
            0..=200 => batch(&number.to_string(), &[(which, after, after + step)]),
            _ => dimension(&number.to_string()),
        };
        let mut entry = Entry {
            number,
            previous: entries.last().map(|before| before.digest),
            written_at: i64::from(*die),
            attempt: number.to_string(),
            ranges: staged.ranges,
            tables: staged.tables,
            counts: staged.counts,
            dimension_files: staged.dimension_files,
            ..headless()
        };
        match die {
            0..=19 => entry.counts.tables.values_mut().for_each(|counts| counts.filtered = None),
            20..=200 => {}
            201..=240 => {}
            _ => {
                entry.opening = Some(opening(i64::try_from(number).expect("small")));
                positions.clear();
            }
        }
        if !entry.ranges.is_empty() {
            positions.insert(which, after + step);
        }
        entries.push(recorded(entry));
    }
    entries
}

fn recorded(entry: Entry) -> Recorded {
    let (_, digest) = encode(&entry).expect("encodes");
    Recorded { entry: Arc::new(entry), digest }
}

fn folded(mut state: State, entries: &[Recorded]) -> State {
    for entry in entries {
        state.fold(PIPELINE, entry).expect("follows");
    }
    state
}

proptest! {
    #[test]
    fn a_snapshot_and_the_rest_fold_to_the_same_as_all(
        dice in proptest::collection::vec((any::<u8>(), 1u64..1000), 1..60),
        cut in any::<proptest::sample::Index>(),
    ) {
        let entries = made_up(&dice);
        let (head, tail) = entries.split_at(cut.index(entries.len()));
        let snapshot = Snapshot {
            format: FORMAT,
            pipeline: PIPELINE.into(),
            state: folded(State::default(), head),
        };
        let (bytes, _) = encode(&snapshot).expect("encodes");
        let (read, _): (Snapshot, _) = decode("snapshot", &bytes).expect("decodes");
        prop_assert_eq!(folded(read.state, tail), folded(State::default(), &entries));
    }
}

#[tokio::test]
async fn a_replay_before_a_damaged_entry_reads_each_entry_twice_at_most() {
    let faulty = Faulty::scripted();
    let store = faulty.store();
    let mut journal = opened(&store, 1).await;
    for number in journal.state().through..700 {
        journal.commit(&batch(&number.to_string(), &[(0, number - 1, number)])).await.expect("commits");
    }
    store.put(&entry_path(650), "{".into()).await.expect("damaged");
    let before = faulty.reads();
    let mut replay = Replay::new(&store).await.expect("opens");
    let mut given = 0;
    let error = loop {
        match replay.next(1_000).await {
            Ok(entries) => given += entries.len(),
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains(&entry_path(650)), "{error}");
    assert_eq!((given, replay.state().through), (649, 649), "everything before it is given");
    let reads = faulty.reads() - before;
    assert!(reads < 2 * 700, "{reads} reads");
}
