//! Staged files through binary COPY into a real PostgreSQL, and what it then holds as text.

use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int16Array, Int32Array,
    Int64Array, ListArray, RecordBatch, StringArray, StructArray, TimestampMicrosecondArray,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use futures::TryStreamExt;
use parquet::arrow::ArrowWriter;
use proptest::prelude::*;

use super::super::plan::{Copy, StagedFile};
use super::*;
use crate::batch::DataFile;
use crate::config::{ServerSettings, Tls};
use crate::error::ErrorKind;
use crate::stand_ins::postgres::{USER, database, postgres};

fn server() -> ServerSettings {
    let login = Login::Environment { user: USER.to_owned(), variable: "MILLSTREAM_NOBODY_SETS_THIS".to_owned() };
    ServerSettings { host: "127.0.0.1".to_owned(), port: postgres().port, login, tls: Tls::Off }
}

/// A fresh database, and a store for staged files.
struct Bed {
    session: PostgresSession,
    store: Store,
}

impl Bed {
    async fn new(statements: &[&str]) -> Self {
        let store = Store::memory("lake").expect("a store");
        let logins = logins(&server().login, None, &Context::system()).expect("logins");
        let start = session_start("public");
        let wire = Wire::new(&server(), &database(), logins, &start.each_ref().map(String::as_str));
        let bed = Self { session: PostgresSession::new(wire, store.clone()), store };
        let statements: Vec<String> = statements.iter().map(|text| (*text).to_owned()).collect();
        bed.session.execute(&statements).await.expect("executed");
        bed
    }

    /// Stages each batch as a file, and says the COPY of them into `t`.
    async fn stage(&self, batches: &[RecordBatch]) -> Statement {
        let mut files = Vec::new();
        for (batch, entry) in batches.iter().zip(1..) {
            let mut bytes = Vec::new();
            let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).expect("a writer");
            writer.write(batch).expect("written");
            writer.close().expect("closed");
            let path = format!("staged/t/{entry}.parquet");
            let file = DataFile::of(path.clone(), batch.num_rows() as u64, &bytes);
            self.store.put(&path, bytes.into()).await.expect("staged");
            files.push(StagedFile { entry, file });
        }
        let copy = Copy { table: "t".to_owned(), number: 1, columns: batches[0].schema(), files };
        Statement::Copy { copy, into: "\"t\"".to_owned() }
    }

    async fn copy(&self, batches: &[RecordBatch]) -> Result<(), Broken> {
        let copy = self.stage(batches).await;
        self.session.transact("id", &[copy]).await
    }

    /// The first column of an answer, as texts.
    async fn texts(&self, sql: &str) -> Vec<Option<String>> {
        let answer = self.session.read(sql).await.expect(sql);
        let batches: Vec<RecordBatch> = answer.batches.try_collect().await.expect(sql);
        let rows = concat_batches(&answer.schema, &batches).expect("one schema");
        rows.column(0).as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect()
    }
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let fields = columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    RecordBatch::try_new(schema, columns.into_iter().map(|(_, array)| array).collect()).expect("a batch")
}

