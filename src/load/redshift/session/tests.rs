use std::io;
use std::sync::{Arc, Mutex};

use futures::stream;
use pgwire::api::auth::StartupHandler;
use pgwire::api::auth::noop::NoopStartupHandler;
use pgwire::api::query::SimpleQueryHandler;
use pgwire::api::results::{DataRowEncoder, FieldFormat, FieldInfo, QueryResponse, Response, Tag};
use pgwire::api::store::PortalStore;
use pgwire::api::{ClientInfo, ClientPortalStore, PgWireServerHandlers, Type};
use pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use tokio::net::TcpListener;

use super::*;
use crate::config::{Login, ServerSettings, Tls};
use crate::load::redshift::examples::{copy, lake};
use crate::load::wire::EnvironmentLogin;
use crate::runtime::Tasks;
use crate::store::Store;

/// What the server says to a statement.
enum Said {
    Done,
    Row(Vec<&'static str>),
    Refused(&'static str, &'static str, Option<&'static str>),
    /// It closes the connection.
    Nothing,
}

/// A server that answers as a test says, and keeps what it was asked.
#[derive(Clone)]
struct Redshift {
    says: Arc<dyn Fn(&str) -> Said + Send + Sync>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl NoopStartupHandler for Redshift {}

#[async_trait]
impl SimpleQueryHandler for Redshift {
    async fn do_query<C>(&self, _: &mut C, query: &str) -> PgWireResult<Vec<Response>>
    where
        C: ClientInfo + ClientPortalStore + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
    {
        self.asked.lock().expect("no panic").push(query.to_owned());
        match (self.says)(query) {
            Said::Done => Ok(vec![Response::Execution(Tag::new("OK"))]),
            Said::Nothing => Err(PgWireError::IoError(io::Error::other("closed on order"))),
            Said::Refused(code, message, detail) => {
                let mut info = ErrorInfo::new("ERROR".to_owned(), code.to_owned(), message.to_owned());
                info.detail = detail.map(str::to_owned);
                Ok(vec![Response::Error(Box::new(info))])
            }
            Said::Row(cells) => {
                let field = |_: &&str| FieldInfo::new("?column?".into(), None, None, Type::VARCHAR, FieldFormat::Text);
                let columns = Arc::new(cells.iter().map(field).collect::<Vec<_>>());
                let mut row = DataRowEncoder::new(Arc::clone(&columns));
                for cell in cells {
                    row.encode_field(&cell)?;
                }
                let rows = stream::iter([Ok(row.take_row())]);
                Ok(vec![Response::Query(QueryResponse::new(columns, rows))])
            }
        }
    }
}

impl PgWireServerHandlers for Redshift {
    fn simple_query_handler(&self) -> Arc<impl SimpleQueryHandler> {
        Arc::new(self.clone())
    }

    fn startup_handler(&self) -> Arc<impl StartupHandler> {
        Arc::new(self.clone())
    }
}

/// A session of such a server, and its store; the server ends when this is dropped.
struct Running {
    session: WireSession,
    store: Store,
    asked: Arc<Mutex<Vec<String>>>,
    _tasks: Tasks,
}

impl Running {
    async fn start(says: impl Fn(&str) -> Said + Send + Sync + 'static) -> Self {
        let redshift = Redshift { says: Arc::new(says), asked: Arc::default() };
        let asked = Arc::clone(&redshift.asked);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let mut tasks = Tasks::new();
        tasks.spawn("stand-in", async move {
            let mut connections = Tasks::new();
            loop {
                let (socket, _) =
                    listener.accept().await.map_err(|error| Error::internal("closed").with_source(error))?;
                let redshift = redshift.clone();
                connections.spawn("connection", async move {
                    // A connection that was closed on order ends with an error.
                    let _ = pgwire::tokio::process_socket(socket, None, redshift).await;
                    Ok(())
                });
            }
        });
        let login = EnvironmentLogin { user: "etl".to_owned(), variable: "MILLSTREAM_NOBODY_SETS_THIS".to_owned() };
        let server = ServerSettings {
            host: "127.0.0.1".to_owned(),
            port,
            login: Login::Environment { user: "etl".to_owned(), variable: login.variable.clone() },
            tls: Tls::Off,
        };
        let told = settings("food");
        let wire = Wire::new(&server, "dev", Arc::new(login), &told.each_ref().map(String::as_str));
        let store = lake();
        let bucket = Lake::new(store.clone(), "default", Arc::new(crate::runtime::SystemClock)).expect("a bucket");
        Self { session: WireSession::new(wire, bucket), store, asked, _tasks: tasks }
    }

    async fn load(&self) -> Result<(), Broken> {
        let outcome = self.session.transact("load-1", &script()).await;
        assert_eq!(self.store.list("manifests", None).await.expect("listed"), [], "no manifest stays");
        outcome
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panic").clone()
    }
}

fn script() -> Vec<Statement> {
    vec![
        Statement::Run("LOCK \"food\".\"_ledger\"".to_owned()),
        Statement::Copy { copy: copy(&[(42, "staged/a.parquet", 3, 9)]), into: "\"staged_1\"".to_owned() },
        Statement::Copy { copy: Copy { number: 1, ..copy(&[]) }, into: "\"staged_2\"".to_owned() },
    ]
}

fn good(sql: &str) -> Said {
    match sql {
        COUNT => Said::Row(vec!["3"]),
        load_error::PROCESS => Said::Row(vec!["4711"]),
        _ => Said::Done,
    }
}

/// As [`good`], but to a statement that begins so.
fn except(start: &'static str, said: impl Fn() -> Said + Send + Sync + 'static) -> impl Fn(&str) -> Said + Send + Sync {
    move |sql: &str| if sql.starts_with(start) { said() } else { good(sql) }
}

fn failure(outcome: Result<(), Broken>) -> Error {
    match outcome {
        Err(Broken::Failed(error)) => error,
        other => panic!("not failed: {other:?}"),
    }
}

#[tokio::test]
async fn a_load_is_one_transaction_and_its_copies_are_counted() {
    let redshift = Running::start(good).await;
    redshift.load().await.expect("loaded");
    assert_eq!(
        redshift.asked(),
        [
            "SET timezone TO 'UTC'; SET datestyle TO 'ISO, MDY'; SET extra_float_digits TO 2; SET search_path TO \"food\"",
            "BEGIN",
            "LOCK \"food\".\"_ledger\"",
            "COPY \"staged_1\" (\"order_id\", \"_position\") \
             FROM 's3://orders-lake/manifests/load-1-0-fact_orders.json' IAM_ROLE default FORMAT AS PARQUET MANIFEST",
            "SELECT pg_last_copy_count()",
            "COMMIT",
        ]
    );
}

#[tokio::test]
async fn a_manifest_stands_while_its_copy_runs() {
    let seen: Arc<Mutex<Vec<Store>>> = Arc::default();
    let store = Arc::clone(&seen);
    let redshift = Running::start(except("COPY", move || {
        let stores = store.lock().expect("no panic");
        let listed = futures::executor::block_on(stores[0].list("manifests", None)).expect("listed");
        assert_eq!(listed[0].path, "manifests/load-1-0-fact_orders.json");
        Said::Done
    }))
    .await;
    seen.lock().expect("no panic").push(redshift.store.clone());
    redshift.load().await.expect("loaded");
}

#[tokio::test]
async fn another_count_than_the_journals_ends_the_load() {
    let redshift = Running::start(except(COUNT, || Said::Row(vec!["2"]))).await;
    let outcome = redshift.load().await;
    assert!(matches!(outcome, Err(Broken::NotExpected { at: 1, found: Some(2) })), "{outcome:?}");
    assert!(!redshift.asked().contains(&"COMMIT".to_owned()));
}

#[tokio::test]
async fn a_commit_without_an_answer_may_have_happened() {
    let redshift = Running::start(except("COMMIT", || Said::Nothing)).await;
    let outcome = redshift.load().await;
    assert!(matches!(outcome, Err(Broken::Unanswered(_))), "{outcome:?}");
}

#[tokio::test]
async fn what_may_pass_is_told_so() {
    let violation = "Serializable isolation violation on table - 100, transactions forming the cycle are: 1, 2";
    let slow = "S3ServiceException:Please reduce your request rate.,Status 503,Error SlowDown";
    let cases = [
        ("LOCK", "XX000", "1023", Some(violation)),
        ("LOCK", "40001", "could not serialize access due to concurrent update", None),
        ("LOCK", "40P01", "deadlock detected", None),
        ("COMMIT", "XX000", "1023", Some(violation)),
        ("COPY", "XX000", "1023", Some(violation)),
        ("COPY", "XX000", slow, None),
    ];
    for (start, code, message, detail) in cases {
        let redshift = Running::start(except(start, move || Said::Refused(code, message, detail))).await;
        let error = failure(redshift.load().await);
        assert_eq!(error.kind(), ErrorKind::Transient, "{start} {message}: {error}");
    }
    let redshift = Running::start(except("COPY", || Said::Nothing)).await;
    assert_eq!(failure(redshift.load().await).kind(), ErrorKind::Transient);
}

#[tokio::test]
async fn a_copy_that_fails_is_looked_up_after_the_rollback() {
    let says = |sql: &str| match sql {
        _ if sql.starts_with("COPY") => Said::Refused("XX000", "Load into table 'staged_1' failed.", None),
        _ if sql.contains("sys_load_error_detail") => Said::Refused("42P01", "relation does not exist", None),
        _ if sql.contains("stl_load_errors WHERE session = 4711") => Said::Row(vec![
            "s3://orders-lake/staged/a.parquet",
            "2",
            "_position",
            "2",
            "abc",
            "String length exceeds DDL length",
            "1204",
        ]),
        _ => good(sql),
    };
    let redshift = Running::start(says).await;
    let error = failure(redshift.load().await);
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let told = "file staged/a.parquet of entry 42, row 2, column _position, value \"abc\": String length exceeds DDL \
                length (code 1204); nothing of this load is in the warehouse; loading stops here, reading goes on";
    assert!(error.to_string().contains(told), "{error}");
    let asked = redshift.asked();
    let place = |start: &str| asked.iter().position(|sql| sql.starts_with(start)).expect(start);
    assert!(place("COPY") < place("ROLLBACK") && place("ROLLBACK") < place(load_error::PROCESS), "{asked:?}");
}

#[tokio::test]
async fn a_copy_whose_error_stands_nowhere_is_told_by_its_refusal() {
    let detail = "\n  ----\n  error:  Spectrum Scan Error\n  code:      15007\n  context:   File \
                  'https://s3.eu-central-1.amazonaws.com/orders-lake/staged/a.parquet' has an incompatible Parquet schema\n";
    let redshift = Running::start(move |sql: &str| match sql {
        _ if sql.starts_with("COPY") => Said::Refused("XX000", "Spectrum Scan Error", Some(detail)),
        load_error::PROCESS => Said::Nothing,
        _ => good(sql),
    })
    .await;
    let error = failure(redshift.load().await);
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let told = "file staged/a.parquet of entry 42: Spectrum Scan Error: File 'https://s3.eu-central-1";
    assert!(error.to_string().contains(told), "{error}");
}

#[tokio::test]
async fn statements_run_one_by_one_outside_a_transaction() {
    let redshift = Running::start(except("ALTER", || Said::Refused("0A000", "not supported", None))).await;
    let sqls = ["CREATE SCHEMA food", "ALTER TABLE a", "CREATE TABLE b"].map(str::to_owned);
    let error = redshift.session.execute(&sqls).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(redshift.asked()[1..], ["CREATE SCHEMA food", "ALTER TABLE a"]);
}
