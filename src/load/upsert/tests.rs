//! The order around a load's transaction: answers that are lost, conflicts, ledgers that tell something else. The
//! database is a real PostgreSQL; what goes wrong is a wrapper around its session.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use arrow::array::{ArrayRef, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::util::display::array_value_to_string;
use parquet::arrow::ArrowWriter;

use super::super::PostgresWarehouse;
use super::super::script::Statement;
use super::super::session::Broken;
use super::*;
use crate::batch::DataFile;
use crate::config::{Login, PostgresSettings, ServerSettings, Tls};
use crate::error::ErrorKind;
use crate::runtime::{Clock, ManualClock, Random};
use crate::schema::TableKind;
use crate::schema::samples::table;
use crate::stand_ins::postgres::{USER, database, postgres};

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    /// It is run.
    Runs,
    /// A transaction that another's was in the way of; any other call that no answer came to.
    Conflict,
    /// A transaction that is committed, and whose answer is lost.
    LostAfter,
    /// A transaction that is not committed, and whose answer is lost.
    LostBefore,
    /// A transaction that another loader's comes just before, and whose answer is lost.
    LostToAnother,
    /// A read that is answered, or refused, just before another loader makes the tables.
    BeforeTheTables,
    /// A read that is answered just before another loader loads.
    BeforeAnotherLoad,
}

/// A session whose calls meet their fates, in order; then all run.
struct Fated {
    inner: Arc<dyn Session>,
    transactions: Mutex<VecDeque<Fate>>,
    reads: Mutex<VecDeque<Fate>>,
    ids: Mutex<Vec<String>>,
    other: UpsertWarehouse,
    entries: Vec<Arc<Entry>>,
}

fn next(fates: &Mutex<VecDeque<Fate>>) -> Fate {
    fates.lock().expect("fates").pop_front().unwrap_or(Fate::Runs)
}

fn lost() -> Error {
    Error::transient("the connection was lost")
}

#[async_trait]
impl Session for Fated {
    async fn transact(&self, id: &str, script: &[Statement]) -> Result<(), Broken> {
        self.ids.lock().expect("ids").push(id.to_owned());
        match next(&self.transactions) {
            Fate::Runs => self.inner.transact(id, script).await,
            Fate::Conflict => Err(Broken::Failed(Error::transient("could not serialize access"))),
            Fate::LostAfter => {
                self.inner.transact(id, script).await?;
                Err(Broken::Unanswered(lost()))
            }
            Fate::LostBefore => Err(Broken::Unanswered(lost())),
            Fate::LostToAnother => {
                self.other.load(&self.entries).await.expect("loaded by another");
                Err(Broken::Unanswered(lost()))
            }
            Fate::BeforeTheTables | Fate::BeforeAnotherLoad => panic!("a fate of reads"),
        }
    }

    async fn execute(&self, statements: &[String]) -> Result<()> {
        self.inner.execute(statements).await
    }

    async fn read(&self, sql: &str) -> Result<Answer> {
        match next(&self.reads) {
            Fate::Runs => self.inner.read(sql).await,
            Fate::BeforeTheTables => {
                let answer = self.inner.read(sql).await;
                self.other.prepare().await.expect("made by another");
                answer
            }
            Fate::BeforeAnotherLoad => {
                let answer = self.inner.read(sql).await;
                self.other.load(&self.entries).await.expect("loaded by another");
                answer
            }
            _ => Err(lost()),
        }
    }

    async fn cancel(&self) -> Result<()> {
        self.inner.cancel().await
    }

    fn needs_columns(&self) -> bool {
        // As Redshift: it changes nothing for files that hold the table's columns.
        true
    }
}

fn spec() -> TableSpec {
    TableSpec { key: vec![], ..table("fact_clicks", TableKind::Fact, &[("page", DataType::Utf8)]) }
}

fn settings(database: &str, schema: &str) -> PostgresSettings {
    let login = Login::Environment { user: USER.to_owned(), variable: "MILLSTREAM_NOBODY_SETS_THIS".to_owned() };
    let server = ServerSettings { host: "127.0.0.1".to_owned(), port: postgres().port, login, tls: Tls::Off };
    PostgresSettings { server, database: database.to_owned(), schema: Some(schema.to_owned()) }
}

