//! Who may come in, what comes back, and how connections are lost.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{House, refused, rows, run};
use crate::databases::redshift::{Failure, Loss, Options};

const LEDGER: &str = "CREATE TABLE ledger (n INTEGER)";

#[tokio::test(flavor = "multi_thread")]
async fn statements_pass_and_are_remembered() {
    let house = House::new(Options::default());
    let client = house.connect().await;
    run(&client, &[LEDGER, "INSERT INTO ledger VALUES (1), (null)"]).await;
    assert_eq!(rows(&client, "SELECT n, 'it''s' FROM ledger ORDER BY n").await, ["1|it's", "null|it's"]);
    let prepared = client.prepare("SELECT n, getdate() AS at FROM ledger").await.expect("its columns");
    let columns: Vec<_> = prepared.columns().iter().map(|column| (column.name(), column.type_().name())).collect();
    assert_eq!(columns, [("n", "int4"), ("at", "timestamp")]);
    let said = house.server.statements();
    assert_eq!(said[..2], [LEDGER, "INSERT INTO ledger VALUES (1), (null)"], "{said:?}");
    let other = House::new(Options::default());
    refused(&other.connect().await, &[("SELECT n FROM ledger", "42P01", "does not exist")]).await;
}

async fn enter(house: &House, password: &str, name: &str) -> Result<Client, tokio_postgres::Error> {
    let mut roots = RootCertStore::empty();
    let authority = house.server.certificate().expect("it speaks TLS");
    roots.add(CertificateDer::from_pem_file(authority).expect("a certificate")).expect("a root");
    let tls = ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into());
    let tls = tls.with_safe_default_protocol_versions().expect("versions");
    let tls = MakeRustlsConnect::new(tls.with_root_certificates(roots).with_no_client_auth());
    let mut config = Config::new();
    config.host(name).hostaddr([127, 0, 0, 1].into()).port(house.server.port).ssl_mode(SslMode::Require);
    let (client, connection) = config.user("loader").password(password).dbname(&house.database).connect(tls).await?;
    tokio::spawn(connection);
    Ok(client)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_and_a_certificate_are_looked_at() {
    let password = Some("open sesame".to_owned());
    let house = House::new(Options { tls: true, password, ..Options::default() });
    let client = enter(&house, "open sesame", "localhost").await.expect("the right ones");
    assert_eq!(rows(&client, "SELECT 1").await, ["1"]);
    assert!(enter(&house, "sesame", "localhost").await.is_err(), "a wrong password");
    assert!(enter(&house, "open sesame", "elsewhere").await.is_err(), "a name that the certificate does not have");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_lost_before_during_and_after_commit() {
    let house = House::new(Options::default());
    run(&house.connect().await, &[LEDGER]).await;
    for (loss, answered, kept) in
        [(Loss::BeforeCommit, false, 0), (Loss::DuringCommit, false, 1), (Loss::AfterCommit, true, 2)]
    {
        house.server.lose(loss);
        let client = house.connect().await;
        run(&client, &["BEGIN READ ONLY", "SELECT 1", "COMMIT"]).await;
        assert_eq!(house.server.awaited(), 1, "a transaction that reads loses nothing");
        run(&client, &["BEGIN", "INSERT INTO ledger VALUES (1)"]).await;
        let outcome = client.simple_query("COMMIT").await;
        assert_eq!(outcome.is_ok(), answered, "{loss:?}");
        assert!(outcome.err().is_none_or(|error| error.as_db_error().is_none()), "{loss:?}: nothing is said");
        assert!(client.simple_query("SELECT 1").await.is_err(), "{loss:?}: the connection is gone");
        let count = rows(&house.connect().await, "SELECT count(*) FROM ledger").await;
        assert_eq!(count, [kept.to_string()], "{loss:?}");
        assert_eq!(house.server.awaited(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_fails_when_told_so() {
    let house = House::new(Options::default());
    let client = house.connect().await;
    run(&client, &[LEDGER]).await;
    house.server.fail_next(Failure::SerializableIsolation);
    run(&client, &["BEGIN", "LOCK ledger", "INSERT INTO ledger VALUES (1)"]).await;
    refused(&client, &[("COMMIT", "XX000", "1023 Serializable isolation violation on table")]).await;
    house.server.fail_next(Failure::Deadlock);
    run(&client, &["BEGIN"]).await;
    let aborted = "current transaction is aborted";
    refused(&client, &[("LOCK ledger", "40P01", "deadlock detected"), ("SELECT 1", "25P02", aborted)]).await;
    run(&client, &["ROLLBACK", "BEGIN", "LOCK TABLE ledger", "COMMIT"]).await;
    assert_eq!(rows(&client, "SELECT count(*) FROM ledger").await, ["0"]);
}
