//! What a table's SQL may be: one SELECT over its one relation.
//!
//! Owns the look at the parsed text, before DataFusion plans it. It knows no column.

use std::ops::ControlFlow;

use datafusion::common::TableReference;
use datafusion::execution::SessionState;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::{
    ObjectName, SelectItem, SetExpr, Spanned, Statement as SqlStatement, visit_relations,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Location, Span};

use super::faults::{PlanFault, located};
use crate::sql::{TOO_LONG_A_CHAIN, too_long_a_chain};

/// A table's SQL, read and found to be one SELECT over its relation.
pub(super) struct Select {
    /// For the planner.
    pub(super) statement: Statement,
    /// The place of each item of the select list; empty where a `*` or a UNION hides which column is whose.
    pub(super) items: Vec<Location>,
    /// Whether the select list holds a `*`.
    pub(super) wildcard: bool,
}

/// Reads a table's SQL.
///
/// # Errors
/// Every fault that the text alone shows.
pub(super) fn read(state: &SessionState, file: &str, sql: &str, relation: &str) -> Result<Select, Vec<PlanFault>> {
    if let Some(place) = too_long_a_chain(sql, &GenericDialect {}) {
        return Err(vec![PlanFault::sql(file, Some(place), TOO_LONG_A_CHAIN)]);
    }
    let parser = DFParserBuilder::new(sql).with_dialect(&GenericDialect {}).build();
    let mut statements =
        parser.and_then(|mut parser| parser.parse_statements()).map_err(|error| located(file, &error))?;
    let expected = format!("a table's SQL is one SELECT over {relation}");
    let Some(statement) = statements.pop_front() else {
        return Err(vec![PlanFault::sql(file, None, format!("the file holds no statement; {expected}"))]);
    };
    if let Some(second) = statements.front() {
        let message = format!("the file holds {} statements; {expected}", statements.len() + 1);
        return Err(vec![PlanFault::sql(file, place_of(second), message)]);
    }
    let Statement::Statement(inner) = &statement else {
        return Err(vec![PlanFault::sql(file, None, format!("this is no SELECT; {expected}"))]);
    };
    let SqlStatement::Query(query) = inner.as_ref() else {
        let place = start(inner.span());
        return Err(vec![PlanFault::sql(file, place, format!("this is no SELECT; {expected}"))]);
    };
    let (items, wildcard) = select_list(&query.body);
    check_relations(state, file, &statement, relation)?;
    Ok(Select { statement, items, wildcard })
}

fn place_of(statement: &Statement) -> Option<Location> {
    match statement {
        Statement::Statement(inner) => start(inner.span()),
        _ => None,
    }
}

/// A span's start; sqlparser gives line 0 where it knows none.
fn start(span: Span) -> Option<Location> {
    (span.start.line > 0).then_some(span.start)
}

fn select_list(body: &SetExpr) -> (Vec<Location>, bool) {
    match body {
        SetExpr::Query(query) => select_list(&query.body),
        SetExpr::Select(select) => {
            let is_wildcard =
                |item: &SelectItem| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
            if select.projection.iter().any(is_wildcard) {
                return (Vec::new(), true);
            }
            let place = |item: &SelectItem| start(item.span()).unwrap_or(Location::new(1, 1));
            (select.projection.iter().map(place).collect(), false)
        }
        _ => (Vec::new(), false),
    }
}

fn check_relations(
    state: &SessionState,
    file: &str,
    statement: &Statement,
    relation: &str,
) -> Result<(), Vec<PlanFault>> {
    let references = state.resolve_table_references(statement).map_err(|error| located(file, &error))?;
    let known = |table: &TableReference| table.schema().is_none() && table.table() == relation;
    let mut faults = Vec::new();
    for table in references.iter().filter(|table| !known(table)) {
        let message =
            format!("{:?} is not here to be read; a table's SQL reads {relation} and nothing else", table.to_string());
        faults.push(PlanFault::sql(file, place_of_relation(statement, table.table()), message));
    }
    if faults.is_empty() && !references.iter().any(known) {
        faults.push(PlanFault::sql(file, None, format!("the SQL reads nothing; it must select FROM {relation}")));
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

fn place_of_relation(statement: &Statement, table: &str) -> Option<Location> {
    let Statement::Statement(inner) = statement else { return None };
    let found = visit_relations(inner, |name: &ObjectName| {
        let last = name.0.last().and_then(|part| part.as_ident());
        match last {
            Some(ident) if ident.value.eq_ignore_ascii_case(table) => ControlFlow::Break(name.span()),
            _ => ControlFlow::Continue(()),
        }
    });
    match found {
        ControlFlow::Break(span) => start(span),
        ControlFlow::Continue(()) => None,
    }
}
