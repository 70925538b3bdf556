//! The data files of a Delta table: read whole, and rewritten sorted by key.
//!
//! Owns how files are written (zstd, one row group, statistics; their SHA-256, and what their rows take in memory, in the
//! tags of the action that adds them) and that they are synced before a commit names them. A file that has such a tag is held against it whenever it is read.
//! Decoding, sorting and encoding run on threads where they hold nobody up.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, new_null_array};
use arrow::compute::{
    SortColumn, concat_batches, interleave, interleave_record_batch, lexsort_to_indices, sort_to_indices,
};
use arrow::datatypes::{DataType, SchemaRef};
use bytes::Bytes;
use datafusion::common::Column;
use datafusion::common::pruning::PruningStatistics;
use deltalake::datafile::writer::{DeltaWriter, WriterConfig};
use deltalake::kernel::{Action, Add, LogicalFileView};
use deltalake::logstore::object_store::GetOptions;
use deltalake::logstore::object_store::memory::InMemory;
use deltalake::logstore::{LogStoreRef, ObjectStoreRef};
use deltalake::parquet::basic::{Compression, ZstdLevel};
use deltalake::parquet::file::properties::WriterProperties;
use deltalake::parquet::schema::types::ColumnPath;
use deltalake::table::config::TablePropertiesExt;
use deltalake::table::state::DeltaTableState;
use deltalake::{DeltaResult, ObjectStore, ObjectStoreError, Path};
use futures::{StreamExt, stream};

use super::super::merge::{Change, named};
use super::super::shape::{POSITION, SURROGATE_KEY, Shape, conform};
use super::super::{arrow_bug, staged};
use super::fault::{altered, fault, gone};
use super::folder::sync_now;
use super::layout::{AIM_BYTES, Rewrite, portions, size};
use crate::batch::{Checksum, slice_bytes};
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::blocking;
use crate::store::Folder;

/// A data file of a snapshot.
#[derive(Clone)]
pub(super) struct DataFile {
    /// Its path from the table's folder.
    pub(super) path: Path,
    /// What takes it out of the table.
    pub(super) remove: Action,
    /// What the log says of its bytes; none of a file that another writer, or an earlier Millstream, wrote.
    pub(super) checksum: Option<String>,
    /// What its rows take in memory.
    pub(super) bytes: usize,
}

/// The tag that holds what a file's rows take in memory, in bytes.
const BYTES: &str = "millstream.bytes";

/// How many times its bytes the rows of a file take that does not say so.
const GROWTH: usize = 8;

impl DataFile {
    /// The file that this line of a snapshot names.
    pub(super) fn of(view: &LogicalFileView) -> Self {
        #[expect(deprecated, reason = "nothing else tells a file's tags")]
        let mut tags = view.add_action().tags.unwrap_or_default();
        let checksum = tags.remove(Checksum::DELTA_TAG).flatten();
        let told = tags.remove(BYTES).flatten().and_then(|bytes| bytes.parse().ok());
        let bytes = told.unwrap_or_else(|| usize::try_from(view.size()).unwrap_or(0).saturating_mul(GROWTH));
        Self { path: view.object_store_path(), remove: Action::Remove(view.remove_action(true)), checksum, bytes }
    }
}

/// The data files of a snapshot, and what its log says of them, by index.
pub(super) struct Files {
    pub(super) files: Vec<DataFile>,
    pub(super) rows: Vec<usize>,
    /// As `layout` counts them.
    pub(super) sizes: Vec<usize>,
    /// The first key column's lowest value; null where unknown.
    pub(super) lowest: ArrayRef,
    /// The first key column's highest value; null where unknown.
    pub(super) highest: ArrayRef,
}

impl Files {
    /// Those of a table's snapshot.
    ///
    /// # Errors
    /// Invalid where another writer has made deletion vectors.
    pub(super) fn of(shape: &Shape, snapshot: &DeltaTableState) -> Result<Self> {
        let data = snapshot.log_data();
        let mut files = Vec::new();
        let (mut rows, mut sizes) = (Vec::new(), Vec::new());
        for view in data.iter() {
            if view.deletion_vector_descriptor().is_some() {
                return Err(Error::invalid(format!(
                    "the warehouse's table {} has got deletion vectors from another writer; purge them (REORG TABLE … \
                     APPLY (PURGE)) and switch delta.enableDeletionVectors off",
                    shape.name
                )));
            }
            // Without statistics a file counts as full: it is then never drawn into another.
            let (held, file) = (view.num_records().unwrap_or(shape.rows_per_file), DataFile::of(&view));
            sizes.push(size(held, file.bytes, shape.rows_per_file));
            rows.push(held);
            files.push(file);
        }
        let key = shape.key.first();
        let data_type = key.and_then(|key| shape.table.field_with_name(key).ok());
        let unknown = new_null_array(data_type.map_or(&DataType::Int64, |field| field.data_type()), files.len());
        let bounds = |bounds: Option<ArrayRef>| {
            let known = bounds.filter(|bounds| bounds.len() == files.len());
            known.unwrap_or_else(|| Arc::clone(&unknown))
        };
        let column = key.map(Column::from_name);
        let lowest = bounds(column.as_ref().and_then(|column| data.min_values(column)));
        let highest = bounds(column.as_ref().and_then(|column| data.max_values(column)));
        Ok(Self { files, rows, sizes, lowest, highest })
    }

