//! COPY: its words, manifests, columns by position, and what it tells afterwards.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, Float64Array, Int16Array,
    Int32Array, Int64Array, ListArray, RecordBatch, StringArray, TimestampMicrosecondArray, TimestampNanosecondArray,
    UInt32Array,
};
use arrow::datatypes::{Int32Type, Schema};
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};
use tokio_postgres::Client;

use super::{House, refusal, refused, rows, run};
use crate::databases::redshift::{ErrorViews, Options};

const ROLE: &str = "IAM_ROLE 'arn:aws:iam::123456789012:role/load' FORMAT AS PARQUET";

/// A Parquet file of these columns.
fn parquet(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let rows = RecordBatch::try_from_iter(columns).expect("columns of one length");
    let fields: Vec<_> =
        rows.schema().fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    let rows = rows.with_schema(Arc::new(Schema::new(fields))).expect("the same columns");
    let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), None).expect("a writer");
    writer.write(&rows).expect("rows");
    writer.into_inner().expect("a file")
}

fn integers(values: &[i32]) -> ArrayRef {
    Arc::new(Int32Array::from(values.to_vec()))
}

fn texts(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

impl House {
    async fn put(&self, key: &str, bytes: impl Into<PutPayload>) {
        self.lake.put(&Path::from(key), bytes.into()).await.expect("an object");
    }

    /// A file, and a manifest that names it rightly.
    async fn stage(&self, name: &str, file: Vec<u8>) -> String {
        let entry = json!({"url": format!("s3://lake/{name}.parquet"), "mandatory": true,
            "meta": {"content_length": file.len()}});
        self.put(&format!("{name}.parquet"), file).await;
        self.manifest(name, json!({"entries": [entry]})).await
    }

    async fn manifest(&self, name: &str, manifest: Value) -> String {
        self.put(&format!("{name}.json"), manifest.to_string().into_bytes()).await;
        format!("FROM 's3://lake/{name}.json' {ROLE} MANIFEST")
    }
}

async fn house() -> (House, Client) {
    let (house, client) = House::new(Options::default()).connect_and_keep().await;
    run(&client, &["CREATE TABLE t (a INTEGER NOT NULL, s VARCHAR(4))"]).await;
    (house, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_come_by_position_and_are_counted() {
    let (house, client) = house().await;
    let file = parquet(vec![("x", texts(&[Some("a,\"b"), None, Some("")])), ("y", integers(&[1, 2, 3]))]);
    let from = house.stage("one", file).await;
    run(&client, &["BEGIN", &format!("COPY \"T\" (s, a) {from}")]).await;
    assert_eq!(rows(&client, "SELECT pg_last_copy_count()").await, ["3"]);
    run(&client, &["COMMIT"]).await;
    assert_eq!(rows(&client, "SELECT a, s FROM t ORDER BY a").await, ["1|a,\"b", "2|null", "3|"]);
    assert_eq!(rows(&house.connect().await, "SELECT pg_last_copy_count()").await, ["0"], "of this session");
    run(&client, &["BEGIN", &format!("COPY t (s, a) {from}"), "ROLLBACK"]).await;
    assert_eq!(rows(&client, "SELECT count(*) FROM t").await, ["3"], "the transaction's");
    let table_order = refusal(&client, &format!("COPY t {from}")).await;
    assert!(table_order.1.contains("incompatible Parquet schema for column 'a'"), "{table_order:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_that_fits_comes_in() {
    let (house, client) = house().await;
    run(
        &client,
        &["CREATE TABLE w (a SMALLINT, b INTEGER, c BIGINT, d DECIMAL(10,2), e DOUBLE PRECISION, f BOOLEAN, g DATE, \
                    h TIMESTAMP, i TIMESTAMPTZ, j VARCHAR(9), k SUPER, l VARBYTE, m DECIMAL(38,4))"],
    )
    .await;
    let moment = 1_795_168_800_123_456;
    let stamps = TimestampMicrosecondArray::from(vec![moment]);
    let decimal = |value, precision, scale| {
        Decimal128Array::from(vec![value]).with_precision_and_scale(precision, scale).expect("digits")
    };
    let file = parquet(vec![
        ("a", Arc::new(Int16Array::from(vec![-7]))),
        ("b", integers(&[8])),
        ("c", Arc::new(Int64Array::from(vec![i64::MAX]))),
        ("d", Arc::new(decimal(-1_050, 10, 2))),
        ("e", Arc::new(Float64Array::from(vec![f64::NAN]))),
        ("f", Arc::new(BooleanArray::from(vec![true]))),
        ("g", Arc::new(Date32Array::from(vec![1]))),
        ("h", Arc::new(stamps.clone())),
        ("i", Arc::new(stamps.with_timezone("UTC"))),
        ("j", texts(&[Some("é")])),
        ("k", Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1), None])]))),
        ("l", Arc::new(BinaryArray::from(vec![b"\x00\xff".as_slice()]))),
        ("m", Arc::new(decimal(12_345, 38, 4))),
    ]);
    let from = house.stage("types", file).await;
    refused(&client, &[(&format!("COPY w {from}"), "XX000", "column 'k'")]).await;
    run(&client, &[&format!("COPY w {from} SERIALIZETOJSON")]).await;
    let expected = "-7|8|9223372036854775807|-10.50|NaN|t|1970-01-02|2026-11-20 10:00:00.123456|\
                    2026-11-20 10:00:00.123456+00|é|[1, null]|\\x00ff|1.2345";
    assert_eq!(rows(&client, "SELECT * FROM w").await, [expected]);
    let fixed = House::new(Options { fixed_length_decimals: true, ..Options::default() });
    let client = fixed.connect().await;
    run(&client, &["CREATE TABLE d (d DECIMAL(10,2))", "CREATE TABLE m (d DECIMAL(38,4))"]).await;
    let short = fixed.stage("short", parquet(vec![("d", Arc::new(decimal(1, 10, 2)))])).await;
    refused(&client, &[(&format!("COPY d {short}"), "XX000", "incompatible")]).await;
    let long = fixed.stage("long", parquet(vec![("d", Arc::new(decimal(1, 38, 4)))])).await;
    run(&client, &[&format!("COPY m {long}")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn words_that_do_not_go_with_parquet_are_refused() {
    let (house, client) = house().await;
    let from = house.stage("one", parquet(vec![("a", integers(&[1])), ("s", texts(&[Some("x")]))])).await;
    for option in [
        "REGION 'eu-west-1'",
        "MAXERROR 5",
        "ACCEPTANYDATE",
        "COMPUPDATE OFF",
        "TRUNCATECOLUMNS",
        "DATEFORMAT 'auto'",
        "NULL AS 'x'",
        "GZIP",
        "IGNOREHEADER 1",
        "ESCAPE",
        "TIMEFORMAT 'auto'",
    ] {
        refused(&client, &[(&format!("COPY t {from} {option}"), "0A000", "not supported for PARQUET based COPY")])
            .await;
    }
    run(&client, &[&format!("COPY t (a, s) {from} STATUPDATE ON ACCEPTINVCHARS AS '?' FILLRECORD EXPLICIT_IDS")]).await;
    refused(&client, &[
        ("COPY t FROM 's3://lake/one.json' FORMAT PARQUET MANIFEST", "XX000", "Must specify credentials"),
        ("COPY t FROM 's3://lake/one.json' CREDENTIALS 'aws_access_key_id=A;aws_secret_access_key=B' FORMAT PARQUET", "0A000", "IAM_ROLE"),
        ("COPY t FROM 's3://lake/one.json' ACCESS_KEY_ID 'A' SECRET_ACCESS_KEY 'B' FORMAT PARQUET", "0A000", "IAM_ROLE"),
        ("COPY t FROM 's3://lake/one.json' IAM_ROLE 'somebody' FORMAT PARQUET", "XX000", "Invalid IAM role"),
        ("COPY t FROM 's3://lake/one.json' IAM_ROLE default CSV", "42601", "csv"),
        ("COPY t FROM '/tmp/one.parquet' IAM_ROLE default FORMAT PARQUET", "XX000", "no s3:// address"),
        ("COPY t FROM STDIN", "42601", "stdin"),
        ("COPY t (b) FROM 's3://lake/one.json' IAM_ROLE default FORMAT PARQUET MANIFEST", "42703", "does not exist"),
        ("COPY nothing FROM 's3://lake/one.json' IAM_ROLE default FORMAT PARQUET MANIFEST", "42P01", "does not exist"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_must_be_right() {
    let (house, client) = house().await;
    let file = parquet(vec![("a", integers(&[1])), ("s", texts(&[Some("x")]))]);
    let length = file.len();
    house.put("f.parquet", file).await;
    house.put("broken.json", b"{".to_vec()).await;
    refused(
        &client,
        &[
            (&format!("COPY t FROM 's3://lake/broken.json' {ROLE} MANIFEST"), "XX000", "not valid JSON"),
            (
                &format!("COPY t FROM 's3://lake/none.json' {ROLE} MANIFEST"),
                "XX000",
                "The specified key does not exist",
            ),
            (&format!("COPY t FROM 's3://sea/f.json' {ROLE} MANIFEST"), "XX000", "The specified bucket does not exist"),
        ],
    )
    .await;
    let url = "s3://lake/f.parquet";
    let meta = json!({"content_length": length});
    for (entries, words) in [
        (json!([]), "no entries"),
        (json!([{"url": url, "mandatory": true}]), "does not have 'meta' key"),
        (json!([{"url": url, "meta": {}}]), "does not have 'content_length' key"),
        (json!([{"url": url, "meta": {"content_length": length + 1}}]), "does not match the manifest's content_length"),
        (json!([{"mandatory": true, "meta": meta}]), "does not have 'url' key"),
        (json!([{"url": "f.parquet", "mandatory": true, "meta": meta}]), "an address is s3://bucket/key"),
        (
            json!([{"url": url, "meta": meta}, {"url": "s3://lake/gone", "mandatory": true, "meta": meta}]),
            "key does not exist",
        ),
    ] {
        let from = house.manifest("m", json!({"entries": entries})).await;
        refused(&client, &[(&format!("COPY t {from}"), "XX000", words)]).await;
    }
    assert_eq!(rows(&client, "SELECT count(*) FROM t").await, ["0"], "all or nothing");
    let optional = json!([{"url": url, "mandatory": true, "meta": meta}, {"url": "s3://lake/gone", "meta": meta}]);
    let from = house.manifest("m", json!({"entries": optional})).await;
    run(&client, &[&format!("COPY t {from}"), &format!("COPY t FROM '{url}' {ROLE}")]).await;
    assert_eq!(rows(&client, "SELECT count(*) FROM t").await, ["2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_coerced() {
    let (house, client) = house().await;
    run(&client, &["CREATE TABLE w (a INTEGER, b BIGINT, c DECIMAL(10,2), d TIMESTAMP, s VARCHAR(9))"]).await;
    let decimal = |precision, scale| -> ArrayRef {
        Arc::new(Decimal128Array::from(vec![1]).with_precision_and_scale(precision, scale).expect("digits"))
    };
    let long = || -> ArrayRef { Arc::new(Int64Array::from(vec![1])) };
    let dictionary: DictionaryArray<Int32Type> = vec!["x"].into_iter().collect();
    let cases: Vec<(&str, ArrayRef)> = vec![
        ("a", long()),
        ("b", integers(&[1])),
        ("a", Arc::new(UInt32Array::from(vec![1]))),
        ("c", decimal(11, 2)),
        ("c", decimal(10, 3)),
        ("c", long()),
        ("d", Arc::new(TimestampNanosecondArray::from(vec![1]))),
        ("d", long()),
        ("s", Arc::new(dictionary)),
        ("s", integers(&[1])),
        ("s", Arc::new(BinaryArray::from(vec![b"x".as_slice()]))),
    ];
    for (number, (column, values)) in cases.into_iter().enumerate() {
        let shown = format!("{number}: {column} of {}", values.data_type());
        let from = house.stage(&format!("case-{number}"), parquet(vec![("x", values)])).await;
        let (code, said) = refusal(&client, &format!("COPY w ({column}) {from}")).await;
        let words = format!("incompatible Parquet schema for column '{column}'");
        assert!(code == "XX000" && said.contains("15007") && said.contains(&words), "{shown}: {code} {said}");
    }
    let one = house.stage("one", parquet(vec![("a", integers(&[1]))])).await;
    refused(
        &client,
        &[
            (&format!("COPY w (a, b) {one}"), "XX000", "Table columns: 2, Data columns: 1"),
            (&format!("COPY w {one}"), "XX000", "Table columns: 5, Data columns: 1"),
        ],
    )
    .await;
    run(&client, &[&format!("COPY w (a, b) {one} FILLRECORD")]).await;
    assert_eq!(rows(&client, "SELECT a, b FROM w").await, ["1|null"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_value_stands_in_the_error_view_after_the_rollback() {
    for (error_views, view, other) in [
        (ErrorViews::Sys, "sys_load_error_detail", "stl_load_errors"),
        (ErrorViews::Stl, "stl_load_errors", "sys_load_error_detail"),
    ] {
        let (house, client) = House::new(Options { error_views, ..Options::default() }).connect_and_keep().await;
        run(&client, &["CREATE TABLE t (a INTEGER NOT NULL, s VARCHAR(4), n SMALLINT)"]).await;
        let nothing: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None]));
        for (number, (columns, words)) in [
            (
                vec![("a", integers(&[1, 2])), ("s", texts(&[Some("éé"), Some("ééx")]))],
                "longer than the length defined",
            ),
            (vec![("a", nothing), ("s", texts(&[None, None]))], "NOT NULL"),
            (vec![("a", integers(&[1, 2])), ("s", texts(&[None, Some("a\0")]))], "NUL byte"),
        ]
        .into_iter()
        .enumerate()
        {
            let from = house.stage(&format!("bad-{number}"), parquet(columns)).await;
            run(&client, &["BEGIN"]).await;
            refused(&client, &[(&format!("COPY t (a, s) {from}"), "XX000", words)]).await;
            run(&client, &["ROLLBACK"]).await;
        }
        assert_eq!(rows(&client, "SELECT count(*) FROM t").await, ["0"]);
        let (file, column, session) = match error_views {
            ErrorViews::Sys => ("file_name", "column_name", "session_id"),
            ErrorViews::Stl => ("filename", "colname", "session"),
        };
        let told = format!(
            "SELECT trim({file}), line_number, trim({column}) FROM {view} WHERE {session} = pg_backend_pid() ORDER BY 1"
        );
        let expected = ["s3://lake/bad-0.parquet|-1|s", "s3://lake/bad-1.parquet|-1|a", "s3://lake/bad-2.parquet|-1|s"];
        assert_eq!(rows(&client, &told).await, expected);
        refused(&client, &[(&format!("SELECT * FROM {other}"), "42P01", "does not exist")]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_is_at_most_four_megabytes() {
    let (house, client) = house().await;
    run(&client, &["CREATE TABLE w (v SUPER)"]).await;
    let wide = "x".repeat(5 << 20);
    let from = house.stage("wide", parquet(vec![("v", texts(&[Some(&wide)]))])).await;
    refused(&client, &[(&format!("COPY w {from} SERIALIZETOJSON"), "XX000", "row 1 is wider than 4 MB")]).await;
    let role = "aws_iam_role=arn:aws:iam::123456789012:role/load";
    let narrow = house.stage("narrow", parquet(vec![("v", texts(&[Some("{}")]))])).await.replace(ROLE, "");
    run(&client, &[&format!("COPY w {narrow} CREDENTIALS '{role}' FORMAT PARQUET SERIALIZETOJSON")]).await;
    assert_eq!(rows(&client, "SELECT json_serialize(v) FROM w").await, ["\"{}\""], "a text is not parsed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_integer_that_overflows_is_refused() {
    let (house, client) = house().await;
    run(&client, &["CREATE TABLE w (n SMALLINT)"]).await;
    let from = house.stage("wide", parquet(vec![("n", integers(&[1, 40_000]))])).await;
    refused(&client, &[(&format!("COPY w {from}"), "XX000", "overflows SMALLINT")]).await;
}
