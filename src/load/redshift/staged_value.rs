//! The value that a COPY stumbled over, looked up in the staged file.
//!
//! Owns what Redshift leaves out: of a columnar file it tells no row, and `sys_load_error_detail` has no values. File,
//! column and the column's width lead to the first value that does not fit, or the row to its value. What is not found
//! stays out of the sentence; nothing here fails.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{Field, Schema};
use arrow::util::display::array_value_to_string;

use super::lake::Lake;
use super::load_error::LoadError;
use crate::error::Result;
use crate::load::plan::Copy;
use crate::load::{arrow_bug, staged};
use crate::runtime::blocking;

/// The error with its row and value, where the staged file tells them.
pub(super) async fn completed(copy: &Copy, lake: &Lake, error: LoadError) -> LoadError {
    if !error.value.is_empty() && error.row().is_some() {
        return error;
    }
    match look(copy, lake, &error).await {
        Ok(Some(Found { row, value })) => LoadError { line: row.to_string(), value, ..error },
        Ok(None) => error,
        Err(unread) => {
            tracing::debug!(error = %unread, "the value that a copy stumbled over cannot be looked up");
            error
        }
    }
}

/// A value and its row, counted from one.
struct Found {
    row: u64,
    value: String,
}

async fn look(copy: &Copy, lake: &Lake, error: &LoadError) -> Result<Option<Found>> {
    let Some(staged) = lake.file(copy, &error.file) else { return Ok(None) };
    let fields = copy.columns.fields();
    let column = fields.iter().position(|field| field.name().eq_ignore_ascii_case(&error.column));
    let (Some(column), width, row) = (column, error.length.parse().ok(), error.row()) else { return Ok(None) };
    let bytes = staged::fetch(lake.store(), staged.entry, &staged.file).await?;
    let nullable: Vec<Field> = fields.iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    let (staged, columns) = (staged.clone(), Arc::new(Schema::new(nullable)));
    blocking(move || {
        let mut search = Search { column, width, row, before: 0, too_wide: None, of_row: None };
        staged::each_batch(bytes, &staged, &columns, |batch| search.look(&batch))?;
        Ok(search.too_wide.or(search.of_row))
    })
    .await
}

/// Looks for the first value of more bytes than the width, else for the one of this row.
struct Search {
    /// Where the column stands in the file.
    column: usize,
    width: Option<usize>,
    row: Option<u64>,
    /// Rows of the batches so far.
    before: u64,
    too_wide: Option<Found>,
    of_row: Option<Found>,
}

impl Search {
    fn look(&mut self, batch: &RecordBatch) -> Result<()> {
        let (values, rows) = (batch.column(self.column), batch.num_rows() as u64);
        let found =
            |index: usize| value(values, index).map(|value| Found { row: self.before + index as u64 + 1, value });
        let too_wide = match (&self.too_wide, self.width) {
            (None, Some(width)) => wider(values, width).map(found).transpose()?,
            _ => None,
        };
        let is_here = |row: &u64| (self.before + 1..=self.before + rows).contains(row);
        let of_row = match self.row.filter(is_here) {
            Some(row) => Some(found(usize::try_from(row - self.before - 1).unwrap_or_default())?),
            None => None,
        };
        self.too_wide = self.too_wide.take().or(too_wide);
        self.of_row = self.of_row.take().or(of_row);
        self.before += rows;
        Ok(())
    }
}

/// Where the first text of more bytes is.
fn wider(values: &ArrayRef, width: usize) -> Option<usize> {
    let texts = values.as_string_opt::<i32>()?;
    texts.iter().position(|text| text.is_some_and(|text| text.len() > width))
}

fn value(values: &ArrayRef, index: usize) -> Result<String> {
    match values.is_null(index) {
        true => Ok("null".to_owned()),
        false => array_value_to_string(values, index).map_err(arrow_bug),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, StringArray};
    use parquet::arrow::ArrowWriter;

    use super::*;
    use crate::load::redshift::examples::{copy, lake};
    use crate::runtime::SystemClock;

    /// 10,000 rows, of which 9,001 is null and the text of 9,501 is four letters of eight bytes.
    async fn staged_rows() -> (Copy, Lake) {
        let numbers: Int32Array = (0..10_000).map(|n| (n != 9_000).then_some(n)).collect();
        let texts: StringArray = (0..10_000).map(|n| Some(if n == 9_500 { "ääää" } else { "abcd" })).collect();
        let columns: [(&str, ArrayRef); 2] = [("order_id", Arc::new(numbers)), ("_position", Arc::new(texts))];
        let rows = RecordBatch::try_from_iter(columns).expect("rows");
        let mut file = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut file, rows.schema(), None).expect("a writer");
        writer.write(&rows).expect("written");
        writer.close().expect("closed");
        let store = lake();
        let copy = copy(&[(42, "staged/a.parquet", 10_000, file.len() as u64)]);
        store.put("staged/a.parquet", file.into()).await.expect("staged");
        (copy, Lake::new(store, "default", Arc::new(SystemClock)).expect("a bucket"))
    }

    #[tokio::test]
    async fn what_redshift_leaves_out_stands_in_the_file() {
        let (copy, lake) = staged_rows().await;
        let cases = [
            // column, width, line and value as told; line and value then
            (("_position", "4", "-1", ""), ("9501", "ääää")),
            (("_POSITION", "4", "", "ä..."), ("9501", "ääää")),
            (("_position", "4", "7", "told"), ("7", "told")),
            (("_position", "8", "-1", ""), ("-1", "")),
            (("_position", "8", "9501", ""), ("9501", "ääää")),
            (("order_id", "", "9000", ""), ("9000", "8999")),
            (("order_id", "", "9001", ""), ("9001", "null")),
            (("order_id", "", "10001", ""), ("10001", "")),
            (("other", "4", "-1", ""), ("-1", "")),
        ];
        for ((column, length, line, value), (row, found)) in cases {
            let told = LoadError {
                file: "s3://orders-lake/staged/a.parquet".to_owned(),
                line: line.to_owned(),
                column: column.to_owned(),
                length: length.to_owned(),
                value: value.to_owned(),
                ..LoadError::default()
            };
            let error = completed(&copy, &lake, told).await;
            assert_eq!((error.line.as_str(), error.value.as_str()), (row, found), "{column} {length} {line}");
        }
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_read_changes_nothing() {
        let (copy, lake) = staged_rows().await;
        lake.store().put("staged/a.parquet", "no Parquet".into()).await.expect("damaged");
        let told = LoadError {
            file: "s3://orders-lake/staged/a.parquet".to_owned(),
            column: "_position".to_owned(),
            length: "4".to_owned(),
            ..LoadError::default()
        };
        assert_eq!(completed(&copy, &lake, told.clone()).await, told);
    }
}
