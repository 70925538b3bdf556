//! Columns under construction: each takes values of its declared type, and can forget its last rows.
//!
//! Owns which JSON value or text fits which type. A column is always at least as long as the rows accepted so far;
//! what is longer belongs to the event being read, and [`Column::truncate`] takes it back. So a broken event leaves
//! no trace, and a good one is written once, where it stays.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, BooleanBufferBuilder, NullBufferBuilder, PrimitiveArray, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::datatypes::{
    ArrowNativeType, ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type,
    Int32Type, Int64Type, TimestampMicrosecondType,
};

use super::calendar::{self, Zoneless};
use super::fault::Reason;
use super::nested::{Lists, Structs};
use super::number::Number;
use crate::schema::FieldType;

/// What became of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    /// A value was appended.
    Value,
    /// The text is blank and means null: nothing was appended.
    Blank,
}

/// One column of a declared type.
pub(super) enum Column {
    Boolean(Booleans),
    Smallint(Values<i16>),
    Integer(Values<i32>),
    Bigint(Values<i64>),
    Real(Values<f32>),
    Double(Values<f64>),
    Decimal { values: Values<i128>, scale: usize, limit: i128 },
    Text { texts: Texts, max_bytes: usize },
    Date(Values<i32>),
    Timestamp { values: Values<i64>, zoneless: Zoneless },
    Struct(Structs),
    List(Lists),
}

/// Values of a fixed size.
pub(super) struct Values<T> {
    values: Vec<T>,
    nulls: NullBufferBuilder,
}

/// Bits.
pub(super) struct Booleans {
    values: BooleanBufferBuilder,
    nulls: NullBufferBuilder,
}

/// Texts, end to end.
pub(super) struct Texts {
    bytes: Vec<u8>,
    offsets: Vec<i32>,
    nulls: NullBufferBuilder,
}

impl Column {
    /// An empty column with room for so many rows.
    pub(super) fn new(field_type: &FieldType, rows: usize) -> Self {
        match field_type {
            FieldType::Boolean => {
                Self::Boolean(Booleans { values: BooleanBufferBuilder::new(rows), nulls: NullBufferBuilder::new(rows) })
            }
            FieldType::Smallint => Self::Smallint(Values::new(rows)),
            FieldType::Integer => Self::Integer(Values::new(rows)),
            FieldType::Bigint => Self::Bigint(Values::new(rows)),
            FieldType::Real => Self::Real(Values::new(rows)),
            FieldType::Double => Self::Double(Values::new(rows)),
            FieldType::Decimal { precision, scale } => Self::Decimal {
                values: Values::new(rows),
                scale: usize::from(scale.unsigned_abs()),
                limit: 10_i128.pow(u32::from(*precision).min(38)),
            },
            FieldType::String { max_bytes } => {
                Self::Text { texts: Texts::new(rows), max_bytes: usize::try_from(*max_bytes).unwrap_or(usize::MAX) }
            }
            FieldType::Date => Self::Date(Values::new(rows)),
            FieldType::Timestamp => Self::Timestamp { values: Values::new(rows), zoneless: Zoneless::Utc },
            FieldType::Timestamptz { assume_zone } => {
                Self::Timestamp { values: Values::new(rows), zoneless: Zoneless::of(*assume_zone) }
            }
            FieldType::Struct(fields) => Self::Struct(Structs::new(fields, rows)),
            FieldType::List(item) => Self::List(Lists::new(item, rows)),
        }
    }

    /// Appends what a text means: a JSON string's, or a file's cell.
    pub(super) fn push_text(&mut self, text: &[u8]) -> Result<Stored, Reason> {
        if let Self::Text { texts, max_bytes } = self {
            if text.len() > *max_bytes {
                return Err(Reason::TooLong);
            }
            if memchr::memchr(0, text).is_some() {
                return Err(Reason::NulByte);
            }
            texts.push(text)?;
            return Ok(Stored::Value);
        }
        let trimmed = text.trim_ascii();
        match self {
            Self::Struct(_) | Self::List(_) => return Err(Reason::WrongType),
            _ if trimmed.is_empty() => return Ok(Stored::Blank),
            Self::Boolean(booleans) => booleans.push(boolean(trimmed).ok_or(Reason::WrongType)?),
            Self::Date(values) => values.push(calendar::date(trimmed)?),
            Self::Timestamp { values, zoneless } => values.push(calendar::timestamp(trimmed, *zoneless)?),
            _ => self.push_number(&Number::parse(trimmed).ok_or(Reason::WrongType)?)?,
        }
        Ok(Stored::Value)
    }

