//! Carrying the version columns and the row number from the input through a logical plan.
//!
//! A plain SELECT, with or without subqueries in FROM, joins to constant tables, UNION ALL or unnest, keeps for each of its
//! rows the one event it came from; so the columns that say which event that was ride along by themselves. Where rows of
//! several events become one, or look at one another, nothing can be carried: [`Across`] says why.
//!
//! SQL does not know the row number: only here the relation is taken with it.

use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DataFusionError, JoinType};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{Expr, Join, LogicalPlan, LogicalPlanBuilder, Projection, SubqueryAlias, TableScan};

use super::across::Across;
use super::relation::{ROW_COLUMN, numbered_schema, provider};
use crate::schema::VERSION_COLUMNS;

/// A plan that carries.
pub(super) struct Carried {
    /// Yields what the plan yielded, and the carried columns behind or among them.
    pub(super) plan: LogicalPlan,
    /// `_arrived_at`, `_position` and the row number, as the plan names them.
    pub(super) columns: [Column; 3],
    /// Whether an event yields at most one row.
    pub(super) one_to_one: bool,
    /// Whether the rows come from several branches.
    branches: bool,
}

/// Why nothing is carried.
pub(super) enum NotCarried {
    /// The rows are not each of one event.
    Across(Across),
    /// DataFusion does not take a plan that it made itself.
    Broken(DataFusionError),
}

impl From<DataFusionError> for NotCarried {
    fn from(error: DataFusionError) -> Self {
        Self::Broken(error)
    }
}

impl From<Across> for NotCarried {
    fn from(across: Across) -> Self {
        Self::Across(across)
    }
}

/// The names under which the columns ride; no SQL of a pipeline would use them.
const CARRIED: [&str; 3] = ["__carried_arrived_at", "__carried_position", "__carried_row"];

/// Carries through the plans of a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Carrier {
    /// Whether a batch holds all rows there are, as of a file: then they may look at one another.
    pub(super) is_whole: bool,
}

impl Carrier {
    /// The plan with the columns carried.
    pub(super) fn carry(self, plan: &LogicalPlan) -> Result<Carried, NotCarried> {
        match plan {
            LogicalPlan::TableScan(scan) => numbered(scan),
            LogicalPlan::Projection(projection) => project(self.carry(&projection.input)?, projection.expr.clone()),
            LogicalPlan::SubqueryAlias(alias) => {
                let inner = self.carry(&alias.input)?;
                let columns = inner.columns.map(|column| Column::new(Some(alias.alias.clone()), column.name));
                let plan = SubqueryAlias::try_new(Arc::new(inner.plan), alias.alias.clone())?;
                Ok(Carried { plan: LogicalPlan::SubqueryAlias(plan), columns, ..inner })
            }
            LogicalPlan::Filter(_) => self.through(plan, 0),
            LogicalPlan::Limit(_) | LogicalPlan::Window(_) | LogicalPlan::Sort(_) if self.is_whole => {
                self.through(plan, 0)
            }
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => match self.carry(&sort.input)? {
                inner if inner.one_to_one => self.through(plan, 0),
                // It would mix up which of one event's rows comes last, where two have the same key.
                inner => Ok(inner),
            },
            LogicalPlan::Unnest(_) => self.through(plan, 0).map(many),
            LogicalPlan::Join(join) => self.join(plan, join),
            LogicalPlan::Union(union) => self.unite(&union.inputs),
            LogicalPlan::Limit(_) | LogicalPlan::Sort(_) => Err(Across::Limit.into()),
            LogicalPlan::Aggregate(_) => Err(Across::Aggregate.into()),
            LogicalPlan::Distinct(_) => Err(Across::Distinct.into()),
            LogicalPlan::Window(_) => Err(Across::Window.into()),
            LogicalPlan::Values(_) | LogicalPlan::EmptyRelation(_) => Err(Across::NoEvent.into()),
            other => Err(Across::Other(other.display().to_string()).into()),
        }
    }

