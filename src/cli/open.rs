//! A pipeline read and planned, before anything is opened or written.
//!
//! Owns the order in which a folder's faults are found, and that all of them are told at once.

use std::path::Path;
use std::sync::Arc;

use super::arguments::Common;
use crate::clean::{Cleaner, PlanFault};
use crate::config::{self, Fault, Input, Pipeline, Target, WarehouseSettings};
use crate::decode::{self, Decoder};
use crate::error::{Error, Result};
use crate::runtime::blocking;
use crate::sql::SessionSettings;

/// What the SQL of a batch may hold, the rows of all tables too. Where that is too little the batch is cleaned in parts.
const CLEAN_MEMORY: usize = 96 << 20;

/// A pipeline without fault, planned.
#[derive(Clone)]
pub(super) struct Plan {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) decoder: Arc<Decoder>,
    pub(super) cleaner: Arc<Cleaner>,
    /// What `--target` says.
    pub(super) target_name: String,
    /// What that names.
    pub(super) target: Target,
    /// The target's warehouse, or the one that `--warehouse` names.
    pub(super) warehouse: WarehouseSettings,
}

/// Reads and plans a pipeline's folder for the target.
///
/// # Errors
/// Invalid, with every fault of the folder in one go.
pub(super) async fn plan(common: &Common, folder: &Path) -> Result<Plan> {
    let owned = folder.to_owned();
    let reading = blocking(move || Ok(config::read(&owned))).await?;
    let mut faults = reading.faults;
    let mut planned = None;
    if let Some(pipeline) = reading.pipeline {
        match Cleaner::plan(&pipeline, clean_settings()).await {
            Ok(cleaner) => planned = Some((pipeline.clone(), cleaner)),
            Err(more) => faults.extend(more.into_iter().map(|fault| {
                let PlanFault { file, line, column, message } = fault;
                Fault { file: folder.join(file), line, column, message }
            })),
        }
        faults.extend(blocking(move || Ok(heading_faults(&pipeline))).await?);
    }
    let Some((pipeline, cleaner)) = planned.filter(|_| faults.is_empty()) else {
        faults
            .sort_by(|left, right| (&left.file, left.line, left.column).cmp(&(&right.file, right.line, right.column)));
        return Err(config::refuse(&faults));
    };
    let Some(target) = pipeline.targets.get(&common.target).cloned() else {
        let known: Vec<&str> = pipeline.targets.keys().map(String::as_str).collect();
        let (target, known) = (&common.target, known.join(", "));
        return Err(Error::invalid(format!("the pipeline {} has no target {target}; it has {known}", pipeline.name)));
    };
    let warehouse = match &common.warehouse {
        Some(url) => {
            let settings = config::parse_warehouse_url(url);
            WarehouseSettings::Postgres(settings.map_err(|words| Error::invalid(format!("--warehouse: {words}")))?)
        }
        None => target.warehouse(),
    };
    let decoder = Arc::new(Decoder::in_batches_of(&pipeline.fields, pipeline.batch.max_bytes));
    let target_name = common.target.clone();
    Ok(Plan { pipeline: Arc::new(pipeline), decoder, cleaner: Arc::new(cleaner), target_name, target, warehouse })
}

fn clean_settings() -> SessionSettings {
    SessionSettings { memory_bytes: CLEAN_MEMORY, partitions: 1 }
}

/// As many as the machine has cores.
pub(super) fn partitions() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Dimension files that are not what their table expects.
fn heading_faults(pipeline: &Pipeline) -> Vec<Fault> {
    let mut faults = Vec::new();
    for table in &pipeline.tables {
        let Input::File { path, allow_outside, fields } = &table.input else { continue };
        let file = pipeline.folder.join(path);
        // A file that cannot be read is a fault that reading the folder has found already.
        let Ok(bytes) = pipeline.read_dimension(path, *allow_outside) else { continue };
        let message = match decode::missing_headings(fields, &bytes) {
            Ok(missing) if missing.is_empty() => continue,
            Ok(missing) => {
                format!("the table {} expects the columns {}, which the file lacks", table.name, missing.join(", "))
            }
            Err(fault) => fault.to_string(),
        };
        faults.push(Fault { file, line: 1, column: 1, message });
    }
    faults
}
