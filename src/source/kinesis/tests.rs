//! The Kinesis source, admin and producer against ferrokinesis.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use bytes::Bytes;
use ferrokinesis::store::StoreOptions;
use tokio::net::TcpListener;

use super::stand_in::{StandIn, Trouble, context};
use super::*;
use crate::error::ErrorKind;
use crate::runtime::{Backoff, Clock, ManualClock, Random, SystemClock};
use crate::source::aggregate::{Taken, take_apart};
use crate::source::contract::{Filler, source_contract, yields};
use crate::source::{Aggregator, Known, Page, plan};

/// A stream of a stand-in, from the side of those who fill it.
pub(super) struct Orders<'a> {
    pub(super) stand_in: &'a StandIn,
    pub(super) producer: Producer,
    pub(super) client: Client,
}

#[async_trait]
impl Filler for Orders<'_> {
    async fn put_all(&self, records: Vec<(String, String)>) {
        let items = records.iter().map(|(key, payload)| StandIn::item(key, payload)).collect();
        self.producer.put(items).await.expect("put");
    }

    async fn split(&self, shard: &Shard) {
        let middle = shard.hashes.first + (shard.hashes.last - shard.hashes.first) / 2 + 1;
        let split = self.client.split_shard().stream_name("orders").shard_to_split(shard.id.as_str());
        split.new_starting_hash_key(middle.to_string()).send().await.expect("split");
    }

    async fn merge(&self, lower: &Shard, upper: &Shard) {
        let merge = self.client.merge_shards().stream_name("orders").shard_to_merge(lower.id.as_str());
        merge.adjacent_shard_to_merge(upper.id.as_str()).send().await.expect("merged");
    }

    async fn forget(&self, shard: &Shard, count: usize) {
        let index = shard.id.as_str().strip_prefix("shardId-").and_then(|index| index.parse().ok());
        self.stand_in.forget("orders", index.expect("its index"), count).await;
    }
}

fn options() -> StoreOptions {
    StoreOptions { create_stream_ms: 0, update_stream_ms: 0, shard_limit: 2000, ..StoreOptions::default() }
}

fn source(stand_in: &StandIn) -> KinesisSource {
    KinesisSource::new(stand_in.settings("orders"), context())
}

fn first_shard() -> Shard {
    Shard { id: ShardId::new("shardId-000000000000"), parents: vec![], closed: false, hashes: HashRange::ALL }
}

async fn first_reader(source: &KinesisSource) -> Box<dyn ShardReader> {
    source.open(&first_shard(), StartAt::TrimHorizon).await.expect("open")
}

fn payloads(page: &Page) -> Vec<String> {
    page.records.iter().map(|record| String::from_utf8_lossy(&record.payload).into_owned()).collect()
}

/// What one shard holds, where it fits into one answer.
async fn contents(stand_in: &StandIn) -> Vec<String> {
    payloads(&first_reader(&source(stand_in)).await.next().await.expect("a page"))
}

fn items(payloads: &[&str]) -> Vec<PutItem> {
    payloads.iter().map(|payload| StandIn::item("k", payload)).collect()
}

#[tokio::test]
async fn it_keeps_the_contract() {
    // Its limits are those of writing: the producer has to wait for them, really.
    let strict = StoreOptions { enforce_limits: true, iterator_ttl_seconds: 1, ..options() };
    for options in [options(), strict] {
        let stand_in = StandIn::start(options).await;
        let producer = stand_in.stream("orders", 3).await;
        let source = source(&stand_in);
        let client = source.connection.client.clone();
        source_contract(&source, &Orders { stand_in: &stand_in, producer, client }, 3).await;
    }
}