    fn join(self, plan: &LogicalPlan, join: &Join) -> Result<Carried, NotCarried> {
        // The side that holds the events must be the one whose rows a join never makes up.
        let kept = match (reads(&join.left), reads(&join.right), join.join_type) {
            (true, true, _) => return Err(Across::Join.into()),
            (true, false, JoinType::Inner | JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti) => 0,
            (false, true, JoinType::Inner | JoinType::Right | JoinType::RightSemi | JoinType::RightAnti) => 1,
            _ => return Err(Across::NoEvent.into()),
        };
        match self.through(plan, kept)? {
            joined if joined.branches => Err(Across::JoinOfUnion.into()),
            joined => Ok(many(joined)),
        }
    }

    /// The rows of all branches: an event has its own in each.
    fn unite(self, branches: &[Arc<LogicalPlan>]) -> Result<Carried, NotCarried> {
        let mut united: Option<LogicalPlanBuilder> = None;
        for branch in branches {
            let own = branch.schema().columns().into_iter().map(Expr::Column).collect();
            let carried = project(self.carry(branch)?, own)?.plan;
            united = Some(match united {
                Some(before) => before.union(carried)?,
                None => LogicalPlanBuilder::from(carried),
            });
        }
        let plan = united.ok_or(Across::NoEvent)?.build()?;
        Ok(Carried { plan, columns: CARRIED.map(Column::new_unqualified), one_to_one: false, branches: true })
    }

    /// The plan over its input `kept` with the columns carried in that one.
    fn through(self, plan: &LogicalPlan, kept: usize) -> Result<Carried, NotCarried> {
        let mut inputs: Vec<LogicalPlan> = plan.inputs().into_iter().cloned().collect();
        let input = inputs.get_mut(kept).ok_or_else(|| Across::Other(plan.display().to_string()))?;
        let inner = self.carry(input)?;
        *input = inner.plan;
        let plan = plan.with_new_exprs(plan.expressions(), inputs)?;
        Ok(Carried { plan, columns: inner.columns, one_to_one: inner.one_to_one, branches: inner.branches })
    }
}

/// The relation with the row number.
fn numbered(scan: &TableScan) -> Result<Carried, NotCarried> {
    let source = provider_as_source(provider(&numbered_schema(scan.source.schema().as_ref()))?);
    let plan = LogicalPlanBuilder::scan(scan.table_name.clone(), source, None)?.build()?;
    let names = [VERSION_COLUMNS[0], VERSION_COLUMNS[1], ROW_COLUMN];
    let columns = names.map(|name| Column::new(Some(scan.table_name.clone()), name));
    Ok(Carried { plan, columns, one_to_one: true, branches: false })
}

/// These expressions over a plan, then the carried columns.
fn project(inner: Carried, expressions: Vec<Expr>) -> Result<Carried, NotCarried> {
    let riding = inner.columns.into_iter().zip(CARRIED).map(|(column, name)| Expr::Column(column).alias(name));
    let expressions = expressions.into_iter().chain(riding).collect();
    let plan = LogicalPlan::Projection(Projection::try_new(expressions, Arc::new(inner.plan))?);
    Ok(Carried { plan, columns: CARRIED.map(Column::new_unqualified), ..inner })
}

fn many(carried: Carried) -> Carried {
    Carried { one_to_one: false, ..carried }
}

/// Whether the plan reads the relation.
pub(super) fn reads(plan: &LogicalPlan) -> bool {
    let mut found = false;
    let visited = plan.apply_with_subqueries(|node| {
        found |= matches!(node, LogicalPlan::TableScan(_));
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    // A plan that cannot be walked is taken to read events, which carries nothing.
    visited.is_err() || found
}

/// Whether an expression of the plan asks the events themselves.
pub(super) fn asks_events(plan: &LogicalPlan) -> Result<bool, DataFusionError> {
    let mut found = false;
    plan.apply(|node| {
        node.apply_expressions(|expression| {
            expression.apply(|part| {
                let subquery = match part {
                    Expr::Exists(exists) => Some(&exists.subquery),
                    Expr::InSubquery(inside) => Some(&inside.subquery),
                    Expr::ScalarSubquery(subquery) => Some(subquery),
                    Expr::SetComparison(comparison) => Some(&comparison.subquery),
                    _ => None,
                };
                found |= subquery.is_some_and(|subquery| reads(&subquery.subquery));
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(found)
}
