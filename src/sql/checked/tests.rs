//! What a session computes against integers of any size, and what it says where a result does not fit.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, Scalar, StringArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::Int32Type;
use arrow::record_batch::RecordBatch;
use arrow::util::display::array_value_to_string;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::Operator;
use datafusion::prelude::SessionContext;
use num_bigint::BigInt;
use proptest::prelude::*;

use super::integers;
use crate::sql::{SessionSettings, session};

fn context() -> SessionContext {
    session(SessionSettings { memory_bytes: 64 << 20, partitions: 2 }).expect("a session")
}

/// The answer's rows, the cells of each as texts.
async fn ask(context: &SessionContext, sql: &str) -> Result<Vec<Vec<String>>, DataFusionError> {
    let mut rows = Vec::new();
    for batch in context.sql(sql).await?.collect().await? {
        for row in 0..batch.num_rows() {
            let cell = |column: &ArrayRef| array_value_to_string(column.as_ref(), row).expect("printable");
            rows.push(batch.columns().iter().map(cell).collect());
        }
    }
    Ok(rows)
}

async fn refusal(context: &SessionContext, sql: &str) -> String {
    match ask(context, sql).await {
        Ok(rows) => panic!("{sql} gives {rows:?}"),
        Err(error) => error.find_root().message().into_owned(),
    }
}

/// What a result says that its type does not hold; any other refusal would be a fault of the test's own SQL.
const BEYOND: [&str; 10] = [
    "is beyond",
    "Divide by zero",
    "Overflow happened",
    "Can't cast value",
    "too large to store",
    "too small to store",
    "is out of range",
    "overflow on abs",
    "Overflowing on",
    "Arithmetic Overflow in AvgAccumulator",
];

async fn overflow(context: &SessionContext, sql: &str) {
    let told = refusal(context, sql).await;
    assert!(BEYOND.iter().any(|words| told.contains(words)), "{sql}: {told}");
}

