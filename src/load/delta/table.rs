//! One Delta table: made, read, changed in one commit, tidied.
//!
//! Owns the table's snapshot and the commit; `files` rewrites, `layout` chooses, `tidy` removes what was replaced,
//! `widen` adds columns. A commit is tried once against the snapshot that the change was worked out from; if the table
//! has moved on since, nothing happens and the caller looks again. No feature beyond plain copy-on-write is used, so any
//! Delta reader reads the tables.

use std::sync::Arc;

use arrow::array::RecordBatch;
use deltalake::DeltaTableError;
use deltalake::kernel::engine::arrow_conversion::TryIntoKernel;
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake::kernel::{Action, StructType, Transaction};
use deltalake::logstore::LogStoreRef;
use deltalake::operations::create::CreateBuilder;
use deltalake::protocol::{DeltaOperation, OutputMode, SaveMode};
use deltalake::table::state::DeltaTableState;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::Mutex;

use super::super::arrow_bug;
use super::super::merge::{Change, Found, Merge, named};
use super::super::protocol::{Outcome, Step};
use super::super::shape::{Shape, Style, only};
use super::Place;
use super::fault::{fault, is_conflict};
use super::files::{DataFile, Files, Shelf};
use super::folder;
use super::layout::{Layout, near};
use super::{tidy, widen};
use crate::error::{Error, Result};
use crate::runtime::{Clock, blocking};
use crate::store::Folder;

/// Commits between two looks for files and log entries that nobody needs any more.
const TIDY_EVERY: u64 = 64;

/// A Delta table of the warehouse.
pub(super) struct DeltaTable {
    shape: Arc<Shape>,
    warehouse: Folder,
    folder: Folder,
    application: String,
    partitions: usize,
    clock: Arc<dyn Clock>,
    state: Mutex<Option<State>>,
}

/// The table as it was read last.
struct State {
    log: LogStoreRef,
    snapshot: DeltaTableState,
    /// The entry that it holds.
    through: u64,
    /// The version at which it was last considered for tidying.
    considered: u64,
}

impl DeltaTable {
    /// The table of this shape in the warehouse's folder; nothing is touched yet.
    pub(super) fn new(place: &Place, shape: Arc<Shape>, clock: Arc<dyn Clock>, partitions: usize) -> Self {
        Self {
            warehouse: place.folder.clone(),
            folder: place.folder.join(&shape.name),
            application: format!("millstream/{}/{}", place.pipeline, shape.name),
            shape,
            partitions: partitions.max(1),
            clock,
            state: Mutex::new(None),
        }
    }

    /// Makes the table where it is missing; whether it lacks columns that [`DeltaTable::widen`] adds.
    ///
    /// # Errors
    /// Invalid where it is there with other columns, or the folder cannot be made.
    pub(super) async fn prepare(&self) -> Result<bool> {
        folder::make(&self.folder).await?;
        let log = self.log()?;
        if !self.is_there().await? {
            return self.create(log).await.map(|()| false);
        }
        let snapshot = DeltaTableState::try_new(&log, None).await.map_err(|error| self.fault("read", error))?;
        let lacking = widen::lacking(&self.shape, &snapshot.snapshot().arrow_schema(), &self.warehouse)?;
        Ok(!lacking.is_empty())
    }

    /// Adds the columns that the table lacks: its older rows read null.
    ///
    /// # Errors
    /// As [`DeltaTable::prepare`].
    pub(super) async fn widen(&self) -> Result<()> {
        let mut state = self.state.lock().await;
        *state = None;
        widen::widen(&self.log()?, &self.shape, &self.warehouse).await
    }

    async fn create(&self, log: LogStoreRef) -> Result<()> {
        let schema: StructType = self.shape.table.as_ref().try_into_kernel().map_err(arrow_bug)?;
        let made = CreateBuilder::new()
            .with_log_store(log)
            .with_table_name(&self.shape.name)
            .with_columns(schema.fields().cloned())
            .with_save_mode(SaveMode::Ignore)
            .with_configuration(tidy::properties())
            .await;
        made.map(|_| ()).map_err(|error| self.fault("make", error))
    }

    /// Whether the table has been made.
    ///
    /// # Errors
    /// Invalid where its folder cannot be looked at; Transient.
    pub(super) async fn is_there(&self) -> Result<bool> {
        if self.state.lock().await.is_some() {
            return Ok(true);
        }
        if !folder::exists(&self.folder).await? {
            return Ok(false);
        }
        self.log()?.is_delta_table_location().await.map_err(|error| self.fault("read", error))
    }

    /// The last entry that the table holds, as it is stored now.
    pub(super) async fn holds(&self) -> Result<u64> {
        let mut state = self.state.lock().await;
        self.refreshed(&mut state).await.map(|state| state.through)
    }

    /// What is wrong with its data files, as they lie there now.
    pub(super) async fn damages(&self, fast: bool) -> Result<Vec<String>> {
        let mut state = self.state.lock().await;
        let state = self.refreshed(&mut state).await?;
        let files = self.files(state)?.files;
        self.shelf(state).damages(files, self.partitions, fast).await
    }

