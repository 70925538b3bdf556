//! Polling one shard: iterators, pacing, and the trouble between two pages.
//!
//! Owns a reader's place in its shard, which moves only when a page is returned. The failed tries are counted here
//! and not in a call's own frame, so that a caller who drops calls (a batch's deadline) still meets the limit.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::{Record, ShardIteratorType};

use super::connection::Connection;
use super::fault::Fault;
use crate::batch::{Position, Range, RawRecord, SequenceNumber, ShardId, StartAt};
use crate::error::{Error, Result};
use crate::source::{Page, ShardReader};

/// Records a call asks for: the service's own limit.
const RECORDS_A_CALL: usize = 10_000;

pub(super) struct KinesisReader {
    connection: Arc<Connection>,
    shard: ShardId,
    start: StartAt,
    /// The last record returned, or where `start` says to go on.
    position: Option<Position>,
    iterator: Option<String>,
    rest: Option<Rest>,
    /// Failed tries since the last answer.
    failures: u32,
    ended: bool,
}

/// No call before `until`, µs since 1970 UTC. `at_most` bounds the wait where the clock is set back.
#[derive(Clone, Copy)]
struct Rest {
    until: i64,
    at_most: Duration,
}

impl KinesisReader {
    pub(super) fn new(connection: Arc<Connection>, shard: ShardId, start: StartAt) -> Self {
        let position = match &start {
            StartAt::After(position) => Some(position.clone()),
            StartAt::TrimHorizon | StartAt::Time(_) => None,
        };
        Self { connection, shard, start, position, iterator: None, rest: None, failures: 0, ended: false }
    }

    async fn wait(&self) {
        let clock = &self.connection.context.clock;
        let Some(Rest { until, at_most }) = self.rest else { return };
        let left = u64::try_from(until.saturating_sub(clock.now_micros())).unwrap_or(0);
        if left > 0 {
            clock.sleep(Duration::from_micros(left).min(at_most)).await;
        }
    }

    fn rest_until(&mut self, from: i64, pause: Duration) {
        let micros = i64::try_from(pause.as_micros()).unwrap_or(i64::MAX);
        self.rest = Some(Rest { until: from.saturating_add(micros), at_most: pause });
    }

    fn now(&self) -> i64 {
        self.connection.context.clock.now_micros()
    }

    /// Whether the time to start at has not come yet: the service refuses a timestamp in the future.
    fn is_early(&self) -> bool {
        match self.start {
            StartAt::Time(millis) => self.position.is_none() && millis > self.now().div_euclid(1000),
            StartAt::TrimHorizon | StartAt::After(_) => false,
        }
    }

    async fn ask(&mut self) -> Result<GetRecordsOutput, Fault> {
        let iterator = match &self.iterator {
            Some(iterator) => iterator.clone(),
            None => {
                let iterator = self.ask_for_iterator().await?;
                self.iterator.insert(iterator).clone()
            }
        };
        // Set before the call, so that one that is dropped half-way counts against the pace too.
        self.rest_until(self.now(), self.connection.settings.poll_interval);
        let call = self.connection.client.get_records().shard_iterator(iterator).limit(RECORDS_A_CALL as i32).send();
        match self.connection.once(call).await {
            // Not ours to repair, but a new one may be right: a server that was started anew, a clock set back.
            Err(Fault::InvalidArgument(_)) => Err(Fault::ExpiredIterator),
            outcome => outcome,
        }
    }

    async fn ask_for_iterator(&self) -> Result<String, Fault> {
        let request = self.connection.client.get_shard_iterator().stream_name(&self.connection.settings.stream);
        let request = request.shard_id(self.shard.as_str());
        // Where the position's record has passed retention, the service starts at the oldest it has, in silence. What
        // was lost so cannot be told from a position alone; `status` warns while there is still time.
        let request = match (&self.position, &self.start) {
            (Some(position), _) => {
                request.shard_iterator_type(kind_after(position)).starting_sequence_number(position.sequence.as_str())
            }
            (None, StartAt::Time(millis)) => request
                .shard_iterator_type(ShardIteratorType::AtTimestamp)
                .timestamp(DateTime::from_secs(whole_second(*millis))),
            (None, _) => request.shard_iterator_type(ShardIteratorType::TrimHorizon),
        };
        let nothing = || Fault::Unreachable("an answer without an iterator".to_owned());
        match (self.connection.once(request.send()).await, &self.start) {
            // Our clock may be ahead of the service's: its now comes.
            (Err(Fault::InvalidArgument(words)), StartAt::Time(_)) if self.position.is_none() => {
                Err(Fault::Service(words))
            }
            (outcome, _) => outcome?.shard_iterator.ok_or_else(nothing),
        }
    }

