//! Why a table's rows would depend on more than one event each, and where in its SQL that stands.
//!
//! How events are cut into micro-batches is chance: whatever looks across events would show it. Owns the sentences, and the
//! places, which a plan does not have: they are those of the first part of the text that reads like it. What a plan does
//! is `carry`'s to find.

use std::ops::ControlFlow;

use datafusion::execution::SessionState;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, GroupByExpr, Query, Select, SetExpr, SetOperator, SetQuantifier, Spanned, TableFactor, Visit,
    Visitor,
};
use datafusion::sql::sqlparser::tokenizer::{Location, Span};

/// What makes rows depend on several events, or on none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Across {
    Limit,
    Aggregate,
    Distinct,
    Window,
    /// Events meet events.
    Join,
    /// Events of several branches meet a constant table.
    JoinOfUnion,
    /// A row is made though no event is there for it.
    NoEvent,
    Subquery,
    /// By DataFusion's name for it.
    Other(String),
}

impl Across {
    /// The sentence for a person.
    pub(super) fn sentence(&self) -> String {
        const REPORT: &str = "let the table have a row an event, and do this in a report or a query over it";
        let (what, instead) = match self {
            Self::Limit => ("LIMIT or OFFSET", "say in WHERE which events become rows"),
            Self::Aggregate => ("GROUP BY or an aggregate function", REPORT),
            Self::Distinct => {
                ("DISTINCT or UNION", "give the table a key, of which the newest row is kept, and write UNION ALL")
            }
            Self::Window => ("a window function", REPORT),
            Self::Join => ("events joined with events (JOIN, INTERSECT, EXCEPT)", REPORT),
            Self::JoinOfUnion => ("a join after UNION ALL", "join in each branch of it"),
            Self::NoEvent => {
                ("a row that no event stands behind", "let the events be the side of a join whose rows are kept")
            }
            Self::Subquery => ("a subquery that reads events", REPORT),
            Self::Other(name) => (name.as_str(), REPORT),
        };
        format!(
            "{what}: SQL over events sees one micro-batch, and which events share one is chance, so the table's rows \
             would be; {instead}"
        )
    }

    /// Where the text has it.
    pub(super) fn place(&self, statement: &Statement, state: &SessionState) -> Option<Location> {
        let Statement::Statement(statement) = statement else { return None };
        match statement.visit(&mut Find { wanted: self, state, relations: 0 }) {
            ControlFlow::Break(span) => Some(span.start).filter(|start| start.line > 0),
            ControlFlow::Continue(()) => None,
        }
    }
}

/// The first part of the text that reads like what is wanted.
struct Find<'a> {
    wanted: &'a Across,
    state: &'a SessionState,
    relations: usize,
}

fn found(span: Span) -> ControlFlow<Span> {
    ControlFlow::Break(span)
}

impl Visitor for Find<'_> {
    type Break = Span;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Span> {
        match self.wanted {
            Across::Limit => match &query.limit_clause {
                Some(limit) => found(limit.span()),
                None => ControlFlow::Continue(()),
            },
            Across::Distinct => match query.body.as_ref() {
                SetExpr::SetOperation { op: SetOperator::Union, set_quantifier, right, .. }
                    if *set_quantifier != SetQuantifier::All =>
                {
                    found(right.span())
                }
                _ => ControlFlow::Continue(()),
            },
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Span> {
        let grouped = match &select.group_by {
            GroupByExpr::Expressions(expressions, _) => !expressions.is_empty(),
            GroupByExpr::All(_) => true,
        };
        match self.wanted {
            Across::Distinct if select.distinct.is_some() => found(select.span()),
            Across::Aggregate if grouped => found(select.group_by.span()),
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Span> {
        let TableFactor::Table { name, .. } = factor else { return ControlFlow::Continue(()) };
        self.relations += usize::from(matches!(self.wanted, Across::Join));
        // The first time, the events meet nobody.
        if self.relations > 1 { found(name.span()) } else { ControlFlow::Continue(()) }
    }

    fn pre_visit_expr(&mut self, expression: &SqlExpr) -> ControlFlow<Span> {
        match (self.wanted, expression) {
            (Across::Window, SqlExpr::Function(function)) if function.over.is_some() => found(function.span()),
            (Across::Aggregate, SqlExpr::Function(function))
                if self.state.aggregate_functions().contains_key(&function.name.to_string().to_lowercase()) =>
            {
                found(function.span())
            }
            (Across::Subquery, SqlExpr::Subquery(query) | SqlExpr::Exists { subquery: query, .. }) => {
                found(query.span())
            }
            (Across::Subquery, SqlExpr::InSubquery { subquery, .. }) => found(subquery.span()),
            _ => ControlFlow::Continue(()),
        }
    }
}
