//! Iterators, gaps and credentials, against ferrokinesis.

use std::sync::atomic::{AtomicBool, Ordering};

use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future::ProvideCredentials as Provided;
use aws_sdk_kinesis::config::{self, ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::Record;
use ferrokinesis::store::StoreOptions;

use super::super::stand_in::{StandIn, Trouble, context};
use super::super::{Credentials, KinesisSettings, Producer};
use super::*;
use crate::batch::ShardId;
use crate::error::ErrorKind;
use crate::runtime::{Clock, Context, ManualClock, Random, SystemClock};
use crate::source::HashRange;

const HOUR: Duration = Duration::from_secs(3600);

fn shard() -> Shard {
    Shard { id: ShardId::new("shardId-000000000000"), parents: vec![], closed: false, hashes: HashRange::ALL }
}

fn reader_with(settings: KinesisSettings, context: Context, start: StartAt) -> KinesisReader {
    KinesisReader::new(Arc::new(Connection::new(settings, context, "nothing is lost")), shard(), start)
}

fn reader(stand_in: &StandIn, start: StartAt) -> KinesisReader {
    reader_with(stand_in.settings("orders"), context(), start)
}

async fn stand_in() -> (StandIn, Producer) {
    let stand_in = StandIn::start(StoreOptions { create_stream_ms: 0, ..StoreOptions::default() }).await;
    let producer = stand_in.stream("orders", 1).await;
    (stand_in, producer)
}

async fn put(producer: &Producer, payloads: &[&str]) {
    producer.put(payloads.iter().map(|payload| StandIn::item("k", payload)).collect()).await.expect("put");
}

async fn next(reader: &mut KinesisReader) -> (Vec<String>, Option<Gap>) {
    let page = reader.next().await.expect("a page");
    let texts = page.records.iter().map(|record| String::from_utf8_lossy(&record.payload).into_owned());
    (texts.collect(), page.gap)
}

/// The positions of all that the stream holds.
async fn positions(stand_in: &StandIn) -> Vec<Position> {
    let page = reader(stand_in, StartAt::TrimHorizon).next().await.expect("a page");
    page.records.into_iter().map(|record| record.position).collect()
}

#[tokio::test]
async fn an_answer_that_is_refused_moves_nothing() {
    let (stand_in, _producer) = stand_in().await;
    let mut reader = reader(&stand_in, StartAt::TrimHorizon);
    let record = |sequence: &str| {
        let builder = Record::builder().sequence_number(sequence).data(Blob::new("x")).partition_key("k");
        builder.approximate_arrival_timestamp(DateTime::from_millis(0)).build().expect("a whole record")
    };
    let records = vec![record("9"), record("8")];
    let answer = GetRecordsOutput::builder().set_records(Some(records)).next_shard_iterator("next");
    let error = reader.accept(answer.build().expect("an answer"), 0).expect_err("no order in it");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(reader.position.is_none() && reader.iterator.is_none() && !reader.ended);
}

#[tokio::test]
async fn an_iterator_that_is_worth_nothing_is_renewed_where_the_reader_stands() {
    let options = StoreOptions { create_stream_ms: 0, iterator_ttl_seconds: 60, ..StoreOptions::default() };
    let stand_in = StandIn::start(options).await;
    let producer = stand_in.stream("orders", 1).await;
    let two_minutes_ago = (context().clock.now_micros() / 1000 - 120_000) as u64;
    let mut reader = reader(&stand_in, StartAt::TrimHorizon);
    // An iterator that means no place is refused, one that does is too old.
    for (expected, expired) in [("first", 0), ("second", 1)] {
        put(&producer, &[expected]).await;
        let sequence = reader.position.as_ref().map_or("0", |position| position.sequence.as_str());
        let shard = reader.shard.id.as_str();
        let old = ferrokinesis::shard_iterator::create_shard_iterator("orders", shard, sequence, two_minutes_ago);
        reader.iterator = Some(old);
        assert_eq!(next(&mut reader).await, (vec![expected.to_owned()], None));
        assert_eq!(reader.connection.counts().expired_iterators, expired);
    }
}

#[tokio::test]
async fn a_record_past_retention_at_the_start_is_told_once() {
    let (stand_in, producer) = stand_in().await;
    put(&producer, &["a", "b", "c", "d"]).await;
    let all = positions(&stand_in).await;
    let after = |index: usize| StartAt::After(all[index].clone());
    stand_in.forget("orders", 0, 2).await;

    let mut lost = reader(&stand_in, after(0));
    let (read, gap) = next(&mut lost).await;
    let gap = gap.expect("b is gone, unread");
    assert_eq!((read, &gap.after), (vec!["c".to_owned(), "d".to_owned()], &all[0]));
    assert_eq!(gap.next.as_ref().map(|next| &next.0), Some(&all[2]));
    assert!(gap.next.is_some_and(|next| next.1 > 0), "with its arrival");
    assert_eq!(next(&mut lost).await, (vec![], None), "told once");

    assert_eq!(next(&mut reader(&stand_in, after(2))).await, (vec!["d".to_owned()], None), "c is there");
    assert_eq!(next(&mut reader(&stand_in, after(3))).await, (vec![], None), "d is there, and nothing after it");

    stand_in.forget("orders", 0, 2).await;
    let before = stand_in.requests("GetShardIterator");
    let mut empty = reader(&stand_in, after(3));
    assert_eq!(next(&mut empty).await, (vec![], Some(Gap { after: all[3].clone(), next: None })));
    assert_eq!(stand_in.requests("GetShardIterator") - before, 2, "asked once more before it is believed");
    assert_eq!(next(&mut empty).await, (vec![], None));
    put(&producer, &["e"]).await;
    assert_eq!(next(&mut empty).await, (vec!["e".to_owned()], None));
}

#[tokio::test]
async fn a_reader_that_falls_behind_retention_while_it_runs_says_so() {
    let (stand_in, producer) = stand_in().await;
    let clock = Arc::new(ManualClock::at(SystemClock.now_micros()));
    let context = Context { clock: clock.clone(), random: Random::seeded(1) };
    let mut reader = reader_with(stand_in.settings("orders"), context, StartAt::TrimHorizon);
    put(&producer, &["a"]).await;
    assert_eq!(next(&mut reader).await, (vec!["a".to_owned()], None));
    put(&producer, &["b", "c"]).await;
    clock.advance(23 * HOUR);
    assert_eq!(next(&mut reader).await, (vec!["b".to_owned(), "c".to_owned()], None));
    let asked = || (stand_in.requests("GetShardIterator"), stand_in.requests("DescribeStreamSummary"));
    let before = asked();
    clock.advance(23 * HOUR);
    assert_eq!(next(&mut reader).await, (vec![], None));
    assert_eq!(asked(), before, "not past retention, and how long it is was asked before");

    put(&producer, &["d", "e"]).await;
    clock.advance(25 * HOUR);
    assert_eq!(next(&mut reader).await.1, None, "its place is there still");
    assert_eq!(asked().0, before.0 + 1, "but it looked");
    put(&producer, &["f", "g"]).await;
    clock.advance(25 * HOUR);
    stand_in.forget("orders", 0, 6).await;
    let (read, gap) = next(&mut reader).await;
    let gap = gap.expect("f is gone, unread");
    assert_eq!((read, gap.after < gap.next.expect("g is there").0), (vec!["g".to_owned()], true));
}

#[tokio::test]
async fn a_reader_at_the_tip_misses_nothing_though_the_record_at_its_place_is_gone() {
    let (stand_in, producer) = stand_in().await;
    put(&producer, &["a"]).await;
    let mut reader = reader(&stand_in, StartAt::TrimHorizon);
    assert_eq!(next(&mut reader).await, (vec!["a".to_owned()], None));
    stand_in.forget("orders", 0, 1).await;
    stand_in.trouble("GetRecords", Trouble::Refused(400, "ExpiredIteratorException"));
    put(&producer, &["b"]).await;
    assert_eq!(next(&mut reader).await, (vec!["b".to_owned()], None));
    assert_eq!(reader.connection.counts().expired_iterators, 1);
}

#[tokio::test]
async fn a_shard_that_is_listed_no_more_is_not_taken_for_a_missing_stream() {
    let (stand_in, _producer) = stand_in().await;
    let connection = Arc::new(Connection::new(stand_in.settings("orders"), context(), "nothing is lost"));
    let gone = Shard { id: ShardId::new("shardId-000000000007"), ..shard() };
    stand_in.trouble("DescribeStreamSummary", Trouble::Refused(500, "InternalFailure"));
    let error = KinesisReader::new(connection, gone, StartAt::TrimHorizon).next().await.expect_err("no such shard");
    assert_eq!(error.kind(), ErrorKind::Transient);
    let text = error.to_string();
    assert!(text.contains("cannot read shardId-000000000007") && text.contains("has passed retention"), "{text}");
    assert_eq!(stand_in.requests("GetShardIterator"), 2, "once more, where it could not be told");
}

#[tokio::test]
async fn a_connection_reset_in_the_middle_of_an_answer_loses_nothing() {
    let (stand_in, producer) = stand_in().await;
    let mut reader = reader(&stand_in, StartAt::TrimHorizon);
    for (expected, operation) in [("a", "GetRecords"), ("b", "GetRecords"), ("c", "GetShardIterator")] {
        put(&producer, &[expected]).await;
        stand_in.trouble(operation, Trouble::Torn);
        reader.iterator = reader.iterator.take().filter(|_| operation == "GetRecords");
        assert_eq!(next(&mut reader).await, (vec![expected.to_owned()], None));
    }
    assert_eq!(reader.connection.counts().failed, 3);
}

#[tokio::test]
async fn expired_credentials_are_waited_for_and_unknown_ones_only_where_they_were_known_before() {
    let (stand_in, producer) = stand_in().await;
    put(&producer, &["a"]).await;
    let mut reader = reader(&stand_in, StartAt::TrimHorizon);
    stand_in.trouble("GetShardIterator", Trouble::Refused(400, "UnrecognizedClientException"));
    let error = reader.next().await.expect_err("never known");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("check the region, the credentials"), "{error}");

    for code in ["ExpiredTokenException", "ExpiredToken"] {
        stand_in.trouble("GetShardIterator", Trouble::Refused(400, code));
    }
    assert_eq!(next(&mut reader).await, (vec!["a".to_owned()], None));
    stand_in.trouble("GetRecords", Trouble::Refused(400, "UnrecognizedClientException"));
    assert_eq!(next(&mut reader).await, (vec![], None));
    assert_eq!(reader.connection.counts().expired_credentials, 3);

    for _ in 0..6 {
        stand_in.trouble("GetRecords", Trouble::Refused(400, "ExpiredTokenException"));
    }
    let error = reader.next().await.expect_err("six tries");
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert!(error.to_string().contains("have expired") && error.to_string().contains("aws sso login"), "{error}");
}

