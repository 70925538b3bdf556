//! The engine over its in-memory seams: everything is real but the stream, the disk and the warehouse's format.

mod audits;
mod cuts;
mod dial;
mod drains;
mod faults;
mod losses;
mod lost_entries;
mod odd_source;
mod random;
mod reads;
mod resharding;
mod shares;
mod stalls;
mod troubled_store;
mod troubled_warehouse;
mod workers;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::batch::{Entry, Marks, ShardId, Staged, StartAt};
use crate::config::{BatchSettings, Check, Input, LoadSettings, LocalTarget, SourceSettings, Start, Table, Target};
use crate::error::{Error, ErrorKind};
use crate::journal;
use crate::journal::Journal;
use crate::load::MemoryWarehouse;
use crate::runtime::Clock;
use crate::schema::{Field, FieldType, History, TableKind, TableLayout};
use crate::source::MemorySource;
use crate::sql::SessionSettings;

/// No test waits longer, by the machine's clock.
const PATIENCE: Duration = Duration::from_secs(120);

fn field(name: &str, field_type: FieldType) -> Field {
    Field { name: name.into(), path: vec![name.into()], field_type, required: name == "id" }
}

fn table(name: &str, sql: &str) -> Table {
    Table {
        name: name.into(),
        kind: TableKind::Fact,
        key: vec!["id".into()],
        history: History::Overwrite,
        references: BTreeMap::new(),
        widths: BTreeMap::new(),
        layout: TableLayout::default(),
        input: Input::Events,
        sql_path: PathBuf::from(format!("{name}.sql")),
        sql: sql.into(),
        line: 1,
    }
}

fn dates() -> Table {
    let day = |day| chrono::NaiveDate::from_ymd_opt(2026, 1, day).expect("a day");
    Table {
        kind: TableKind::Dimension,
        key: vec!["date".into()],
        input: Input::Dates { from: day(1), through: day(31) },
        ..table("dim_date", "select date, extract(day from date) as day from dates")
    }
}

fn pipeline() -> Pipeline {
    Pipeline {
        folder: PathBuf::from("test"),
        name: "test".into(),
        source: SourceSettings { stream: "orders".into(), shards: 2, ..SourceSettings::default() },
        batch: BatchSettings { max_rows: 40, max_bytes: 1 << 20, max_age: Duration::from_millis(50) },
        load: LoadSettings { freshness: Duration::from_millis(100), max_entries: 3, ..LoadSettings::default() },
        fields: vec![field("id", FieldType::Bigint), field("value", FieldType::Integer)],
        checks: vec![Check { name: "value_positive".into(), expr: "value > 0".into(), line: 1 }],
        tables: vec![table("fact", "select id, value from events"), dates()],
        reports: Vec::new(),
        targets: BTreeMap::from([("local".to_owned(), Target::Local(LocalTarget::default()))]),
    }
}

