//! A database that another journal or another pipeline has filled: left alone, and told by every command that looks.

use super::*;
use crate::command::until;

/// Two data folders over one pipeline, and the database that both would load into.
struct Bench {
    source: PipelineCopy,
    url: String,
}

impl Bench {
    fn new() -> Self {
        let (user, database) = (postgres::USER, Database::postgres("local"));
        let url = format!("postgres://{user}@127.0.0.1:{}/{}?schema=food_delivery", database.port, database.name);
        let source = PipelineCopy::new().replace("pipeline.toml", "freshness = \"10s\"", "freshness = \"100ms\"");
        Self { source, url }
    }

    fn folder(&self, seed: &str) -> Millstream {
        let millstream = Millstream::over(self.source.pipeline.clone());
        millstream.json("generate", &["--records", "300", "--rate", "0", "--seed", seed]);
        millstream
    }

    /// A command's arguments, with the database's address.
    fn with<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        [arguments, &["--warehouse", &self.url]].concat()
    }
}

#[test]
fn loading_stops_and_reading_goes_on_where_another_journal_has_filled_the_database() {
    let bench = Bench::new();
    let (first, second) = (bench.folder("1"), bench.folder("2"));
    first.json("run", &bench.with(&["--once"]));
    let before = first.json("status", &bench.with(&[]));
    let said = second.say("check", &bench.with(&["--apply"]));
    assert!(said.code == Some(1) && said.stderr.contains("does not reach so far"), "{said:?}");

    // Else a status that is asked before the run has begun would host the stream, and take it along when it ends.
    let _host = second.host_stream();
    let running = second.start("run", &bench.with(&[]));
    until("all is read and the worker says that it loads no more", || {
        let said = second.say("status", &bench.with(&["--json"]));
        let status: Value = serde_json::from_str(&said.stdout).ok()?;
        let stopped = status["workers"][0]["loads"] == Value::Bool(false);
        (stopped && number(&status["records"]) == 300 && status["loads"].is_null()).then_some(())
    });
    let said = second.say("status", &bench.with(&[]));
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stdout.contains("LOADING HAS STOPPED there"), "{said:?}");
    assert!(said.stderr.contains("filled from another object store"), "{said:?}");
    let said = running.interrupt();
    assert_eq!(said.code, Some(1), "{said:?}");
    assert_eq!(said.stderr.matches("loading has stopped").count(), 1, "once: {said:?}");
    assert!(!said.stderr.contains("no longer this worker's"), "nobody has taken it over: {said:?}");
    let said = second.say("audit", &bench.with(&[]));
    assert!(said.code == Some(1) && said.stdout.contains("filled from another object store"), "{said:?}");

    let after = first.json("status", &bench.with(&[]));
    assert_eq!((&after["last_load"], &after["loads"]), (&before["last_load"], &before["loads"]));
    assert_eq!(first.json("audit", &bench.with(&[]))["clean"], Value::Bool(true));
}

#[test]
fn every_command_finds_the_pipeline_that_a_schema_belongs_to_before_it_changes_anything() {
    let bench = Bench::new();
    let first = bench.folder("1");
    first.json("run", &bench.with(&["--once"]));
    let other = PipelineCopy::new().replace("pipeline.toml", "name = \"food_delivery\"", "name = \"other\"").replace(
        "fact_orders.sql",
        "    tip_amount,\n",
        "    tip_amount,\n    order_id as one_more,\n",
    );
    let other = Millstream::over(other.pipeline.clone());
    for (command, arguments) in [("check", &[][..]), ("check", &["--apply"]), ("run", &["--once"]), ("dims", &[])] {
        let said = other.say(command, &bench.with(arguments));
        assert!(said.code == Some(2) && said.stderr.contains("holds the pipeline food_delivery"), "{said:?}");
    }
    let said = first.ok("check", &bench.with(&[]));
    assert!(said.contains("the warehouse has everything") && said.contains("schema food_delivery"), "{said}");
    let sql = "select column_name from information_schema.columns where column_name = 'one_more'";
    assert_eq!(first.ok("query", &bench.with(&["--in", "warehouse", "--format", "csv", sql])), "column_name\n");
}

#[test]
fn what_needs_no_database_is_answered_while_it_is_away() {
    let bench = Bench::new();
    let here = bench.folder("1");
    // Nobody listens there.
    let url = "postgres://nobody@127.0.0.1:9/nothing";
    let said = here.say("run", &["--once", "--warehouse", url]);
    assert_eq!(said.code, Some(1), "{said:?}");
    let said = here.say("status", &["--json", "--warehouse", url]);
    let status: Value = serde_json::from_str(&said.stdout).expect("an object");
    assert!(said.code == Some(1) && said.stderr.contains("127.0.0.1:9"), "{said:?}");
    assert_eq!((number(&status["records"]), &status["loads"], &status["waiting"]), (300, &Value::Null, &Value::Null));
    let sql = "select count(*) as orders from staged.fact_orders";
    let orders = here.ok("query", &[sql, "--format", "csv", "--warehouse", url]);
    assert!(orders.starts_with("orders\n") && orders.trim_end() != "orders\n0", "{orders}");
    assert!(here.ok("rejects", &["--warehouse", url]).contains("missing_field"));
}
