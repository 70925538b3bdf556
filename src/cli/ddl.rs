//! `ddl`: the star schema's CREATE statements.

use std::process::ExitCode;

use super::arguments::{Common, Ddl, Kind};
use super::{open, output};
use crate::config::WarehouseSettings;
use crate::error::Result;
use crate::load::{self, DdlFor};

/// Prints them.
pub(super) async fn ddl(common: &Common, arguments: &Ddl) -> Result<ExitCode> {
    let plan = open::plan(common, &arguments.folder.pipeline).await?;
    let (kind, schema) = match &plan.warehouse {
        WarehouseSettings::Delta => (Kind::Delta, None),
        WarehouseSettings::Postgres(settings) => (Kind::Postgres, settings.schema.clone()),
        WarehouseSettings::Redshift(settings) => (Kind::Redshift, settings.schema.clone()),
    };
    let schema = schema.unwrap_or_else(|| plan.pipeline.name.clone());
    let words = match arguments.kind.unwrap_or(kind) {
        Kind::Delta => DdlFor::Delta,
        Kind::Postgres => DdlFor::Postgres { schema },
        Kind::Redshift => DdlFor::Redshift { schema },
    };
    let text = load::ddl(plan.cleaner.specs(), &words)?;
    if common.json {
        output::json(&serde_json::json!({ "ddl": text }))?;
    } else {
        output::lines(text.trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}
