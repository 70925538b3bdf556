//! Sessions of a real PostgreSQL: logins, encryption, transactions that end in each way, answers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::util::display::array_value_to_string;
use futures::TryStreamExt;

use super::super::plan::Copy;
use super::*;
use crate::config::Login;
use crate::error::ErrorKind;
use crate::stand_ins::postgres::{USER, database, postgres};

const SETTINGS: [&str; 3] = ["SET TIME ZONE 'UTC'", "SET datestyle TO 'ISO'", "SET extra_float_digits TO 1"];

/// A login that counts how often it is asked.
struct Counted(String, Option<&'static str>, AtomicUsize);

impl Counted {
    fn new(user: &str, password: Option<&'static str>) -> Arc<Self> {
        Arc::new(Self(user.to_owned(), password, AtomicUsize::new(0)))
    }

    fn times(&self) -> usize {
        self.2.load(Ordering::SeqCst)
    }
}

#[async_trait::async_trait]
impl Logins for Counted {
    async fn login(&self) -> Result<LoginNow> {
        self.2.fetch_add(1, Ordering::SeqCst);
        Ok(LoginNow { user: self.0.clone(), password: self.1.map(Secret::new) })
    }

    fn origin(&self) -> String {
        "the environment variable ORDERS_PASSWORD".to_owned()
    }
}

fn server(host: &str, tls: Tls) -> ServerSettings {
    let login = Login::Environment { user: USER.to_owned(), variable: "UNUSED".to_owned() };
    ServerSettings { host: host.to_owned(), port: postgres().port, login, tls }
}

fn wire(database: &str, logins: Arc<Counted>) -> Wire {
    Wire::new(&server("127.0.0.1", Tls::Off), database, logins, &SETTINGS)
}

/// A way to a fresh database.
fn fresh() -> (Wire, Arc<Counted>) {
    let logins = Counted::new(USER, None);
    (wire(&database(), Arc::clone(&logins)), logins)
}

async fn rows(wire: &Wire, sql: &str) -> RecordBatch {
    let answer = wire.read(sql).await.expect(sql);
    let batches: Vec<RecordBatch> = answer.batches.try_collect().await.expect(sql);
    concat_batches(&answer.schema, &batches).expect("one schema")
}

/// The one value of an answer.
async fn value(wire: &Wire, sql: &str) -> String {
    let rows = rows(wire, sql).await;
    assert_eq!((rows.num_rows(), rows.num_columns()), (1, 1), "{sql}");
    array_value_to_string(rows.column(0), 0).expect("a text")
}

fn statements(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// A COPY that inserts as many numbers as it says.
struct Numbers(u64);

#[async_trait::async_trait]
impl CopyIn for Numbers {
    async fn copy(&self, transaction: &Transaction, _: &Copy, into: &str) -> Result<u64> {
        transaction.run(&format!("INSERT INTO {into} SELECT generate_series(1, {})", self.0)).await?;
        Ok(self.0)
    }
}

fn copy(rows: u64) -> Statement {
    let path = "staged/t/1.parquet".to_owned();
    let file = crate::batch::DataFile { path, rows, bytes: 1, checksum: None, etag: None };
    let files = vec![super::super::plan::StagedFile { entry: 1, file }];
    let columns = Arc::new(arrow::datatypes::Schema::empty());
    Statement::Copy { copy: Copy { table: "t".to_owned(), number: 1, columns, files }, into: "t".to_owned() }
}

#[tokio::test]
async fn a_script_is_one_transaction() {
    let (wire, logins) = fresh();
    let run = |sql: &str| Statement::Run(sql.to_owned());
    let count = |number| Statement::Expect { sql: "SELECT count(*) FROM t".to_owned(), number };
    wire.execute(&statements(&["CREATE TABLE t (n int PRIMARY KEY)"])).await.expect("made");
    wire.transact(&[count(0), copy(3), count(3), run("INSERT INTO t VALUES (4)")], &Numbers(3)).await.expect("done");
    assert_eq!(value(&wire, "SELECT count(*) FROM t").await, "4");

    let delete = run("DELETE FROM t");
    let broken = wire.transact(&[delete.clone(), count(4)], &Numbers(0)).await.expect_err("not four");
    assert!(matches!(broken, Broken::NotExpected { at: 1, found: Some(0) }), "{broken:?}");
    let broken = wire.transact(&[delete.clone(), copy(3)], &Numbers(2)).await.expect_err("not three");
    assert!(matches!(broken, Broken::NotExpected { at: 1, found: Some(2) }), "{broken:?}");
    let broken = wire.transact(&[delete, run("INSERT INTO t VALUES (1), (1)")], &Numbers(0)).await;
    let Err(Broken::Failed(error)) = broken else { panic!("{broken:?}") };
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().starts_with("statement 2 of the load: the warehouse (database test_"), "{error}");
    assert!(error.to_string().contains("duplicate key value violates unique constraint"), "{error}");
    assert_eq!(value(&wire, "SELECT count(*) FROM t").await, "4", "all of them were rolled back");
    // One connection at first, and one after each that broke.
    assert_eq!(logins.times(), 4);
}

#[tokio::test]
async fn a_deferred_refusal_at_commit_is_no_unknown_end() {
    let (wire, _) = fresh();
    let table = "CREATE TABLE t (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)";
    wire.execute(&statements(&[table])).await.expect("made");
    let broken = wire.transact(&[Statement::Run("INSERT INTO t VALUES (1), (1)".to_owned())], &Numbers(0)).await;
    let Err(Broken::Failed(error)) = broken else { panic!("{broken:?}") };
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let killed = "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$";
    let trigger =
        "CREATE CONSTRAINT TRIGGER dies AFTER INSERT ON t INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION die()";
    wire.execute(&statements(&[killed, trigger])).await.expect("made");
    let broken = wire.transact(&[Statement::Run("INSERT INTO t VALUES (1)".to_owned())], &Numbers(0)).await;
    let Err(Broken::Unanswered(error)) = broken else { panic!("{broken:?}") };
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert_eq!(value(&wire, "SELECT count(*) FROM t").await, "0");
}

#[tokio::test]
async fn a_commit_that_is_never_answered_has_an_unknown_end() {
    let (mut wire, _) = fresh();
    wire.commit = Duration::from_millis(200);
    let waits = "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM pg_advisory_xact_lock(7); RETURN NULL; END $$";
    let trigger =
        "CREATE CONSTRAINT TRIGGER waits AFTER INSERT ON t INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait()";
    wire.execute(&statements(&["CREATE TABLE t (n int)", waits, trigger])).await.expect("made");
    let holder = wire.begin("BEGIN").await.expect("begun");
    holder.run("SELECT pg_advisory_xact_lock(7)").await.expect("locked");
    let broken = wire.transact(&[Statement::Run("INSERT INTO t VALUES (1)".to_owned())], &Numbers(0)).await;
    let Err(Broken::Unanswered(error)) = broken else { panic!("{broken:?}") };
    assert!(error.kind() == ErrorKind::Transient && error.to_string().contains("did not answer COMMIT"), "{error}");
    holder.roll_back().await.expect("unlocked");
    // It is committed all the same, some time: a load's LOCK waits for it.
    while value(&wire, "SELECT count(*) FROM t").await != "1" {}
}

#[tokio::test]
async fn a_server_that_is_silent_where_it_answers_at_once_is_left() {
    let (mut wire, logins) = fresh();
    assert_eq!(value(&wire, "SELECT 1").await, "1");
    wire.prompt = Duration::from_millis(200);
    let error = wire.begin("SELECT pg_sleep(600)").await.err().expect("silent");
    assert!(error.kind() == ErrorKind::Transient && error.to_string().contains("opened no session"), "{error}");
    wire.settings = "SELECT pg_sleep(600)".to_owned();
    let error = wire.begin("BEGIN").await.err().expect("silent");
    assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
    assert_eq!(logins.times(), 2, "the silent connection is not used again");
}

#[tokio::test]
async fn a_lost_connection_passes_by_itself() {
    let (wire, logins) = fresh();
    let mine = "SELECT pg_terminate_backend(pg_backend_pid())";
    let error = wire.execute(&statements(&[mine])).await.expect_err("it ended itself");
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert!(error.to_string().contains("staged files wait and nothing is lost"), "{error}");
    assert_eq!(value(&wire, "SELECT 7").await, "7");
    assert_eq!(value(&wire, "SELECT 8").await, "8");
    assert_eq!(logins.times(), 2, "the second connection is kept");
    // Lost while it was idle.
    let other = fresh().0;
    let name = wire.place.database.clone();
    let sql = format!("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{name}'");
    assert_eq!(value(&other, &sql).await, "1");
    let answered = async {
        loop {
            match wire.read("SELECT 9").await {
                Ok(answer) => break answer.batches.try_collect::<Vec<_>>().await,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Transient),
            }
        }
    };
    answered.await.expect("answered");
    assert_eq!(logins.times(), 3);
}

