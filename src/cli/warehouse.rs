//! The warehouse of a site: which one it is, and how it is read.
//!
//! Owns the choice among the kinds of warehouse. What a warehouse does is `load`'s; what a session over its tables can
//! answer is `query`'s.

use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt, stream};

use super::open::{Plan, partitions};
use crate::aws::AwsChain;
use crate::config::{Login, WarehouseSettings};
use crate::error::{Error, Result};
use crate::load::{
    DeltaWarehouse, LoadBounds, Place, PostgresWarehouse, RedshiftWarehouse, SqlPlace, SqlWarehouse, Warehouse,
};
use crate::query::{Loaded, Rows, TableReader};
use crate::runtime::Context;
use crate::store::{Folder, Store};

/// What a load into Delta tables may hold before it cuts its work.
const LOAD_MEMORY: usize = 256 << 20;

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
        let warehouse: Arc<dyn SqlWarehouse> = match &plan.warehouse {
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
                Arc::new(PostgresWarehouse::new(settings, chain, place(), (specs, context.clone()))?)
            }
            WarehouseSettings::Redshift(settings) => {
                let chain = chain.ok_or_else(|| Error::internal("Redshift without an AWS chain"))?;
                Arc::new(RedshiftWarehouse::new(settings, chain, place(), (specs, context.clone()))?)
            }
        };
        let reader = Arc::new(Reader(Arc::clone(&warehouse)));
        Ok(Self::Sql { warehouse, reader })
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
        Ok(self.0.rows(table, columns, limit).await?.batches)
    }
}
