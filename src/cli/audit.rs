//! `audit`: the identities, from the journal to the warehouse.

use std::path::Path;
use std::process::ExitCode;

use futures::future::BoxFuture;

use super::arguments::Common;
use super::output::{self, counted, thousands};
use super::query::over;
use super::site::Site;
use crate::engine::{self, Counting};
use crate::error::Result;
use crate::query::Query;

/// Checks them all; exit code 1 where one is broken.
pub(super) async fn audit(common: &Common, folder: &Path) -> Result<ExitCode> {
    let site = Site::existing(common, folder).await?;
    let open = |entries: Vec<_>| -> BoxFuture<'_, Result<Query>> {
        let site = &site;
        Box::pin(async move { over(site, &entries, false).await })
    };
    let specs = site.plan.cleaner.specs();
    let counting = Counting { open: &open, warehouse: site.warehouse.sql().map(AsRef::as_ref) };
    let audit = engine::audit(&site.store, site.warehouse.get().as_ref(), specs, Some(counting)).await?;
    if common.json {
        let findings: Vec<_> = audit
            .findings
            .iter()
            .map(|finding| serde_json::json!({ "identity": finding.identity, "message": finding.message }))
            .collect();
        output::json(&serde_json::json!({
            "clean": audit.findings.is_empty(),
            "entries": audit.entries,
            "files": audit.files,
            "rows": audit.rows,
            "loads": audit.loads,
            "waiting": audit.waiting,
            "orphans": audit.orphans,
            "findings": findings,
        }))?;
    } else {
        let (entries, files, rows) = (thousands(audit.entries), thousands(audit.files), thousands(audit.rows));
        output::line(format_args!(
            "{entries} journal entries, {files} files with {rows} rows, {}",
            counted(audit.loads, "load", "loads")
        ))?;
        if audit.waiting > 0 {
            output::line(format_args!("{} entries wait to be loaded", thousands(audit.waiting)))?;
        }
        if audit.orphans > 0 {
            let orphans = thousands(audit.orphans);
            output::line(format_args!(
                "{orphans} files belong to no entry, and nothing reads them: a batch that was not committed left them"
            ))?;
        }
        for finding in &audit.findings {
            output::line(format_args!("BROKEN {}: {}", finding.identity, finding.message))?;
        }
        if audit.findings.is_empty() {
            output::line("clean: every record is accounted for")?;
        }
    }
    Ok(if audit.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
