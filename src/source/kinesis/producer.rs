//! Putting records into a stream.
//!
//! Owns the cutting into requests and the repeating of what was refused. A put is at least once: where an answer does
//! not come, the request may have been carried out, and sending it again doubles its records.

use std::ops::Range;

use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use bytes::Bytes;

use super::connection::{CallCounts, Connection, KinesisSettings};
use super::fault::Fault;
use crate::error::{Error, Result};
use crate::runtime::Context;

/// Records a request takes at most.
const RECORDS_A_REQUEST: usize = 500;
/// Bytes of payloads and partition keys a request takes at most. AWS has raised it to 10 MiB; servers that speak its
/// protocol have not.
const BYTES_A_REQUEST: usize = 5 * 1024 * 1024;

/// A record to put.
#[derive(Debug, Clone)]
pub struct PutItem {
    /// What chooses the shard: 1 to 256 characters. Records of one key stand in one shard.
    pub partition_key: String,
    /// The bytes, at most 1 MiB unless the stream allows more.
    pub payload: Bytes,
}

/// What a put did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PutReport {
    /// Records that the stream has taken.
    pub records: u64,
    /// Requests sent.
    pub requests: u64,
    /// Records that were refused at first (throttled, mostly) and put again.
    pub refused: u64,
    /// Records sent again because no answer came: each may stand in the stream twice.
    pub maybe_doubled: u64,
}

/// Puts records into one stream.
pub struct Producer {
    connection: Connection,
}

impl Producer {
    /// For the stream of these settings. Nothing is asked of the server yet.
    pub fn new(settings: KinesisSettings, context: Context) -> Self {
        let stakes = "some of these records may be in the stream already: putting all of them again would double those";
        Self { connection: Connection::new(settings, context, stakes) }
    }

    /// What became of the calls so far.
    pub fn counts(&self) -> CallCounts {
        self.connection.counts()
    }

    /// Puts the records, in requests of at most 500 records and 5 MiB, one after the other. What a request leaves
    /// undone is sent again before the next request, so a key's records change their order only where one of them
    /// was refused and a later one of the same request was not. One producer at a time keeps a key's order.
    ///
    /// # Errors
    /// Transient where the server cannot be reached or throttles to the end of the tries, Invalid where it refuses
    /// the records (one too large, a key too long). In both cases earlier records may be in the stream.
    pub async fn put(&self, records: Vec<PutItem>) -> Result<PutReport> {
        let mut report = PutReport::default();
        for request in requests(&records) {
            let entries = records.get(request).unwrap_or_default().iter().map(entry).collect::<Result<Vec<_>>>()?;
            self.put_all(entries, &mut report).await?;
        }
        Ok(report)
    }

    async fn put_all(&self, mut entries: Vec<PutRecordsRequestEntry>, report: &mut PutReport) -> Result<()> {
        let mut tries = 0;
        loop {
            let sent = entries.len();
            let fault = match self.put_once(&entries, report).await {
                Ok(Outcome { fault: None, .. }) => return Ok(()),
                Ok(Outcome { refused, fault: Some(fault) }) => {
                    let is_refused = |index: &usize| refused.binary_search(index).is_ok();
                    let numbered = entries.into_iter().enumerate();
                    entries = numbered.filter(|(index, _)| is_refused(index)).map(|(_, entry)| entry).collect();
                    fault
                }
                Err(fault) => fault,
            };
            // The limit is for a stream that takes nothing, not for one that takes little.
            tries = if entries.len() < sent { 1 } else { tries + 1 };
            if !fault.passes() || tries >= self.connection.settings.backoff.attempts {
                return Err(self.connection.give_up("put records", &fault));
            }
            self.connection.context.clock.sleep(self.connection.pause(tries, &fault)).await;
        }
    }

    async fn put_once(
        &self,
        entries: &[PutRecordsRequestEntry],
        report: &mut PutReport,
    ) -> std::result::Result<Outcome, Fault> {
        let Connection { client, settings, .. } = &self.connection;
        let request = client.put_records().stream_name(&settings.stream).set_records(Some(entries.to_vec()));
        report.requests += 1;
        let answer = self.connection.once(request.send()).await.inspect_err(|fault| {
            report.maybe_doubled += if fault.is_ambiguous() { entries.len() as u64 } else { 0 };
        })?;
        let results = answer.records();
        if results.len() != entries.len() {
            let (sent, answered) = (entries.len(), results.len());
            return Err(Fault::Refused(format!("{sent} records were put and {answered} answered for")));
        }
        let mut outcome = Outcome { refused: Vec::new(), fault: None };
        for (index, result) in results.iter().enumerate() {
            if let Some(code) = result.error_code() {
                let fault = Fault::answered(200, Some(code), result.error_message());
                // One that will not pass decides: there is no point in sending it again.
                let decides = outcome.fault.is_none() || !fault.passes();
                outcome.fault = if decides { Some(fault) } else { outcome.fault };
                outcome.refused.push(index);
            }
        }
        report.refused += outcome.refused.len() as u64;
        report.records += (entries.len() - outcome.refused.len()) as u64;
        Ok(outcome)
    }
}

/// What a request left undone: the refused entries' indices, ascending, and why.
struct Outcome {
    refused: Vec<usize>,
    fault: Option<Fault>,
}

fn entry(item: &PutItem) -> Result<PutRecordsRequestEntry> {
    let data = Blob::from_maybe_shared(item.payload.clone());
    let builder = PutRecordsRequestEntry::builder().data(data).partition_key(&item.partition_key);
    builder.build().map_err(|error| Error::internal("a record to put is incomplete").with_source(error))
}

/// Cuts the records into requests: as many as fit, at least one each.
fn requests(records: &[PutItem]) -> Vec<Range<usize>> {
    let mut requests: Vec<Range<usize>> = Vec::new();
    let mut bytes = 0;
    for (index, record) in records.iter().enumerate() {
        let size = record.payload.len() + record.partition_key.len();
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
    use proptest::prelude::*;

    fn item(bytes: usize) -> PutItem {
        PutItem { partition_key: "key".to_owned(), payload: Bytes::from(vec![0; bytes]) }
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
            let records: Vec<PutItem> = sizes.iter().map(|size| item(*size)).collect();
            let lengths: Vec<usize> = requests(&records).iter().map(ExactSizeIterator::len).collect();
            assert_eq!(lengths, expected, "{} records", records.len());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn every_record_is_in_one_request_and_in_its_order(sizes in proptest::collection::vec(0usize..900_000, 0..40)) {
            let records: Vec<PutItem> = sizes.iter().map(|size| item(*size)).collect();
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
