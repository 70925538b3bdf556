//! A warehouse in memory: the same loading over rows that live as long as it does.
//!
//! Owns its tables as one batch each, and the ledger as a list. For tests, benchmarks and simulation; what it holds is
//! what Delta tables would hold, row for row.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch};
use async_trait::async_trait;

use super::merge::{Change, Merge};
use super::protocol::{Loader, Outcome, Step, Tables};
use super::shape::{Shape, Style, conform, only, shapes};
use super::{Ledger, LoadBounds, Warehouse, arrow_bug};
use crate::batch::{Entry, Receipt};
use crate::error::Result;
use crate::runtime::Context;
use crate::schema::TableSpec;
use crate::store::Store;

/// A warehouse over rows in memory.
pub struct MemoryWarehouse {
    loader: Loader,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tables: HashMap<String, Held>,
    receipts: Vec<Receipt>,
}

struct Held {
    rows: RecordBatch,
    through: u64,
}

impl MemoryWarehouse {
    /// An empty warehouse that reads staged files from `store`.
    ///
    /// # Errors
    /// Invalid where a table cannot be loaded as it is declared.
    pub fn new(store: Store, specs: &[TableSpec], pipeline: &str, context: Context) -> Result<Self> {
        let bounds = LoadBounds { memory_bytes: 256 << 20, partitions: 1 };
        let loader = Loader { pipeline: pipeline.to_owned(), store, shapes: shapes(specs)?, context, bounds };
        Ok(Self { loader, state: Mutex::default() })
    }

    /// A table's rows, in no particular order; none where there is no such table.
    pub fn rows(&self, table: &str) -> Option<RecordBatch> {
        let shape = self.loader.shapes.iter().find(|shape| shape.name == table)?;
        let held = self.lock().tables.get(table).map(|held| held.rows.clone());
        Some(held.unwrap_or_else(|| RecordBatch::new_empty(Arc::clone(&shape.table))))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Tables for MemoryWarehouse {
    async fn holds(&self, shape: &Shape) -> Result<u64> {
        Ok(self.lock().tables.get(&shape.name).map_or(0, |held| held.through))
    }

    async fn merge(&self, merge: Merge, step: Step) -> Result<Outcome> {
        let mut state = self.lock();
        let schema = Arc::clone(&merge.shape.table);
        let empty = || Held { rows: RecordBatch::new_empty(schema), through: 0 };
        let held = state.tables.entry(merge.shape.name.clone()).or_insert_with(empty);
        if held.through != step.after {
            return Ok(Outcome::Overtaken);
        }
        held.rows = merged(&merge, &held.rows)?;
        held.through = step.through;
        Ok(Outcome::Done)
    }

    async fn ledger(&self) -> Result<Ledger> {
        let state = self.lock();
        let last = state.receipts.last().cloned();
        let loaded_through = last.as_ref().map_or(0, |receipt| receipt.loaded_through);
        Ok(Ledger { loaded_through, loads: state.receipts.len() as u64, last })
    }

    async fn record(&self, receipt: &Receipt) -> Result<Outcome> {
        let mut state = self.lock();
        let loaded_through = state.receipts.last().map_or(0, |receipt| receipt.loaded_through);
        if loaded_through != receipt.loaded_after {
            return Ok(Outcome::Overtaken);
        }
        state.receipts.push(receipt.clone());
        Ok(Outcome::Done)
    }
}

fn merged(merge: &Merge, held: &RecordBatch) -> Result<RecordBatch> {
    let found = match merge.shape.style {
        Style::Append => Vec::new(),
        _ => {
            let needed = only(&merge.shape.table, &merge.needs()).map_err(arrow_bug)?;
            vec![merge.find(&conform(held, &needed).map_err(arrow_bug)?)?]
        }
    };
    let Change { removed, added } = merge.change(&found)?;
    let mut stays = vec![true; held.num_rows()];
    removed.iter().flatten().for_each(|&row| stays[row as usize] = false);
    let stay = filter_record_batch(held, &BooleanArray::from(stays)).map_err(arrow_bug)?;
    concat_batches(&merge.shape.table, [&stay, &added]).map_err(arrow_bug)
}

#[async_trait]
impl Warehouse for MemoryWarehouse {
    async fn prepare(&self) -> Result<()> {
        Ok(())
    }

    async fn ledger(&self) -> Result<Ledger> {
        Tables::ledger(self).await
    }

    async fn receipts(&self, limit: usize) -> Result<Vec<Receipt>> {
        Ok(self.lock().receipts.iter().rev().take(limit).cloned().collect())
    }

    async fn load(&self, entries: &[Arc<Entry>]) -> Result<Receipt> {
        self.loader.load(self, entries).await
    }
}
