//! Fan-out against ferrokinesis, with troubles on order, on the machine's clock and quick timing.

use std::sync::atomic::{AtomicI64, Ordering};

use ferrokinesis::event_stream::{encode_exception, encode_initial_response, encode_subscribe_event};
use ferrokinesis::store::StoreOptions;
use serde_json::{Value, json};

use super::super::stand_in::{StandIn, Trouble};
use super::super::subscription::Timing;
use super::super::tests::Orders;
use super::super::{KinesisSource, Producer, PutItem};
use super::*;
use crate::batch::ShardId;
use crate::error::ErrorKind;
use crate::runtime::{Backoff, Clock, Context, Random, SystemClock};
use crate::source::contract::{source_contract, yields};
use crate::source::{CallCounts, HashRange, KinesisSettings, Source};

const SUBSCRIBE: &str = "SubscribeToShard";

/// Quick, but patient enough for a busy machine: ferrokinesis gives an event each 200 ms.
const TIMING: Timing = Timing {
    renew_after: Duration::from_secs(60),
    between: Duration::from_millis(20),
    stall_after: Duration::from_secs(10),
    poll_for: Duration::from_millis(300),
};

struct Stage {
    stand_in: StandIn,
    producer: Producer,
    source: KinesisSource,
}

fn options() -> StoreOptions {
    StoreOptions { create_stream_ms: 0, update_stream_ms: 0, ..StoreOptions::default() }
}

impl Stage {
    async fn set(options: StoreOptions, shards: u32, timing: Timing) -> Self {
        Self::set_with(options, shards, timing, Context::system()).await
    }

    async fn set_with(options: StoreOptions, shards: u32, timing: Timing, context: Context) -> Self {
        let stand_in = StandIn::start(options).await;
        let producer = stand_in.stream("orders", shards).await;
        let backoff = Backoff { first: Duration::from_millis(1), longest: Duration::from_millis(5), attempts: 6 };
        let settings = KinesisSettings { backoff, ..stand_in.settings("orders") };
        let consumer = FanOutConsumer::register(settings.clone(), context.clone(), "millstream").await;
        let consumer = FanOutConsumer { timing, ..consumer.expect("registered") };
        let source = KinesisSource::new(settings, context).with_fan_out(consumer);
        Self { stand_in, producer, source }
    }

    async fn put(&self, payloads: &[&str]) {
        let items: Vec<PutItem> = payloads.iter().map(|payload| StandIn::item("k", payload)).collect();
        self.producer.put(items).await.expect("put");
    }

    async fn reader(&self) -> Box<dyn ShardReader> {
        self.source.open(&shard(), StartAt::TrimHorizon).await.expect("open")
    }

    /// The next subscription gives these messages after its first one, then it ends.
    fn give(&self, messages: Vec<Vec<u8>>) {
        let all = std::iter::once(encode_initial_response()).chain(messages).collect();
        self.stand_in.trouble(SUBSCRIBE, Trouble::Messages(all));
    }

    fn counts(&self) -> CallCounts {
        self.source.counts()
    }
}

fn shard() -> Shard {
    Shard { id: ShardId::new("shardId-000000000000"), parents: vec![], closed: false, hashes: HashRange::ALL }
}

fn event(records: &[(&str, &str)], continuation: Option<&str>, children: bool) -> Vec<u8> {
    let record = |(sequence, data): &(&str, &str)| json!({ "SequenceNumber": sequence, "Data": data, "PartitionKey": "k", "ApproximateArrivalTimestamp": 1.5 });
    let hashes = json!({ "StartingHashKey": "0", "EndingHashKey": "9" });
    let child =
        json!({ "ShardId": "shardId-000000000001", "ParentShards": ["shardId-000000000000"], "HashKeyRange": hashes });
    let mut event = json!({
        "Records": records.iter().map(record).collect::<Vec<Value>>(),
        "MillisBehindLatest": 0,
        "ChildShards": if children { vec![child] } else { vec![] },
    });
    if let Some(continuation) = continuation {
        event["ContinuationSequenceNumber"] = continuation.into();
    }
    encode_subscribe_event(event.to_string().as_bytes(), "application/json")
}

