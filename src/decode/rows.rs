//! The rows of a batch under construction: declared columns, system columns, origins, rejects.
//!
//! Owns how a row is accepted, taken back and finished. Rows are as many as origins; a column may be ahead of them
//! only by the event that is being read.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Int32Type, Int64Type, SchemaRef, TimestampMicrosecondType};

use super::columns::{Column, Texts, Values};
use super::fault::Reason;
use crate::batch::{Decoded, Origin, RawBatch, RawRecord, Reject};
use crate::schema::Field;

/// What a reject takes, with its texts, whatever its payload.
const REJECT_BYTES: usize = 300;

/// See the module's header.
pub(super) struct Rows {
    pub(super) columns: Vec<Column>,
    pub(super) rejects: Vec<Reject>,
    origins: Vec<Origin>,
    shard: Texts,
    sequence: Texts,
    subsequence: Values<i64>,
    index: Values<i32>,
    arrived_at: Values<i64>,
    position: Texts,
    sortable: String,
}

impl Rows {
    /// The rows accepted so far.
    pub(super) fn len(&self) -> usize {
        self.origins.len()
    }

    /// What the rows and rejects take in memory, but for the rejects' payloads, which are parts of their records'.
    pub(super) fn bytes(&self) -> usize {
        let texts = [&self.shard, &self.sequence, &self.position].map(Texts::bytes).iter().sum::<usize>();
        let numbers = self.subsequence.bytes() + self.index.bytes() + self.arrived_at.bytes();
        let declared = self.columns.iter().map(Column::bytes).sum::<usize>();
        texts + numbers + declared + size_of_val(self.origins.as_slice()) + self.rejects.len() * REJECT_BYTES
    }

    /// No rows, with room for so many.
    pub(super) fn new(fields: &[Field], rows: usize) -> Self {
        Self {
            columns: fields.iter().map(|field| Column::new(&field.field_type, rows)).collect(),
            rejects: Vec::new(),
            origins: Vec::with_capacity(rows),
            shard: Texts::new(rows),
            sequence: Texts::new(rows),
            subsequence: Values::new(rows),
            index: Values::new(rows),
            arrived_at: Values::new(rows),
            position: Texts::new(rows),
            sortable: String::new(),
        }
    }

    /// Makes the event that the columns hold a row; [`Reason::BatchFull`], and the event is taken back.
    pub(super) fn accept(&mut self, record: &RawRecord, origin: Origin) -> Result<(), Reason> {
        self.sortable.clear();
        record.position.write_sortable(origin.index, &mut self.sortable);
        let texts = self.shard.push(record.shard.as_str().as_bytes());
        let texts = texts.and_then(|()| self.sequence.push(record.position.sequence.as_str().as_bytes()));
        let texts = texts.and_then(|()| self.position.push(self.sortable.as_bytes()));
        if let Err(reason) = texts {
            self.take_back();
            return Err(reason);
        }
        self.subsequence.push(i64::try_from(record.position.subsequence).unwrap_or(i64::MAX));
        self.index.push(i32::try_from(origin.index).unwrap_or(i32::MAX));
        self.arrived_at.push(record.arrived_at);
        self.origins.push(origin);
        Ok(())
    }

    /// Takes back what the columns hold beyond the accepted rows.
    pub(super) fn take_back(&mut self) {
        let rows = self.origins.len();
        self.columns.iter_mut().for_each(|column| column.truncate(rows));
        [&mut self.shard, &mut self.sequence, &mut self.position].into_iter().for_each(|texts| texts.truncate(rows));
    }

    /// Refuses a record that is not read at all, whole.
    pub(super) fn refuse_record(&mut self, record: &RawRecord, reason: &str, message: String) {
        self.rejects.push(Reject {
            reason: reason.to_owned(),
            message,
            shard: record.shard.clone(),
            position: record.position.clone(),
            index: 0,
            arrived_at: record.arrived_at,
            payload: record.payload.clone(),
        });
    }

    /// The batch; `schema` is `schema::input_schema` of the fields.
    #[expect(clippy::expect_used, reason = "the columns were made for this schema; anything else is a bug")]
    pub(super) fn finish(self, schema: &SchemaRef, raw: Arc<RawBatch>) -> Decoded {
        let declared = self.columns.len();
        let data_type = |column: usize| schema.field(column).data_type();
        let columns = self.columns.into_iter().enumerate();
        let mut arrays: Vec<ArrayRef> = columns.map(|(index, column)| column.finish(data_type(index))).collect();
        arrays.extend([
            self.shard.finish(),
            self.sequence.finish(),
            self.subsequence.finish::<Int64Type>(data_type(declared + 2)),
            self.index.finish::<Int32Type>(data_type(declared + 3)),
            self.arrived_at.finish::<TimestampMicrosecondType>(data_type(declared + 4)),
            self.position.finish(),
        ]);
        let options = RecordBatchOptions::new().with_row_count(Some(self.origins.len()));
        let events = RecordBatch::try_new_with_options(Arc::clone(schema), arrays, &options);
        Decoded {
            events: events.expect("columns as the schema declares them"),
            origins: self.origins,
            rejects: self.rejects,
            raw,
        }
    }
}