#[tokio::test]
async fn a_dropped_transaction_is_rolled_back() {
    let (wire, _) = fresh();
    wire.execute(&statements(&["CREATE TABLE t (n int)"])).await.expect("made");
    let transaction = wire.begin("BEGIN").await.expect("begun");
    transaction.run("LOCK TABLE t; INSERT INTO t VALUES (1)").await.expect("inserted");
    assert_eq!(transaction.number("SELECT count(*) FROM t").await.expect("a number"), 1);
    let error = transaction.number("SELECT 'x'").await.expect_err("no number");
    assert_eq!(error.kind(), ErrorKind::Internal);
    drop(transaction);
    // It waits for the lock, which goes with the connection.
    assert_eq!(value(&wire, "SELECT count(*) FROM t").await, "0");
}

#[tokio::test]
async fn an_answer_has_the_columns_types_and_exact_values() {
    let (wire, logins) = fresh();
    // A server may have other ideas of dates and floats; the session says its own.
    let name = &wire.place.database;
    let odd = ["datestyle TO 'German'", "timezone TO 'Asia/Kolkata'", "extra_float_digits TO -5"];
    let odd: Vec<String> = odd.iter().map(|setting| format!("ALTER DATABASE {name} SET {setting}")).collect();
    wire.execute(&odd).await.expect("set");
    drop(wire.idle.lock().expect("the idle one").take());
    let cases = BTreeMap::from([
        ("true", ("Boolean", "true")),
        ("(-32768)::int2", ("Int16", "-32768")),
        ("7", ("Int32", "7")),
        ("9223372036854775807", ("Int64", "9223372036854775807")),
        ("0.1::float4", ("Float32", "0.1")),
        ("0.1::float8 + 0.2", ("Float64", "0.30000000000000004")),
        ("'NaN'::float8", ("Float64", "NaN")),
        ("1.5::numeric(10, 2)", ("Decimal128(10, 2)", "1.50")),
        ("(-0.01)::numeric(38, 38)", ("Decimal128(38, 38)", "-0.01000000000000000000000000000000000000")),
        ("1.50::numeric", ("Utf8", "1.50")),
        ("1::numeric(50, 2)", ("Utf8", "1.00")),
        ("'ä'", ("Utf8", "ä")),
        ("'a'::bpchar(3)", ("Utf8", "a  ")),
        ("date '2026-11-20'", ("Date32", "2026-11-20")),
        ("timestamp '2026-11-20 12:30:00.000001'", ("Timestamp(µs)", "2026-11-20T12:30:00.000001")),
        ("timestamptz '2026-11-20 12:30:00+05:30'", ("Timestamp(µs, \"UTC\")", "2026-11-20T07:00:00Z")),
        ("'{\"a\": [1, null]}'::jsonb", ("Utf8", "{\"a\": [1, null]}")),
        ("array[1, 2]", ("Utf8", "{1,2}")),
    ]);
    for (expression, (data_type, expected)) in cases {
        let rows = rows(&wire, &format!("SELECT {expression} AS c")).await;
        assert_eq!(rows.schema().field(0).data_type().to_string(), data_type, "{expression}");
        assert_eq!(array_value_to_string(rows.column(0), 0).expect("a text"), expected, "{expression}");
    }
    let none = rows(&wire, "SELECT NULL::int, NULL::numeric(5, 2), NULL::text, NULL::date").await;
    assert!(none.columns().iter().all(|column| column.is_null(0)));
    assert_eq!(rows(&wire, "SELECT 1 AS a WHERE false").await.num_rows(), 0);
    assert_eq!(rows(&wire, "SELECT 1 AS a, 2 AS a").await.num_columns(), 2);
    assert_eq!(logins.times(), 2, "one connection served all");
}

