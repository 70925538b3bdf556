//! The DataFusion session: one way to make it, under a bound on memory.
//!
//! Owns the session's settings and what the SQL of every pipeline may rely on. It plans and runs nothing itself.

use std::sync::Arc;

use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};

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
    Ok(SessionContext::new_with_config_rt(config, runtime))
}
