//! Calls of SQL functions: a panic inside of one is an error with its name, and no call makes memory out of nothing.
//!
//! An analyzer rule puts every call of a scalar function into a [`Call`], whoever planned it: a query, `EXTRACT`, or
//! `[…]`. Functions whose value can be far larger than their arguments are looked at before they run (`sizes`):
//! a value has at most [`MAX_VALUE_BYTES`], and all values of one call, which is of a few thousand rows, at most
//! [`MAX_CALL_BYTES`]. Of all others it is known how many times their arguments they may make. What a call may make counts
//! in the session's memory while it runs, and one for which there is no room fails with its name and the size. So does an
//! `unnest` whose rows would be larger than a call may make (`unnest`).

mod call;
mod sizes;
#[cfg(test)]
mod tests;
mod unnest;

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::analyzer::AnalyzerRule;

pub use sizes::{MAX_CALL_BYTES, MAX_VALUE_BYTES};

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
            if let LogicalPlan::Unnest(unnest) = &plan
                && let Some(guarded) = unnest::guarded(unnest)?
            {
                return Ok(Transformed::yes(guarded));
            }
            let names = NamePreserver::new(&plan);
            plan.map_expressions(|expression| {
                let name = names.save(&expression);
                Ok(call::watched(expression, &self.pool)?.update_data(|expression| name.restore(expression)))
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
    Ok(call::watched(expression, pool)?.data)
}
