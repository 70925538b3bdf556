//! The records of an answer as a reader gives them on: aggregates taken apart, what it has read already skipped.
//!
//! Owns the skipping, the order and the sub-sequences: part i of an aggregate has sub-sequence i, a plain record 0. An
//! answer remembers what of it is still to be given on and nothing else; the reader's place is a parameter. No payload is
//! copied: the parts share the aggregate's bytes.

use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::Record;

use crate::batch::{Damage, Position, RawRecord, SequenceNumber, StartAt};
use crate::error::{Error, Result};
use crate::source::Shard;
use crate::source::aggregate::{Part, Parts, Taken, take_apart};

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

/// About what a piece takes in memory: an aggregate's parts are many times its bytes.
pub(super) const PIECE_BYTES: usize = 2 << 20;

/// What a record of an answer takes beside its payload.
const RECORD_BYTES: usize = size_of::<Record>() + 100;

/// An answer that is given on piece by piece.
#[derive(Debug)]
pub(super) struct Answer {
    records: std::vec::IntoIter<Record>,
    /// An aggregate whose parts are being given on.
    open: Option<Open>,
    /// Whether a piece was given on.
    is_begun: bool,
}

#[derive(Debug)]
struct Open {
    whole: RawRecord,
    parts: std::iter::Enumerate<Parts>,
}

impl Answer {
    pub(super) fn new(records: Vec<Record>) -> Self {
        Self { records: records.into_iter(), open: None, is_begun: false }
    }

    /// The payloads and partition keys that are left, as the service's limits count them.
    pub(super) fn bytes(&self) -> u64 {
        let bytes = |record: &Record| record.data.as_ref().len() + record.partition_key.as_ref().map_or(0, String::len);
        self.records.as_slice().iter().map(|record| bytes(record) as u64).sum()
    }

    /// What is left takes in memory.
    pub(super) fn held(&self) -> usize {
        let open = self.open.as_ref().map_or(0, |open| open.whole.payload.len() + RECORD_BYTES);
        usize::try_from(self.bytes()).unwrap_or(usize::MAX) + self.records.len() * RECORD_BYTES + open
    }

    /// Whether nothing is left.
    pub(super) fn is_over(&self) -> bool {
        self.records.len() == 0 && self.open.is_none()
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
        while answer.held < most {
            if let Some(open) = &mut self.open {
                answer.take_parts(shard, position, open, most);
                self.open = self.open.take().filter(|open| open.parts.len() > 0);
                continue;
            }
            let Some(record) = self.records.next() else { break };
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
                self.open = answer.take(position, whole);
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

fn is_new(candidate: &Position, position: Option<&Position>) -> bool {
    position.is_none_or(|position| candidate > position)
}

impl Answered {
    /// The last position so far, of what is given on and of what is left out.
    fn last(&self) -> Option<&Position> {
        self.records.last().map(|record| &record.position).max(self.left_out.as_ref())
    }

    /// Adds a record, where it lies after the position; an aggregate's parts are still to be taken.
    fn take(&mut self, position: Option<&Position>, whole: RawRecord) -> Option<Open> {
        match take_apart(&whole.payload) {
            Taken::Plain => self.push(whole, position),
            Taken::Damaged(message) => {
                let damage = Some(Box::new(Damage { reason: "damaged_aggregate", message }));
                self.push(RawRecord { damage, ..whole }, position);
            }
            Taken::Parts(parts) => return Some(Open { whole, parts: parts.enumerate() }),
        }
        None
    }

    /// Adds an aggregate's next parts that lie after the position, until so many bytes are held.
    fn take_parts(&mut self, shard: &Shard, position: Option<&Position>, open: &mut Open, most: usize) {
        self.last_arrived_at = Some(open.whole.arrived_at);
        while self.held < most
            && let Some((index, Part { payload, hash_key })) = open.parts.next()
        {
            let place = Position::new(open.whole.position.sequence.clone(), index as u64);
            if shard.hashes.contains(hash_key) {
                self.push(RawRecord { position: place, payload, ..open.whole.clone() }, position);
            } else if is_new(&place, position) {
                // It belongs to a sibling, which gives it from its own copy of the aggregate.
                self.left_out = Some(place);
            }
        }
    }

    fn push(&mut self, record: RawRecord, position: Option<&Position>) {
        if is_new(&record.position, position) {
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