/// Three entries of two clicks each, and a database for them.
struct Bed {
    store: Store,
    entries: Vec<Arc<Entry>>,
    database: String,
    clock: Arc<ManualClock>,
}

impl Bed {
    async fn new() -> Self {
        let store = Store::memory("lake").expect("a store");
        let mut entries = Vec::new();
        for number in 1..=3 {
            entries.push(entry(&store, number).await);
        }
        Self { store, entries, database: database(), clock: Arc::new(ManualClock::at(1_700_000_000_123_000)) }
    }

    fn open(&self, schema: &str, pipeline: &str) -> UpsertWarehouse {
        let place = SqlPlace { store: self.store.clone(), pipeline: pipeline.to_owned() };
        let context = Context { clock: Arc::clone(&self.clock) as _, random: Random::system() };
        PostgresWarehouse::new(&settings(&self.database, schema), None, place, (&[spec()], context))
            .expect("a warehouse")
    }

    /// A warehouse with tables, whose transactions meet these fates.
    async fn fated(&self, transactions: &[Fate]) -> (UpsertWarehouse, Arc<Fated>) {
        let mut warehouse = self.open("s", "p");
        warehouse.prepare().await.expect("prepared");
        let fated = Arc::new(Fated {
            inner: Arc::clone(&warehouse.session),
            transactions: Mutex::new(transactions.iter().copied().collect()),
            reads: Mutex::default(),
            ids: Mutex::default(),
            other: self.open("s", "p"),
            entries: self.entries.clone(),
        });
        warehouse.session = Arc::clone(&fated) as _;
        (warehouse, fated)
    }
}

async fn entry(store: &Store, number: u64) -> Arc<Entry> {
    let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let versions = [Field::new("_arrived_at", instant, false), Field::new("_position", DataType::Utf8, false)];
    let fields = spec().columns.fields().iter().map(|field| field.as_ref().clone()).chain(versions).collect::<Vec<_>>();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![format!("page {number}"); 2])),
        Arc::new(TimestampMicrosecondArray::from(vec![1, 2]).with_timezone("UTC")),
        Arc::new(StringArray::from(vec!["1", "2"])),
    ];
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("a batch");
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, rows.schema(), None).expect("a writer");
    writer.write(&rows).expect("written");
    writer.close().expect("closed");
    let path = format!("staged/fact_clicks/{number}.parquet");
    let file = DataFile::of(path.clone(), 2, &bytes);
    store.put(&path, bytes.into()).await.expect("staged");
    let entry = format!(
        r#"{{"format": 1, "number": {number}, "pipeline": "p", "writer": "w", "attempt": "attempt-{number}", "written_at": 0}}"#
    );
    let entry: Entry = serde_json::from_str(&entry).expect("an entry");
    Arc::new(Entry { tables: BTreeMap::from([("fact_clicks".to_owned(), vec![file])]), ..entry })
}

async fn value(warehouse: &UpsertWarehouse, sql: &str) -> String {
    let rows = warehouse.few(sql).await.expect(sql);
    array_value_to_string(rows.column(0), 0).expect("a text")
}

#[tokio::test]
async fn a_load_whose_answer_is_lost_is_found_in_the_ledger_and_done_once() {
    for (fates, tries) in [
        (vec![Fate::LostAfter], 1),
        (vec![Fate::LostBefore], 2),
        (vec![Fate::LostBefore, Fate::LostAfter], 2),
        (vec![Fate::Conflict, Fate::Conflict, Fate::Conflict, Fate::Conflict], 5),
        (vec![Fate::Conflict, Fate::LostBefore, Fate::LostAfter], 3),
    ] {
        let bed = Bed::new().await;
        let (warehouse, fated) = bed.fated(&fates).await;
        let receipt = warehouse.load(&bed.entries).await.unwrap_or_else(|error| panic!("{fates:?}: {error}"));
        assert_eq!((receipt.loaded_after, receipt.loaded_through), (0, 3));
        assert_eq!(receipt.copied, BTreeMap::from([("fact_clicks".to_owned(), 6)]));
        let ids = fated.ids.lock().expect("ids").clone();
        assert_eq!(ids.len(), tries, "{fates:?}");
        assert!(ids.iter().all(|id| ids.iter().filter(|other| *other == id).count() == 1), "{ids:?}");
        let ledger = warehouse.ledger().await.expect("a ledger");
        assert_eq!(receipt.attempt.as_deref(), Some("attempt-3"));
        assert_eq!((ledger.loads, ledger.last), (1, Some(receipt)), "{fates:?}");
        assert_eq!(value(&warehouse, "SELECT count(*) FROM fact_clicks").await, "6");
    }
}

