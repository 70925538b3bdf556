//! A relation over exactly the Parquet files that the journal names.
//!
//! Owns the scan. Paths and sizes come from the journal, so nothing is listed and no file is asked for its size:
//! planning over ten thousand files touches none of them. The declared schema stands for all of them; a file that
//! lacks a nullable column yields nulls.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{Result as PlanResult, ScalarValue, Statistics, project_schema};
use datafusion::datasource::TableType;
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use url::Position;

use crate::batch::DataFile;
use crate::error::{Error, Result};
use crate::store::Store;

/// The rows of these files.
#[derive(Debug)]
pub(super) struct Files {
    store: ObjectStoreUrl,
    schema: TableSchema,
    /// Each with the number of the journal's entry that names it.
    files: Vec<(u64, DataFile)>,
}

/// The column behind all others, where it is asked for: the number of the entry that names the row's file.
pub(super) const ENTRY: &str = "_millstream_entry";

impl Files {
    /// The rows of `files` on the store, whose root is registered under its URL's scheme and host, as `schema` types
    /// them.
    pub(super) fn new(store: &Store, schema: SchemaRef, files: impl Iterator<Item = DataFile>) -> Result<Self> {
        Self::of(store, TableSchema::from(schema), files.map(|file| (0, file)))
    }

    /// As [`Files::new`], with the column [`ENTRY`].
    pub(super) fn numbered(
        store: &Store,
        schema: SchemaRef,
        files: impl Iterator<Item = (u64, DataFile)>,
    ) -> Result<Self> {
        let entry = Arc::new(Field::new(ENTRY, DataType::UInt64, false));
        Self::of(store, TableSchema::builder(schema).with_table_partition_cols(vec![entry]).build(), files)
    }

    fn of(store: &Store, schema: TableSchema, files: impl Iterator<Item = (u64, DataFile)>) -> Result<Self> {
        let url = store.url();
        let from_root =
            |(entry, file): (u64, DataFile)| (entry, DataFile { path: store.path_in_root(&file.path), ..file });
        let files = files.map(from_root).collect();
        let store = ObjectStoreUrl::parse(&url[..Position::BeforePath])
            .map_err(|error| Error::internal(format!("{url} names no object store")).with_source(error))?;
        Ok(Self { store, schema, files })
    }

    /// What the journal says, as an estimate: an exact count would answer `count(*)` without a look at the files.
    fn statistics(&self) -> Statistics {
        let rows = self.files.iter().map(|(_, file)| file.rows).sum::<u64>();
        let rows = Precision::Inexact(usize::try_from(rows).unwrap_or(usize::MAX));
        Statistics { num_rows: rows, ..Statistics::new_unknown(self.schema.table_schema()) }
    }

    fn groups(&self, partitions: usize) -> Vec<FileGroup> {
        let numbered = !self.schema.table_partition_cols().is_empty();
        let file = |(entry, file): &(u64, DataFile)| {
            let mut file = PartitionedFile::new(file.path.as_str(), file.bytes);
            file.partition_values.extend(numbered.then_some(ScalarValue::UInt64(Some(*entry))));
            file
        };
        let files = self.files.iter().map(file).collect();
        FileGroup::new(files).split_files(partitions)
    }
}

#[async_trait]
impl TableProvider for Files {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.schema.table_schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    // The filters stay above the scan; the optimizer hands them to the Parquet reader, which skips row groups by them.
    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        if self.files.is_empty() {
            return Ok(Arc::new(EmptyExec::new(project_schema(self.schema.table_schema(), projection)?)));
        }
        let source = Arc::new(ParquetSource::new(self.schema.clone()));
        let config = FileScanConfigBuilder::new(self.store.clone(), source)
            .with_file_groups(self.groups(state.config().target_partitions()))
            .with_statistics(self.statistics())
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        let format = ParquetFormat::new().with_options(state.default_table_options().parquet);
        format.create_physical_plan(state, config).await
    }
}
