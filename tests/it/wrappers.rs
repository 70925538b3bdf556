//! Payloads in wrappers that others made: Python's gzip and json, Arrow's zstd, through the binary to the star schema.

use serde_json::{Value, json};

use crate::command::Millstream;
use crate::python::python_with_input;

const STREAM: &str = "incoming-food-order-data";
const ORDERS: u64 = 240;

fn order(id: u64) -> String {
    json!({
        "OrderID": id, "CustomerID": 1, "RestaurantID": 1, "RiderID": 1, "OrderDate": "2026-03-01T10:00:00Z",
        "OrderValue": 12.10, "OrderStatus": "Placed", "Note": "\"quoted\" \\ é 😀",
    })
    .to_string()
}

#[test]
fn orders_in_gzip_zstd_and_log_envelopes_become_rows_and_what_is_broken_keeps_its_bytes() {
    let millstream = Millstream::new();
    let (_host, port) = millstream.host_stream();
    let lines: Vec<String> = (1..=ORDERS).map(order).collect();
    let put = python_with_input("put_wrapped", &[&port.to_string(), STREAM], lines.join("\n").as_bytes());
    assert_eq!(put["orders"], ORDERS);
    let summary = millstream.json("run", &["--once"]);
    assert_eq!(summary["records"], put["records"], "{summary}");
    assert_eq!(summary["quarantined"], json!({"not_json": 1, "damaged_gzip": 1, "damaged_zstd": 1}), "{summary}");

    let ids = millstream.query("select count(*) as n, min(order_id) as first, max(order_id) as last from fact_orders");
    assert_eq!((&ids[0]["n"], &ids[0]["first"], &ids[0]["last"]), (&json!(ORDERS), &json!(1), &json!(ORDERS)));
    let rejects = millstream.query("select reason, payload from rejects");
    let payloads =
        rejects.iter().map(|row| (row["reason"].as_str().expect("a reason").to_owned(), row["payload"].clone()));
    assert_eq!(Value::Object(payloads.collect()), put["refused"]);
    let audit = millstream.json("audit", &[]);
    assert_eq!(audit["clean"], true, "{audit}");
}
