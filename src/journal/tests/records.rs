//! The records' exact bytes, the kept fixtures, and what is refused.

use super::super::record::{decode, encode, number_in};
use super::super::snapshot::Snapshot;
use super::*;
use crate::error::ErrorKind;

const ENTRY_FIXTURE: &[u8] = include_bytes!("../../../tests/fixtures/journal/entry-format-1.json");
const SNAPSHOT_FIXTURE: &[u8] = include_bytes!("../../../tests/fixtures/journal/snapshot-format-1.json");
const ENTRY_FIXTURE_2: &[u8] = include_bytes!("../../../tests/fixtures/journal/entry-format-2.json");
const SNAPSHOT_FIXTURE_2: &[u8] = include_bytes!("../../../tests/fixtures/journal/snapshot-format-2.json");

const ENTRY: &str = concat!(
    r#"{"format":2,"number":42,"pipeline":"food_delivery","writer":"writer-1","attempt":"attempt-1","#,
    r#""written_at":1795176000000,"#,
    r#""opening":{"stream":{"arn":"arn:aws:kinesis:us-east-1:000000000000:stream/orders","created_at":7},"#,
    r#""start":{"time":1795170000000},"opened_at":1795176000000,"shards":["shardId-000000000000","shardId-000000000001"]},"#,
    r#""ranges":{"shardId-000000000000":{"after":{"sequence":"49590338271490256608559692538361571095921575989136588898","#,
    r#""subsequence":3},"through":{"sequence":"49590338271490256608559692540925702759324208523137515618","#,
    r#""subsequence":0}},"shardId-000000000001":{"after":null,"through":{"sequence":"9","subsequence":0}}},"#,
    r#""marks":{"ended":["shardId-000000000001"],"caught_up":{"shardId-000000000000":1795175999000},"#,
    r#""losses":[{"shard":"shardId-000000000001","after":null,"next":{"sequence":"5","subsequence":0},"#,
    r#""from":1795000000000,"to":1795089600000}]},"#,
    r#""tables":{"dim_riders":[{"path":"staged/dim_riders/a.parquet","rows":1,"bytes":700}],"#,
    r#""fact_orders":[{"path":"staged/fact_orders/date=2026-11-20/b.parquet","rows":2,"bytes":900},"#,
    r#"{"path":"staged/fact_orders/date=2026-11-21/c.parquet","rows":1,"bytes":800}]},"#,
    r#""quarantine":[{"path":"quarantine/date=2026-11-20/d.parquet","rows":3,"bytes":600}],"#,
    r#""counts":{"records":8,"events":9,"undecodable":{"missing_field":1,"not_json":1},"#,
    r#""failed_checks":{"order_value_not_negative":1},"passed":6,"#,
    r#""tables":{"dim_riders":{"filtered":null,"superseded":0,"staged":1},"#,
    r#""fact_orders":{"filtered":1,"superseded":2,"staged":3}}},"#,
    r#""dimension_files":{"dim_riders":{"path":"dims/dimDeliveryRiders.csv","fingerprint":"f00d","#,
    r#""effective_at":1795176000000000}}}"#,
    "\n",
);

const SNAPSHOT: &str = concat!(
    r#"{"format":2,"pipeline":"food_delivery","attempt":"attempt-1","state":{"through":42,"#,
    r#""opening":{"stream":{"arn":"arn:aws:kinesis:us-east-1:000000000000:stream/orders","created_at":7},"#,
    r#""start":{"time":1795170000000},"opened_at":1795176000000,"shards":["shardId-000000000000","shardId-000000000001"]},"#,
    r#""positions":{"shardId-000000000000":{"sequence":"49590338271490256608559692540925702759324208523137515618","#,
    r#""subsequence":0},"shardId-000000000001":{"sequence":"9","subsequence":0}},"#,
    r#""marks":{"ended":["shardId-000000000001"],"caught_up":{"shardId-000000000000":1795175999000},"#,
    r#""losses":[{"shard":"shardId-000000000001","after":null,"next":{"sequence":"5","subsequence":0},"#,
    r#""from":1795000000000,"to":1795089600000}]},"#,
    r#""counts":{"records":8,"events":9,"undecodable":{"missing_field":1,"not_json":1},"#,
    r#""failed_checks":{"order_value_not_negative":1},"passed":6,"#,
    r#""tables":{"dim_riders":{"filtered":null,"superseded":0,"staged":1},"#,
    r#""fact_orders":{"filtered":1,"superseded":2,"staged":3}}},"#,
    r#""tables":{"dim_riders":{"files":1,"rows":1,"bytes":700},"fact_orders":{"files":2,"rows":3,"bytes":1700}},"#,
    r#""quarantine":{"files":1,"rows":3,"bytes":600},"#,
    r#""dimension_files":{"dim_riders":{"path":"dims/dimDeliveryRiders.csv","fingerprint":"f00d","#,
    r#""effective_at":1795176000000000}},"last_written_at":1795176000000}}"#,
    "\n",
);

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
    let data = |path: &str, rows, bytes| DataFile { path: path.into(), rows, bytes };
    let count = |filtered, superseded, staged| TableCounts { filtered, superseded, staged };
    let (riders, orders) = ("dim_riders".to_owned(), "fact_orders".to_owned());
    Entry {
        format: 2,
        number: 42,
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
            (riders.clone(), vec![data("staged/dim_riders/a.parquet", 1, 700)]),
            (
                orders.clone(),
                vec![
                    data("staged/fact_orders/date=2026-11-20/b.parquet", 2, 900),
                    data("staged/fact_orders/date=2026-11-21/c.parquet", 1, 800),
                ],
            ),
        ]),
        quarantine: vec![data("quarantine/date=2026-11-20/d.parquet", 3, 600)],
        counts: Counts {
            records: 8,
            events: 9,
            undecodable: BTreeMap::from([("not_json".into(), 1), ("missing_field".into(), 1)]),
            failed_checks: BTreeMap::from([("order_value_not_negative".into(), 1)]),
            passed: 6,
            tables: BTreeMap::from([(riders.clone(), count(None, 0, 1)), (orders, count(Some(1), 2, 3))]),
        },
        dimension_files: BTreeMap::from([(
            riders,
            DimensionFile { path: "dims/dimDeliveryRiders.csv".into(), fingerprint: "f00d".into(), effective_at: NOON },
        )]),
    }
}