    /// How many rows it has, as it was read last.
    pub(super) async fn rows(&self) -> Result<u64> {
        let mut state = self.state.lock().await;
        let files = self.files(self.known(&mut state).await?)?;
        Ok(files.rows.iter().map(|rows| *rows as u64).sum())
    }

    /// At least `limit` rows (or all) of the highest keys, as it was read last.
    pub(super) async fn newest(&self, limit: usize) -> Result<Vec<RecordBatch>> {
        let mut state = self.state.lock().await;
        let state = self.known(&mut state).await?;
        let files = self.files(state)?;
        let mut batches = Vec::new();
        let mut found = 0;
        for file in files.highest_first()? {
            if found >= limit {
                break;
            }
            found += files.rows[file];
            let file = files.files[file].clone();
            batches.push(self.shelf(state).read(file, Arc::clone(&self.shape.table)).await?);
        }
        Ok(batches)
    }

    /// Brings a merge in, together with the number of the entry that the table holds then.
    pub(super) async fn merge(&self, merge: Merge, step: Step) -> Result<Outcome> {
        let mut state = self.state.lock().await;
        let known = self.known(&mut state).await?;
        if known.through != step.after {
            return Ok(Outcome::Overtaken);
        }
        if merge.is_empty() {
            return Ok(Outcome::Done);
        }
        widen::takes(&self.shape, &known.snapshot.snapshot().arrow_schema())?;
        let files = self.files(known)?;
        let merge = Arc::new(merge);
        let shown = self.shown(&merge, &files)?;
        let found = self.find(known, &merge, shown.iter().map(|&file| files.files[file].clone())).await?;
        let change = blocking(move || merge.change(&found)).await?;
        let mut removed = vec![Vec::new(); files.files.len()];
        for (file, rows) in shown.into_iter().zip(change.removed) {
            removed[file] = rows;
        }
        let change = Change { removed, added: change.added };
        self.apply(&mut state, &files, change, step).await
    }

    /// Puts in the place of the file with the highest keys what `change` makes of its rows, together with the number of the
    /// entry that the table holds then; the file is none in an empty table.
    pub(super) async fn rewrite_newest(
        &self,
        change: impl FnOnce(Option<RecordBatch>) -> Result<RecordBatch>,
        step: Step,
    ) -> Result<Outcome> {
        let mut state = self.state.lock().await;
        let known = self.known(&mut state).await?;
        if known.through != step.after {
            return Ok(Outcome::Overtaken);
        }
        widen::takes(&self.shape, &known.snapshot.snapshot().arrow_schema())?;
        let files = self.files(known)?;
        let (mut removed, mut rows) = (vec![Vec::new(); files.files.len()], None);
        if let Some(newest) = files.highest_first()?.first().copied() {
            let found = self.shelf(known).read(files.files[newest].clone(), Arc::clone(&self.shape.table)).await?;
            removed[newest] = (0..found.num_rows() as u32).collect();
            rows = Some(found);
        }
        self.apply(&mut state, &files, Change { removed, added: change(rows)? }, step).await
    }

    /// Now and then removes files that were replaced long enough ago. Not being able to is no failure of a load.
    pub(super) async fn tidy(&self) {
        let mut state = self.state.lock().await;
        let Some(state) = state.as_mut() else { return };
        let version = state.snapshot.version();
        if version / TIDY_EVERY == state.considered / TIDY_EVERY {
            return;
        }
        state.considered = version;
        match tidy::vacuum(&state.log, &self.clock).await {
            Ok(files) => tracing::debug!(table = self.shape.name, files, "removed replaced files"),
            Err(error) => tracing::warn!(table = self.shape.name, %error, "replaced files stay for now"),
        }
    }

    /// The files that can hold a row which the merge meets, by index.
    fn shown(&self, merge: &Merge, files: &Files) -> Result<Vec<usize>> {
        if self.shape.style == Style::Append {
            return Ok(Vec::new());
        }
        let Some(reach) = merge.reach()? else {
            return Ok((0..files.files.len()).collect());
        };
        let within = reach.within(&files.lowest, &files.highest)?;
        Ok((0..files.files.len()).filter(|&file| within[file]).collect())
    }

    async fn find(
        &self,
        state: &State,
        merge: &Arc<Merge>,
        files: impl Iterator<Item = DataFile>,
    ) -> Result<Vec<Found>> {
        let needed = only(&self.shape.table, &merge.needs()).map_err(arrow_bug)?;
        let found = files.map(|file| {
            let (shelf, needed, merge) = (self.shelf(state), Arc::clone(&needed), Arc::clone(merge));
            async move {
                let rows = shelf.read(file, needed).await?;
                blocking(move || merge.find(&rows)).await
            }
        });
        let found: Vec<_> = found.collect();
        stream::iter(found).buffered(self.partitions).try_collect().await
    }

