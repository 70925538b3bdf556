//! The audit identities, checked from outside: over the journal, the store and the warehouse as they lie there.
//!
//! | identity | what is compared |
//! |---|---|
//! | journal | each entry has its checksum, names the one before it, and follows from all of them |
//! | snapshots | each has its checksum, and is what the journal folds to |
//! | ranges | the ranges of a shard join, entry after entry |
//! | events | events = undecodable + failed checks + passed |
//! | rows | passed = filtered + superseded + refused + staged, for each one-to-one table |
//! | rejects | rows in quarantine files = undecodable + failed checks + refused by single tables |
//! | files | each file that the journal names is on the store, with its size, its SHA-256 (in haste: its e-tag) and its rows |
//! | loads | the loads join, rows copied = rows staged for each, and the last entry loaded is this journal's |
//! | warehouse | its files are what was written; each table is there, holds each key once, and as many as were staged (`compare`) |
//!
//! It trusts none of the checks that were made on the way in. It reads the ledger first, then the journal, then the
//! listing, so that a job that goes on meanwhile breaks nothing: each of them may only be behind the next. A table that is
//! loaded into while it is compared is compared again, and one that never rests is named instead of being called clean.
//! Files that no entry names are what a killed worker left behind: they are counted, harmless, and no breach.

use std::sync::Arc;

use futures::future::BoxFuture;
use futures::{StreamExt, stream};
use std::collections::BTreeMap;

use super::compare::compare;
use super::verify_ledger::verify_ledger;
use crate::batch::{DataFile, Entry, Position, Receipt, ShardId};
use crate::error::{ErrorKind, Result};
use crate::journal::{self, Replay};
use crate::load::{SqlWarehouse, Warehouse};
use crate::query::Query;
use crate::schema::TableSpec;
use crate::stage;
use crate::store::{Object, Store};

/// A broken identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which one: `journal`, `snapshots`, `ranges`, `events`, `rows`, `rejects`, `files`, `loads` or `warehouse`.
    pub identity: &'static str,
    /// Where, and by how much.
    pub message: String,
}

/// What an audit looked at and found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    /// Journal entries read.
    pub entries: u64,
    /// Files compared.
    pub files: u64,
    /// Rows in them.
    pub rows: u64,
    /// Loads compared.
    pub loads: u64,
    /// Entries that are not loaded yet.
    pub waiting: u64,
    /// Files on the store that no entry names.
    pub orphans: u64,
    /// Tables that were loaded into each time that they were about to be compared: nothing is known of them.
    pub not_compared: Vec<String>,
    /// The broken identities; none is a clean audit.
    pub findings: Vec<Finding>,
}

/// Entries read at a time, and files opened at once: what the audit holds in memory.
const ENTRIES: usize = 1_000;
const OPEN_FILES: usize = 16;

/// How often a table is compared, where a load goes on meanwhile.
const TRIES: usize = 5;

/// How staged rows and the warehouse's tables are counted.
#[derive(Clone, Copy)]
pub struct Counting<'a> {
    /// Opens a session over the staged files of these entries and the warehouse's tables.
    pub open: &'a (dyn Fn(Vec<Arc<Entry>>) -> BoxFuture<'a, Result<Query>> + Sync),
    /// The warehouse, where it has an engine of its own: it counts its tables itself.
    pub warehouse: Option<&'a dyn SqlWarehouse>,
    /// In haste no file is read for its checksum: its size, its e-tag where the store has one, its footer and the keys in
    /// it must do.
    pub fast: bool,
}

/// Checks every identity; the warehouse's tables where somebody counts them.
///
/// # Errors
/// The store's and the warehouse's, where they cannot be read at all; a broken identity is a finding, not an error.
pub async fn audit(
    store: &Store,
    warehouse: &dyn Warehouse,
    specs: &[TableSpec],
    counting: Option<Counting<'_>>,
) -> Result<Audit> {
    let ledger = warehouse.ledger().await?;
    let receipts = warehouse.receipts(usize::MAX).await?;
    let mut journal = Vec::new();
    let mut auditor = Auditor::default();
    let mut replay = Replay::new(store).await?;
    loop {
        let entries = match replay.next(ENTRIES).await {
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                // What the rest of the journal names cannot be told: nothing on the store counts as an orphan.
                auditor.found("journal", error.to_string());
                auditor.unreadable = true;
                break;
            }
            entries => entries?,
        };
        if entries.is_empty() {
            break;
        }
        for entry in &entries {
            auditor.entry(entry);
        }
        journal.extend(entries);
    }
    if !auditor.unreadable {
        replay.damaged().into_iter().for_each(|damage| auditor.found("snapshots", damage));
    }
    auditor.files(store, counting.is_some_and(|counting| counting.fast)).await?;
    auditor.loads(receipts);
    auditor.belongs(store, ledger.last.as_ref()).await?;
    for damage in warehouse.damages(counting.is_some_and(|counting| counting.fast)).await? {
        auditor.found("files", damage);
    }
    // Staged files that are gone or torn are told already, and cannot be counted.
    let countable = auditor.is_countable();
    if let Some(counting) = counting.filter(|_| countable) {
        auditor.tables(counting, (store, warehouse), specs, journal).await?;
    }
    Ok(auditor.audit)
}

