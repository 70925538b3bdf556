//! The records' exact bytes, the kept fixtures, and what is refused.

use super::super::record::{decode, encode, number_in};
use super::super::snapshot::Snapshot;
use super::*;
use crate::error::ErrorKind;

const ENTRY_FIXTURE: &[u8] = include_bytes!("../../../tests/fixtures/journal/entry-format-1.json");
const SNAPSHOT_FIXTURE: &[u8] = include_bytes!("../../../tests/fixtures/journal/snapshot-format-1.json");
const ENTRY_FIXTURE_2: &[u8] = include_bytes!("../../../tests/fixtures/journal/entry-format-2.json");
const SNAPSHOT_FIXTURE_2: &[u8] = include_bytes!("../../../tests/fixtures/journal/snapshot-format-2.json");

/// What this format writes, to the byte. Written once, by hand, and never again.
const ENTRY: &str = include_str!("../../../tests/fixtures/journal/entry-format-3.json");
const SNAPSHOT: &str = include_str!("../../../tests/fixtures/journal/snapshot-format-3.json");

fn position(digits: &str, subsequence: u64) -> Position {
    Position::new(crate::batch::SequenceNumber::parse(digits).expect("digits"), subsequence)
}

/// An entry in which every field says something.
fn full_entry() -> Entry {
    let mut ranges = ranges(&[(1, 0, 9)]);
    let after = position("49590338271490256608559692538361571095921575989136588898", 3);
    let through = position("49590338271490256608559692540925702759324208523137515618", 0);
    ranges.extend(&shard(0), Range::new(Some(after), through)).expect("fits");
    let next = Some(at(5));
    let loss = Loss { shard: shard(1), after: None, next, from: 1_795_000_000_000, to: 1_795_089_600_000 };
    let data = |path: &str, rows, bytes, etag: Option<&str>| DataFile {
        path: path.into(),
        rows,
        bytes,
        checksum: Some(Checksum::of(path.as_bytes())),
        etag: etag.map(str::to_owned),
    };
    let count = |filtered, superseded, refused, staged| TableCounts { filtered, superseded, refused, staged };
    let (riders, orders) = ("dim_riders".to_owned(), "fact_orders".to_owned());
    Entry {
        format: 3,
        number: 42,
        previous: Some(Checksum::of(b"entry 41")),
        pipeline: PIPELINE.into(),
        writer: "writer-1".into(),
        attempt: "attempt-1".into(),
        written_at: NOON / 1000,
        opening: Some(Opening {
            start: StartAt::Time(1_795_170_000_000),
            opened_at: Some(NOON / 1000),
            shards: Some(BTreeSet::from([shard(0), shard(1)])),
            ..opening(7)
        }),
        ranges,
        marks: Marks {
            ended: BTreeSet::from([shard(1)]),
            caught_up: BTreeMap::from([(shard(0), 1_795_175_999_000)]),
            losses: vec![loss],
        },
        tables: BTreeMap::from([
            (riders.clone(), vec![data("staged/dim_riders/a.parquet", 1, 700, None)]),
            (
                orders.clone(),
                vec![
                    data("staged/fact_orders/date=2026-11-20/b.parquet", 2, 900, Some("\"0c78aef8\"")),
                    data("staged/fact_orders/date=2026-11-21/c.parquet", 1, 800, Some("\"d41d8cd9-2\"")),
                ],
            ),
        ]),
        quarantine: vec![data("quarantine/date=2026-11-20/d.parquet", 4, 600, None)],
        counts: Counts {
            records: 8,
            foreign: 5,
            events: 10,
            undecodable: BTreeMap::from([("not_json".into(), 1), ("missing_field".into(), 1)]),
            failed_checks: BTreeMap::from([("order_value_not_negative".into(), 1)]),
            passed: 7,
            tables: BTreeMap::from([(riders.clone(), count(None, 0, 0, 1)), (orders, count(Some(1), 2, 1, 3))]),
        },
        dimension_files: BTreeMap::from([(
            riders,
            DimensionFile {
                path: "dims/dimDeliveryRiders.csv".into(),
                fingerprint: "f00d".into(),
                replaces: Some("beef".into()),
                effective_at: NOON,
            },
        )]),
    }
}

