//! The three forms of an answer: a table for the eye, CSV, and JSON with one object a line.
//!
//! CSV and JSON are written batch by batch as the rows come, so that an answer of any length takes the memory of one
//! batch. A table has to know its widest value before its first line: it shows [`TABLE_ROWS`] rows at most and says
//! so where there are more. A reader that goes away (`| head`) ends the writing, and is no error.
//!
//! No value steers a terminal: a table shows the escape of what would, but for line feeds, which begin a new line inside
//! their cell; JSON holds it as an escape of its own; CSV, which has none, as it is.
//!
//! | value     | table          | csv                        | json                                 |
//! |-----------|----------------|----------------------------|--------------------------------------|
//! | null      | empty          | empty                      | `null`, the key is there             |
//! | decimal   | `12.50`        | `12.50`                    | the number `12.50`, digits untouched |
//! | timestamp | ISO 8601       | ISO 8601                   | text, ISO 8601                       |
//! | binary    | hexadecimal    | hexadecimal                | text, hexadecimal                    |
//! | struct    | `{a: 1}`       | the same text, quoted      | an object                            |
//! | list      | `[1, 2]`       | the same text, quoted      | an array                             |

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray};
use arrow::csv::WriterBuilder as CsvWriterBuilder;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::WriterBuilder as JsonWriterBuilder;
use arrow::json::writer::LineDelimited;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow::util::pretty::pretty_format_batches_with_schema;

use super::QueryResult;
use crate::error::{Error, Result, is_storage_full};
use crate::terminal::{visible, visible_json, visible_lines};

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Columns aligned for the eye; 10,000 rows at most.
    Table,
    /// RFC 4180 with a header line.
    Csv,
    /// Newline-delimited JSON: one object a row.
    Json,
}

/// What a table shows at most.
const TABLE_ROWS: usize = 10_000;

/// Writes an answer to the end and returns the rows written.
///
/// # Errors
/// As [`QueryResult::next`]; Invalid for JSON of two columns of one name; Transient where `out` refuses the bytes.
pub async fn write(result: QueryResult, format: Format, out: &mut impl io::Write) -> Result<u64> {
    match format {
        Format::Table => write_table(result, out).await,
        Format::Csv => write_stream(result, Encoder::csv, out).await,
        Format::Json => {
            refuse_twins(&result.schema)?;
            write_stream(result, Encoder::json, out).await
        }
    }
}

async fn write_table(mut result: QueryResult, out: &mut impl io::Write) -> Result<u64> {
    let mut batches = Vec::new();
    let (mut rows, mut more) = (0, false);
    while let Some(batch) = result.next().await? {
        let fits = batch.num_rows().min(TABLE_ROWS - rows);
        more = fits < batch.num_rows();
        batches.push(shown(&batch.slice(0, fits)).map_err(unwritable)?);
        rows += fits;
        if more {
            break;
        }
    }
    let nothing = shown(&RecordBatch::new_empty(result.schema())).map_err(unwritable)?;
    let table = pretty_format_batches_with_schema(nothing.schema(), &batches).map_err(unwritable)?;
    let mut text = format!("{table}\n");
    if more {
        text.push_str(&format!(
            "there are more rows than the {TABLE_ROWS} shown: ask with LIMIT, or take --format csv or json for all\n"
        ));
    }
    send(text.as_bytes(), out)?;
    Ok(rows as u64)
}

async fn write_stream(
    mut result: QueryResult,
    encode: fn(&mut Encoder, &RecordBatch) -> Result<(), ArrowError>,
    out: &mut impl io::Write,
) -> Result<u64> {
    let mut encoder = Encoder::default();
    // An answer without rows has its header all the same.
    encode(&mut encoder, &RecordBatch::new_empty(result.schema())).map_err(unwritable)?;
    let mut rows = 0;
    while send(&encoder.bytes, out)? {
        let Some(batch) = result.next().await? else { break };
        encoder.bytes.clear();
        encode(&mut encoder, &batch).map_err(unwritable)?;
        rows += batch.num_rows() as u64;
    }
    Ok(rows)
}

/// The bytes of one batch, in a buffer that every batch uses again.
#[derive(Default)]
struct Encoder {
    bytes: Vec<u8>,
    begun: bool,
}

impl Encoder {
    fn csv(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let flat = flatten(batch)?;
        let header = !std::mem::replace(&mut self.begun, true);
        CsvWriterBuilder::new().with_header(header).build(&mut self.bytes).write(&flat)
    }

    fn json(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let builder = JsonWriterBuilder::new().with_explicit_nulls(true);
        let mut writer = builder.build::<_, LineDelimited>(&mut self.bytes);
        writer.write(batch)?;
        writer.finish()?;
        drop(writer);
        if let Cow::Owned(visible) = std::str::from_utf8(&self.bytes).map_or(Cow::Borrowed(""), visible_json) {
            self.bytes = visible.into_bytes();
        }
        Ok(())
    }
}

/// What a table shows: every value and name as text in which nothing steers a terminal.
fn shown(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let options = FormatOptions::default();
    let column = |column: &ArrayRef| -> Result<ArrayRef, ArrowError> {
        let formatter = ArrayFormatter::try_new(column.as_ref(), &options)?;
        let cell = |row| formatter.value(row).try_to_string().map(|text| visible_lines(&text).into_owned());
        let cells = (0..column.len()).map(|row| column.is_valid(row).then(|| cell(row)).transpose());
        Ok(Arc::new(cells.collect::<Result<StringArray, _>>()?))
    };
    let columns = batch.columns().iter().map(column).collect::<Result<Vec<_>, _>>()?;
    let schema = batch.schema();
    let field = |field: &Arc<Field>| Field::new(visible(field.name()), DataType::Utf8, true);
    let schema = Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>());
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(schema), columns, &rows)
}

/// CSV has no nesting: structs, lists and maps become the text that a table shows.
fn flatten(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().map(flat_column).collect::<Result<Vec<_>, _>>()?;
    let fields = batch
        .schema()
        .fields()
        .iter()
        .zip(&columns)
        .map(|(field, column)| Field::new(field.name(), column.data_type().clone(), true))
        .collect::<Vec<_>>();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

fn flat_column(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    if !column.data_type().is_nested() {
        return Ok(Arc::clone(column));
    }
    let options = FormatOptions::new().with_null("null");
    let formatter = ArrayFormatter::try_new(column.as_ref(), &options)?;
    let text = |row| column.is_valid(row).then(|| formatter.value(row).to_string());
    Ok(Arc::new((0..column.len()).map(text).collect::<StringArray>()))
}

/// Sends bytes; false where the reader has gone away.
fn send(bytes: &[u8], out: &mut impl io::Write) -> Result<bool> {
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) if is_storage_full(&error) => {
            Err(Error::invalid("no space left for the answer: free some space and ask again").with_source(error))
        }
        Err(error) => Err(Error::transient("the answer cannot be written").with_source(error)),
    }
}

fn refuse_twins(schema: &SchemaRef) -> Result<()> {
    let mut seen = BTreeSet::new();
    match schema.fields().iter().find(|field| !seen.insert(field.name().as_str())) {
        None => Ok(()),
        Some(twin) => Err(Error::invalid(format!(
            "two columns of the answer are named {:?}, and a JSON object would keep one of them: name them apart with AS",
            twin.name()
        ))),
    }
}

fn unwritable(error: ArrowError) -> Error {
    Error::invalid(
        "the answer has a column that this format cannot hold: cast it to text in the query, or take another format",
    )
    .with_source(error)
}
