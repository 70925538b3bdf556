//! `rejects`: what is in quarantine, by reason.

use std::path::Path;
use std::process::ExitCode;

use super::arguments::{Common, Format};
use super::output;
use super::query::{answer, open};
use super::site::Site;
use crate::error::{Error, Result};
use crate::query;

/// One row a reason: how many, since when, until when, and one example with its place.
const BY_REASON: &str = "\
    select reason, count(*) as events, min(arrived_at) as first_arrived, max(arrived_at) as last_arrived, \
    first_value(message order by arrived_at desc, sequence desc) as newest_message, \
    first_value(shard order by arrived_at desc, sequence desc) as newest_shard, \
    first_value(sequence order by arrived_at desc, sequence desc) as newest_sequence, \
    first_value(subsequence order by arrived_at desc, sequence desc) as newest_subsequence \
    from rejects group by reason order by events desc, reason";

/// Lists them.
pub(super) async fn rejects(common: &Common, folder: &Path) -> Result<ExitCode> {
    let site = Site::existing(common, folder).await?;
    let session = open(&site).await?;
    if common.json {
        let mut lines = Vec::new();
        query::write(session.run(BY_REASON).await?, query::Format::Json, &mut lines).await?;
        let rows = serde_json::Deserializer::from_slice(&lines).into_iter::<serde_json::Value>();
        let rows = rows.collect::<serde_json::Result<Vec<_>>>();
        let rows = rows.map_err(|error| Error::internal("the answer is no JSON").with_source(error))?;
        output::json(&serde_json::json!({ "rejects": rows }))?;
    } else {
        answer(&session, BY_REASON, Format::Table).await?;
    }
    Ok(ExitCode::SUCCESS)
}