/// The same entry as format 2 wrote it, without what it did not know.
fn entry_of_format_2() -> Entry {
    let mut entry = Entry { format: 2, previous: None, ..full_entry() };
    for file in entry.tables.values_mut().flatten().chain(&mut entry.quarantine) {
        (file.checksum, file.etag) = (None, None);
    }
    entry.quarantine[0].rows = 3;
    (entry.counts.foreign, entry.counts.events, entry.counts.passed) = (0, 9, 6);
    entry.counts.tables.values_mut().for_each(|counts| counts.refused = 0);
    entry.dimension_files.values_mut().for_each(|file| file.replaces = None);
    entry
}

fn full_snapshot() -> Snapshot {
    let entry = full_entry();
    let totals = |files, rows, bytes| TableTotals { files, rows, bytes };
    let state = State {
        through: 42,
        digest: Some(decode::<Entry>("entry", ENTRY.as_bytes()).expect("decodes").1),
        opening: entry.opening.clone(),
        positions: entry.ranges.iter().map(|(shard, range)| (shard.clone(), range.through.clone())).collect(),
        marks: entry.marks.clone(),
        counts: entry.counts.clone(),
        tables: BTreeMap::from([("dim_riders".into(), totals(1, 1, 700)), ("fact_orders".into(), totals(2, 3, 1700))]),
        quarantine: totals(1, 4, 600),
        dimension_files: entry.dimension_files,
        last_written_at: Some(entry.written_at),
    };
    Snapshot { format: 3, pipeline: PIPELINE.into(), state }
}

#[test]
fn an_entry_has_exactly_these_bytes() {
    let (bytes, digest) = encode(&full_entry()).expect("encodes");
    assert_eq!(bytes, ENTRY);
    assert_eq!(decode::<Entry>("entry", ENTRY.as_bytes()).expect("decodes"), (full_entry(), digest));
}

#[test]
fn a_snapshot_has_exactly_these_bytes() {
    let (bytes, digest) = encode(&full_snapshot()).expect("encodes");
    assert_eq!(bytes, SNAPSHOT);
    assert_eq!(decode::<Snapshot>("snapshot", SNAPSHOT.as_bytes()).expect("decodes"), (full_snapshot(), digest));
}

/// The fixtures were written once by these formats and are never written again.
#[test]
fn what_older_formats_have_written_is_read_for_ever() {
    let two = entry_of_format_2();
    let before = |opening: Opening| Opening { opened_at: None, shards: None, ..opening };
    let opening = two.opening.clone().map(before);
    let one = Entry { format: 1, opening, marks: Marks::default(), ..two.clone() };
    for (fixture, entry) in [(ENTRY_FIXTURE, one), (ENTRY_FIXTURE_2, two)] {
        let (read, digest) = decode::<Entry>("entry", fixture).expect("decodes");
        assert_eq!((read, digest), (entry, Checksum::of(fixture)), "the digest is of the whole object");
    }
}

/// They have no checksum to believe them by; the log has all that they say.
#[test]
fn snapshots_of_older_formats_are_refused() {
    for fixture in [SNAPSHOT_FIXTURE, SNAPSHOT_FIXTURE_2] {
        let error = decode::<Snapshot>("snapshot", fixture).expect_err("no checksum");
        assert!(error.kind() == ErrorKind::Corrupt && error.to_string().contains("none before 3 is read"), "{error}");
    }
}

