//! `ddl`: the star schema's CREATE statements.

use std::path::Path;
use std::process::ExitCode;

use super::arguments::Common;
use super::{open, output};
use crate::error::Result;
use crate::load::{self, DdlFor};

/// Prints them.
pub(super) async fn ddl(common: &Common, folder: &Path) -> Result<ExitCode> {
    let plan = open::plan(common, folder).await?;
    let text = load::ddl(plan.cleaner.specs(), &DdlFor::Delta)?;
    if common.json {
        output::json(&serde_json::json!({ "ddl": text }))?;
    } else {
        output::line(text.trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}
