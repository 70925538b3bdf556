//! What a query may say: expressions, tables, windows; and the few words that PostgreSQL writes otherwise.

use std::ops::ControlFlow;

use sqlparser::ast::{
    BinaryOperator, CastKind, Distinct, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr,
    Ident, JoinOperator, Query, Select, SetExpr, SetOperator, SetQuantifier, TableFactor, Value, ValueWithSpan,
    VisitMut, VisitorMut, WindowFrameUnits, WindowSpec, WindowType,
};

use super::functions;
use super::refusal::Refusal;
use super::tables;

/// Looks at every query and expression below, and rewrites what PostgreSQL writes otherwise.
pub(super) fn check(part: &mut impl VisitMut) -> Result<(), Refusal> {
    match part.visit(&mut Rules) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(refusal) => Err(refusal),
    }
}

struct Rules;

impl VisitorMut for Rules {
    type Break = Refusal;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Refusal> {
        flow(queries(query))
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Refusal> {
        flow(selects(select))
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Refusal> {
        flow(factors(factor))
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Refusal> {
        flow(expressions(expr))
    }

    fn pre_visit_value(&mut self, value: &mut ValueWithSpan) -> ControlFlow<Refusal> {
        flow(values(&value.value))
    }
}

fn flow(outcome: Result<(), Refusal>) -> ControlFlow<Refusal> {
    match outcome {
        Ok(()) => ControlFlow::Continue(()),
        Err(refusal) => ControlFlow::Break(refusal),
    }
}

fn refuse_if(condition: bool, what: &str) -> Result<(), Refusal> {
    if condition { Err(Refusal::unsupported(what)) } else { Ok(()) }
}

fn queries(query: &Query) -> Result<(), Refusal> {
    refuse_if(!query.locks.is_empty(), "FOR UPDATE")?;
    refuse_if(query.fetch.is_some(), "FETCH FIRST")?;
    refuse_if(!query.pipe_operators.is_empty(), "a pipe")?;
    if let Some(with) = &query.with {
        refuse_if(with.cte_tables.iter().any(|table| table.materialized.is_some()), "MATERIALIZED")?;
        refuse_if(with.cte_tables.iter().any(|table| writes(&table.query.body)), "a WITH clause that writes")?;
    }
    sets(&query.body)
}

fn writes(body: &SetExpr) -> bool {
    matches!(body, SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_))
}

fn sets(body: &SetExpr) -> Result<(), Refusal> {
    match body {
        SetExpr::Select(_) | SetExpr::Query(_) | SetExpr::Values(_) => Ok(()),
        SetExpr::SetOperation { op, set_quantifier, left, right } => {
            let all = *set_quantifier == SetQuantifier::All;
            refuse_if(all && *op != SetOperator::Union, "INTERSECT ALL and EXCEPT ALL")?;
            sets(left)?;
            sets(right)
        }
        _ => Err(Refusal::stand_in_cannot("WITH before a statement that writes")),
    }
}

fn selects(select: &Select) -> Result<(), Refusal> {
    refuse_if(matches!(select.distinct, Some(Distinct::On(_))), "SELECT DISTINCT ON")?;
    refuse_if(!select.named_window.is_empty(), "the WINDOW clause")?;
    refuse_if(!select.lateral_views.is_empty(), "LATERAL")?;
    refuse_if(matches!(select.group_by, GroupByExpr::All(_)), "GROUP BY ALL")?;
    if select.qualify.is_some() || select.top.is_some() || select.into.is_some() || !select.connect_by.is_empty() {
        return Err(Refusal::stand_in_cannot("QUALIFY, TOP, INTO and CONNECT BY, which PostgreSQL has not"));
    }
    let joins = select.from.iter().flat_map(|table| &table.joins);
    joins.map(|join| &join.join_operator).try_for_each(|operator| {
        use JoinOperator::*;
        let known = matches!(
            operator,
            Join(_) | Inner(_) | Left(_) | LeftOuter(_) | Right(_) | RightOuter(_) | FullOuter(_) | CrossJoin(_)
        );
        refuse_if(!known, "this join")
    })
}

fn factors(factor: &TableFactor) -> Result<(), Refusal> {
    match factor {
        TableFactor::Table { args: None, sample: None, version: None, with_ordinality: false, .. } => Ok(()),
        TableFactor::Table { .. } | TableFactor::Function { .. } | TableFactor::TableFunction { .. } => {
            Err(Refusal::unsupported("a function or a sample as a table"))
        }
        TableFactor::Derived { lateral: true, .. } => Err(Refusal::unsupported("LATERAL")),
        TableFactor::Derived { subquery, .. } => {
            refuse_if(matches!(*subquery.body, SetExpr::Values(_)), "a VALUES list used as a table")
        }
        TableFactor::NestedJoin { .. } => Ok(()),
        _ => Err(Refusal::unsupported("this kind of table")),
    }
}

fn expressions(expr: &mut Expr) -> Result<(), Refusal> {
    match expr {
        Expr::BinaryOp { left, op, right } => {
            let rows = matches!(**left, Expr::Tuple(_)) || matches!(**right, Expr::Tuple(_));
            refuse_if(rows, "comparing rows")?;
            operators(op)
        }
        Expr::IsDistinctFrom(..) | Expr::IsNotDistinctFrom(..) => Err(Refusal::syntax("DISTINCT")),
        Expr::Collate { .. } => Err(Refusal::unsupported("COLLATE with a collation of PostgreSQL")),
        Expr::Array(_) => Err(Refusal::syntax("[")),
        Expr::AnyOp { .. } | Expr::AllOp { .. } => Err(Refusal::unsupported("ANY and ALL")),
        Expr::Cast { kind, data_type, array, format, .. } => {
            refuse_if(*array || format.is_some() || *kind == CastKind::SafeCast, "this cast")?;
            if *kind == CastKind::TryCast {
                return Err(Refusal::stand_in_cannot("TRY_CAST, which PostgreSQL has not"));
            }
            *data_type = tables::cast_type(data_type)?;
            Ok(())
        }
        Expr::TypedString(typed) => {
            typed.data_type = tables::cast_type(&typed.data_type)?;
            Ok(())
        }
        Expr::Function(function) => calls(function),
        other if is_plain(other) => Ok(()),
        other => Err(Refusal::stand_in_cannot(&format!("the expression {other}"))),
    }
}

/// Expressions without a rule of their own.
fn is_plain(expr: &Expr) -> bool {
    use Expr::*;
    matches!(
        expr,
        Identifier(_)
            | CompoundIdentifier(_)
            | IsFalse(_)
            | IsNotFalse(_)
            | IsTrue(_)
            | IsNotTrue(_)
            | IsNull(_)
            | IsNotNull(_)
            | IsUnknown(_)
            | IsNotUnknown(_)
            | InList { .. }
            | InSubquery { .. }
            | Between { .. }
            | Like { .. }
            | ILike { .. }
            | SimilarTo { .. }
            | UnaryOp { .. }
            | AtTimeZone { .. }
            | Extract { .. }
            | Ceil { .. }
            | Floor { .. }
            | Position { .. }
            | Substring { .. }
            | Trim { .. }
            | Nested(_)
            | Value(_)
            | Case { .. }
            | Exists { .. }
            | Subquery(_)
            | GroupingSets(_)
            | Cube(_)
            | Rollup(_)
            | Tuple(_)
            | Interval(_)
            | Wildcard(_)
            | QualifiedWildcard(..)
    )
}

fn operators(operator: &BinaryOperator) -> Result<(), Refusal> {
    use BinaryOperator::*;
    let known = matches!(
        operator,
        Plus | Minus
            | Multiply
            | Divide
            | Modulo
            | StringConcat
            | Gt
            | Lt
            | GtEq
            | LtEq
            | Eq
            | NotEq
            | And
            | Or
            | BitwiseOr
            | BitwiseAnd
            | PGBitwiseXor
            | PGBitwiseShiftLeft
            | PGBitwiseShiftRight
            | PGExp
            | PGRegexMatch
            | PGRegexNotMatch
    );
    if known { Ok(()) } else { Err(Refusal::new("42883", format!("operator does not exist: {operator}"))) }
}

fn values(value: &Value) -> Result<(), Refusal> {
    match value {
        Value::Number(..) | Value::SingleQuotedString(_) | Value::Boolean(_) | Value::Null | Value::Placeholder(_) => {
            Ok(())
        }
        other => Err(Refusal::syntax(&other.to_string())),
    }
}

fn calls(function: &mut Function) -> Result<(), Refusal> {
    let name = function.name.0.last().map(|part| part.to_string().replace('"', "").to_ascii_lowercase());
    let name = name.unwrap_or_default();
    if !functions::is_known(&name) {
        return Err(Refusal::new("42883", format!("function {name} does not exist")));
    }
    refuse_if(function.filter.is_some(), "FILTER")?;
    if let FunctionArguments::List(list) = &mut function.args {
        refuse_if(!list.clauses.is_empty(), "ORDER BY among a function's arguments")?;
        if functions::starts_with_a_date_part(&name) {
            quote_the_part(list.args.first_mut());
        }
        let default = matches!(name.as_str(), "lag" | "lead") && list.args.len() > 2;
        if default {
            let words = format!("Default parameter not be supported for window function {name}");
            return Err(Refusal::new("0A000", words));
        }
    }
    match &function.over {
        Some(WindowType::WindowSpec(spec)) => windows(&name, spec),
        Some(WindowType::NamedWindow(_)) => Err(Refusal::unsupported("the WINDOW clause")),
        None => Ok(()),
    }
}

/// `datediff(day, …)` is `datediff('day', …)` behind.
fn quote_the_part(argument: Option<&mut FunctionArg>) {
    let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))) = argument else { return };
    if let Expr::Identifier(Ident { value, quote_style: None, .. }) = expr {
        *expr = Expr::Value(Value::SingleQuotedString(value.clone()).into());
    }
}

fn windows(name: &str, spec: &WindowSpec) -> Result<(), Refusal> {
    let Some(frame) = &spec.window_frame else {
        if functions::wants_a_frame(name) && !spec.order_by.is_empty() {
            let words = "Aggregate window functions with an ORDER BY clause require a frame clause";
            return Err(Refusal::new("0A000", words));
        }
        return Ok(());
    };
    refuse_if(functions::takes_no_frame(name), "a frame clause for a ranking function")?;
    refuse_if(frame.units != WindowFrameUnits::Rows, "a frame other than ROWS")
}
