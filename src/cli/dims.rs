//! `dims`: stages the dimension files that have changed, and loads them.

use std::process::ExitCode;
use std::sync::Arc;

use chrono::{DateTime, Datelike};

use super::arguments::{Common, Dims};
use super::output::{self, thousands};
use super::site::Site;
use crate::engine::{self, ChangedDimension, Controls, DimensionOutcome, Dimensions, load_all};
use crate::error::{Error, Result};
use crate::journal::Journal;

/// Stages and loads them.
pub(super) async fn dims(common: &Common, arguments: &Dims) -> Result<ExitCode> {
    let effective_at = arguments.as_of.as_deref().map(parse_time).transpose()?;
    let site = Site::claim(common, &arguments.folder.pipeline).await?;
    let job = site.job(Arc::new(|| Box::pin(async { Err(Error::internal("dimension files need no stream")) })));
    let mut journal = Journal::open(site.store.clone(), site.context.clone(), &job.pipeline.name).await?;
    let mut dimensions = Dimensions::new(&job);
    if let Some(effective_at) = effective_at {
        dimensions = dimensions.effective_at(effective_at);
    }
    // What could never be loaded is not staged either.
    engine::prepare(&job.store, job.warehouse.as_ref()).await?;
    let changed = dimensions.stage_changed(&mut journal).await?;
    load_all(&job, &Controls::default()).await?;
    let loaded_through = job.warehouse.ledger().await?.loaded_through;
    let is_loaded = loaded_through >= journal.state().through;
    if common.json {
        let staged: serde_json::Map<_, _> =
            changed.iter().filter_map(|one| Some((one.table.clone(), one.entry()?.rows(&one.table).into()))).collect();
        output::json(&serde_json::json!({
            "staged": staged, "loaded_through": loaded_through, "loaded": is_loaded,
        }))?;
    } else {
        changed.iter().try_for_each(|one| output::line(told(one, is_loaded)))?;
        if changed.is_empty() {
            let unused = if effective_at.is_some() { "; --as-of had nothing to hold for" } else { "" };
            let loaded = if is_loaded { "; everything staged is loaded" } else { "" };
            output::line(format_args!("no dimension file has changed{loaded}{unused}"))?;
        }
        if !is_loaded {
            output::line("a maintenance window keeps loads from starting: the next run loads what is staged")?;
        }
    }
    overtaken(&changed)
}

/// What became of a dimension, for a person.
fn told(changed: &ChangedDimension, is_loaded: bool) -> String {
    let (table, done) = (&changed.table, if is_loaded { "staged and loaded" } else { "staged" });
    match &changed.outcome {
        DimensionOutcome::Staged(entry) => {
            let rejected = entry.counts.rejected();
            let refused = if rejected > 0 { format!(", {} in quarantine", thousands(rejected)) } else { String::new() };
            format!("{table}: {} rows {done}{refused}", thousands(entry.rows(table)))
        }
        DimensionOutcome::StagedElsewhere => {
            format!(
                "{table}: another process has staged the same file in this moment; it is {done}, with that one's time"
            )
        }
        DimensionOutcome::Overtaken => format!("{table}: not staged"),
    }
}

/// Fails where another version of a file holds than the one here.
fn overtaken(changed: &[ChangedDimension]) -> Result<ExitCode> {
    let is_overtaken = |one: &&ChangedDimension| matches!(one.outcome, DimensionOutcome::Overtaken);
    let tables: Vec<&str> = changed.iter().filter(is_overtaken).map(|one| one.table.as_str()).collect();
    if tables.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Error::fenced(format!(
        "another process has staged another version of {} in this moment, and that one holds; yours was not staged, and \
         nothing is lost: give all workers the same file, and start `millstream dims` again where yours is the newer one",
        tables.join(", ")
    )))
}

/// A time as RFC 3339, in µs since 1970 UTC.
fn parse_time(text: &str) -> Result<i64> {
    let time = DateTime::parse_from_rfc3339(text).map_err(|error| {
        Error::invalid(format!("--as-of {text:?} is no time; write it like 2026-01-31T00:00:00Z")).with_source(error)
    })?;
    if !(1900..=9999).contains(&time.naive_utc().year()) {
        return Err(Error::invalid(format!("--as-of {text:?} is outside the years 1900 to 9999 (UTC)")));
    }
    Ok(time.timestamp_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_loses_a_race_is_told_and_fails_where_another_version_holds() {
        let changed = |outcome| ChangedDimension { table: "dim_a".to_owned(), outcome };
        let same = changed(DimensionOutcome::StagedElsewhere);
        assert!(
            told(&same, true)
                .contains("another process has staged the same file in this moment; it is staged and loaded")
        );
        assert!(overtaken(&[same]).is_ok());
        let error = overtaken(&[changed(DimensionOutcome::Overtaken)]).expect_err("not staged");
        assert!(error.exit_code() == 1 && error.to_string().contains("another version of dim_a"), "{error}");
    }

    #[test]
    fn a_time_is_read_with_its_zone() {
        assert_eq!(parse_time("1970-01-01T01:00:01+01:00").expect("a time"), 1_000_000);
        for outside in ["0000-01-01T00:00:00Z", "1899-12-31T23:59:59Z"] {
            let error = parse_time(outside).expect_err("too early");
            assert!(error.exit_code() == 2 && error.to_string().contains("1900 to 9999"), "{error}");
        }
        let error = parse_time("yesterday").expect_err("no time");
        assert!(error.exit_code() == 2 && error.to_string().contains("2026-01-31T00:00:00Z"), "{error}");
    }
}
