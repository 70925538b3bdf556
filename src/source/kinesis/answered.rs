//! The records of an answer as a reader gives them on: what it has read already skipped, the rest in order.
//!
//! Owns nothing; the reader's place is a parameter.

use aws_sdk_kinesis::types::{Record, ShardIteratorType};

use crate::batch::{Position, RawRecord, SequenceNumber, ShardId, StartAt};
use crate::error::{Error, Result};

/// What of these records comes after the position or, where there is none yet, counts from `start` on.
///
/// # Errors
/// Corrupt where a record has no place, or one that is not behind the one before.
pub(super) fn records_after(
    shard: &ShardId,
    start: &StartAt,
    position: Option<&Position>,
    answered: Vec<Record>,
) -> Result<Vec<RawRecord>> {
    let mut records: Vec<RawRecord> = Vec::with_capacity(answered.len());
    for record in answered {
        let record = raw_record(shard, record)?;
        let is_before = match (position, start) {
            (Some(position), _) => record.position <= *position,
            (None, StartAt::Time(millis)) => record.arrived_at < whole_second(*millis).saturating_mul(1_000_000),
            (None, _) => false,
        };
        if records.is_empty() && is_before {
            continue;
        }
        if let Some(last) = records.last().filter(|last| last.position >= record.position) {
            let (earlier, later) = (&last.position, &record.position);
            let message = format!("{shard} gave the record {later} after {earlier}: the stream's order is broken");
            return Err(Error::corrupt(format!("{message}, and nothing of this answer was read")));
        }
        records.push(record);
    }
    Ok(records)
}

/// A position inside an aggregated record asks for that record again; what was read of it is skipped.
pub(super) fn kind_after(position: &Position) -> ShardIteratorType {
    match position.subsequence {
        0 => ShardIteratorType::AfterSequenceNumber,
        _ => ShardIteratorType::AtSequenceNumber,
    }
}

/// Arrival times are approximate and some servers stamp whole seconds, so a start counts from its second on.
pub(super) fn whole_second(millis: i64) -> i64 {
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
