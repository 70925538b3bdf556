//! The DataFusion session: one way to make it, under a bound on memory.
//!
//! Owns the session's settings and what all SQL may rely on, a pipeline's and a person's: arithmetic that fails where
//! a result does not fit (`checked`), and functions that neither panic nor make memory out of nothing (`functions`).
//! It plans and runs nothing itself.

mod checked;
mod functions;

use std::sync::Arc;

use datafusion::common::{DFSchema, DataFusionError};
use datafusion::execution::SessionState;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::Expr;
use datafusion::prelude::{SessionConfig, SessionContext};

pub use functions::{MAX_CALL_BYTES, MAX_VALUE_BYTES};

use crate::error::{Error, Result};

/// The bounds of a session.
#[derive(Debug, Clone, Copy)]
pub struct SessionSettings {
    /// What its operators may hold together, in bytes; beyond it they spill or fail.
    pub memory_bytes: usize,
    /// How many partitions a plan runs at once.
    pub partitions: usize,
}

/// A session under these bounds. Identifiers that are not quoted fold to lower case; times are UTC.
///
/// # Errors
/// Internal where DataFusion refuses the settings.
pub fn session(settings: SessionSettings) -> Result<SessionContext> {
    let runtime = RuntimeEnvBuilder::new()
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
