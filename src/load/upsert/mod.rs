//! A warehouse that speaks SQL, whichever way its statements get there.
//!
//! Owns the order around a load's one transaction: the ledger is asked, the load is planned and run, a conflict is tried
//! again, a lost answer to COMMIT is looked up (`outcome`). Owns making the tables and that they still fit (`prepared`),
//! and reading the ledger (`ledger`). It does not own the SQL (`script`, `tables`), nor a connection (`session`). The contract: a load is in the ledger and in
//! all tables, or in none; whoever is not sure reads the ledger.

mod ledger;
mod outcome;
mod prepared;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};

use super::plan::{Attempt, LoadPlan};
use super::protocol::{check_entries, overtaken};
use super::question::{Question, volatile};
use super::script::{Dialect, SqlTarget, held_query, rows_query, script};
use super::session::Session;
use super::shape::{Shape, shapes};
use super::{Answer, Held, Ledger, SqlWarehouse, Warehouse, arrow_bug, staged};
use crate::batch::{Entry, Receipt};
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::{Backoff, Context, retry};
use crate::schema::TableSpec;
use crate::store::Store;
use outcome::Tries;

/// How often a load that was in another's way is tried within itself.
const CONFLICTS: Backoff = Backoff { first: Duration::from_millis(200), longest: Duration::from_secs(5), attempts: 5 };

/// How often making tables is tried: two that do it at once are in each other's way.
const PREPARATIONS: Backoff =
    Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(1), attempts: 5 };

/// Footers that are read at once: each is small, and a load may have thousands.
const FOOTERS: usize = 32;

/// No load of this loader's own yet.
const NONE: u64 = u64::MAX;

/// What a warehouse that speaks SQL is fed from.
pub struct SqlPlace {
    /// Where the staged files are.
    pub store: Store,
    /// The pipeline's name.
    pub pipeline: String,
}

/// The tables of a pipeline in a schema of a database.
pub struct UpsertWarehouse {
    session: Arc<dyn Session>,
    target: SqlTarget,
    address: String,
    pipeline: String,
    store: Store,
    /// Dimensions first.
    shapes: Vec<Arc<Shape>>,
    context: Context,
    /// The last entry of the last load that this loader did: nobody else has loaded where the ledger still says it.
    own: AtomicU64,
}

impl UpsertWarehouse {
    /// The tables behind this session, at this address.
    ///
    /// # Errors
    /// Invalid where a table cannot be loaded as it is declared.
    pub(super) fn new(
        (session, target, address): (Arc<dyn Session>, SqlTarget, String),
        place: SqlPlace,
        specs: &[TableSpec],
        context: Context,
    ) -> Result<Self> {
        let SqlPlace { store, pipeline } = place;
        Ok(Self {
            session,
            target,
            address,
            pipeline,
            store,
            shapes: shapes(specs)?,
            context,
            own: AtomicU64::new(NONE),
        })
    }

    /// Where it is, for a person: server, database, schema.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// All rows of an answer that has few.
    async fn few(&self, sql: &str) -> Result<RecordBatch> {
        let answer = self.session.read(sql).await?;
        let batches: Vec<RecordBatch> = answer.batches.try_collect().await?;
        concat_batches(&answer.schema, &batches).map_err(arrow_bug)
    }

    /// The columns of the entries' files, by path, where the session must know them.
    async fn columns(&self, entries: &[Arc<Entry>]) -> Result<HashMap<String, SchemaRef>> {
        if !self.session.needs_columns() {
            return Ok(HashMap::new());
        }
        let files = entries.iter().flat_map(|entry| {
            let files = entry.tables.values().flatten();
            files.map(|file| (entry.number, file.clone())).collect::<Vec<_>>()
        });
        let reading: Vec<_> = files
            .map(|(entry, file)| async move {
                let columns = staged::columns(&self.store, entry, &file).await?;
                Ok::<_, Error>((file.path, columns))
            })
            .collect();
        stream::iter(reading).buffer_unordered(FOOTERS).try_collect().await
    }

    /// One try at a load.
    async fn attempt(
        &self,
        entries: &[Arc<Entry>],
        columns: &HashMap<String, SchemaRef>,
        tries: &Tries,
    ) -> Result<Receipt> {
        let loaded_at = self.context.clock.now_millis();
        let attempt = Attempt { id: tries.next(), pipeline: self.pipeline.clone(), loaded_at };
        let plan = LoadPlan::new(&self.shapes, entries, columns, attempt)?;
        let statements = script(&self.target, &plan);
        let receipt = Receipt {
            loaded_after: plan.after,
            loaded_through: plan.through,
            copied: plan.copied(),
            loaded_at: plan.loaded_at,
            attempt: Some(plan.attempt.clone()),
        };
        match self.session.transact(&plan.id, &statements).await {
            Ok(()) => {
                tracing::debug!(id = plan.id, after = plan.after, through = plan.through, "loaded");
                Ok(receipt)
            }
            Err(broken) => self.broken(broken, &statements, receipt, tries).await,
        }
    }

