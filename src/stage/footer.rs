//! What a staged file says of itself: its rows, out of its footer and without reading the rest.

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaDataReader;

use crate::error::{Error, Result};
use crate::store::Store;

/// Holds the footer of most staged files, so that one request is enough.
const FIRST_TRY: u64 = 64 << 10;

/// The rows in a Parquet object; none where its footer cannot be read, and so none of its rows can.
///
/// # Errors
/// Transient, or Corrupt where there is no such object.
pub async fn count_rows(store: &Store, path: &str) -> Result<Option<u64>> {
    let missing = || Error::corrupt(format!("{path} is not in the object store"));
    let size = store.size(path).await?.ok_or_else(missing)?;
    let mut wanted = FIRST_TRY.min(size);
    loop {
        let tail = store.tail(path, wanted).await?.ok_or_else(missing)?;
        match parse(&tail, size) {
            Ok(rows) => return Ok(u64::try_from(rows).ok()),
            Err(ParquetError::NeedMoreData(more)) if wanted < size => {
                wanted = size.min((more as u64).max(wanted + 1));
            }
            Err(_) => return Ok(None),
        }
    }
}

fn parse(tail: &Bytes, size: u64) -> std::result::Result<i64, ParquetError> {
    let mut reader = ParquetMetaDataReader::new();
    reader.try_parse_sized(tail, size)?;
    Ok(reader.finish()?.file_metadata().num_rows())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use parquet::arrow::ArrowWriter;

    use super::*;

    /// A file of so many rows, one a row group: each adds to the footer.
    fn file(rows: i64) -> Vec<u8> {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![7]));
        let batch = RecordBatch::try_from_iter([("a", column)]).expect("a batch");
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).expect("a writer");
        for _ in 0..rows {
            writer.write(&batch).expect("written");
            writer.flush().expect("flushed");
        }
        writer.into_inner().expect("closed")
    }

    #[tokio::test]
    async fn rows_are_counted_from_small_and_large_footers_and_not_from_rubbish() {
        let store = Store::memory("lake").expect("a store");
        for rows in [1, 3_000] {
            let bytes = file(rows);
            assert_eq!(bytes.len() as u64 > 2 * FIRST_TRY, rows > 1, "one fits the first try, one does not");
            store.put("f", bytes.into()).await.expect("put");
            assert_eq!(count_rows(&store, "f").await.expect("counted"), u64::try_from(rows).ok());
        }
        for rubbish in ["", "short", "long enough to hold a footer, but none"] {
            store.put("f", rubbish.into()).await.expect("put");
            assert_eq!(count_rows(&store, "f").await.expect("looked at"), None, "{rubbish:?}");
        }
        assert!(count_rows(&store, "nowhere").await.is_err());
    }
}
