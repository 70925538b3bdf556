//! Both ways through the format, against aggregates that the awslabs library made and bytes that nobody made.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use prost::Message;
use serde_json::Value;

use super::format::{AggregatedRecord, DIGEST, MAGIC, Record, digest};
use super::*;

macro_rules! kept {
    ($($name:literal),+) => {
        [$((
            $name,
            include_bytes!(concat!("../../../tests/fixtures/aggregates/", $name, ".bin")).as_slice(),
            include_str!(concat!("../../../tests/fixtures/aggregates/", $name, ".json")),
        )),+]
    };
}

/// Aggregates made by aws_kinesis_agg, each with what is in it; `tests/python/aggregates.py make` writes them.
const KEPT: [(&str, &[u8], &str); 8] =
    kept!("empty_payloads", "explicit_hash_keys", "magic_inside", "many", "one_key", "one_record", "tags", "unicode");

/// A user record to pack.
type User = (String, Option<String>, Bytes);

fn described(json: &str) -> Vec<(User, u128)> {
    let document: Value = serde_json::from_str(json).expect("json");
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let one = |record: &Value| {
        let payload = STANDARD.decode(record["payload_base64"].as_str().expect("base64")).expect("base64");
        let key = text(&record["partition_key"]).expect("a key");
        let hash_key = record["hash_key"].as_str().expect("a number").parse().expect("a number");
        ((key, text(&record["explicit_hash_key"]), Bytes::from(payload)), hash_key)
    };
    document["records"].as_array().expect("records").iter().map(one).collect()
}

fn taken(payload: &[u8]) -> Taken {
    take_apart(&Bytes::copy_from_slice(payload))
}

fn parts(payload: &Bytes) -> Vec<Part> {
    match take_apart(payload) {
        Taken::Parts(parts) => parts.collect(),
        other => panic!("{other:?}"),
    }
}

/// Packs the records as they come.
fn packed(users: &[User], max_bytes: usize) -> Vec<Aggregate> {
    let mut aggregator = Aggregator::new(max_bytes);
    let users = users.iter().cloned();
    let full: Vec<Aggregate> =
        users.filter_map(|(key, hash_key, payload)| aggregator.add(key, hash_key, payload)).collect();
    full.into_iter().chain(aggregator.flush()).collect()
}

/// These bytes as an aggregate with a right MD5.
fn sealed(body: &[u8]) -> Bytes {
    Bytes::from([MAGIC.as_slice(), body, &digest(body)].concat())
}

fn sealed_message(partition: &[&str], explicit: &[&str], records: &[Record]) -> Bytes {
    let owned = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
    let message = AggregatedRecord {
        partition_key_table: owned(partition),
        explicit_hash_key_table: owned(explicit),
        records: records.to_vec(),
    };
    sealed(&message.encode_to_vec())
}

fn record(partition: Option<u64>, explicit: Option<u64>, data: Option<&'static str>) -> Record {
    let data = data.map(|text| Bytes::from_static(text.as_bytes()));
    Record { partition_key_index: partition, explicit_hash_key_index: explicit, data }
}

#[test]
fn aggregates_of_another_implementation_are_taken_apart() {
    for (name, bytes, json) in KEPT {
        let expected: Vec<Part> =
            described(json).into_iter().map(|((_, _, payload), hash_key)| Part { payload, hash_key }).collect();
        assert!(!expected.is_empty());
        assert_eq!(parts(&Bytes::copy_from_slice(bytes)), expected, "{name}");
    }
}

#[test]
fn the_same_records_are_packed_into_the_same_bytes() {
    for (name, bytes, json) in KEPT {
        // We write no tags, and no aggregate of one.
        if ["tags", "one_record"].contains(&name) {
            continue;
        }
        let users: Vec<User> = described(json).into_iter().map(|(user, _)| user).collect();
        let packed = packed(&users, 1 << 20);
        assert_eq!(packed.len(), 1, "{name}");
        assert!(packed[0].payload == bytes, "{name}");
        assert_eq!(packed[0].records, users.len() as u64);
    }
}