/// A table of texts, `t`.
fn register(context: &SessionContext, columns: Vec<(String, Vec<Option<String>>)>) {
    let array = |values: Vec<Option<String>>| Arc::new(StringArray::from(values)) as ArrayRef;
    let columns = columns.into_iter().map(|(name, values)| (name, array(values), true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns).expect("columns of one length");
    context.deregister_table("t").expect("a catalog");
    context.register_batch("t", batch).expect("registered");
}

/// A type of numbers: each is an integer of its unit, 10^-scale.
#[derive(Debug, Clone, Copy)]
struct Numbers {
    /// As `arrow_cast` writes it.
    name: &'static str,
    /// The bits of what holds a value.
    bits: u32,
    signed: bool,
    /// The digits that a value may have, where they are fewer than the bits hold.
    digits: Option<u32>,
    /// The most digits of any type of this size.
    most: u32,
    scale: u32,
}

const fn integer(name: &'static str, bits: u32, signed: bool) -> Numbers {
    Numbers { name, bits, signed, digits: None, most: 0, scale: 0 }
}

const fn decimal(name: &'static str, digits: u32, scale: u32) -> Numbers {
    let (bits, most) = if digits > 38 { (256, 76) } else { (128, 38) };
    Numbers { name, bits, signed: true, digits: Some(digits), most, scale }
}

const TYPES: [Numbers; 14] = [
    integer("Int8", 8, true),
    integer("Int16", 16, true),
    integer("Int32", 32, true),
    integer("Int64", 64, true),
    integer("UInt8", 8, false),
    integer("UInt16", 16, false),
    integer("UInt32", 32, false),
    integer("UInt64", 64, false),
    decimal("Decimal128(5, 2)", 5, 2),
    decimal("Decimal128(10, 0)", 10, 0),
    decimal("Decimal128(19, 4)", 19, 4),
    decimal("Decimal128(38, 10)", 38, 10),
    decimal("Decimal256(40, 3)", 40, 3),
    decimal("Decimal256(76, 20)", 76, 20),
];

fn ten_to(digits: u32) -> BigInt {
    BigInt::from(10).pow(digits)
}

impl Numbers {
    fn largest(&self) -> BigInt {
        match self.digits {
            Some(digits) => ten_to(digits) - 1,
            None if self.signed => (BigInt::from(1) << (self.bits - 1)) - 1,
            None => (BigInt::from(1) << self.bits) - 1,
        }
    }

    fn smallest(&self) -> BigInt {
        match (self.digits, self.signed) {
            (Some(_), _) => -self.largest(),
            (None, true) => -self.largest() - 1,
            (None, false) => BigInt::from(0),
        }
    }

    fn holds(&self, value: &BigInt) -> bool {
        *value >= self.smallest() && *value <= self.largest()
    }

    /// A value: at an edge, small, or of any size.
    fn value(&self, pick: (u8, u128)) -> BigInt {
        let (kind, random) = pick;
        let near = BigInt::from(random % 3);
        match kind % 6 {
            0 => self.largest() - near,
            1 => self.smallest() + near,
            2 if self.signed => near - 1,
            2 => near,
            // About the root of the largest: products at the edge.
            3 => self.largest().sqrt() + near - if self.signed { 1 } else { 0 },
            4 => BigInt::from(random) % (self.largest() + 1),
            _ => {
                self.smallest() + (BigInt::from(random) * BigInt::from(random)) % (self.largest() - self.smallest() + 1)
            }
        }
    }

    fn text(&self, value: &BigInt) -> String {
        shown(value, self.scale)
    }

    fn literal(&self, value: &BigInt) -> String {
        format!("arrow_cast('{}', '{}')", self.text(value), self.name)
    }

    /// What the operation must give: a text, or none where it must fail.
    fn expected(&self, operator: &str, left: &BigInt, right: &BigInt) -> Expected {
        let zero = BigInt::from(0);
        if ["/", "%"].contains(&operator) && *right == zero {
            return Expected::Failure;
        }
        let Some(digits) = self.digits else {
            let result = match operator {
                "+" => left + right,
                "-" => left - right,
                "*" => left * right,
                "/" => left / right,
                "%" => left % right,
                "negative" => -left,
                _ => BigInt::from(left.magnitude().clone()),
            };
            return if self.holds(&result) { Expected::Text(shown(&result, 0)) } else { Expected::Failure };
        };
        let (result, result_digits, scale) = match operator {
            "+" => (left + right, digits + 1, self.scale),
            "-" => (left - right, digits + 1, self.scale),
            "*" => (left * right, 2 * digits + 1, 2 * self.scale),
            "%" => (left % right, digits, self.scale),
            "negative" => (-left, digits, self.scale),
            "abs" => (BigInt::from(left.magnitude().clone()), digits, self.scale),
            _ => {
                let raised = left * ten_to(self.scale + 4);
                if *raised.magnitude() >= *(BigInt::from(1) << (self.bits - 1)).magnitude() {
                    // It divides in the bits of the type, and may fail where the quotient alone would fit.
                    return Expected::Anything;
                }
                (raised / right, digits + self.scale + 4, self.scale + 4)
            }
        };
        match *result.magnitude() < *ten_to(result_digits.min(self.most)).magnitude() {
            true => Expected::Text(shown(&result, scale)),
            false => Expected::Failure,
        }
    }

    fn total(&self, total: &BigInt) -> Expected {
        let holds = match (self.digits, self.signed) {
            (Some(digits), _) => *total.magnitude() < *ten_to((digits + 10).min(self.most)).magnitude(),
            (None, true) => integer("Int64", 64, true).holds(total),
            (None, false) => integer("UInt64", 64, false).holds(total),
        };
        if holds { Expected::Text(shown(total, self.scale)) } else { Expected::Failure }
    }

    fn average(&self, total: &BigInt, count: usize) -> Expected {
        let Some(digits) = self.digits else { return Expected::Anything };
        let average = total * ten_to(4) / BigInt::from(count);
        match *average.magnitude() < *ten_to((digits + 4).min(self.most)).magnitude() {
            true => Expected::Text(shown(&average, self.scale + 4)),
            false => Expected::Failure,
        }
    }

    /// What a cast to another type must give.
    fn cast(&self, value: &BigInt, target: &Self) -> Expected {
        let result = if target.scale >= self.scale {
            value * ten_to(target.scale - self.scale)
        } else if target.digits.is_none() {
            value / ten_to(self.scale)
        } else {
            // Half away from zero.
            let unit = ten_to(self.scale - target.scale);
            let half: BigInt = &unit / 2;
            if *value < BigInt::from(0) { (value - half) / unit } else { (value + half) / unit }
        };
        if target.holds(&result) { Expected::Text(target.text(&result)) } else { Expected::Failure }
    }
}

fn shown(value: &BigInt, scale: u32) -> String {
    let digits = format!("{:0>width$}", value.magnitude().to_string(), width = scale as usize + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale as usize);
    let sign = if *value < BigInt::from(0) { "-" } else { "" };
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

#[derive(Debug, Clone, PartialEq)]
enum Expected {
    Text(String),
    Failure,
    Anything,
}

/// Expressions over the one row of `t`, in the types of its columns, with what each must give.
async fn holds(context: &SessionContext, source: &str, expressions: Vec<(String, Expected)>) {
    let fitting: Vec<_> = expressions
        .iter()
        .filter_map(|(expression, expected)| match expected {
            Expected::Text(text) => Some((expression, text)),
            _ => None,
        })
        .collect();
    let list: Vec<String> =
        fitting.iter().enumerate().map(|(number, (expression, _))| format!("{expression} AS e{number}")).collect();
    if !list.is_empty() {
        let sql = format!("SELECT {} {source}", list.join(", "));
        let rows = ask(context, &sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        for (cell, (expression, expected)) in rows[0].iter().zip(fitting) {
            assert_eq!(cell, expected, "{expression}");
        }
    }
    for (expression, _) in expressions.iter().filter(|(_, expected)| *expected == Expected::Failure) {
        overflow(context, &format!("SELECT {expression} {source}")).await;
    }
}

fn picks(count: usize) -> impl Strategy<Value = Vec<(u8, u128)>> {
    prop::collection::vec((any::<u8>(), any::<u128>()), count)
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
}

async fn operators_hold(numbers: &Numbers, picks: &[(u8, u128)], first: usize) {
    // Each case casts to every fourth type.
    let targets: Vec<&Numbers> = TYPES.iter().skip(first).step_by(4).collect();
    let context = context();
    let values: Vec<BigInt> = picks.iter().map(|pick| numbers.value(*pick)).collect();
    let column = |(number, value): (usize, &BigInt)| (format!("c{number}"), vec![Some(numbers.text(value))]);
    register(&context, values.iter().enumerate().map(column).collect());
    let typed = |number: usize| format!("arrow_cast(c{number}, '{}') AS c{number}", numbers.name);
    let source = format!("FROM (SELECT {} FROM t)", (0..values.len()).map(typed).collect::<Vec<_>>().join(", "));
    let mut expressions = Vec::new();
    for (pair, operands) in values.chunks_exact(2).enumerate() {
        let [left, right] = operands else { unreachable!("a pair") };
        let (left_column, right_column) = (format!("c{}", 2 * pair), format!("c{}", 2 * pair + 1));
        let (left_literal, right_literal) = (numbers.literal(left), numbers.literal(right));
        for operator in ["+", "-", "*", "/", "%"] {
            let expected = numbers.expected(operator, left, right);
            for (left, right) in [
                (&left_column, &right_column),
                (&left_column, &right_literal),
                (&left_literal, &right_column),
                (&left_literal, &right_literal),
            ] {
                expressions.push((format!("{left} {operator} {right}"), expected.clone()));
            }
        }
        for operand in [&left_column, &left_literal] {
            if numbers.signed {
                expressions.push((format!("- {operand}"), numbers.expected("negative", left, right)));
            }
            expressions.push((format!("abs({operand})"), numbers.expected("abs", left, right)));
            for target in &targets {
                let expected = numbers.cast(left, target);
                expressions.push((format!("arrow_cast({operand}, '{}')", target.name), expected.clone()));
            }
        }
        for target in targets.iter().filter(|target| target.digits.is_some()) {
            let text = format!("'{}'", numbers.text(left));
            expressions.push((format!("arrow_cast({text}, '{}')", target.name), numbers.cast(left, target)));
        }
    }
    holds(&context, &source, expressions).await;
}

async fn sums_hold(numbers: &Numbers, picks: &[(u8, u128)]) {
    let context = context();
    let values: Vec<BigInt> = picks.iter().map(|pick| numbers.value(*pick)).collect();
    // A null in every fourth row, which counts for nothing.
    let texts = values.iter().enumerate().map(|(row, value)| (row % 4 != 3).then(|| numbers.text(value)));
    let order = (0..values.len()).map(|row| Some(format!("{row:03}")));
    register(&context, vec![("v".to_owned(), texts.collect()), ("n".to_owned(), order.collect())]);
    let source = format!("FROM (SELECT arrow_cast(v, '{}') AS v, n FROM t)", numbers.name);
    let counted: Vec<&BigInt> = values.iter().enumerate().filter(|(row, _)| row % 4 != 3).map(|(_, v)| v).collect();
    let sum = |values: &[&BigInt]| values.iter().fold(BigInt::from(0), |total, value| total + *value);
    let distinct: std::collections::BTreeSet<&BigInt> = counted.iter().copied().collect();
    let distinct: Vec<&BigInt> = distinct.into_iter().collect();
    let whole = sum(&counted);
    let aggregates = vec![
        ("sum(v)".to_owned(), numbers.total(&whole)),
        ("sum(distinct v)".to_owned(), numbers.total(&sum(&distinct))),
        ("avg(v)".to_owned(), numbers.average(&whole, counted.len())),
        ("(sum(v) FILTER (WHERE n < '002'))".to_owned(), numbers.total(&sum(&counted[..2]))),
    ];
    holds(&context, &source, aggregates).await;
    let grouped = format!("{source} GROUP BY length(n)");
    holds(&context, &grouped, vec![("sum(v)".to_owned(), numbers.total(&whole))]).await;
    // Windows of two rows, of which the earlier one goes again.
    let framed = "sum(v) OVER (ORDER BY n ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)";
    let windows: Vec<Expected> = (0..values.len())
        .map(|row| {
            let rows = [row.checked_sub(1), Some(row)].into_iter().flatten().filter(|row| row % 4 != 3);
            let members: Vec<&BigInt> = rows.map(|row| &values[row]).collect();
            numbers.total(&sum(&members))
        })
        .collect();
    let sql = format!("SELECT {framed} {source} ORDER BY n");
    if windows.contains(&Expected::Failure) {
        overflow(&context, &sql).await;
    } else {
        let cells = ask(&context, &sql).await.unwrap_or_else(|error| panic!("{sql}: {error}")).concat();
        assert_eq!(cells.into_iter().map(Expected::Text).collect::<Vec<_>>(), windows, "{sql}");
    }
}

/// As [`operators_hold`], over columns of many rows, of which CASE leaves out those that overflow.
async fn columns_hold(numbers: &Numbers, picks: &[(u8, u128)]) {
    let context = context();
    let pairs: Vec<(BigInt, BigInt)> =
        picks.chunks_exact(2).map(|pair| (numbers.value(pair[0]), numbers.value(pair[1]))).collect();
    for operator in ["+", "-", "*"] {
        let outcome = |(left, right): &(BigInt, BigInt)| numbers.expected(operator, left, right);
        let (good, bad): (Vec<_>, Vec<_>) = pairs.iter().partition(|pair| outcome(pair) != Expected::Failure);
        let rows: Vec<&(BigInt, BigInt)> = good.iter().chain(&bad).copied().collect();
        let text = |of: &dyn Fn(&(BigInt, BigInt)) -> String| rows.iter().map(|pair| Some(of(pair))).collect();
        let hidden = rows.iter().map(|pair| Some(bad.contains(pair).to_string())).collect();
        let columns = vec![
            ("a".to_owned(), text(&|pair| numbers.text(&pair.0))),
            ("b".to_owned(), text(&|pair| numbers.text(&pair.1))),
            ("hidden".to_owned(), hidden),
        ];
        register(&context, columns);
        let source = format!(
            "FROM (SELECT arrow_cast(a, '{name}') AS a, arrow_cast(b, '{name}') AS b, hidden FROM t)",
            name = numbers.name
        );
        let sql = format!("SELECT CASE WHEN hidden = 'false' THEN a {operator} b END {source}");
        let cells = ask(&context, &sql).await.unwrap_or_else(|error| panic!("{sql}: {error}")).concat();
        let told: Vec<String> = rows
            .iter()
            .map(|pair| match outcome(pair) {
                Expected::Text(text) => text,
                _ => String::new(),
            })
            .collect();
        assert_eq!(cells, told, "{sql}");
        if !bad.is_empty() {
            overflow(&context, &format!("SELECT a {operator} b {source}")).await;
        }
    }
}

#[test]
fn what_stands_beneath_a_null_overflows_nothing() {
    let nulls = NullBuffer::from(vec![false, true, true]);
    let left = Int32Array::new(vec![i32::MAX, 1, 2].into(), Some(nulls));
    let right = Int32Array::from(vec![Some(1), Some(1), None]);
    let sum = integers::combine(Operator::Plus, &left, &right).expect("integers").expect("fits");
    assert_eq!(sum.as_primitive::<Int32Type>(), &Int32Array::from(vec![None, Some(2), None]));
    let none = Scalar::new(Int32Array::from(vec![None]));
    let sum = integers::combine(Operator::Plus, &left, &none).expect("integers").expect("fits");
    assert_eq!(sum.null_count(), 3);
    let one = Scalar::new(Int32Array::from(vec![1]));
    let sum = integers::combine(Operator::Plus, &one, &right).expect("integers").expect("fits");
    assert_eq!(sum.as_primitive::<Int32Type>(), &Int32Array::from(vec![Some(2), Some(2), None]));
    assert!(integers::combine(Operator::Plus, &Int32Array::from(vec![i32::MAX]), &one).expect("integers").is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn operators_and_casts_give_what_big_integers_give_or_fail(picks in picks(2), first in 0..4usize) {
        block_on(async {
            for numbers in &TYPES {
                operators_hold(numbers, &picks, first).await;
            }
        });
    }

    #[test]
    fn sums_and_averages_give_what_big_integers_give_or_fail(picks in picks(9)) {
        block_on(async {
            for numbers in &TYPES {
                sums_hold(numbers, &picks).await;
            }
        });
    }

    #[test]
    fn whole_columns_give_what_big_integers_give_or_fail(picks in picks(40)) {
        block_on(async {
            for numbers in &TYPES {
                columns_hold(numbers, &picks).await;
            }
        });
    }
}

#[tokio::test]
async fn an_overflow_is_told_with_its_values_its_type_and_its_place() {
    let context = context();
    register(&context, vec![("a".to_owned(), vec![Some("1".to_owned()), Some("100000".to_owned())])]);
    let source = "FROM (SELECT arrow_cast(a, 'Int32') AS n, arrow_cast('50000', 'Int32') AS p FROM t)";
    let cases = [
        ("n * p", "100000 * 50000 is beyond integer (32 bits) in n * p; cast to bigint first"),
        ("9223372036854775807 + 1", "9223372036854775807 + 1 is beyond bigint (64 bits)"),
        ("n << arrow_cast('31', 'Int32')", "is beyond integer (32 bits)"),
        ("1 << 64", "1 << 64 is beyond bigint (64 bits)"),
        ("sum(arrow_cast('9223372036854775807', 'Int64'))", "the sum 18446744073709551614 is beyond bigint (64 bits)"),
        (
            "arrow_cast('99999999999999999999999999999999999999', 'Decimal128(38, 0)') + n",
            "99999999999999999999999999999999999999 + 1 is beyond decimal(38,0)",
        ),
        (
            "cast('28948022309329048855892746252171976963317496166410141009864396001978282409984.001' as decimal(10, 2))",
            "2894802230932904885589274625217197696331… is beyond decimal(10,2)",
        ),
        ("arrow_cast(9223372036854775807, 'Decimal32(9, 0)')", ""),
        (
            "arrow_cast(arrow_cast('-9999999999999999999999999999999999999.999', 'Decimal256(40, 3)'), 'Int64')",
            "-9999999999999999999999999999999999999.9… is beyond bigint (64 bits)",
        ),
        ("to_timestamp(1e12 * n)", ""),
        ("to_timestamp(arrow_cast('NaN', 'Float64'))", ""),
        ("-(-9223372036854775807 - 1)", "-(-9223372036854775808) is beyond bigint (64 bits) in (-"),
        ("(n + 1) * (p * 100000000000000)", "is beyond bigint (64 bits) in "),
        ("- arrow_cast('-128', 'Int8')", "-(-128) is beyond tinyint (8 bits)"),
    ];
    for (expression, words) in cases {
        let told = refusal(&context, &format!("SELECT {expression} AS x {source}")).await;
        assert!(told.contains(words) && !told.contains("checked_"), "{expression}: {told}");
    }
}

#[tokio::test]
async fn functions_of_integers_go_through_no_double() {
    let context = context();
    register(&context, vec![("a".to_owned(), vec![Some("9007199254740993".to_owned()), None])]);
    let source = "FROM (SELECT arrow_cast(a, 'Int64') AS n FROM t)";
    for name in ["floor", "ceil", "trunc", "round"] {
        for (argument, expected) in [("n", "9007199254740993"), ("n - 9007199254740994", "-1")] {
            let sql = format!("SELECT {name}({argument}), arrow_typeof({name}({argument})) {source}");
            let rows = ask(&context, &sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
            assert_eq!(rows, [[expected, "Int64"], ["", "Int64"]], "{sql}");
        }
        let own = ask(&context, &format!("SELECT {name}(-1.5), {name}(1.5::double), {name}(null) IS NULL")).await;
        let [negative, positive, null] = own.expect("as before")[0].clone().try_into().expect("three cells");
        assert!(["-1", "-2", "-2.0", "-1.0"].contains(&negative.as_str()) && null == "true", "{name}: {negative}");
        assert!(["1.0", "2.0"].contains(&positive.as_str()), "{name}: {positive}");
    }
    let of = |expression: &'static str| ask(&context, expression);
    let exact = of("SELECT array_sum([9007199254740993, NULL, 9007199254740993, 1])").await.expect("a sum");
    assert_eq!(exact, [["18014398509481987"]]);
    let others = of("SELECT array_sum([1.5, 2.0]), array_sum(arrow_cast([NULL], 'List(Int32)')), list_sum([7])").await;
    assert_eq!(others.expect("sums"), [["3.5", "", "7"]]);
    overflow(&context, "SELECT array_sum([9223372036854775807, 1])").await;
    assert_eq!(of("SELECT round(12345, -2), trunc(12.345, 1)").await.expect("as before"), [["12300", "12.3"]]);
}

#[tokio::test]
async fn what_fits_and_what_is_no_number_is_computed_as_before() {
    let context = context();
    register(&context, vec![("a".to_owned(), vec![Some("3".to_owned()), None])]);
    let source = "FROM (SELECT arrow_cast(a, 'Int32') AS n FROM t)";
    let cases: &[(&str, &[&str])] = &[
        ("n * 2 + 1", &["7", ""]),
        ("1.5e308 * 10 * n", &["inf", ""]),
        ("date '2026-01-31' + interval '1 month'", &["2026-02-28", "2026-02-28"]),
        ("(timestamp '2026-01-02T00:00:00' - timestamp '2026-01-01T00:00:00') IS NOT NULL", &["true", "true"]),
        (
            "try_cast('28948022309329048855892746252171976963317496166410141009864396001978282409984.1' as decimal(9, 1))",
            &["", ""],
        ),
        ("try_cast('12.34' as decimal(9, 1))", &["12.3", "12.3"]),
        ("to_timestamp(1.5 * n) = to_timestamp('1970-01-01T00:00:04.5')", &["true", ""]),
        ("(n << 4) >> 2", &["12", ""]),
        ("row_number() over () - 1 >= 0", &["true", "true"]),
    ];
    for (expression, expected) in cases {
        let sql = format!("SELECT {expression} AS x {source}");
        let cells = ask(&context, &sql).await.unwrap_or_else(|error| panic!("{sql}: {error}")).concat();
        assert_eq!(cells, *expected, "{sql}");
    }
    let names =
        context.sql("SELECT a, arrow_cast(a, 'Int8') + 1, - arrow_cast(a, 'Int8') FROM t").await.expect("planned");
    let names: Vec<&String> = names.schema().fields().iter().map(|field| field.name()).collect();
    assert_eq!(names[1], "arrow_cast(t.a,Utf8(\"Int8\")) + Int64(1)");
    assert_eq!(names[2], "(- arrow_cast(t.a,Utf8(\"Int8\")))");
}