/// An event of this record, an hour behind the shard's tip.
fn late_event(sequence: &str) -> Vec<u8> {
    let record =
        json!({ "SequenceNumber": sequence, "Data": "YQ==", "PartitionKey": "k", "ApproximateArrivalTimestamp": 1.5 });
    let event = json!({
        "Records": [record],
        "MillisBehindLatest": 3_600_000,
        "ContinuationSequenceNumber": sequence,
        "ChildShards": [],
    });
    encode_subscribe_event(event.to_string().as_bytes(), "application/json")
}

fn payloads(page: &Page) -> Vec<String> {
    page.records.iter().map(|record| String::from_utf8_lossy(&record.payload).into_owned()).collect()
}

/// Reads until so many records have come, and checks that the pages join.
async fn read(reader: &mut dyn ShardReader, count: usize) -> Vec<String> {
    let mut read = Vec::new();
    let mut position = None;
    while read.len() < count {
        let page = reader.next().await.expect("a page");
        read.extend(payloads(&page));
        if let Some(range) = page.range {
            assert!(position.is_none() || range.after == position, "{range:?} after {position:?}");
            position = Some(range.through);
        }
    }
    read
}

#[tokio::test]
async fn a_large_event_is_given_on_in_pages_and_only_the_last_one_is_as_far_as_the_event() {
    let stage = Stage::set(options(), 1, TIMING).await;
    // 1 MiB each, in base64.
    let large = "QUFB".repeat((1 << 20) / 3);
    let records: Vec<(String, &str)> = (1..=5).map(|number| (number.to_string(), large.as_str())).collect();
    let records: Vec<(&str, &str)> = records.iter().map(|(number, data)| (number.as_str(), *data)).collect();
    stage.give(vec![event(&records, Some("5"), false)]);
    let mut reader = stage.reader().await;
    let (mut pages, mut read) = (Vec::new(), 0);
    while read < 5 {
        let page = next_full(reader.as_mut()).await;
        read += page.records.len();
        pages.push((page.records.len(), page.left > 0, page.behind));
    }
    assert_eq!(pages[..2], [(2, true, None), (2, true, None)]);
    let (records, is_left, behind) = pages[2];
    assert_eq!((records, is_left), (1, false));
    assert!(behind.is_none_or(|behind| behind.is_zero()), "{behind:?}");
}

#[tokio::test]
async fn it_keeps_the_contract() {
    let stage = Stage::set(options(), 3, TIMING).await;
    let producer = Producer::new(stage.stand_in.settings("orders"), Context::system());
    let client = stage.source.connection.client.clone();
    source_contract(&stage.source, &Orders { stand_in: &stage.stand_in, producer, client }, 3).await;
    let counts = stage.counts();
    assert!(counts.subscriptions >= 3 && counts.fallbacks == 0, "{counts:?}");
}

#[tokio::test]
async fn subscriptions_that_end_or_are_renewed_leave_no_gap_and_repeat_nothing() {
    let short = StoreOptions { subscribe_to_shard_session_ms: 250, ..options() };
    let renewed = Timing { renew_after: Duration::from_millis(250), ..TIMING };
    for (options, timing) in [(short, TIMING), (options(), renewed)] {
        let stage = Stage::set(options, 1, timing).await;
        let mut reader = stage.reader().await;
        let mut expected = Vec::new();
        for round in 0..8 {
            let names = [format!("{round}a"), format!("{round}b")];
            stage.put(&names.each_ref().map(String::as_str)).await;
            assert_eq!(read(reader.as_mut(), 2).await, names);
            expected.extend(names);
        }
        let mut again = stage.reader().await;
        assert_eq!(read(again.as_mut(), expected.len()).await, expected);
        let counts = stage.counts();
        assert!(counts.subscriptions >= 4, "{counts:?}");
        assert_eq!((counts.broken_subscriptions, counts.fallbacks), (0, 0), "an end in time is no failure");
        assert_eq!(stage.stand_in.requests("GetRecords"), 0);
    }
}

