//! Whether the tables are there and fit the pipeline.
//!
//! Owns what is looked at before anything is made or loaded: what is missing, what is gone though it was loaded into, and
//! what another version of the pipeline has made meanwhile. The statements themselves are `tables`'.

use super::super::script::{rows_query, schema_query};
use super::super::tables::{self, FoundColumn, LEDGER};
use super::{UpsertWarehouse, ledger};
use crate::batch::Receipt;
use crate::error::{Error, Result};
use crate::load::Warehouse;
use crate::load::protocol::overtaken;
use crate::load::shape::{Shape, Style};

impl UpsertWarehouse {
    /// What would make the tables fit, and whether one that was loaded into is gone.
    pub(super) async fn missing(&self) -> Result<Vec<String>> {
        let found = self.found().await?;
        let is_there = |table: &str| found.iter().any(|column| column.table.eq_ignore_ascii_case(table));
        if is_there(LEDGER) {
            // Another pipeline's tables are not to be made fit.
            self.read_ledger().await?;
        }
        let mut statements = tables::changes(&self.target, &self.shapes, &found)?.statements;
        if found.is_empty() && self.has_schema().await? {
            // To make one takes a right on the database, also where it is there.
            let schema = tables::create_schema(&self.target);
            statements.retain(|statement| *statement != schema);
        }
        let (there, gone): (Vec<_>, Vec<_>) = self.shapes.iter().partition(|shape| is_there(&shape.name));
        if !is_there(LEDGER) {
            for shape in there {
                self.holds_nothing(shape).await?;
            }
        } else if !gone.is_empty() {
            let receipts = self.receipts(usize::MAX).await?;
            gone.iter().try_for_each(|shape| self.never_loaded(&shape.name, &receipts))?;
        }
        Ok(statements)
    }

    /// Looks whether the tables are still those of this version of the pipeline. A loader of an older one would leave
    /// stale values in columns that it does not know, and drop them from versions that it makes anew.
    ///
    /// Asked after the ledger was read, it holds for the load: while the ledger stands, nobody else's values come.
    ///
    /// # Errors
    /// Invalid with the difference; Transient.
    pub(super) async fn still_fits(&self) -> Result<()> {
        let changes = tables::changes(&self.target, &self.shapes, &self.found().await?);
        let statements = changes.map_err(|error| error.context("nothing was loaded"))?.statements;
        match statements.first() {
            None => Ok(()),
            Some(first) => Err(Error::invalid(format!(
                "nothing was loaded: the tables of {} are not as the pipeline has them, start again and they are made to \
                 fit, beginning with: {first}",
                self.address
            ))),
        }
    }

    pub(super) async fn found(&self) -> Result<Vec<FoundColumn>> {
        FoundColumn::all(&self.few(&tables::columns_query(&self.target)).await?)
    }

    async fn has_schema(&self) -> Result<bool> {
        let rows = self.few(&schema_query(&self.target)).await?;
        Ok(ledger::whole(rows.column(0))?.first() == Some(&1))
    }

    /// Looks whether the tables without a key are as empty as the ledger: whoever emptied it alone would have their rows
    /// doubled. Keys keep the others right.
    ///
    /// # Errors
    /// Corrupt where one holds rows; Fenced where another loader's first load has put them there meanwhile; Transient.
    pub(super) async fn begins_empty(&self) -> Result<()> {
        for shape in self.shapes.iter().filter(|shape| shape.style == Style::Append) {
            if let Err(error) = self.holds_nothing(shape).await {
                let through = self.read_ledger().await?.unwrap_or_default().loaded_through;
                return Err(if through > 0 { overtaken(1, through) } else { error });
            }
        }
        Ok(())
    }

    /// With an empty ledger everything would be loaded once more into a table that holds it.
    async fn holds_nothing(&self, shape: &Shape) -> Result<()> {
        let column = shape.table.field(0).name();
        let rows = self.few(&rows_query(&self.target, &shape.name, &[column], Some(1))).await?;
        match rows.num_rows() {
            0 => Ok(()),
            _ => Err(Error::corrupt(format!(
                "the ledger {LEDGER} of {} is gone or empty, though the table {} holds rows: to load now would double \
                 them, so nothing was loaded. Restore {LEDGER} from a backup. Or drop the whole schema, or move it away \
                 (ALTER SCHEMA … RENAME TO …), and the next run loads everything anew from the staged files",
                self.address, shape.name
            ))),
        }
    }

    /// A table made anew would hold the newest rows alone.
    fn never_loaded(&self, table: &str, receipts: &[Receipt]) -> Result<()> {
        let rows: u64 = receipts.iter().filter_map(|receipt| receipt.copied.get(table)).sum();
        match rows {
            0 => Ok(()),
            _ => Err(Error::corrupt(format!(
                "the table {table} of {} is gone, though {rows} rows were loaded into it; restore it from a backup, or \
                 drop the whole schema, and the next run loads everything anew from the staged files",
                self.address
            ))),
        }
    }
}
