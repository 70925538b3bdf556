//! A Delta warehouse on S3: loaded here, read back by programs that share no code with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use millstream::batch::{DataFile, Entry};
use millstream::error::ErrorKind;
use millstream::load::{DeltaWarehouse, LoadBounds, Place, Warehouse};
use millstream::query::{Holdings, Loaded, Query, QuerySettings};
use millstream::runtime::Context;
use millstream::schema::{History, Reference, TableKind, TableLayout, TableSpec};
use millstream::store::{Folder, Store};
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};

use super::{Bucket, PREFIX, buckets};
use crate::python::python;

fn spec(name: &str, kind: TableKind, columns: &[(&str, DataType)]) -> TableSpec {
    let fields = columns.iter().map(|(name, data_type)| Field::new(*name, data_type.clone(), true));
    TableSpec {
        name: name.to_owned(),
        kind,
        key: vec![columns[0].0.to_owned()],
        history: History::Overwrite,
        references: Vec::new(),
        columns: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
        one_to_one: true,
        max_bytes: BTreeMap::new(),
        layout: TableLayout::default(),
    }
}

fn specs() -> Vec<TableSpec> {
    let orders = [("order_id", DataType::Int64), ("rider_id", DataType::Int64), ("status", DataType::Utf8)];
    let riders = [("rider_id", DataType::Int64), ("name", DataType::Utf8)];
    let references = vec![Reference { column: "rider_id".to_owned(), dimension: "dim_riders".to_owned() }];
    vec![
        TableSpec { references, ..spec("fact_orders", TableKind::Fact, &orders) },
        spec("dim_riders", TableKind::Dimension, &riders),
    ]
}

/// Orders (id, rider, status), all of which arrived at this second.
fn orders(rows: &[(i64, i64, &str)], arrived: i64) -> RecordBatch {
    let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let versions = [Field::new("_arrived_at", instant, false), Field::new("_position", DataType::Utf8, false)];
    let fields = specs()[0].columns.fields().iter().map(|field| field.as_ref().clone()).collect::<Vec<_>>();
    let times = TimestampMicrosecondArray::from(vec![arrived * 1_000_000; rows.len()]).with_timezone("UTC");
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| Some(row.0)).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| Some(row.1)).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| Some(row.2)).collect::<StringArray>()),
        Arc::new(times),
        Arc::new(StringArray::from(vec![format!("{arrived:09}"); rows.len()])),
    ];
    let schema = Schema::new([fields, versions.to_vec()].concat());
    RecordBatch::try_new(Arc::new(schema), columns).expect("rows")
}

async fn stage(store: &Store, number: u64, rows: &RecordBatch) -> Arc<Entry> {
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, rows.schema(), None).expect("a writer");
    writer.write(rows).expect("written");
    writer.close().expect("closed");
    let path = format!("staged/fact_orders/{number}.parquet");
    let file = DataFile::of(path.clone(), rows.num_rows() as u64, &bytes);
    store.put(&path, bytes.into()).await.expect("staged");
    let entry = format!(
        r#"{{"format": 1, "number": {number}, "pipeline": "p", "writer": "w", "attempt": "a", "written_at": 0}}"#
    );
    let entry: Entry = serde_json::from_str(&entry).expect("an entry");
    Arc::new(Entry { tables: BTreeMap::from([("fact_orders".to_owned(), vec![file])]), ..entry })
}

fn folder(store: &Store) -> Folder {
    Folder::Store(store.clone(), "warehouse".to_owned())
}

fn warehouse(store: &Store) -> DeltaWarehouse {
    let place = Place { folder: folder(store), store: store.clone(), pipeline: "p".to_owned() };
    let bounds = LoadBounds { memory_bytes: 64 << 20, partitions: 2 };
    DeltaWarehouse::new(place, &specs(), Context::system(), bounds).expect("a warehouse")
}

async fn three_entries(store: &Store) -> Vec<Arc<Entry>> {
    let batches = [
        orders(&[(1, 7, "Placed"), (2, 8, "Placed")], 10),
        orders(&[(2, 8, "Delivered"), (3, 7, "Placed")], 20),
        orders(&[(1, 7, "late, and older"), (4, 9, "Placed")], 5),
    ];
    let mut entries = Vec::new();
    for (number, rows) in (1..).zip(&batches) {
        entries.push(stage(store, number, rows).await);
    }
    entries
}