    /// Appends what a number means.
    #[inline]
    pub(super) fn push_number(&mut self, number: &Number<'_>) -> Result<(), Reason> {
        match self {
            Self::Smallint(values) => values.push(i16::try_from(number.scaled(0)?).map_err(|_| Reason::Overflow)?),
            Self::Integer(values) => values.push(i32::try_from(number.scaled(0)?).map_err(|_| Reason::Overflow)?),
            Self::Bigint(values) => values.push(i64::try_from(number.scaled(0)?).map_err(|_| Reason::Overflow)?),
            Self::Real(values) => values.push(number.real()?),
            Self::Double(values) => values.push(number.double()?),
            Self::Decimal { values, scale, limit } => {
                let value = number.scaled(*scale)?;
                if value >= *limit || value <= -*limit {
                    return Err(Reason::Overflow);
                }
                values.push(value);
            }
            Self::Timestamp { values, .. } => values.push(calendar::epoch(number)?),
            Self::Boolean(booleans) => booleans.push(boolean_digit(number.text()).ok_or(Reason::WrongType)?),
            Self::Text { .. } => return self.push_text(number.text()).map(|_| ()),
            Self::Date(_) | Self::Struct(_) | Self::List(_) => return Err(Reason::WrongType),
        }
        Ok(())
    }

    /// Appends what `true` or `false` means.
    pub(super) fn push_boolean(&mut self, value: bool) -> Result<(), Reason> {
        match self {
            Self::Boolean(booleans) => booleans.push(value),
            Self::Text { .. } => return self.push_text(if value { b"true" } else { b"false" }).map(|_| ()),
            _ => return Err(Reason::WrongType),
        }
        Ok(())
    }

    /// Appends a null; a null struct's fields are null too, required or not.
    pub(super) fn push_null(&mut self) {
        match self {
            Self::Boolean(booleans) => booleans.push_null(),
            Self::Smallint(values) => values.push_null(),
            Self::Integer(values) | Self::Date(values) => values.push_null(),
            Self::Bigint(values) | Self::Timestamp { values, .. } => values.push_null(),
            Self::Real(values) => values.push_null(),
            Self::Double(values) => values.push_null(),
            Self::Decimal { values, .. } => values.push_null(),
            Self::Text { texts, .. } => texts.push_null(),
            Self::Struct(structs) => structs.push_null(),
            Self::List(lists) => lists.push_null(),
        }
    }

    /// Forgets all rows from this one on; nested columns too.
    pub(super) fn truncate(&mut self, rows: usize) {
        match self {
            Self::Boolean(booleans) => booleans.truncate(rows),
            Self::Smallint(values) => values.truncate(rows),
            Self::Integer(values) | Self::Date(values) => values.truncate(rows),
            Self::Bigint(values) | Self::Timestamp { values, .. } => values.truncate(rows),
            Self::Real(values) => values.truncate(rows),
            Self::Double(values) => values.truncate(rows),
            Self::Decimal { values, .. } => values.truncate(rows),
            Self::Text { texts, .. } => texts.truncate(rows),
            Self::Struct(structs) => structs.truncate(rows),
            Self::List(lists) => lists.truncate(rows),
        }
    }

    /// The Arrow array, of the type that the column was made for.
    pub(super) fn finish(self, data_type: &DataType) -> ArrayRef {
        match self {
            Self::Boolean(Booleans { values, nulls }) => Arc::new(BooleanArray::new(values.build(), nulls.build())),
            Self::Smallint(values) => values.finish::<Int16Type>(data_type),
            Self::Integer(values) => values.finish::<Int32Type>(data_type),
            Self::Bigint(values) => values.finish::<Int64Type>(data_type),
            Self::Real(values) => values.finish::<Float32Type>(data_type),
            Self::Double(values) => values.finish::<Float64Type>(data_type),
            Self::Decimal { values, .. } => values.finish::<Decimal128Type>(data_type),
            Self::Text { texts, .. } => texts.finish(),
            Self::Date(values) => values.finish::<Date32Type>(data_type),
            Self::Timestamp { values, .. } => values.finish::<TimestampMicrosecondType>(data_type),
            Self::Struct(structs) => structs.finish(data_type),
            Self::List(lists) => lists.finish(data_type),
        }
    }
}

/// `true`, `false` (in any case), `1`, `0`.
fn boolean(text: &[u8]) -> Option<bool> {
    if text.eq_ignore_ascii_case(b"true") {
        return Some(true);
    }
    if text.eq_ignore_ascii_case(b"false") {
        return Some(false);
    }
    boolean_digit(text)
}

fn boolean_digit(text: &[u8]) -> Option<bool> {
    match text {
        b"1" => Some(true),
        b"0" => Some(false),
        _ => None,
    }
}

impl<T: ArrowNativeType> Values<T> {
    pub(super) fn new(rows: usize) -> Self {
        Self { values: Vec::with_capacity(rows), nulls: NullBufferBuilder::new(rows) }
    }

    #[inline]
    pub(super) fn push(&mut self, value: T) {
        self.values.push(value);
        self.nulls.append_non_null();
    }

    fn push_null(&mut self) {
        self.values.push(T::default());
        self.nulls.append_null();
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        self.values.truncate(rows);
        self.nulls.truncate(rows);
    }

