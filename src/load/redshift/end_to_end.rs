//! A whole warehouse on the Redshift that says no: what a person is told of a COPY that is refused.

use std::collections::{BTreeMap, HashMap};

use arrow::array::{ArrayRef, AsArray, Int32Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::DataType;
use futures::TryStreamExt;
use parquet::arrow::ArrowWriter;

use super::*;
use crate::batch::{DataFile, Entry};
use crate::config::Tls;
use crate::error::ErrorKind;
use crate::load::{SqlWarehouse, Warehouse};
use crate::schema::TableKind;
use crate::schema::samples::table;
use crate::stand_ins::redshift::{ErrorViews, Options, Redshift};

/// The table whose `status` has room for eight bytes.
fn spec() -> TableSpec {
    let columns = [("order_id", DataType::Int32), ("status", DataType::Utf8)];
    let max_bytes = BTreeMap::from([("status".to_owned(), 8)]);
    TableSpec { max_bytes, ..table("fact_orders", TableKind::Fact, &columns) }
}

/// Stages a file of these rows as the entry of this number.
async fn stage(store: &Store, number: u64, statuses: &[&str]) -> Vec<Arc<Entry>> {
    let count = statuses.len();
    let instants = TimestampMicrosecondArray::from(vec![1_795_168_800_000_000; count]).with_timezone("UTC");
    let columns: [(&str, ArrayRef); 4] = [
        ("order_id", Arc::new((0..count as i32).collect::<Int32Array>())),
        ("status", Arc::new(StringArray::from(statuses.to_vec()))),
        ("_arrived_at", Arc::new(instants)),
        ("_position", Arc::new((0..count).map(|row| Some(format!("{number:04}-{row:09}"))).collect::<StringArray>())),
    ];
    let rows = RecordBatch::try_from_iter(columns).expect("rows");
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, rows.schema(), None).expect("a writer");
    writer.write(&rows).expect("written");
    writer.close().expect("closed");
    let path = format!("staged/fact_orders/{number}.parquet");
    let file = DataFile::of(path.clone(), count as u64, &bytes);
    store.put(&path, bytes.into()).await.expect("staged");
    let entry = format!(
        r#"{{"format": 1, "number": {number}, "pipeline": "food", "writer": "w", "attempt": "a", "written_at": 0}}"#
    );
    let entry: Entry = serde_json::from_str(&entry).expect("an entry");
    vec![Arc::new(Entry { tables: BTreeMap::from([("fact_orders".to_owned(), vec![file])]), ..entry })]
}

fn warehouse(server: &Redshift, database: String, store: Store) -> UpsertWarehouse {
    let login = Login::Environment { user: "etl".to_owned(), variable: "MILLSTREAM_NOBODY_SETS_THIS".to_owned() };
    let access = ServerSettings { host: "127.0.0.1".to_owned(), port: server.port, login, tls: Tls::Off };
    let settings = RedshiftSettings {
        access: RedshiftAccess::Wire(access),
        database,
        schema: None,
        iam_role: "default".to_owned(),
        fixed_length_decimals: false,
        endpoint: None,
    };
    let chain = AwsChain::fixed("eu-central-1", "AKIDFIXED", "very-secret");
    let place = SqlPlace { store, pipeline: "food".to_owned() };
    RedshiftWarehouse::new(&settings, chain, place, (&[spec()], Context::system())).expect("a warehouse")
}

fn server(store: &Store, error_views: ErrorViews) -> Redshift {
    let buckets = HashMap::from([("orders-lake".to_owned(), store.objects())]);
    Redshift::start(Options { buckets, error_views, ..Options::default() })
}

#[tokio::test]
async fn a_value_that_is_too_wide_is_named_by_file_row_and_column_and_nothing_is_loaded() {
    for error_views in [ErrorViews::Sys, ErrorViews::Stl] {
        let store = examples::lake();
        let server = server(&store, error_views);
        let warehouse = warehouse(&server, server.database(), store.clone());
        warehouse.prepare().await.expect("tables");
        warehouse.load(&stage(&store, 1, &["open", "paid"]).await).await.expect("they fit");
        let before = warehouse.ledger().await.expect("a ledger");
        // The third has nine letters, ten bytes.
        let wide = stage(&store, 2, &["open", "geklärt", "verspätet", "geschlossen"]).await;
        let error = warehouse.load(&wide).await.expect_err("too wide");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        let told = "redshift refuses to copy rows into fact_orders: file staged/fact_orders/2.parquet of entry 2, row 3, \
                    column status, value \"verspätet\": The length of the data column status is longer than the length \
                    defined in the table. Table: 8, Data:";
        assert!(error.to_string().contains(told), "{error_views:?}: {error}");
        assert!(error.to_string().contains("(code 15001); nothing of this load is in the warehouse; "), "{error}");
        assert_eq!(warehouse.ledger().await.expect("a ledger"), before, "{error_views:?}");
        assert_eq!(warehouse.held("fact_orders").await.expect("rows").rows, 2, "{error_views:?}");
        assert_eq!(store.list("manifests", None).await.expect("listed"), [], "{error_views:?}");
        // What a person is asked to do helps: the same entry goes in.
        warehouse.load(&stage(&store, 2, &["open"]).await).await.expect("it fits now");
    }
}

#[tokio::test]
async fn an_answer_with_a_super_comes_as_text_and_one_without_by_its_types() {
    let store = examples::lake();
    let server = server(&store, ErrorViews::Sys);
    let warehouse = warehouse(&server, server.database(), store);
    for (sql, types, first) in [
        ("SELECT 7 AS n, json_parse('[1]') AS v", ["Utf8", "Utf8"], Some("7")),
        ("SELECT 7 AS n, 'x' AS v", ["Int32", "Utf8"], None),
    ] {
        let answer = warehouse.query(sql).await.expect(sql);
        let found: Vec<String> = answer.schema.fields().iter().map(|field| field.data_type().to_string()).collect();
        assert_eq!(found, types, "{sql}");
        let names: Vec<&str> = answer.schema.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(names, ["n", "v"], "{sql}");
        let rows: Vec<RecordBatch> = answer.batches.try_collect().await.expect(sql);
        assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 1, "{sql}");
        let text = rows[0].column(0).as_string_opt::<i32>().map(|texts| texts.value(0));
        assert_eq!(text, first, "{sql}");
    }
    // What is refused, and more than one statement, still are.
    for (sql, words) in [
        ("SELECT json_parse('[1]'), nothing", "nothing"),
        ("SELECT json_parse('[1]'); COMMIT; CREATE TABLE t (n INTEGER)", "it holds 3 statements"),
    ] {
        let error = warehouse.query(sql).await.err().expect(sql);
        assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains(words), "{sql}: {error}");
    }
    let begun = server.statements().iter().filter(|said| *said == "BEGIN READ ONLY").count();
    assert_eq!(begun, 6, "two that ask of functions, and one that begins anew for the SUPER");
}