    fn shape(&self, table: &str) -> Result<&Shape> {
        let found = self.shapes.iter().find(|shape| shape.name == table);
        found.map(Arc::as_ref).ok_or_else(|| Error::invalid(format!("the pipeline has no table {table}")))
    }
}

#[async_trait]
impl Warehouse for UpsertWarehouse {
    async fn prepare(&self) -> Result<()> {
        let (mut attempt, mut refused) = (1, None);
        loop {
            let statements = self.missing().await?;
            let Err(error) = self.session.execute(&statements).await else { return Ok(()) };
            // Another one may have made meanwhile what this one was about to make; then something else is missing.
            let is_final = error.kind() != ErrorKind::Transient && refused.as_ref() == Some(&statements);
            refused = Some(statements);
            if is_final || attempt >= PREPARATIONS.attempts {
                return Err(error.context(format!("the tables of {} cannot be made", self.address)));
            }
            self.context.clock.sleep(PREPARATIONS.pause(attempt, &self.context)).await;
            attempt += 1;
        }
    }

    async fn ledger(&self) -> Result<Ledger> {
        Ok(self.read_ledger().await?.unwrap_or_default())
    }

    async fn receipts(&self, limit: usize) -> Result<Vec<Receipt>> {
        self.read_receipts(limit as u64).await
    }

    async fn load(&self, entries: &[Arc<Entry>]) -> Result<Receipt> {
        let (first, _) = check_entries(&self.pipeline, &self.shapes, entries)?;
        let ledger = self.read_ledger().await?.ok_or_else(|| {
            Error::invalid(format!("{} has no tables yet: they are made before the first load", self.address))
        })?;
        if first != ledger.loaded_through + 1 {
            return Err(overtaken(first, ledger.loaded_through));
        }
        // Whatever another loader has put into columns that this one does not know must stay.
        if self.own.load(Ordering::Relaxed) != ledger.loaded_through {
            self.still_fits().await?;
            if ledger.last.is_none() {
                self.begins_empty().await?;
            }
        }
        let columns = self.columns(entries).await?;
        let tries = Tries::new(self.context.random.id());
        let receipt = retry(&self.context, CONFLICTS, || self.attempt(entries, &columns, &tries)).await?;
        self.own.store(receipt.loaded_through, Ordering::Relaxed);
        Ok(receipt)
    }
}

#[async_trait]
impl SqlWarehouse for UpsertWarehouse {
    async fn changes(&self) -> Result<Vec<String>> {
        self.missing().await
    }

    async fn query(&self, sql: &str) -> Result<Answer> {
        let question = Question::read(self.target.dialect, sql)?;
        if let Some(asked) = question.volatile_query(&self.target) {
            let found = self.few(&asked).await?;
            let column =
                |at: usize| found.columns().get(at).and_then(|names| names.as_string_opt::<i32>()?.iter().next()?);
            if let (Some(schema), Some(name)) = (column(0), column(1)) {
                return Err(volatile(schema, name));
            }
        }
        self.session.read(&question.sql).await
    }

    async fn cancel(&self) -> Result<()> {
        self.session.cancel().await
    }

    async fn rows(&self, table: &str, columns: &[&str], limit: Option<u64>) -> Result<Answer> {
        let shape = self.shape(table)?;
        self.session.read(&rows_query(&self.target, &shape.name, columns, limit)).await
    }

    async fn held(&self, table: &str) -> Result<Held> {
        let rows = self.few(&held_query(&self.target, self.shape(table)?)).await?;
        let counts = rows.columns().iter().map(ledger::whole).collect::<Result<Vec<_>>>()?;
        let count = |index: usize| counts.get(index).and_then(|counts: &Vec<u64>| counts.first().copied());
        match (count(0), count(1)) {
            (Some(rows), Some(keys)) => Ok(Held { rows, keys }),
            _ => Err(Error::internal(format!("the rows of {table} were not counted"))),
        }
    }

    fn pads_texts(&self) -> bool {
        self.target.dialect == Dialect::Redshift
    }

    fn real_digits(&self) -> Option<usize> {
        // Six, and the two that extra_float_digits adds at most; it takes nine to tell any two apart.
        (self.target.dialect == Dialect::Redshift).then_some(8)
    }
}
