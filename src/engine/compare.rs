//! The warehouse's own tables against the staged rows: the last step of an audit.
//!
//! Owns what can be said of a table by counting, for the entries that the ledger says are loaded: it is there and can
//! be read, it holds each key once (a dimension that keeps history: one current version), and as many keys as were
//! staged. It compares no values: that is an oracle's work.

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;

use super::Finding;
use crate::error::{Error, Result};
use crate::load::{Held, SqlWarehouse};
use crate::query::Query;
use crate::schema::{History, TableKind, TableSpec};

/// Compares each table with its staged rows; the session must have been opened over the loaded entries alone.
///
/// # Errors
/// The session's, where the staged files themselves cannot be read.
pub(super) async fn compare(
    query: &Query,
    warehouse: Option<&dyn SqlWarehouse>,
    specs: &[TableSpec],
) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for spec in specs {
        let wanted = staged(query, spec).await?;
        let found = match warehouse {
            Some(warehouse) => warehouse.held(&spec.name).await,
            None => loaded(query, spec).await,
        };
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                findings.push(finding(format!("{} cannot be read: {error}", spec.name)));
                continue;
            }
        };
        let (name, key) = (&spec.name, spec.key.join(", "));
        if found.rows != found.keys {
            findings.push(finding(format!("{name}: {} rows for {} values of its key ({key})", found.rows, found.keys)));
        }
        if found.keys != wanted {
            findings.push(finding(format!("{name}: {wanted} were staged and loaded, {} are there", found.keys)));
        }
    }
    Ok(findings)
}

fn finding(message: String) -> Finding {
    Finding { identity: "warehouse", message }
}

/// How many different keys were staged; rows, for a table without a key.
async fn staged(query: &Query, spec: &TableSpec) -> Result<u64> {
    count(query, &distinct(spec, &format!("staged.{}", spec.name), "true")).await
}

async fn loaded(query: &Query, spec: &TableSpec) -> Result<Held> {
    let that_count = match (spec.kind, spec.history) {
        (TableKind::Fact, _) => "true",
        (TableKind::Dimension, History::Overwrite) => "not is_inferred",
        (TableKind::Dimension, History::Keep) => "not is_inferred and is_current",
    };
    let rows = count(query, &format!("select count(*) from {} where {that_count}", spec.name)).await?;
    let keys = count(query, &distinct(spec, &spec.name, that_count)).await?;
    Ok(Held { rows, keys })
}

fn distinct(spec: &TableSpec, relation: &str, condition: &str) -> String {
    if spec.key.is_empty() {
        return format!("select count(*) from {relation} where {condition}");
    }
    let key = spec.key.join(", ");
    format!("select count(*) from (select distinct {key} from {relation} where {condition}) as keys")
}

async fn count(query: &Query, sql: &str) -> Result<u64> {
    let batches = query.run(sql).await?.collect().await?;
    let value = batches.first().and_then(|batch| batch.columns().first());
    let count = value.and_then(|column| column.as_primitive_opt::<Int64Type>()).and_then(|counts| counts.iter().next());
    count
        .flatten()
        .and_then(|count| u64::try_from(count).ok())
        .ok_or_else(|| Error::internal(format!("{sql} gave no number")))
}