    /// The files by index, those with the highest keys first.
    pub(super) fn highest_first(&self) -> Result<Vec<usize>> {
        let order = sort_to_indices(&self.highest, None, None).map_err(arrow_bug)?;
        Ok(order.values().iter().rev().map(|file| *file as usize).collect())
    }
}

/// Where a table's data files stand.
#[derive(Clone)]
pub(super) struct Shelf {
    pub(super) shape: Arc<Shape>,
    pub(super) folder: Folder,
    pub(super) log: LogStoreRef,
    pub(super) snapshot: DeltaTableState,
}

impl Shelf {
    /// The rows of a file, with these columns.
    pub(super) async fn read(self, file: DataFile, columns: SchemaRef) -> Result<RecordBatch> {
        let bytes = self.bytes(&file).await?;
        blocking(move || concat_batches(&columns, &self.decode(&file, bytes, &columns)?).map_err(arrow_bug)).await
    }

    /// Writes what becomes of the old files: the actions that take them out and put the new ones in.
    pub(super) async fn rewrite(
        self,
        old: Vec<DataFile>,
        rewrite: Rewrite,
        change: Arc<Change>,
    ) -> Result<Vec<Action>> {
        let mut contents = Vec::with_capacity(old.len());
        for file in &old {
            contents.push(self.bytes(file).await?);
        }
        let runtime = tokio::runtime::Handle::current();
        blocking(move || {
            let mut mix = Mix::of(&change.added, &rewrite.added);
            for ((file, bytes), index) in old.iter().zip(contents).zip(&rewrite.files) {
                mix.add(self.decode(file, bytes, &self.shape.table)?, &change.removed[*index]);
            }
            mix.sort(&self.shape)?;
            let mut actions: Vec<Action> = old.into_iter().map(|file| file.remove).collect();
            let mut places = mix.places.as_slice();
            for count in portions(places.len(), mix.rows_per_file(&self.shape)) {
                let (portion, rest) = places.split_at(count);
                places = rest;
                let rows =
                    interleave_record_batch(&mix.parts.iter().collect::<Vec<_>>(), portion).map_err(arrow_bug)?;
                let added = runtime.block_on(self.write(rows));
                let added = added.map_err(|error| fault("write", &self.shape.name, error))?;
                sync_now(&self.shape.name, &self.folder, added.iter().map(|add| add.path.as_str()))?;
                actions.extend(added.into_iter().map(Action::Add));
            }
            Ok(actions)
        })
        .await
    }

    /// A file's bytes, as they were written.
    ///
    /// # Errors
    /// Corrupt where they are others, or it is gone; Transient.
    pub(super) async fn bytes(&self, file: &DataFile) -> Result<Bytes> {
        let table = &self.shape.name;
        let unreadable = |error| fault("read", table, error);
        let objects = self.log.object_store(None);
        let found = match objects.get_opts(&file.path, Default::default()).await {
            Err(ObjectStoreError::NotFound { .. }) => return Err(gone(table, &file.path)),
            found => found.map_err(|error| unreadable(error.into()))?,
        };
        let bytes = found.bytes().await.map_err(|error| unreadable(error.into()))?;
        let (said, path, table) = (file.checksum.clone(), file.path.clone(), table.clone());
        blocking(move || match said {
            Some(said) if said != Checksum::of(&bytes).to_string() => Err(altered(&table, &path)),
            _ => Ok(bytes),
        })
        .await
    }

    /// What is wrong with these files, in sentences; in haste only whether they are there.
    ///
    /// # Errors
    /// Transient.
    pub(super) async fn damages(self, files: Vec<DataFile>, at_once: usize, fast: bool) -> Result<Vec<String>> {
        let reading: Vec<_> = files.iter().map(|file| self.look(file, fast)).collect();
        let read: Vec<Result<()>> = stream::iter(reading).buffered(at_once).collect().await;
        let told = |error: Error| match error.kind() {
            ErrorKind::Corrupt => Ok(error.to_string()),
            _ => Err(error),
        };
        read.into_iter().filter_map(Result::err).map(told).collect()
    }

