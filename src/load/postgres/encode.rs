//! Arrow rows as PostgreSQL's binary COPY.
//!
//! Owns the form of every value. Exact: nothing is rounded, and a value that PostgreSQL cannot hold is an error. Rows are
//! written into buffers of some size; a buffer is handed on when it is full.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, PrimitiveArray, RecordBatch, StringArray};
use arrow::datatypes::{
    DataType, Date32Type, Field, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, Schema,
    TimestampMicrosecondType,
};
use arrow::json::LineDelimitedWriter;
use arrow::json::writer::{LineDelimited, WriterBuilder};
use bytes::{BufMut, Bytes, BytesMut};

use super::super::arrow_bug;
use super::numeric;
use crate::error::{Error, Result};

/// What a COPY starts with: the signature, no flags, no header extension.
pub(super) const START: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// What it ends with.
pub(super) const END: &[u8] = &(-1i16).to_be_bytes();

/// A buffer is full with this many bytes.
const FULL: usize = 128 << 10;

/// Days from 1970 to 2000, where PostgreSQL's time begins.
const DAYS: i32 = 10_957;

/// The same in µs.
const MICROS: i64 = DAYS as i64 * 86_400_000_000;

/// PostgreSQL's first and last day, and its first instant, as Arrow counts them; its last instant is behind Arrow's.
const FIRST_DAY: i32 = -2_440_588;
const LAST_DAY: i32 = 2_145_042_905;
const FIRST_MICRO: i64 = -210_866_803_200_000_000;

/// Writes rows into buffers.
pub(super) struct Encoder(BytesMut);

impl Encoder {
    pub(super) fn new() -> Self {
        Self(BytesMut::with_capacity(FULL + FULL / 4))
    }

    /// Writes a batch's rows, and hands all of them on.
    ///
    /// # Errors
    /// Those of `hand_on`; Invalid where PostgreSQL cannot hold a value.
    pub(super) fn encode(&mut self, batch: &RecordBatch, mut hand_on: impl FnMut(Bytes) -> Result<()>) -> Result<()> {
        let fields = batch.schema_ref().fields().iter().zip(batch.columns());
        let columns = fields.map(|(field, array)| Column::of(field, array)).collect::<Result<Vec<_>>>()?;
        for row in 0..batch.num_rows() {
            self.0.put_i16(columns.len() as i16);
            columns.iter().try_for_each(|column| column.put(row, &mut self.0))?;
            if self.0.len() >= FULL {
                hand_on(self.full())?;
            }
        }
        match self.0.is_empty() {
            true => Ok(()),
            false => hand_on(self.full()),
        }
    }

    fn full(&mut self) -> Bytes {
        std::mem::replace(&mut self.0, BytesMut::with_capacity(FULL + FULL / 4)).freeze()
    }
}

