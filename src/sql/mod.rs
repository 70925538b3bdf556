//! The DataFusion session: one way to make it, under a bound on memory.
//!
//! Owns the session's settings and what all SQL may rely on, a pipeline's and a person's: arithmetic that fails where
//! a result does not fit (`checked`), functions that neither panic nor make memory out of nothing (`functions`), how
//! deep a statement may be (`chain`), what table functions in FROM are given (`series`), and where what does not fit into
//! memory is spilled (`spill`). It runs nothing itself.

mod chain;
mod checked;
mod functions;
mod series;
mod spill;

use std::sync::Arc;

use datafusion::common::{DFSchema, DataFusionError};
use datafusion::execution::SessionState;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::Expr;
use datafusion::prelude::{SessionConfig, SessionContext};

pub use functions::{MAX_CALL_BYTES, MAX_VALUE_BYTES};

use crate::error::{Error, Result};

pub use chain::{MAX_CHAIN, TOO_LONG_A_CHAIN, too_long_a_chain};
pub use series::planned;
pub use spill::SpillFolder;

/// The bounds of a session.
#[derive(Debug, Clone, Copy)]
pub struct SessionSettings {
    /// What its operators may hold together, in bytes; beyond it they spill or fail.
    pub memory_bytes: usize,
    /// How many partitions a plan runs at once.
    pub partitions: usize,
}

/// Where a session may spill, and how much.
#[derive(Debug)]
pub struct Spill {
    /// None where it may not.
    pub folder: Option<SpillFolder>,
    /// In bytes.
    pub bytes: u64,
}

impl Spill {
    /// What does not fit the memory fails.
    pub const NOWHERE: Self = Self { folder: None, bytes: 0 };
}

/// What a sort keeps for merging what it has spilled, at most: DataFusion's own figure.
const SORT_RESERVE: usize = 10 << 20;

/// A session as [`session`] makes it, for questions of any size: what its operators cannot hold they spill here.
///
/// # Errors
/// As [`session`].
pub fn spilling_session(settings: SessionSettings, spill: &Spill) -> Result<SessionContext> {
    let mode = match &spill.folder {
        Some(folder) => DiskManagerMode::Directories(vec![folder.path().to_owned()]),
        None => DiskManagerMode::Disabled,
    };
    let disks = DiskManagerBuilder::default().with_mode(mode).with_max_temp_directory_size(spill.bytes);
    let context = over(settings, disks)?;
    let reserve = SORT_RESERVE.min(settings.memory_bytes / settings.partitions.max(1) / 8);
    context.state_ref().write().config_mut().options_mut().execution.sort_spill_reservation_bytes = reserve;
    Ok(context)
}

/// A session under these bounds. Identifiers that are not quoted fold to lower case; times are UTC.
///
/// # Errors
/// Internal where DataFusion refuses the settings.
pub fn session(settings: SessionSettings) -> Result<SessionContext> {
    over(settings, DiskManagerBuilder::default())
}

fn over(settings: SessionSettings, disks: DiskManagerBuilder) -> Result<SessionContext> {
    let runtime = RuntimeEnvBuilder::new()
        .with_disk_manager_builder(disks)
        .with_memory_pool(Arc::new(FairSpillPool::new(settings.memory_bytes)))
        .build_arc()
        .map_err(|error| Error::internal("DataFusion refuses its settings").with_source(error))?;
    let mut config = SessionConfig::new().with_target_partitions(settings.partitions).with_information_schema(true);
    // Utf8View would reach the staged files and the warehouse, whose readers expect plain strings.
    config.options_mut().sql_parser.map_string_types_to_utf8view = false;
    config.options_mut().execution.parquet.schema_force_view_types = false;
    let pool = Arc::clone(&runtime.memory_pool);
    let context = SessionContext::new_with_config_rt(config, runtime);
    // Behind DataFusion's own rules: both look at types that are settled.
    context.add_analyzer_rule(Arc::new(checked::CheckedArithmetic));
    context.add_analyzer_rule(Arc::new(functions::WatchedCalls { pool }));
    let exact = checked::functions(&context);
    for function in exact.map_err(|error| Error::internal("a function is missing").with_source(error))? {
        context.register_udf(function);
    }
    for aggregate in checked::aggregates() {
        context.register_udaf(aggregate);
    }
    Ok(context)
}

/// An expression that is planned by itself, its types settled, with the same safeguards that this session's plans have.
///
/// # Errors
/// Where the type of a part cannot be told.
pub fn safeguarded(state: &SessionState, expression: Expr, schema: &DFSchema) -> Result<Expr, DataFusionError> {
    functions::watched(checked::checked(expression, schema)?, &state.runtime_env().memory_pool)
}
