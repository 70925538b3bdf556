//! Questions: what they may do, take and leave behind; here and in a warehouse.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use crate::command::{Millstream, PipelineCopy, Running, Said, until};
use crate::databases::postgres;
use crate::python::python;
use crate::target::STREAM;

/// A few orders, loaded.
fn loaded() -> Millstream {
    let millstream = Millstream::new();
    millstream.json("generate", &["--records", "300", "--rate", "0"]);
    millstream.json("run", &["--once"]);
    millstream
}

/// The same, in a PostgreSQL; what `--warehouse` says of it.
fn loaded_into_postgres() -> (Millstream, String) {
    let millstream = Millstream::new();
    let (port, name) = (postgres::postgres().port, postgres::database());
    let warehouse = format!("postgres://{}@127.0.0.1:{port}/{name}", postgres::USER);
    millstream.json("generate", &["--records", "300", "--rate", "0"]);
    millstream.json("run", &["--once", "--warehouse", &warehouse]);
    (millstream, warehouse)
}

#[test]
fn a_question_in_the_warehouse_runs_no_program_and_reads_no_file_of_the_server() {
    let (millstream, warehouse) = loaded_into_postgres();
    let touched = std::env::temp_dir().join(format!("millstream-touched-{}", std::process::id()));
    let program = format!("copy (select 1) to program 'touch {}'", touched.display());
    for sql in [
        program.as_str(),
        "select pg_read_file('postgresql.conf')",
        "select * from pg_ls_dir('.')",
        "select lo_import('/etc/hostname')",
        "select pg_terminate_backend(pg_backend_pid())",
        "with gone as (delete from fact_orders returning *) select count(*) from gone",
        "select query_to_xml('select 1', true, true, '')",
        "select * into another from fact_orders",
        "select 1; select 2",
    ] {
        let said = millstream.say("query", &["--in", "warehouse", "--warehouse", &warehouse, sql]);
        assert_eq!(said.code, Some(2), "{sql}: {said:?}");
        assert!(said.stderr.contains("nothing was sent"), "{sql}: {said:?}");
    }
    assert!(!touched.exists());
    let sql = "with o as (select order_status from fact_orders) -- a comment\n select count(*) > 0 as some from o";
    let asked = ["--in", "warehouse", "--warehouse", &warehouse, "--format", "csv", sql];
    assert_eq!(millstream.ok("query", &asked), "some\ntrue\n");
}

#[test]
fn ctrl_c_ends_the_statement_at_the_server_too() {
    let (millstream, warehouse) = loaded_into_postgres();
    let working = || {
        let sql = "select count(*) as n from pg_stat_activity where state = 'active' and query like '%endless%' and \
                   pid <> pg_backend_pid()";
        let said = millstream.ok("query", &["--in", "warehouse", "--warehouse", &warehouse, "--format", "json", sql]);
        serde_json::from_str::<Value>(&said).expect("a row")["n"].as_u64().expect("a number")
    };
    let endless = "select count(*) as endless from generate_series(1, 100000000000) a, generate_series(1, 1000) b";
    let asking = millstream.start("query", &["--in", "warehouse", "--warehouse", &warehouse, endless]);
    until("the statement at work", || (working() == 1).then_some(()));
    let said = until_it_hears(asking);
    assert_eq!(said.code, Some(130), "{said:?}");
    assert!(said.stderr.contains("stopped") && !said.stderr.contains("may still be running"), "{said:?}");
    assert_eq!(working(), 0);
}

#[test]
fn ctrl_c_ends_a_question_that_is_answered_here() {
    let millstream = loaded();
    let endless = "select count(*) from generate_series(1, 100000000) a(x), generate_series(1, 100000000) b(y) \
                   where (x + y) % 3 = 1";
    let asking = millstream.start("query", &[endless]);
    // Its folder for spilled rows is made before it is asked.
    let spill = millstream.data.path().join("spill");
    until("the question", || folders(&spill).first().cloned());
    let said = until_it_hears(asking);
    assert_eq!(said.code, Some(130), "{said:?}");
}