#[tokio::test]
async fn a_new_subscription_keeps_its_distance_from_the_last_one() {
    let timing = Timing { between: Duration::from_millis(300), renew_after: Duration::ZERO, ..TIMING };
    let stage = Stage::set(options(), 1, timing).await;
    let mut reader = stage.reader().await;
    let started_at = Context::system().clock.now_micros();
    for _ in 0..4 {
        reader.next().await.expect("a page");
    }
    let took = Context::system().clock.now_micros() - started_at;
    assert!(took >= 900_000, "{took} µs");
    assert_eq!(stage.counts().subscriptions, 4);
}

#[tokio::test]
async fn subscriptions_that_break_are_made_again_where_the_reader_stands() {
    let troubles = [
        ("taken by another", Trouble::Refused(400, "ResourceInUseException")),
        ("throttled", Trouble::Refused(400, "LimitExceededException")),
        ("failed", Trouble::Refused(500, "InternalFailure")),
        ("reset before the first message", Trouble::Cut(0)),
        ("reset in the middle of the first event", Trouble::Cut(1)),
        ("reset in the middle of the second event", Trouble::Cut(2)),
        ("ended without an event", Trouble::Messages(vec![encode_initial_response()])),
        ("ended without a message", Trouble::Messages(vec![])),
        ("unknown to this program", Trouble::Messages(vec![encode_exception("Newfangled", "sorry")])),
        ("not understood", Trouble::Messages(vec![b"nonsense, and enough of it".to_vec()])),
    ];
    for (what, trouble) in troubles {
        let stage = Stage::set(options(), 1, TIMING).await;
        stage.stand_in.trouble(SUBSCRIBE, trouble);
        stage.put(&["a", "b"]).await;
        let mut reader = stage.reader().await;
        assert_eq!(read(reader.as_mut(), 2).await, ["a", "b"], "{what}");
        stage.put(&["c"]).await;
        assert_eq!(read(reader.as_mut(), 1).await, ["c"], "{what}");
        let counts = stage.counts();
        assert_eq!((counts.broken_subscriptions, counts.fallbacks), (1, 0), "{what}: {counts:?}");
    }
}

#[tokio::test]
async fn a_subscription_that_another_takes_over_is_taken_back() {
    let stage = Stage::set(options(), 1, TIMING).await;
    stage.give(vec![encode_exception("ResourceInUseException", "another call to SubscribeToShard")]);
    stage.give(vec![encode_exception("InternalFailureException", "fell over")]);
    stage.put(&["a"]).await;
    assert_eq!(read(stage.reader().await.as_mut(), 1).await, ["a"]);
    let counts = stage.counts();
    assert_eq!((counts.subscriptions, counts.broken_subscriptions, counts.fallbacks), (3, 2, 0));
}

#[tokio::test]
async fn a_subscription_that_falls_silent_is_made_again() {
    let timing = Timing { stall_after: Duration::from_millis(1_000), ..TIMING };
    for trouble in [Trouble::Mute, Trouble::Hang(0), Trouble::Hang(1), Trouble::Hang(2)] {
        let what = format!("{trouble:?}");
        let stage = Stage::set(options(), 1, timing).await;
        stage.stand_in.trouble(SUBSCRIBE, trouble);
        stage.put(&["a"]).await;
        let mut reader = stage.reader().await;
        assert_eq!(read(reader.as_mut(), 1).await, ["a"], "{what}");
        stage.put(&["b"]).await;
        assert_eq!(read(reader.as_mut(), 1).await, ["b"], "{what}");
        assert!(stage.counts().broken_subscriptions >= 1, "{what}");
    }
}

#[tokio::test]
async fn where_subscribing_fails_the_shard_is_polled_for_a_while_and_then_subscribed_to_again() {
    let stage = Stage::set(options(), 1, TIMING).await;
    for _ in 0..FAILURES {
        stage.stand_in.trouble(SUBSCRIBE, Trouble::Refused(500, "InternalFailure"));
    }
    stage.put(&["a", "b"]).await;
    let mut reader = stage.reader().await;
    assert_eq!(read(reader.as_mut(), 2).await, ["a", "b"]);
    let counts = stage.counts();
    assert_eq!((counts.subscriptions, counts.broken_subscriptions, counts.fallbacks), (0, 5, 1));
    assert!(stage.stand_in.requests("GetRecords") > 0);

    // After an unsuccessful try in between, one failure is enough.
    stage.stand_in.trouble(SUBSCRIBE, Trouble::Refused(500, "InternalFailure"));
    while stage.counts().subscriptions == 0 {
        assert!(reader.next().await.expect("a page").records.is_empty());
    }
    assert_eq!((stage.counts().broken_subscriptions, stage.counts().fallbacks), (6, 2));
    let polls = stage.stand_in.requests("GetRecords");
    stage.put(&["c"]).await;
    assert_eq!(read(reader.as_mut(), 1).await, ["c"]);
    assert_eq!(stage.stand_in.requests("GetRecords"), polls, "no poll any more");
}

