//! A batch's records, each out of its wrappers and into rows and rejects.
//!
//! Owns what is refused before a payload is read at all, and which bytes the batch keeps of a record: its own, or the
//! text that was in its wrappers, where rows point into that. A batch of plain records is handed on as it came.

use std::sync::Arc;

use super::Declared;
use super::event::Scratch;
use super::fault::{Fault, Reason};
use super::payload::Payload;
use super::rows::Rows;
use super::unwrap::{Budget, Unwrapped};
use crate::batch::{Decoded, RawBatch, RawRecord, Reject};

/// No record of a default stream is larger: a refused text that is could not be put again, its wrapped form can.
const MAX_REFUSED_TEXT: usize = 1 << 20;

/// Decodes the records in their order.
pub(super) struct Records<'a> {
    declared: &'a Declared,
    scratch: Scratch,
    rows: Rows,
    budget: Budget,
    /// The batch's records with the text of those that were wrapped; none as long as none gave a row.
    unwrapped: Option<Vec<RawRecord>>,
}

impl<'a> Records<'a> {
    /// Room for so many.
    pub(super) fn new(declared: &'a Declared, records: usize) -> Self {
        let (scratch, rows) = (Scratch::new(&declared.plan), Rows::new(&declared.fields, records));
        Self { declared, scratch, rows, budget: Budget::default(), unwrapped: None }
    }

    /// Decodes them all; what comes out holds `raw` itself, unless rows point into a text that was in a wrapper.
    pub(super) fn decode(mut self, raw: Arc<RawBatch>) -> Decoded {
        for (number, record) in (0..).zip(&raw.records) {
            if let Some(damage) = &record.damage {
                self.rows.refuse_record(record, damage.reason, damage.message.clone());
                continue;
            }
            match self.budget.unwrap(&record.payload) {
                Ok(None) => self.payload((number, record)).read(),
                Ok(Some(unwrapped)) => self.unwrapped(&raw, (number, record), unwrapped),
                Err(reason) => {
                    let sentence = Fault::Plain(reason).message(0, |_| b"");
                    self.rows.refuse_record(record, reason.as_str(), sentence);
                }
            }
        }
        let raw = match self.unwrapped {
            None => raw,
            Some(records) => Arc::new(RawBatch { records, ranges: raw.ranges.clone(), marks: raw.marks.clone() }),
        };
        self.rows.finish(&self.declared.schema, raw)
    }

    fn payload<'s>(&'s mut self, record: (u32, &'s RawRecord)) -> Payload<'s> {
        Payload::new(&self.declared.plan, &mut self.scratch, &mut self.rows, record)
    }

    /// Reads what was in a record's wrappers, and keeps it where rows point into it.
    fn unwrapped(&mut self, raw: &RawBatch, (number, original): (u32, &RawRecord), unwrapped: Unwrapped) {
        let Unwrapped { payload, parts } = unwrapped;
        let record = RawRecord { payload, ..original.clone() };
        let (bytes, rows, rejects) = (self.rows.bytes(), self.rows.len(), self.rows.rejects.len());
        let reader = self.payload((number, &record));
        match &parts {
            None => reader.read(),
            Some(parts) => reader.read_parts(parts),
        }
        let rows = self.rows.len() - rows;
        let told = &mut self.rows.rejects[rejects..];
        if let ([reject], None, 0) = (&mut *told, &parts, rows)
            && !is_legible(reject)
        {
            reject.payload = original.payload.clone();
            return;
        }
        self.budget.keep(record.payload.len() + self.rows.bytes().saturating_sub(bytes));
        if rows > 0
            && let Some(kept) =
                self.unwrapped.get_or_insert_with(|| raw.records.clone()).get_mut(usize::try_from(number).unwrap_or(0))
        {
            *kept = record;
        }
    }
}

/// Whether the text of a record of which nothing else is left says more than its wrapped form.
fn is_legible(reject: &Reject) -> bool {
    let is_text = ![Reason::EmptyPayload, Reason::InvalidUtf8].iter().any(|reason| reason.as_str() == reject.reason);
    is_text && reject.payload.len() <= MAX_REFUSED_TEXT
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Position, SequenceNumber, ShardId};
    use crate::decode::Decoder;
    use crate::schema::Field;

    #[test]
    fn what_is_read_from_small_bombs_counts_as_kept_too() {
        // A few bytes that make a thousand rows of 650 bytes and more: were only texts counted, a batch of them would
        // fill the memory.
        let field = |number: usize| Field {
            name: format!("d{number}"),
            path: Vec::new(),
            field_type: "decimal(38,0)".parse().expect("a type"),
            required: false,
        };
        let decoder = Decoder::new(&(0..40).map(field).collect::<Vec<_>>());
        let bomb = zstd::encode_all("{}".repeat(1000).as_bytes(), 1).expect("compressed");
        let record = |payload: &[u8]| RawRecord {
            shard: ShardId::new("shardId-000000000000"),
            position: Position::new(SequenceNumber::from(1), 0),
            arrived_at: 0,
            payload: payload.to_vec().into(),
            damage: None,
        };
        let mut records = vec![record(&bomb); 6];
        records.push(record(b"{}"));
        let raw = Arc::new(RawBatch { records, ..RawBatch::default() });
        let mut reading = Records::new(&decoder.declared, raw.records.len());
        reading.budget.kept = 2 << 20;
        let decoded = reading.decode(raw);
        let reasons: Vec<&str> = decoded.rejects.iter().map(|reject| reject.reason.as_str()).collect();
        assert_eq!((decoded.events.num_rows(), reasons), (3 * 1000 + 1, vec!["batch_full"; 3]));
        assert!(decoded.rejects.iter().all(|reject| reject.payload == bomb), "the original bytes");
    }
}