#[tokio::test]
async fn a_load_that_another_loader_did_meanwhile_is_fenced() {
    let bed = Bed::new().await;
    let (warehouse, _) = bed.fated(&[Fate::LostToAnother]).await;
    let error = warehouse.load(&bed.entries).await.expect_err("another was faster");
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert!(error.to_string().contains("holds everything through entry 3: another loader was faster"), "{error}");
    assert_eq!(value(&warehouse, "SELECT count(*) FROM fact_clicks").await, "6");
}

#[tokio::test]
async fn a_load_of_which_nothing_can_be_known_now_is_found_out_by_the_next_one() {
    for (fate, known) in [(Fate::LostAfter, ErrorKind::Fenced), (Fate::LostBefore, ErrorKind::Transient)] {
        let bed = Bed::new().await;
        // The answer is lost, the ledger cannot be read for long, and the next tries do not come through either.
        let fates = [&[fate][..], &[Fate::Conflict; 4]].concat();
        let (warehouse, fated) = bed.fated(&fates).await;
        *fated.reads.lock().expect("reads") = [&[Fate::Runs; 3][..], &[Fate::Conflict; 9]].concat().into();
        let error = warehouse.load(&bed.entries).await.expect_err("unknown");
        assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
        assert_eq!(fated.ids.lock().expect("ids").len(), 5);
        assert!(bed.clock.now_micros() > 1_700_000_020_000_000, "it looked for a while");
        let again = warehouse.load(&bed.entries).await;
        match known {
            ErrorKind::Fenced => assert_eq!(again.expect_err("it had happened").kind(), known),
            _ => assert_eq!(again.expect("it had not").loaded_through, 3),
        }
        assert_eq!(warehouse.ledger().await.expect("a ledger").loads, 1);
        assert_eq!(value(&warehouse, "SELECT count(*) FROM fact_clicks").await, "6");
    }
}

#[tokio::test]
async fn what_is_not_known_is_said() {
    let bed = Bed::new().await;
    let (warehouse, fated) = bed.fated(&[]).await;
    *fated.reads.lock().expect("reads") = [Fate::Conflict; 9].into();
    let tries = Tries::new("load".to_owned());
    tries.next();
    let receipt = Receipt { loaded_through: 3, ..Receipt::default() };
    let error = warehouse.broken(Broken::Unanswered(lost()), &[], receipt, &tries).await.expect_err("unknown");
    assert_eq!(error.kind(), ErrorKind::Transient);
    let told = error.to_string();
    assert!(told.starts_with("it is not known whether the entries 1 to 3 were loaded"), "{told}");
    assert!(
        told.contains(&bed.database) && told.contains("schema s") && told.contains("connection was lost"),
        "{told}"
    );
}

#[tokio::test]
async fn conflicts_without_end_pass_by_themselves_later() {
    let bed = Bed::new().await;
    let (warehouse, _) = bed.fated(&[Fate::Conflict; 5]).await;
    let error = warehouse.load(&bed.entries).await.expect_err("five conflicts");
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert_eq!(warehouse.load(&bed.entries).await.expect("none any more").loaded_through, 3);
}