    async fn look(&self, file: &DataFile, fast: bool) -> Result<()> {
        if !fast {
            return self.bytes(file).await.map(drop);
        }
        let options = GetOptions { head: true, ..GetOptions::default() };
        match self.log.object_store(None).get_opts(&file.path, options).await {
            Err(ObjectStoreError::NotFound { .. }) => Err(gone(&self.shape.name, &file.path)),
            found => found.map(drop).map_err(|error| fault("read", &self.shape.name, error.into())),
        }
    }

    fn decode(&self, file: &DataFile, bytes: Bytes, columns: &SchemaRef) -> Result<Vec<RecordBatch>> {
        let damaged = |error: Box<dyn std::error::Error + Send + Sync>| {
            let told = format!("the file {} of the warehouse's table {} is damaged", file.path, self.shape.name);
            Error::corrupt(told).with_source(error)
        };
        let batches = staged::parquet(bytes, columns).map_err(|error| damaged(error.into()))?;
        let batches = batches.iter().map(|batch| conform(batch, columns)).collect::<std::result::Result<Vec<_>, _>>();
        batches.map_err(|error| damaged(error.into()))
    }

    async fn write(&self, rows: RecordBatch) -> DeltaResult<Vec<Add>> {
        let indexed = self.snapshot.table_config().num_indexed_cols();
        let schema = Arc::clone(&self.shape.table);
        let config = WriterConfig::new(schema, Vec::new(), Some(self.properties()), None, None, indexed, None);
        // Into memory first: the checksum is of what is put, and not of what came of it.
        let memory = Arc::new(InMemory::new());
        let mut writer = DeltaWriter::new(Arc::clone(&memory) as ObjectStoreRef, config);
        writer.write(&rows).await?;
        let mut added = writer.close().await?;
        let objects = self.log.object_store(None);
        let held = bytes_of(&rows) / added.len().max(1);
        for add in &mut added {
            let path = Path::from(add.path.as_str());
            let bytes = memory.get_opts(&path, Default::default()).await?.bytes().await?;
            let checksum = Checksum::of(&bytes).to_string();
            let said = [(Checksum::DELTA_TAG.to_owned(), Some(checksum)), (BYTES.to_owned(), Some(held.to_string()))];
            add.tags.get_or_insert_default().extend(said);
            objects.put_opts(&path, bytes.into(), Default::default()).await?;
        }
        Ok(added)
    }

    fn properties(&self) -> WriterProperties {
        let mut properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default()));
        // Nearly every value is another: a dictionary would be built only to be thrown away.
        let distinct = self.shape.key.iter().map(String::as_str).chain([POSITION, SURROGATE_KEY]);
        for column in distinct {
            properties = properties.set_column_dictionary_enabled(ColumnPath::from(column), false);
        }
        properties.build()
    }
}

/// What rows take in memory.
pub(super) fn bytes_of(rows: &RecordBatch) -> usize {
    rows.columns().iter().map(slice_bytes).sum()
}

/// Rows of several batches in one order, copied only when they are written.
struct Mix {
    parts: Vec<RecordBatch>,
    /// Part and row.
    places: Vec<(usize, usize)>,
}

impl Mix {
    fn of(added: &RecordBatch, rows: &[u32]) -> Self {
        let places = rows.iter().map(|&row| (0, row as usize)).collect();
        Self { parts: vec![added.clone()], places }
    }

    /// Adds the batches of a file, but not the rows that go (ascending, counted through the file).
    fn add(&mut self, batches: Vec<RecordBatch>, removed: &[u32]) {
        let mut removed = removed.iter().map(|&row| row as usize).peekable();
        let mut start = 0;
        for batch in batches {
            for row in 0..batch.num_rows() {
                match removed.next_if_eq(&(start + row)) {
                    Some(_) => {}
                    None => self.places.push((self.parts.len(), row)),
                }
            }
            start += batch.num_rows();
            self.parts.push(batch);
        }
    }

    /// How many rows of this width make a file.
    fn rows_per_file(&self, shape: &Shape) -> usize {
        let rows: usize = self.parts.iter().map(RecordBatch::num_rows).sum();
        let bytes: usize = self.parts.iter().map(bytes_of).sum();
        shape.rows_per_file.min(AIM_BYTES / (bytes / rows.max(1)).max(1)).max(1)
    }

    fn sort(&mut self, shape: &Shape) -> Result<()> {
        let mut columns = Vec::with_capacity(shape.key.len());
        for key in &shape.key {
            let parts = self.parts.iter().map(|part| Ok(named(part, std::slice::from_ref(key))?.swap_remove(0)));
            let parts = parts.collect::<Result<Vec<_>>>()?;
            let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
            columns.push(SortColumn { values: interleave(&parts, &self.places).map_err(arrow_bug)?, options: None });
        }
        if !columns.is_empty() {
            let order = lexsort_to_indices(&columns, None).map_err(arrow_bug)?;
            self.places = order.values().iter().map(|&index| self.places[index as usize]).collect();
        }
        Ok(())
    }
}
