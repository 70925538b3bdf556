//! The main job from end to end, through the binary, judged by readers and an oracle that are not ours.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::{Value, json};

use crate::command::{Millstream, food_delivery, until};
use crate::oracle::Oracle;
use crate::python::{python, python_with_input};

const STREAM: &str = "incoming-food-order-data";

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("no number: {value}"))
}

fn sum(counts: &Value) -> u64 {
    counts.as_object().expect("an object").values().map(number).sum()
}

#[test]
fn the_demo_accounts_for_every_record_and_the_star_schema_is_the_oracles() {
    let millstream = Millstream::new();
    let summary = millstream.json("demo", &["--records", "3000"]);
    assert_eq!(summary["records"], 3000);
    let fact = number(&summary["staged"]["fact_orders"]);
    assert_eq!(summary["staged"], summary["loaded"], "all that is staged is loaded");
    assert!(fact > 0 && sum(&summary["quarantined"]) > 0, "{summary}");
    for latency in ["stage_latency_ms", "load_latency_ms"] {
        assert!(number(&summary[latency]["p50"]) <= number(&summary[latency]["p99"]), "{summary}");
    }

    let audit = millstream.json("audit", &[]);
    assert_eq!(
        (&audit["clean"], &audit["waiting"], &audit["orphans"]),
        (&json!(true), &json!(0), &json!(0)),
        "{audit}"
    );

    let (_host, port) = millstream.host_stream();
    let oracle = Oracle::of_stream(port, STREAM);
    oracle.compare(&millstream.data.path().join("warehouse"));
    assert_eq!(oracle.records(), 3000);
    assert_eq!(oracle.rejected(), sum(&summary["quarantined"]));
}

#[test]
fn the_demo_tells_a_person_what_it_did() {
    let millstream = Millstream::new();
    let text = millstream.ok("demo", &["--records", "600", "--seed", "7"]);
    for words in [
        "read         600 records",
        "quarantined",
        "fact_orders",
        "from arrival to loaded",
        "revenue by cuisine",
        "riders by delivery time",
        "orders by status",
        "Delivered",
    ] {
        assert!(text.contains(words), "{words:?} is not in {text}");
    }
}

