//! Decode: payloads and dimension files into Arrow columns by the declared fields, event by event.
//!
//! Owns what is read as what, and what is refused. It does no IO, knows no SQL, and never fails: whatever the bytes
//! are, each event becomes one row or one reject, in the payload's order, and a broken one leaves its neighbours as
//! they are; only beyond bounds on what one record and one batch may become do several refused events share a reject.
//! The rules stand in docs/decoding.md, which is complete: a change of them changes it, the tests here, and the decoder
//! that tests/python has from that page alone.

mod calendar;
mod columns;
mod csv;
mod envelope;
mod event;
mod fault;
mod file;
mod json;
mod nested;
mod number;
mod payload;
mod plan;
mod records;
mod rows;
mod settle;
#[cfg(test)]
mod tests;
mod unwrap;
mod zone;

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;

pub use fault::Reason;
pub use file::{FileFault, FileInfo, decode_file, missing_headings};

use crate::batch::{Decoded, RawBatch};
use crate::schema::{Field, input_schema};

/// Decodes payloads by the declared fields; a clone costs a counter.
#[derive(Clone)]
pub struct Decoder {
    declared: Arc<Declared>,
}

/// How many times its payloads' bytes the rows of a batch may take; any record's rows fit.
const BATCH_GROWTH: u64 = 2;

struct Declared {
    fields: Vec<Field>,
    plan: plan::Plan,
    schema: SchemaRef,
    /// What a batch's rows and rejects may take in memory.
    batch_bytes: usize,
}

impl Decoder {
    /// A decoder for events of these fields; a struct's own paths begin at the struct.
    pub fn new(fields: &[Field]) -> Self {
        Self::in_batches_of(fields, 0)
    }

    /// The same, for batches that close at so many bytes of payloads.
    pub fn in_batches_of(fields: &[Field], max_bytes: u64) -> Self {
        let (plan, schema) = (plan::Plan::new(fields), input_schema(fields));
        let bytes = usize::try_from(max_bytes.saturating_mul(BATCH_GROWTH)).unwrap_or(usize::MAX);
        let batch_bytes = bytes.max(payload::MAX_RECORD_BYTES);
        Self { declared: Arc::new(Declared { fields: fields.to_vec(), plan, schema, batch_bytes }) }
    }

    /// The declared fields, then the system columns: `schema::input_schema`.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.declared.schema)
    }

    /// Decodes a batch: each event of each record becomes one row or one reject, in order. Where it would become too
    /// large in memory it is cut, and the rest, still to be decoded, comes second; each part has one record at least.
    ///
    /// `Decoded::raw` is `raw` up to the cut, but for records whose events were in wrappers: there it holds what was in
    /// them.
    pub fn decode(&self, raw: RawBatch) -> (Decoded, Option<RawBatch>) {
        records::Records::new(&self.declared, raw.records.len()).decode(raw)
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Decoder({} fields)", self.declared.fields.len())
    }
}
