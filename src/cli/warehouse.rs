//! The warehouse of a site: which one it is, and how it is read.
//!
//! Owns the choice among the kinds of warehouse. What a warehouse does is `load`'s; what a session over its tables can
//! answer is `query`'s.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use async_trait::async_trait;
use futures::{StreamExt, stream};

use super::open::{Plan, partitions};
use crate::aws::AwsChain;
use crate::batch::Receipt;
use crate::config::{Login, WarehouseSettings};
use crate::error::{Error, Result};
use crate::load::{
    DeltaWarehouse, LoadBounds, Place, PostgresWarehouse, RedshiftWarehouse, SqlPlace, SqlWarehouse, UpsertWarehouse,
    Warehouse,
};
use crate::query::{LEDGER, Loaded, Rows, TableReader};
use crate::runtime::Context;
use crate::store::{Folder, Store};

/// What a load into Delta tables may hold before it cuts its work.
const LOAD_MEMORY: usize = 96 << 20;

/// Where a site's tables are.
#[derive(Clone)]
pub(super) enum SiteWarehouse {
    /// Delta tables in a folder.
    Delta {
        /// What loads them.
        warehouse: Arc<DeltaWarehouse>,
        /// Where they are.
        folder: Folder,
    },
    /// A database.
    Sql {
        /// What loads it.
        warehouse: Arc<dyn SqlWarehouse>,
        /// What reads it.
        reader: Arc<dyn TableReader>,
        /// Where it is, for a person.
        address: String,
    },
}

impl SiteWarehouse {
    /// The warehouse that a plan names; nothing is asked of it yet. `folder` is for Delta tables, the chain for what AWS
    /// must be asked.
    ///
    /// # Errors
    /// Invalid where a table cannot be loaded as it is declared, or the settings do not fit together.
    pub(super) async fn open(
        plan: &Plan,
        (store, folder): (&Store, Folder),
        chain: Option<AwsChain>,
        context: &Context,
    ) -> Result<Self> {
        let (pipeline, specs) = (plan.pipeline.name.clone(), plan.cleaner.specs());
        let place = || SqlPlace { store: store.clone(), pipeline: pipeline.clone() };
        let warehouse: UpsertWarehouse = match &plan.warehouse {
            WarehouseSettings::Delta => {
                let bounds = LoadBounds { memory_bytes: LOAD_MEMORY, partitions: partitions() };
                let place = Place { folder: folder.clone(), store: store.clone(), pipeline };
                let warehouse = DeltaWarehouse::new(place, specs, context.clone(), bounds)?;
                return Ok(Self::Delta { warehouse: Arc::new(warehouse), folder });
            }
            WarehouseSettings::Postgres(settings) => {
                let chain = match (&settings.server.login, chain) {
                    (Login::Secret(_), None) => Some(AwsChain::load(None).await?),
                    (_, chain) => chain,
                };
                PostgresWarehouse::new(settings, chain, place(), (specs, context.clone()))?
            }
            WarehouseSettings::Redshift(settings) => {
                let chain = chain.ok_or_else(|| Error::internal("Redshift without an AWS chain"))?;
                RedshiftWarehouse::new(settings, chain, place(), (specs, context.clone()))?
            }
        };
        let (address, warehouse) = (warehouse.address().to_owned(), Arc::new(warehouse) as Arc<dyn SqlWarehouse>);
        let reader = Arc::new(Reader(Arc::clone(&warehouse)));
        Ok(Self::Sql { warehouse, reader, address })
    }

    /// What loads it.
    pub(super) fn get(&self) -> Arc<dyn Warehouse> {
        match self {
            Self::Delta { warehouse, .. } => Arc::clone(warehouse) as _,
            Self::Sql { warehouse, .. } => Arc::clone(warehouse) as _,
        }
    }

    /// The warehouse, where it has an engine of its own.
    pub(super) fn sql(&self) -> Option<&Arc<dyn SqlWarehouse>> {
        match self {
            Self::Delta { .. } => None,
            Self::Sql { warehouse, .. } => Some(warehouse),
        }
    }

    /// Where it is, for a person, where it is not beside the staged files.
    pub(super) fn address(&self) -> Option<&str> {
        match self {
            Self::Delta { .. } => None,
            Self::Sql { address, .. } => Some(address),
        }
    }

    /// Its tables, for a session over them.
    pub(super) fn loaded(&self) -> Loaded<'_> {
        match self {
            Self::Delta { folder, .. } => Loaded::Delta(folder),
            Self::Sql { reader, .. } => Loaded::Remote(reader),
        }
    }
}

/// Reads a database's tables for a session.
struct Reader(Arc<dyn SqlWarehouse>);

#[async_trait]
impl TableReader for Reader {
    async fn rows(&self, table: &str, columns: &[&str], limit: Option<u64>) -> Result<Rows> {
        // Before the first load a table may not have been made.
        if self.0.ledger().await?.loads == 0 {
            return Ok(stream::empty().boxed());
        }
        if table == LEDGER {
            let receipts = self.0.receipts(limit.map_or(usize::MAX, |limit| limit as usize)).await?;
            return Ok(stream::iter([ledger_rows(&receipts, columns)]).boxed());
        }
        Ok(self.0.rows(table, columns, limit).await?.batches)
    }
}

/// These columns of the ledger, as Delta tables have them: a database's own ledger holds more.
fn ledger_rows(receipts: &[Receipt], columns: &[&str]) -> Result<RecordBatch> {
    let number = |of: fn(&Receipt) -> u64| -> ArrayRef {
        Arc::new(receipts.iter().map(|receipt| i64::try_from(of(receipt)).ok()).collect::<Int64Array>())
    };
    let column = |name: &&str| -> Option<(String, ArrayRef)> {
        let values: ArrayRef = match *name {
            "loaded_after" => number(|receipt| receipt.loaded_after),
            "loaded_through" => number(|receipt| receipt.loaded_through),
            "copied" => {
                let copied = receipts.iter().map(|receipt| serde_json::to_string(&receipt.copied).ok());
                Arc::new(copied.collect::<StringArray>())
            }
            "loaded_at" => {
                let times = receipts.iter().map(|receipt| Some(receipt.loaded_at));
                Arc::new(times.collect::<TimestampMillisecondArray>().with_timezone("UTC"))
            }
            _ => return None,
        };
        Some(((*name).to_owned(), values))
    };
    RecordBatch::try_from_iter(columns.iter().filter_map(column))
        .map_err(|error| Error::internal("the ledger's columns do not fit together").with_source(error))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow::util::pretty::pretty_format_batches;

    use super::*;

    #[test]
    fn the_ledger_has_the_columns_that_are_asked_for() {
        let copied = BTreeMap::from([("fact".to_owned(), 3)]);
        let receipt = |after| Receipt {
            loaded_after: after,
            loaded_through: after + 2,
            copied: copied.clone(),
            loaded_at: 1_700_000_000_123,
            attempt: None,
        };
        let receipts = [receipt(2), receipt(0)];
        let rows = ledger_rows(&receipts, &["loaded_at", "copied", "loaded_through"]).expect("rows");
        let expected = "\
+--------------------------+------------+----------------+
| loaded_at                | copied     | loaded_through |
+--------------------------+------------+----------------+
| 2023-11-14T22:13:20.123Z | {\"fact\":3} | 4              |
| 2023-11-14T22:13:20.123Z | {\"fact\":3} | 2              |
+--------------------------+------------+----------------+";
        assert_eq!(pretty_format_batches(&[rows]).expect("text").to_string(), expected);
    }
}
