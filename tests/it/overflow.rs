//! SQL over what does not fit, end to end: a producer's three orders, of which one overflows and one asks a function
//! for two billion characters.

use serde_json::{Value, json};

use crate::command::{Millstream, PipelineCopy};
use crate::python::python_with_input;

const STREAM: &str = "incoming-food-order-data";

fn order(id: u64, customer: u64, restaurant: u64, minutes: u64) -> String {
    json!({
        "OrderID": id, "CustomerID": customer, "RestaurantID": restaurant, "RiderID": 1, "OrderValue": 12.10,
        "OrderDate": "2026-03-01T10:00:00Z", "OrderStatus": "Placed", "DeliveryTime": minutes,
    })
    .to_string()
}

/// Puts the orders, runs once, and gives the summary and the pipeline's folder with what it holds.
fn run(pipeline: &PipelineCopy, orders: &[String]) -> (Millstream, Value) {
    let millstream = Millstream::over(pipeline.pipeline.clone());
    let (_host, port) = millstream.host_stream();
    python_with_input(
        "put_records",
        &[&port.to_string(), STREAM, &orders.len().to_string()],
        orders.join("\n").as_bytes(),
    );
    let summary = millstream.json("run", &["--once"]);
    (millstream, summary)
}

#[test]
fn of_three_orders_the_one_that_overflows_goes_to_quarantine_and_a_query_says_where() {
    let product = "customer_id,\n    customer_id * restaurant_id as visits,";
    let pipeline = PipelineCopy::new().replace("fact_orders.sql", "customer_id,", product);
    let orders = [order(1, 7, 9, 20), order(2, 100_000, 50_000, 20), order(3, 46_340, 46_340, 20)];
    let (millstream, summary) = run(&pipeline, &orders);
    assert_eq!(summary["quarantined"], json!({"sql_error": 1}), "{summary}");
    let rows = millstream.query("select order_id, visits from fact_orders order by order_id");
    let told: Vec<_> = rows.iter().map(|row| (row["order_id"].clone(), row["visits"].clone())).collect();
    assert_eq!(told, [(json!(1), json!(63)), (json!(3), json!(2_147_395_600))]);
    let rejects = millstream.query("select reason, message, payload from rejects");
    // Bytes are hexadecimal digits in JSON.
    let payload: String = orders[1].bytes().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        (rejects.len(), &rejects[0]["reason"], &rejects[0]["payload"]),
        (1, &json!("sql_error"), &json!(payload))
    );
    let words = "100000 * 50000 is beyond integer (32 bits) in customer_id * restaurant_id; cast to bigint first";
    assert_eq!(rejects[0]["message"], format!("the SQL of fact_orders fails on it: {words}"));
    assert_eq!(millstream.json("audit", &[])["clean"], true);

    for (sql, words) in [
        ("select visits * visits * 3 from fact_orders", "is beyond"),
        ("select sum(9223372036854775807) from fact_orders", "the sum 18446744073709551614 is beyond bigint (64 bits)"),
        ("select 9223372036854775807 + 1", "9223372036854775807 + 1 is beyond bigint (64 bits)"),
        ("select repeat('x', 1000000000)", "repeat() would make a value of 1000000000 bytes"),
    ] {
        let said = millstream.say("query", &[sql]);
        assert_eq!(said.code, Some(2), "{sql}: {said:?}");
        assert!(said.stderr.contains(words), "{sql}: {}", said.stderr);
    }
}

#[test]
fn an_order_for_which_a_function_would_make_two_gigabytes_is_refused_and_the_run_goes_on() {
    let padded = "restaurant_id,\n    length(lpad('x', customer_id)) as padded,";
    let pipeline = PipelineCopy::new().replace("fact_orders.sql", "restaurant_id,", padded);
    let orders = [order(1, 7, 1, 20), order(2, 2_147_483_647, 1, 20), order(3, 9, 1, 20)];
    let (millstream, summary) = run(&pipeline, &orders);
    assert_eq!(summary["quarantined"], json!({"sql_error": 1}), "{summary}");
    let rows = millstream.query("select order_id, padded from fact_orders order by order_id");
    let told: Vec<_> = rows.iter().map(|row| (row["order_id"].clone(), row["padded"].clone())).collect();
    assert_eq!(told, [(json!(1), json!(7)), (json!(3), json!(9))]);
    let rejects = millstream.query("select message from rejects");
    let message = rejects[0]["message"].as_str().expect("a message");
    assert!(message.contains("lpad() would make a value of 2147483648 bytes"), "{message}");
}
