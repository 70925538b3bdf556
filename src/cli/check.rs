//! `check`: everything that can be wrong before a run, at once, with nothing written.

use std::path::Path;
use std::process::ExitCode;

use super::arguments::Common;
use super::open::{self, Plan, partitions};
use super::output;
use super::reach::{Reach, chain};
use super::site::Site;
use crate::config::{self, Fault, Target};
use crate::error::{Error, Result};
use crate::host;
use crate::query::{Holdings, Query, QuerySettings};
use crate::runtime::Context;
use crate::store::Store;

/// Planning a report holds no rows.
const MEMORY: usize = 64 << 20;

/// Checks the folder, its SQL and reports, whose the place is, and the port or the stream.
pub(super) async fn check(common: &Common, folder: &Path) -> Result<ExitCode> {
    let plan = open::plan(common, folder).await?;
    let faults = report_faults(&plan).await?;
    if !faults.is_empty() {
        return Err(config::refuse(&faults));
    }
    Site::could_be_claimed(common, &plan).await?;
    match &plan.target {
        Target::Local(_) => port_is_free(common)?,
        Target::Aws(target) => {
            let reach = Reach::of(&plan, target, &chain(target).await?);
            reach.must_be_there(&Context::system()).await?;
        }
    }
    let pipeline = &plan.pipeline;
    let (fields, checks, tables) = (pipeline.fields.len(), pipeline.checks.len(), pipeline.tables.len());
    if common.json {
        output::json(&serde_json::json!({
            "pipeline": pipeline.name, "stream": pipeline.source.stream, "fields": fields, "checks": checks,
            "tables": plan.cleaner.specs().iter().map(|spec| spec.name.as_str()).collect::<Vec<_>>(),
            "reports": pipeline.reports.len(),
        }))?;
    } else {
        let reports = pipeline.reports.len();
        output::line(format_args!(
            "{}: {fields} fields, {checks} checks, {tables} tables, {reports} reports; no fault found",
            pipeline.name
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Reports that do not plan over the star schema.
async fn report_faults(plan: &Plan) -> Result<Vec<Fault>> {
    let store = Store::memory("check")?;
    let settings = QuerySettings { memory_bytes: MEMORY, partitions: partitions() };
    let nowhere = plan.pipeline.folder.join("no-warehouse").into();
    let holdings = Holdings { store: &store, warehouse: &nowhere, specs: plan.cleaner.specs(), entries: &[] };
    let session = Query::open(holdings, settings).await?;
    let mut faults = Vec::new();
    for report in &plan.pipeline.reports {
        if let Err(error) = session.run(&report.sql).await {
            let file = plan.pipeline.folder.join(&report.path);
            faults.push(Fault { file, line: 0, column: 0, message: error.to_string() });
        }
    }
    Ok(faults)
}

/// Whether a run could host the stream, or finds it hosted.
fn port_is_free(common: &Common) -> Result<()> {
    if common.port == 0 || host::is_served(&common.data) {
        return Ok(());
    }
    match std::net::TcpListener::bind(("127.0.0.1", common.port)) {
        Ok(_) => Ok(()),
        Err(error) => Err(Error::invalid(format!(
            "port {} is in use by another program; choose another with --port, or --port 0 for any free one",
            common.port
        ))
        .with_source(error)),
    }
}