    /// Notes a failed try; an error where there is no point in another.
    fn postpone(&mut self, fault: &Fault) -> Result<()> {
        self.failures += 1;
        if *fault == Fault::ExpiredIterator {
            self.iterator = None;
        }
        if !fault.passes() || self.failures >= self.connection.settings.backoff.attempts {
            self.failures = 0;
            return Err(self.connection.give_up(&format!("read {}", self.shard), fault));
        }
        let pause = self.connection.pause(self.failures, fault);
        self.rest_until(self.now(), pause);
        Ok(())
    }

    /// Turns an answer to a call that was made at `asked_at` into a page, and moves on.
    fn accept(&mut self, answer: GetRecordsOutput, asked_at: i64) -> Result<Page> {
        let is_full = answer.records.len() >= RECORDS_A_CALL;
        let records = self.records(answer.records)?;
        let range = records.last().map(|last| Range::new(self.position.clone(), last.position.clone()));
        let behind = answer.millis_behind_latest.map(|millis| u64::try_from(millis).unwrap_or(0));
        // A server may say 0 although a full answer leaves more to fetch: then how far behind is not known.
        let behind = behind.filter(|millis| *millis > 0 || !is_full).map(Duration::from_millis);

        let is_behind = is_full || behind.is_some_and(|behind| !behind.is_zero());
        let settings = &self.connection.settings;
        let interval = if is_behind { settings.catch_up_interval } else { settings.poll_interval };
        self.rest_until(asked_at, interval);
        self.failures = 0;
        self.ended = answer.next_shard_iterator.is_none();
        self.iterator = answer.next_shard_iterator;
        if let Some(range) = &range {
            self.position = Some(range.through.clone());
        }
        Ok(Page { records, range, behind, end_of_shard: self.ended, gap: None })
    }

    fn records(&self, answered: Vec<Record>) -> Result<Vec<RawRecord>> {
        let mut records: Vec<RawRecord> = Vec::with_capacity(answered.len());
        for record in answered {
            // Aggregated records are taken apart here, each part with its own sub-sequence.
            let record = raw_record(&self.shard, record)?;
            if records.is_empty() && self.is_before_start(&record) {
                continue;
            }
            if let Some(last) = records.last().filter(|last| last.position >= record.position) {
                let (shard, earlier, later) = (&self.shard, &last.position, &record.position);
                let message = format!("{shard} gave the record {later} after {earlier}: the stream's order is broken");
                return Err(Error::corrupt(format!("{message}, and nothing of this answer was read")));
            }
            records.push(record);
        }
        Ok(records)
    }

    fn is_before_start(&self, record: &RawRecord) -> bool {
        match (&self.position, &self.start) {
            (Some(position), _) => record.position <= *position,
            // Some servers, where nothing is that young yet, start at their oldest record instead.
            (None, StartAt::Time(millis)) => record.arrived_at < whole_second(*millis).saturating_mul(1_000_000),
            (None, _) => false,
        }
    }
}

/// A position inside an aggregated record asks for that record again; what was read of it is skipped.
fn kind_after(position: &Position) -> ShardIteratorType {
    match position.subsequence {
        0 => ShardIteratorType::AfterSequenceNumber,
        _ => ShardIteratorType::AtSequenceNumber,
    }
}

/// Arrival times are approximate and some servers stamp whole seconds, so a start counts from its second on.
fn whole_second(millis: i64) -> i64 {
    millis.div_euclid(1000)
}

fn raw_record(shard: &ShardId, record: Record) -> Result<RawRecord> {
    let sequence = SequenceNumber::parse(&record.sequence_number)
        .map_err(|error| Error::corrupt(format!("{shard} gave a record without a place in it")).with_source(error))?;
    let Some(arrived) = record.approximate_arrival_timestamp else {
        return Err(Error::corrupt(format!("{shard} gave the record {sequence} without its time of arrival")));
    };
    let arrived_at = arrived.secs().saturating_mul(1_000_000).saturating_add(i64::from(arrived.subsec_nanos() / 1000));
    let (shard, position) = (shard.clone(), Position::new(sequence, 0));
    Ok(RawRecord { shard, position, arrived_at, payload: record.data.into_bytes(), damage: None })
}

