//! Answers as Arrow rows.
//!
//! Owns which Arrow type a column of an answer gets. The values come as text, which both PostgreSQL and Redshift write
//! exactly (Redshift's binary numerics are its own); the session's settings must be ISO dates, UTC, and floats in full.
//!
//! | column                            | Arrow                                                                      |
//! |-----------------------------------|----------------------------------------------------------------------------|
//! | bool, int2, int4, int8            | Boolean, Int16, Int32, Int64                                               |
//! | float4, float8                    | Float32, Float64                                                           |
//! | numeric of a declared precision   | Decimal128 of it                                                           |
//! | date, timestamp, timestamptz      | Date32, Timestamp µs, Timestamp µs UTC                                     |
//! | everything else                   | Utf8, as the server writes it: also a numeric of no declared precision (a  |
//! |                                   | sum of decimals, say), which fits no decimal for sure                      |
//!
//! The types are those of the prepared statement. Of a type that it does not know (Redshift's SUPER) the client asks the
//! server's catalog, in words that Redshift has no tables for; then the whole answer comes as Utf8.

use std::pin::Pin;
use std::sync::Arc;

use arrow::array::{RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use futures::{StreamExt, TryStreamExt, stream};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Column, SimpleQueryMessage, SimpleQueryRow, SimpleQueryStream};

use super::super::{Answer, arrow_bug};
use super::fault::fault;
use super::transaction::Transaction;
use super::values::array;
use crate::error::{Error, Result};

/// Starts a transaction that may only read.
pub(super) const READ_ONLY: &str = "BEGIN READ ONLY";

/// The most rows of a batch.
const ROWS: usize = 4_096;

/// A batch ends after this many bytes of text.
const BYTES: usize = 4 << 20;

/// Runs a statement, and hands its rows on as they come; when they have, the transaction is undone.
///
/// # Errors
/// Invalid where the statement is refused; Transient.
pub(super) async fn answer(transaction: Transaction, sql: &str) -> Result<Answer> {
    let known = schema(&transaction, sql).await?;
    let refused = |error| fault(transaction.place(), &error);
    let mut rows = Box::pin(transaction.client().simple_query_raw(sql).await.map_err(refused)?);
    let schema = match known {
        Some(schema) => schema,
        None => names(&transaction, &mut rows).await?,
    };
    let mut reading = Reading { transaction: Some(transaction), rows, schema: Arc::clone(&schema) };
    // A statement that is refused at once is so before its first row.
    let first = reading.batch().await?;
    let further = stream::try_unfold(reading, |mut reading| async move {
        let batch = reading.batch().await?;
        Ok(batch.map(|batch| (batch, reading)))
    });
    Ok(Answer { schema, batches: stream::iter(first.map(Ok)).chain(further).boxed() })
}

/// The columns of a statement; none where their types cannot be learned, and the transaction has begun anew.
async fn schema(transaction: &Transaction, sql: &str) -> Result<Option<SchemaRef>> {
    // Preparing refuses more than one statement, too.
    match transaction.client().prepare(sql).await {
        // What answers nothing is no question, and would have been carried out by the time that shows.
        Ok(prepared) if prepared.columns().is_empty() => Err(Error::invalid(format!(
            "{}: nothing was run, for the statement answers no columns: a query only reads",
            transaction.place()
        ))),
        Ok(prepared) => {
            let fields = prepared.columns().iter().map(|column| Field::new(column.name(), data_type(column), true));
            Ok(Some(Arc::new(Schema::new(fields.collect::<Vec<_>>()))))
        }
        // The statement is the transaction's first and was taken: it is the question after a type that aborted.
        Err(error) if error.code() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION) => {
            transaction.run("ROLLBACK").await?;
            transaction.run(READ_ONLY).await?;
            Ok(None)
        }
        Err(error) => Err(fault(transaction.place(), &error)),
    }
}