#[tokio::test]
async fn a_refusal_that_will_be_repeated_is_not_tried_again_and_the_shard_is_polled() {
    for code in ["AccessDeniedException", "ResourceNotFoundException"] {
        let stage = Stage::set(options(), 1, TIMING).await;
        stage.stand_in.trouble(SUBSCRIBE, Trouble::Refused(400, code));
        stage.put(&["a"]).await;
        assert_eq!(read(stage.reader().await.as_mut(), 1).await, ["a"]);
        assert_eq!((stage.counts().broken_subscriptions, stage.counts().fallbacks), (1, 1), "{code}");
    }
}

#[tokio::test]
async fn what_polling_cannot_do_either_is_said() {
    let stage = Stage::set(options(), 1, TIMING).await;
    let nowhere = Shard { id: ShardId::new("shardId-000000000007"), ..shard() };
    let mut reader = stage.source.open(&nowhere, StartAt::TrimHorizon).await.expect("open");
    let error = reader.next().await.expect_err("no such shard");
    // The stream is there: the shard is one that it has dropped meanwhile.
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert!(error.to_string().contains("shardId-000000000007"), "{error}");
}

#[tokio::test]
async fn a_continuation_that_is_refused_is_dropped_and_the_position_is_asked_for() {
    let stage = Stage::set(options(), 1, TIMING).await;
    stage.give(vec![event(&[], Some("12345"), false)]);
    stage.stand_in.trouble(SUBSCRIBE, Trouble::Refused(400, "InvalidArgumentException"));
    stage.put(&["a"]).await;
    assert_eq!(read(stage.reader().await.as_mut(), 1).await, ["a"]);
    assert_eq!((stage.counts().broken_subscriptions, stage.counts().fallbacks), (1, 0));
}

#[tokio::test]
async fn a_closed_shard_comes_to_its_end() {
    let stage = Stage::set(options(), 1, TIMING).await;
    stage.put(&["a", "b"]).await;
    let mut reader = stage.reader().await;
    assert_eq!(read(reader.as_mut(), 2).await, ["a", "b"]);
    let split = stage.source.connection.client.split_shard().stream_name("orders");
    let split = split.shard_to_split("shardId-000000000000").new_starting_hash_key("7");
    split.send().await.expect("split");
    let mut ends = Vec::new();
    for mut reader in [reader, stage.reader().await] {
        let mut last = reader.next().await.expect("a page");
        let mut found = payloads(&last);
        while !last.end_of_shard {
            last = reader.next().await.expect("a page");
            found.extend(payloads(&last));
        }
        let requests = stage.stand_in.requests(SUBSCRIBE);
        assert!(reader.next().await.expect("a page").end_of_shard, "it says so again");
        assert_eq!(stage.stand_in.requests(SUBSCRIBE), requests, "and asks no more");
        ends.push(found);
    }
    assert_eq!(ends, [vec![], vec!["a", "b"]]);
}

#[tokio::test]
async fn the_last_event_of_a_closed_shard_may_carry_records() {
    let stage = Stage::set(options(), 1, TIMING).await;
    stage.give(vec![event(&[("1", "YQ==")], Some("1"), false), event(&[("2", "Yg==")], None, true)]);
    let mut reader = stage.reader().await;
    let page = reader.next().await.expect("a page");
    assert_eq!((payloads(&page), page.end_of_shard), (vec!["a".to_owned()], false));
    let page = reader.next().await.expect("a page");
    assert_eq!((payloads(&page), page.end_of_shard), (vec!["b".to_owned()], true));
}