/// Ctrl-C, when the handler for it is there: before, the process ends by the signal itself.
fn until_it_hears(asking: Running) -> Said {
    let status = format!("/proc/{}/status", asking.pid());
    until("a handler", || {
        let text = fs::read_to_string(&status).ok()?;
        let caught = text.lines().find_map(|line| line.strip_prefix("SigCgt:"))?.trim();
        (u64::from_str_radix(caught, 16).ok()? & 2 != 0).then_some(())
    });
    asking.signal("INT");
    asking.wait()
}

/// The folders for spilled rows in this place.
fn folders(place: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(place) else { return Vec::new() };
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.filter(|path| path.is_dir()).collect()
}

/// The bytes of all files below.
fn bytes(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let entries = entries.filter_map(Result::ok).map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => bytes(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    });
    entries.sum()
}

/// Some 150 MB of rows, in another order than they come.
const SORTED: &str = "select value % 1009 as a, value as b, lpad(cast(value as varchar), 120, 'x') as c \
                      from generate_series(1, 1000000) as g(value) order by a, b desc";

#[test]
fn what_does_not_fit_the_memory_is_spilled_and_the_answer_is_whole() {
    let millstream = loaded();
    let answer = millstream.ok("query", &[SORTED, "--memory", "48MiB", "--format", "csv"]);
    let mut lines = answer.lines().skip(1).map(|line| {
        let mut cells = line.split(',').map(|cell| cell.parse::<i64>());
        (cells.next().expect("a").expect("a number"), cells.next().expect("b").expect("a number"))
    });
    let mut last = lines.next().expect("a row");
    let mut rows = 1;
    for row in lines {
        assert!(row.0 > last.0 || (row.0 == last.0 && row.1 < last.1), "{row:?} after {last:?}");
        (last, rows) = (row, rows + 1);
    }
    assert_eq!(rows, 1_000_000);
    let grouped = "select count(*) as n, min(many) as least from (select lpad(cast(value as varchar), 60, 'x') as k, \
                   count(*) as many from generate_series(1, 800000) as g(value) group by 1)";
    let said = millstream.ok("query", &[grouped, "--memory", "48MiB", "--format", "csv"]);
    assert_eq!(said, "n,least\n800000,1\n");
    assert!(folders(&millstream.data.path().join("spill")).is_empty(), "nothing is left");
    for (limits, words) in [
        (&["--memory", "24MiB", "--spill", "0"][..], "--memory"),
        (&["--memory", "24MiB", "--spill", "8MiB"], "--spill"),
    ] {
        let said = millstream.say("query", &[&[SORTED, "--format", "csv"][..], limits].concat());
        assert_eq!(said.code, Some(2), "{}", said.stderr);
        assert!(said.stderr.contains(words), "{}", said.stderr);
    }
    let said = millstream.say("query", &["select 1", "--memory", "1MiB"]);
    assert!(said.code == Some(2) && said.stderr.contains("16 MiB"), "{said:?}");
    let said = millstream.say("query", &["select 1", "--memory", "much"]);
    assert!(said.code == Some(2) && said.stderr.contains("32MiB"), "{said:?}");
}

#[test]
fn what_a_killed_question_had_spilled_is_gone_after_the_next_one() {
    let millstream = loaded();
    let spill = millstream.data.path().join("spill");
    let mut command = millstream.command("query", &[SORTED, "--memory", "32MiB", "--format", "csv"]);
    // The answer is never read, so that it is never over.
    let mut asking = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the binary runs");
    until("spilled rows", || (bytes(&spill) > 1 << 20).then_some(()));
    // Another question beside it leaves them alone.
    millstream.ok("query", &["select 1"]);
    assert!(bytes(&spill) > 0);
    asking.kill().expect("it runs");
    asking.wait().expect("it ends");
    assert!(!folders(&spill).is_empty(), "a kill leaves no time to tidy up");
    millstream.ok("query", &["select 1"]);
    assert_eq!((folders(&spill).len(), bytes(&spill)), (0, 0));
}

