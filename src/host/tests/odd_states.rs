//! A folder that is not as it was left: refused with words, or nothing that a client was told is kept is lost.

use super::*;
use crate::error::Error;
use crate::runtime::on_own_threads;

/// When the files in `fixtures/format-1` were written, s since 1970 UTC.
const WRITTEN: i64 = 1_795_755_975;

/// A stream's folder with both files, as a host that was killed left it: 3 records, told and kept.
struct Left {
    streams: Vec<u8>,
    log: Vec<u8>,
    /// The log's length when `streams.json` was last written.
    synced: u64,
}

const RECORDS_PUT: usize = 3;

impl Left {
    async fn behind(folder: &Path) -> Self {
        let mut durable = durable(folder).await;
        for _ in 0..RECORDS_PUT {
            durable.begin(false).await.expect("begin");
            put_one(&durable).await;
            durable.settle().await.expect("settle");
        }
        let read = |name: &str| std::fs::read(folder.join(name)).expect("read");
        Self { streams: read(STREAMS), log: read(RECORDS), synced: durable.saved.log.bytes }
    }

    fn write(&self, folder: &Path) {
        std::fs::write(folder.join(STREAMS), &self.streams).expect("write");
        std::fs::write(folder.join(RECORDS), &self.log).expect("write");
    }
}

/// What a start makes of a folder: how many records it found, or why it refuses. It has to say so within seconds.
async fn start(folder: &Path) -> Result<usize, Error> {
    let in_folder = folder.to_owned();
    // On a thread of its own, so that one that never ends is noticed.
    let started = on_own_threads("start", 1, move || async move {
        let durable = restore(&in_folder, Store::new(StoreOptions::default()), SystemClock.now_millis() / 1000).await?;
        Ok(durable.store.get_record_store("orders").await.len())
    });
    let started = std::pin::pin!(started.expect("a thread"));
    match futures::future::select(started, SystemClock.sleep(Duration::from_secs(5))).await {
        futures::future::Either::Left((outcome, _)) => outcome.expect("no panic"),
        futures::future::Either::Right(_) => panic!("no answer in 5 s"),
    }
}

/// The start is refused in words that help, and leaves both files as they are.
async fn is_refused(folder: &Path, what: &str) -> String {
    let contents = |name: &str| std::fs::read(folder.join(name)).ok();
    let before = (contents(STREAMS), contents(RECORDS));
    let error = match start(folder).await {
        Ok(records) => panic!("{what}: it starts with {records} records"),
        Err(error) => error,
    };
    assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Invalid), "{what}: {error:?}");
    let told = error.to_string();
    let advises = told.contains("--reset-stream") || told.contains("newer millstream");
    assert!(told.contains(&folder.display().to_string()) && advises, "{what}: {told}");
    assert_eq!((contents(STREAMS), contents(RECORDS)), before, "{what}: the files are as they were");
    told
}

#[tokio::test]
async fn what_a_kill_left_starts_with_all_records() {
    let folder = tempfile::tempdir().expect("folder");
    let left = Left::behind(folder.path()).await;
    assert!(left.synced < left.log.len() as u64, "some of the log is not synced");
    assert_eq!(start(folder.path()).await.expect("it starts"), RECORDS_PUT);
}

#[tokio::test]
async fn either_file_without_the_other_is_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let left = Left::behind(folder.path()).await;
    for (gone, words) in [(STREAMS, "streams.json is gone"), (RECORDS, "records.log is gone")] {
        left.write(folder.path());
        std::fs::remove_file(folder.path().join(gone)).expect("removed");
        let told = is_refused(folder.path(), gone).await;
        assert!(told.contains(words), "{told}");
    }
    std::fs::remove_file(folder.path().join(STREAMS)).expect("removed");
    assert_eq!(start(folder.path()).await.expect("both gone: a new stream"), 0);
}

#[tokio::test]
async fn every_flipped_bit_is_refused_at_once() {
    let folder = tempfile::tempdir().expect("folder");
    let left = Left::behind(folder.path()).await;
    for (name, bytes) in [(STREAMS, &left.streams), (RECORDS, &left.log)] {
        for at in 0..bytes.len() {
            left.write(folder.path());
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            std::fs::write(folder.path().join(name), flipped).expect("write");
            is_refused(folder.path(), &format!("byte {at} of {name}")).await;
        }
    }
}