#[tokio::test]
async fn an_event_that_neither_goes_on_nor_ends_the_shard_is_checked_by_a_poll() {
    let stage = Stage::set(options(), 1, TIMING).await;
    stage.give(vec![event(&[], None, false)]);
    let mut reader = stage.reader().await;
    assert!(!reader.next().await.expect("a page").end_of_shard);
    stage.put(&["a", "b"]).await;
    assert_eq!(read(reader.as_mut(), 2).await, ["a", "b"]);
    assert_eq!(stage.stand_in.requests("GetRecords"), 1);
    stage.put(&["c"]).await;
    assert_eq!(read(reader.as_mut(), 1).await, ["c"]);
    assert_eq!((stage.stand_in.requests("GetRecords"), stage.counts().fallbacks), (1, 0));
}

#[tokio::test]
async fn a_reader_after_a_position_polls_its_first_page_and_subscribes_behind_it() {
    let stage = Stage::set(options(), 1, TIMING).await;
    stage.put(&["a", "b"]).await;
    let first = stage.reader().await.next().await.expect("a page");
    let after = first.records[0].position.clone();
    let mut reader = stage.source.open(&shard(), StartAt::After(after)).await.expect("open");
    assert_eq!(stage.stand_in.requests("GetRecords"), 0, "nothing is asked before the first call");
    assert_eq!(read(reader.as_mut(), 1).await, ["b"]);
    assert_eq!(stage.stand_in.requests("GetRecords"), 1);
    stage.put(&["c"]).await;
    assert_eq!(read(reader.as_mut(), 1).await, ["c"]);
    assert_eq!((stage.stand_in.requests("GetRecords"), stage.counts().subscriptions), (1, 2));
}

/// The machine's clock, so many µs later.
#[derive(Default)]
struct ShiftedClock(AtomicI64);

impl Clock for ShiftedClock {
    fn now_micros(&self) -> i64 {
        SystemClock.now_micros() + self.0.load(Ordering::SeqCst)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        SystemClock.sleep(duration)
    }
}

impl ShiftedClock {
    fn set(&self, hours: i64) {
        self.0.store(hours * 3_600_000_000, Ordering::SeqCst);
    }
}

/// A stage whose reader's time passes as the test wants it.
async fn shifted(timing: Timing) -> (Stage, Arc<ShiftedClock>) {
    let clock = Arc::new(ShiftedClock::default());
    let context = Context { clock: clock.clone(), random: Random::seeded(1) };
    (Stage::set_with(options(), 1, timing, context).await, clock)
}

/// The next page that has records.
async fn next_full(reader: &mut dyn ShardReader) -> Page {
    loop {
        let page = reader.next().await.expect("a page");
        if !page.records.is_empty() {
            return page;
        }
        assert_eq!(page.gap, None, "told with what comes after it");
    }
}

#[tokio::test]
async fn what_passes_retention_before_it_is_read_is_told_and_fan_out_goes_on_behind_it() {
    for renew_after in [TIMING.renew_after, Duration::ZERO] {
        let (stage, clock) = shifted(Timing { renew_after, ..TIMING }).await;
        stage.put(&["a", "b"]).await;
        let mut reader = stage.reader().await;
        assert_eq!(read(reader.as_mut(), 2).await, ["a", "b"]);
        stage.put(&["c", "d"]).await;
        stage.stand_in.forget("orders", 0, 3).await;
        clock.set(24);
        let page = next_full(reader.as_mut()).await;
        let gap = page.gap.as_ref().expect("c is gone, unread");
        assert_eq!(payloads(&page), ["d"]);
        assert_eq!(gap.next.as_ref().map(|next| &next.0), Some(&page.records[0].position));
        assert_eq!(Some(&gap.after), page.range.as_ref().and_then(|range| range.after.as_ref()));

        let polls = stage.stand_in.requests("GetRecords");
        for _ in 0..2 {
            assert_eq!(reader.next().await.expect("a page").gap, None, "told once");
        }
        stage.put(&["e"]).await;
        assert_eq!(payloads(&next_full(reader.as_mut()).await), ["e"]);
        assert!(stage.stand_in.requests("GetRecords") <= polls + 2, "at the tip it is sure again");
        assert_eq!(stage.counts().fallbacks, 0);
    }
}

