//! What keeps a table's folder from growing without end.
//!
//! Owns how long replaced files and old log entries stay. Deciding when to look is the table's.

use std::fmt;
use std::sync::Arc;

use deltalake::logstore::LogStoreRef;
use deltalake::operations::vacuum::{self, VacuumMode};
use deltalake::{DeltaResult, DeltaTable};

use crate::runtime::Clock;

/// How long a reader may stay with a snapshot: files are kept this long after they were replaced.
const KEPT_HOURS: i64 = 1;

/// The table's properties that other writers should keep to, too.
pub(super) fn properties() -> [(&'static str, Option<String>); 3] {
    [
        ("delta.checkpointInterval", Some("32".to_owned())),
        ("delta.logRetentionDuration", Some("interval 1 days".to_owned())),
        ("delta.deletedFileRetentionDuration", Some(format!("interval {KEPT_HOURS} hours"))),
    ]
}

/// Removes files that were replaced long enough ago, and those of commits that never came; tells how many.
pub(super) async fn vacuum(log: &LogStoreRef, clock: &Arc<dyn Clock>) -> DeltaResult<usize> {
    let (_, metrics) = DeltaTable::new(Arc::clone(log))
        .vacuum()
        .with_mode(VacuumMode::Full)
        .with_retention_period(chrono::Duration::hours(KEPT_HOURS))
        .with_clock(Arc::new(VacuumClock(Arc::clone(clock))))
        .await?;
    Ok(metrics.files_deleted.len())
}

/// Our clock where Delta wants one.
struct VacuumClock(Arc<dyn Clock>);

impl fmt::Debug for VacuumClock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("VacuumClock")
    }
}

impl vacuum::Clock for VacuumClock {
    fn current_timestamp_millis(&self) -> i64 {
        self.0.now_millis()
    }
}