#[tokio::test]
async fn fewer_rows_copied_than_staged_are_corrupt() {
    let bed = Bed::new().await;
    let warehouse = bed.open("s", "p");
    warehouse.prepare().await.expect("prepared");
    let drops = "CREATE FUNCTION drops() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NEW._position = '2' THEN RETURN NULL; END IF; RETURN NEW; END $$";
    let trigger = "CREATE TRIGGER x BEFORE INSERT ON fact_clicks FOR EACH ROW EXECUTE FUNCTION drops()";
    warehouse.session.execute(&[drops.to_owned(), trigger.to_owned()]).await.expect("made");
    let error = warehouse.load(&bed.entries).await.expect_err("half of them");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let expected =
        "the journal says that 6 rows of fact_clicks are staged in the entries 1 to 3, and the warehouse copied 3";
    assert!(error.to_string().starts_with(expected), "{error}");
    assert_eq!(warehouse.ledger().await.expect("a ledger"), Ledger::default());
}

#[tokio::test]
async fn two_pipelines_do_not_share_a_schema() {
    let bed = Bed::new().await;
    let warehouse = bed.open("s", "p");
    warehouse.prepare().await.expect("prepared");
    warehouse.load(&bed.entries).await.expect("loaded");
    let other = bed.open("s", "q");
    let errors = [
        other.prepare().await.err(),
        other.ledger().await.err(),
        other.receipts(1).await.err(),
        other.load(&[]).await.err(),
    ];
    for error in errors {
        let error = error.expect("another's");
        assert!(error.kind() == ErrorKind::Invalid || error.to_string().contains("no entries"), "{error}");
    }
    let error = other.ledger().await.expect_err("another's");
    assert!(error.to_string().starts_with("the schema s holds the pipeline p, not q"), "{error}");
}

#[tokio::test]
async fn before_it_is_prepared_a_warehouse_holds_nothing_and_says_what_it_would_do() {
    let bed = Bed::new().await;
    let warehouse = bed.open("A \"schema\"", "p");
    assert_eq!(warehouse.ledger().await.expect("a ledger"), Ledger::default());
    assert_eq!(warehouse.receipts(9).await.expect("receipts"), []);
    let error = warehouse.load(&bed.entries).await.expect_err("no table");
    assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("has no tables yet"), "{error}");
    for _ in 0..2 {
        let changes = warehouse.changes().await.expect("changes");
        assert_eq!(changes.len(), 3, "a schema and two tables: {changes:?}");
    }
    // However many do it at once.
    let others: Vec<UpsertWarehouse> = (0..6).map(|_| bed.open("A \"schema\"", "p")).collect();
    let prepared = futures::future::join_all(others.iter().map(|other| other.prepare())).await;
    prepared.into_iter().collect::<Result<Vec<()>>>().expect("prepared");
    assert_eq!(warehouse.changes().await.expect("changes"), Vec::<String>::new());
    warehouse.load(&bed.entries[..1]).await.expect("loaded");
    assert_eq!(value(&warehouse, "SELECT max(page) FROM fact_clicks").await, "page 1");
    assert!(
        warehouse.address().ends_with(&format!("{}, schema A \"schema\"", bed.database)),
        "{}",
        warehouse.address()
    );
}

#[tokio::test]
async fn a_ledger_that_another_makes_while_it_is_asked_for_is_read() {
    let bed = Bed::new().await;
    let (warehouse, fated) = bed.fated(&[]).await;
    for round in 0..2 {
        fated.inner.execute(&["DROP SCHEMA s CASCADE".to_owned()]).await.expect("dropped");
        *fated.reads.lock().expect("reads") = [Fate::BeforeTheTables].into();
        match round {
            0 => assert_eq!(warehouse.ledger().await.expect("a ledger"), Ledger::default()),
            _ => assert_eq!(warehouse.receipts(9).await.expect("receipts"), []),
        }
        assert!(fated.reads.lock().expect("reads").is_empty());
    }
    warehouse.load(&bed.entries).await.expect("loaded");
}

