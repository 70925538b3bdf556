//! `check`: everything that can be wrong before a run, at once, with nothing written; with `--apply`, the warehouse made
//! as the run would make it. A warehouse that was filled from elsewhere is refused before anything else is looked at in it.

use std::path::Path;
use std::process::ExitCode;

use super::arguments::{Check, Common};
use super::open::{self, Plan, partitions};
use super::output::{self, counted};
use super::reach::{Reach, chain};
use super::site::Site;
use super::warehouse::SiteWarehouse;
use crate::config::{self, Fault, Target};
use crate::engine;
use crate::error::{Error, Result};
use crate::host;
use crate::query::{Holdings, Loaded, Query, QuerySettings};
use crate::runtime::Context;
use crate::store::Store;

/// Planning a report holds no rows.
const MEMORY: usize = 64 << 20;

/// Checks the folder, its SQL and reports, whose the place is, the port or the stream, and what the warehouse lacks.
pub(super) async fn check(common: &Common, arguments: &Check) -> Result<ExitCode> {
    let plan = open::plan(common, &arguments.folder.pipeline).await?;
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
    let warehouse = Site::warehouse(common, &plan).await?;
    let changes = changes(common, &arguments.folder.pipeline, &warehouse).await?;
    if arguments.apply {
        Site::claim(common, &arguments.folder.pipeline).await?.warehouse.get().prepare().await?;
    }
    let pipeline = &plan.pipeline;
    let (fields, checks, tables) = (pipeline.fields.len(), pipeline.checks.len(), pipeline.tables.len());
    if common.json {
        output::json(&serde_json::json!({
            "pipeline": pipeline.name, "stream": pipeline.source.stream, "fields": fields, "checks": checks,
            "tables": plan.cleaner.specs().iter().map(|spec| spec.name.as_str()).collect::<Vec<_>>(),
            "reports": pipeline.reports.len(), "warehouse_changes": changes, "applied": arguments.apply,
        }))?;
    } else {
        let reports = pipeline.reports.len();
        output::line(format_args!(
            "{}: {fields} fields, {checks} checks, {tables} tables, {reports} reports; no fault found",
            pipeline.name
        ))?;
        if let Some(address) = warehouse.address() {
            tell(address, &changes, arguments.apply)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What a database lacks of what the pipeline loads, as statements; Delta tables are made by the load that needs them.
/// A warehouse that another pipeline loads into, or that was filled from elsewhere, is refused before it is changed.
async fn changes(common: &Common, folder: &Path, warehouse: &SiteWarehouse) -> Result<Vec<String>> {
    let (store, warehouse) = match Site::existing(common, folder).await {
        Ok(site) => (site.store, site.warehouse),
        // Nothing was ever run from here.
        Err(_) => (Store::memory("nowhere")?, warehouse.clone()),
    };
    engine::verify_ledger(&store, warehouse.get().ledger().await?.last.as_ref()).await?;
    match warehouse.sql() {
        Some(warehouse) => warehouse.changes().await,
        None => Ok(Vec::new()),
    }
}

fn tell(address: &str, changes: &[String], applied: bool) -> Result<()> {
    if changes.is_empty() {
        return output::line(format_args!("the warehouse has everything that the pipeline loads ({address})"));
    }
    let statements = counted(changes.len() as u64, "statement", "statements");
    output::line(match applied {
        true => format!("the warehouse was changed by {statements} ({address}):"),
        false => {
            format!(
                "the warehouse lacks what {statements} will make, when a run starts or by check --apply ({address}):"
            )
        }
    })?;
    changes.iter().try_for_each(|statement| output::lines(format_args!("\n{};", statement.trim_end())))
}

/// Reports that do not plan over the star schema.
async fn report_faults(plan: &Plan) -> Result<Vec<Fault>> {
    let store = Store::memory("check")?;
    let settings = QuerySettings { memory_bytes: MEMORY, partitions: partitions() };
    let specs = plan.cleaner.specs();
    let holdings = Holdings { store: &store, warehouse: Loaded::Nothing, specs, entries: &[], verify: true };
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