fn full_snapshot() -> Snapshot {
    let entry = full_entry();
    let totals = |files, rows, bytes| TableTotals { files, rows, bytes };
    let state = State {
        through: 42,
        opening: entry.opening.clone(),
        positions: entry.ranges.iter().map(|(shard, range)| (shard.clone(), range.through.clone())).collect(),
        marks: entry.marks.clone(),
        counts: entry.counts.clone(),
        tables: BTreeMap::from([("dim_riders".into(), totals(1, 1, 700)), ("fact_orders".into(), totals(2, 3, 1700))]),
        quarantine: totals(1, 3, 600),
        dimension_files: entry.dimension_files,
        last_written_at: Some(entry.written_at),
    };
    Snapshot { format: 2, pipeline: PIPELINE.into(), attempt: "attempt-1".into(), state }
}

#[test]
fn an_entry_has_exactly_these_bytes() {
    assert_eq!(encode(&full_entry()).expect("encodes"), ENTRY);
    assert_eq!(decode::<Entry>("entry", ENTRY.as_bytes()).expect("decodes"), full_entry());
}

#[test]
fn a_snapshot_has_exactly_these_bytes() {
    assert_eq!(encode(&full_snapshot()).expect("encodes"), SNAPSHOT);
    assert_eq!(decode::<Snapshot>("snapshot", SNAPSHOT.as_bytes()).expect("decodes"), full_snapshot());
}

/// The fixtures were written once by format 1 and are never written again.
#[test]
fn what_format_1_has_written_is_read_for_ever() {
    let before = |opening: Option<Opening>| opening.map(|opening| Opening { opened_at: None, shards: None, ..opening });
    let entry = full_entry();
    let entry = Entry { format: 1, opening: before(entry.opening), marks: Marks::default(), ..entry };
    assert_eq!(decode::<Entry>("entry", ENTRY_FIXTURE).expect("decodes"), entry);
    let Snapshot { pipeline, attempt, state, .. } = full_snapshot();
    let state = State { opening: before(state.opening), marks: Marks::default(), ..state };
    let snapshot = Snapshot { format: 1, pipeline, attempt, state };
    assert_eq!(decode::<Snapshot>("snapshot", SNAPSHOT_FIXTURE).expect("decodes"), snapshot);
}

/// These by format 2.
#[test]
fn what_format_2_has_written_is_read_for_ever() {
    assert_eq!(decode::<Entry>("entry", ENTRY_FIXTURE_2).expect("decodes"), full_entry());
    assert_eq!(decode::<Snapshot>("snapshot", SNAPSHOT_FIXTURE_2).expect("decodes"), full_snapshot());
}

#[test]
fn what_may_be_absent_in_an_entry_is_absent() {
    let entry = Entry { opening: None, marks: Marks::default(), dimension_files: BTreeMap::new(), ..full_entry() };
    let bytes = encode(&entry).expect("encodes");
    let text = std::str::from_utf8(&bytes).expect("text");
    assert!(!text.contains("opening") && !text.contains("marks") && !text.contains("dimension_files"), "{text}");
    assert_eq!(decode::<Entry>("entry", &bytes).expect("decodes"), entry);
}

#[test]
fn what_is_no_record_of_this_format_is_refused_with_the_reason() {
    let newer = ENTRY.replace(r#"{"format":2,"#, r#"{"format":3,"#);
    let unknown_field = ENTRY.replace(r#""pipeline":"#, r#""surprise":0,"pipeline":"#);
    let bad_sequence = ENTRY.replace(r#"{"sequence":"9","#, r#"{"sequence":"nine","#);
    let cases: [(&str, ErrorKind, &str); 9] = [
        ("", ErrorKind::Corrupt, "EOF"),
        (&ENTRY[..ENTRY.len() / 2], ErrorKind::Corrupt, "EOF"),
        ("\0\0\0\0", ErrorKind::Corrupt, "expected value"),
        ("[1]", ErrorKind::Corrupt, "format 2"),
        (&unknown_field, ErrorKind::Corrupt, "surprise"),
        (&bad_sequence, ErrorKind::Corrupt, "nine"),
        (r#"{"format":0}"#, ErrorKind::Corrupt, "no format 0"),
        (&newer, ErrorKind::Invalid, "written by a newer Millstream (format 3"),
        (r#"{"format":4,"all":"else","is":["new"]}"#, ErrorKind::Invalid, "written by a newer Millstream (format 4"),
    ];
    for (bytes, kind, words) in cases {
        let error = decode::<Entry>("journal/x.json", bytes.as_bytes()).expect_err("no record");
        assert_eq!(error.kind(), kind, "{bytes}");
        assert!(error.to_string().starts_with("journal/x.json cannot be read") && error.to_string().contains(words));
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
