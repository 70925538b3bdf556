//! The warehouse as Delta tables in a folder, on a disk or in an object store: one folder a table, and `_ledger` beside
//! them.
//!
//! Owns which tables there are and the ledger's form. `table` owns what a Delta table can do, `layout` which of its
//! files are rewritten, `folder` where it lies. The number of the entry that a table holds is its application transaction
//! `millstream/<pipeline>/<table>`, written in the same Delta commit as the rows.

mod fault;
mod files;
mod folder;
mod guard;
mod layout;
mod ledger;
mod table;
mod tidy;
mod widen;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;

use super::merge::Merge;
use super::protocol::{Loader, Outcome, Step, Tables};
use super::shape::{Shape, shapes};
use super::{Ledger, LoadBounds, Warehouse};
use crate::batch::{Entry, Receipt};
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::Context;
use crate::schema::TableSpec;
use crate::store::{Folder, Store};
use guard::{Log, LogState, LogStates};
use table::DeltaTable;

/// A warehouse of Delta tables.
pub struct DeltaWarehouse {
    loader: Loader,
    tables: HashMap<String, DeltaTable>,
    ledger: ledger::LedgerTable,
}

impl DeltaWarehouse {
    /// The tables of a pipeline in this folder; staged files are read from `store`. Nothing is made yet: see
    /// [`Warehouse::prepare`].
    ///
    /// # Errors
    /// Invalid where a table cannot be loaded as it is declared.
    pub fn new(place: Place, specs: &[TableSpec], context: Context, bounds: LoadBounds) -> Result<Self> {
        let shapes = shapes(specs)?;
        let open = |shape: &Arc<Shape>| {
            DeltaTable::new(&place, Arc::clone(shape), Arc::clone(&context.clock), bounds.partitions)
        };
        let tables = shapes.iter().map(|shape| (shape.name.clone(), open(shape))).collect();
        let ledger = ledger::LedgerTable::new(open(&ledger::shape()));
        let Place { store, pipeline, .. } = place;
        Ok(Self { loader: Loader { pipeline, store, shapes, context, bounds }, tables, ledger })
    }

    /// A table that the ledger says was loaded into is there: made anew it would hold the newest rows alone.
    async fn nothing_is_gone(&self, known: &LogStates) -> Result<()> {
        for (name, table) in &self.tables {
            // Version 0 is the making of a table.
            let version = known.get(name).map_or(0, |known| known.version);
            if version > 0 && !table.is_there().await? {
                return Err(Error::corrupt(format!(
                    "the warehouse's table {name} is gone, though rows were loaded into it (the ledger knows its log through \
                     version {version}); put it back, or move the whole warehouse folder away, and the next run loads \
                     everything anew from the staged files"
                )));
            }
        }
        Ok(())
    }

    /// All tables and the ledger, by name.
    fn all(&self) -> impl Iterator<Item = (&str, &DeltaTable)> {
        let ledger = [("_ledger", self.ledger.table())];
        self.tables.iter().map(|(name, table)| (name.as_str(), table)).chain(ledger)
    }

    /// The logs of the tables that have been made, each with what is known of it, listed from the version that is `first`.
    async fn logs(&self, known: &LogStates, first: fn(&LogState) -> u64) -> Result<Vec<(Log<'_>, LogState)>> {
        let mut logs = Vec::new();
        for (name, table) in self.all() {
            if table.is_there().await? {
                let known = known.get(name).cloned().unwrap_or_default();
                logs.push((Log::list(name, table.log()?, first(&known)).await?, known));
            }
        }
        Ok(logs)
    }

    /// Every log is what the ledger says of it.
    async fn logs_are_whole(&self, known: &LogStates) -> Result<()> {
        for (log, known) in self.logs(known, LogState::first).await? {
            log.check_version(&known)?;
            log.check_files(&known).await?;
        }
        Ok(())
    }

    fn table(&self, name: &str) -> Result<&DeltaTable> {
        self.tables.get(name).ok_or_else(|| Error::internal(format!("there is no table {name}")))
    }
}

/// Where a warehouse stands and what it is fed from.
pub struct Place {
    /// The folder that holds a folder for each table.
    pub folder: Folder,
    /// Where the staged files are.
    pub store: Store,
    /// The pipeline's name.
    pub pipeline: String,
}

#[async_trait]
impl Tables for DeltaWarehouse {
    async fn holds(&self, shape: &Shape) -> Result<u64> {
        self.table(&shape.name)?.holds().await
    }

    async fn merge(&self, merge: Merge, step: Step) -> Result<Outcome> {
        self.table(&merge.shape.name)?.merge(merge, step).await
    }

    async fn ledger(&self) -> Result<Ledger> {
        self.ledger.read().await
    }

    async fn record(&self, receipt: &Receipt) -> Result<Outcome> {
        let known = self.ledger.logs().await?;
        let mut states = LogStates::new();
        for (log, known) in self.logs(&known, |known| known.version).await? {
            states.insert(log.table.to_owned(), log.since(known).await?);
        }
        self.ledger.record(receipt, &states).await
    }
}

#[async_trait]
impl Warehouse for DeltaWarehouse {
    async fn prepare(&self) -> Result<()> {
        let known = self.ledger.logs().await?;
        self.nothing_is_gone(&known).await?;
        self.logs_are_whole(&known).await?;
        let tables = self.loader.shapes.iter().map(|shape| self.table(&shape.name));
        let tables = tables.chain([Ok(self.ledger.table())]).collect::<Result<Vec<_>>>()?;
        // Nothing is added to any before all are known to fit.
        let mut lacking = Vec::new();
        for table in tables {
            if table.prepare().await? {
                lacking.push(table);
            }
        }
        for table in lacking {
            table.widen().await?;
        }
        Ok(())
    }

    async fn ledger(&self) -> Result<Ledger> {
        self.ledger.read().await
    }

    async fn receipts(&self, limit: usize) -> Result<Vec<Receipt>> {
        self.ledger.receipts(limit).await
    }

    async fn load(&self, entries: &[Arc<Entry>]) -> Result<Receipt> {
        for (log, known) in self.logs(&self.ledger.logs().await?, |known| known.version).await? {
            log.check_version(&known)?;
        }
        let receipt = self.loader.load(self, entries).await?;
        for table in self.tables.values().chain([self.ledger.table()]) {
            table.tidy().await;
        }
        Ok(receipt)
    }

    async fn damages(&self, fast: bool) -> Result<Vec<String>> {
        match self.logs_are_whole(&self.ledger.logs().await?).await {
            Err(error) if error.kind() == ErrorKind::Corrupt => return Ok(vec![error.to_string()]),
            whole => whole?,
        }
        let mut damages = Vec::new();
        for (_, table) in self.all() {
            if table.is_there().await? {
                damages.extend(table.damages(fast).await?);
            }
        }
        Ok(damages)
    }

    async fn loaded_through(&self, table: &str) -> Result<u64> {
        let ledger = self.ledger.read().await?.loaded_through;
        let table = self.table(table)?;
        // A load that changes nothing in a table leaves no trace in it.
        Ok(if table.is_there().await? { table.holds().await?.max(ledger) } else { ledger })
    }
}
