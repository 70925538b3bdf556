use std::collections::HashMap;
use std::sync::Mutex;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int32Type;
use futures::TryStreamExt;
use serde_json::{Value, json};

use super::*;
use crate::config::RedshiftPlace;
use crate::error::ErrorKind;
use crate::load::redshift::examples::{copy, lake};
use crate::load::redshift::stand_in::{Answer as Answered, StandIn, Trouble};
use crate::store::Store;

/// The API's promises: a token is run once, a statement runs for three looks and then ends as `end` says of its text.
#[derive(Default)]
struct Api {
    tokens: HashMap<String, String>,
    /// What was run, and how often it was looked at.
    runs: Vec<(Vec<String>, u32)>,
}

impl Api {
    fn submit(&mut self, asked: &Value) -> Answered {
        let token = asked["ClientToken"].as_str().expect("a token").to_owned();
        let sqls = match asked["Sql"].as_str() {
            Some(sql) => vec![sql.to_owned()],
            None => asked["Sqls"].as_array().expect("sqls").iter().map(text_of).collect(),
        };
        let next = self.runs.len().to_string();
        let id = self.tokens.entry(token).or_insert_with(|| next.clone()).clone();
        if id == next {
            self.runs.push((sqls, 0));
        }
        (200, json!({ "Id": id }).to_string())
    }

