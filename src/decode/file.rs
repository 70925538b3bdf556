//! Dimension files: CSV with a heading line, each data line a row, by the same rules as the events.
//!
//! Owns the match of headings to declared fields. A line is to a file what a record is to the stream: its own raw
//! record, when it was staged and its number as the position, its bytes as the payload of its reject.

use std::sync::Arc;

use bytes::Bytes;

use super::columns::{Column, Stored};
use super::csv::{Cells, Line, Lines};
use super::fault::{Absence, Reason, absent_sentence, shortened, value_sentence};
use super::plan::{Label, keys_of};
use super::rows::Rows;
use crate::batch::{Decoded, Origin, Position, RawBatch, RawRecord, Reject, SequenceNumber, ShardId};
use crate::error::Error;
use crate::schema::{Field, input_schema};

/// Why a file cannot be read at all; each sentence wants the file's name in front.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileFault {
    /// There is no line in it.
    #[error("the file is empty: its first line must be a heading")]
    Empty,
    /// The heading is not UTF-8.
    #[error("the heading is not UTF-8: save the file as CSV in UTF-8")]
    NotUtf8,
    /// The heading's quotes are broken.
    #[error("line 1: the heading's quotes are broken: close every quote, and write a quote inside a name twice")]
    BrokenHeading,
    /// Two columns of a name that a field reads.
    #[error("line 1: the heading {0:?} stands twice: which column is meant cannot be told, so rename or remove one")]
    TwiceHeading(String),
    /// Headings that fields read are not there.
    #[error("line 1: no heading {}: the file has {}", quoted(.missing), quoted(.present))]
    MissingHeadings {
        /// The headings that are not there, in the fields' order.
        missing: Vec<String>,
        /// The headings that are.
        present: Vec<String>,
    },
}

impl From<FileFault> for Error {
    fn from(fault: FileFault) -> Self {
        Self::invalid(fault.to_string())
    }
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
}

/// The headings that the fields read and the file lacks, in the fields' order; empty for a good file.
///
/// # Errors
/// The file has no heading line, or one that cannot be read.
pub fn missing_headings(fields: &[Field], bytes: &[u8]) -> Result<Vec<String>, FileFault> {
    let headings = read_headings(&mut Lines::new(bytes))?;
    find_columns(fields, &headings).map(|(_, missing)| missing)
}

/// Which file, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// The file as the pipeline names it: each row's shard.
    pub name: String,
    /// From when its rows hold, µs since 1970 UTC: each row's arrival.
    pub effective_at: i64,
    /// When it is staged, µs since 1970 UTC: each row's sequence number. So of two files that hold from the same time,
    /// the rows of the one that was staged later are newer, wherever they stand in it.
    pub staged_at: i64,
}

/// Decodes a CSV file: one row a data line, by the declared fields.
///
/// A row's sub-sequence is the line's number: the heading is line 1; a quoted cell may hold line feeds, then the line
/// that it starts on counts. `raw` holds one record a data line, and no ranges.
///
/// # Errors
/// The file has no heading line, one that cannot be read, or not every heading that the fields read.
pub fn decode_file(fields: &[Field], info: &FileInfo, bytes: Bytes) -> Result<Decoded, FileFault> {
    let mut lines = Lines::new(&bytes);
    let headings = read_headings(&mut lines)?;
    let (columns, missing) = find_columns(fields, &headings)?;
    if !missing.is_empty() {
        return Err(FileFault::MissingHeadings { missing, present: headings });
    }
    let label = |field: &Field| Label::new(field.name.clone(), heading_of(field).to_owned(), &field.field_type);
    let reader = RowReader { fields, columns, labels: fields.iter().map(label).collect(), headings: headings.len() };
    let room = memchr::memchr_iter(b'\n', &bytes).count();
    let mut rows = Rows::new(fields, 0, (room, usize::MAX));
    let mut raw = RawBatch { records: Vec::with_capacity(room), ..RawBatch::default() };
    let shard = ShardId::new(info.name.as_str());
    let staged_at = SequenceNumber::from(u64::try_from(info.staged_at).unwrap_or(0));
    let mut cells = Cells::default();
    while let Some(line) = lines.next(&mut cells) {
        let record = RawRecord {
            shard: shard.clone(),
            position: Position::new(staged_at.clone(), line.number),
            arrived_at: info.effective_at,
            payload: bytes.slice(line.start..line.end),
            damage: None,
        };
        let index = u32::try_from(raw.records.len()).unwrap_or(u32::MAX);
        reader.read(&line, &cells, (index, &record), &mut rows);
        raw.records.push(record);
    }
    Ok(rows.finish(&input_schema(fields), Arc::new(raw)))
}