#[tokio::test]
async fn every_shorter_file_is_refused_at_once() {
    let folder = tempfile::tempdir().expect("folder");
    let left = Left::behind(folder.path()).await;
    for (name, bytes) in [(STREAMS, &left.streams), (RECORDS, &left.log)] {
        for length in 0..bytes.len() {
            left.write(folder.path());
            std::fs::write(folder.path().join(name), &bytes[..length]).expect("write");
            is_refused(folder.path(), &format!("{length} bytes of {name}")).await;
        }
    }
}

#[tokio::test]
async fn a_file_of_another_stream_or_of_an_earlier_time_is_refused() {
    let (folder, other) = (tempfile::tempdir().expect("folder"), tempfile::tempdir().expect("folder"));
    let mut first = durable(folder.path()).await;
    let older = std::fs::read(folder.path().join(STREAMS)).expect("read");
    let empty = std::fs::read(folder.path().join(RECORDS)).expect("read");
    first.begin(false).await.expect("begin");
    put_one(&first).await;
    first.close().await.expect("close");
    drop(first);
    let left = Left {
        streams: std::fs::read(folder.path().join(STREAMS)).expect("read"),
        log: std::fs::read(folder.path().join(RECORDS)).expect("read"),
        synced: 0,
    };
    let another = Left::behind(other.path()).await;
    let cases = [
        (STREAMS, &another.streams, "not of one stream"),
        (RECORDS, &another.log, "not of one stream"),
        (STREAMS, &older, "streams.json is an older one"),
        (RECORDS, &empty, "records.log ends at byte 60"),
        (STREAMS, &left.log, "does not describe streams"),
        (RECORDS, &left.streams, "is not a log of records"),
    ];
    for (name, bytes, words) in cases {
        left.write(folder.path());
        std::fs::write(folder.path().join(name), bytes).expect("write");
        let told = is_refused(folder.path(), words).await;
        assert!(told.contains(words), "{told}");
    }
}

#[tokio::test]
async fn a_power_cut_costs_what_was_not_synced_and_no_more() {
    let folder = tempfile::tempdir().expect("folder");
    let first = host(folder.path()).await;
    let mut client = Client::new(&first.endpoint());
    client.create(1);
    client.put(0..5);
    first.shutdown().await.expect("synced");
    let second = host(folder.path()).await;
    let log = folder.path().join("kinesis").join(RECORDS);
    let synced = std::fs::metadata(&log).expect("a log").len();
    Client::new(&second.endpoint()).put(5..9);
    let copy = power_cut(folder.path(), synced);
    let third = host(copy.path()).await;
    assert_eq!(count(&Client::new(&third.endpoint()).records()), 5);
    // A file's length can be on disk before its bytes are.
    let length = std::fs::metadata(&log).expect("a log").len();
    for (from, is_told) in [(synced, true), (synced + 30, true), (synced - 30, false)] {
        let copy = power_cut(folder.path(), length);
        let path = copy.path().join("kinesis").join(RECORDS);
        let mut bytes = std::fs::read(&path).expect("a log");
        bytes[usize::try_from(from).expect("small")..].fill(0);
        std::fs::write(&path, bytes).expect("written");
        if is_told {
            let started = host(copy.path()).await;
            assert_eq!(count(&Client::new(&started.endpoint()).records()), 5, "zeros from {from}");
        } else {
            is_refused(&copy.path().join("kinesis"), "zeros where it was synced").await;
        }
    }
    let copy = power_cut(folder.path(), synced - 1);
    let told = is_refused(&copy.path().join("kinesis"), "what was synced is gone").await;
    assert!(told.contains("clients were told that"), "{told}");
}

