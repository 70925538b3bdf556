//! Planning a statement, and before it the arguments of its table functions (`FROM generate_series(1, 2 * 3)`).
//!
//! DataFusion works those out while it plans, before any rule sees them, and without checks: a result that does not fit
//! wraps, or panics. So they are worked out here first, with the safeguards that all other SQL has.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::Schema;
use datafusion::common::{DFSchema, DataFusionError, Diagnostic, Span};
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, ExprWithAlias, FunctionArg, FunctionArgExpr, Spanned, TableFactor, Visit, Visitor,
};

use super::safeguarded;

/// The statement's plan.
///
/// # Errors
/// DataFusion's; where a table function's argument cannot be worked out, with its place.
pub async fn planned(state: &SessionState, statement: Statement) -> Result<LogicalPlan, DataFusionError> {
    if let Statement::Statement(sql) = &statement
        && let ControlFlow::Break(error) = sql.visit(&mut Arguments(state))
    {
        return Err(error);
    }
    state.statement_to_plan(statement).await
}

/// A look at the arguments of all table functions.
struct Arguments<'a>(&'a SessionState);

impl Visitor for Arguments<'_> {
    type Break = DataFusionError;

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<DataFusionError> {
        let arguments = match factor {
            TableFactor::Table { args: Some(arguments), .. } => &arguments.args,
            TableFactor::Function { args, .. } => args,
            _ => return ControlFlow::Continue(()),
        };
        for argument in arguments {
            let FunctionArg::Unnamed(FunctionArgExpr::Expr(expression)) = argument else { continue };
            if let Err(error) = work_out(self.0, expression) {
                let place = Span::try_from_sqlparser_span(expression.span());
                let words = error.find_root().message().into_owned();
                return ControlFlow::Break(error.with_diagnostic(Diagnostic::new_error(words, place)));
            }
        }
        ControlFlow::Continue(())
    }
}

/// Works an argument out; what is no expression over nothing is the planner's to refuse.
fn work_out(state: &SessionState, expression: &SqlExpr) -> Result<(), DataFusionError> {
    let nothing = DFSchema::empty();
    let sql = ExprWithAlias { expr: expression.clone(), alias: None };
    let Ok(planned) = state.create_logical_expr_from_sql_expr(sql, &nothing) else { return Ok(()) };
    let context = SimplifyContext::builder().with_config_options(Arc::clone(state.config_options())).build();
    let Ok(typed) = ExprSimplifier::new(context).coerce(planned, &nothing) else { return Ok(()) };
    let checked = state.create_physical_expr(safeguarded(state, typed, &nothing)?, &nothing)?;
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let row = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options)?;
    checked.evaluate(&row).map(drop)
}

#[cfg(test)]
mod tests {
    use datafusion::sql::parser::DFParser;

    use super::*;
    use crate::sql::{SessionSettings, session};

    async fn plan(sql: &str) -> Result<LogicalPlan, DataFusionError> {
        let mut state = session(SessionSettings { memory_bytes: 16 << 20, partitions: 1 }).expect("a session").state();
        state.config_mut().options_mut().sql_parser.collect_spans = true;
        let statement = DFParser::parse_sql(sql).expect("sql").pop_front().expect("a statement");
        planned(&state, statement).await
    }

    #[tokio::test]
    async fn an_argument_that_does_not_fit_is_a_fault_with_its_place() {
        let cases = [
            (
                "SELECT * FROM generate_series(1, 9223372036854775807 + 1)",
                34,
                "9223372036854775807 + 1 is beyond bigint",
            ),
            ("SELECT * FROM range(9223372036854775807 * 2)", 21, "9223372036854775807 * 2 is beyond bigint"),
            ("SELECT * FROM (SELECT * FROM range(0, -(-9223372036854775807 - 1)))", 42, "is beyond bigint"),
            ("SELECT 1 WHERE 1 IN (SELECT value FROM range(1 / 0))", 46, "ivide by zero"),
        ];
        for (sql, column, words) in cases {
            let error = plan(sql).await.map(|plan| plan.to_string()).expect_err(sql);
            let place = error.diagnostic().and_then(|told| told.span).map(|span| (span.start.line, span.start.column));
            assert_eq!(place, Some((1, column)), "{sql}");
            assert!(error.find_root().message().contains(words), "{sql}: {error}");
        }
    }

    #[tokio::test]
    async fn arguments_that_fit_are_planned_as_they_were() {
        for sql in [
            "SELECT * FROM generate_series(1, 2 * 3)",
            "SELECT * FROM range(-5, abs(-5), 1 + 1)",
            "SELECT * FROM generate_series(timestamp '2026-01-01', timestamp '2026-01-03', interval '1 day')",
        ] {
            assert!(plan(sql).await.is_ok(), "{sql}: {:?}", plan(sql).await.err());
        }
        let other = plan("SELECT * FROM generate_series(1, nothing)").await.expect_err("no such column");
        assert!(other.to_string().contains("nothing"), "{other}");
    }
}
