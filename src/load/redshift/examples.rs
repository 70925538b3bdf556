//! What the tests of this module load.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};

use crate::batch::DataFile;
use crate::load::plan::{Copy, StagedFile};
use crate::store::Store;

/// A bucket in memory.
pub(super) fn lake() -> Store {
    let objects = Store::memory("lake").expect("a store").objects();
    Store::bucket_of(objects, "orders-lake").expect("a bucket")
}

/// A COPY of these files: entry, path, rows, bytes.
pub(super) fn copy(files: &[(u64, &str, u64, u64)]) -> Copy {
    let columns = vec![Field::new("order_id", DataType::Int32, false), Field::new("_position", DataType::Utf8, false)];
    let staged = |&(entry, path, rows, bytes): &(u64, &str, u64, u64)| StagedFile {
        entry,
        file: DataFile { path: path.to_owned(), rows, bytes, checksum: None, etag: None },
    };
    Copy {
        table: "fact_orders".to_owned(),
        number: 0,
        columns: Arc::new(Schema::new(columns)),
        files: files.iter().map(staged).collect(),
    }
}