#[test]
fn what_does_not_begin_with_the_magic_is_plain() {
    for payload in [b"".as_slice(), b"{}", &MAGIC[..3], &[0xF3, 0x89, 0x9A, 0xC3, 0, 0]] {
        assert_eq!(taken(payload), Taken::Plain, "{payload:?}");
    }
}

#[test]
fn payloads_are_shared_and_not_copied() {
    let (_, bytes, _) = KEPT[4];
    let aggregate = Bytes::copy_from_slice(bytes);
    let inside = aggregate.as_ptr_range();
    for part in parts(&aggregate) {
        assert!(inside.contains(&part.payload.as_ptr()) && !part.payload.is_empty());
    }
}

#[test]
fn each_kind_of_damage_is_told() {
    let good = KEPT[0].1;
    let mut flipped = good.to_vec();
    flipped[5] ^= 1;
    let whole = record(Some(0), None, Some("x"));
    let with = |changed: Record| sealed_message(&["k"], &["1"], &[whole.clone(), changed]);
    let cases = [
        (Bytes::from_static(&MAGIC), "an aggregate of 4 bytes is too short: its magic and its MD5 alone take 20"),
        (Bytes::copy_from_slice(&good[..19]), "an aggregate of 19 bytes is too short"),
        (Bytes::copy_from_slice(&good[..good.len() - 1]), "the aggregate ends with the MD5 "),
        (Bytes::from(flipped), "but the MD5 of its 24 bytes of protobuf is "),
        (sealed(b"\xff"), "the aggregate's 1 bytes of protobuf have the right MD5 and cannot be read: "),
        (sealed(b"\x0a\x02\xff\xfe"), "cannot be read: "),
        (sealed(b""), "the aggregate holds no record"),
        (sealed_message(&["k"], &[], &[]), "the aggregate holds no record"),
        (with(record(None, None, Some("x"))), "record 1 of the aggregate lacks its partition key"),
        (with(record(Some(0), None, None)), "record 1 of the aggregate lacks its data"),
        (with(record(Some(1), None, Some("x"))), "record 1 of the aggregate names partition key 1, but there are 1"),
        (with(record(Some(u64::MAX), None, Some("x"))), "names partition key 18446744073709551615"),
        (with(record(Some(0), Some(1), Some("x"))), "record 1 of the aggregate names explicit hash key 1"),
        (
            sealed_message(&["k"], &["1x"], std::slice::from_ref(&whole)),
            "the explicit hash key \"1x\" is no decimal number",
        ),
        (sealed(&vec![0; 10 << 20]), "is longer than any Kinesis record"),
    ];
    for (payload, words) in cases {
        let Taken::Damaged(sentence) = take_apart(&payload) else { panic!("{words}") };
        assert!(sentence.contains(words), "{words:?} is not in {sentence:?}");
    }
    assert!(matches!(take_apart(&with(record(Some(0), Some(0), Some("")))), Taken::Parts(_)), "what they all change");
}

#[test]
fn a_record_alone_goes_as_it_came() {
    let user = |payload: Bytes| ("key".to_owned(), None, payload);
    let alone = |payload: Bytes| packed(&[user(payload)], 1 << 20).remove(0);
    let plain = alone(Bytes::from_static(b"x"));
    assert_eq!((plain.payload.as_ref(), plain.explicit_hash_key, plain.records), (b"x".as_slice(), None, 1));
    let big = Bytes::from(vec![0; 3 << 20]);
    assert_eq!(alone(big.clone()).payload, big, "whatever its size: the stream may take it");
    let inside = Bytes::copy_from_slice(KEPT[0].1);
    let disguised = alone(inside.clone());
    assert_eq!(parts(&disguised.payload)[0].payload, inside, "one that would be taken for an aggregate is packed");
    assert!(Aggregator::default().flush().is_none());
}

#[test]
fn an_aggregate_goes_where_its_first_record_goes() {
    let user =
        |key: &str, explicit: Option<&str>| (key.to_owned(), explicit.map(str::to_owned), Bytes::from_static(b"x"));
    let cases = [
        ([user("a", None), user("b", Some("5"))], hash_key("a", None).expect("a hash").to_string()),
        ([user("a", Some("7")), user("b", None)], "7".to_owned()),
    ];
    for (users, expected) in cases {
        let aggregate = packed(&users, 1 << 20).remove(0);
        assert_eq!((aggregate.partition_key.as_str(), aggregate.explicit_hash_key), ("a", Some(expected)));
    }
}