#[tokio::test]
async fn a_table_that_is_gone_is_not_made_anew() {
    let bed = Bed::new().await;
    let warehouse = bed.open("s", "p");
    warehouse.prepare().await.expect("prepared");
    warehouse.session.execute(&["DROP TABLE fact_clicks".to_owned()]).await.expect("dropped");
    warehouse.prepare().await.expect("nothing was in it");
    warehouse.load(&bed.entries).await.expect("loaded");
    warehouse.session.execute(&["DROP TABLE fact_clicks".to_owned()]).await.expect("dropped");
    let error = warehouse.prepare().await.expect_err("6 rows were in it");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("the table fact_clicks of postgres://127.0.0.1:"), "{error}");
    assert!(error.to_string().contains("6 rows"), "{error}");
}

#[tokio::test]
async fn without_its_ledger_a_table_that_holds_rows_is_not_loaded_into_once_more() {
    let bed = Bed::new().await;
    let warehouse = bed.open("s", "p");
    warehouse.prepare().await.expect("prepared");
    warehouse.session.execute(&["DROP TABLE _ledger".to_owned()]).await.expect("dropped");
    warehouse.prepare().await.expect("nothing is in the tables");
    warehouse.load(&bed.entries).await.expect("loaded");
    warehouse.session.execute(&["DROP TABLE _ledger".to_owned()]).await.expect("dropped");
    for error in [warehouse.prepare().await.err(), warehouse.changes().await.err()] {
        let error = error.expect("6 rows are in it");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains("though the table fact_clicks holds rows"), "{error}");
    }
    assert_eq!(warehouse.ledger().await.expect("no ledger"), Ledger::default(), "and none was made");
    assert_eq!(value(&warehouse, "SELECT count(*) FROM fact_clicks").await, "6");
}

#[tokio::test]
async fn with_an_emptied_ledger_rows_without_a_key_are_not_doubled() {
    let bed = Bed::new().await;
    let warehouse = bed.open("s", "p");
    warehouse.prepare().await.expect("prepared");
    warehouse.load(&bed.entries).await.expect("loaded");
    warehouse.session.execute(&["CREATE TABLE s.kept AS TABLE s._ledger".to_owned()]).await.expect("a backup");
    warehouse.session.execute(&["TRUNCATE s._ledger".to_owned()]).await.expect("emptied");
    // The loader that was there, and a new one.
    let other = bed.open("s", "p");
    for loader in [&warehouse, &other] {
        let error = loader.load(&bed.entries).await.expect_err("6 rows are in it");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        let told = error.to_string();
        assert!(told.contains("though the table fact_clicks holds rows"), "{told}");
        assert!(told.contains("Restore _ledger from a backup") && told.contains("the whole schema"), "{told}");
        assert_eq!(value(&warehouse, "SELECT count(*) FROM fact_clicks").await, "6");
        assert_eq!(warehouse.ledger().await.expect("a ledger"), Ledger::default());
    }
    // Restored, it is as it was.
    warehouse.session.execute(&["INSERT INTO s._ledger TABLE s.kept".to_owned()]).await.expect("restored");
    assert_eq!(other.load(&bed.entries).await.expect_err("it is loaded").kind(), ErrorKind::Fenced);
    // Moved away, everything is loaded anew.
    warehouse.session.execute(&["ALTER SCHEMA s RENAME TO away".to_owned()]).await.expect("moved");
    other.prepare().await.expect("prepared");
    other.load(&bed.entries).await.expect("loaded anew");
    assert_eq!(value(&other, "SELECT count(*) FROM fact_clicks").await, "6");
}

#[tokio::test]
async fn a_first_load_that_another_loader_did_meanwhile_is_fenced_and_not_called_damage() {
    let bed = Bed::new().await;
    let (warehouse, fated) = bed.fated(&[]).await;
    // The ledger is read; before anything else is, another loads.
    *fated.reads.lock().expect("reads") = [Fate::BeforeAnotherLoad].into();
    let error = warehouse.load(&bed.entries).await.expect_err("another was faster");
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
    assert_eq!(value(&warehouse, "SELECT count(*) FROM fact_clicks").await, "6");
}

