//! What was written and then changed is found: in an entry, in the one before, in a snapshot.

use sha2::{Digest, Sha256};

use super::*;
use crate::error::ErrorKind;

/// The SHA-256 as anybody would compute it.
fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn object(store: &Store, number: u64) -> Vec<u8> {
    store.get(&entry_path(number)).await.expect("read").expect("present").to_vec()
}

/// An opening, two batches and two dimension files: entries 1 to 5.
async fn five_entries(store: &Store) -> Journal {
    let mut journal = opened(store, 1).await;
    journal.commit(&batch("a", &[(0, 0, 5), (1, 0, 2)])).await.expect("commits");
    journal.commit(&replacing(journal.state(), "d1")).await.expect("commits");
    journal.commit(&batch("b", &[(0, 5, 9)])).await.expect("commits");
    journal.commit(&replacing(journal.state(), "d2")).await.expect("commits");
    journal
}

#[tokio::test]
async fn an_entry_names_the_checksum_of_the_one_before_it() {
    let store = memory();
    five_entries(&store).await;
    let mut before = None;
    for number in 1..=5 {
        let bytes = object(&store, number).await;
        let text = String::from_utf8(bytes).expect("text");
        let (body, end) = text.rsplit_once(r#","checksum":""#).expect("a checksum at the end");
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(value["checksum"], sha256(body.as_bytes()));
        assert_eq!(end.len(), 64 + 3, "nothing else comes after it");
        assert_eq!(value["previous"].as_str().map(str::to_owned), before, "entry {number}");
        before = Some(sha256(body.as_bytes()));
    }
}

/// Every digit that stands in an entry, one after the other, becomes another one.
#[tokio::test]
async fn a_number_changed_anywhere_is_found() {
    let store = memory();
    five_entries(&store).await;
    let mut changed = 0;
    for number in 1..=5 {
        let bytes = object(&store, number).await;
        for place in (0..bytes.len()).filter(|place| bytes[*place].is_ascii_digit()) {
            let mut damaged = bytes.clone();
            damaged[place] = if damaged[place] == b'9' { b'8' } else { damaged[place] + 1 };
            store.put(&entry_path(number), damaged.into()).await.expect("put");
            for error in [
                entries(&store, 0, usize::MAX).await.expect_err("altered"),
                fold(&store, PIPELINE).await.expect_err("altered"),
            ] {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "entry {number}, byte {place}: {error}");
                assert!(error.to_string().contains(&entry_path(number)), "{error}");
            }
            changed += 1;
        }
        store.put(&entry_path(number), bytes.into()).await.expect("put back");
    }
    println!("{changed} digits");
    assert!(changed > 500, "{changed}");
    assert_eq!(fold(&store, PIPELINE).await.expect("sound again").through, 5);
}

/// An entry whose own checksum is right again: somebody wrote it anew.
#[tokio::test]
async fn a_rewritten_entry_is_found_by_the_one_after_it() {
    let store = memory();
    five_entries(&store).await;
    for number in 1..=4 {
        let bytes = object(&store, number).await;
        rewrite(&store, number, |entry| entry["written_at"] = 5.into()).await;
        for error in [
            entries(&store, 0, usize::MAX).await.expect_err("a broken chain"),
            fold(&store, PIPELINE).await.expect_err("a broken chain"),
        ] {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            let text = error.to_string();
            assert!(text.contains(&entry_path(number + 1)) && text.contains("altered or replaced"), "{text}");
        }
        store.put(&entry_path(number), bytes.into()).await.expect("put back");
    }
}

#[tokio::test]
async fn a_writer_whose_past_was_replaced_stops() {
    let store = memory();
    let mut left = opened(&store, 1).await;
    left.commit(&batch("a", &[(0, 0, 5)])).await.expect("commits");
    rewrite(&store, 2, |entry| entry["writer"] = "somebody".into()).await;
    let mut right = open(&store, 2).await;
    right.commit(&batch("b", &[(1, 0, 5)])).await.expect("on what it found");
    let before = left.state().clone();
    let error = left.commit(&batch("c", &[(0, 5, 6)])).await.expect_err("its past is gone");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains(&entry_path(3)), "{error}");
    assert_eq!(*left.state(), before, "nothing of it is folded");
    assert_eq!(fold(&store, PIPELINE).await.expect("folds").through, 3);
}