#[tokio::test]
async fn many_rows_come_in_batches_and_an_answer_may_be_left() {
    let (wire, logins) = fresh();
    let mut answer = wire.read("SELECT n FROM generate_series(1, 10000) n").await.expect("answered");
    let mut sizes = Vec::new();
    while let Some(batch) = answer.batches.try_next().await.expect("rows") {
        sizes.push(batch.num_rows());
    }
    assert_eq!(sizes, [4_096, 4_096, 1_808]);
    // Wide rows come in smaller ones.
    let mut answer = wire.read("SELECT repeat('x', 1 << 20) FROM generate_series(1, 10)").await.expect("answered");
    assert_eq!(answer.batches.try_next().await.expect("rows").expect("a batch").num_rows(), 4);
    drop(answer);
    assert_eq!(value(&wire, "SELECT 7").await, "7");
    assert_eq!(logins.times(), 2, "the connection of an answer that was left is closed");
    let late = wire.read("SELECT 1 / (9000 - n) FROM generate_series(1, 10000) n").await.expect("it begins well");
    let error = late.batches.try_collect::<Vec<_>>().await.expect_err("a division");
    assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("division by zero"), "{error}");
}

#[tokio::test]
async fn reading_changes_nothing_and_asks_one_thing() {
    let (wire, _) = fresh();
    wire.execute(&statements(&["CREATE TABLE t (n int)"])).await.expect("made");
    let cases = [
        ("INSERT INTO t VALUES (1)", "nothing was run, for the statement answers no columns"),
        ("COPY (SELECT 1) TO PROGRAM 'touch /tmp/millstream-was-here'", "nothing was run"),
        ("INSERT INTO t VALUES (1) RETURNING n", "cannot execute INSERT in a read-only transaction"),
        ("COMMIT; INSERT INTO t VALUES (1)", "cannot insert multiple commands into a prepared statement"),
        ("SELECT nonsense FROM t", "column \"nonsense\" does not exist"),
        ("SELECT * FROM absent", "relation \"absent\" does not exist"),
        ("SELECT 1 / n FROM (VALUES (0)) AS x (n)", "division by zero"),
    ];
    for (sql, expected) in cases {
        let error = wire.read(sql).await.err().unwrap_or_else(|| panic!("{sql} is answered"));
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert_eq!(value(&wire, "SELECT set_config('timezone', 'Asia/Kolkata', false)").await, "Asia/Kolkata");
    assert_eq!(value(&wire, "SHOW timezone").await, "UTC", "it leaves no trace in the session");
    assert_eq!(value(&wire, "SELECT count(*) FROM t").await, "0");
}

#[tokio::test]
async fn what_is_cancelled_ends_at_the_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let authorities = folder.path().join("server.pem");
    std::fs::write(&authorities, &postgres().certificate).expect("written");
    let name = database();
    let over_tls = server("localhost", Tls::Verify { authorities: Some(authorities) });
    for server in [server("127.0.0.1", Tls::Off), over_tls] {
        let wire = Wire::new(&server, &name, Counted::new(USER, None), &SETTINGS);
        let watch = Wire::new(&server, &name, Counted::new(USER, None), &SETTINGS);
        let working =
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT count(*) FROM g%'";
        let mut asked = Box::pin(wire.read("SELECT count(*) FROM generate_series(1, 10000000000) g"));
        let seen = async { while value(&watch, working).await == "0" {} };
        tokio::select! {
            () = seen => {}
            _ = &mut asked => panic!("it takes hours"),
        }
        wire.cancel().await.expect("cancelled");
        let error = asked.await.err().expect("it was cancelled");
        assert!(error.to_string().contains("canceling statement due to user request"), "{error}");
        assert_eq!(value(&watch, working).await, "0");
        // A connection that does nothing is none the worse for it.
        wire.cancel().await.expect("nothing to cancel");
        assert_eq!(value(&wire, "SELECT 1").await, "1");
    }
}