#[tokio::test]
async fn a_schema_that_is_there_needs_no_right_on_the_database() {
    let bed = Bed::new().await;
    let warehouse = bed.open("It's", "p");
    assert!(warehouse.changes().await.expect("changes")[0].starts_with("CREATE SCHEMA"));
    warehouse.session.execute(&["CREATE SCHEMA \"It's\"".to_owned()]).await.expect("made by another");
    let changes = warehouse.changes().await.expect("changes");
    assert!(changes.len() == 2 && changes.iter().all(|change| change.contains("CREATE TABLE")), "{changes:?}");
}

#[tokio::test]
async fn the_tables_are_looked_at_again_only_where_another_loader_was_there() {
    let bed = Bed::new().await;
    let (warehouse, fated) = bed.fated(&[]).await;
    let asked = |reads: [Fate; 2]| *fated.reads.lock().expect("reads") = reads.into();
    warehouse.load(&bed.entries[..1]).await.expect("loaded");
    // The ledger is read, and nothing else.
    asked([Fate::Runs, Fate::Conflict]);
    warehouse.load(&bed.entries[1..2]).await.expect("loaded");
    assert_eq!(fated.reads.lock().expect("reads").len(), 1);
    let other = bed.open("s", "p");
    let column = ["ALTER TABLE fact_clicks ADD COLUMN seen bigint".to_owned()];
    fated.inner.execute(&column).await.expect("another version of the pipeline");
    let error = other.load(&bed.entries[2..]).await.expect_err("a column that it does not know");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let told = error.to_string();
    assert!(told.starts_with("nothing was loaded: ") && told.contains("seen is not of the pipeline"), "{told}");
    assert_eq!(warehouse.ledger().await.err().map(|error| error.kind()), Some(ErrorKind::Transient));
    assert_eq!(warehouse.ledger().await.expect("a ledger").loads, 2);
}

#[tokio::test]
async fn tables_are_read_and_counted() {
    let bed = Bed::new().await;
    let warehouse = bed.open("s", "p");
    warehouse.prepare().await.expect("prepared");
    assert_eq!(warehouse.held("fact_clicks").await.expect("counted"), Held { rows: 0, keys: 0 });
    warehouse.load(&bed.entries).await.expect("loaded");
    assert_eq!(warehouse.held("fact_clicks").await.expect("counted"), Held { rows: 6, keys: 6 });
    for (limit, expected) in [(None, 6), (Some(4), 4), (Some(0), 0)] {
        let answer = warehouse.rows("fact_clicks", &["_position", "page"], limit).await.expect("rows");
        let names: Vec<&str> = answer.schema.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(names, ["_position", "page"]);
        let batches: Vec<RecordBatch> = answer.batches.try_collect().await.expect("rows");
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), expected);
    }
    for error in [warehouse.held("absent").await.err(), warehouse.rows("absent", &["page"], None).await.err()] {
        assert_eq!(error.expect("no such table").kind(), ErrorKind::Invalid);
    }
}

#[tokio::test]
async fn a_question_that_does_more_than_read_is_not_sent() {
    let bed = Bed::new().await;
    let warehouse = bed.open("s", "p");
    warehouse.prepare().await.expect("prepared");
    let touched = std::env::temp_dir().join(format!("millstream-touched-{}", bed.database));
    let program = format!("copy (select 1) to program 'touch {}'", touched.display());
    for sql in [
        program.as_str(),
        "explain analyze delete from fact_clicks",
        "with gone as (delete from fact_clicks returning *) select * from gone",
        "select * into another from fact_clicks",
        "select * from fact_clicks for update",
        "select 1; delete from fact_clicks",
        "delete from fact_clicks",
    ] {
        let error = warehouse.query(sql).await.err().unwrap_or_else(|| panic!("{sql} is answered"));
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.to_string().starts_with("nothing was sent: "), "{sql}: {error}");
    }
    assert!(!touched.exists());
    let loaded = "with a as (select page from fact_clicks /* all */) select count(*), max(clock_timestamp()) from a";
    let answer = warehouse.query(loaded).await.expect("an answer");
    assert_eq!(answer.schema.fields().len(), 2);
}