/// Entries as format 2 wrote them, without a word of what came later.
const OLD: [&str; 2] = [
    r#"{"format":2,"number":1,"pipeline":"food_delivery","writer":"w","attempt":"a1","written_at":7,"opening":{"stream":{"arn":"arn:aws:kinesis:us-east-1:000000000000:stream/orders","created_at":1},"start":"trim_horizon"},"ranges":{},"tables":{},"quarantine":[],"counts":{"records":0,"events":0,"undecodable":{},"failed_checks":{},"passed":0,"tables":{}}}
"#,
    r#"{"format":2,"number":2,"pipeline":"food_delivery","writer":"w","attempt":"a2","written_at":8,"ranges":{"shardId-000000000000":{"after":null,"through":{"sequence":"5","subsequence":0}}},"tables":{"orders":[{"path":"staged/orders/old.parquet","rows":5,"bytes":50}]},"quarantine":[],"counts":{"records":5,"events":5,"undecodable":{},"failed_checks":{},"passed":5,"tables":{"orders":{"filtered":0,"superseded":0,"staged":5}}}}
"#,
];

#[tokio::test]
async fn a_log_of_an_older_format_goes_on_and_its_end_is_in_the_chain() {
    let store = memory();
    for (number, text) in (1..).zip(OLD) {
        store.put(&entry_path(number), text.into()).await.expect("put");
    }
    let mut journal = open(&store, 1).await;
    journal.commit(&batch("a", &[(0, 5, 9)])).await.expect("goes on where format 2 ended");
    journal.commit(&batch("b", &[(0, 9, 10)])).await.expect("and on");
    let third: serde_json::Value = serde_json::from_slice(&object(&store, 3).await).expect("JSON");
    assert_eq!(third["previous"], sha256(OLD[1].as_bytes()), "of the whole object");
    assert_eq!(fold(&store, PIPELINE).await.expect("folds"), *journal.state());

    let altered = OLD[1].replace(r#""bytes":50"#, r#""bytes":60"#);
    store.put(&entry_path(2), altered.into()).await.expect("put");
    let error = fold(&store, PIPELINE).await.expect_err("altered");
    assert!(error.kind() == ErrorKind::Corrupt && error.to_string().contains(&entry_path(3)), "{error}");
}

#[tokio::test]
async fn of_two_that_replace_the_same_dimension_file_one_is_fenced() {
    let store = memory();
    let (mut left, mut right) = (opened(&store, 1).await, open(&store, 2).await);
    let (first, second) = (replacing(left.state(), "left"), replacing(right.state(), "right"));
    left.commit(&first).await.expect("first");
    let error = right.commit(&second).await.expect_err("it replaces what is not the newest");
    assert!(error.kind() == ErrorKind::Fenced && error.to_string().contains("the newest before it is left"), "{error}");
    right.commit(&replacing(right.state(), "right")).await.expect("now it knows");
    assert_eq!(right.state().dimension_files["riders"].replaces.as_deref(), Some("left"));
}

/// Whatever happens to a snapshot, the log is folded to the same state.
#[tokio::test]
async fn no_damage_to_a_snapshot_changes_the_state() {
    let store = memory();
    let mut journal = opened(&store, 1).await;
    for number in 2..=105 {
        journal.commit(&batch(&number.to_string(), &[(0, number - 2, number - 1)])).await.expect("commits");
    }
    let path = "journal/snapshots/00000000000000000100.json";
    let bytes = store.get(path).await.expect("read").expect("written").to_vec();
    for place in (0..bytes.len()).step_by(7) {
        let mut damaged = bytes.clone();
        damaged[place] ^= 1 << (place % 8);
        store.put(path, damaged.into()).await.expect("put");
        assert_eq!(fold(&store, PIPELINE).await.expect("the log is sound"), *journal.state(), "byte {place}");
    }
    // With the right checksum again, but after another entry than the one that it names.
    let mut value: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
    value["state"]["digest"] = sha256(b"another").into();
    value["state"]["counts"]["events"] = 1.into();
    store.put(path, sealed(value).into()).await.expect("put");
    assert_eq!(fold(&store, PIPELINE).await.expect("the log is sound"), *journal.state());
}