/// A column and its values.
enum Column<'a> {
    Boolean(&'a BooleanArray),
    Int16(&'a PrimitiveArray<Int16Type>),
    Int32(&'a PrimitiveArray<Int32Type>),
    Int64(&'a PrimitiveArray<Int64Type>),
    Float32(&'a PrimitiveArray<Float32Type>),
    Float64(&'a PrimitiveArray<Float64Type>),
    Decimal(&'a Decimal128Array, u32),
    Text(&'a StringArray),
    Date(&'a str, &'a PrimitiveArray<Date32Type>),
    Time(&'a str, &'a PrimitiveArray<TimestampMicrosecondType>),
    Json(StringArray),
}

impl<'a> Column<'a> {
    fn of(field: &'a Field, array: &'a ArrayRef) -> Result<Self> {
        Ok(match array.data_type() {
            DataType::Boolean => Self::Boolean(array.as_boolean()),
            DataType::Int16 => Self::Int16(array.as_primitive()),
            DataType::Int32 => Self::Int32(array.as_primitive()),
            DataType::Int64 => Self::Int64(array.as_primitive()),
            DataType::Float32 => Self::Float32(array.as_primitive()),
            DataType::Float64 => Self::Float64(array.as_primitive()),
            DataType::Decimal128(_, scale @ 0..) => Self::Decimal(array.as_primitive(), scale.unsigned_abs().into()),
            DataType::Utf8 => Self::Text(array.as_string()),
            DataType::Date32 => Self::Date(field.name(), array.as_primitive()),
            DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, _) => {
                Self::Time(field.name(), array.as_primitive())
            }
            DataType::List(_) | DataType::Struct(_) => Self::Json(json(array)?),
            other => {
                let name = field.name();
                return Err(Error::invalid(format!("the column {name} is a {other}, which PostgreSQL does not have")));
            }
        })
    }

    fn array(&self) -> &dyn Array {
        match self {
            Self::Boolean(array) => *array,
            Self::Int16(array) => *array,
            Self::Int32(array) => *array,
            Self::Int64(array) => *array,
            Self::Float32(array) => *array,
            Self::Float64(array) => *array,
            Self::Decimal(array, _) => *array,
            Self::Text(array) => *array,
            Self::Date(_, array) => *array,
            Self::Time(_, array) => *array,
            Self::Json(array) => array,
        }
    }

    /// Writes a value: its length, -1 for null, and its bytes.
    fn put(&self, row: usize, buffer: &mut BytesMut) -> Result<()> {
        if self.array().is_null(row) {
            buffer.put_i32(-1);
            return Ok(());
        }
        match self {
            Self::Boolean(array) => bytes(&[array.value(row).into()], buffer),
            Self::Int16(array) => bytes(&array.value(row).to_be_bytes(), buffer),
            Self::Int32(array) => bytes(&array.value(row).to_be_bytes(), buffer),
            Self::Int64(array) => bytes(&array.value(row).to_be_bytes(), buffer),
            Self::Float32(array) => bytes(&array.value(row).to_be_bytes(), buffer),
            Self::Float64(array) => bytes(&array.value(row).to_be_bytes(), buffer),
            Self::Decimal(array, scale) => numeric::put(array.value(row), *scale, buffer),
            Self::Text(array) => bytes(array.value(row).as_bytes(), buffer),
            Self::Date(name, array) => {
                let days = array.value(row);
                within(name, (FIRST_DAY..=LAST_DAY).contains(&days))?;
                bytes(&(days - DAYS).to_be_bytes(), buffer);
            }
            Self::Time(name, array) => {
                let micros = array.value(row);
                within(name, micros >= FIRST_MICRO)?;
                bytes(&(micros - MICROS).to_be_bytes(), buffer);
            }
            Self::Json(array) => {
                let text = array.value(row).as_bytes();
                buffer.put_i32(1 + text.len() as i32);
                buffer.put_u8(1);
                buffer.put_slice(text);
            }
        }
        Ok(())
    }
}

fn bytes(value: &[u8], buffer: &mut BytesMut) {
    buffer.put_i32(value.len() as i32);
    buffer.put_slice(value);
}

fn within(column: &str, fits: bool) -> Result<()> {
    match fits {
        true => Ok(()),
        false => Err(Error::invalid(format!(
            "the column {column} holds a time that PostgreSQL does not have (it begins in 4714 BC); \
             leave such rows out in the table's SQL"
        ))),
    }
}

/// Nested values as JSON texts.
fn json(array: &ArrayRef) -> Result<StringArray> {
    // The writer knows rows of named columns: `{"v":…}`, of which the value is taken out.
    let schema = Schema::new(vec![Field::new("v", array.data_type().clone(), true)]);
    let batch = RecordBatch::try_new(Arc::new(schema), vec![Arc::clone(array)]).map_err(arrow_bug)?;
    let mut writer: LineDelimitedWriter<Vec<u8>> =
        WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(Vec::new());
    writer.write(&batch).and_then(|()| writer.finish()).map_err(arrow_bug)?;
    let lines = String::from_utf8(writer.into_inner());
    let lines = lines.map_err(|error| Error::internal("JSON that is no UTF-8").with_source(error))?;
    let value = |line: &str| line.strip_prefix("{\"v\":").and_then(|rest| rest.strip_suffix('}')).map(str::to_owned);
    let values = lines.lines().enumerate().map(|(row, line)| value(line).filter(|_| array.is_valid(row)));
    Ok(values.collect())
}