#[tokio::test]
async fn of_the_servers_volatile_functions_only_those_that_are_known_to_be_harmless_are_called() {
    let bed = Bed::new().await;
    let warehouse = bed.open("s", "p");
    warehouse.prepare().await.expect("prepared");
    let own = "CREATE FUNCTION s.own() RETURNS int LANGUAGE sql AS 'SELECT 1'";
    let declared = "CREATE FUNCTION public.declared() RETURNS int STABLE LANGUAGE sql AS 'SELECT 1'";
    warehouse.session.execute(&[own.to_owned(), declared.to_owned()]).await.expect("made");
    let names = warehouse.few("SELECT DISTINCT proname FROM pg_proc WHERE provolatile = 'v'").await.expect("names");
    let names = names.column(0).as_string::<i32>();
    let (mut refused, mut answered) = (Vec::new(), Vec::new());
    for name in names.iter().flatten() {
        // With arguments that no function has: what is answered has passed the look, whatever the server says of it.
        let outcome = warehouse.query(&format!("SELECT \"{name}\"(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)")).await;
        match outcome.err().expect("no such function").to_string() {
            told if told.contains(&format!("{name}() may change something")) => refused.push(name),
            told if told.contains(&format!("{name}() runs SQL")) => refused.push(name),
            told => {
                assert!(told.contains("SQLSTATE"), "{name}: {told}");
                answered.push(name);
            }
        }
    }
    assert!(answered.len() < 50, "{answered:?}");
    for name in ["random", "pg_table_size", "pg_blocking_pids", "pg_sequence_last_value", "current_query"] {
        assert!(answered.contains(&name), "{name}");
    }
    for name in [
        "own",
        "pg_read_file",
        "pg_ls_dir",
        "lo_import",
        "lo_export",
        "pg_terminate_backend",
        "pg_sleep",
        "set_config",
        "nextval",
        "setval",
        "pg_advisory_lock",
        "pg_logical_emit_message",
        "pg_reload_conf",
        "query_to_xml",
        "pg_notify",
        "pg_stat_reset",
        "pg_promote",
        "pg_switch_wal",
    ] {
        assert!(refused.contains(&name), "{name}");
    }
    let declared = warehouse.query("SELECT public.declared()").await.expect("an answer");
    assert_eq!(declared.schema.fields().len(), 1);
    assert!(warehouse.query("SELECT * FROM s.own()").await.is_err());
}

/// Functions that write a file, which a transaction that may only read lets them do.
fn planted(name: &str, touched: &str) -> Vec<String> {
    let body = format!("$$ BEGIN COPY (SELECT 1) TO '{touched}'; RETURN 1; END $$");
    let takes = |what: &str| format!("CREATE FUNCTION {name}({what}) RETURNS integer LANGUAGE plpgsql AS {body}");
    vec![takes("integer"), takes("anyelement")]
}

