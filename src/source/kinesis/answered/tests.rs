//! Skipping, order, and aggregates with parts of the shard's own and of its siblings'.

use aws_sdk_kinesis::primitives::{Blob, DateTime};
use bytes::Bytes;

use super::*;
use crate::batch::ShardId;
use crate::error::ErrorKind;
use crate::source::aggregate::Aggregator;
use crate::source::{Aggregate, HashRange};

/// It takes the hash keys up to 99.
fn shard() -> Shard {
    let hashes = HashRange { first: 0, last: 99 };
    Shard { id: ShardId::new("shardId-000000000000"), parents: vec![], closed: false, hashes }
}

fn record_of(sequence: &str, arrived_at: i64, payload: impl Into<Bytes>) -> Record {
    Record::builder()
        .sequence_number(sequence)
        .approximate_arrival_timestamp(DateTime::from_millis(arrived_at))
        .data(Blob::from_maybe_shared(payload.into()))
        .partition_key("k")
        .build()
        .expect("a whole record")
}

fn record(sequence: &str, arrived_at: i64) -> Record {
    record_of(sequence, arrived_at, "x")
}

fn position(sequence: u64, subsequence: u64) -> Position {
    Position::new(sequence.into(), subsequence)
}

#[test]
fn a_time_of_arrival_is_right_to_the_last_digit() {
    for second in [0u64, 1_000_000_000, 1_700_000_000, 1_999_999_999, 2_147_483_647, 3_900_000_000] {
        for micro in 0..1_000_000 {
            // As the SDK reads what the wire says.
            let text = format!("{second}.{micro:06}");
            let read = DateTime::from_secs_f64(text.parse().expect("a number"));
            assert_eq!(micros(&read), i64::try_from(second).expect("a time") * 1_000_000 + micro, "{text}");
        }
    }
}

/// One part for each hash key, its payload `part-<index>`.
fn aggregate(hash_keys: &[u32]) -> Bytes {
    let mut aggregator = Aggregator::new(1 << 20);
    for (index, hash_key) in hash_keys.iter().enumerate() {
        let full = aggregator.add("k".to_owned(), Some(hash_key.to_string()), format!("part-{index}").into());
        assert!(full.is_none(), "they fit into one");
    }
    let Aggregate { payload, .. } = aggregator.flush().expect("parts");
    payload
}

fn answer(start: &StartAt, answered: Vec<Record>) -> Result<Answered> {
    let position = match start {
        StartAt::After(position) => Some(position),
        _ => None,
    };
    Answer::new(answered).piece(&shard(), start, position, usize::MAX)
}

fn told(answer: &Answered) -> Vec<String> {
    answer.records.iter().map(|record| record.position.to_string()).collect()
}

#[test]
fn records_up_to_the_start_are_skipped() {
    let cases = [
        (StartAt::TrimHorizon, vec!["7", "8", "9"]),
        (StartAt::After(position(7, 0)), vec!["8", "9"]),
        (StartAt::After(position(8, 3)), vec!["9"]),
        (StartAt::After(position(9, 0)), vec![]),
        // To the millisecond. A later record is not left out, though its arrival is told as earlier.
        (StartAt::Time(1_999), vec!["7", "8", "9"]),
        (StartAt::Time(2_000), vec!["8", "9"]),
        (StartAt::Time(2_100), vec!["8", "9"]),
        (StartAt::Time(2_101), vec![]),
    ];
    for (start, expected) in cases {
        let answered = vec![record("7", 1_999), record("8", 2_100), record("9", 2_050)];
        let answer = answer(&start, answered).expect("in order");
        assert_eq!(told(&answer), expected, "{start:?}");
        assert_eq!(answer.through.map(|through| through.to_string()).as_deref(), expected.last().copied());
        assert_eq!(answer.last_arrived_at, Some(2_050_000));
    }
}

#[test]
fn the_first_record_at_the_position_or_after_it_is_told() {
    let cases = [(7, Some("7")), (8, Some("8")), (6, Some("7")), (10, None)];
    for (after, expected) in cases {
        let answered = vec![record("7", 1), record("8", 2)];
        let answer = answer(&StartAt::After(position(after, 2)), answered).expect("in order");
        assert_eq!(answer.first.map(|(position, _)| position.to_string()).as_deref(), expected, "{after}");
    }
}

#[test]
fn a_record_becomes_its_bytes_its_place_and_its_arrival_in_microseconds() {
    let answer = answer(&StartAt::TrimHorizon, vec![record("00123", 1_250)]).expect("sound");
    let record = &answer.records[0];
    assert_eq!((record.arrived_at, record.payload.as_ref()), (1_250_000, b"x".as_ref()));
    assert_eq!((record.position.clone(), record.shard.clone(), &record.damage), (position(123, 0), shard().id, &None));
}