#[async_trait]
impl ShardReader for KinesisReader {
    async fn next(&mut self) -> Result<Page> {
        let nothing = Page { behind: Some(Duration::ZERO), end_of_shard: self.ended, ..Page::default() };
        if self.ended {
            return Ok(nothing);
        }
        loop {
            self.wait().await;
            if self.is_early() {
                self.rest_until(self.now(), self.connection.settings.poll_interval);
                return Ok(nothing);
            }
            let asked_at = self.now();
            match self.ask().await {
                Ok(answer) => return self.accept(answer, asked_at),
                Err(fault) => self.postpone(&fault)?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::stand_in::{StandIn, context};
    use super::*;
    use crate::error::ErrorKind;
    use aws_sdk_kinesis::primitives::Blob;
    use ferrokinesis::store::StoreOptions;

    fn reader(stand_in: &StandIn, start: StartAt) -> KinesisReader {
        let connection = Connection::new(stand_in.settings("orders"), context(), "nothing is lost");
        KinesisReader::new(Arc::new(connection), ShardId::new("shardId-000000000000"), start)
    }

    fn record(sequence: &str, arrived_at: i64) -> Record {
        Record::builder()
            .sequence_number(sequence)
            .approximate_arrival_timestamp(DateTime::from_millis(arrived_at))
            .data(Blob::new("x"))
            .partition_key("k")
            .build()
            .expect("a whole record")
    }

    fn position(sequence: u64, subsequence: u64) -> Position {
        Position::new(sequence.into(), subsequence)
    }

    #[tokio::test]
    async fn records_up_to_the_start_are_skipped() {
        let stand_in = StandIn::start(StoreOptions::default()).await;
        let cases = [
            (StartAt::TrimHorizon, vec!["7", "8", "9"]),
            (StartAt::After(position(7, 0)), vec!["8", "9"]),
            // Inside an aggregate: the record itself is asked for again, and what was read of it is skipped.
            (StartAt::After(position(8, 3)), vec!["9"]),
            // From the whole second on.
            (StartAt::Time(2_900), vec!["8", "9"]),
            (StartAt::Time(3_000), vec![]),
        ];
        for (start, expected) in cases {
            let answered = vec![record("7", 1_999), record("8", 2_000), record("9", 2_100)];
            let records = reader(&stand_in, start.clone()).records(answered).expect("in order");
            let sequences: Vec<&str> = records.iter().map(|record| record.position.sequence.as_str()).collect();
            assert_eq!(sequences, expected, "{start:?}");
        }
    }

    #[tokio::test]
    async fn a_record_becomes_its_bytes_its_place_and_its_arrival_in_microseconds() {
        let stand_in = StandIn::start(StoreOptions::default()).await;
        let records = reader(&stand_in, StartAt::TrimHorizon).records(vec![record("00123", 1_250)]).expect("sound");
        assert_eq!(records[0].arrived_at, 1_250_000);
        assert_eq!((records[0].position.clone(), records[0].payload.as_ref()), (position(123, 0), b"x".as_ref()));
    }

    #[tokio::test]
    async fn what_contradicts_itself_is_corrupt_and_moves_nothing() {
        let stand_in = StandIn::start(StoreOptions::default()).await;
        let without_arrival = Record::builder().sequence_number("1").data(Blob::new("x")).partition_key("k");
        let answers = [
            vec![record("12x", 0)],
            vec![record("9", 0), record("8", 0)],
            vec![record("9", 0), record("9", 0)],
            vec![without_arrival.build().expect("whole enough")],
        ];
        for answered in answers {
            let mut reader = reader(&stand_in, StartAt::TrimHorizon);
            let answer = GetRecordsOutput::builder().set_records(Some(answered)).next_shard_iterator("next");
            let error = reader.accept(answer.build().expect("an answer"), 0).expect_err("no order in it");
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            assert!(reader.position.is_none() && reader.iterator.is_none() && !reader.ended);
        }
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
            producer.put(vec![StandIn::item("k", expected)]).await.expect("put");
            let sequence = reader.position.as_ref().map_or("0", |position| position.sequence.as_str());
            let shard = reader.shard.as_str();
            let old = ferrokinesis::shard_iterator::create_shard_iterator("orders", shard, sequence, two_minutes_ago);
            reader.iterator = Some(old);
            let page = reader.next().await.expect("a page");
            let payloads: Vec<&[u8]> = page.records.iter().map(|record| record.payload.as_ref()).collect();
            assert_eq!(payloads, [expected.as_bytes()]);
            assert_eq!(reader.connection.counts().expired_iterators, expired);
        }
    }
}
