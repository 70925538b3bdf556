//! What functions may make, and what becomes of a panic inside of one.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::DataType;
use arrow::util::display::array_value_to_string;
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use datafusion::prelude::SessionContext;

use super::sizes::Watch;
use crate::sql::{SessionSettings, session};

fn context(memory_bytes: usize) -> SessionContext {
    session(SessionSettings { memory_bytes, partitions: 1 }).expect("a session")
}

async fn ask(context: &SessionContext, sql: &str) -> Result<Vec<String>, DataFusionError> {
    let batches = context.sql(sql).await?.collect().await?;
    let cells = batches.iter().flat_map(|batch| {
        (0..batch.num_rows()).map(|row| array_value_to_string(batch.column(0).as_ref(), row).expect("printable"))
    });
    Ok(cells.collect())
}

async fn refusal(context: &SessionContext, sql: &str) -> String {
    let error = ask(context, sql).await.map(|rows| rows.len()).expect_err(sql);
    error.find_root().message().into_owned()
}

/// Functions whose values are together at most as large as their arguments, or of a fixed size, or not watched.
const HARMLESS: &str = "
    abs acos acosh array_add array_any_value array_append array_avg array_compact array_concat array_dims
    array_distance array_distinct array_element array_except array_has array_has_all array_has_any array_intersect
    array_length array_max array_min array_ndims array_normalize array_pop_back array_pop_front array_position
    array_positions array_prepend array_product array_remove array_remove_all array_remove_n array_reverse array_scale
    array_slice array_sort array_subtract array_sum array_union arrays_zip arrow_cast arrow_field arrow_metadata
    arrow_try_cast arrow_typeof ascii asin asinh atan atan2 atanh bit_length btrim cardinality cast_to_type cbrt ceil
    character_length chr coalesce concat concat_ws contains cos cosh cosine_distance cot current_date current_time
    date_bin date_part date_trunc decode degrees digest empty encode ends_with exp factorial file_row_index find_in_set
    flatten floor from_unixtime gcd get_field greatest initcap inner_product input_file_name isnan iszero lcm least
    left ln log log10 log2 lower ltrim make_array make_date make_time map map_entries map_extract map_keys map_values
    md5 named_struct nanvl now nullif nvl nvl2 octet_length overlay pi power radians random regexp_count regexp_instr
    regexp_like regexp_match reverse right round rtrim sha224 sha256 sha384 sha512 signum sin sinh split_part sqrt
    starts_with string_to_array strpos struct substr substr_index tan tanh to_char to_date to_hex to_local_time to_time
    to_timestamp to_timestamp_micros to_timestamp_millis to_timestamp_nanos to_timestamp_seconds to_unixtime translate
    trunc try_cast_to_type union_extract union_tag upper uuid version with_metadata";

#[test]
fn every_function_of_a_session_is_decided_on() {
    let state = context(1 << 20).state();
    let names: BTreeSet<String> =
        state.scalar_functions().values().map(|function| function.name().to_owned()).collect();
    let harmless: BTreeSet<&str> = HARMLESS.split_whitespace().collect();
    let undecided: Vec<&String> =
        names.iter().filter(|name| Watch::of(name) == Watch::Times(1) && !harmless.contains(name.as_str())).collect();
    assert_eq!(undecided, Vec::<&String>::new(), "functions of which nobody has said how large their values become");
    let gone: Vec<&&str> = harmless.iter().filter(|name| !names.contains(**name)).collect();
    assert_eq!(gone, Vec::<&&str>::new());
    let tables: BTreeSet<&str> = state.table_functions().keys().map(String::as_str).collect();
    assert_eq!(tables, BTreeSet::from(["generate_series", "range"]), "both make their rows as they are read");
}

