//! A panic of the SQL over a batch is a failure of its events.

use arrow::datatypes::DataType;
use datafusion::common::Result as PlanResult;
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};
use datafusion::scalar::ScalarValue;

use super::*;

#[derive(Debug, PartialEq, Eq, Hash)]
struct PanicsOnSeven(Signature);

/// Panics where any of the numbers is 7.
fn no_seven(values: &ArrayRef) {
    let numbers: &Int32Array = values.as_any().downcast_ref().expect("numbers");
    assert!(numbers.iter().all(|number| number != Some(7)), "seven!");
}

impl ScalarUDFImpl for PanicsOnSeven {
    fn name(&self) -> &'static str {
        "picky"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _: &[DataType]) -> PlanResult<DataType> {
        Ok(DataType::Int32)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> PlanResult<ColumnarValue> {
        no_seven(&arguments.args[0].to_array(arguments.number_rows)?);
        Ok(arguments.args[0].clone())
    }
}

/// An aggregate that does so: nothing watches its calls but the run of the table.
impl AggregateUDFImpl for PanicsOnSeven {
    fn name(&self) -> &'static str {
        "picky_sum"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _: &[DataType]) -> PlanResult<DataType> {
        Ok(DataType::Int64)
    }

    fn accumulator(&self, _: AccumulatorArgs<'_>) -> PlanResult<Box<dyn Accumulator>> {
        Ok(Box::new(PanickyCount(0)))
    }
}

#[derive(Debug)]
struct PanickyCount(i64);

impl Accumulator for PanickyCount {
    fn update_batch(&mut self, values: &[ArrayRef]) -> PlanResult<()> {
        no_seven(&values[0]);
        self.0 += 1;
        Ok(())
    }

    fn evaluate(&mut self) -> PlanResult<ScalarValue> {
        Ok(ScalarValue::Int64(Some(self.0)))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> PlanResult<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> PlanResult<()> {
        Ok(())
    }
}

/// A cleaner whose SQL knows the functions of these tests too.
async fn cleaner_of(checks: &[Check], table: Table) -> Cleaner {
    let signature = || Signature::exact(vec![DataType::Int32], Volatility::Immutable);
    let context = crate::sql::session(SETTINGS).expect("a session");
    context.register_udf(ScalarUDF::from(PanicsOnSeven(signature())));
    context.register_udaf(AggregateUDF::from(PanicsOnSeven(signature())));
    let state = Arc::new(context.state());
    let events = input_schema(&fields());
    let planned = checks.iter().map(|check| checks::plan(&state, check, &events).expect("a check")).collect();
    let table = plan::plan(&state, &table, &events, &fields()).await.expect("a table");
    let specs = vec![table.spec.clone()];
    let events = relation::numbered_schema(&events);
    Cleaner { events, checks: Arc::new(planned), tables: vec![Arc::new(table)], specs }
}

fn numbers(ids: impl IntoIterator<Item = i32>) -> Decoded {
    events(&ids.into_iter().map(|id| event(id, "a", 1)).collect::<Vec<_>>())
}

#[tokio::test]
async fn a_panic_of_a_table_s_sql_refuses_the_event_that_it_is_about() {
    let cases = [
        ("SELECT id, picky(id) AS x FROM events", "the SQL of t fails on it: picky() panicked: seven!"),
        ("SELECT id FROM events WHERE picky(id) > 0", "the SQL of t fails on it: picky() panicked: seven!"),
    ];
    for (sql, words) in cases {
        let cleaner = cleaner_of(&[], table("t", &["id"], sql)).await;
        let cleaned = cleaner.clean(numbers(1..=20)).await.expect("cleaned");
        assert_eq!(told(&cleaned), [("sql_error", words, "<6.0>\n")], "{sql}");
        assert_eq!(shown(&cleaned, "t").len(), 19, "{sql}");
        adds_up(&cleaned.counts);
    }
}

#[tokio::test]
async fn a_panic_outside_of_a_function_of_rows_refuses_the_row_that_it_is_about() {
    let sql = "SELECT id, picky_sum(id) OVER (PARTITION BY id) AS x FROM file";
    let cleaner = cleaner_of(&[], of_file("t", &["id"], sql)).await;
    let cleaned = cleaner.clean_file("t", numbers(1..=20), dimension_file()).await.expect("cleaned");
    assert_eq!(told(&cleaned), [("sql_error", "the SQL of t fails on it: it panicked: seven!", "<6.0>\n")]);
    assert_eq!(shown(&cleaned, "t").len(), 19);
}

#[tokio::test]
async fn a_panic_of_a_check_refuses_the_event_that_it_is_about() {
    let checks = [check("fine", "picky(id) > 0")];
    let cleaner = cleaner_of(&checks, table("t", &["id"], "SELECT id FROM events")).await;
    let cleaned = cleaner.clean(numbers(1..=20)).await.expect("cleaned");
    let words = "picky(id) > 0 cannot be told: picky() panicked: seven!: id is 7";
    assert_eq!(told(&cleaned), [("fine", words, "<6.0>\n")]);
    assert_eq!(shown(&cleaned, "t").len(), 19);
}

#[tokio::test]
async fn an_event_that_asks_a_function_for_too_much_is_refused_alone() {
    let cases = [
        ("lpad(name, id) AS x", "lpad() would make a value of 2147483648 bytes; a value has at most 1048576"),
        ("repeat(name, id) AS x", "repeat() would make a value of 2147483647 bytes; a value has at most 1048576"),
        ("array_repeat(id, id) AS x", "array_repeat() would make a value of 17179869176 bytes"),
        ("range(id) AS x", "range() would make a value of"),
        ("length(lpad('a', id)) AS x", "lpad() would make a value of"),
    ];
    for (column, words) in cases {
        let sql = format!("SELECT id, {column} FROM events");
        let cleaner = cleaner(Vec::new(), vec![table("t", &["id"], &sql)]).await;
        let cleaned = cleaner.clean(numbers([1, i32::MAX, 3])).await.expect("cleaned");
        let told = told(&cleaned);
        assert_eq!((told.len(), told[0].0, told[0].2), (1, "sql_error", "<1.0>\n"), "{sql}: {told:?}");
        assert!(told[0].1.contains(words), "{sql}: {told:?}");
        assert_eq!(shown(&cleaned, "t").len(), 2, "{sql}");
    }
}
