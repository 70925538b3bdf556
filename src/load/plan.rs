//! What one load brings into a warehouse that speaks SQL, as data.
//!
//! Owns which files go into which table, in which COPY, and which dimensions the load's facts point at. Pure: it reads
//! nothing and knows no SQL; `script` says it in SQL.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use super::shape::Shape;
use crate::batch::DataFile;

/// One load.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LoadPlan {
    /// The load's own id: by it a load whose answer was lost is found again in the ledger.
    pub(super) id: String,
    /// The pipeline.
    pub(super) pipeline: String,
    /// The entry that the warehouse holds before.
    pub(super) after: u64,
    /// The entry that it holds then.
    pub(super) through: u64,
    /// The attempt that wrote the entry `through`.
    pub(super) attempt: String,
    /// When the load starts, ms since 1970 UTC.
    pub(super) loaded_at: i64,
    /// The tables that change, in the order of the shapes: dimensions, then facts.
    pub(super) tables: Vec<TableLoad>,
}

/// What a load does to one table.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TableLoad {
    /// The table.
    pub(super) shape: Arc<Shape>,
    /// Its staged files; none where facts alone touch this dimension.
    pub(super) copies: Vec<Copy>,
    /// For a dimension: the columns of this load's facts that point at it, each with the fact's table.
    pub(super) pointed_at: Vec<(String, String)>,
}

/// Files of one table that hold the same columns in the same order.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Copy {
    /// The table.
    pub(super) table: String,
    /// Where they stand in the load: it tells the manifests of a load apart.
    pub(super) number: usize,
    /// The columns of the files, in their order.
    pub(super) columns: SchemaRef,
    /// In journal order.
    pub(super) files: Vec<StagedFile>,
}

/// A staged file, with the entry that names it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct StagedFile {
    /// The entry's number.
    pub(super) entry: u64,
    /// The file.
    pub(super) file: DataFile,
}

impl TableLoad {
    /// Rows of all its files, as the journal says.
    pub(super) fn rows(&self) -> u64 {
        self.copies.iter().map(Copy::rows).sum()
    }
}

impl Copy {
    /// Rows of its files, as the journal says.
    pub(super) fn rows(&self) -> u64 {
        self.files.iter().map(|staged| staged.file.rows).sum()
    }
}