    /// Rewrites what a change touches and commits it.
    async fn apply(&self, state: &mut Option<State>, files: &Files, change: Change, step: Step) -> Result<Outcome> {
        let known = self.known(state).await?;
        let touched: Vec<bool> = change.removed.iter().map(|rows| !rows.is_empty()).collect();
        let near = match self.shape.key.first() {
            Some(key) => near(&named(&change.added, std::slice::from_ref(key))?[0], &files.lowest)?,
            None => vec![None; change.added.num_rows()],
        };
        let layout = Layout { aim: self.shape.rows_per_file, rows: &files.rows, touched: &touched, near: &near };
        let rewrites = layout.rewrites();
        if rewrites.is_empty() {
            return Ok(Outcome::Done);
        }
        let change = Arc::new(change);
        let writing = rewrites.into_iter().map(|rewrite| {
            let old: Vec<DataFile> = rewrite.files.iter().map(|&file| files.files[file].clone()).collect();
            self.shelf(known).rewrite(old, rewrite, Arc::clone(&change))
        });
        let writing: Vec<_> = writing.collect();
        let actions: Vec<Vec<Action>> = stream::iter(writing).buffered(self.partitions).try_collect().await?;
        self.commit(state, actions.concat(), step).await
    }

    async fn commit(&self, state: &mut Option<State>, actions: Vec<Action>, step: Step) -> Result<Outcome> {
        let known = self.known(state).await?;
        // Looking for old log entries lists the whole log: not each time.
        let tidies = (known.snapshot.version() + 1).is_multiple_of(TIDY_EVERY);
        let properties = CommitProperties::default()
            .with_max_retries(0)
            .with_cleanup_expired_logs(Some(tidies))
            .with_application_transaction(Transaction::new(&self.application, step.through as i64));
        let operation = DeltaOperation::StreamingUpdate {
            output_mode: OutputMode::Update,
            query_id: self.application.clone(),
            epoch_id: step.through as i64,
        };
        let commit = CommitBuilder::from(properties)
            .with_actions(actions)
            .build(Some(&known.snapshot), Arc::clone(&known.log), operation)
            .await;
        match commit {
            Ok(commit) => {
                let version = commit.version();
                known.snapshot = commit.snapshot();
                known.through = step.through;
                let log_folder = self.folder.join("_delta_log");
                folder::sync(&self.shape.name, log_folder, vec![format!("{version:020}.json")]).await?;
                Ok(Outcome::Done)
            }
            Err(error) => {
                // It may have succeeded all the same: the table itself tells.
                let holds = self.refreshed(state).await?.through;
                match (holds >= step.through, is_conflict(&error)) {
                    (true, _) | (_, true) => Ok(Outcome::Overtaken),
                    _ => Err(self.fault("commit to", error)),
                }
            }
        }
    }

    fn files(&self, state: &State) -> Result<Files> {
        Files::of(&self.shape, &state.snapshot)
    }

    fn shelf(&self, state: &State) -> Shelf {
        Shelf {
            shape: Arc::clone(&self.shape),
            folder: self.folder.clone(),
            log: Arc::clone(&state.log),
            snapshot: state.snapshot.clone(),
        }
    }

    /// Where its log lies; Invalid where there is no such folder.
    pub(super) fn log(&self) -> Result<LogStoreRef> {
        folder::log(&self.folder)
    }

    /// The table as it was read last, or now if it never was.
    async fn known<'a>(&self, state: &'a mut Option<State>) -> Result<&'a mut State> {
        if state.is_none() {
            *state = Some(self.open().await?);
        }
        state.as_mut().ok_or_else(|| self.missing())
    }

    /// The table as it is stored now.
    async fn refreshed<'a>(&self, state: &'a mut Option<State>) -> Result<&'a mut State> {
        if state.is_none() {
            return self.known(state).await;
        }
        let known = self.known(state).await?;
        known.snapshot.update(&known.log, None).await.map_err(|error| self.fault("read", error))?;
        known.through = self.transaction(&known.snapshot, &known.log).await?;
        Ok(known)
    }

    async fn open(&self) -> Result<State> {
        let log = self.log()?;
        let snapshot = DeltaTableState::try_new(&log, None).await.map_err(|error| match error {
            DeltaTableError::NotATable(_) => self.missing(),
            error => self.fault("read", error),
        })?;
        let through = self.transaction(&snapshot, &log).await?;
        let considered = snapshot.version();
        Ok(State { log, snapshot, through, considered })
    }

    async fn transaction(&self, snapshot: &DeltaTableState, log: &LogStoreRef) -> Result<u64> {
        let version = snapshot.transaction_version(log, &self.application).await;
        let version = version.map_err(|error| self.fault("read", error))?.unwrap_or(0);
        u64::try_from(version).map_err(|_| {
            Error::corrupt(format!("the log of the table {} says that it holds entry {version}", self.shape.name))
        })
    }

    fn missing(&self) -> Error {
        folder::missing(&self.folder)
    }

    fn fault(&self, verb: &str, error: DeltaTableError) -> Error {
        fault(verb, &self.shape.name, error)
    }
}
