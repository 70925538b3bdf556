//! The food delivery service's own producer, whose records Millstream must take unchanged.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::command::{Millstream, PipelineCopy, food_delivery};
use crate::python::python;

const STREAM: &str = "incoming-food-order-data";

/// The rows of fact_orders by their id, without the columns that are Millstream's own.
fn facts(reader: &str, millstream: &Millstream) -> Vec<Value> {
    let warehouse = millstream.data.path().join("warehouse");
    let mut read = python(reader, &[warehouse.to_str().expect("UTF-8")]);
    let mut rows = read["fact_orders"]["rows"].as_array_mut().map(std::mem::take).expect("rows");
    for row in &mut rows {
        row.as_object_mut().expect("a row").retain(|column, _| !column.starts_with('_'));
    }
    rows.sort_by_key(|row| row["order_id"].as_i64());
    rows
}

#[test]
fn a_thousand_orders_of_the_real_producer_become_a_thousand_facts() {
    let millstream = Millstream::new();
    let (_host, port) = millstream.host_stream();
    let dims = food_delivery().join("dims");
    let sent = python("food_producer", &[&port.to_string(), STREAM, dims.to_str().expect("UTF-8"), "1"]);
    let sent = sent.as_array().expect("rows");
    let summary = millstream.json("run", &["--once"]);
    assert_eq!((&summary["records"], &summary["quarantined"]), (&json!(1000), &json!({})), "{summary}");

    let statuses: BTreeSet<&str> = sent.iter().filter_map(|row| row["order_status"].as_str()).collect();
    assert_eq!(statuses, BTreeSet::from(["Cancelled", "Delivered", "On the way", "Processing"]));
    for reader in ["read_delta", "read_delta_duckdb"] {
        let rows = facts(reader, &millstream);
        for (row, expected) in rows.iter().zip(sent) {
            assert_eq!(row, expected, "{reader}");
        }
        assert_eq!(rows.len(), 1000, "{reader}");
    }
    let audit = millstream.json("audit", &[]);
    assert_eq!((&audit["clean"], &audit["waiting"]), (&json!(true), &json!(0)), "{audit}");
}

#[test]
fn another_zone_for_rows_that_are_there_is_refused_before_anything_is_read() {
    let copied = PipelineCopy::new();
    let millstream = Millstream::over(copied.pipeline.clone());
    millstream.json("generate", &["--records", "20", "--rate", "0"]);
    millstream.json("run", &["--once"]);
    let _changed = copied.replace("pipeline.toml", "assume_zone = \"UTC\"", "assume_zone = \"Asia/Kolkata\"");
    for command in [&["check"][..], &["run", "--once"], &["dims"]] {
        let said = millstream.say(command[0], &command[1..]);
        let words = "the event field order_date was read with assume_zone UTC, and the pipeline now says Asia/Kolkata";
        assert!(said.code == Some(2) && said.stderr.contains(words), "{command:?}: {said:?}");
    }
}