#[test]
fn the_riders_of_the_report_are_those_of_the_file_with_enough_deliveries() {
    let millstream = Millstream::new();
    millstream.json("demo", &["--records", "4000", "--rate", "0"]);
    let mut tables = python("read_delta", &[millstream.data.path().join("warehouse").to_str().expect("UTF-8")]);
    let mut rows = |table: &str| match tables[table]["rows"].take() {
        Value::Array(rows) => rows,
        other => panic!("no rows: {other}"),
    };
    let named: BTreeMap<u64, Value> = rows("dim_delivery_riders")
        .into_iter()
        .filter(|row| row["is_current"] == true && row["is_inferred"] == false)
        .map(|row| (number(&row["rider_id"]), row["rider_name"].clone()))
        .collect();
    let mut delivered: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for fact in rows("fact_orders").iter().filter(|fact| fact["order_status"] == "Delivered") {
        let rider = number(&fact["rider_id"]);
        if named.contains_key(&rider) {
            delivered.entry(rider).or_default().push(number(&fact["delivery_minutes"]));
        }
    }
    let all: usize = delivered.values().map(Vec::len).sum();
    // Minutes in tenths, rounded; then more deliveries first, then the lower id.
    let tenths =
        |minutes: &[u64]| (20 * minutes.iter().sum::<u64>() + minutes.len() as u64) / (2 * minutes.len() as u64);
    let mut ranked: Vec<(u64, Reverse<usize>, u64)> = delivered
        .iter()
        .filter(|(_, minutes)| minutes.len() * delivered.len() >= all)
        .map(|(rider, minutes)| (tenths(minutes), Reverse(minutes.len()), *rider))
        .collect();
    ranked.sort_unstable();
    assert!(ranked.len() > 10 && ranked[0].1.0 > 1, "{ranked:?}");
    let expected = ranked.iter().take(10).map(|(tenths, deliveries, rider)| {
        let name = named[rider].as_str().expect("a name");
        format!("{rider} {name} {} {}.{}", deliveries.0, tenths / 10, tenths % 10)
    });
    let report = millstream.ok("query", &["--report", "riders_by_delivery_time", "--format", "json"]);
    let told = report.lines().map(|line| {
        let row: Value = serde_json::from_str(line).expect("a row");
        let text = |column: &str| row[column].to_string().trim_matches('"').to_owned();
        format!("{} {} {} {}", text("rider_id"), text("rider"), text("deliveries"), text("average_minutes"))
    });
    assert_eq!(told.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
}

#[test]
fn the_same_seed_makes_the_same_star_schema() {
    let rows = || {
        let millstream = Millstream::new();
        millstream.json("demo", &["--records", "500", "--seed", "3"]);
        let columns = "order_id, customer_id, restaurant_id, rider_id, order_value, order_status";
        millstream.query(&format!("select {columns} from fact_orders order by order_id"))
    };
    assert_eq!(rows(), rows());
}

#[test]
fn readers_that_are_not_ours_read_the_tables_and_the_staged_files() {
    let millstream = Millstream::new();
    millstream.json("demo", &["--records", "500"]);
    let count = |sql: &str| number(&millstream.query(&format!("select count(*) as n from {sql}"))[0]["n"]);
    let warehouse = millstream.data.path().join("warehouse");
    for reader in ["read_delta", "read_delta_duckdb"] {
        let read = python(reader, &[warehouse.to_str().expect("UTF-8")]);
        for table in ["fact_orders", "dim_customers", "dim_restaurants", "dim_delivery_riders", "dim_date"] {
            let rows = read[table]["rows"].as_array().expect("rows").len() as u64;
            assert!(rows > 0, "{table}");
            assert_eq!(rows, count(table), "{reader} of {table}");
        }
    }
    let staged = millstream.data.path().join("lake/staged/fact_orders");
    let files = python("read_parquet", &[staged.to_str().expect("UTF-8")]);
    let rows = |file: &Value| file["rows"].as_array().expect("rows").len() as u64;
    assert_eq!(files.as_array().expect("files").iter().map(rows).sum::<u64>(), count("staged.fact_orders"));
}

#[test]
fn records_from_another_client_are_read_and_bad_ones_keep_their_bytes() {
    let millstream = Millstream::new();
    let (_host, port) = millstream.host_stream();
    let order = |id: u64, status: &str| {
        json!({
            "OrderID": id, "CustomerID": 1, "RestaurantID": 1, "RiderID": 1, "OrderDate": "2026-03-01T10:00:00Z",
            "DeliveryTime": 30, "OrderValue": 12.10, "DeliveryFee": "2.05", "TipAmount": null, "OrderStatus": status,
        })
        .to_string()
    };
    let records = [order(1, "Placed"), order(2, " deLIVered "), "{\"OrderID\": 3, ".to_owned(), order(4, "Lost")];
    python_with_input("put_records", &[&port.to_string(), STREAM, "4"], records.join("\n").as_bytes());
    let summary = millstream.json("run", &["--once"]);
    assert_eq!((number(&summary["records"]), sum(&summary["quarantined"])), (4, 2), "{summary}");

    let facts = millstream.query("select order_id, total_amount, order_status from fact_orders order by order_id");
    let statuses: Vec<&Value> = facts.iter().map(|row| &row["order_status"]).collect();
    assert_eq!(statuses, ["Placed", "Delivered"]);
    let totals: Vec<String> = facts.iter().map(|row| row["total_amount"].to_string()).collect();
    assert!(totals.iter().all(|total| total.trim_matches('"') == "14.15"), "{totals:?}");

    let rejects = millstream.query("select reason, cast(payload as varchar) as payload from rejects order by reason");
    let payloads: BTreeSet<&str> = rejects.iter().filter_map(|row| row["payload"].as_str()).collect();
    assert_eq!(payloads, BTreeSet::from([records[2].as_str(), records[3].as_str()]));
    let reasons = millstream.json("rejects", &[]);
    assert_eq!((&reasons["rejects"][0]["events"], reasons["rejects"].as_array().map(Vec::len)), (&json!(1), Some(2)));
    let listed = millstream.ok("rejects", &[]);
    assert!(listed.contains("status_known"), "{listed}");
}

#[test]
fn a_second_run_finds_nothing_to_do_and_new_records_are_all_it_reads() {
    let millstream = Millstream::new();
    let (_host, _port) = millstream.host_stream();
    millstream.json("generate", &["--records", "400", "--rate", "0"]);
    assert_eq!(millstream.json("run", &["--once"])["records"], 400);
    assert_eq!(millstream.json("run", &["--once"])["records"], 0);
    millstream.json("generate", &["--records", "100", "--rate", "0", "--seed", "2"]);
    assert_eq!(millstream.json("run", &["--once"])["records"], 100);
    let status = millstream.json("status", &[]);
    assert_eq!((&status["records"], &status["shards"][0]["expires_in_ms"]), (&json!(500), &Value::Null), "{status}");
    assert_eq!(status["entries"], status["loaded_through"]);
}

#[test]
fn an_interrupted_run_commits_and_loads_what_it_has_read() {
    let millstream = Millstream::new();
    let (_host, _port) = millstream.host_stream();
    millstream.json("generate", &["--records", "300", "--rate", "0"]);
    let running = millstream.start("run", &[]);
    until("reading all records", || {
        let status = millstream.say("status", &["--json"]);
        let status: Value = serde_json::from_str(&status.stdout).ok()?;
        (status["records"] == 300).then_some(())
    });
    let said = running.interrupt();
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(said.stderr.contains("draining"), "{}", said.stderr);
    let status = millstream.json("status", &[]);
    assert_eq!(status["entries"], status["loaded_through"], "what was committed is loaded");
    assert_eq!(millstream.json("audit", &[])["clean"], true);
}

#[test]
fn a_stream_that_is_stopped_says_what_it_does() {
    let millstream = Millstream::new();
    let (host, _port) = millstream.host_stream();
    // Once it answers, it also listens to signals.
    millstream.json("generate", &["--records", "10", "--rate", "0"]);
    let said = host.interrupt();
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(
        said.stderr.contains("requests under way are answered") && !said.stderr.contains("loaded"),
        "{}",
        said.stderr
    );
}

#[test]
fn dimension_files_keep_history_and_fill_inferred_members() {
    let mut millstream = Millstream::new();
    let folder = tempfile::tempdir().expect("a folder");
    let pipeline = folder.path().join("food_delivery");
    let copied = std::process::Command::new("cp").arg("-r").arg(food_delivery()).arg(&pipeline).status();
    assert!(copied.expect("cp runs").success());
    let file = pipeline.join("dims/dimCustomers.csv");
    let whole = fs::read_to_string(&file).expect("the file");
    // The first customer is not there yet when an order names him.
    let without_first: String =
        whole.lines().enumerate().filter(|(line, _)| *line != 1).map(|(_, text)| format!("{text}\n")).collect();
    fs::write(&file, without_first).expect("written");
    millstream.pipeline = pipeline;
    let (_host, port) = millstream.host_stream();
    let order = r#"{"OrderID":1,"CustomerID":1,"RestaurantID":1,"RiderID":1,"OrderDate":"2026-03-01T10:00:00Z","OrderValue":"5","OrderStatus":"Placed"}"#;
    python_with_input("put_records", &[&port.to_string(), STREAM, "1"], order.as_bytes());
    millstream.json("run", &["--once"]);
    let first = |millstream: &Millstream| {
        millstream.query(
            "select surrogate_key, customer_name, is_inferred, is_current, cast(valid_from as varchar) as valid_from \
             from dim_customers where customer_id = 1 order by valid_from",
        )
    };
    let inferred = first(&millstream);
    assert_eq!(inferred.len(), 1);
    assert_eq!((&inferred[0]["is_inferred"], &inferred[0]["customer_name"]), (&json!(true), &Value::Null));

    fs::write(&file, &whole).expect("written");
    millstream.ok("dims", &[]);
    let filled = first(&millstream);
    assert_eq!(filled.len(), 1, "filled in place: {filled:?}");
    assert_eq!(filled[0]["surrogate_key"], inferred[0]["surrogate_key"]);
    assert_eq!((&filled[0]["is_inferred"], &filled[0]["customer_name"]), (&json!(false), &json!("Andrew Golden")));

    fs::write(&file, whole.replace("Andrew Golden", "Andrew Silver")).expect("written");
    millstream.ok("dims", &["--as-of", "2027-01-01T00:00:00Z"]);
    assert!(millstream.ok("dims", &[]).contains("no dimension file has changed"));
    let versions = first(&millstream);
    let told: Vec<(&Value, &Value)> = versions.iter().map(|row| (&row["customer_name"], &row["is_current"])).collect();
    assert_eq!(told, [(&json!("Andrew Golden"), &json!(false)), (&json!("Andrew Silver"), &json!(true))]);
    assert!(versions[1]["valid_from"].as_str().expect("a time").starts_with("2027-01-01"), "{versions:?}");
    assert_eq!(millstream.json("audit", &[])["clean"], true);
}

#[test]
fn statements_from_a_pipe_are_answered_one_by_one_and_a_mistake_is_told() {
    let millstream = Millstream::new();
    millstream.ok("dims", &[]);
    let said =
        millstream.type_at_prompt("\\d\nselect nonsense;\nselect count(*) as n\nfrom dim_restaurants;\nselect 12345");
    assert_eq!(said.code, Some(2), "{said:?}");
    for words in ["staged.fact_orders", "50", "12345"] {
        assert!(said.stdout.contains(words), "{words:?} is not in {}", said.stdout);
    }
    assert!(said.stderr.contains("nonsense"), "{}", said.stderr);
}

#[test]
fn a_check_and_the_ddl_name_what_the_pipeline_holds() {
    let millstream = Millstream::new();
    let check = millstream.ok("check", &[]);
    assert!(check.contains("food_delivery") && check.contains("5 tables") && check.contains("no fault"), "{check}");
    let left = fs::read_dir(millstream.data.path()).expect("the folder").count();
    assert_eq!(left, 0, "check writes nothing");
    let ddl = millstream.ok("ddl", &[]);
    for words in ["fact_orders", "dim_customers", "surrogate_key", "valid_from", "total_amount"] {
        assert!(ddl.to_lowercase().contains(words), "{words:?} is not in {ddl}");
    }
}

#[test]
fn a_warehouse_that_was_tampered_with_is_found_by_the_audit_and_not_loaded_into() {
    let millstream = Millstream::new();
    millstream.json("demo", &["--records", "600"]);
    let table = millstream.data.path().join("warehouse/fact_orders");
    let aside = millstream.data.path().join("warehouse/aside");
    fs::rename(&table, &aside).expect("moved");
    let audit = millstream.say("audit", &[]);
    assert_eq!(audit.code, Some(1), "{audit:?}");
    assert!(audit.stdout.contains("BROKEN warehouse: fact_orders"), "{audit:?}");
    let run = millstream.say("run", &["--once"]);
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.stderr.contains("fact_orders is gone"), "{run:?}");

    fs::rename(&aside, &table).expect("moved back");
    millstream.json("run", &["--once"]);
    assert_eq!(millstream.json("audit", &[])["clean"], true);

    // As the message says: without any warehouse, everything is loaded anew from the staged files.
    let before = millstream.query("select * from fact_orders order by order_id");
    fs::remove_dir_all(millstream.data.path().join("warehouse")).expect("removed");
    millstream.json("run", &["--once"]);
    assert_eq!(millstream.query("select * from fact_orders order by order_id"), before);
}