/// The columns of an answer by their names alone.
async fn names(transaction: &Transaction, rows: &mut Pin<Box<SimpleQueryStream>>) -> Result<SchemaRef> {
    while let Some(message) = rows.try_next().await.map_err(|error| fault(transaction.place(), &error))? {
        if let SimpleQueryMessage::RowDescription(columns) = message {
            let fields = columns.iter().map(|column| Field::new(column.name(), DataType::Utf8, true));
            return Ok(Arc::new(Schema::new(fields.collect::<Vec<_>>())));
        }
    }
    Err(Error::internal("an answer of types that are not known has no columns"))
}

/// An answer on its way.
struct Reading {
    /// None when all rows have come.
    transaction: Option<Transaction>,
    rows: Pin<Box<SimpleQueryStream>>,
    schema: SchemaRef,
}

impl Reading {
    /// The next rows; none at the end.
    async fn batch(&mut self) -> Result<Option<RecordBatch>> {
        let mut texts: Vec<StringBuilder> = self.schema.fields().iter().map(|_| StringBuilder::new()).collect();
        let (mut rows, mut bytes) = (0, 0);
        while let Some(transaction) = &self.transaction
            && rows < ROWS
            && bytes < BYTES
        {
            match self.rows.try_next().await.map_err(|error| fault(transaction.place(), &error))? {
                Some(SimpleQueryMessage::Row(row)) => {
                    bytes += append(&row, &mut texts)?;
                    rows += 1;
                }
                Some(_) => {}
                None => self.end().await?,
            }
        }
        if rows == 0 {
            return Ok(None);
        }
        let fields = self.schema.fields().iter().zip(&mut texts);
        let columns = fields.map(|(field, texts)| array(field, texts.finish())).collect::<Result<Vec<_>>>()?;
        RecordBatch::try_new(Arc::clone(&self.schema), columns).map(Some).map_err(arrow_bug)
    }

    async fn end(&mut self) -> Result<()> {
        match self.transaction.take() {
            Some(transaction) => transaction.roll_back().await,
            None => Ok(()),
        }
    }
}

/// Adds a row's values, and tells their bytes.
fn append(row: &SimpleQueryRow, texts: &mut [StringBuilder]) -> Result<usize> {
    if row.len() != texts.len() {
        return Err(Error::internal("a row of an answer has other columns than the answer"));
    }
    let mut bytes = 0;
    for (index, texts) in texts.iter_mut().enumerate() {
        let value = row.try_get(index).map_err(|error| {
            Error::invalid("a value of the answer is no UTF-8 text; cast it to bytea in the query").with_source(error)
        })?;
        bytes += value.map_or(0, str::len);
        texts.append_option(value);
    }
    Ok(bytes)
}

fn data_type(column: &Column) -> DataType {
    match *column.type_() {
        Type::BOOL => DataType::Boolean,
        Type::INT2 => DataType::Int16,
        Type::INT4 => DataType::Int32,
        Type::INT8 => DataType::Int64,
        Type::FLOAT4 => DataType::Float32,
        Type::FLOAT8 => DataType::Float64,
        Type::DATE => DataType::Date32,
        Type::TIMESTAMP => DataType::Timestamp(TimeUnit::Microsecond, None),
        Type::TIMESTAMPTZ => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        Type::NUMERIC => decimal(column.type_modifier()).unwrap_or(DataType::Utf8),
        _ => DataType::Utf8,
    }
}

/// The decimal of a numeric's type modifier, where it has one that Arrow knows.
fn decimal(modifier: i32) -> Option<DataType> {
    // A numeric's modifier is 4 more than precision * 65536 + scale.
    let declared = modifier.checked_sub(4).filter(|declared| *declared >= 0)?;
    let (precision, scale) = (u8::try_from(declared >> 16).ok()?, i8::try_from(declared & 0xffff).ok()?);
    let known = (1..=38).contains(&precision) && scale.unsigned_abs() <= precision;
    known.then_some(DataType::Decimal128(precision, scale))
}