#[tokio::test]
async fn each_refusal_has_the_kind_that_says_what_to_do() {
    let (wire, _) = fresh();
    let cases = [
        ("40001", "could not serialize access", ErrorKind::Transient),
        ("40P01", "deadlock detected", ErrorKind::Transient),
        ("55P03", "could not obtain lock", ErrorKind::Transient),
        ("57014", "canceling statement", ErrorKind::Transient),
        ("57P03", "the database system is starting up", ErrorKind::Transient),
        ("08006", "connection failure", ErrorKind::Transient),
        ("53100", "disk full", ErrorKind::Transient),
        ("53300", "too many connections", ErrorKind::Transient),
        ("XX000", "1023 DETAIL: Serializable isolation violation on table", ErrorKind::Transient),
        ("XX000", "1023", ErrorKind::Transient),
        ("XX000", "internal error, please try again", ErrorKind::Transient),
        ("XX000", "Load into table 10234 failed", ErrorKind::Invalid),
        ("22001", "value too long", ErrorKind::Invalid),
        ("23505", "duplicate key", ErrorKind::Invalid),
        ("42501", "permission denied", ErrorKind::Invalid),
        ("42P01", "relation does not exist", ErrorKind::Invalid),
    ];
    for (code, message, kind) in cases {
        let sql = format!(
            "DO $$ BEGIN RAISE EXCEPTION '{message}\nsecond line' USING ERRCODE = '{code}', DETAIL = 'the detail', \
             HINT = 'the hint'; END $$"
        );
        let error = wire.execute(&[sql.replace("\\n", "\n")]).await.expect_err("raised");
        assert_eq!(error.kind(), kind, "{error}");
        let told = error.to_string();
        assert!(told.contains(&format!("{message}; the detail; the hint (SQLSTATE {code})")), "{told}");
        assert!(told.contains(&wire.place.database), "{told}");
        assert_eq!(told.contains("nothing is lost"), kind == ErrorKind::Transient, "{told}");
        assert!(!told.contains("second line") && !told.contains("RAISE"), "{told}");
    }
}