/// An order; an id that 10 divides breaks the check, one that 25 divides is no JSON.
fn payload(id: i64) -> String {
    match id {
        id if id % 25 == 0 => format!("{{\"id\": {id}"),
        id if id % 10 == 0 => format!(r#"{{"id": {id}, "value": 0}}"#),
        id => format!(r#"{{"id": {id}, "value": {}}}"#, id * 2),
    }
}

struct Bench {
    source: MemorySource,
    store: Store,
    pipeline: Pipeline,
    context: Context,
}

impl Bench {
    fn new() -> Self {
        let store = Store::memory("lake").expect("a store");
        Self { source: MemorySource::new("orders", 2), store, pipeline: pipeline(), context: Context::system() }
    }

    /// Orders `ids`, spread over the shards.
    fn put(&self, ids: std::ops::Range<i64>) {
        for id in ids {
            let shard = usize::try_from(id % 2).expect("0 or 1");
            self.source.push(shard, payload(id), self.context.clock.now_micros()).expect("the shard is open");
        }
    }

    async fn job(&self) -> (Job, Arc<MemoryWarehouse>) {
        let settings = SessionSettings { memory_bytes: 64 << 20, partitions: 1 };
        let cleaner = Cleaner::plan(&self.pipeline, settings).await.expect("it plans");
        let specs = cleaner.specs();
        let warehouse = MemoryWarehouse::new(self.store.clone(), specs, "test", self.context.clone());
        let warehouse = Arc::new(warehouse.expect("a warehouse"));
        let source = self.source.clone();
        let connect: Connect = Arc::new(move || {
            let source: Arc<dyn Source> = Arc::new(source.clone());
            Box::pin(async move { Ok(source) })
        });
        let job = Job {
            pipeline: Arc::new(self.pipeline.clone()),
            connect,
            decoder: Arc::new(Decoder::new(&self.pipeline.fields)),
            cleaner: Arc::new(cleaner),
            stager: Arc::new(Stager::new(self.store.clone(), self.context.clone())),
            store: self.store.clone(),
            warehouse: Arc::clone(&warehouse) as _,
            context: self.context.clone(),
        };
        (job, warehouse)
    }

    async fn entries(&self) -> Vec<Arc<Entry>> {
        journal::entries(&self.store, 0, usize::MAX).await.expect("a journal")
    }

    /// Records of the stream in the journal.
    async fn journaled(&self) -> u64 {
        let entries = self.entries().await;
        let of_the_stream = entries.iter().filter(|entry| entry.dimension_files.is_empty());
        of_the_stream.map(|entry| entry.counts.records).sum()
    }

    /// Lets the others work until it is so.
    async fn soon(&self, what: &str, mut so: impl AsyncFnMut() -> bool) {
        let wait = async {
            while !so().await {
                self.context.clock.sleep(Duration::from_millis(1)).await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "it never came about that {what}");
    }

    async fn journaled_soon(&self, records: i64) {
        let records = u64::try_from(records).expect("positive");
        self.soon(&format!("{records} records are journaled"), async || self.journaled().await >= records).await;
    }

    /// Everything put so far, the ids `1..=last`, is journaled and loaded once, and every identity holds.
    async fn is_whole(&self, last: i64, warehouse: &MemoryWarehouse) {
        assert_eq!(self.journaled().await, u64::try_from(last).expect("positive"));
        assert_eq!(loaded(warehouse, "fact"), good(1..last + 1));
        assert_eq!(loaded(warehouse, "dim_date"), 31);
        let audit = audit(&self.store, warehouse, &[], None).await.expect("it audits");
        assert_eq!((audit.findings, audit.waiting), (Vec::new(), 0));
    }
}

fn draining() -> Controls {
    let controls = Controls::default();
    controls.drain.cancel();
    controls
}

fn good(ids: std::ops::Range<i64>) -> usize {
    ids.filter(|id| id % 25 != 0 && id % 10 != 0).count()
}

fn loaded(warehouse: &MemoryWarehouse, table: &str) -> usize {
    warehouse.rows(table).map_or(0, |rows| rows.num_rows())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_run_commits_and_loads_everything_and_accounts_for_it() {
    let bench = Bench::new();
    bench.put(1..301);
    let (job, warehouse) = bench.job().await;
    let controls = draining();
    run(job.clone(), controls.clone()).await.expect("it runs");

    let totals = controls.progress.totals();
    assert_eq!((totals.counts.records, totals.counts.events, totals.counts.passed), (300, 300, good(1..301) as u64));
    assert_eq!(totals.counts.undecodable.values().sum::<u64>(), 12);
    assert_eq!(totals.counts.failed_checks, BTreeMap::from([("value_positive".to_owned(), 24)]));
    assert_eq!(loaded(&warehouse, "fact"), good(1..301));
    assert_eq!(loaded(&warehouse, "dim_date"), 31);
    assert_eq!(totals.loaded["fact"], good(1..301) as u64);
    assert_eq!(totals.loaded_through, totals.committed);
    let audit = audit(&bench.store, warehouse.as_ref(), &[], None).await.expect("it audits");
    assert_eq!((audit.findings, audit.waiting, audit.orphans), (Vec::new(), 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_run_goes_on_where_the_journal_stands() {
    let bench = Bench::new();
    bench.put(1..101);
    let (job, warehouse) = bench.job().await;
    run(job.clone(), draining()).await.expect("it runs");
    let entries = bench.entries().await.len();
    run(job.clone(), draining()).await.expect("it runs");
    assert_eq!(bench.entries().await.len(), entries, "nothing new, no entry");
    bench.put(101..151);
    let controls = draining();
    run(job, controls.clone()).await.expect("it runs");
    assert_eq!(controls.progress.totals().counts.records, 50);
    assert_eq!(loaded(&warehouse, "fact"), good(1..151));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_on_one_stream_lose_nothing_and_double_nothing() {
    let bench = Bench::new();
    bench.put(1..401);
    let (first, warehouse) = bench.job().await;
    let second = first.clone();
    let (one, other) = tokio::join!(run(first, draining()), run(second, draining()));
    one.expect("it runs");
    other.expect("it runs");
    let records: u64 = bench
        .entries()
        .await
        .iter()
        .filter(|entry| entry.dimension_files.is_empty())
        .map(|entry| entry.counts.records)
        .sum();
    assert_eq!(records, 400);
    assert_eq!(loaded(&warehouse, "fact"), good(1..401));
    assert_eq!(audit(&bench.store, warehouse.as_ref(), &[], None).await.expect("it audits").findings, Vec::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_run_commits_what_it_has_read() {
    let mut bench = Bench::new();
    // Nothing closes the batch but the stop.
    bench.pipeline.batch = BatchSettings { max_rows: 10_000, max_bytes: 1 << 30, max_age: Duration::from_secs(3600) };
    bench.put(1..51);
    let (job, warehouse) = bench.job().await;
    let controls = Controls::default();
    let stop = async {
        bench.soon("50 records are read", async || controls.progress.totals().read >= 50).await;
        controls.stop.cancel();
    };
    let (ran, ()) = tokio::join!(run(job, controls.clone()), stop);
    ran.expect("it runs");
    assert_eq!(controls.progress.totals().counts.records, 50);
    assert_eq!(loaded(&warehouse, "fact"), good(1..51));
}

#[tokio::test(flavor = "multi_thread")]
async fn latest_becomes_a_time_that_is_journaled_at_once() {
    let mut bench = Bench::new();
    bench.pipeline.source.start = Start::Latest;
    bench.source.push(0, r#"{"id": 1, "value": 1}"#, 1_000).expect("open");
    let (job, _) = bench.job().await;
    let controls = draining();
    run(job, controls.clone()).await.expect("it runs");
    assert_eq!(controls.progress.totals().counts.records, 0);
    let opening = bench.entries().await[0].opening.clone().expect("an opening");
    assert!(matches!(opening.start, StartAt::Time(time) if time > 1_000), "{opening:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_stream_is_refused_before_anything_is_written() {
    let bench = Bench::new();
    bench.put(1..11);
    let (job, _) = bench.job().await;
    run(job.clone(), draining()).await.expect("it runs");
    let entries = bench.entries().await.len();
    let stranger: Arc<dyn Source> = Arc::new(MemorySource::new("strangers", 1));
    let connect: Connect = Arc::new(move || {
        let stranger = Arc::clone(&stranger);
        Box::pin(async move { Ok(stranger) })
    });
    let error = run(Job { connect, ..job }, draining()).await.expect_err("another stream");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("strangers") && error.to_string().contains("--data"), "{error}");
    assert_eq!(bench.entries().await.len(), entries);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_away_for_a_while_delays_and_no_more() {
    let bench = Bench::new();
    bench.put(1..21);
    let (job, warehouse) = bench.job().await;
    let inner = Arc::clone(&job.connect);
    let failures = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counted = Arc::clone(&failures);
    let connect: Connect = Arc::new(move || {
        let failed = counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 2;
        let inner = Arc::clone(&inner);
        Box::pin(async move { if failed { Err(Error::transient("no answer")) } else { inner().await } })
    });
    run(Job { connect, ..job }, draining()).await.expect("it runs");
    assert_eq!(failures.load(std::sync::atomic::Ordering::SeqCst), 3);
    assert_eq!(loaded(&warehouse, "fact"), good(1..21));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_finds_what_was_tampered_with() {
    let bench = Bench::new();
    bench.put(1..101);
    let (job, warehouse) = bench.job().await;
    run(job, draining()).await.expect("it runs");
    let entries = bench.entries().await;
    let files: Vec<String> = entries
        .iter()
        .flat_map(|entry| entry.tables.get("fact").into_iter().flatten())
        .map(|file| file.path.clone())
        .collect();
    bench.store.delete(&files[0]).await.expect("deleted");
    bench.store.put(&files[1], "short".into()).await.expect("overwritten");
    bench.store.put("staged/fact/date=2026-01-01/stranger.parquet", "x".into()).await.expect("put");
    let audit = audit(&bench.store, warehouse.as_ref(), &[], None).await.expect("it audits");
    let told: Vec<(&str, bool, bool)> = audit
        .findings
        .iter()
        .map(|finding| (finding.identity, finding.message.contains(&files[0]), finding.message.contains(&files[1])))
        .collect();
    assert_eq!(told.len(), 2, "{:?}", audit.findings);
    assert!(told.contains(&("files", true, false)) && told.contains(&("files", false, true)), "{:?}", audit.findings);
    assert_eq!(audit.orphans, 1);
}

/// One bit of an object is another one.
async fn flip(store: &Store, path: &str) {
    let mut bytes = store.get(path).await.expect("read").expect("there").to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    store.put(path, bytes.into()).await.expect("put");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_finds_one_bit_in_any_file_entry_and_snapshot() {
    let bench = Bench::new();
    bench.put(1..101);
    let (job, warehouse) = bench.job().await;
    run(job, draining()).await.expect("it runs");
    let mut journal = Journal::open(bench.store.clone(), bench.context.clone(), "test").await.expect("a journal");
    while journal.state().through < 100 {
        let marks = Marks { ended: [ShardId::new(journal.state().through.to_string())].into(), ..Marks::default() };
        journal.commit(&Staged { marks, ..Staged::default() }).await.expect("commits");
    }
    let findings = async || {
        let audit = audit(&bench.store, warehouse.as_ref(), &[], None).await.expect("it audits");
        audit.findings.into_iter().map(|finding| (finding.identity, finding.message)).collect::<Vec<_>>()
    };
    assert_eq!(findings().await, []);
    let entries = bench.entries().await;
    let named = entries.iter().flat_map(|entry| entry.tables.values().flatten().chain(&entry.quarantine));
    let files = named.map(|file| ("files", file.path.clone()));
    let entries = [1, 2, entries.len() as u64, 100].map(|number| ("journal", journal::entry_path(number)));
    let snapshot = ("snapshots", "journal/snapshots/00000000000000000100.json".to_owned());
    for (identity, path) in files.chain(entries).chain([snapshot]) {
        flip(&bench.store, &path).await;
        let found = findings().await;
        assert!(found.iter().any(|(told, message)| *told == identity && message.contains(&path)), "{path}: {found:?}");
        flip(&bench.store, &path).await;
    }
    assert_eq!(findings().await, [], "all are as they were");
}

/// Whether a start believes it or not, it must be what the log says.
#[tokio::test(flavor = "multi_thread")]
async fn an_audit_holds_snapshots_against_the_log() {
    let bench = Bench::new();
    let (job, warehouse) = bench.job().await;
    bench.put(1..11);
    run(job, draining()).await.expect("it runs");
    let mut journal = Journal::open(bench.store.clone(), bench.context.clone(), "test").await.expect("a journal");
    while journal.state().through < 100 {
        let marks = Marks { ended: [ShardId::new(journal.state().through.to_string())].into(), ..Marks::default() };
        journal.commit(&Staged { marks, ..Staged::default() }).await.expect("commits");
    }
    let path = "journal/snapshots/00000000000000000100.json";
    let text = String::from_utf8(bench.store.get(path).await.expect("read").expect("written").to_vec()).expect("text");
    let body = text.rsplit_once(",\"checksum\"").expect("a checksum").0.replace("\"records\":10,", "\"records\":11,");
    let lie = format!("{body},\"checksum\":\"{}\"}}\n", crate::batch::Checksum::of(body.as_bytes()));
    assert_ne!(lie, text);
    bench.store.put(path, lie.into()).await.expect("put");
    let found = audit(&bench.store, warehouse.as_ref(), &[], None).await.expect("it audits").findings;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].identity == "snapshots" && found[0].message.contains("not what the journal folds to"),
        "{found:?}"
    );
}

/// What became of each dimension that had changed.
async fn outcomes(job: &Job, journal: &mut Journal) -> Vec<&'static str> {
    let changed = Dimensions::new(job).stage_changed(journal).await.expect("an outcome");
    let told = |one: &ChangedDimension| match &one.outcome {
        DimensionOutcome::Staged(_) => "staged",
        DimensionOutcome::StagedElsewhere => "elsewhere",
        DimensionOutcome::Overtaken => "overtaken",
    };
    changed.iter().map(told).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_start_together_stage_a_dimension_once() {
    let mut bench = Bench::new();
    let open = || Journal::open(bench.store.clone(), bench.context.clone(), "test");
    let mut journals = [open().await.expect("a journal"), open().await.expect("a journal"), open().await.expect("one")];
    let (job, _) = bench.job().await;
    let mut staged = Vec::new();
    for journal in &mut journals {
        staged.push(outcomes(&job, journal).await);
    }
    assert_eq!(staged, [["staged"], ["elsewhere"], ["elsewhere"]], "none of them had seen the others' entries");
    // One that still has the older version has not seen the newer one either, and does not undo it.
    let mut old = Journal::open(bench.store.clone(), bench.context.clone(), "test").await.expect("a journal");
    let [mut new, ..] = journals;
    bench.pipeline.tables[1].sql = "select date, 1 as day from dates".into();
    let (newer, _) = bench.job().await;
    assert_eq!(outcomes(&newer, &mut new).await, ["staged"]);
    bench.pipeline.tables[1].sql = "select date, 2 as day from dates".into();
    let (older, _) = bench.job().await;
    assert_eq!(outcomes(&older, &mut old).await, ["overtaken"]);
    assert_eq!(old.state().dimension_files, new.state().dimension_files);
}

#[tokio::test(flavor = "multi_thread")]
async fn dimensions_are_staged_once_as_long_as_they_do_not_change() {
    let mut bench = Bench::new();
    let (job, _) = bench.job().await;
    let open = || Journal::open(bench.store.clone(), bench.context.clone(), "test");
    let mut journal = open().await.expect("a journal");
    assert_eq!(outcomes(&job, &mut journal).await, ["staged"]);
    assert!(outcomes(&job, &mut journal).await.is_empty());
    bench.pipeline.tables[1].sql = "select date, 1 as day from dates".into();
    let (job, _) = bench.job().await;
    let mut journal = Journal::open(bench.store.clone(), bench.context.clone(), "test").await.expect("a journal");
    assert_eq!(outcomes(&job, &mut journal).await, ["staged"]);
}
