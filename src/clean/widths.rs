//! How many bytes a string column can hold, proved from the plan that yields it.
//!
//! A declared string that is passed through keeps its declared bytes: under another name, through subqueries, filters,
//! joins and groups, in CASE, COALESCE and NULLIF, as the MIN or MAX of a group, or trimmed. A literal has the bytes it
//! has. Of all else nothing is known; `lower` and `upper` may make a text longer.

use datafusion::common::JoinType;
use datafusion::logical_expr::expr::{AggregateFunction, Case, ScalarFunction};
use datafusion::logical_expr::{Aggregate, Distinct, Expr, LogicalPlan};

use crate::schema::{Field, FieldType};

/// Functions whose text is one of their arguments.
const ONE_OF_ALL: [&str; 2] = ["coalesce", "nvl"];

/// Functions whose text is the first argument or a part of it.
const PART_OF_FIRST: [&str; 4] = ["nullif", "btrim", "ltrim", "rtrim"];

/// The most bytes of the plan's column, where the fields that its relation declares tell; none where they do not.
pub(super) fn longest(plan: &LogicalPlan, column: usize, declared: &[Field]) -> Option<usize> {
    match plan {
        LogicalPlan::TableScan(_) => declared_bytes(plan.schema().fields().get(column)?.name(), declared),
        LogicalPlan::Projection(projection) => bytes(projection.expr.get(column)?, &projection.input, declared),
        LogicalPlan::SubqueryAlias(alias) => longest(&alias.input, column, declared),
        LogicalPlan::Filter(filter) => longest(&filter.input, column, declared),
        LogicalPlan::Sort(sort) => longest(&sort.input, column, declared),
        LogicalPlan::Limit(limit) => longest(&limit.input, column, declared),
        LogicalPlan::Distinct(Distinct::All(input)) => longest(input, column, declared),
        // The input's columns come first; what a window's function gives is not looked into.
        LogicalPlan::Window(window) => longest(&window.input, column, declared),
        LogicalPlan::Aggregate(aggregate) => of_group(aggregate, column, declared),
        LogicalPlan::Union(union) => union
            .inputs
            .iter()
            .map(|input| longest(input, column, declared))
            .try_fold(0, |most, found| Some(most.max(found?))),
        LogicalPlan::Join(join) => {
            let left = join.left.schema().fields().len();
            match join.join_type {
                JoinType::RightSemi | JoinType::RightAnti => longest(&join.right, column, declared),
                JoinType::LeftMark | JoinType::RightMark => None,
                _ if column < left => longest(&join.left, column, declared),
                _ => longest(&join.right, column - left, declared),
            }
        }
        _ => None,
    }
}

fn declared_bytes(name: &str, declared: &[Field]) -> Option<usize> {
    let field = declared.iter().find(|field| field.name == name)?;
    let FieldType::String { max_bytes } = field.field_type else { return None };
    usize::try_from(max_bytes).ok()
}

/// A grouping expression, or the smallest or largest text of a group.
fn of_group(aggregate: &Aggregate, column: usize, declared: &[Field]) -> Option<usize> {
    let groups = aggregate.group_expr.len();
    if aggregate.group_expr.iter().any(|group| matches!(group, Expr::GroupingSet(_))) {
        return None;
    }
    if let Some(group) = aggregate.group_expr.get(column) {
        return bytes(group, &aggregate.input, declared);
    }
    let mut expression = aggregate.aggr_expr.get(column.checked_sub(groups)?)?;
    while let Expr::Alias(alias) = expression {
        expression = &alias.expr;
    }
    let Expr::AggregateFunction(AggregateFunction { func, params }) = expression else { return None };
    let chosen = matches!(func.name(), "min" | "max").then(|| params.args.first()).flatten()?;
    bytes(chosen, &aggregate.input, declared)
}

/// The most bytes of a text that the expression gives over this input; nothing where it is null.
fn bytes(expression: &Expr, input: &LogicalPlan, declared: &[Field]) -> Option<usize> {
    let of = |inner: &Expr| bytes(inner, input, declared);
    let of_all =
        |inner: &mut dyn Iterator<Item = &Expr>| inner.map(of).try_fold(0, |most, found| Some(most.max(found?)));
    match expression {
        Expr::Column(column) => longest(input, input.schema().maybe_index_of_column(column)?, declared),
        Expr::Alias(alias) => of(&alias.expr),
        Expr::Literal(value, _) if value.is_null() => Some(0),
        Expr::Literal(value, _) => value.try_as_str().flatten().map(str::len),
        Expr::Cast(cast) if cast.field.data_type().is_string() => of(&cast.expr),
        Expr::TryCast(cast) if cast.field.data_type().is_string() => of(&cast.expr),
        Expr::Case(Case { when_then_expr, else_expr, .. }) => {
            let results = when_then_expr.iter().map(|(_, then)| then.as_ref()).chain(else_expr.as_deref());
            of_all(&mut results.into_iter())
        }
        Expr::ScalarFunction(ScalarFunction { func, args }) if ONE_OF_ALL.contains(&func.name()) => {
            of_all(&mut args.iter())
        }
        Expr::ScalarFunction(ScalarFunction { func, args }) if PART_OF_FIRST.contains(&func.name()) => {
            of(args.first()?)
        }
        _ => None,
    }
}