#[tokio::test]
async fn a_value_beyond_the_bound_is_refused_with_the_function_s_name_and_the_size() {
    let context = context(256 << 20);
    let most = "; a value has at most 1048576";
    let cases = [
        ("repeat('x', 1000000000)", "repeat() would make a value of 1000000000 bytes"),
        ("repeat(s, 400000)", "repeat() would make a value of 1200000 bytes"),
        ("lpad(s, 2147483647)", "lpad() would make a value of 2147483650 bytes"),
        ("rpad(s, 500000, 'é😀')", "rpad() would make a value of 2000003 bytes"),
        ("replace(repeat('a', 2000), 'a', repeat('b', 2000))", "replace() would make a value of 4002000 bytes"),
        ("array_repeat(1, 200000)", "array_repeat() would make a value of 1600000 bytes"),
        ("array_repeat(array_repeat(s, 10000), 10000)", "array_repeat() would make a value of"),
        ("range(1000000000000)", "range() would make a value of"),
        ("generate_series(1, 1000000000000, 1000)", "generate_series() would make a value of"),
        ("array_resize([1], 2000000, 0)", "array_resize() would make a value of 16000000 bytes"),
        ("array_to_string(range(1000), repeat('x', 10000))", "array_to_string() would make a value of"),
        ("unnest(range(100000000))", "range() would make a value of"),
    ];
    for (expression, words) in cases {
        let sql = format!("SELECT {expression} FROM (VALUES ('abc'), ('def')) AS t(s)");
        let told = refusal(&context, &sql).await;
        assert!(told.contains(words) && told.contains(most), "{expression}: {told}");
    }
    for (expression, words) in [
        ("range(date '2020-01-01', date '2021-01-01', interval '1 month -31 days')", "range() never ends by its step"),
        (
            "regexp_replace(repeat('a', 20000), 'a', repeat('b', 20000), 'g')",
            "regexp_replace() could make a value of 400040000 bytes; it may make one of 16777216",
        ),
        ("levenshtein(repeat('a', 100000), repeat('b', 100000))", "levenshtein() of texts so long would take"),
    ] {
        let told = refusal(&context, &format!("SELECT {expression}")).await;
        assert!(told.contains(words), "{expression}: {told}");
    }
}

#[tokio::test]
async fn what_any_other_function_may_make_is_bounded_by_the_session_s_memory() {
    let context = context(16 << 20);
    let many = |call: &str| format!("{call}({})", ["s"; 30].join(", "));
    let cases = [
        ("concat", many("concat")),
        ("make_array", format!("array_to_string({}, '')", many("make_array"))),
        ("array_concat", format!("array_concat({})", ["l"; 30].join(", "))),
        ("array_append", format!("array_append(make_array({}), s)", ["s"; 16].join(", "))),
        ("string_to_array", "string_to_array(concat(s, s, s), NULL)".to_owned()),
        ("upper", "upper(concat(s, s, s, s, s, s))".to_owned()),
        ("to_char", "to_char(now(), s)".to_owned()),
        ("concat_ws", format!("concat_ws({})", ["s"; 6].join(", "))),
    ];
    for (name, expression) in cases {
        let sql = format!(
            "SELECT count(x) FROM (SELECT {expression} AS x FROM (SELECT s, make_array(s) AS l FROM (SELECT repeat('%c', \
             500000 + i % 2) AS s FROM generate_series(1, 1) AS t(i))))"
        );
        let told = refusal(&context, &sql).await;
        assert!(told.starts_with(&format!("{name}() would make ")), "{expression}: {told}");
        assert!(told.ends_with("bytes for one row, more than the memory that is left"), "{expression}: {told}");
    }
    assert_eq!(context.runtime_env().memory_pool.reserved(), 0);
}

#[tokio::test]
async fn an_unnest_that_would_copy_much_is_refused_with_the_size() {
    let context = context(1 << 30);
    let rows = |items: usize, bytes: usize| {
        format!(
            "SELECT count(s) FROM (SELECT unnest(l) AS item, s FROM (SELECT range({items} + i) AS l, repeat('x', \
             {bytes} + i) AS s FROM generate_series(0, 0) AS t(i)))"
        )
    };
    let told = refusal(&context, &rows(100_000, 1_000)).await;
    assert_eq!(told, "unnest() would make 101600000 bytes for one row; one call makes at most 67108864");
    assert_eq!(ask(&context, &rows(100_000, 100)).await.expect("it fits"), ["100000"]);
    assert_eq!(ask(&context, "SELECT unnest([[1], [2, 3]])").await.expect("no column beside it"), ["[1]", "[2, 3]"]);
}

