//! A Parquet file as the text that PostgreSQL's COPY takes; each value is looked at.

use arrow::array::{Array, ArrayRef, RecordBatch, StructArray};
use arrow::datatypes::Field;
use arrow::json::LineDelimitedWriter;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::sync::Arc;

use super::columns::{Column, Kind, Target};
use super::{CopyCommand, Failed, FileFault};

/// The widest row.
const WIDEST_ROW: usize = 4 << 20;

/// Rows as comma-separated values: every value in quotes, a null without.
pub(super) struct Text {
    pub(super) rows: usize,
    pub(super) csv: Vec<u8>,
}

/// What has to be known of a file beside its bytes.
#[derive(Clone, Copy)]
struct Reading<'a> {
    target: &'a Target,
    url: &'a str,
}

pub(super) fn read(target: &Target, wanted: &CopyCommand, url: &str, bytes: Bytes) -> Result<Text, Failed> {
    let reading = Reading { target, url };
    let unreadable =
        |error: &dyn std::fmt::Display| reading.fault(None, 15_001, format!("the file is no Parquet file: {error}"));
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(|error| unreadable(&error))?;
    reading.fits(&builder, wanted)?;
    let batches = builder.build().map_err(|error| unreadable(&error))?;
    let mut text = Text { rows: 0, csv: Vec::new() };
    for batch in batches {
        let batch = batch.map_err(|error| unreadable(&error))?;
        reading.write(&batch, &mut text)?;
    }
    Ok(text)
}

impl Reading<'_> {
    /// Whether the file's columns fit the table's, by position.
    fn fits(&self, file: &ParquetRecordBatchReaderBuilder<Bytes>, wanted: &CopyCommand) -> Result<(), Failed> {
        let root = file.parquet_schema().root_schema().get_fields();
        let (taking, given) = (self.target.columns.len(), root.len());
        if given > taking || (given < taking && !wanted.fill_record) {
            let words = "Unmatched number of columns between table and file.";
            let reason = format!("{words} Table columns: {taking}, Data columns: {given},");
            return Err(self.fault(None, 15_007, reason));
        }
        for ((column, found), writer) in self.target.columns.iter().zip(root).zip(file.schema().fields()) {
            if !column.kind.takes(found, writer.data_type(), wanted, self.target.fixed_length_decimals) {
                let mut shown = Vec::new();
                parquet::schema::printer::print_schema(&mut shown, found);
                let reason = format!(
                    "File has an incompatible Parquet schema for column '{}'. Column type: {}, Parquet schema: {} ({})",
                    column.name,
                    column.kind.name(),
                    String::from_utf8_lossy(&shown).split_whitespace().collect::<Vec<_>>().join(" "),
                    writer.data_type(),
                );
                return Err(self.fault(Some(column), 15_007, reason));
            }
        }
        Ok(())
    }

    fn write(&self, batch: &RecordBatch, text: &mut Text) -> Result<(), Failed> {
        let columns: Vec<_> = self.target.columns.iter().zip(batch.columns()).collect();
        let values: Vec<_> = columns.iter().map(|(column, values)| texts(column.kind, values)).collect();
        for row in 0..batch.num_rows() {
            text.rows += 1;
            let start = text.csv.len();
            for (place, column) in self.target.columns.iter().enumerate() {
                if place > 0 {
                    text.csv.push(b',');
                }
                let value = values.get(place).and_then(|values| values[row].as_deref());
                self.check(column, value)?;
                if let Some(value) = value {
                    text.csv.extend(format!("\"{}\"", value.replace('"', "\"\"")).bytes());
                }
            }
            text.csv.push(b'\n');
            if text.csv.len() - start > WIDEST_ROW {
                return Err(self.fault(None, 15_001, format!("row {} is wider than 4 MB", text.rows)));
            }
        }
        Ok(())
    }

    fn check(&self, column: &Column, value: Option<&str>) -> Result<(), Failed> {
        let (code, reason) = match (column.kind, value) {
            (_, None) if column.required => (15_001, "a null value in a column that is NOT NULL".to_owned()),
            (Kind::Text { bytes }, Some(value)) if value.len() > bytes => (
                15_001,
                format!(
                    "The length of the data column {} is longer than the length defined in the table. Table: {bytes}, Data: {}",
                    column.name,
                    value.len()
                ),
            ),
            (_, Some(value)) if value.contains('\0') => (1_224, "a string contains a NUL byte".to_owned()),
            (Kind::SmallInt, Some(value)) if value.parse::<i16>().is_err() => {
                (1_207, "the value overflows SMALLINT".to_owned())
            }
            _ => return Ok(()),
        };
        let Failed::Fault(fault) = self.fault(Some(column), code, reason) else { return Ok(()) };
        let shown = value.unwrap_or_default().chars().take(1_024).collect();
        Err(Failed::Fault(Box::new(FileFault { value: shown, ..*fault })))
    }

    fn fault(&self, column: Option<&Column>, code: u32, reason: String) -> Failed {
        let (name, kind) = column.map_or_else(Default::default, |column| (column.name.clone(), column.kind.name()));
        let length = match column.map(|column| column.kind) {
            Some(Kind::Text { bytes }) => bytes.to_string(),
            _ => String::new(),
        };
        let file = self.url.to_owned();
        Failed::Fault(Box::new(FileFault { file, column: name, kind, length, code, reason, ..FileFault::default() }))
    }
}

/// The values of a column as PostgreSQL reads them.
fn texts(kind: Kind, values: &ArrayRef) -> Vec<Option<String>> {
    if kind == Kind::Super {
        return json(values);
    }
    let options = FormatOptions::default();
    let formatter = ArrayFormatter::try_new(values.as_ref(), &options).expect("types that fit can be shown");
    let prefix = if kind == Kind::Bytes { "\\x" } else { "" };
    let shown = |row: usize| format!("{prefix}{}", formatter.value(row));
    (0..values.len()).map(|row| values.is_valid(row).then(|| shown(row))).collect()
}

/// Each value as JSON.
fn json(values: &ArrayRef) -> Vec<Option<String>> {
    let field = Arc::new(Field::new("v", values.data_type().clone(), true));
    let rows = StructArray::new(vec![field].into(), vec![Arc::clone(values)], None);
    let mut writer = LineDelimitedWriter::new(Vec::new());
    writer.write(&RecordBatch::from(rows)).and_then(|()| writer.finish()).expect("values as JSON");
    let lines = String::from_utf8(writer.into_inner()).expect("JSON is text");
    let parsed = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a JSON object"));
    parsed.map(|row| row.get("v").map(ToString::to_string)).collect()
}