#[tokio::test]
async fn of_an_aggregate_in_two_shards_each_gives_its_own_parts() {
    let stand_in = StandIn::start(options()).await;
    stand_in.stream("orders", 2).await;
    let source = source(&stand_in);
    let shards = source.shards().await.expect("shards");
    let mut aggregator = Aggregator::new(1 << 20);
    for number in 0..50 {
        assert_eq!(aggregator.add(format!("key-{number}"), None, format!("{number:02}").into()), None);
    }
    let aggregate = aggregator.flush().expect("50 parts");
    for shard in &shards {
        let data = Blob::from_maybe_shared(aggregate.payload.clone());
        let put = source.connection.client.put_record().stream_name("orders").data(data).partition_key("any");
        put.explicit_hash_key(shard.hashes.first.to_string()).send().await.expect("put");
    }
    let mut read = Vec::new();
    for shard in &shards {
        let mut reader = source.open(shard, StartAt::TrimHorizon).await.expect("open");
        let page = reader.next().await.expect("a page");
        let through = page.range.clone().expect("covered").through;
        assert_eq!(through.subsequence, 49, "through the last part, whoever it belongs to");
        read.extend(payloads(&page));
        // Stopped anywhere inside, the rest is read and nothing else.
        for index in [0, page.records.len() / 2, page.records.len() - 1] {
            let after = page.records[index].position.clone();
            let mut reader = source.open(shard, StartAt::After(after)).await.expect("open");
            let rest = reader.next().await.expect("a page");
            assert_eq!((payloads(&rest), rest.gap), (payloads(&page)[index + 1..].to_vec(), None));
        }
        let mut reader = source.open(shard, StartAt::After(through)).await.expect("open");
        let rest = reader.next().await.expect("a page");
        assert_eq!((rest.records.len(), rest.range, rest.gap), (0, None, None));
    }
    read.sort();
    assert_eq!(read, (0..50).map(|number| format!("{number:02}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_answer_of_ten_megabytes_is_paid_for_by_the_time_after_it() {
    let stand_in = StandIn::start(options()).await;
    let producer = stand_in.stream("orders", 1).await;
    let payload = "x".repeat(512 * 1024 - 1);
    for _ in 0..20 {
        producer.put((0..1).map(|_| StandIn::item("k", &payload)).collect()).await.expect("put");
    }
    let clock = Arc::new(ManualClock::at(0));
    let context = Context { clock: clock.clone(), random: Random::seeded(1) };
    let limits = Some(ReadLimits::KINESIS);
    let source = KinesisSource::new(KinesisSettings { limits, ..stand_in.settings("orders") }, context);
    let mut reader = first_reader(&source).await;
    let mut records = 0;
    while records < 20 {
        let page = reader.next().await.expect("a page");
        records += page.records.len();
        assert_eq!((page.left > 0, clock.now_micros()), (records < 20, 0), "one answer, in several pages");
    }
    assert!(reader.next().await.expect("a page").records.is_empty());
    assert_eq!(clock.now_micros(), 5_000_000);
}

#[tokio::test]
async fn a_thousand_shards_are_listed_and_planned_within_a_second() {
    let stand_in = StandIn::start(options()).await;
    stand_in.stream("orders", 1_000).await;
    let source = source(&stand_in);
    let (opening, positions, ended) = (None, Default::default(), Default::default());
    let started = SystemClock.now_micros();
    let listed = source.shards().await.expect("shards");
    let plan = plan(&listed, &Known { opening, positions: &positions, ended: &ended });
    let took = Duration::from_micros((SystemClock.now_micros() - started).unsigned_abs());
    assert_eq!((listed.len(), plan.ready.len()), (1_000, 1_000));
    println!("1,000 shards listed and planned in {took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[tokio::test]
async fn shards_beyond_the_first_page_are_listed() {
    let stand_in = StandIn::start(options()).await;
    stand_in.stream("orders", 1003).await;
    let shards = source(&stand_in).shards().await.expect("shards");
    let expected: Vec<ShardId> = (0..1003).map(|index| ShardId::new(format!("shardId-{index:012}"))).collect();
    assert_eq!(shards.into_iter().map(|shard| shard.id).collect::<Vec<_>>(), expected);
    assert_eq!(stand_in.requests("ListShards"), 2);
}

#[tokio::test]
async fn closed_shards_are_listed_with_their_children_and_come_to_an_end() {
    let stand_in = StandIn::start(options()).await;
    let producer = stand_in.stream("orders", 2).await;
    producer.put(items(&["a", "b"])).await.expect("put");
    let source = source(&stand_in);
    let holder = if first_reader(&source).await.next().await.expect("a page").records.is_empty() { 1 } else { 0 };
    let names = ["shardId-000000000000", "shardId-000000000001"];
    let merge = source.connection.client.merge_shards().stream_name("orders");
    merge.shard_to_merge(names[0]).adjacent_shard_to_merge(names[1]).send().await.expect("merged");

    let shards = source.shards().await.expect("shards");
    assert_eq!(shards.iter().map(|shard| shard.closed).collect::<Vec<_>>(), [true, true, false]);
    assert_eq!(shards[2].parents, names.map(ShardId::new));
    let mut reader = source.open(&shards[holder], StartAt::TrimHorizon).await.expect("open");
    let mut read = Vec::new();
    for _ in 0..10 {
        let page = reader.next().await.expect("a page");
        read.extend(payloads(&page));
        if page.end_of_shard {
            break;
        }
    }
    assert_eq!(read, ["a", "b"]);
    let requests = stand_in.requests("GetRecords");
    assert!(reader.next().await.expect("a page").end_of_shard, "it says so again");
    assert_eq!(stand_in.requests("GetRecords"), requests, "and asks no more");
}

#[tokio::test]
async fn reading_goes_on_through_throttling_faults_and_expired_iterators() {
    let stand_in = StandIn::start(options()).await;
    let producer = stand_in.stream("orders", 1).await;
    let source = source(&stand_in);
    let mut reader = first_reader(&source).await;
    let mut read = Vec::new();
    for round in ["a", "b", "c"] {
        producer.put(items(&[round])).await.expect("put");
        stand_in.trouble("GetShardIterator", Trouble::Refused(400, "ProvisionedThroughputExceededException"));
        stand_in.trouble("GetRecords", Trouble::Refused(400, "ProvisionedThroughputExceededException"));
        stand_in.trouble("GetRecords", Trouble::Refused(400, "ExpiredIteratorException"));
        stand_in.trouble("GetRecords", Trouble::Refused(503, "ServiceUnavailable"));
        stand_in.trouble("GetRecords", Trouble::Unanswered);
        read.extend(payloads(&reader.next().await.expect("a page")));
    }
    assert_eq!(read, ["a", "b", "c"]);
    let counts = source.counts();
    assert_eq!((counts.throttled, counts.failed, counts.expired_iterators), (6, 6, 3));
}

#[tokio::test]
async fn throttling_without_end_is_said_in_a_sentence() {
    let stand_in = StandIn::start(options()).await;
    stand_in.stream("orders", 1).await;
    for _ in 0..6 {
        stand_in.trouble("GetRecords", Trouble::Refused(400, "ProvisionedThroughputExceededException"));
    }
    let mut reader = first_reader(&source(&stand_in)).await;
    let error = reader.next().await.expect_err("six tries");
    assert_eq!(error.kind(), ErrorKind::Transient);
    let text = error.to_string();
    assert!(text.contains("does not let us read shardId-000000000000") && text.contains("on order"), "{text}");
    assert!(reader.next().await.expect("the same again").records.is_empty());
}

#[tokio::test]
async fn a_server_that_is_not_there_is_said_in_bounded_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
    drop(listener);
    let clock = Arc::new(ManualClock::at(0));
    let context = Context { clock: clock.clone(), random: Random::seeded(1) };
    let source = KinesisSource::new(KinesisSettings::local(&endpoint, "orders"), context);
    let error = first_reader(&source).await.next().await.expect_err("nobody there");
    assert_eq!(error.kind(), ErrorKind::Transient);
    let text = error.to_string();
    let start = format!("cannot reach the stream orders at {endpoint} to read shardId-000000000000 (");
    assert!(text.starts_with(&start), "{text}");
    let end = "10 tries): is `millstream stream` running? nothing is lost: a new start goes on from the last committed \
               position";
    assert!(text.ends_with(end), "{text}");
    let waited = clock.now_micros();
    assert!((8_000_000..25_000_000).contains(&waited), "{waited} µs");
    assert_eq!(source.shards().await.expect_err("nobody there").kind(), ErrorKind::Transient);
}

#[tokio::test]
async fn a_caller_who_drops_calls_meets_the_limit_all_the_same() {
    let stand_in = StandIn::start(options()).await;
    stand_in.stream("orders", 1).await;
    for _ in 0..1000 {
        stand_in.trouble("GetShardIterator", Trouble::Refused(503, "ServiceUnavailable"));
    }
    let source = source(&stand_in);
    let mut reader = first_reader(&source).await;
    let mut failed = None;
    for patience in 0..1000 {
        // Now and then long enough for an answer to come, never long enough for six.
        let before = source.counts().failed;
        tokio::select! {
            biased;
            page = reader.next() => failed = Some(page.expect_err("only failures")),
            () = async { while source.counts().failed == before { yields(1).await } yields(patience % 3).await } => {}
        }
        if failed.is_some() {
            break;
        }
    }
    assert_eq!(failed.expect("the limit is met").kind(), ErrorKind::Transient);
    assert_eq!(source.counts().failed, 6);
}

#[tokio::test]
async fn a_stream_that_does_not_exist_is_the_users_to_change() {
    let stand_in = StandIn::start(options()).await;
    let source = source(&stand_in);
    let errors = [
        source.describe().await.expect_err("no stream"),
        source.shards().await.expect_err("no stream"),
        first_reader(&source).await.next().await.expect_err("no stream"),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("the stream orders at http://127.0.0.1"), "{error}");
    }
}

#[tokio::test]
async fn a_reader_that_has_all_asks_five_times_a_second_and_one_that_is_behind_does_not_wait() {
    let stand_in = StandIn::start(options()).await;
    let producer = stand_in.stream("orders", 1).await;
    let clock = Arc::new(ManualClock::at(0));
    let context = Context { clock: clock.clone(), random: Random::seeded(1) };
    let source = KinesisSource::new(stand_in.settings("orders"), context);
    let mut reader = first_reader(&source).await;
    for asked in 0..6 {
        assert!(reader.next().await.expect("a page").records.is_empty());
        assert_eq!(clock.now_micros(), asked * 200_000);
    }
    producer.put((0..10_100).map(|_| StandIn::item("k", "x")).collect()).await.expect("put");
    let pages = [reader.next().await.expect("a page"), reader.next().await.expect("a page")];
    assert_eq!(pages.each_ref().map(|page| page.records.len()), [10_000, 100]);
    assert_eq!(pages.each_ref().map(|page| page.behind), [None, Some(Duration::ZERO)]);
    assert_eq!(clock.now_micros(), 6 * 200_000, "no pause between the two");
}

#[tokio::test]
async fn a_start_in_the_future_waits_for_it() {
    let stand_in = StandIn::start(options()).await;
    let producer = stand_in.stream("orders", 1).await;
    producer.put(items(&["early"])).await.expect("put");
    let context = context();
    let start = StartAt::Time(context.clock.now_millis() + 1_000);
    let source = KinesisSource::new(stand_in.settings("orders"), context);
    let mut reader = source.open(&first_shard(), start).await.expect("open");
    for _ in 0..5 {
        assert!(reader.next().await.expect("a page").records.is_empty());
    }
    assert_eq!(stand_in.requests("GetShardIterator"), 0, "a time to come is not asked for");
}

#[tokio::test]
async fn refused_records_are_put_again_before_the_next_request() {
    let stand_in = StandIn::start(options()).await;
    let producer = stand_in.stream("orders", 1).await;
    stand_in.trouble("PutRecords", Trouble::Partly((100..500).collect()));
    stand_in.trouble("PutRecords", Trouble::Partly((300..400).collect()));
    stand_in.trouble("PutRecords", Trouble::Refused(400, "ProvisionedThroughputExceededException"));
    let names: Vec<String> = (0..1_200).map(|number| number.to_string()).collect();
    let records = names.iter().map(|name| StandIn::item("k", name)).collect();
    let report = producer.put(records).await.expect("put");
    assert_eq!((report.records, report.kinesis_records, report.requests, report.refused), (1_200, 1_200, 6, 500));
    assert_eq!(report.bytes, names.iter().map(|name| name.len() as u64 + 1).sum::<u64>());
    assert_eq!((report.maybe_doubled, report.paced), (0, Duration::ZERO));
    assert!(report.backed_off >= Duration::from_millis(150), "{report:?}");
    assert_eq!(producer.counts().throttled, 1);
    assert_eq!(contents(&stand_in).await, names);
}

#[tokio::test]
async fn a_put_whose_answer_is_lost_is_sent_again_and_says_so() {
    let stand_in = StandIn::start(options()).await;
    let producer = stand_in.stream("orders", 1).await;
    stand_in.trouble("PutRecords", Trouble::Unanswered);
    let report = producer.put(items(&["a", "b"])).await.expect("put");
    assert_eq!((report.records, report.requests, report.refused, report.maybe_doubled), (2, 2, 0, 2));
    assert_eq!(contents(&stand_in).await, ["a", "b", "a", "b"]);
}

#[tokio::test]
async fn a_stream_that_takes_nothing_is_given_up_and_one_that_takes_little_is_not() {
    let stand_in = StandIn::start(options()).await;
    let producer = stand_in.stream("orders", 1).await;
    for left in (1..20).rev() {
        stand_in.trouble("PutRecords", Trouble::Partly((1..=left).collect()));
    }
    let names: Vec<String> = (0..20).map(|number| format!("{number:02}")).collect();
    let records: Vec<PutItem> = names.iter().map(|name| StandIn::item("k", name)).collect();
    assert_eq!(producer.put(records.clone()).await.expect("one at a time").requests, 20);
    assert_eq!(contents(&stand_in).await, names);

    for _ in 0..6 {
        stand_in.trouble("PutRecords", Trouble::Partly((0..20).collect()));
    }
    let error = producer.put(records).await.expect_err("six tries without one record");
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert!(error.to_string().contains("may be in the stream already"), "{error}");
}

#[tokio::test]
async fn the_servers_own_limit_on_puts_slows_down_and_loses_nothing() {
    let stand_in = StandIn::start(StoreOptions { enforce_limits: true, ..options() }).await;
    stand_in.stream("orders", 1).await;
    // The server counts by its own clock: at most a second is really waited here.
    let backoff = Backoff { first: Duration::from_millis(20), longest: Duration::from_millis(50), attempts: 200 };
    let settings = KinesisSettings { backoff, ..stand_in.settings("orders") };
    let producer = Producer::new(settings, Context::system());
    let names: Vec<String> = (0..1_500).map(|number| number.to_string()).collect();
    let report = producer.put(names.iter().map(|name| StandIn::item("k", name)).collect()).await.expect("put");
    assert!(report.records == 1_500 && report.refused > 0 && report.requests > 3, "{report:?}");
    let mut read = contents(&stand_in).await;
    read.sort_by_key(|name| name.parse::<u32>().expect("a number"));
    assert_eq!(read, names);
}

#[tokio::test]
async fn a_record_that_is_too_large_is_refused_with_the_servers_words() {
    let stand_in = StandIn::start(options()).await;
    let producer = stand_in.stream("orders", 1).await;
    let error = producer.put(items(&[&"x".repeat(2 * 1024 * 1024)])).await.expect_err("2 MiB");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("refuses to let us put records"), "{error}");
    assert!(contents(&stand_in).await.is_empty());
    assert_eq!(producer.put(Vec::new()).await.expect("nothing to do"), PutReport::default());
}

#[tokio::test]
async fn a_stream_is_made_once_and_waited_for() {
    let stand_in = StandIn::start(StoreOptions { create_stream_ms: 30, ..options() }).await;
    let admin = StreamAdmin::new(stand_in.settings("orders"), context());
    assert!(admin.ensure_stream(2).await.expect("made"));
    assert_eq!(source(&stand_in).shards().await.expect("shards").len(), 2, "it is there when the call returns");
    assert!(!admin.ensure_stream(5).await.expect("there"));
    assert_eq!(source(&stand_in).shards().await.expect("shards").len(), 2);
    assert_eq!(stand_in.requests("CreateStream"), 1);

    let refused = StreamAdmin::new(stand_in.settings("no such name!"), context()).ensure_stream(1).await;
    assert_eq!(refused.expect_err("not a stream's name").kind(), ErrorKind::Invalid);
}

#[test]
fn settings_do_not_show_the_secret() {
    let credentials = Credentials::Static { access_key: "AKIA".into(), secret_key: "hush".into() };
    let settings = KinesisSettings { credentials, ..KinesisSettings::local("http://127.0.0.1:1", "orders") };
    let text = format!("{settings:?}");
    assert!(text.contains("AKIA") && !text.contains("hush"), "{text}");
}

#[tokio::test]
async fn a_time_that_the_server_has_not_reached_is_asked_for_again_and_a_bad_position_is_not() {
    let stand_in = StandIn::start(options()).await;
    let producer = stand_in.stream("orders", 1).await;
    producer.put(items(&["a"])).await.expect("put");
    let source = source(&stand_in);
    stand_in.trouble("GetShardIterator", Trouble::Refused(400, "InvalidArgumentException"));
    let mut reader = source.open(&first_shard(), StartAt::Time(0)).await.expect("open");
    assert_eq!(payloads(&reader.next().await.expect("a page")), ["a"]);

    let elsewhere = StartAt::After(crate::batch::Position::new(7.into(), 0));
    let mut reader = source.open(&first_shard(), elsewhere).await.expect("open");
    let error = reader.next().await.expect_err("not a position of this stream");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(stand_in.requests("GetShardIterator"), 3);
}

/// 30 records of 50 kB over one shard's megabyte a second.
fn heavy_items() -> Vec<PutItem> {
    (0..30).map(|number| StandIn::item(&format!("k{number}"), &"x".repeat(50_000))).collect()
}

#[tokio::test]
async fn within_the_shards_limits_nothing_is_refused_and_beyond_them_much_is() {
    let stand_in = StandIn::start(StoreOptions { enforce_limits: true, ..options() }).await;
    for name in ["unpaced", "paced"] {
        stand_in.stream(name, 1).await;
    }
    // The server counts by its own clock: a second or two is really waited here.
    let producer = |name: &str| Producer::new(stand_in.settings(name), Context::system());
    let unpaced = producer("unpaced").put(heavy_items()).await.expect("put");
    assert!(unpaced.refused >= 9 && unpaced.paced.is_zero(), "{unpaced:?}");

    let limited = producer("paced").with_limits(Some(ProducerLimits::AWS));
    let paced = limited.put(heavy_items()).await.expect("put");
    assert_eq!((paced.records, paced.refused, paced.backed_off), (30, 0, Duration::ZERO), "{paced:?}");
    assert!(paced.paced > Duration::from_millis(500), "{paced:?}");
    assert_eq!(stand_in.requests("ListShards"), 1, "only a producer with limits asks for the shards");
}

#[tokio::test]
async fn shards_are_listed_anew_where_puts_are_refused_again_and_again() {
    let stand_in = StandIn::start(options()).await;
    stand_in.stream("orders", 2).await;
    let limited = Producer::new(stand_in.settings("orders"), context()).with_limits(Some(ProducerLimits::AWS));
    for round in 0..12 {
        stand_in.trouble("PutRecords", Trouble::Partly(vec![0]));
        let report = limited.put(items(&["a", "b"])).await.expect("put");
        assert_eq!(report.refused, 1);
        assert_eq!(stand_in.requests("ListShards"), 1 + round / 5, "after {} puts", round + 1);
    }
}

#[tokio::test]
async fn aggregates_hold_every_record_and_go_to_the_shard_of_each() {
    let stand_in = StandIn::start(options()).await;
    let producer = stand_in.stream("orders", 3).await;
    let sent: Vec<PutItem> =
        (0..3_000).map(|number| StandIn::item(&format!("key {}", number % 90), &format!("order {number}"))).collect();
    let report = producer.put_aggregated(sent.clone()).await.expect("put");
    assert!(report.records == 3_000 && (3..30).contains(&report.kinesis_records), "{report:?}");
    let mut found = owned_parts(&stand_in).await;
    let mut expected: Vec<Bytes> = sent.into_iter().map(|item| item.payload).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn records_of_an_aggregate_that_a_split_led_astray_are_put_again() {
    let stand_in = StandIn::start(options()).await;
    let producer = stand_in.stream("orders", 1).await;
    let items = |round: u32| -> Vec<PutItem> {
        (0..200).map(|number| StandIn::item(&format!("key {number}"), &format!("{round} {number}"))).collect()
    };
    let before = producer.put_aggregated(items(0)).await.expect("put");
    assert_eq!(before.kinesis_records, 1);
    let source = source(&stand_in);
    let split = source.connection.client.split_shard().stream_name("orders").shard_to_split("shardId-000000000000");
    split.new_starting_hash_key((u128::MAX / 2).to_string()).send().await.expect("split");

    let after = producer.put_aggregated(items(1)).await.expect("put");
    assert_eq!((after.records, after.kinesis_records), (200, 2), "one for the shard that is gone, and its other half");
    let mut found = owned_parts(&stand_in).await;
    let mut expected: Vec<Bytes> = [items(0), items(1)].concat().into_iter().map(|item| item.payload).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected, "each once");
}

/// What readers of all shards keep: of each aggregate the parts whose hash keys the shard has.
async fn owned_parts(stand_in: &StandIn) -> Vec<Bytes> {
    let source = source(stand_in);
    let answer = |shard: Shard| {
        let client = &source.connection.client;
        async move {
            let iterator = client.get_shard_iterator().stream_name("orders").shard_id(shard.id.as_str());
            let iterator = iterator.shard_iterator_type(types::ShardIteratorType::TrimHorizon);
            let iterator = iterator.send().await.expect("an iterator").shard_iterator.expect("an iterator");
            let records = client.get_records().shard_iterator(iterator).send().await.expect("records").records;
            let payloads = records.into_iter().map(|record| Bytes::from(record.data.into_inner()));
            let parts = payloads.flat_map(|payload| match take_apart(&payload) {
                Taken::Parts(parts) => parts,
                other => panic!("{other:?}"),
            });
            parts.filter(|part| shard.hashes.contains(part.hash_key)).map(|part| part.payload).collect::<Vec<_>>()
        }
    };
    let mut found = Vec::new();
    for shard in source.shards().await.expect("shards") {
        found.extend(answer(shard).await);
    }
    found
}

#[tokio::test]
async fn a_put_that_fails_half_way_tells_what_it_did_before() {
    let stand_in = StandIn::start(options()).await;
    let producer = stand_in.stream("orders", 1).await;
    let items: Vec<PutItem> = (0..501).map(|number| StandIn::item("k", &number.to_string())).collect();
    stand_in.trouble("PutRecords", Trouble::Partly(vec![1, 2]));
    stand_in.trouble("PutRecords", Trouble::Partly(vec![]));
    stand_in.trouble("PutRecords", Trouble::Refused(400, "AccessDeniedException"));
    assert_eq!(producer.unfinished(), PutReport::default());
    producer.put(items).await.expect_err("its last record is refused");
    let report = producer.unfinished();
    assert_eq!((report.records, report.requests, report.refused), (500, 3, 2), "{report:?}");
    assert!(report.backed_off > Duration::ZERO);
}

#[tokio::test]
async fn a_stream_that_names_no_retention_has_an_unknown_one() {
    let stand_in = StandIn::start(options()).await;
    stand_in.stream("orders", 1).await;
    let source = source(&stand_in);
    for (hours, expected) in [(0, None), (-1, None), (48, Some(Duration::from_secs(48 * 3600)))] {
        let summary = serde_json::json!({ "StreamDescriptionSummary": {
            "StreamName": "orders", "StreamARN": "arn:orders", "StreamStatus": "ACTIVE", "OpenShardCount": 1,
            "RetentionPeriodHours": hours, "StreamCreationTimestamp": 1.0, "EnhancedMonitoring": [],
        }});
        stand_in.trouble("DescribeStreamSummary", Trouble::Answered(summary));
        assert_eq!(source.describe().await.expect("described").retention, expected, "{hours}");
    }
}

#[tokio::test]
async fn an_iterator_that_is_refused_to_the_end_of_the_tries_is_told_in_the_servers_words() {
    let stand_in = StandIn::start(options()).await;
    stand_in.stream("orders", 1).await;
    for _ in 0..6 {
        stand_in.trouble("GetRecords", Trouble::Refused(400, "InvalidArgumentException"));
    }
    let mut reader = source(&stand_in).open(&first_shard(), StartAt::TrimHorizon).await.expect("open");
    let error = reader.next().await.expect_err("six tries");
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert!(error.to_string().contains("the iterator is refused: InvalidArgumentException: on order"), "{error}");
    assert_eq!(stand_in.requests("GetShardIterator"), 6, "a new one each time");
}

#[tokio::test]
async fn times_of_arrival_come_through_the_sdk_to_the_last_digit() {
    let stand_in = StandIn::start(options()).await;
    stand_in.stream("orders", 1).await;
    let times: Vec<i64> = (0..10_000).map(|nth| 1_700_000_000_000_000 + nth * 97 + nth % 13).collect();
    let record = |(nth, time): (usize, &i64)| {
        let second = format!("{}.{:06}", time / 1_000_000, time % 1_000_000);
        format!(
            r#"{{"SequenceNumber": "{}", "Data": "YQ==", "PartitionKey": "k", "ApproximateArrivalTimestamp": {second}}}"#,
            nth + 1
        )
    };
    let records: Vec<String> = times.iter().enumerate().map(record).collect();
    let page = format!(r#"{{"Records": [{}], "MillisBehindLatest": 0, "NextShardIterator": "x"}}"#, records.join(","));
    stand_in.trouble("GetRecords", Trouble::Answered(serde_json::from_str(&page).expect("JSON")));
    let page = first_reader(&source(&stand_in)).await.next().await.expect("a page");
    assert_eq!(page.records.iter().map(|record| record.arrived_at).collect::<Vec<_>>(), times);
}
