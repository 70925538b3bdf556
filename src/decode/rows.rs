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

/// What a row takes in the system columns and in its origin, but for the texts there.
const SYSTEM_WIDTH: usize = size_of::<Origin>() + 3 * size_of::<i32>() + 2 * size_of::<i64>() + size_of::<i32>();

/// What the texts of a row's system columns come to, about: it only says how much room is made.
const SYSTEM_TEXTS: usize = 150;

/// What a reject takes beside its message and its payload: itself, its reason, its sequence number.
const REJECT_BYTES: usize = size_of::<Reject>() + 100;

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
    /// What a row takes whatever it holds.
    width: usize,
    bytes: usize,
}

/// A place between two records.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    rows: usize,
    rejects: usize,
    bytes: usize,
}

impl Rows {
    /// The rows accepted so far.
    pub(super) fn len(&self) -> usize {
        self.origins.len()
    }

    /// What the rows and rejects take in memory, but for the rejects' payloads, which are parts of their records'.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// No rows, with room for so many, or for those that take so many bytes. `width` is the declared columns' of a row.
    pub(super) fn new(fields: &[Field], width: usize, (rows, bytes): (usize, usize)) -> Self {
        let width = width + SYSTEM_WIDTH;
        let rows = rows.min(bytes / (width + SYSTEM_TEXTS) + 1);
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
            width,
            bytes: 0,
        }
    }

    /// Makes the event that the columns hold a row; [`Reason::BatchFull`], and the event is taken back. `grown` is what
    /// it takes beyond the fixed width of a row.
    pub(super) fn accept(&mut self, record: &RawRecord, origin: Origin, grown: usize) -> Result<(), Reason> {
        self.sortable.clear();
        record.position.write_sortable(origin.index, &mut self.sortable);
        let (shard, sequence) = (record.shard.as_str(), record.position.sequence.as_str());
        let texts = self.shard.push(shard.as_bytes());
        let texts = texts.and_then(|()| self.sequence.push(sequence.as_bytes()));
        let texts = texts.and_then(|()| self.position.push(self.sortable.as_bytes()));
        if let Err(reason) = texts {
            self.take_back();
            return Err(reason);
        }
        self.subsequence.push(i64::try_from(record.position.subsequence).unwrap_or(i64::MAX));
        self.index.push(i32::try_from(origin.index).unwrap_or(i32::MAX));
        self.arrived_at.push(record.arrived_at);
        self.origins.push(origin);
        self.bytes += self.width + grown + shard.len() + sequence.len() + self.sortable.len();
        Ok(())
    }

    /// Adds a reject.
    pub(super) fn refuse(&mut self, reject: Reject) {
        self.bytes += reject_bytes(&reject);
        self.rejects.push(reject);
    }

    /// Takes back the rejects from this one on.
    pub(super) fn forget_rejects(&mut self, from: usize) {
        self.bytes -= self.rejects.drain(from..).map(|reject| reject_bytes(&reject)).sum::<usize>();
    }

    /// What a row takes whatever it holds, in bytes.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Where the rows and rejects end now.
    pub(super) fn mark(&self) -> Mark {
        Mark { rows: self.origins.len(), rejects: self.rejects.len(), bytes: self.bytes }
    }

    /// Takes back all rows and rejects behind the mark.
    pub(super) fn back_to(&mut self, mark: Mark) {
        self.origins.truncate(mark.rows);
        self.rejects.truncate(mark.rejects);
        self.take_back();
        [&mut self.subsequence, &mut self.arrived_at].into_iter().for_each(|values| values.truncate(mark.rows));
        self.index.truncate(mark.rows);
        self.bytes = mark.bytes;
    }

    /// Takes back what the columns hold beyond the accepted rows.
    pub(super) fn take_back(&mut self) {
        let rows = self.origins.len();
        self.columns.iter_mut().for_each(|column| column.truncate(rows));
        [&mut self.shard, &mut self.sequence, &mut self.position].into_iter().for_each(|texts| texts.truncate(rows));
    }

    /// Refuses a record that is not read at all, whole.
    pub(super) fn refuse_record(&mut self, record: &RawRecord, reason: &str, message: String) {
        self.refuse(Reject {
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

fn reject_bytes(reject: &Reject) -> usize {
    REJECT_BYTES + reject.message.len()
}