#[tokio::test]
async fn each_value_arrives_as_it_was() {
    let structs = Arc::new(Field::new("a \"b\"", DataType::Utf8, true));
    let inside: ArrayRef = Arc::new(StringArray::from(vec![Some("x\n\"}"), None, None]));
    let list = vec![Some(vec![Some(1), None]), Some(vec![]), None];
    let money = Decimal128Array::from(vec![Some(-1), Some(123_456_789_012), None]);
    let cases: Vec<(&str, ArrayRef, [Option<&str>; 2])> = vec![
        ("boolean", Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])), [Some("true"), Some("false")]),
        ("smallint", Arc::new(Int16Array::from(vec![Some(i16::MIN), Some(1), None])), [Some("-32768"), Some("1")]),
        ("integer", Arc::new(Int32Array::from(vec![Some(i32::MIN), Some(1), None])), [Some("-2147483648"), Some("1")]),
        (
            "bigint",
            Arc::new(Int64Array::from(vec![Some(i64::MIN), Some(i64::MAX), None])),
            [Some("-9223372036854775808"), Some("9223372036854775807")],
        ),
        ("real", Arc::new(Float32Array::from(vec![Some(0.1), Some(f32::NAN), None])), [Some("0.1"), Some("NaN")]),
        (
            "double precision",
            Arc::new(Float64Array::from(vec![Some(0.1 + 0.2), Some(f64::NEG_INFINITY), None])),
            [Some("0.30000000000000004"), Some("-Infinity")],
        ),
        (
            "numeric(12, 2)",
            Arc::new(money.with_precision_and_scale(12, 2).expect("fits").slice(0, 3)),
            [Some("-0.01"), Some("1234567890.12")],
        ),
        (
            "text",
            Arc::new(StringArray::from(vec![Some("é \\N\t\n\"';"), Some(""), None])),
            [Some("é \\N\t\n\"';"), Some("")],
        ),
        (
            "date",
            Arc::new(Date32Array::from(vec![Some(0), Some(-719_162), None])),
            [Some("1970-01-01"), Some("0001-01-01")],
        ),
        (
            "timestamp",
            Arc::new(TimestampMicrosecondArray::from(vec![Some(-1), Some(946_684_800_000_000), None])),
            [Some("1969-12-31 23:59:59.999999"), Some("2000-01-01 00:00:00")],
        ),
        (
            "timestamptz",
            Arc::new(TimestampMicrosecondArray::from(vec![Some(1), Some(i64::MAX), None]).with_timezone("UTC")),
            [Some("1970-01-01 00:00:00.000001+00"), Some("294247-01-10 04:00:54.775807+00")],
        ),
        ("jsonb", Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(list)), [Some("[1, null]"), Some("[]")]),
        (
            "jsonb",
            Arc::new(StructArray::from(vec![(structs, inside)])),
            [Some("{\"a \\\"b\\\"\": \"x\\n\\\"}\"}"), Some("{\"a \\\"b\\\"\": null}")],
        ),
    ];
    for (sql, array, expected) in cases {
        let bed = Bed::new(&[&format!("CREATE TABLE t (n serial, \"c \"\"d\"\"\" {sql})")]).await;
        bed.copy(&[batch(vec![("c \"d\"", array)])]).await.unwrap_or_else(|broken| panic!("{sql}: {broken:?}"));
        let found = bed.texts("SELECT \"c \"\"d\"\"\"::text FROM t ORDER BY n").await;
        let found: Vec<Option<&str>> = found.iter().map(Option::as_deref).collect();
        assert_eq!(found[..2], expected, "{sql}");
        let last = if expected[1] == Some("{\"a \\\"b\\\"\": null}") { expected[1] } else { None };
        assert_eq!(found[2], last, "{sql}");
    }
}

#[tokio::test]
async fn the_first_and_the_last_time_of_postgres_go_in_and_no_further_one() {
    let bed = Bed::new(&["CREATE TABLE t (d date, i timestamp)"]).await;
    let rows = |day: i32, micro: i64| {
        let days: ArrayRef = Arc::new(Date32Array::from(vec![day]));
        batch(vec![("d", days), ("i", Arc::new(TimestampMicrosecondArray::from(vec![micro])))])
    };
    let (first_day, last_day, first) = (-2_440_588, 2_145_042_905, -210_866_803_200_000_000);
    bed.copy(&[rows(first_day, first), rows(last_day, i64::MAX)]).await.expect("they fit");
    let days = [Some("4714-11-24 BC".to_owned()), Some("5874897-12-31".to_owned())];
    assert_eq!(bed.texts("SELECT d::text FROM t ORDER BY d").await, days);
    for (day, micro) in [(first_day - 1, 0), (last_day + 1, 0), (0, first - 1)] {
        let broken = bed.copy(&[rows(day, micro)]).await.expect_err("it does not fit");
        let Broken::Failed(error) = broken else { panic!("{broken:?}") };
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("holds a time that PostgreSQL does not have"), "{error}");
    }
}

#[tokio::test]
async fn many_rows_of_many_files_arrive_in_the_journals_order() {
    let bed = Bed::new(&["CREATE TABLE t (n serial, v integer, s text)"]).await;
    let file = |from: i32| {
        let values = Int32Array::from_iter_values(from..from + 20_000);
        let texts = StringArray::from_iter_values(values.values().iter().map(|value| format!("text {value}")));
        batch(vec![("v", Arc::new(values)), ("s", Arc::new(texts))])
    };
    let files: Vec<RecordBatch> = (0..3).map(|number| file(number * 20_000)).collect();
    bed.copy(&files).await.expect("copied");
    let wrong = "SELECT count(*)::text FROM t WHERE v <> n - 1 OR s <> 'text ' || v";
    assert_eq!(bed.texts(wrong).await, [Some("0".to_owned())]);
    assert_eq!(bed.texts("SELECT count(*)::text FROM t").await, [Some("60000".to_owned())]);
}