/// Statements that become deep trees, and whether they are answered.
fn deep() -> Vec<(String, bool)> {
    let table = "from staged.fact_orders";
    let numbers: Vec<String> = (0..10_000).map(|number| number.to_string()).collect();
    let of = |times: usize, between: &str, one: &str| vec![one; times].join(between);
    vec![
        (format!("select count(*) {table} where order_id in ({})", numbers.join(", ")), true),
        (format!("select count(*) {table} where {}", of(3_000, " and ", "order_id <> 1")), false),
        (format!("select count(*) {table} where {}", of(3_000, " or ", "order_id = 1")), false),
        (format!("select count(*) {table} where {}", of(330, " and ", "order_id <> 1")), true),
        (format!("select count(*) {table} where {}", of(330, " or ", "order_id = 1")), true),
        (format!("select count(*) from ({})", of(3_000, " union all ", "select 1 as a")), false),
        (format!("select count(*) from ({})", of(200, " union all ", "select 1 as a")), true),
        (format!("select {}1{}", "(".repeat(100_000), ")".repeat(100_000)), false),
        (format!("select {}1{}", "case when true then ".repeat(3_000), " end".repeat(3_000)), false),
        (format!("select {}true", "not ".repeat(5_000)), false),
        (format!("select 1{}", "::int".repeat(5_000)), false),
        (format!("select order_id{} as n {table} limit 1", " + 1".repeat(5_000)), false),
        (format!("select order_id{} as n {table} limit 1", " + 1".repeat(400)), true),
        (format!("select {}1{}", "abs(".repeat(3_000), ")".repeat(3_000)), false),
        (format!("select * from {}select 1 as a{}", "(".repeat(3_000), ") t".repeat(3_000)), false),
    ]
}

#[test]
fn a_deep_statement_is_answered_or_refused_with_a_sentence() {
    let millstream = loaded();
    for (sql, answered) in deep() {
        // As an argument some would be too long for the system.
        let said = millstream.type_at_prompt(&format!("{sql};\n"));
        let shown = &sql[..80];
        assert_eq!(said.code, Some(if answered { 0 } else { 2 }), "{shown}: {}", said.stderr);
        assert!(answered || said.stderr.contains("error: "), "{shown}: {}", said.stderr);
    }
}

#[test]
fn a_pipeline_s_deep_sql_is_planned_or_refused_with_its_place() {
    let chain = |times: usize| vec!["order_value >= 0"; times].join(" AND ");
    let check = |times: usize| format!("\n[[check]]\nname = \"deep\"\nexpr = \"{}\"\n", chain(times));
    let with_check = |times: usize| PipelineCopy::new().append("pipeline.toml", &check(times));
    let refused = with_check(3_000);
    let millstream = Millstream::over(refused.pipeline.clone());
    for command in [&["check"][..], &["run", "--once"]] {
        let said = millstream.say(command[0], &command[1..]);
        assert!(said.code == Some(2) && said.stderr.contains("a chain of over 1000 operators"), "{said:?}");
    }
    let taken = with_check(300);
    let millstream = Millstream::over(taken.pipeline.clone());
    millstream.ok("check", &[]);
    millstream.json("generate", &["--records", "50", "--rate", "0"]);
    let summary = millstream.json("run", &["--once"]);
    assert!(summary["records"].as_u64().is_some_and(|records| records >= 50), "{summary}");
}

#[test]
fn rows_arrive_when_the_stream_says_to_the_last_digit() {
    let millstream = Millstream::new();
    let (_host, port) = millstream.host_stream();
    millstream.json("generate", &["--records", "400", "--rate", "400"]);
    millstream.json("run", &["--once"]);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("records");
    python("read_stream", &[&port.to_string(), STREAM, file.to_str().expect("UTF-8")]);
    let text = fs::read_to_string(file).expect("the records");
    let record = |line: &str| serde_json::from_str::<Value>(line).expect("JSON")["arrived_at_ms"].as_i64().expect("ms");
    let stream: Vec<i64> = text.lines().map(|line| record(line) * 1_000).collect();
    let staged = "select distinct arrow_cast(_arrived_at, 'Int64') as at from staged.fact_orders";
    let rows = millstream.query(staged);
    let odd: Vec<i64> =
        rows.iter().map(|row| row["at"].as_i64().expect("µs")).filter(|at| !stream.contains(at)).collect();
    assert!(
        rows.len() > 20 && odd.is_empty(),
        "{} of {} times are none of the stream's: {odd:?}",
        odd.len(),
        rows.len()
    );
}
