//! Transactions that meet.

use super::{House, refusal, refused, rows, run, told};
use crate::databases::redshift::{Isolation, Options};

const VIOLATION: &str = "1023 Serializable isolation violation on table";

fn house(isolation: Isolation) -> House {
    House::new(Options { isolation, ..Options::default() })
}

/// Two transactions read the ledger and then both write it; the second one's COMMIT, or what is said of it.
async fn read_then_insert(house: &House) -> Result<(), (String, String)> {
    let (first, second) = (house.connect().await, house.connect().await);
    run(&first, &["CREATE TABLE ledger (n INTEGER)"]).await;
    for client in [&first, &second] {
        run(client, &["BEGIN", "SELECT max(n) FROM ledger", "INSERT INTO ledger VALUES (1)"]).await;
    }
    run(&first, &["COMMIT"]).await;
    second.simple_query("COMMIT").await.map(|_| ()).map_err(|error| told(&error))
}

#[tokio::test(flavor = "multi_thread")]
async fn serializable_refuses_what_snapshot_lets_race() {
    assert_eq!(read_then_insert(&house(Isolation::Snapshot)).await, Ok(()), "both rows: AWS_FACTS warns of it");
    let (code, said) = read_then_insert(&house(Isolation::Serializable)).await.expect_err("a cycle");
    assert!(code == "XX000" && said.starts_with(VIOLATION), "{code} {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_writers_of_one_row_conflict_under_both() {
    for isolation in [Isolation::Snapshot, Isolation::Serializable] {
        let house = house(isolation);
        let (first, second) = (house.connect().await, house.connect().await);
        run(&first, &["CREATE TABLE t (n INTEGER)", "INSERT INTO t VALUES (1)", "BEGIN", "SELECT n FROM t"]).await;
        run(&second, &["UPDATE t SET n = 2"]).await;
        let (code, said) = refusal(&first, "UPDATE t SET n = 3").await;
        assert!(code == "XX000" && said.starts_with(VIOLATION), "{isolation:?}: {code} {said}");
        refused(&first, &[("SELECT 1", "25P02", "aborted")]).await;
        run(&first, &["COMMIT"]).await;
        assert_eq!(rows(&first, "SELECT n FROM t").await, ["2"], "COMMIT of a failed transaction rolls back");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lock_first_lets_one_wait_for_the_other() {
    for isolation in [Isolation::Snapshot, Isolation::Serializable] {
        let house = house(isolation);
        let (first, second) = (house.connect().await, house.connect().await);
        run(&first, &["CREATE TABLE ledger (n INTEGER)", "BEGIN", "LOCK ledger", "INSERT INTO ledger VALUES (1)"])
            .await;
        let waiting = tokio::spawn(async move {
            run(&second, &["BEGIN", "LOCK ledger"]).await;
            let seen = rows(&second, "SELECT max(n) FROM ledger").await;
            run(&second, &["INSERT INTO ledger VALUES (2)", "COMMIT"]).await;
            seen
        });
        let said = || house.server.statements().iter().filter(|said| *said == "LOCK ledger").count();
        while said() < 2 {
            tokio::task::yield_now().await;
        }
        assert!(!waiting.is_finished(), "{isolation:?}: it waits");
        run(&first, &["COMMIT"]).await;
        assert_eq!(waiting.await.expect("no panic"), ["1"], "{isolation:?}: it sees what the other committed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn truncate_commits_and_some_statements_stand_alone() {
    let house = house(Isolation::Snapshot);
    let client = house.connect().await;
    run(&client, &["CREATE TABLE t (n INTEGER, s VARCHAR(5))", "CREATE TABLE u (n INTEGER)"]).await;
    run(&client, &["BEGIN", "INSERT INTO u VALUES (1)", "TRUNCATE t", "ROLLBACK"]).await;
    assert_eq!(rows(&client, "SELECT n FROM u").await, ["1"], "TRUNCATE committed it");
    let alone = "cannot run inside a transaction block";
    for statement in ["ALTER TABLE t ALTER COLUMN s TYPE VARCHAR(9)", "ALTER TABLE t APPEND FROM u", "VACUUM t"] {
        run(&client, &["BEGIN"]).await;
        refused(&client, &[(statement, "25001", alone)]).await;
        run(&client, &["ROLLBACK"]).await;
    }
    run(&client, &["ALTER TABLE t ALTER COLUMN s TYPE VARCHAR(9)", "VACUUM", "INSERT INTO t VALUES (1, '123456789')"])
        .await;
    run(&client, &["BEGIN READ ONLY"]).await;
    refused(&client, &[("INSERT INTO u VALUES (2)", "25006", "read-only")]).await;
}