/// Has credentials, or none, or does not answer.
#[derive(Debug)]
struct Provider {
    is_slow: AtomicBool,
    has_some: bool,
}

impl ProvideCredentials for Provider {
    fn provide_credentials<'a>(&'a self) -> Provided<'a>
    where
        Self: 'a,
    {
        if self.is_slow.swap(false, Ordering::Relaxed) {
            return Provided::ready(Err(CredentialsError::provider_timed_out(Duration::from_secs(5))));
        }
        Provided::ready(match self.has_some {
            true => Ok(config::Credentials::new("AKIA", "hush", Some("hush".to_owned()), None, "test")),
            false => Err(CredentialsError::not_loaded("no providers in chain provided credentials")),
        })
    }
}

#[tokio::test]
async fn a_chain_gives_the_credentials_and_one_that_has_none_is_the_users_to_change() {
    let (stand_in, producer) = stand_in().await;
    put(&producer, &["a"]).await;
    let reader = |is_slow, has_some| {
        let provider = Provider { is_slow: AtomicBool::new(is_slow), has_some };
        let credentials = Credentials::Chain(SharedCredentialsProvider::new(provider));
        assert_eq!(format!("{credentials:?}"), "Chain");
        reader_with(KinesisSettings { credentials, ..stand_in.settings("orders") }, context(), StartAt::TrimHorizon)
    };
    assert_eq!(next(&mut reader(false, true)).await, (vec!["a".to_owned()], None));
    let mut slow = reader(true, true);
    assert_eq!(next(&mut slow).await, (vec!["a".to_owned()], None), "tried again");
    assert_eq!(slow.connection.counts().failed, 1);
    let mut without = reader(false, false);
    let error = without.next().await.expect_err("no credentials");
    assert_eq!((error.kind(), without.connection.counts().calls), (ErrorKind::Invalid, 1));
    let text = error.to_string();
    assert!(text.contains("there are no AWS credentials to read shardId-000000000000"), "{text}");
    assert!(text.contains("no providers in chain provided credentials") && text.contains("AWS_PROFILE"), "{text}");
}