#[tokio::test]
async fn what_a_call_makes_of_all_its_rows_is_bounded() {
    let many = "SELECT count(x) FROM (SELECT repeat('x', 100000 + i % 2) AS x FROM generate_series(1, 2000) AS t(i))";
    let told = refusal(&context(1 << 30), many).await;
    assert!(told.contains("repeat() would make 200") && told.contains("one call makes at most 67108864"), "{told}");
    let few = many.replace("2000", "200");
    assert_eq!(ask(&context(256 << 20), &few).await.expect("fits"), ["200"]);
}

/// Says what is reserved of its session's memory.
#[derive(Debug)]
struct Reserved(Signature, Arc<dyn MemoryPool>);

impl PartialEq for Reserved {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Reserved {}

impl Hash for Reserved {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl ScalarUDFImpl for Reserved {
    fn name(&self) -> &'static str {
        "repeat"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType, DataFusionError> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue, DataFusionError> {
        Ok(ColumnarValue::Scalar(self.1.reserved().to_string().into()))
    }
}

#[tokio::test]
async fn what_a_call_makes_counts_in_the_session_s_memory_while_it_runs() {
    let context = context(64 << 20);
    let pool = Arc::clone(&context.runtime_env().memory_pool);
    let signature = Signature::exact(vec![DataType::Utf8, DataType::Int64], Volatility::Immutable);
    context.register_udf(ScalarUDF::from(Reserved(signature, Arc::clone(&pool))));
    let rows = ["('ab')"; 10].join(", ");
    let of_ten = format!("SELECT repeat(t.s, 300000) FROM (VALUES {rows}) AS t(s)");
    assert_eq!(ask(&context, &of_ten).await.expect("reserved"), ["6000000"; 10]);
    assert_eq!(
        ask(&context, "SELECT repeat('ab', 300000)").await.expect("small"),
        ["0"],
        "a small call is not counted"
    );
    assert_eq!(pool.reserved(), 0);
}

#[tokio::test]
async fn values_within_the_bound_are_what_they_were() {
    let context = context(256 << 20);
    let cases = [
        ("length(repeat('x', 1048576))", "1048576"),
        ("lpad('ab', 5, 'xy')", "xyxab"),
        ("replace('a.b.c', '.', '--')", "a--b--c"),
        ("array_length(range(131000))", "131000"),
        ("array_to_string(generate_series(1, 3), '-')", "1-2-3"),
        ("regexp_replace('a1b22', '[0-9]+', '#', 'g')", "a#b#"),
        ("concat(repeat('a', 2), null, upper('b'))", "aaB"),
        ("extract(year from date '2026-02-03')", "2026"),
        ("levenshtein('kitten', 'sitting')", "3"),
        ("array_length(range(date '2020-01-01', date '2021-01-01', interval '1 month'))", "12"),
    ];
    for (expression, expected) in cases {
        let cells =
            ask(&context, &format!("SELECT {expression}")).await.unwrap_or_else(|e| panic!("{expression}: {e}"));
        assert_eq!(cells, [expected], "{expression}");
    }
    let counted = ask(&context, "SELECT count(*) FROM generate_series(1, 3000000)").await.expect("a stream");
    assert_eq!(counted, ["3000000"]);
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct PanicsOnSeven(Signature);

impl ScalarUDFImpl for PanicsOnSeven {
    fn name(&self) -> &'static str {
        "panics_on_seven"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType, DataFusionError> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue, DataFusionError> {
        let values = arguments.args[0].to_array(arguments.number_rows)?;
        assert!((0..values.len()).all(|row| array_value_to_string(&values, row).expect("a number") != "7"), "seven!");
        Ok(arguments.args[0].clone())
    }
}

#[tokio::test]
async fn a_panic_inside_of_a_function_is_an_error_with_its_name_and_words() {
    let context = context(64 << 20);
    let signature = Signature::exact(vec![DataType::Int64], Volatility::Immutable);
    context.register_udf(ScalarUDF::from(PanicsOnSeven(signature)));
    assert_eq!(ask(&context, "SELECT panics_on_seven(6)").await.expect("no seven"), ["6"]);
    for sql in ["SELECT panics_on_seven(7)", "SELECT panics_on_seven(i) FROM (VALUES (1), (7)) AS t(i)"] {
        assert_eq!(refusal(&context, sql).await, "panics_on_seven() panicked: seven!");
    }
}
