//! The records of an answer as a reader gives them on: what it has read already skipped, the rest in order.
//!
//! Owns nothing; the reader's place is a parameter.

use aws_sdk_kinesis::types::Record;

use crate::batch::{Position, RawRecord, SequenceNumber, StartAt};
use crate::error::{Error, Result};
use crate::source::Shard;

/// What an answer brings.
#[derive(Debug, Default)]
pub(super) struct Answered {
    /// What the reader gives on, in the shard's order.
    pub(super) records: Vec<RawRecord>,
    /// The last position that the answer covers; none where all of it was covered before.
    pub(super) through: Option<Position>,
}

/// What of these records comes after the position or, where there is none yet, counts from `start` on.
///
/// # Errors
/// Corrupt where a record has no place, or one that is not behind the one before.
pub(super) fn records_after(
    shard: &Shard,
    start: &StartAt,
    position: Option<&Position>,
    answered: Vec<Record>,
) -> Result<Answered> {
    let mut records: Vec<RawRecord> = Vec::with_capacity(answered.len());
    for record in answered {
        let record = raw_record(shard, record)?;
        let is_before = match (position, start) {
            (Some(position), _) => record.position <= *position,
            // Servers are asked for the second, and some stamp whole ones.
            (None, StartAt::Time(millis)) => record.arrived_at < millis.div_euclid(1000).saturating_mul(1_000_000),
            (None, _) => false,
        };
        if records.is_empty() && is_before {
            continue;
        }
        if let Some(last) = records.last().filter(|last| last.position >= record.position) {
            let message = format!("{} gave the record {} after {}", shard.id, record.position, last.position);
            let sentence = "the stream's order is broken, and nothing of this answer was read";
            return Err(Error::corrupt(format!("{message}: {sentence}")));
        }
        records.push(record);
    }
    let through = records.last().map(|record| record.position.clone());
    Ok(Answered { records, through })
}

fn raw_record(shard: &Shard, record: Record) -> Result<RawRecord> {
    let shard = shard.id.clone();
    let sequence = SequenceNumber::parse(&record.sequence_number)
        .map_err(|error| Error::corrupt(format!("{shard} gave a record without a place in it")).with_source(error))?;
    let Some(arrived) = record.approximate_arrival_timestamp else {
        return Err(Error::corrupt(format!("{shard} gave the record {sequence} without its time of arrival")));
    };
    let arrived_at = arrived.secs().saturating_mul(1_000_000).saturating_add(i64::from(arrived.subsec_nanos() / 1000));
    let position = Position::new(sequence, 0);
    Ok(RawRecord { shard, position, arrived_at, payload: record.data.into_bytes(), damage: None })
}
