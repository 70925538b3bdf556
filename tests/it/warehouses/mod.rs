//! One star schema in every warehouse: the same journal loaded into Delta tables, PostgreSQL and Redshift's stand-in, under
//! both isolation levels, through kills at each step of a load; judged by readers that are not ours.
//!
//! The stand-in is our reading of Redshift's rules: nothing here says what Redshift itself does.

mod kills;
mod refusals;
mod strangers;
mod tap;

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;
use serde_json::Value;

use crate::command::{Millstream, PipelineCopy};
use crate::databases::postgres;
use crate::databases::redshift::{Isolation, Options, Redshift};
use crate::oracle::Oracle;
use crate::python::python;
use crate::sqlfluff::parse_redshift;
use crate::stand_ins::s3_servers;
use crate::target::{Bucket, Hosted, STREAM, number, on_stage};

/// The role that COPY names; nobody asks for it here.
const ROLE: &str = "arn:aws:iam::123456789012:role/loader";

/// The tables of the star schema.
const TABLES: [&str; 5] = ["dim_customers", "dim_restaurants", "dim_delivery_riders", "dim_date", "fact_orders"];

/// A warehouse in a database.
struct Database {
    /// The target's name.
    target: &'static str,
    kind: &'static str,
    port: u16,
    name: String,
    /// Where its tables lie in PostgreSQL.
    behind: (u16, String),
    /// Further keys of its settings.
    further: String,
}

impl Database {
    fn postgres(target: &'static str) -> Self {
        let (port, name) = (postgres::postgres().port, postgres::database());
        Self { target, kind: "postgres", port, behind: (port, name.clone()), name, further: String::new() }
    }

    fn redshift(target: &'static str, server: &Redshift) -> Self {
        let (name, behind) = (server.database(), postgres::postgres().port);
        let further = format!(", iam_role = \"{ROLE}\"");
        Self { target, kind: "redshift", port: server.port, behind: (behind, name.clone()), name, further }
    }

    /// `warehouse = …` of its target.
    fn settings(&self) -> String {
        let Self { kind, port, name, further, .. } = self;
        let user = postgres::USER;
        format!(
            "warehouse = {{ kind = \"{kind}\", host = \"127.0.0.1\", port = {port}, database = \"{name}\", \
             user = \"{user}\"{further} }}"
        )
    }

    /// How another program reaches its tables.
    fn address(&self) -> String {
        let ((port, name), user) = (&self.behind, postgres::USER);
        format!("postgresql://{user}@127.0.0.1:{port}/{name}")
    }
}

/// A stand-in that sees the bucket.
fn redshift(bucket: &Bucket, isolation: Isolation) -> Redshift {
    Redshift::start(Options { isolation, buckets: HashMap::from([objects(bucket)]), ..Options::default() })
}

/// The bucket's name and its objects, as the stand-in reads them.
fn objects(bucket: &Bucket) -> (String, Arc<dyn ObjectStore>) {
    let store = AmazonS3Builder::new()
        .with_bucket_name(&bucket.name)
        .with_endpoint(format!("http://127.0.0.1:{}", bucket.server.port))
        .with_region("us-east-1")
        .with_access_key_id("AKIDREADER")
        .with_secret_access_key("reader")
        .with_allow_http(true)
        .build()
        .expect("a bucket");
    (bucket.name.clone(), Arc::new(store))
}

/// The pipeline with these targets, in small batches: all of them share the stream and the store.
fn pipeline(stream_port: u16, bucket: &Bucket, databases: &[&Database]) -> PipelineCopy {
    let target = |name: &str, warehouse: &str| {
        format!(
            "[target.{name}]\nregion = \"us-east-1\"\nstream_endpoint = \"http://127.0.0.1:{stream_port}\"\n{}\n{warehouse}\n",
            bucket.store()
        )
    };
    let mut targets = target("delta", "warehouse = { kind = \"delta\" }");
    for database in databases {
        targets.push_str(&target(database.target, &database.settings()));
    }
    PipelineCopy::new()
        .replace("pipeline.toml", "max_rows = 200_000", "max_rows = 500")
        .replace("pipeline.toml", "max_age = \"2s\"", "max_age = \"100ms\"")
        .replace("pipeline.toml", "freshness = \"10s\"", "freshness = \"100ms\"")
        .append("pipeline.toml", &targets)
}

fn on(pipeline: &PipelineCopy, target: &'static str) -> Millstream {
    Millstream { target: Some(target), ..on_stage(pipeline) }
}

/// The database holds what the Delta tables hold, row for row, as deltalake and psycopg read them.
fn is_the_same(bucket: &Bucket, database: &Database) -> Value {
    let delta = bucket.warehouse();
    let folder = delta.path().to_str().expect("UTF-8");
    python("compare_warehouses", &[folder, &database.address(), "food_delivery"])
}

/// Loads what waits, and looks at it with every command that looks.
fn load(millstream: &Millstream) {
    millstream.json("run", &["--once"]);
    let audit = millstream.json("audit", &["--deep"]);
    assert_eq!((&audit["clean"], &audit["waiting"]), (&Value::Bool(true), &Value::from(0)), "{audit}");
    assert!(number(&audit["rows_compared"]) > 2_000, "{audit}");
    let status = millstream.json("status", &[]);
    assert_eq!(status["loaded_through"], status["entries"], "{status}");
}