    pub(super) fn finish<P: ArrowPrimitiveType<Native = T>>(self, data_type: &DataType) -> ArrayRef {
        let array = PrimitiveArray::<P>::new(self.values.into(), self.nulls.build());
        Arc::new(array.with_data_type(data_type.clone()))
    }
}

impl Booleans {
    fn push(&mut self, value: bool) {
        self.values.append(value);
        self.nulls.append_non_null();
    }

    fn push_null(&mut self) {
        self.values.append(false);
        self.nulls.append_null();
    }

    fn truncate(&mut self, rows: usize) {
        self.values.truncate(rows);
        self.nulls.truncate(rows);
    }
}

impl Texts {
    pub(super) fn new(rows: usize) -> Self {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Self { bytes: Vec::new(), offsets, nulls: NullBufferBuilder::new(rows) }
    }

    /// Appends a text, which the caller knows to be UTF-8; [`Reason::BatchFull`] beyond 2 GiB.
    #[inline]
    pub(super) fn push(&mut self, text: &[u8]) -> Result<(), Reason> {
        let end = i32::try_from(self.bytes.len() + text.len()).map_err(|_| Reason::BatchFull)?;
        self.bytes.extend_from_slice(text);
        self.offsets.push(end);
        self.nulls.append_non_null();
        Ok(())
    }

    fn push_null(&mut self) {
        self.offsets.push(last(&self.offsets));
        self.nulls.append_null();
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows + 1);
        self.bytes.truncate(usize::try_from(last(&self.offsets)).unwrap_or(0));
        self.nulls.truncate(rows);
    }

    pub(super) fn finish(self) -> ArrayRef {
        Arc::new(StringArray::new(
            OffsetBuffer::new(self.offsets.into()),
            Buffer::from_vec(self.bytes),
            self.nulls.build(),
        ))
    }
}

/// Offsets always begin with 0.
pub(super) fn last(offsets: &[i32]) -> i32 {
    offsets.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Field;
    use arrow::array::Array;

    fn column(text: &str) -> (Column, DataType) {
        let field_type: FieldType = text.parse().expect(text);
        (Column::new(&field_type, 4), field_type.to_arrow())
    }

    #[test]
    fn forgotten_rows_leave_no_trace_in_any_type() {
        let texts = [
            ("boolean", "true"),
            ("smallint", "1"),
            ("integer", "2"),
            ("bigint", "3"),
            ("real", "1.5"),
            ("double", "2.5"),
            ("decimal(9,2)", "1.25"),
            ("string(9)", "abc"),
            ("date", "2024-05-01"),
            ("timestamp", "2024-05-01"),
            ("timestamptz", "2024-05-01T00:00Z"),
        ];
        for (field_type, text) in texts {
            let build = |disturbed: bool| {
                let (mut column, data_type) = column(field_type);
                assert_eq!(column.push_text(text.as_bytes()), Ok(Stored::Value), "{field_type}");
                column.push_null();
                if disturbed {
                    column.push_null();
                    column.push_text(text.as_bytes()).expect(text);
                    column.truncate(2);
                    column.truncate(2);
                }
                column.push_text(text.as_bytes()).expect(text);
                column.finish(&data_type)
            };
            let (calm, disturbed) = (build(false), build(true));
            assert_eq!(&calm, &disturbed, "{field_type}");
            assert_eq!((calm.len(), calm.null_count()), (3, 1), "{field_type}");
        }
    }

    #[test]
    fn a_half_read_list_of_structs_is_forgotten_whole() {
        let field = |name: &str, required| Field {
            name: name.to_owned(),
            path: vec![name.to_owned()],
            field_type: FieldType::Integer,
            required,
        };
        let item = FieldType::Struct(vec![field("a", true), field("b", false)]);
        let list = FieldType::List(Box::new(item));
        let mut column = Column::new(&list, 4);
        column.push_null();
        let Column::List(lists) = &mut column else { panic!("a list") };
        let Column::Struct(structs) = lists.items.as_mut() else { panic!("a struct") };
        structs.columns[0].push_null();
        structs.columns[1].push_null();
        structs.close();
        structs.columns[0].push_null();
        column.truncate(1);
        let Column::List(lists) = &mut column else { panic!("a list") };
        lists.items.push_null();
        lists.close(1).expect("room");
        let array = column.finish(&list.to_arrow());
        assert_eq!(array.len(), 2);
        assert!(array.is_null(0) && array.is_valid(1));
    }

    #[test]
    fn more_list_items_than_arrow_counts_are_refused() {
        let (mut column, _) = column("list<integer>");
        let Column::List(lists) = &mut column else { panic!("a list") };
        let most = usize::try_from(i32::MAX).expect("32 bits");
        assert_eq!(lists.close(most + 1), Err(Reason::BatchFull));
        assert_eq!(lists.close(most), Ok(()));
        assert_eq!(lists.close(1), Err(Reason::BatchFull));
    }
}