    fn describe(&mut self, id: &str, end: impl Fn(&[String]) -> Value) -> Answered {
        let (sqls, looks) = &mut self.runs[id.parse::<usize>().expect("an id")];
        *looks += 1;
        let mut answer = match *looks {
            1 => json!({ "Status": "SUBMITTED" }),
            2 => json!({ "Status": "STARTED" }),
            _ => end(sqls),
        };
        answer["Id"] = json!(id);
        answer["RedshiftPid"] = json!(4711);
        (200, answer.to_string())
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

fn finished(sqls: &[String]) -> Value {
    let parts: Vec<Value> =
        (1..=sqls.len()).map(|part| json!({ "Id": format!("x:{part}"), "Status": "FINISHED" })).collect();
    json!({ "Status": "FINISHED", "SubStatements": parts })
}

/// The batch fails at the statement of this index.
fn failed(sqls: &[String], index: usize, words: &str) -> Value {
    let part = |at: usize| match at.cmp(&index) {
        std::cmp::Ordering::Less => json!({ "Id": "x", "Status": "FINISHED" }),
        std::cmp::Ordering::Equal => json!({ "Id": "x", "Status": "FAILED", "Error": words }),
        std::cmp::Ordering::Greater => json!({ "Id": "x", "Status": "ABORTED" }),
    };
    json!({ "Status": "FAILED", "Error": "Query #1 failed", "SubStatements": (0..sqls.len()).map(part).collect::<Vec<_>>() })
}

async fn server(
    end: impl Fn(&[String]) -> Value + Send + Sync + 'static,
    page: impl Fn(&str, Option<&str>) -> Value + Send + Sync + 'static,
) -> StandIn {
    let api = Mutex::new(Api::default());
    StandIn::start(move |operation, asked| {
        let mut api = api.lock().expect("no panic");
        let id = asked["Id"].as_str().unwrap_or_default();
        match operation {
            "DescribeStatement" => api.describe(id, &end),
            "GetStatementResult" => {
                let sql = id.parse::<usize>().ok().map(|index| api.runs[index].0[0].clone());
                (200, page(sql.as_deref().unwrap_or(id), asked["NextToken"].as_str()).to_string())
            }
            "CancelStatement" => (200, json!({ "Status": true }).to_string()),
            _ => api.submit(asked),
        }
    })
    .await
}

fn nothing(_: &str, _: Option<&str>) -> Value {
    json!({ "Records": [], "ColumnMetadata": [] })
}

fn session(server: &StandIn) -> (DataApiSession, Store) {
    let identity = Identity {
        place: RedshiftPlace::Cluster("food".to_owned()),
        user: Some("etl".to_owned()),
        secret: None,
        database: "dev".to_owned(),
    };
    let store = lake();
    let bucket = Lake::new(store.clone(), "default", Arc::new(crate::runtime::SystemClock)).expect("a bucket");
    (DataApiSession::new(Statements::new(identity, server.apis()), bucket, "food"), store)
}

/// Lock, ledger, COPY: four statements of a batch, with the COPY's guard.
fn script() -> Vec<Statement> {
    vec![
        Statement::Run("LOCK \"food\".\"_ledger\"".to_owned()),
        Statement::Expect { sql: "SELECT 41".to_owned(), number: 41 },
        Statement::Copy { copy: copy(&[(42, "staged/a.parquet", 3, 9)]), into: "\"staged_1\"".to_owned() },
    ]
}

async fn manifests(store: &Store) -> usize {
    store.list("manifests", None).await.expect("listed").len()
}

fn failure(outcome: Result<(), Broken>) -> Error {
    match outcome {
        Err(Broken::Failed(error)) => error,
        other => panic!("not failed: {other:?}"),
    }
}

#[tokio::test]
async fn a_load_is_one_batch_with_its_own_token() {
    let server = server(finished, nothing).await;
    let (session, store) = session(&server);
    session.transact("load-1", &script()).await.expect("loaded");
    let asked = &server.requests("BatchExecuteStatement")[0];
    assert_eq!(asked["ClientToken"], "load-1");
    assert_eq!(
        (&asked["ClusterIdentifier"], &asked["DbUser"], &asked["Database"]),
        (&json!("food"), &json!("etl"), &json!("dev"))
    );
    assert_eq!((asked.get("WorkgroupName"), asked.get("SecretArn")), (None, None));
    assert_eq!(asked["Sqls"].as_array().expect("sqls").len(), 4);
    assert_eq!(server.requests("DescribeStatement").len(), 3);
    assert_eq!(manifests(&store).await, 0);
}

#[tokio::test]
async fn a_workgroup_and_a_secret_are_named_instead() {
    let server = server(finished, nothing).await;
    let identity = Identity {
        place: RedshiftPlace::Workgroup("group".to_owned()),
        user: None,
        secret: Some("arn:secret".to_owned()),
        database: "dev".to_owned(),
    };
    let bucket = Lake::new(lake(), "default", Arc::new(crate::runtime::SystemClock)).expect("a bucket");
    let session = DataApiSession::new(Statements::new(identity, server.apis()), bucket, "food");
    session.execute(&["CREATE SCHEMA food".to_owned()]).await.expect("made");
    let asked = &server.requests("ExecuteStatement")[0];
    assert_eq!((&asked["WorkgroupName"], &asked["SecretArn"]), (&json!("group"), &json!("arn:secret")));
    assert_eq!((asked.get("ClusterIdentifier"), asked.get("DbUser")), (None, None));
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_with_the_same_token_and_the_batch_runs_once() {
    let runs = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&runs);
    let end = move |sqls: &[String]| {
        seen.lock().expect("no panic").push(sqls.to_vec());
        finished(sqls)
    };
    let server = server(end, nothing).await;
    server.trouble("BatchExecuteStatement", Trouble::Torn, 2);
    server.trouble("DescribeStatement", Trouble::Refused(500, "InternalServerException"), 2);
    let (session, _) = session(&server);
    session.transact("load-1", &script()).await.expect("loaded");
    let tokens: Vec<Value> =
        server.requests("BatchExecuteStatement").iter().map(|asked| asked["ClientToken"].clone()).collect();
    assert_eq!(tokens, ["load-1", "load-1", "load-1"]);
    assert_eq!(runs.lock().expect("no panic").len(), 1);
    // The same load again gets the first one's end, and runs no second time.
    session.transact("load-1", &script()).await.expect("loaded");
    let described: Vec<Value> = server.requests("DescribeStatement").iter().map(|asked| asked["Id"].clone()).collect();
    assert!(described.iter().all(|id| id == "0"), "{described:?}");
}

#[tokio::test]
async fn without_an_answer_nobody_knows_and_a_batch_that_may_run_keeps_its_manifests() {
    for operation in ["BatchExecuteStatement", "DescribeStatement"] {
        let server = server(finished, nothing).await;
        server.trouble(operation, Trouble::Torn, 10);
        let (session, store) = session(&server);
        match session.transact("load-1", &script()).await {
            Err(Broken::Unanswered(error)) => assert_eq!(error.kind(), ErrorKind::Transient, "{error}"),
            other => panic!("{operation}: {other:?}"),
        }
        assert_eq!(server.requests(operation).len(), 10);
        assert_eq!(manifests(&store).await, 1);
    }
}

#[tokio::test]
async fn what_was_never_run_has_failed() {
    let cases = [
        (Trouble::Refused(400, "ActiveStatementsExceededException"), 10, ErrorKind::Transient),
        (Trouble::Refused(400, "ThrottlingException"), 10, ErrorKind::Transient),
        (Trouble::Refused(400, "ValidationException"), 1, ErrorKind::Invalid),
        (Trouble::Refused(400, "AccessDeniedException"), 1, ErrorKind::Invalid),
    ];
    for (trouble, tries, kind) in cases {
        let server = server(finished, nothing).await;
        server.trouble("BatchExecuteStatement", trouble.clone(), tries);
        let (session, store) = session(&server);
        let error = failure(session.transact("load-1", &script()).await);
        assert_eq!(error.kind(), kind, "{trouble:?}: {error}");
        assert_eq!(server.requests("BatchExecuteStatement").len(), tries);
        assert_eq!(manifests(&store).await, 0);
    }
}

#[tokio::test]
async fn a_refusal_after_a_lost_answer_leaves_the_end_open() {
    let server = server(finished, nothing).await;
    server.trouble("BatchExecuteStatement", Trouble::Torn, 1);
    server.trouble("BatchExecuteStatement", Trouble::Refused(400, "AccessDeniedException"), 1);
    let outcome = session(&server).0.transact("load-1", &script()).await;
    assert!(matches!(outcome, Err(Broken::Unanswered(_))), "{outcome:?}");
}

#[tokio::test]
async fn a_guard_that_fails_is_another_number_than_expected() {
    for (index, place) in [(1, 1), (3, 2)] {
        let server = server(move |sqls| failed(sqls, index, "ERROR: Divide by zero"), nothing).await;
        let (session, store) = session(&server);
        match session.transact("load-1", &script()).await {
            Err(Broken::NotExpected { at, found: None }) => assert_eq!(at, place),
            other => panic!("{index}: {other:?}"),
        }
        assert_eq!(manifests(&store).await, 0);
    }
}

#[tokio::test]
async fn a_failed_statement_tells_its_kind_and_which_one_it_is() {
    let cases = [
        (0, "ERROR: 1023 Serializable isolation violation on table", ErrorKind::Transient, "statement 1 of 4"),
        (0, "ERROR: deadlock detected", ErrorKind::Transient, "deadlock"),
        (
            0,
            "ERROR: relation \"_ledger\" does not exist\nSECRET",
            ErrorKind::Invalid,
            "statement 1 of 4 of the load: ERROR: rel",
        ),
        (1, "ERROR: permission denied", ErrorKind::Invalid, "statement 2 of 4"),
        // Not of a guard.
        (0, "ERROR: Divide by zero", ErrorKind::Invalid, "Divide by zero"),
    ];
    for (index, words, kind, told) in cases {
        let server = server(move |sqls| failed(sqls, index, words), nothing).await;
        let error = failure(session(&server).0.transact("load-1", &script()).await);
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(told) && !error.to_string().contains("SECRET"), "{error}");
    }
}

#[tokio::test]
async fn a_batch_that_fails_with_no_statement_failed_may_have_been_committed() {
    let ends = [
        json!({ "Status": "FAILED", "Error": "connection lost" }),
        json!({ "Status": "ABORTED", "SubStatements": [{ "Id": "x:1", "Status": "FINISHED" }] }),
    ];
    for end in ends {
        let server = server(move |_| end.clone(), nothing).await;
        let outcome = session(&server).0.transact("load-1", &script()).await;
        assert!(matches!(outcome, Err(Broken::Unanswered(_))), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_copy_that_fails_is_looked_up_in_the_views_that_are_there() {
    let end = |sqls: &[String]| match sqls.len() {
        1 if sqls[0].contains("sys_load_error_detail") => {
            json!({ "Status": "FAILED", "Error": "ERROR: relation \"sys_load_error_detail\" does not exist" })
        }
        1 => json!({ "Status": "FINISHED" }),
        _ => failed(sqls, 2, "ERROR: Load into table 'staged_1' failed.  Check 'stl_load_errors'"),
    };
    let page = |sql: &str, _: Option<&str>| {
        assert!(sql.contains("FROM stl_load_errors WHERE session = 4711"), "{sql}");
        let cells = ["s3://orders-lake/staged/a.parquet", "_position", "abc", "String length exceeds DDL length"];
        let [file, column, value, reason] = cells.map(|cell| json!({ "stringValue": cell }));
        let row =
            json!([file, { "longValue": 2 }, column, { "stringValue": "2" }, value, reason, { "longValue": 1204 }]);
        json!({ "Records": [row], "ColumnMetadata": [] })
    };
    let server = server(end, page).await;
    let error = failure(session(&server).0.transact("load-1", &script()).await);
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let told = "file staged/a.parquet of entry 42, row 2, column _position, value \"abc\": String length exceeds DDL \
                length (code 1204)";
    assert!(error.to_string().contains(told), "{error}");
}

#[tokio::test]
async fn more_than_forty_statements_are_refused_before_anything_is_sent_or_written() {
    let server = server(finished, nothing).await;
    let (session, store) = session(&server);
    let script: Vec<Statement> = script().into_iter().cycle().take(31).collect();
    let error = failure(session.transact("load-1", &script).await);
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("this load is 41 statements"), "{error}");
    assert_eq!(server.requests("BatchExecuteStatement").len(), 0);
    assert_eq!(manifests(&store).await, 0);
}

#[tokio::test]
async fn statements_run_one_by_one_until_one_is_refused() {
    let end = |sqls: &[String]| match sqls[0].contains("broken") {
        true => json!({ "Status": "FAILED", "Error": "ERROR: syntax error at or near \"broken\"" }),
        false => json!({ "Status": "FINISHED" }),
    };
    let server = server(end, nothing).await;
    server.trouble("ExecuteStatement", Trouble::Torn, 1);
    let (session, _) = session(&server);
    let sqls = ["CREATE TABLE a ()", "broken", "CREATE TABLE b ()"].map(str::to_owned);
    let error = session.execute(&sqls).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("syntax error at or near \"broken\""), "{error}");
    let sent: Vec<Value> = server.requests("ExecuteStatement").iter().map(|asked| asked["Sql"].clone()).collect();
    assert_eq!(sent, ["CREATE TABLE a ()", "CREATE TABLE a ()", "broken"]);
}

#[tokio::test]
async fn an_answer_comes_page_by_page_with_its_types() {
    let page = |id: &str, token: Option<&str>| {
        assert_eq!(id, "x:2", "the question's own id");
        let columns = json!([{ "label": "n", "typeName": "int4" }, { "label": "s", "typeName": "varchar" }]);
        let row = |number: i32| json!([{ "longValue": number }, { "isNull": true }]);
        match token {
            None => json!({ "Records": [row(1), row(2)], "ColumnMetadata": columns, "NextToken": "more" }),
            Some("more") => json!({ "Records": [row(3)], "ColumnMetadata": columns }),
            Some(other) => panic!("no such page: {other}"),
        }
    };
    let server = server(finished, page).await;
    let answer = session(&server).0.read("SELECT n, s FROM t").await.expect("an answer");
    assert_eq!(answer.schema.fields().len(), 2);
    let batches: Vec<RecordBatch> = answer.batches.try_collect().await.expect("rows");
    let numbers: Vec<i32> =
        batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int32Type>().values().to_vec()).collect();
    assert_eq!(numbers, [1, 2, 3]);
    let asked = &server.requests("BatchExecuteStatement")[0];
    assert_eq!(asked["Sqls"], json!(["SET search_path TO \"food\"", "SELECT n, s FROM t"]));
}

#[tokio::test]
async fn a_wrong_question_is_refused() {
    let server = server(|sqls| failed(sqls, 1, "ERROR: column \"x\" does not exist"), nothing).await;
    let (session, _) = session(&server);
    let error = session.read("SELECT x").await.err().expect("refused");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("column \"x\" does not exist"), "{error}");
}

#[tokio::test]
async fn what_is_cancelled_is_so_by_its_id_and_once() {
    let running = |_: &[String]| json!({ "Status": "STARTED" });
    let server = server(running, nothing).await;
    let (session, _) = session(&server);
    session.cancel().await.expect("nothing runs");
    assert_eq!(server.requests("CancelStatement").len(), 0);
    let mut asked = Box::pin(session.read("SELECT 1"));
    let seen = async {
        while server.requests("DescribeStatement").is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = seen => {}
        _ = &mut asked => panic!("it runs on"),
    }
    session.cancel().await.expect("cancelled");
    let cancelled: Vec<Value> = server.requests("CancelStatement").iter().map(|asked| asked["Id"].clone()).collect();
    assert_eq!(cancelled, ["0"]);
    drop(asked);
    session.cancel().await.expect("nothing runs");
    assert_eq!(server.requests("CancelStatement").len(), 1);
}