#[tokio::test]
async fn no_way_of_writing_a_call_reaches_a_planted_function() {
    let bed = Bed::new().await;
    let warehouse = bed.open("s", "p");
    warehouse.prepare().await.expect("prepared");
    warehouse.load(&bed.entries).await.expect("loaded");
    let touched = std::env::temp_dir().join(format!("millstream-planted-{}", bed.database));
    let place = touched.to_str().expect("UTF-8");
    for name in ["s.leak", "s.ceil", "s.substr", "s.count", "s.\"Odd Name\""] {
        warehouse.session.execute(&planted(name, place)).await.expect("planted");
    }
    let step = format!(
        "CREATE FUNCTION s.step(integer, integer) RETURNS integer LANGUAGE plpgsql AS $$ BEGIN COPY (SELECT 1) TO \
         '{place}'; RETURN 1; END $$"
    );
    let sums = "CREATE AGGREGATE s.innocent(integer) (SFUNC = s.step, STYPE = integer, INITCOND = '0')";
    warehouse.session.execute(&[step, sums.to_owned()]).await.expect("planted");
    for sql in [
        "select leak(1)",
        "select leak /* */ (1)",
        "select s.leak(1)",
        "select LEAK(1)",
        "select f.leak from fact_clicks as f",
        "select fact_clicks.leak from fact_clicks",
        "select (f).leak from fact_clicks as f",
        "select (f) . \"leak\" from fact_clicks as f",
        "select (select g from fact_clicks as g limit 1).leak",
        "select (array(select g from fact_clicks as g))[1].leak",
        "select f.\"Odd Name\" from fact_clicks as f",
        "select page from fact_clicks as f where f.leak = 1",
        "select page from fact_clicks as f order by f.leak",
        "select distinct on (f.leak) page from fact_clicks as f",
        "select count(*) over w from fact_clicks as f window w as (partition by f.leak)",
        "select * from fact_clicks as f join fact_clicks as g on f.leak = g.leak",
        "select * from fact_clicks as f, lateral (select f.leak) as g",
        "values ((select f.leak from fact_clicks as f limit 1))",
        "explain analyze select f.leak from fact_clicks as f",
        "select ceil(1)",
        "select substr(1)",
        "select count(1)",
        "select innocent(1)",
        "select * from leak(1)",
        "select ('/etc/hostname'::text).pg_read_file",
        "select ('/etc'::text).pg_ls_dir",
        "select (v.t).pg_read_file from (values ('/etc/hostname'::text)) v(t)",
        "select (2::float8).pg_sleep",
        "select (pg_backend_pid()).pg_terminate_backend",
        "select (pg_backend_pid()+0).pg_cancel_backend",
        "select ('x'::text).lo_import",
        "select 1 from fact_clicks order by (page).pg_ls_dir limit 1",
        "select ('select 1 as x'::text).ts_stat",
        "select ('x'::text).\"pg_read_file\"",
        "select ('s.x'::regclass).nextval",
    ] {
        let error = warehouse.query(sql).await.err().unwrap_or_else(|| panic!("{sql} is answered"));
        assert!(error.to_string().starts_with("nothing was sent: "), "{sql}: {error}");
        assert!(!touched.exists(), "{sql}");
    }
    for sql in ["select pg_catalog.count(1)", "select page as leak from fact_clicks as leak"] {
        warehouse.query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    // Sent without a look, such a statement does write: the test would see it.
    let sent = warehouse.session.read("select f.leak from fact_clicks as f").await.expect("sent");
    sent.batches.try_collect::<Vec<_>>().await.expect("answered");
    assert!(touched.exists());
    // It is the server's user's: who owns the folder alone may take it away.
    let _ = std::fs::remove_file(&touched);
}

#[tokio::test]
async fn a_function_that_the_search_path_does_not_show_concerns_nobody() {
    let bed = Bed::new().await;
    let warehouse = bed.open("s", "p");
    warehouse.prepare().await.expect("prepared");
    for name in ["public.count", "public.page", "public.sum"] {
        warehouse.session.execute(&planted(name, "/nowhere")).await.expect("planted");
    }
    for sql in ["select count(1)", "select f.page, sum(1) from fact_clicks as f group by f.page"] {
        warehouse.query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    let error = warehouse.query("select public.count(1)").await.err().expect("refused").to_string();
    assert!(error.contains("public.count() may change something"), "{error}");
}

#[tokio::test]
async fn columns_with_the_usual_names_are_answered() {
    let bed = Bed::new().await;
    let warehouse = bed.open("s", "p");
    warehouse.prepare().await.expect("prepared");
    let columns = "name date id value count status size length time type text key position version state system random";
    for column in columns.split(' ') {
        let sql = format!("select t.{column}, (t).{column} from (select 1 as \"{column}\") as t");
        warehouse.query(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

#[tokio::test]
async fn what_is_written_anew_is_answered_as_it_was_typed() {
    let bed = Bed::new().await;
    let warehouse = bed.open("s", "p");
    warehouse.prepare().await.expect("prepared");
    warehouse.load(&bed.entries).await.expect("loaded");
    let shown = async |answer: Answer| {
        let batches: Vec<RecordBatch> = answer.batches.try_collect().await.expect("rows");
        (answer.schema, format!("{batches:?}"))
    };
    for sql in include_str!("../question/written.sql").lines() {
        let typed = warehouse.session.read(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        let asked = warehouse.query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        assert_eq!(shown(asked).await, shown(typed).await, "{sql}");
    }
}
