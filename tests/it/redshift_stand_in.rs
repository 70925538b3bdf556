//! The Redshift that says no is seen to say no: each group of its rules, with a plain client.

mod conflicts;
mod connections;
mod copy;
mod ddl;
mod queries;

use std::collections::HashMap;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use crate::databases::redshift::{Options, Redshift};

/// A server with one bucket, `lake`, and a database.
struct House {
    server: Redshift,
    database: String,
    lake: Arc<InMemory>,
}

impl House {
    fn new(options: Options) -> Self {
        let lake = Arc::new(InMemory::new());
        let store: Arc<dyn ObjectStore> = lake.clone();
        let server = Redshift::start(Options { buckets: HashMap::from([("lake".to_owned(), store)]), ..options });
        let database = server.database();
        Self { server, database, lake }
    }

    async fn connect_and_keep(self) -> (Self, Client) {
        let client = self.connect().await;
        (self, client)
    }

    async fn connect(&self) -> Client {
        let place = format!("host=127.0.0.1 port={} user=loader dbname={}", self.server.port, self.database);
        let (client, connection) = tokio_postgres::connect(&place, NoTls).await.expect("a connection");
        tokio::spawn(connection);
        client
    }
}

/// Runs statements, each by itself.
async fn run(client: &Client, statements: &[&str]) {
    for statement in statements {
        client.simple_query(statement).await.unwrap_or_else(|error| panic!("{statement}: {:?}", told(&error)));
    }
}

/// The rows of a query, values joined by `|`.
async fn rows(client: &Client, query: &str) -> Vec<String> {
    let messages = client.simple_query(query).await.unwrap_or_else(|error| panic!("{query}: {:?}", told(&error)));
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|place| row.get(place).unwrap_or("null")).collect::<Vec<_>>().join("|"))
        }
        _ => None,
    });
    rows.collect()
}

/// SQLSTATE, and message with detail, of an error.
fn told(error: &tokio_postgres::Error) -> (String, String) {
    match error.as_db_error() {
        Some(known) => {
            let detail = known.detail().unwrap_or_default();
            (known.code().code().to_owned(), format!("{} {detail}", known.message()))
        }
        None => (String::new(), error.to_string()),
    }
}

/// How a statement is refused.
async fn refusal(client: &Client, statement: &str) -> (String, String) {
    match client.simple_query(statement).await {
        Ok(_) => panic!("it is taken: {statement}"),
        Err(error) => told(&error),
    }
}

/// Each statement is refused with this SQLSTATE and these words.
async fn refused(client: &Client, cases: &[(&str, &str, &str)]) {
    for (statement, code, words) in cases {
        let (found, said) = refusal(client, statement).await;
        assert!(found == *code && said.contains(words), "{statement}: {found} {said}");
    }
}
