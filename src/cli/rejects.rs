//! `rejects`: what is in quarantine, by reason.

use std::path::Path;
use std::process::ExitCode;

use super::arguments::{Common, Format};
use super::open::Local;
use super::query::{answer, open};
use crate::error::Result;

/// One row a reason: how many, since when, until when, and one example with its place.
const BY_REASON: &str = "\
    select reason, count(*) as events, min(arrived_at) as first_arrived, max(arrived_at) as last_arrived, \
    first_value(message order by arrived_at desc, sequence desc) as newest_message, \
    first_value(shard order by arrived_at desc, sequence desc) as newest_shard, \
    first_value(sequence order by arrived_at desc, sequence desc) as newest_sequence, \
    first_value(subsequence order by arrived_at desc, sequence desc) as newest_subsequence \
    from rejects group by reason order by events desc, reason";

/// Lists them; with `--json` one object a line.
pub(super) async fn rejects(common: &Common, folder: &Path) -> Result<ExitCode> {
    let local = Local::existing(common, folder).await?;
    let format = if common.json { Format::Json } else { Format::Table };
    answer(&open(&local).await?, BY_REASON, format).await?;
    Ok(ExitCode::SUCCESS)
}