#[tokio::test]
async fn a_reader_at_the_tip_or_well_within_retention_does_not_poll() {
    let (stage, clock) = shifted(TIMING).await;
    stage.put(&["a"]).await;
    let mut reader = stage.reader().await;
    assert_eq!(read(reader.as_mut(), 1).await, ["a"]);
    for hours in [23, 40, 60] {
        stage.stand_in.forget("orders", 0, 1).await;
        clock.set(hours);
        let page = reader.next().await.expect("a page");
        assert_eq!((payloads(&page), page.gap), (vec![], None), "{hours}");
    }
    assert_eq!(stage.stand_in.requests("GetRecords"), 0);
}

#[tokio::test]
async fn a_reader_far_behind_polls_each_page_for_as_long_as_it_is() {
    let stage = Stage::set(options(), 1, TIMING).await;
    stage.put(&["a"]).await;
    let old = stage.reader().await.next().await.expect("a page").records[0].position.sequence.clone();
    // An event of 1970, an hour behind: retention has passed since then.
    let late = late_event(old.as_str());
    stage.give(vec![late]);
    let mut reader = stage.reader().await;
    assert_eq!(read(reader.as_mut(), 1).await, ["a"]);
    let subscriptions = stage.counts().subscriptions;
    stage.put(&["b", "c"]).await;
    assert_eq!(read(reader.as_mut(), 2).await, ["b", "c"]);
    assert_eq!(stage.counts().subscriptions, subscriptions, "polled");
    assert!(stage.stand_in.requests("GetRecords") > 0);
}

#[tokio::test]
async fn a_consumer_that_was_deregistered_is_an_error_after_the_shard_was_polled_for_a_while() {
    let stage = Stage::set(options(), 1, TIMING).await;
    for _ in 0..2 {
        stage.stand_in.trouble(SUBSCRIBE, Trouble::Refused(400, "ResourceNotFoundException"));
    }
    stage.put(&["a"]).await;
    let mut reader = stage.reader().await;
    assert_eq!(read(reader.as_mut(), 1).await, ["a"], "polled");
    let error = loop {
        if let Err(error) = reader.next().await {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert!(error.to_string().contains("does not know our consumer any more"), "{error}");
    assert!(stage.stand_in.requests("GetRecords") > 1, "for a while");
    stage.put(&["b"]).await;
    assert_eq!(read(reader.as_mut(), 1).await, ["b"], "whoever goes on all the same misses nothing");
}

#[tokio::test]
async fn an_order_that_is_broken_is_corrupt_and_moves_nothing() {
    let stage = Stage::set(options(), 1, TIMING).await;
    stage.give(vec![event(&[("9", "YQ=="), ("8", "Yg==")], Some("9"), false)]);
    let mut reader = stage.reader().await;
    let error = reader.next().await.expect_err("no order in it");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    stage.put(&["a"]).await;
    assert_eq!(read(reader.as_mut(), 1).await, ["a"]);
}

#[tokio::test]
async fn only_an_event_that_was_sent_after_it_was_asked_for_says_that_nothing_more_is_there() {
    let stage = Stage::set(options(), 1, TIMING).await;
    let empty = || event(&[], Some("1"), false);
    stage.give(vec![empty(), empty(), empty()]);
    let mut reader = stage.reader().await;
    let behind = |page: Page| page.behind;
    assert_eq!(behind(reader.next().await.expect("a page")), Some(Duration::ZERO), "of a new subscription");
    assert_eq!(behind(reader.next().await.expect("a page")), None, "it was there before it was asked for");
}

#[tokio::test]
async fn calls_that_are_dropped_subscribe_once() {
    let stage = Stage::set(options(), 1, TIMING).await;
    stage.put(&["a"]).await;
    let mut reader = stage.reader().await;
    let mut dropped = 0;
    let page = loop {
        tokio::select! {
            biased;
            page = reader.next() => break page.expect("a page"),
            () = yields(1) => dropped += 1,
        }
    };
    assert_eq!(payloads(&page), ["a"]);
    assert!(dropped > 2, "{dropped}");
    assert_eq!(stage.stand_in.requests(SUBSCRIBE), 1);
}