/// Reads what was committed since the entries were read, where that is loaded already.
///
/// # Errors
/// The store's.
pub(super) async fn catch_up(store: &Store, journal: &mut Vec<Arc<Entry>>, loaded_through: u64) -> Result<()> {
    let last = journal.last().map_or(0, |entry| entry.number);
    if loaded_through > last {
        journal.extend(journal::entries(store, last, usize::MAX).await?);
    }
    Ok(())
}

async fn on_store(store: &Store) -> Result<BTreeMap<String, Object>> {
    let mut objects = store.list("staged", None).await?;
    objects.extend(store.list("quarantine", None).await?);
    Ok(objects.into_iter().map(|object| (object.path.clone(), object)).collect())
}

/// The rows that a file's footer tells, once its bytes are found to be what was put.
async fn rows(store: &Store, number: u64, file: &DataFile, fast: bool) -> Result<Option<u64>> {
    if !fast && file.checksum.is_some() {
        store.verify_file(number, file).await?;
    }
    stage::count_rows(store, &file.path).await
}

#[derive(Default)]
struct Auditor {
    audit: Audit,
    positions: BTreeMap<ShardId, Position>,
    /// The files that entries name, each with its entry's number.
    named: Vec<(u64, DataFile)>,
    /// Whether an entry could not be read.
    unreadable: bool,
    /// Rows staged by table, entry by entry.
    staged: Vec<BTreeMap<String, u64>>,
    /// The attempts that wrote them.
    attempts: Vec<String>,
}

impl Auditor {
    fn found(&mut self, identity: &'static str, message: String) {
        self.audit.findings.push(Finding { identity, message });
    }

    fn entry(&mut self, entry: &Entry) {
        self.audit.entries = entry.number;
        if entry.opening.is_some() {
            self.positions.clear();
        }
        if let Err(error) = entry.ranges.follow(&self.positions) {
            self.found("ranges", format!("entry {}: {error}", entry.number));
        }
        entry.ranges.advance(&mut self.positions);
        self.counts(entry);
        let files = entry.tables.values().flatten().chain(&entry.quarantine);
        self.named.extend(files.map(|file| (entry.number, file.clone())));
        self.staged.push(entry.tables.keys().map(|table| (table.clone(), entry.rows(table))).collect());
        self.attempts.push(entry.attempt.clone());
    }

    fn counts(&mut self, entry: &Entry) {
        let (number, counts) = (entry.number, &entry.counts);
        if counts.events != counts.rejected() + counts.passed {
            let (events, rejected, passed) = (counts.events, counts.rejected(), counts.passed);
            self.found("events", format!("entry {number}: {events} events, {rejected} rejected, {passed} passed"));
        }
        for (table, rows) in &counts.tables {
            let becomes = rows.filtered.map(|filtered| filtered + rows.superseded + rows.refused + rows.staged);
            if becomes.is_some_and(|becomes| becomes != counts.passed) {
                self.found("rows", format!("entry {number}, {table}: {} passed, but {rows:?}", counts.passed));
            }
            if rows.staged != entry.rows(table) {
                let in_files = entry.rows(table);
                self.found("rows", format!("entry {number}, {table}: {} staged, {in_files} in files", rows.staged));
            }
        }
        let quarantined: u64 = entry.quarantine.iter().map(|file| file.rows).sum();
        if quarantined != counts.quarantined() {
            let refused = counts.quarantined();
            self.found("rejects", format!("entry {number}: {refused} refused, {quarantined} in quarantine"));
        }
    }

