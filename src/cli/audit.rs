//! `audit`: the identities, from the journal to the warehouse.

use std::process::ExitCode;

use futures::future::BoxFuture;

use super::arguments::{Audit as Arguments, Common, Limits};
use super::limits::query_settings;
use super::output::{self, counted, thousands};
use super::query::over;
use super::site::Site;
use crate::engine::{self, Audit, Counting, Deep, DeepAudit};
use crate::error::Result;
use crate::journal;
use crate::query::{Query, QuerySettings};
use crate::runtime::blocking;

/// What each of a deep audit's two sorts may hold before it spills.
const DEEP: QuerySettings = QuerySettings { memory_bytes: 256 << 20, partitions: 1 };

/// Checks them all; exit code 1 where one is broken.
pub(super) async fn audit(common: &Common, arguments: &Arguments) -> Result<ExitCode> {
    let site = Site::existing(common, &arguments.folder.pipeline).await?;
    let open = |entries: Vec<_>| -> BoxFuture<'_, Result<Query>> {
        let site = &site;
        Box::pin(async move { over(site, &entries, false).await })
    };
    let specs = site.plan.cleaner.specs();
    let warehouse = site.warehouse.sql().map(AsRef::as_ref);
    let counting = Counting { open: &open, warehouse, fast: arguments.fast };
    let mut audit = engine::audit(&site.store, site.warehouse.get().as_ref(), specs, Some(counting)).await?;
    // Files that are gone or altered are told already; what was made of them cannot be.
    let deep = if arguments.deep && !audit.findings.iter().any(|finding| finding.identity != "warehouse") {
        let deep = deep(&site).await?;
        audit.findings.extend(deep.findings.iter().cloned());
        Some(deep)
    } else {
        None
    };
    print((common, arguments), &audit, deep.as_ref())?;
    if !common.json && is_clean(&audit) {
        output::line(clean(arguments.fast))?;
    }
    Ok(if is_clean(&audit) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn deep(site: &Site) -> Result<Deep> {
    let (warehouse, place) = (site.warehouse.get(), site.spill());
    let (_, mut spill) = blocking(move || query_settings(&Limits::DEFAULT, place)).await?;
    // Two sorts share what one question may take.
    spill.bytes /= 2;
    let deep = DeepAudit {
        store: &site.store,
        warehouse: warehouse.as_ref(),
        sql: site.warehouse.sql().map(AsRef::as_ref),
        loaded: site.warehouse.loaded(),
        specs: site.plan.cleaner.specs(),
        settings: DEEP,
        spill: &spill,
    };
    deep.run(&journal::entries(&site.store, 0, usize::MAX).await?).await
}

/// What was not looked at is not clean.
fn is_clean(audit: &Audit) -> bool {
    audit.findings.is_empty() && audit.not_compared.is_empty()
}

/// What can be done about tables that are not as they were loaded.
const MENDED: &str = "  what to do: where others changed the tables, undo it; or move the tables out of the way (the whole schema, or the \
                      folder of Delta tables), and the next run loads everything anew from the staged files";

/// The same where no staged file was read for its checksum.
const IN_HASTE: &str = "  what to do: audit again without --fast before anything else: a staged file that was altered gives the \
                        same numbers";

/// What is said of an audit that found nothing.
fn clean(fast: bool) -> &'static str {
    match fast {
        true => {
            "clean as far as --fast looks: the counts agree, and every file is there with its size; no file was read for its \
             checksum, so a changed byte was not looked for (audit without --fast does)"
        }
        false => "clean: every record is accounted for",
    }
}

fn print((common, arguments): (&Common, &Arguments), audit: &Audit, deep: Option<&Deep>) -> Result<()> {
    if common.json {
        let findings = audit.findings.iter();
        let findings =
            findings.map(|finding| serde_json::json!({ "identity": finding.identity, "message": finding.message }));
        let findings: Vec<_> = findings.collect();
        output::json(&serde_json::json!({
            "clean": is_clean(audit),
            "entries": audit.entries,
            "files": audit.files,
            "rows": audit.rows,
            "loads": audit.loads,
            "waiting": audit.waiting,
            "orphans": audit.orphans,
            "not_compared": audit.not_compared,
            "checksums": !arguments.fast,
            "rows_compared": deep.map(|deep| deep.rows),
            "findings": findings,
        }))?;
    } else {
        let (entries, files, rows) = (thousands(audit.entries), thousands(audit.files), thousands(audit.rows));
        output::line(format_args!(
            "{entries} journal entries, {files} files with {rows} rows, {}",
            counted(audit.loads, "load", "loads")
        ))?;
        if audit.waiting > 0 {
            output::line(format_args!("{} to be loaded", counted(audit.waiting, "entry waits", "entries wait")))?;
        }
        if audit.orphans > 0 {
            let orphans = thousands(audit.orphans);
            let whose = match audit.findings.iter().any(|finding| finding.identity == "loads") {
                true => "keep them: they may be of the entries that are lost (see below)",
                false => "nothing reads them: a batch left them that was not committed, or is being committed now",
            };
            output::line(format_args!("{orphans} files belong to no entry; {whose}"))?;
        }
        if let Some(deep) = deep {
            output::line(format_args!("{} rows of the warehouse compared, column by column", thousands(deep.rows)))?;
            if deep.open > 0 {
                output::line(format_args!(
                    "{} rows that came late, so of the versions only that they join and were staged was checked",
                    counted(deep.open, "key has", "keys have")
                ))?;
            }
        }
        for finding in &audit.findings {
            output::line(format_args!("BROKEN {}: {}", finding.identity, finding.message))?;
        }
        if audit.findings.iter().any(|finding| matches!(finding.identity, "warehouse" | "contents")) {
            output::line(if arguments.fast { IN_HASTE } else { MENDED })?;
        }
        for table in &audit.not_compared {
            output::line(format_args!(
                "NOT COMPARED {table}: it was loaded into each time; nothing wrong is known of it: audit again while fewer \
                 loads go on"
            ))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_looked_at_is_not_called_clean() {
        assert!(is_clean(&Audit::default()));
        assert!(!is_clean(&Audit { not_compared: vec!["fact".to_owned()], ..Audit::default() }));
        assert!(clean(false).contains("every record is accounted for") && !clean(true).contains("accounted for"));
        assert!(clean(true).contains("no file was read for its checksum"));
    }
}
