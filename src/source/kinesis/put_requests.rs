//! PutRecords requests: what goes into one, sending it, and sending again what it left undone.
//!
//! Owns the limits of a request and the count of what became of the records. Which records go together is the
//! producer's and the pace's.

use std::ops::Range;
use std::time::Duration;

use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;

use super::connection::Connection;
use super::fault::Fault;
use super::producer::PutItem;
use crate::batch::ShardId;
use crate::error::Result;

/// Records a request takes at most.
pub(super) const RECORDS_A_REQUEST: usize = 500;
/// Bytes of payloads and partition keys a request takes at most. AWS has raised it to 10 MiB; servers that speak its
/// protocol have not.
pub(super) const BYTES_A_REQUEST: usize = 5 * 1024 * 1024;

/// What a put did. A user record is what was given to put, a Kinesis record what went out: the same, but for those
/// that were packed into aggregates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PutReport {
    /// User records that the stream has taken.
    pub records: u64,
    /// Kinesis records that the stream has taken.
    pub kinesis_records: u64,
    /// Their bytes, payloads and partition keys.
    pub bytes: u64,
    /// Requests sent.
    pub requests: u64,
    /// Kinesis records that were refused at first (throttled, mostly) and put again.
    pub refused: u64,
    /// User records sent again because no answer came: each may stand in the stream twice.
    pub maybe_doubled: u64,
    /// Time waited for the shards' limits.
    pub paced: Duration,
    /// Time waited before sending again what was refused or unanswered.
    pub backed_off: Duration,
}

/// A Kinesis record on its way.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    pub(super) item: PutItem,
    /// The user records in it, where it is an aggregate; else empty.
    pub(super) packed: Vec<PutItem>,
    /// The shard that it was packed for.
    pub(super) meant_for: Option<ShardId>,
}

impl Outgoing {
    /// A user record as it is.
    pub(super) fn plain(item: PutItem) -> Self {
        Self { item, packed: Vec::new(), meant_for: None }
    }

    fn user_records(&self) -> u64 {
        self.packed.len().max(1) as u64
    }
}

/// An aggregate that another shard took than it was packed for: the stream has resharded.
#[derive(Debug)]
pub(super) struct Strayed {
    pub(super) packed: Vec<PutItem>,
    pub(super) taken_by: ShardId,
}

/// Sends requests, and counts.
pub(super) struct Requests<'a> {
    connection: &'a Connection,
    pub(super) report: PutReport,
    pub(super) strayed: Vec<Strayed>,
}

impl<'a> Requests<'a> {
    pub(super) fn new(connection: &'a Connection) -> Self {
        Self { connection, report: PutReport::default(), strayed: Vec::new() }
    }

    /// Sends a request until all of it is taken.
    pub(super) async fn put_all(&mut self, mut outgoing: Vec<Outgoing>) -> Result<()> {
        let mut tries = 0;
        loop {
            let sent = outgoing.len();
            let fault = match self.put_once(&outgoing).await {
                Ok(Outcome { fault: None, .. }) => return Ok(()),
                Ok(Outcome { refused, fault: Some(fault) }) => {
                    let is_refused = |index: &usize| refused.binary_search(index).is_ok();
                    let numbered = outgoing.into_iter().enumerate();
                    outgoing = numbered.filter(|(index, _)| is_refused(index)).map(|(_, entry)| entry).collect();
                    fault
                }
                Err(fault) => fault,
            };
            // The limit is for a stream that takes nothing, not for one that takes little.
            tries = if outgoing.len() < sent { 1 } else { tries + 1 };
            if !fault.passes() || tries >= self.connection.settings.backoff.attempts {
                return Err(self.connection.give_up("put records", &fault));
            }
            let pause = self.connection.pause(tries, &fault);
            self.report.backed_off += pause;
            self.connection.context.clock.sleep(pause).await;
        }
    }

