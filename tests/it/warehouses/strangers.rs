//! A database that another journal or another pipeline has filled: left alone, and told by every command that looks.

use super::*;
use crate::command::{Said, until};

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

/// A command that looks and refuses: what it says, with exit code 1.
fn refused(millstream: &Millstream, command: &str, arguments: &[&str]) -> Said {
    let said = millstream.say(command, arguments);
    assert_eq!(said.code, Some(1), "{command}: {said:?}");
    said
}

#[test]
fn nothing_is_committed_where_another_journal_has_filled_the_database() {
    let bench = Bench::new();
    let (first, second) = (bench.folder("1"), bench.folder("2"));
    first.json("run", &bench.with(&["--once"]));
    let before = first.json("status", &bench.with(&[]));
    for (command, arguments) in [("check", &["--apply"][..]), ("run", &["--once"]), ("dims", &[])] {
        let said = refused(&second, command, &bench.with(arguments));
        assert!(said.stderr.contains("does not reach so far"), "{said:?}");
    }
    let said = refused(&second, "status", &bench.with(&["--json"]));
    let status: Value = serde_json::from_str(&said.stdout).expect("an object");
    assert_eq!((number(&status["records"]), &status["waiting"]), (0, &Value::Null), "{status}");
    assert_eq!(status["findings"][0]["about"], "warehouse", "{status}");
    assert!(status["findings"][0]["message"].to_string().contains("filled from another object store"), "{status}");
    let said = refused(&second, "audit", &bench.with(&[]));
    assert!(said.stdout.contains("filled from another object store"), "{said:?}");

    let after = first.json("status", &bench.with(&[]));
    assert_eq!((&after["last_load"], &after["loads"]), (&before["last_load"], &before["loads"]));
    assert_eq!(first.json("audit", &bench.with(&[]))["clean"], Value::Bool(true));
}

#[test]
fn every_command_tells_that_the_newest_entry_was_lost_after_it_was_loaded() {
    let bench = Bench::new();
    let first = bench.folder("1");
    first.json("run", &bench.with(&["--once"]));
    let entries = number(&first.json("status", &bench.with(&[]))["entries"]);
    let newest = first.data.path().join(format!("lake/journal/{entries:020}.json"));
    let kept = fs::read(&newest).expect("an entry");
    fs::remove_file(&newest).expect("removed");
    first.json("generate", &["--records", "50", "--rate", "0", "--seed", "2"]);
    for (command, arguments) in [("run", &["--once"][..]), ("check", &[]), ("dims", &[]), ("status", &[])] {
        let said = refused(&first, command, &bench.with(arguments));
        assert!(said.stderr.contains("the last entries of the journal were deleted"), "{said:?}");
        assert!(!said.stderr.contains("will be loaded later"), "{said:?}");
    }
    let said = refused(&first, "audit", &bench.with(&[]));
    assert!(
        said.stdout.contains("BROKEN loads") && said.stdout.contains("entries of the journal were deleted"),
        "{said:?}"
    );
    assert!(!newest.exists(), "nothing was committed");
    fs::write(&newest, kept).expect("restored");
    first.json("run", &bench.with(&["--once"]));
    assert_eq!(first.json("audit", &bench.with(&["--deep"]))["clean"], Value::Bool(true));
}

/// What a person must mend keeps back loading alone, and once it is mended no restart is needed.
#[test]
fn loading_stops_where_commits_of_a_table_are_gone_until_they_are_back_and_reading_goes_on() {
    let bench = Bench::new();
    let millstream = bench.folder("1");
    // Else a status that is asked before the run has begun would host the stream, and take it along when it ends.
    let _host = millstream.host_stream();
    let running = millstream.start("run", &[]);
    let status = || {
        let said = millstream.say("status", &["--json"]);
        serde_json::from_str::<Value>(&said.stdout).ok()
    };
    until("all is loaded", || {
        let status = status()?;
        (number(&status["records"]) == 300 && status["loaded_through"] == status["entries"]).then_some(())
    });
    let log = millstream.data.path().join("warehouse/fact_orders/_delta_log");
    let newest = fs::read_dir(log).expect("a log").map(|file| file.expect("a file").path()).max().expect("a commit");
    let kept = fs::read(&newest).expect("a commit");
    fs::remove_file(&newest).expect("removed");
    millstream.json("generate", &["--records", "100", "--rate", "0", "--seed", "2"]);
    until("all is read and the worker says why it does not load", || {
        let status = status()?;
        let stopped = &status["workers"][0]["loading_stopped"];
        let told =
            stopped["reason"].as_str().is_some_and(|reason| reason.contains("commits")) && stopped["since"].is_i64();
        (told && number(&status["records"]) == 400).then_some(())
    });
    let said = millstream.ok("status", &[]);
    assert!(
        said.contains("LOADING HAS STOPPED there since ") && said.contains("commits of the warehouse's table"),
        "{said}"
    );
    fs::write(&newest, kept).expect("restored");
    until("all is loaded again", || {
        let status = status()?;
        let goes_on = status["workers"][0]["loading_stopped"].is_null();
        (goes_on && status["loaded_through"] == status["entries"]).then_some(())
    });
    let said = running.interrupt();
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stderr.contains("loading has stopped") && said.stderr.contains("loading goes on"), "{said:?}");
    assert!(!said.stderr.contains("no longer this worker's"), "nobody has taken it over: {said:?}");
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