#[test]
fn the_star_schema_is_the_same_in_every_warehouse_row_for_row() {
    let source = PipelineCopy::new();
    let (hosted, bucket) = (Hosted::start(&source), Bucket::new(s3_servers()[0]));
    let (serializable, snapshot) = (redshift(&bucket, Isolation::Serializable), redshift(&bucket, Isolation::Snapshot));
    let databases = [
        Database::postgres("postgres"),
        Database::redshift("serializable", &serializable),
        Database::redshift("snapshot", &snapshot),
    ];
    let pipeline = pipeline(hosted.port, &bucket, &databases.iter().collect::<Vec<_>>());
    let all: Vec<Millstream> = ["delta"]
        .into_iter()
        .chain(databases.iter().map(|database| database.target))
        .map(|name| on(&pipeline, name))
        .collect();
    let customers = pipeline.pipeline.join("dims/dimCustomers.csv");
    let original = fs::read_to_string(&customers).expect("the file");
    let changed = original.replacen("Andrew Golden", "Andrew Silver", 1).replacen("Randall Martin", "", 1);
    assert_ne!(changed, original);
    // The dimension file as it is, changed, and as it was.
    for (round, file) in [&original, &changed, &original].into_iter().enumerate() {
        fs::write(&customers, file).expect("written");
        all[0].json("generate", &["--records", "1500", "--rate", "0", "--seed", &format!("{}", round + 1)]);
        all.iter().for_each(load);
    }
    let oracle = Oracle::of_stream(hosted.port, STREAM);
    oracle.compare(bucket.warehouse().path());
    for database in &databases {
        let rows = is_the_same(&bucket, database);
        assert!(TABLES.iter().all(|table| number(&rows[table]) > 0), "{}: {rows}", database.target);
    }
    ask_in_the_warehouse(&all);
    for server in [serializable, snapshot] {
        let statements = server.statements();
        assert!(statements.iter().any(|text| text.starts_with("COPY")), "{statements:?}");
        parse_redshift(&statements);
    }
}

/// Reports, and statements of one's own, in each warehouse's own SQL and in ours: the answers are the same.
fn ask_in_the_warehouse(all: &[Millstream]) {
    for report in ["orders_by_status", "revenue_by_cuisine", "riders_by_delivery_time"] {
        let here = all[0].ok("query", &["--report", report, "--format", "csv"]);
        for millstream in &all[1..] {
            assert_eq!(millstream.ok("query", &["--report", report, "--format", "csv"]), here, "{report}");
            let there = millstream.ok("query", &["--report", report, "--format", "csv", "--in", "warehouse"]);
            assert_eq!(there, here, "{report} in {:?}", millstream.target);
        }
    }
    for millstream in all {
        let rows = millstream.query("select loaded_through, loaded_at, copied from ledger order by 1 desc limit 1");
        let last = &millstream.json("status", &[])["last_load"];
        assert_eq!(rows[0]["loaded_through"], last["loaded_through"], "{rows:?}");
        let copied = rows[0]["copied"].as_str().expect("JSON as text");
        assert_eq!(serde_json::from_str::<Value>(copied).expect("JSON"), last["copied"], "{rows:?}");
    }
    for millstream in &all[1..] {
        let said = millstream.say("query", &["--in", "warehouse", "delete from fact_orders"]);
        assert_eq!(said.code, Some(2), "a question changes nothing: {said:?}");
        let said = millstream.say("query", &["--in", "warehouse", " ; "]);
        assert!(said.code == Some(2) && said.stderr.contains("it asks for nothing"), "{said:?}");
        let said = millstream.say("query", &["--in", "warehouse", "select nothing from fact_orders"]);
        assert!(said.code == Some(2) && said.stderr.contains("nothing"), "{said:?}");
    }
}

#[test]
fn the_local_target_loads_into_a_postgres_that_an_option_names() {
    let millstream = Millstream::new();
    let database = Database::postgres("local");
    let address =
        |more: &str| format!("postgres://{}@127.0.0.1:{}/{}{more}", postgres::USER, database.port, database.name);
    let (own, named) = (address(""), address("?schema=orders"));
    millstream.json("generate", &["--records", "800", "--rate", "0"]);
    for warehouse in [&own, &named] {
        let warehouse = ["--warehouse", warehouse.as_str()];
        millstream.json("run", &[&["--once"][..], &warehouse].concat());
        let audit = millstream.json("audit", &warehouse);
        assert_eq!((&audit["clean"], &audit["waiting"]), (&Value::Bool(true), &Value::from(0)), "{audit}");
        let asked = ["--in", "warehouse", "--format", "csv", "select count(*) as days from dim_date"];
        assert_eq!(millstream.ok("query", &[&asked[..], &warehouse].concat()), "days\n2192\n");
    }
    millstream.json("run", &["--once"]);
    let delta = millstream.data.path().join("warehouse");
    for schema in ["food_delivery", "orders"] {
        let rows = python("compare_warehouses", &[delta.to_str().expect("UTF-8"), &database.address(), schema]);
        assert!(number(&rows["fact_orders"]) > 100, "{rows}");
    }
    let said = millstream.say("check", &["--warehouse", "postgres://me:secret@127.0.0.1/db"]);
    assert!(said.code == Some(2) && said.stderr.contains("PGPASSWORD") && !said.stderr.contains("secret"), "{said:?}");
}