#[tokio::test]
async fn what_the_server_refuses_undoes_all_and_is_told_in_its_words() {
    let drops = "CREATE FUNCTION drops() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NEW.v % 2 = 0 THEN RETURN NULL; END IF; RETURN NEW; END $$";
    let dies = "CREATE FUNCTION dies() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$";
    let bed = Bed::new(&["CREATE TABLE t (v integer PRIMARY KEY)", drops, dies]).await;
    let rows = |values: std::ops::Range<i32>| batch(vec![("v", Arc::new(Int32Array::from_iter_values(values)) as _)]);
    bed.copy(&[rows(70_000..70_001)]).await.expect("copied");
    // In the last of many buffers.
    let broken = bed.copy(&[rows(0..60_000), rows(60_000..80_000)]).await.expect_err("one twice");
    let Broken::Failed(error) = broken else { panic!("{broken:?}") };
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("duplicate key value violates unique constraint \"t_pkey\""), "{error}");
    assert!(error.to_string().starts_with("copying staged rows of t: "), "{error}");
    let trigger = |name: &str| format!("CREATE TRIGGER x BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION {name}()");
    bed.session.execute(&[trigger("drops")]).await.expect("made");
    let broken = bed.copy(&[rows(0..10)]).await.expect_err("half of them");
    assert!(matches!(broken, Broken::NotExpected { at: 0, found: Some(5) }), "{broken:?}");
    bed.session.execute(&["DROP TRIGGER x ON t".to_owned(), trigger("dies")]).await.expect("made");
    let broken = bed.copy(&[rows(0..60_000)]).await.expect_err("it died");
    let Broken::Failed(error) = broken else { panic!("{broken:?}") };
    assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
    assert_eq!(bed.texts("SELECT string_agg(v::text, ' ') FROM t").await, [Some("70000".to_owned())]);
}

#[tokio::test]
async fn a_file_that_lies_is_corrupt_before_a_row_of_it_is_sent() {
    let bed = Bed::new(&["CREATE TABLE t (v integer)"]).await;
    let rows = batch(vec![("v", Arc::new(Int32Array::from(vec![1, 2])) as _)]);
    let Statement::Copy { mut copy, into } = bed.stage(&[rows]).await else { panic!("a COPY") };
    copy.files[0].file.rows = 3;
    let broken = bed.session.transact("id", &[Statement::Copy { copy, into }]).await.expect_err("three");
    let Broken::Failed(error) = broken else { panic!("{broken:?}") };
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().starts_with("the staged file staged/t/1.parquet has 2 rows, and entry 1"), "{error}");
}

#[test]
fn a_login_by_redshifts_credentials_is_refused() {
    let place = crate::config::RedshiftPlace::Cluster("c".to_owned());
    let error = logins(&Login::Iam { place, user: None }, None, &Context::system()).err().expect("refused");
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn decimals_are_exact(
        values in proptest::collection::vec((any::<i128>(), 0u32..=38), 50),
        scale in 0i8..=38,
    ) {
        // Of each number of digits some.
        let most = 10i128.pow(38);
        let values = values.into_iter().map(|(value, digits)| value % most / 10i128.pow(digits)).chain([0, 1, most - 1]);
        let decimals = Decimal128Array::from_iter_values(values).with_precision_and_scale(38, scale).expect("fits");
        let expected: Vec<Option<String>> = (0..decimals.len()).map(|row| Some(decimals.value_as_string(row))).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let found = runtime.block_on(async {
            let bed = Bed::new(&["CREATE TABLE t (n serial, v numeric)"]).await;
            bed.copy(&[batch(vec![("v", Arc::new(decimals))])]).await.expect("copied");
            // A numeric of no digits is one that PostgreSQL would not write itself.
            assert_eq!(bed.texts("SELECT count(*)::text FROM t WHERE v = 'NaN'").await, [Some("0".to_owned())]);
            bed.texts("SELECT v::text FROM t ORDER BY n").await
        });
        prop_assert_eq!(found, expected);
    }
}
