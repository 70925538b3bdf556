//! Calls of SQL functions: a panic inside of one is an error with its name, and no call makes memory out of nothing.
//!
//! An analyzer rule puts every call of a scalar function into a [`Call`], whoever planned it: a query, `EXTRACT`, or
//! `[…]`. Functions whose value can be far larger than their arguments are looked at before they run (`sizes`):
//! a value has at most [`MAX_VALUE_BYTES`], and all values of one call, which is of a few thousand rows, at most
//! [`MAX_CALL_BYTES`]; what a call makes counts in the session's memory while it runs.

mod call;
mod sizes;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::analyzer::AnalyzerRule;

use call::Call;

/// The most bytes of a value that a function makes.
pub const MAX_VALUE_BYTES: usize = 1 << 20;

/// The most bytes that one call makes, of all its rows.
pub const MAX_CALL_BYTES: usize = 64 << 20;

/// The rule for a session's analyzer.
#[derive(Debug)]
pub(super) struct WatchedCalls {
    /// What the session's operators share.
    pub(super) pool: Arc<dyn MemoryPool>,
}

impl AnalyzerRule for WatchedCalls {
    fn name(&self) -> &'static str {
        "watched_calls"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let watched_plan = |plan: LogicalPlan| {
            let names = NamePreserver::new(&plan);
            plan.map_expressions(|expression| {
                let name = names.save(&expression);
                Ok(watched_nodes(expression, &self.pool)?.update_data(|expression| name.restore(expression)))
            })
        };
        Ok(plan.transform_up_with_subqueries(watched_plan)?.data)
    }
}

/// The expression with all its calls watched.
///
/// # Errors
/// None of its own.
pub(super) fn watched(expression: Expr, pool: &Arc<dyn MemoryPool>) -> Result<Expr> {
    Ok(watched_nodes(expression, pool)?.data)
}

fn watched_nodes(expression: Expr, pool: &Arc<dyn MemoryPool>) -> Result<Transformed<Expr>> {
    expression.transform_up(|node| match node {
        Expr::ScalarFunction(ScalarFunction { func, args }) => Ok(match Call::of(&func, pool) {
            Some(call) => Transformed::yes(Expr::ScalarFunction(ScalarFunction { func: Arc::new(call.into()), args })),
            None => Transformed::no(Expr::ScalarFunction(ScalarFunction { func, args })),
        }),
        other => Ok(Transformed::no(other)),
    })
}