#[test]
fn aggregates_are_filled_to_the_limit_and_not_over_it() {
    let users: Vec<User> =
        (0..3000).map(|number| (format!("key {}", number % 300), None, Bytes::from(vec![7; 400]))).collect();
    for (given, limit) in [(51_200, 51_200), (5 << 20, 1 << 20)] {
        let aggregates = packed(&users, given);
        let sizes: Vec<usize> = aggregates.iter().map(|one| one.payload.len() + one.partition_key.len()).collect();
        let (last, full) = sizes.split_last().expect("aggregates");
        assert!(full.iter().all(|size| (limit - 450..=limit).contains(size)) && *last <= limit, "{sizes:?}");
        assert!(!full.is_empty());
    }
}

fn users() -> impl Strategy<Value = Vec<User>> {
    let key = prop_oneof!["[a-c]", "\\PC{0,20}"];
    let explicit = option::of(prop_oneof![Just(0u128), any::<u128>()].prop_map(|number| number.to_string()));
    let payload = vec(any::<u8>(), 0..300).prop_map(Bytes::from);
    vec((key, explicit, payload), 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_packed_is_taken_apart_again(users in users(), max_bytes in 0usize..4000) {
        let mut found = Vec::new();
        for aggregate in packed(&users, max_bytes) {
            let size = aggregate.payload.len() + aggregate.partition_key.len();
            prop_assert!(aggregate.records == 1 || size <= max_bytes, "{size} > {max_bytes}");
            let before = found.len();
            let explicit = aggregate.explicit_hash_key.as_deref();
            match take_apart(&aggregate.payload) {
                Taken::Parts(parts) => {
                    let first = parts.clone().next().expect("a part").hash_key;
                    prop_assert_eq!((hash_key(&aggregate.partition_key, explicit), parts.len() > 0), (Ok(first), true));
                    let (before, told) = (found.len(), parts.len());
                    found.extend(parts.map(|part| (part.payload, part.hash_key)));
                    prop_assert_eq!(found.len() - before, told);
                }
                Taken::Plain => {
                    found.push((aggregate.payload, hash_key(&aggregate.partition_key, explicit).expect("a hash")));
                }
                Taken::Damaged(sentence) => prop_assert!(false, "{sentence}"),
            }
            prop_assert_eq!((found.len() - before) as u64, aggregate.records);
        }
        let expected: Vec<(Bytes, u128)> = users
            .into_iter()
            .map(|(key, explicit, payload)| (payload, hash_key(&key, explicit.as_deref()).expect("a hash")))
            .collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn no_changed_byte_goes_unseen(which in 0usize..8, at in any::<prop::sample::Index>(), by in 1u8..) {
        let mut bytes = KEPT[which].1.to_vec();
        let place = at.index(bytes.len());
        bytes[place] ^= by;
        let found = taken(&bytes);
        let seen = if place < MAGIC.len() { found == Taken::Plain } else { matches!(found, Taken::Damaged(_)) };
        prop_assert!(seen, "byte {}: {:?}", place, found);
    }

    #[test]
    fn no_bytes_make_it_panic_and_parts_stay_within_them(
        which in 0usize..8,
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<prop::sample::Index>(),
        noise in vec(any::<u8>(), 0..64),
    ) {
        let kept = KEPT[which].1;
        let mut body = kept[MAGIC.len()..kept.len() - DIGEST].to_vec();
        for (at, value) in changes {
            let place = at.index(body.len());
            body[place] = value;
        }
        body.truncate(cut.index(body.len() + 1));
        for body in [body.as_slice(), noise.as_slice()] {
            let payload = sealed(body);
            if let Taken::Parts(parts) = take_apart(&payload) {
                let bytes: usize = parts.map(|part| part.payload.len() + 6).sum();
                prop_assert!(bytes <= body.len());
            }
            let unsealed = [MAGIC.as_slice(), body].concat();
            prop_assert!(matches!(taken(&unsealed), Taken::Damaged(_)));
        }
    }
}
