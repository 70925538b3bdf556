//! The PostgreSQL behind: databases with Redshift's functions and views, and one connection for each in front.

use tokio_postgres::{Client, Config, NoTls};

use super::super::postgres::{USER, postgres};
use super::Isolation;
use super::refusal::Refusal;

/// Functions and views that Redshift has and PostgreSQL has not.
const CATALOG: &str = include_str!("catalog.sql");

/// The port of the PostgreSQL that all tests of this process share.
pub(super) fn port() -> u16 {
    postgres().port
}

fn config(port: u16, database: &str) -> Config {
    let mut config = Config::new();
    config.host("127.0.0.1").port(port).user(USER).dbname(database).application_name("redshift");
    config
}

/// A connection; it ends when the client is dropped.
pub(super) async fn connect(port: u16, database: &str) -> Result<Client, Refusal> {
    let (client, connection) = config(port, database).connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Makes a database that looks like a Redshift's.
pub(super) async fn make_database(port: u16, name: &str) {
    let server = connect(port, "postgres").await.expect("the PostgreSQL behind");
    let made = server.batch_execute(&format!("CREATE DATABASE \"{name}\" ENCODING 'UTF8'")).await;
    made.expect("a new database");
    let database = connect(port, name).await.expect("the new database");
    database.batch_execute(CATALOG).await.expect("Redshift's functions and views");
}

/// A session with Redshift's defaults.
pub(super) async fn open(port: u16, database: &str, isolation: Isolation) -> Result<Client, Refusal> {
    let client = connect(port, database).await?;
    let isolation = level(isolation);
    let settings = format!(
        "SET default_transaction_isolation = '{isolation}'; SET timezone = 'UTC'; SET client_min_messages = 'error'"
    );
    client.batch_execute(&settings).await?;
    Ok(client)
}

/// The isolation as PostgreSQL calls it.
pub(super) fn level(isolation: Isolation) -> &'static str {
    match isolation {
        Isolation::Serializable => "serializable",
        Isolation::Snapshot => "repeatable read",
    }
}
