//! Columns made of other columns: structs and lists under construction.
//!
//! Owns their nulls and offsets; values are the inner columns'. As in `columns`, what was appended can be taken back.

use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, NullBufferBuilder, StructArray, new_null_array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::DataType;

use super::columns::{Column, last};
use super::fault::Reason;
use crate::schema::{Field, FieldType};

/// Structs: a column for each field.
pub(super) struct Structs {
    pub(super) columns: Vec<Column>,
    nulls: NullBufferBuilder,
}

/// Lists: all items, end to end.
pub(super) struct Lists {
    pub(super) items: Box<Column>,
    offsets: Vec<i32>,
    nulls: NullBufferBuilder,
}

impl Structs {
    pub(super) fn new(fields: &[Field], rows: usize) -> Self {
        let columns = fields.iter().map(|field| Column::new(&field.field_type, rows)).collect();
        Self { columns, nulls: NullBufferBuilder::new(rows) }
    }

    /// Ends a struct whose fields have all been appended.
    pub(super) fn close(&mut self) {
        self.nulls.append_non_null();
    }

    pub(super) fn push_null(&mut self) {
        self.columns.iter_mut().for_each(Column::push_null);
        self.nulls.append_null();
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        self.columns.iter_mut().for_each(|column| column.truncate(rows));
        self.nulls.truncate(rows);
    }

    #[expect(clippy::expect_used, reason = "the columns were made for these fields; anything else is a bug")]
    pub(super) fn finish(self, data_type: &DataType) -> ArrayRef {
        let DataType::Struct(fields) = data_type else { unreachable!("a struct column is made for a struct type") };
        let length = self.nulls.len();
        let columns = self.columns.into_iter().zip(fields).map(|(column, field)| column.finish(field.data_type()));
        let array = StructArray::try_new_with_length(fields.clone(), columns.collect(), self.nulls.build(), length);
        Arc::new(array.expect("columns as the struct declares them"))
    }
}

impl Lists {
    pub(super) fn new(item: &FieldType, rows: usize) -> Self {
        let items = Box::new(Column::new(item, rows));
        Self { items, offsets: vec![0], nulls: NullBufferBuilder::new(rows) }
    }

    /// Ends a list of so many items, which have all been appended; [`Reason::BatchFull`] beyond 2^31 in the batch.
    pub(super) fn close(&mut self, items: usize) -> Result<(), Reason> {
        let end = i32::try_from(items).ok().and_then(|count| last(&self.offsets).checked_add(count));
        self.offsets.push(end.ok_or(Reason::BatchFull)?);
        self.nulls.append_non_null();
        Ok(())
    }

    pub(super) fn push_null(&mut self) {
        self.offsets.push(last(&self.offsets));
        self.nulls.append_null();
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows + 1);
        self.items.truncate(usize::try_from(last(&self.offsets)).unwrap_or(0));
        self.nulls.truncate(rows);
    }

    pub(super) fn finish(self, data_type: &DataType) -> ArrayRef {
        // A list column is made for a list type and no other.
        let DataType::List(item) = data_type else { return new_null_array(data_type, self.offsets.len() - 1) };
        let items = self.items.finish(item.data_type());
        Arc::new(ListArray::new(Arc::clone(item), OffsetBuffer::new(self.offsets.into()), items, self.nulls.build()))
    }
}