    async fn put_once(&mut self, outgoing: &[Outgoing]) -> Result<Outcome, Fault> {
        let Connection { client, settings, .. } = self.connection;
        let entries = outgoing.iter().map(entry).collect::<Result<Vec<_>, Fault>>()?;
        let request = client.put_records().stream_name(&settings.stream).set_records(Some(entries));
        self.report.requests += 1;
        let answer = self.connection.once(request.send()).await.inspect_err(|fault| {
            let doubtful: u64 = outgoing.iter().map(Outgoing::user_records).sum();
            self.report.maybe_doubled += if fault.is_ambiguous() { doubtful } else { 0 };
        })?;
        let results = answer.records();
        if results.len() != outgoing.len() {
            let (sent, answered) = (outgoing.len(), results.len());
            return Err(Fault::Refused(format!("{sent} records were put and {answered} answered for")));
        }
        let mut outcome = Outcome { refused: Vec::new(), fault: None };
        for (index, (record, result)) in outgoing.iter().zip(results).enumerate() {
            let Some(code) = result.error_code() else {
                self.taken(record, result.shard_id());
                continue;
            };
            let fault = Fault::answered(200, Some(code), result.error_message());
            // One that will not pass decides: there is no point in sending it again.
            let decides = outcome.fault.is_none() || !fault.passes();
            outcome.fault = if decides { Some(fault) } else { outcome.fault };
            outcome.refused.push(index);
        }
        self.report.refused += outcome.refused.len() as u64;
        Ok(outcome)
    }

    fn taken(&mut self, record: &Outgoing, shard: Option<&str>) {
        self.report.records += record.user_records();
        self.report.kinesis_records += 1;
        self.report.bytes += record.item.bytes() as u64;
        let Some((meant_for, shard)) = record.meant_for.as_ref().zip(shard) else { return };
        // A record alone in its Kinesis record is right wherever its hash key led it.
        if meant_for.as_str() != shard && record.packed.len() > 1 {
            self.strayed.push(Strayed { packed: record.packed.clone(), taken_by: ShardId::new(shard) });
        }
    }
}

/// What a request left undone: the refused entries' indices, ascending, and why.
struct Outcome {
    refused: Vec<usize>,
    fault: Option<Fault>,
}

fn entry(outgoing: &Outgoing) -> Result<PutRecordsRequestEntry, Fault> {
    let PutItem { partition_key, explicit_hash_key, payload } = &outgoing.item;
    let data = Blob::from_maybe_shared(payload.clone());
    let builder = PutRecordsRequestEntry::builder().data(data).partition_key(partition_key);
    let builder = builder.set_explicit_hash_key(explicit_hash_key.clone());
    builder.build().map_err(|error| Fault::Refused(error.to_string()))
}

/// Cuts the records into requests: as many as fit, at least one each.
pub(super) fn requests(records: &[Outgoing]) -> Vec<Range<usize>> {
    let mut requests: Vec<Range<usize>> = Vec::new();
    let mut bytes = 0;
    for (index, record) in records.iter().enumerate() {
        let size = record.item.bytes();
        match requests.last_mut() {
            Some(request) if request.len() < RECORDS_A_REQUEST && bytes + size <= BYTES_A_REQUEST => {
                request.end = index + 1;
                bytes += size;
            }
            _ => {
                requests.push(index..index + 1);
                bytes = size;
            }
        }
    }
    requests
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn record(bytes: usize) -> Outgoing {
        Outgoing::plain(PutItem::new("key", Bytes::from(vec![0; bytes])))
    }

    #[test]
    fn a_request_is_full_at_500_records_or_5_mib() {
        let megabyte = 1024 * 1024;
        let cases = [
            (vec![], vec![]),
            (vec![1; 500], vec![500]),
            (vec![1; 1001], vec![500, 500, 1]),
            (vec![megabyte - 3; 11], vec![5, 5, 1]),
            (vec![6 * megabyte, 1], vec![1, 1]),
        ];
        for (sizes, expected) in cases {
            let records: Vec<Outgoing> = sizes.iter().map(|size| record(*size)).collect();
            let lengths: Vec<usize> = requests(&records).iter().map(ExactSizeIterator::len).collect();
            assert_eq!(lengths, expected, "{} records", records.len());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn every_record_is_in_one_request_and_in_its_order(sizes in proptest::collection::vec(0usize..900_000, 0..40)) {
            let records: Vec<Outgoing> = sizes.iter().map(|size| record(*size)).collect();
            let mut next = 0;
            for request in requests(&records) {
                prop_assert_eq!(request.start, next);
                let bytes: usize = sizes[request.clone()].iter().map(|size| size + 3).sum();
                prop_assert!(request.len() == 1 || bytes <= BYTES_A_REQUEST);
                next = request.end;
            }
            prop_assert_eq!(next, records.len());
        }
    }
}
