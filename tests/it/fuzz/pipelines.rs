//! A pipeline's folder: its pipeline.toml, and the SQL of its tables and checks.

use std::fs;
use std::path::Path;

use millstream::clean::Cleaner;
use millstream::config::{self, Input, Pipeline};
use millstream::sql::SessionSettings;
use tokio::runtime::Runtime;

use super::engine::Target;
use crate::command::{PipelineCopy, food_delivery};

/// As a check plans.
async fn plan(pipeline: &Pipeline) -> Result<(), String> {
    let settings = SessionSettings { memory_bytes: 64 << 20, partitions: 1 };
    match Cleaner::plan(pipeline, settings).await {
        Ok(_) => Ok(()),
        Err(faults) if faults.is_empty() => Err("it does not plan, and nothing says why".to_owned()),
        Err(faults) => {
            match faults.iter().find(|fault| fault.message.is_empty() || fault.message.contains("internal error")) {
                Some(fault) => Err(format!("a fault that helps nobody: {}", fault.message)),
                None => Ok(()),
            }
        }
    }
}

/// Runs on a thread with the stack of a process's first one: that is where a pipeline is planned.
fn on_a_thread(work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(8 << 20).spawn(work).expect("a thread");
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn pipeline_toml_is_a_pipeline_or_faults_with_places() {
    on_a_thread(|| {
        let copy = PipelineCopy::new();
        let path = copy.pipeline.join("pipeline.toml");
        let further = "[target.aws]\nregion = \"eu-central-1\"\nstore = \"s3://b/p\"\nwarehouse = { kind = \"redshift\", access = \"wire\", host = \"h\", \
                       database = \"d\", schema = \"s\", user = \"u\", iam_role = \"default\", tls = \"verify\", authorities = \"x.pem\" }\n\
                       [target.pg]\nstore = \"file:///tmp/x\"\nwarehouse = { kind = \"postgres\", database = \"d\", user = \"u\" }\n";
        let text = fs::read_to_string(&path).expect("the file");
        let seeds = vec![text.clone().into(), format!("{text}\n{further}").into_bytes()];
        let words = [
            "[[table]]\n",
            "[[check]]\n",
            "[[event.field]]\n",
            "[source]\n",
            "[load]\n",
            "[batch]\n",
            "name = ",
            "type = ",
            "struct",
            "list<",
            ">",
            "\"",
            "\n",
            "= ",
            "{ ",
            " }",
            "[",
            "]",
            "from = ",
            "dates = { from = 2023-01-01, through = 2028-12-31 }",
            "key = [\"order_id\"]",
            "decimal(38,38)",
            "string(0)",
            "1e400",
            "0x7fffffffffffffff",
            "9999-12-31",
            "\"\"\"",
            "'''",
            "#",
            "\\u0000",
            "allow_outside = true\n",
            "maintenance = [\"sun 02:00-04:00\"]\n",
            "fan_out = \"x\"\n",
            "references = {}\n",
        ];
        let runtime = Runtime::new().expect("threads");
        Target { name: "pipeline", seeds, dictionary: &words, longest: 16_384 }.run(|input| {
            fs::write(&path, input).expect("written");
            let reading = config::read(&copy.pipeline);
            if reading.pipeline.is_none() && reading.faults.is_empty() {
                return Err("no pipeline and no fault".to_owned());
            }
            if let Some(fault) = reading.faults.iter().find(|fault| fault.message.is_empty()) {
                return Err(format!("a fault without words: {fault}"));
            }
            match reading.pipeline {
                Some(pipeline) if reading.faults.is_empty() => runtime.block_on(plan(&pipeline)),
                _ => Ok(()),
            }
        });
    });
}

const SQL_WORDS: [&str; 74] = [
    "select ",
    " from events",
    " where ",
    " and ",
    " or ",
    " not ",
    " in (",
    ")",
    "(",
    ",",
    " case when ",
    " then ",
    " else ",
    " end",
    " is null",
    " between ",
    " like ",
    " group by ",
    " order by ",
    " limit 1",
    " distinct ",
    " having ",
    " union all ",
    " with x as (select 1) ",
    " join events e on true ",
    " over (partition by order_id order by order_date)",
    "row_number()",
    "count(*)",
    "sum(",
    "avg(",
    "max(",
    "unnest(",
    "range(1, 10)",
    "generate_series(1, 1000000000)",
    "repeat('x', 1000000000)",
    "lpad('x', 2147483647)",
    "cast(",
    " as integer)",
    " as decimal(38, 10))",
    "try_cast(",
    "::bigint",
    "::date",
    "interval '1 day'",
    "date '2024-01-01'",
    "timestamp '2024-01-01T00:00:00Z'",
    "coalesce(",
    "lower(",
    "trim(",
    "substr(",
    "regexp_replace(",
    "to_timestamp(",
    "date_trunc('month', ",
    "extract(year from ",
    "concat(",
    "||",
    "'",
    "''",
    "\"",
    "--",
    "/*",
    "*/",
    ";",
    " exists (select 1 from events)",
    "*",
    " + ",
    " - ",
    " / ",
    " % ",
    " = ",
    "null",
    "-9223372036854775808",
    "array[1, 2]",
    "{'a': 1}",
    "$1",
];

/// A text of SQL in the place of one of the pipeline's own.
fn planned(runtime: &Runtime, pipeline: &Pipeline, input: &[u8]) -> Result<(), String> {
    let Ok(sql) = std::str::from_utf8(input) else { return Ok(()) };
    let mut changed = pipeline.clone();
    match sql.strip_prefix("check ") {
        Some(expression) => changed.checks[0].expr = expression.to_owned(),
        None => changed.tables[0].sql = sql.to_owned(),
    }
    runtime.block_on(plan(&changed))
}

#[test]
fn sql_plans_or_is_refused_in_time() {
    on_a_thread(|| {
        let folder = food_delivery();
        let mut pipeline = config::read(&folder).pipeline.expect("sound");
        pipeline.tables.retain(|table| table.name == "fact_orders");
        pipeline.tables[0].references.clear();
        assert_eq!(pipeline.tables[0].input, Input::Events);
        let orders = fs::read(Path::new(&folder).join("fact_orders.sql")).expect("the file");
        let mut seeds = vec![
            orders,
            b"select order_id, order_value * 2 as twice, order_date + interval '1 hour' as later from events where order_value > 1".to_vec(),
            b"with x as (select order_id, order_status from events) select order_id, upper(order_status) as s from x".to_vec(),
            b"select order_id, case when rider_id in (1, 2, 3) then 'a' else 'b' end as k from events order by order_id".to_vec(),
        ];
        seeds.extend(pipeline.checks.iter().map(|check| format!("check {}", check.expr).into_bytes()));
        let runtime = Runtime::new().expect("threads");
        let target = Target { name: "sql", seeds, dictionary: &SQL_WORDS, longest: 8_192 };
        target.run(|input| planned(&runtime, &pipeline, input));
    });
}
