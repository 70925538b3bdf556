//! The whole job, by the binary, over a stream of kinesis-local that is split and merged while it is read.

use serde_json::{Value, json};

use super::{Plan, Proxy, Stream, kinesis_local, middle};
use crate::command::{Millstream, PipelineCopy, until};
use crate::oracle::Oracle;

const STREAM: &str = "run-while-resharding";

/// An order whose status, and nothing else, changes with the round.
fn order(id: usize, round: usize) -> (String, String) {
    let status = ["Placed", "Preparing", "On the way", "Delivered"][round % 4];
    let order = json!({
        "OrderID": id, "CustomerID": 1 + id % 50, "RestaurantID": 1 + id % 20, "RiderID": 1 + id % 10,
        "OrderDate": "2026-03-01T10:00:00Z", "OrderValue": 12.10, "TipAmount": round, "OrderStatus": status,
    });
    (id.to_string(), order.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_stream_that_is_split_and_merged_while_it_is_read_becomes_the_oracles_star_schema() {
    let server = kinesis_local::port();
    let proxy = Proxy::before(server, Plan::seeded(11, 8)).await;
    let stream = Stream::make(server, STREAM, 2).await;
    let pipeline = PipelineCopy::new()
        .replace("pipeline.toml", "incoming-food-order-data", STREAM)
        .replace("pipeline.toml", "max_rows = 200_000", "max_rows = 60")
        .replace("pipeline.toml", "max_age = \"2s\"", "max_age = \"200ms\"")
        .replace("pipeline.toml", "freshness = \"10s\"", "freshness = \"500ms\"");
    let (millstream, _pipeline) = Millstream::on_server(pipeline, proxy.port);
    let running = millstream.start("run", &[]);
    let mut put = 0;
    for round in 0..6 {
        let orders: Vec<(String, String)> = (0..120).map(|id| order(id, round)).collect();
        stream.put(&orders).await;
        put += orders.len();
        let shards = stream.open_shards().await;
        match round {
            1 | 3 => stream.merge(&shards[0], &shards[1]).await,
            _ => stream.split(&shards[0], middle(&shards[0])).await,
        }
    }
    let status = tokio::task::block_in_place(|| {
        let status = until("reading all records", || {
            let said = millstream.say("status", &["--json"]);
            let status: Value = serde_json::from_str(&said.stdout).ok()?;
            (status["records"] == put).then_some(status)
        });
        let said = running.interrupt();
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        let audit = millstream.json("audit", &[]);
        assert_eq!((&audit["clean"], &audit["waiting"]), (&json!(true), &json!(0)), "{audit}");
        let oracle = Oracle::of_stream(server, STREAM);
        assert_eq!(oracle.records(), put as u64);
        oracle.compare(&millstream.data.path().join("lake/warehouse"));
        status
    });
    assert_eq!(stream.shards().await.len(), 2 + 4 * 2 + 2, "four splits, two merges: {status}");
    assert!(proxy.counts().faults.len() >= 5, "{:?}", proxy.counts());
}