#[tokio::test]
async fn a_start_that_was_killed_while_it_replaced_the_log_is_finished_by_the_next() {
    let folder = tempfile::tempdir().expect("folder");
    let left = Left::behind(folder.path()).await;
    let (mut saved, frames) = files::open(folder.path()).expect("open");
    drop(frames);
    let (log, new) = (folder.path().join(RECORDS), folder.path().join("records.new"));
    let copied = super::super::log::copy_frames(&log, (&new, files::new_head(&saved)), |_| true).expect("copied");
    // The copy alone is not believed.
    assert_eq!(start(folder.path()).await.expect("it starts"), RECORDS_PUT);
    left.write(folder.path());
    let mut copied = copied;
    files::save(folder.path(), &mut saved, &mut copied).expect("saved");
    assert_eq!(start(folder.path()).await.expect("it starts"), RECORDS_PUT);
    assert!(!new.exists());
    assert_eq!(start(folder.path()).await.expect("and again"), RECORDS_PUT);
}

#[tokio::test]
async fn files_of_format_1_are_read_and_written_anew() {
    let folder = tempfile::tempdir().expect("folder");
    std::fs::write(folder.path().join(STREAMS), include_bytes!("../fixtures/format-1/streams.json")).expect("write");
    std::fs::write(folder.path().join(RECORDS), include_bytes!("../fixtures/format-1/records.log")).expect("write");
    let mut records = Vec::new();
    for _ in 0..2 {
        let durable = restore(folder.path(), Store::new(StoreOptions::default()), WRITTEN).await.expect("restored");
        records.push(format!("{:?}", durable.store.get_record_store("incoming-food-order-data").await));
        let log = std::fs::read(folder.path().join(RECORDS)).expect("read");
        assert_eq!(log[..8], *b"MSRECLG2");
    }
    assert_eq!(records[0].matches("partition_key").count(), 3, "{}", records[0]);
    assert_eq!(records[0], records[1]);
    for gone in [STREAMS, RECORDS] {
        std::fs::write(folder.path().join(STREAMS), include_bytes!("../fixtures/format-1/streams.json"))
            .expect("write");
        std::fs::write(folder.path().join(RECORDS), include_bytes!("../fixtures/format-1/records.log")).expect("write");
        std::fs::remove_file(folder.path().join(gone)).expect("removed");
        is_refused(folder.path(), gone).await;
    }
}

#[tokio::test]
async fn a_reset_moves_what_is_there_aside_and_begins_with_an_empty_stream() {
    let folder = tempfile::tempdir().expect("folder");
    let first = host(folder.path()).await;
    let mut client = Client::new(&first.endpoint());
    client.create(1);
    client.put(0..5);
    let settings = HostSettings { folder: folder.path().to_owned(), port: 0, reset: true };
    let error = host_or_connect(&settings).await.expect_err("it is hosted");
    assert!(error.to_string().contains("end it, then reset the stream"), "{error}");
    first.shutdown().await.expect("a graceful end");

    let in_folder = folder.path().join("kinesis");
    let (streams, log) = (std::fs::read(in_folder.join(STREAMS)), std::fs::read(in_folder.join(RECORDS)));
    std::fs::write(in_folder.join(STREAMS), "{").expect("damaged");
    let Ok(Hosting::Hosting(second)) = host_or_connect(&settings).await else { panic!("it hosts") };
    let listed = Client::new(&second.endpoint()).call("ListStreams", &json!({}));
    assert_eq!(listed["StreamNames"], json!([]));
    second.shutdown().await.expect("a graceful end");

    let aside = std::fs::read_dir(&in_folder).expect("list").flatten().map(|entry| entry.path());
    let aside = aside.into_iter().find(|path| path.is_dir()).expect("a folder");
    assert!(aside.file_name().is_some_and(|name| name.to_string_lossy().starts_with("before-reset-2")), "{aside:?}");
    assert_eq!(std::fs::read(aside.join(STREAMS)).expect("read"), b"{");
    assert_eq!(std::fs::read(aside.join(RECORDS)).ok(), log.ok());
    // Who changes their mind puts them back.
    std::fs::copy(aside.join(RECORDS), in_folder.join(RECORDS)).expect("copied");
    std::fs::write(in_folder.join(STREAMS), streams.expect("read")).expect("written");
    let third = host(folder.path()).await;
    assert_eq!(count(&Client::new(&third.endpoint()).records()), 5);
}
