//! What MERGE, UPDATE, DELETE and INSERT may not say.

use sqlparser::ast::{
    AssignmentTarget, BinaryOperator, Delete, Expr, FromTable, Insert, JoinOperator, Merge, MergeAction,
    MergeClauseKind, TableFactor, TableWithJoins, Update, UpdateTableFromKind,
};

use super::refusal::Refusal;

pub(super) fn insert(insert: &Insert) -> Result<(), Refusal> {
    if insert.on.is_some() {
        return Err(Refusal::syntax("ON"));
    }
    if insert.returning.is_some() {
        return Err(Refusal::syntax("RETURNING"));
    }
    let strange = insert.or.is_some() || insert.overwrite || insert.ignore || insert.table_alias.is_some();
    if strange || !insert.into { Err(Refusal::syntax("INSERT")) } else { Ok(()) }
}

pub(super) fn update(update: &Update) -> Result<(), Refusal> {
    if update.returning.is_some() {
        return Err(Refusal::syntax("RETURNING"));
    }
    target(&update.table, "UPDATE")?;
    for assignment in &update.assignments {
        let AssignmentTarget::ColumnName(name) = &assignment.target else { return Err(Refusal::syntax("(")) };
        if name.0.len() > 1 {
            return Err(Refusal::new("42601", format!("the target column {name} may not name its table")));
        }
    }
    match &update.from {
        None => Ok(()),
        Some(UpdateTableFromKind::AfterSet(tables)) => equijoin(tables, update.selection.as_ref()),
        Some(UpdateTableFromKind::BeforeSet(_)) => Err(Refusal::syntax("FROM")),
    }
}

pub(super) fn delete(delete: &Delete) -> Result<(), Refusal> {
    if delete.returning.is_some() {
        return Err(Refusal::syntax("RETURNING"));
    }
    let (FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables)) = &delete.from;
    let [table] = tables.as_slice() else { return Err(Refusal::syntax(",")) };
    target(table, "DELETE")?;
    delete.using.as_ref().map_or(Ok(()), |tables| equijoin(tables, delete.selection.as_ref()))
}

/// A plain table, without alias: the documentation's grammar shows one, its text says that none is allowed.
fn target(table: &TableWithJoins, statement: &str) -> Result<(), Refusal> {
    match &table.relation {
        TableFactor::Table { alias: None, .. } if table.joins.is_empty() => Ok(()),
        _ => Err(Refusal::new("42601", format!("the target table of {statement} takes no alias"))),
    }
}

/// The target must be joined by an equality, and by no outer join.
fn equijoin(tables: &[TableWithJoins], selection: Option<&Expr>) -> Result<(), Refusal> {
    use JoinOperator::*;
    let mut joins = tables.iter().flat_map(|table| &table.joins).map(|join| &join.join_operator);
    let outer = joins.any(|join| matches!(join, Left(_) | LeftOuter(_) | Right(_) | RightOuter(_) | FullOuter(_)));
    if outer || !selection.is_some_and(has_an_equality) {
        return Err(Refusal::new("XX000", "Target table must be part of an equijoin predicate"));
    }
    Ok(())
}

fn has_an_equality(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) => has_an_equality(inner),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => has_an_equality(left) || has_an_equality(right),
        Expr::BinaryOp { op, .. } => *op == BinaryOperator::Eq,
        _ => false,
    }
}

pub(super) fn merge(merge: &Merge) -> Result<(), Refusal> {
    if !matches!(merge.table, TableFactor::Table { alias: None, .. }) {
        return Err(Refusal::new("42601", "the target table of MERGE takes no alias"));
    }
    if !matches!(merge.source, TableFactor::Table { .. }) {
        return Err(Refusal::new("0A000", "the source of MERGE must be a table, not a subquery"));
    }
    if merge.clauses.iter().any(|clause| clause.predicate.is_some()) {
        return Err(Refusal::syntax("AND"));
    }
    if !only_equalities(&merge.on) {
        return Err(Refusal::new("0A000", "MERGE joins by equality only"));
    }
    let actions: Vec<_> = merge.clauses.iter().map(|clause| (&clause.clause_kind, &clause.action)).collect();
    match actions.as_slice() {
        [
            (MergeClauseKind::Matched, MergeAction::Update(_) | MergeAction::Delete { .. }),
            (MergeClauseKind::NotMatched, MergeAction::Insert(_)),
        ] => Ok(()),
        _ => Err(Refusal::new("42601", "MERGE takes one WHEN MATCHED and then one WHEN NOT MATCHED")),
    }
}

fn only_equalities(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) => only_equalities(inner),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => only_equalities(left) && only_equalities(right),
        Expr::BinaryOp { op, .. } => *op == BinaryOperator::Eq,
        _ => false,
    }
}