/// The orders' cells as both readers see them.
fn read_back(bucket: &Bucket) -> Vec<Value> {
    let kept = tempfile::tempdir().expect("a folder");
    let local = kept.path().to_str().expect("a path");
    let prefix = format!("{PREFIX}/warehouse/");
    python("s3_download", &[&bucket.server.port.to_string(), &bucket.name, &prefix, local]);
    let tables = python("read_delta", &[local]);
    assert_eq!(tables, python("read_delta_duckdb", &[local]));
    let rows = tables["fact_orders"]["rows"].as_array().expect("rows").clone();
    rows.iter().map(|row| json!([row["order_id"], row["rider_id"], row["status"]])).collect()
}

fn expected() -> Vec<Value> {
    vec![json!([1, 7, "Placed"]), json!([2, 8, "Delivered"]), json!([3, 7, "Placed"]), json!([4, 9, "Placed"])]
}

async fn value(query: &Query, sql: &str) -> String {
    let mut text = Vec::new();
    let result = query.run(sql).await.expect("planned");
    millstream::query::write(result, millstream::query::Format::Csv, &mut text).await.expect("written");
    String::from_utf8(text).expect("UTF-8").lines().nth(1).expect("a row").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_loaded_is_read_back_by_others() {
    for bucket in buckets() {
        let store = bucket.store();
        let entries = three_entries(&store).await;
        let house = warehouse(&store);
        house.prepare().await.expect("prepared");
        for entry in &entries {
            house.load(std::slice::from_ref(entry)).await.expect("loaded");
        }
        assert_eq!(read_back(&bucket), expected(), "{}", bucket.server.name);

        let specs = specs();
        let holdings = Holdings {
            store: &store,
            warehouse: Loaded::Delta(&folder(&store)),
            specs: &specs,
            entries: &entries,
            verify: true,
        };
        let settings = QuerySettings { memory_bytes: 64 << 20, partitions: 2 };
        let query = Query::open(holdings, settings).await.expect("opened");
        let counts = [
            ("select count(*) from fact_orders", "4"),
            ("select count(*) from staged.fact_orders", "6"),
            ("select count(*) from dim_riders where is_inferred", "3"),
            ("select max(loaded_through) from ledger", "3"),
        ];
        for (sql, expected) in counts {
            assert_eq!(value(&query, sql).await, expected, "{sql} on {}", bucket.server.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_loaders_at_once_double_nothing() {
    for bucket in buckets() {
        let store = bucket.store();
        let entries = three_entries(&store).await;
        warehouse(&store).prepare().await.expect("prepared");
        let (first, second) = (warehouse(&store), warehouse(&bucket.store()));
        let outcomes = futures::join!(first.load(&entries), second.load(&entries[..2]));
        for error in [outcomes.0, outcomes.1].into_iter().filter_map(Result::err) {
            assert!(matches!(error.kind(), ErrorKind::Fenced | ErrorKind::Transient), "{error}");
        }
        let ledger = first.ledger().await.expect("a ledger");
        assert!(ledger.loaded_through >= 2, "one of them got in: {ledger:?}");
        if ledger.loaded_through < 3 {
            first.load(&entries[2..]).await.expect("the rest");
        }
        assert_eq!(read_back(&bucket), expected(), "{}", bucket.server.name);
        assert_eq!(warehouse(&store).ledger().await.expect("a ledger").loaded_through, 3);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warehouse_in_a_bucket_that_is_not_there_is_the_users_to_correct() {
    for bucket in buckets() {
        let nowhere = super::store(bucket.server.port, "no-such-bucket");
        let told = [
            warehouse(&nowhere).prepare().await.expect_err("no bucket"),
            warehouse(&nowhere).ledger().await.expect_err("no bucket"),
        ];
        let specs = specs();
        let holdings = Holdings {
            store: &nowhere,
            warehouse: Loaded::Delta(&folder(&nowhere)),
            specs: &specs,
            entries: &[],
            verify: true,
        };
        let settings = QuerySettings { memory_bytes: 64 << 20, partitions: 2 };
        let asked = Query::open(holdings, settings).await.err().expect("no bucket");
        for error in told.into_iter().chain([asked]) {
            assert_eq!(error.kind(), ErrorKind::Invalid, "{}: {error}", bucket.server.name);
        }
    }
}
