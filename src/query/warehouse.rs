//! The warehouse's tables as relations, and what they look like before the first load.
//!
//! Owns how a table of the warehouse is opened for reading. `load` owns how it is written; the columns that it adds
//! to a table's own are stated in [`columns`].

use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::datasource::empty::EmptyTable;
use datafusion::prelude::SessionContext;
use deltalake::logstore::{LogStoreRef, StorageConfig, default_logstore};
use deltalake::{DeltaTable, DeltaTableBuilder, DeltaTableError};
use url::Url;

use super::checked::DeltaFiles;
use super::remote::RemoteTable;
use super::{Loaded, instant, version_fields};
use crate::error::{Error, Result, file_names, first_line};
use crate::runtime::blocking;
use crate::schema::{History, TableKind, TableSpec};
use crate::store::{Folder, kind_of};

/// The ledger's name in the warehouse.
pub const LEDGER: &str = "_ledger";

/// How the Delta kernel begins what it says of an object store's error.
const KERNEL_STORE_FAULT: &str = "Error interacting with object store";

/// A table's columns in the warehouse: `surrogate_key` (dimensions), its own, `is_inferred` (dimensions), `valid_from`,
/// `valid_to` and `is_current` (dimensions that keep their history), the version columns, and `_confirmed_at` (again
/// those that keep their history).
pub(super) fn columns(spec: &TableSpec) -> SchemaRef {
    let dimension = spec.kind == TableKind::Dimension;
    let mut fields = Vec::new();
    if dimension {
        fields.push(Field::new("surrogate_key", DataType::Int64, false));
    }
    fields.extend(spec.columns.fields().iter().map(|field| field.as_ref().clone()));
    if dimension {
        fields.push(Field::new("is_inferred", DataType::Boolean, false));
    }
    if dimension && spec.history == History::Keep {
        fields.push(Field::new("valid_from", instant(), false));
        fields.push(Field::new("valid_to", instant(), true));
        fields.push(Field::new("is_current", DataType::Boolean, false));
    }
    fields.extend(version_fields());
    if dimension && spec.history == History::Keep {
        fields.push(Field::new("_confirmed_at", instant(), false));
    }
    Arc::new(Schema::new(fields))
}

/// The ledger's columns; `copied` is JSON: rows by table.
pub(super) fn ledger_columns() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("loaded_after", DataType::Int64, false),
        Field::new("loaded_through", DataType::Int64, false),
        Field::new("copied", DataType::Utf8, false),
        Field::new("loaded_at", instant(), false),
    ]))
}

/// A table of the warehouse, for a session to read.
pub(super) struct Table {
    pub(super) provider: Arc<dyn TableProvider>,
    /// Of a Delta table: its data files.
    pub(super) files: Option<DeltaFiles>,
}

/// The warehouse's table of this name as it is now; where there is none yet, an empty one of these columns.
///
/// # Errors
/// Transient where it cannot be read, Corrupt where its log contradicts itself.
pub(super) async fn table(
    warehouse: Loaded<'_>,
    name: &str,
    columns: SchemaRef,
    context: &SessionContext,
) -> Result<Table> {
    let remote = |reader| RemoteTable::new(Arc::clone(reader), name, &columns);
    let empty = || Table { provider: Arc::new(EmptyTable::new(Arc::clone(&columns))), files: None };
    let folder = match warehouse {
        Loaded::Nothing => return Ok(empty()),
        Loaded::Remote(reader) => return Ok(Table { provider: Arc::new(remote(reader)), files: None }),
        Loaded::Delta(folder) => folder.join(name),
    };
    let Some(log) = log(&folder).await? else {
        return Ok(empty());
    };
    let mut opened = DeltaTable::new(log);
    match opened.load().await {
        // A first load that was killed before its first commit leaves a log without entries; a store knows no folders.
        Err(DeltaTableError::NotATable(_)) => return Ok(empty()),
        loaded => loaded.map_err(|error| fault(&folder, error))?,
    }
    let files = Some(DeltaFiles::of(name, &opened)?);
    let provider = provider(&opened, context).await.map_err(|error| fault(&folder, error))?;
    Ok(Table { provider, files })
}

async fn provider(table: &DeltaTable, context: &SessionContext) -> Result<Arc<dyn TableProvider>, DeltaTableError> {
    let state = context.state();
    table.update_datafusion_session(&state)?;
    Ok(table.table_provider().with_session(Arc::new(state)).await?)
}

/// The log of the table in this folder; none where there can be none.
async fn log(folder: &Folder) -> Result<Option<LogStoreRef>> {
    let url = match folder {
        Folder::Local(path) => match locate(path.clone()).await? {
            Some(url) => url,
            None => return Ok(None),
        },
        Folder::Store(store, path) => {
            let url = store.url_of(path)?;
            let log = default_logstore(store.objects_in(path), store.root(), &url, &StorageConfig::default());
            // A store that cannot be reached says why here; of what fails further inside, Delta keeps only the words.
            let is_table = log.is_delta_table_location().await.map_err(|error| fault(folder, error))?;
            return Ok(is_table.then_some(log));
        }
    };
    let table = DeltaTableBuilder::from_url(url).and_then(DeltaTableBuilder::build);
    table.map(|table| Some(table.log_store())).map_err(|error| fault(folder, error))
}

async fn locate(path: PathBuf) -> Result<Option<Url>> {
    blocking(move || {
        if !path.join("_delta_log").is_dir() {
            return Ok(None);
        }
        let nowhere = || Error::invalid(format!("the warehouse folder {} has no absolute path", path.display()));
        let absolute = path.canonicalize().map_err(|error| nowhere().with_source(error))?;
        Url::from_directory_path(absolute).map(Some).map_err(|()| nowhere())
    })
    .await
}

fn fault(folder: &Folder, error: DeltaTableError) -> Error {
    let sentence = format!("cannot open the Delta table {folder}");
    if let Some(kind) = kind_of(&error) {
        return Error::new(kind, sentence).with_source(error);
    }
    let words = error.to_string();
    match &error {
        DeltaTableError::ObjectStore { .. } | DeltaTableError::Io { .. } => {
            Error::transient(sentence).with_source(error)
        }
        // The kernel gives its cause to nobody, and its type is not ours to name.
        DeltaTableError::KernelError(fault) if fault.to_string().starts_with(KERNEL_STORE_FAULT) => {
            Error::transient(format!("{sentence}: {}", first_line(&words)))
        }
        _ => {
            tracing::debug!(%folder, "Delta says: {words}");
            let files = match file_names(&words).as_slice() {
                [] => String::new(),
                names => format!(" (look at {})", names.join(", ")),
            };
            Error::corrupt(format!(
                "{sentence}: its log is damaged, or a part of it is gone{files}; the staged files and the journal are \
                 untouched by that: bring it back from a backup; or move the whole warehouse folder away, and the next run \
                 loads everything anew"
            ))
        }
    }
}