    /// Compares every table with what was staged, each as far as it is loaded, and each in one state of it.
    async fn tables(
        &mut self,
        counting: Counting<'_>,
        (store, warehouse): (&Store, &dyn Warehouse),
        specs: &[TableSpec],
        mut journal: Vec<Arc<Entry>>,
    ) -> Result<()> {
        'tables: for spec in specs {
            for _ in 0..TRIES {
                let through = warehouse.loaded_through(&spec.name).await?;
                catch_up(store, &mut journal, through).await?;
                let loaded = &journal[..journal.partition_point(|entry| entry.number <= through)];
                let broken = |message| vec![Finding { identity: "warehouse", message }];
                let found = match (counting.open)(loaded.to_vec()).await {
                    Ok(query) => match compare(&query, counting.warehouse, std::slice::from_ref(spec)).await {
                        // In haste nobody has looked into the files before.
                        Err(error) if error.kind() == ErrorKind::Corrupt => broken(format!("{}: {error}", spec.name)),
                        compared => compared?,
                    },
                    Err(error) => broken(error.to_string()),
                };
                if warehouse.loaded_through(&spec.name).await? == through {
                    let known = &mut self.audit.findings;
                    found.into_iter().for_each(|finding| {
                        if !known.contains(&finding) {
                            known.push(finding);
                        }
                    });
                    continue 'tables;
                }
            }
            self.audit.not_compared.push(spec.name.clone());
        }
        Ok(())
    }

    /// A damaged snapshot says nothing of what is staged and loaded.
    fn is_countable(&self) -> bool {
        self.audit.findings.iter().all(|finding| finding.identity == "snapshots")
    }

    async fn files(&mut self, store: &Store, fast: bool) -> Result<()> {
        let mut on_store = on_store(store).await?;
        let mut present = Vec::new();
        for (number, file) in std::mem::take(&mut self.named) {
            self.audit.files += 1;
            match on_store.remove(&file.path) {
                Some(Object { bytes, .. }) if bytes != file.bytes => {
                    let told = file.bytes;
                    self.found("files", format!("entry {number}: {} has {bytes} bytes, not {told}", file.path));
                }
                Some(Object { etag, .. }) if fast && etag.is_some() && file.etag.is_some() && etag != file.etag => {
                    let told = "was replaced: its e-tag is not the entry's; an audit without --fast tells whether its bytes are";
                    self.found("files", format!("entry {number}: {} {told}", file.path));
                }
                Some(_) => present.push((number, file)),
                None => self.found("files", format!("entry {number}: {} is not on the store", file.path)),
            }
        }
        self.audit.orphans = if self.unreadable { 0 } else { on_store.len() as u64 };
        let counted: Vec<(u64, DataFile, Result<Option<u64>>)> = stream::iter(present)
            .map(|(number, file)| async move {
                let rows = rows(store, number, &file, fast).await;
                (number, file, rows)
            })
            .buffered(OPEN_FILES)
            .collect()
            .await;
        for (number, file, rows) in counted {
            let rows = match rows {
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    self.found("files", error.to_string());
                    continue;
                }
                rows => rows?,
            };
            self.audit.rows += rows.unwrap_or(0);
            if rows != Some(file.rows) {
                let has = rows.map_or("a footer that cannot be read".to_owned(), |rows| format!("{rows} rows"));
                self.found("files", format!("entry {number}: {} has {has}, not {} rows", file.path, file.rows));
            }
        }
        Ok(())
    }

    fn loads(&mut self, mut receipts: Vec<Receipt>) {
        receipts.sort_by_key(|receipt| receipt.loaded_through);
        let newest = receipts.last().map_or(0, |receipt| receipt.loaded_through);
        let mut loaded_through = 0;
        for receipt in receipts {
            self.audit.loads += 1;
            let (after, through) = (receipt.loaded_after, receipt.loaded_through);
            if after != loaded_through {
                self.found("loads", format!("the load ({after}, {through}] does not follow entry {loaded_through}"));
            }
            match self.staged_between(after, through) {
                Some(staged) if staged == receipt.copied => {}
                Some(staged) => {
                    let copied = &receipt.copied;
                    self.found("loads", format!("the load ({after}, {through}]: copied {copied:?}, staged {staged:?}"));
                }
                None => {
                    let lost = "took entries that the journal does not hold: they are lost, and their files may still be there";
                    self.found("loads", format!("the load ({after}, {through}] {lost}"));
                }
            }
            // The newest load is held against the journal by itself.
            let written = usize::try_from(through).ok().and_then(|through| self.attempts.get(through.checked_sub(1)?));
            if through < newest && receipt.attempt.as_ref().zip(written).is_some_and(|(loaded, is)| loaded != is) {
                let other = "took another entry of this number than the journal holds now: rows of it are in no table";
                self.found("loads", format!("the load ({after}, {through}] {other}"));
            }
            loaded_through = through;
        }
        self.audit.waiting = self.audit.entries.saturating_sub(loaded_through);
    }

    async fn belongs(&mut self, store: &Store, last: Option<&Receipt>) -> Result<()> {
        // What cannot be read of the journal is told already.
        match verify_ledger(store, last).await {
            Err(error) if error.kind() != ErrorKind::Corrupt => Err(error),
            Err(error) if !self.unreadable => {
                self.found("loads", error.to_string());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Rows by table in the entries `(after, through]`; none where the journal does not hold them.
    fn staged_between(&self, after: u64, through: u64) -> Option<BTreeMap<String, u64>> {
        let range = usize::try_from(after).ok()?..usize::try_from(through).ok()?;
        let mut sum = BTreeMap::new();
        for (table, rows) in self.staged.get(range)?.iter().flatten() {
            *sum.entry(table.clone()).or_default() += rows;
        }
        Some(sum)
    }
}
