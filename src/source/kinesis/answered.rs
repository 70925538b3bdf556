//! The records of an answer as a reader gives them on: aggregates taken apart, what it has read already skipped.
//!
//! Owns the skipping, the order and the sub-sequences: part i of an aggregate has sub-sequence i, a plain record 0. It
//! remembers nothing; the reader's place is a parameter. No payload is copied: the parts share the aggregate's bytes.

use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::Record;

use crate::batch::{Damage, Position, RawRecord, SequenceNumber, StartAt};
use crate::error::{Error, Result};
use crate::source::Shard;
use crate::source::aggregate::{Part, Taken, take_apart};

/// What a piece of an answer brings.
#[derive(Debug, Default)]
pub(super) struct Answered {
    /// What the reader gives on, in the shard's order.
    pub(super) records: Vec<RawRecord>,
    /// The last position that the answer covers, none where all of it was covered before: that of its last record's
    /// last part, also where that part belongs to a sibling shard and is not among `records`.
    pub(super) through: Option<Position>,
    /// The first record at the reader's position or after it, and its arrival (µs since 1970 UTC).
    pub(super) first: Option<(Position, i64)>,
    /// The last record's arrival, µs since 1970 UTC.
    pub(super) last_arrived_at: Option<i64>,
    /// What `records` take in memory, in bytes.
    held: usize,
    /// The last part that belongs to a sibling shard.
    left_out: Option<Position>,
}

/// An answer that is given on piece by piece: an aggregate's parts are many times its bytes.
#[derive(Debug)]
pub(super) struct Answer {
    records: std::vec::IntoIter<Record>,
    /// Whether a piece was given on.
    is_begun: bool,
}

impl Answer {
    pub(super) fn new(records: Vec<Record>) -> Self {
        Self { records: records.into_iter(), is_begun: false }
    }

    /// The payloads and partition keys that are left, as the service's limits count them.
    pub(super) fn bytes(&self) -> u64 {
        let bytes = |record: &Record| record.data.as_ref().len() + record.partition_key.as_ref().map_or(0, String::len);
        self.records.as_slice().iter().map(|record| bytes(record) as u64).sum()
    }

    /// Whether nothing is left.
    pub(super) fn is_over(&self) -> bool {
        self.records.len() == 0
    }

    /// What of the next records comes after the position or, where there is none yet, counts from `start` on; about as
    /// much as takes so many bytes in memory. The position is to be the one that the piece before has led to.
    ///
    /// # Errors
    /// Corrupt where a record has no place, or one that is not behind the one before.
    pub(super) fn piece(
        &mut self,
        shard: &Shard,
        start: &StartAt,
        position: Option<&Position>,
        most: usize,
    ) -> Result<Answered> {
        let before = position.filter(|_| std::mem::replace(&mut self.is_begun, true));
        let mut answer = Answered::default();
        while answer.held < most
            && let Some(record) = self.records.next()
        {
            let whole = raw_record(shard, record)?;
            let sequence = &whole.position.sequence;
            let last = answer.last().or(before);
            if let Some(earlier) = last.filter(|earlier| earlier.sequence >= *sequence) {
                let message = format!("{} gave the record {sequence} after {earlier}", shard.id);
                let sentence = "the stream's order is broken, and nothing of this answer was read";
                return Err(Error::corrupt(format!("{message}: {sentence}")));
            }
            let is_begun = last.is_some();
            answer.last_arrived_at = Some(whole.arrived_at);
            if answer.first.is_none() && position.is_none_or(|position| *sequence >= position.sequence) {
                answer.first = Some((whole.position.clone(), whole.arrived_at));
            }
            if is_begun || !is_before(&whole, start, position) {
                answer.take(shard, position, whole);
            }
        }
        answer.through = answer.last().cloned();
        Ok(answer)
    }
}

/// Whether the whole of the record lies before the start; one at the position's sequence number may hold more parts.
fn is_before(whole: &RawRecord, start: &StartAt, position: Option<&Position>) -> bool {
    match (position, start) {
        (Some(position), _) => whole.position.sequence < position.sequence,
        // Servers are asked for the second, and some, where nothing is that young yet, start at their oldest record.
        (None, StartAt::Time(millis)) => whole.arrived_at < millis.saturating_mul(1000),
        (None, _) => false,
    }
}

impl Answered {
    /// The last position so far, of what is given on and of what is left out.
    fn last(&self) -> Option<&Position> {
        self.records.last().map(|record| &record.position).max(self.left_out.as_ref())
    }

    /// Adds a record, or its parts, as far as they lie after the position.
    fn take(&mut self, shard: &Shard, position: Option<&Position>, whole: RawRecord) {
        let is_new = |candidate: &Position| position.is_none_or(|position| candidate > position);
        match take_apart(&whole.payload) {
            Taken::Plain => self.push(whole, is_new),
            Taken::Damaged(message) => {
                let damage = Some(Box::new(Damage { reason: "damaged_aggregate", message }));
                self.push(RawRecord { damage, ..whole }, is_new);
            }
            Taken::Parts(parts) => {
                for (index, Part { payload, hash_key }) in parts.into_iter().enumerate() {
                    let position = Position::new(whole.position.sequence.clone(), index as u64);
                    if shard.hashes.contains(hash_key) {
                        self.push(RawRecord { position, payload, ..whole.clone() }, is_new);
                    } else if is_new(&position) {
                        // It belongs to a sibling, which gives it from its own copy of the aggregate.
                        self.left_out = Some(position);
                    }
                }
            }
        }
    }

    fn push(&mut self, record: RawRecord, is_new: impl Fn(&Position) -> bool) {
        if is_new(&record.position) {
            self.held += record.payload.len() + size_of::<RawRecord>();
            self.records.push(record);
        }
    }
}

fn raw_record(shard: &Shard, record: Record) -> Result<RawRecord> {
    let shard = shard.id.clone();
    let sequence = SequenceNumber::parse(&record.sequence_number)
        .map_err(|error| Error::corrupt(format!("{shard} gave a record without a place in it")).with_source(error))?;
    let Some(arrived) = record.approximate_arrival_timestamp else {
        return Err(Error::corrupt(format!("{shard} gave the record {sequence} without its time of arrival")));
    };
    let position = Position::new(sequence, 0);
    Ok(RawRecord { shard, position, arrived_at: micros(&arrived), payload: record.data.into_bytes(), damage: None })
}

/// A time in µs since 1970 UTC. The wire has seconds as a decimal number, the SDK reads it as a float: that is up to 120 ns
/// off, and half of all times would end one digit too low.
fn micros(time: &DateTime) -> i64 {
    let rounded = (i64::from(time.subsec_nanos()) + 500) / 1_000;
    time.secs().saturating_mul(1_000_000).saturating_add(rounded)
}

#[cfg(test)]
mod tests;