#[test]
fn what_contradicts_itself_is_corrupt() {
    let without_arrival = Record::builder().sequence_number("1").data(Blob::new("x")).partition_key("k");
    let answers = [
        vec![record("12x", 0)],
        vec![record("9", 0), record("8", 0)],
        vec![record("9", 0), record("9", 0)],
        vec![record_of("9", 0, aggregate(&[500, 501])), record("8", 0)],
        vec![without_arrival.build().expect("whole enough")],
    ];
    for answered in answers {
        let error = answer(&StartAt::TrimHorizon, answered).expect_err("no order in it");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn an_aggregate_is_taken_apart_and_its_parts_share_its_bytes() {
    let whole = aggregate(&[1, 2, 3]);
    let answered = vec![record("7", 0), record_of("8", 5, whole.clone()), record("9", 6)];
    let answer = answer(&StartAt::TrimHorizon, answered).expect("sound");
    assert_eq!(told(&answer), ["7", "8", "8:1", "8:2", "9"]);
    let inside = whole.as_ptr_range();
    for (index, part) in answer.records[1..4].iter().enumerate() {
        assert_eq!((part.payload.as_ref(), part.arrived_at), (format!("part-{index}").as_bytes(), 5_000));
        assert!(inside.contains(&part.payload.as_ptr()), "no copy");
    }
}

#[test]
fn a_range_ends_with_the_last_part_whoever_it_belongs_to() {
    // (the parts' hash keys, read before, given on, covered through)
    type Case<'a> = (&'a [u32], Option<(u64, u64)>, &'a [&'a str], Option<&'a str>);
    let cases: [Case<'_>; 9] = [
        (&[1, 200, 3], None, &["8", "8:2"], Some("8:2")),
        (&[1, 2, 300], None, &["8", "8:1"], Some("8:2")),
        (&[100, 200, 300], None, &[], Some("8:2")),
        (&[1, 2, 300], Some((8, 0)), &["8:1"], Some("8:2")),
        (&[1, 2, 300], Some((8, 1)), &[], Some("8:2")),
        (&[1, 2, 300], Some((8, 2)), &[], None),
        (&[1, 2, 3], Some((8, 2)), &[], None),
        (&[1, 2, 3], Some((8, 9)), &[], None),
        (&[99, 100], Some((7, 0)), &["8"], Some("8:1")),
    ];
    for (hash_keys, after, expected, through) in cases {
        let start = after.map_or(StartAt::TrimHorizon, |(sequence, part)| StartAt::After(position(sequence, part)));
        let answer = answer(&start, vec![record_of("8", 5, aggregate(hash_keys))]).expect("sound");
        assert_eq!(told(&answer), expected, "{hash_keys:?} {after:?}");
        assert_eq!(answer.through.map(|through| through.to_string()).as_deref(), through, "{hash_keys:?} {after:?}");
    }
}

#[test]
fn pieces_are_together_what_the_answer_is_whole() {
    let shard = Shard { hashes: HashRange { first: 0, last: 6 }, ..shard() };
    let records: Vec<Record> = (1..60_u64)
        .map(|number| match number % 3 {
            0 => record_of(&number.to_string(), 5, aggregate(&(0..9).collect::<Vec<u32>>())),
            1 => record_of(&number.to_string(), 5, "x".repeat(number as usize * 10)),
            _ => record_of(&number.to_string(), 5, aggregate(&[7, 8])),
        })
        .collect();
    let start = StartAt::After(position(3, 4));
    let bytes = Answer::new(records.clone()).bytes();
    let payloads: usize = records.iter().map(|record| record.data.as_ref().len() + 1).sum();
    assert_eq!(bytes, payloads as u64);
    let whole = Answer::new(records.clone()).piece(&shard, &start, Some(&position(3, 4)), usize::MAX).expect("sound");
    for most in [1, 500, 5_000, 50_000] {
        let (mut answer, mut at, mut pieces, mut found) = (Answer::new(records.clone()), position(3, 4), 0, Vec::new());
        while !answer.is_over() {
            let piece = answer.piece(&shard, &start, Some(&at), most).expect("sound");
            // A whole record at a time: beyond the bound goes no more than one.
            assert!(piece.held < most + 60 * 10 + 9 * 200, "{} of {most}", piece.held);
            found.extend(told(&piece));
            at = piece.through.unwrap_or(at);
            pieces += 1;
        }
        assert_eq!((&found, Some(&at)), (&told(&whole), whole.through.as_ref()), "{most}");
        assert!(most == 50_000 || pieces > 2, "{pieces} pieces of {most}");
    }
}

#[test]
fn an_order_that_breaks_between_two_pieces_is_corrupt_too() {
    let mut answer = Answer::new(vec![record("8", 0), record("9", 0), record("9", 0)]);
    let first = answer.piece(&shard(), &StartAt::TrimHorizon, None, 1).expect("sound").through.expect("a record");
    let second = answer.piece(&shard(), &StartAt::TrimHorizon, Some(&first), 1).expect("sound").through;
    let error = answer.piece(&shard(), &StartAt::TrimHorizon, second.as_ref(), 1).expect_err("twice");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[test]
fn a_damaged_aggregate_goes_on_whole_with_what_is_wrong_with_it() {
    let mut bytes = aggregate(&[1, 2]).to_vec();
    bytes[10] ^= 1;
    let answered = vec![record_of("8", 5, bytes.clone()), record("9", 6)];
    let answer = answer(&StartAt::After(position(7, 0)), answered).expect("sound");
    assert_eq!(told(&answer), ["8", "9"]);
    let damage = answer.records[0].damage.as_ref().expect("damaged");
    assert_eq!((damage.reason, answer.records[0].payload.as_ref()), ("damaged_aggregate", bytes.as_slice()));
    assert!(damage.message.contains("MD5"), "{}", damage.message);
    assert_eq!(answer.records[1].damage, None);
}