#[tokio::test]
async fn a_login_that_is_refused_says_where_its_password_comes_from_and_not_what_it_is() {
    let (own, _) = fresh();
    own.execute(&statements(&["CREATE ROLE careful LOGIN PASSWORD 'right'"])).await.expect("made");
    let name = own.place.database.clone();
    let good = wire(&name, Counted::new("careful", Some("right")));
    assert_eq!(value(&good, "SELECT current_user").await, "careful");
    for (password, expected) in [
        (Some("hunter2"), "password authentication failed for user \"careful\" (SQLSTATE 28P01)"),
        (None, "asks for a password of the user careful, and there is none"),
    ] {
        let error = wire(&name, Counted::new("careful", password)).read("SELECT 1").await.err().expect("refused");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let told = format!("{error} {error:?}");
        assert!(told.contains(expected) && told.contains("the environment variable ORDERS_PASSWORD"), "{told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
    let error = wire("absent", Counted::new(USER, None)).read("SELECT 1").await.err().expect("refused");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("database \"absent\" does not exist"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_away_is_waited_for() {
    let logins = Counted::new(USER, None);
    // Bound and not listening: nobody else takes the port meanwhile.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its port").port();
    drop(taken);
    let away = ServerSettings { port, ..server("127.0.0.1", Tls::Off) };
    let error = Wire::new(&away, "orders", logins, &[]).read("SELECT 1").await.err().expect("nobody there");
    assert_eq!(error.kind(), ErrorKind::Transient);
    let expected = format!("cannot reach the warehouse (database orders at 127.0.0.1:{port}): Connection refused");
    assert!(error.to_string().starts_with(&expected), "{error}");
}

#[tokio::test]
async fn an_encrypted_connection_is_one_whose_certificate_is_good_for_the_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let good = folder.path().join("good.pem");
    std::fs::write(&good, &postgres().certificate).expect("written");
    let other = folder.path().join("other.pem");
    let certificate = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    std::fs::write(&other, certificate.cert.pem()).expect("written");
    let name = database();
    let over = |host: &str, file: &PathBuf| {
        let tls = Tls::Verify { authorities: Some(file.clone()) };
        Wire::new(&server(host, tls), &name, Counted::new(USER, None), &SETTINGS)
    };
    let encrypted = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    assert_eq!(value(&over("localhost", &good), encrypted).await, "true");
    assert_eq!(value(&wire(&name, Counted::new(USER, None)), encrypted).await, "false");
    let cases = [
        ("127.0.0.1", &good, "is not good for the name 127.0.0.1"),
        ("localhost", &other, "is signed by nobody who is trusted"),
    ];
    for (host, file, expected) in cases {
        let error = over(host, file).read("SELECT 1").await.err().expect("refused");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        let authorities = format!("authorities = {}", file.display());
        assert!(error.to_string().contains(expected) && error.to_string().contains(&authorities), "{error}");
    }
}