/// By hand, as `docs/journal.md` says: everything before the checksum, and nothing of this crate's reader.
#[test]
fn every_bit_of_a_record_counts() {
    type Reader = fn(&[u8]) -> crate::error::Result<()>;
    let readers: [(&str, Reader); 2] = [
        (ENTRY, |bytes| decode::<Entry>("journal/x.json", bytes).map(drop)),
        (SNAPSHOT, |bytes| decode::<Snapshot>("journal/x.json", bytes).map(drop)),
    ];
    for (text, read) in readers {
        let mut damaged = text.as_bytes().to_vec();
        for place in 0..damaged.len() {
            for bit in 0..8 {
                damaged[place] ^= 1 << bit;
                let error = read(&damaged).expect_err("altered");
                assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {place}, bit {bit}: {error}");
                assert!(error.to_string().starts_with("journal/x.json cannot be read: it"), "{error}");
                damaged[place] ^= 1 << bit;
            }
            read(&damaged[..place]).expect_err("truncated");
        }
        let body = text.rsplit_once(",\"checksum\":\"").expect("a checksum").0;
        assert!(text[body.len()..].contains(&Checksum::of(body.as_bytes()).to_string()));
    }
}

#[test]
fn what_may_be_absent_in_an_entry_is_absent() {
    let entry = Entry { opening: None, marks: Marks::default(), dimension_files: BTreeMap::new(), ..full_entry() };
    let (bytes, digest) = encode(&entry).expect("encodes");
    let text = std::str::from_utf8(&bytes).expect("text");
    assert!(!text.contains("opening") && !text.contains("marks") && !text.contains("dimension_files"), "{text}");
    assert_eq!(decode::<Entry>("entry", &bytes).expect("decodes"), (entry, digest));
}

#[test]
fn what_is_no_record_of_this_format_is_refused_with_the_reason() {
    let value: serde_json::Value = serde_json::from_str(ENTRY).expect("JSON");
    let with = |field: &str, new: serde_json::Value| {
        let mut value = value.clone();
        value[field] = new;
        sealed(value)
    };
    let unsealed = [&ENTRY[..ENTRY.len() - 80], "}"].concat();
    let older = with("format", 2.into());
    let (newer, surprise) = (with("format", 4.into()), with("surprise", 0.into()));
    let bad_sequence = with("ranges", serde_json::json!({"s": {"through": {"sequence": "nine", "subsequence": 0}}}));
    let cases: [(&str, ErrorKind, &str); 11] = [
        ("", ErrorKind::Corrupt, "EOF"),
        (&ENTRY[..ENTRY.len() / 2], ErrorKind::Corrupt, "EOF"),
        ("\0\0\0\0", ErrorKind::Corrupt, "expected value"),
        ("[1]", ErrorKind::Corrupt, "format 3"),
        (&surprise, ErrorKind::Corrupt, "surprise"),
        (&bad_sequence, ErrorKind::Corrupt, "nine"),
        (&unsealed, ErrorKind::Corrupt, "does not end with a checksum"),
        (&older, ErrorKind::Corrupt, "format 2 has no checksum"),
        (r#"{"format":0}"#, ErrorKind::Corrupt, "of format 0, and none before 1 is read"),
        (&newer, ErrorKind::Invalid, "written by a newer Millstream (format 4"),
        (r#"{"format":5,"all":"else","is":["new"]}"#, ErrorKind::Invalid, "written by a newer Millstream (format 5"),
    ];
    for (bytes, kind, words) in cases {
        let error = decode::<Entry>("journal/x.json", bytes.as_bytes()).expect_err("no record");
        assert_eq!(error.kind(), kind, "{bytes}");
        assert!(error.to_string().starts_with("journal/x.json cannot be read"), "{error}");
        assert!(error.to_string().contains(words), "{words}: {error}");
    }
}

#[test]
fn only_an_entrys_path_has_its_number() {
    assert_eq!(number_in("journal", &entry_path(42)), Some(42));
    assert_eq!(number_in("journal", &entry_path(u64::MAX)), Some(u64::MAX));
    for path in [
        "journal/42.json",
        "journal/00000000000000000042",
        "journal/00000000000000000042.json.tmp",
        "journal/0000000000000000004x.json",
        "journal/99999999999999999999.json",
        "journal/snapshots/00000000000000000042.json",
        "journals/00000000000000000042.json",
        "journal/+0000000000000000042.json",
    ] {
        assert_eq!(number_in("journal", path), None, "{path}");
    }
}