fn heading_of(field: &Field) -> &str {
    keys_of(field).first().map_or("", String::as_str)
}

fn read_headings(lines: &mut Lines<'_>) -> Result<Vec<String>, FileFault> {
    let mut cells = Cells::default();
    let line = lines.next(&mut cells).ok_or(FileFault::Empty)?;
    if !line.sound {
        return Err(FileFault::BrokenHeading);
    }
    let heading = |index| match std::str::from_utf8(cells.get(index).unwrap_or_default()) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(_) => Err(FileFault::NotUtf8),
    };
    (0..cells.len()).map(heading).collect()
}

/// Each field's column in the file, and the headings that are not there.
fn find_columns(fields: &[Field], headings: &[String]) -> Result<(Vec<usize>, Vec<String>), FileFault> {
    let mut columns = Vec::with_capacity(fields.len());
    let mut missing: Vec<String> = Vec::new();
    for wanted in fields.iter().map(heading_of) {
        let mut places = headings.iter().enumerate().filter(|(_, heading)| *heading == wanted).map(|(place, _)| place);
        match (places.next(), places.next()) {
            (Some(place), None) => columns.push(place),
            (Some(_), Some(_)) => return Err(FileFault::TwiceHeading(wanted.to_owned())),
            (None, _) if missing.iter().any(|known| known == wanted) => {}
            (None, _) => missing.push(wanted.to_owned()),
        }
    }
    Ok((columns, missing))
}

/// What every data line is read by.
struct RowReader<'f> {
    fields: &'f [Field],
    /// Per field: its column in the file.
    columns: Vec<usize>,
    labels: Vec<Label>,
    headings: usize,
}

/// Why a line is refused.
type Refusal = (Reason, String);

impl RowReader<'_> {
    /// Makes the line a row or a reject.
    fn read(&self, line: &Line, cells: &Cells, (index, record): (u32, &RawRecord), rows: &mut Rows) {
        let end = u32::try_from(record.payload.len()).unwrap_or(u32::MAX);
        let origin = Origin { record: index, index: 0, start: 0, end };
        let outcome = self.check(line, cells, &record.payload);
        let outcome = outcome.and_then(|()| self.fill(cells, &mut rows.columns));
        let full = |reason: Reason| (reason, format!("the file's columns hold no more: split it ({reason})"));
        if let Err((reason, message)) =
            outcome.and_then(|()| rows.accept(record, origin, record.payload.len()).map_err(full))
        {
            rows.take_back();
            rows.refuse(Reject {
                reason: reason.as_str().to_owned(),
                message,
                shard: record.shard.clone(),
                position: record.position.clone(),
                index: 0,
                arrived_at: record.arrived_at,
                payload: record.payload.clone(),
            });
        }
    }

    fn check(&self, line: &Line, cells: &Cells, bytes: &[u8]) -> Result<(), Refusal> {
        if std::str::from_utf8(bytes).is_err() {
            return Err((Reason::InvalidUtf8, format!("{} is not UTF-8", shortened(bytes))));
        }
        if !line.sound {
            return Err((Reason::NotCsv, format!("the quotes of {} are broken: close every quote", shortened(bytes))));
        }
        if cells.len() != self.headings {
            let message =
                format!("{} has {} cells where the heading has {}", shortened(bytes), cells.len(), self.headings);
            return Err((Reason::WrongCellCount, message));
        }
        Ok(())
    }

    fn fill(&self, cells: &Cells, columns: &mut [Column]) -> Result<(), Refusal> {
        for (index, column) in columns.iter_mut().enumerate() {
            let label = &self.labels[index];
            let absence = match cells.get(self.columns[index]) {
                None => Absence::Missing,
                Some(cell) => {
                    match column.push_text(cell).map_err(|reason| (reason, value_sentence(label, reason, cell)))? {
                        Stored::Value => continue,
                        Stored::Blank => Absence::Blank,
                    }
                }
            };
            if self.fields[index].required {
                return Err((Reason::MissingField, absent_sentence(label, absence)));
            }
            column.push_null();
        }
        Ok(())
    }
}
