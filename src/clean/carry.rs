//! Carrying the version columns and the row number from the input through a logical plan.
//!
//! A plain SELECT, with or without subqueries in FROM, windows, joins to constant tables or unnest, keeps for each of
//! its rows the one event it came from; so the columns that say which event that was ride along by themselves. Where
//! rows of several events become one (GROUP BY, DISTINCT, UNION, a join of events with events) nothing is carried,
//! and the SQL must yield the version columns itself.

use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Column, JoinType};
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, SubqueryAlias};

use super::relation::ROW_COLUMN;
use crate::schema::VERSION_COLUMNS;

/// A plan that carries.
pub(super) struct Carried {
    /// Yields what the plan yielded, and the carried columns behind or among them.
    pub(super) plan: LogicalPlan,
    /// `_arrived_at`, `_position` and the row number, as the plan names them.
    pub(super) columns: [Column; 3],
    /// Whether an event yields at most one row.
    pub(super) one_to_one: bool,
}

/// The names under which the columns ride; no SQL of a pipeline would use them.
const CARRIED: [&str; 3] = ["__carried_arrived_at", "__carried_position", "__carried_row"];

/// The plan with the columns carried, or none where rows of several events become one.
pub(super) fn carry(plan: &LogicalPlan) -> Option<Carried> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let names = [VERSION_COLUMNS[0], VERSION_COLUMNS[1], ROW_COLUMN];
            let columns = names.map(|name| Column::new(Some(scan.table_name.clone()), name));
            Some(Carried { plan: plan.clone(), columns, one_to_one: true })
        }
        LogicalPlan::Projection(projection) => {
            let inner = carry(&projection.input)?;
            let riding = inner.columns.into_iter().zip(CARRIED).map(|(column, name)| Expr::Column(column).alias(name));
            let expressions = projection.expr.iter().cloned().chain(riding).collect();
            let plan = LogicalPlan::Projection(Projection::try_new(expressions, Arc::new(inner.plan)).ok()?);
            Some(Carried { plan, columns: CARRIED.map(Column::new_unqualified), one_to_one: inner.one_to_one })
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let inner = carry(&alias.input)?;
            let columns = inner.columns.map(|column| Column::new(Some(alias.alias.clone()), column.name));
            let plan = SubqueryAlias::try_new(Arc::new(inner.plan), alias.alias.clone()).ok()?;
            Some(Carried { plan: LogicalPlan::SubqueryAlias(plan), columns, one_to_one: inner.one_to_one })
        }
        LogicalPlan::Filter(_) | LogicalPlan::Sort(_) | LogicalPlan::Limit(_) | LogicalPlan::Window(_) => {
            through(plan, 0)
        }
        LogicalPlan::Unnest(_) => through(plan, 0).map(many),
        LogicalPlan::Join(join) => {
            // The side that holds the events must be the one whose rows a join never makes up.
            let kept = match (reads(&join.left), reads(&join.right), join.join_type) {
                (true, false, JoinType::Inner | JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti) => 0,
                (false, true, JoinType::Inner | JoinType::Right | JoinType::RightSemi | JoinType::RightAnti) => 1,
                _ => return None,
            };
            through(plan, kept).map(many)
        }
        _ => None,
    }
}

fn many(carried: Carried) -> Carried {
    Carried { one_to_one: false, ..carried }
}

/// The plan over its input `kept` with the columns carried in that one.
fn through(plan: &LogicalPlan, kept: usize) -> Option<Carried> {
    let inputs = plan.inputs();
    let inner = carry(inputs.get(kept)?)?;
    let mut inputs: Vec<LogicalPlan> = inputs.into_iter().cloned().collect();
    *inputs.get_mut(kept)? = inner.plan;
    let plan = plan.with_new_exprs(plan.expressions(), inputs).ok()?;
    Some(Carried { plan, columns: inner.columns, one_to_one: inner.one_to_one })
}

fn reads(plan: &LogicalPlan) -> bool {
    let mut found = false;
    let visited = plan.apply_with_subqueries(|node| {
        found |= matches!(node, LogicalPlan::TableScan(_));
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    // A plan that cannot be walked is taken to read events, which carries nothing.
    visited.is_err() || found
}
