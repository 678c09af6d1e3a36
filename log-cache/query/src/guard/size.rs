//! Estimates the size of a query's plan from its syntax tree, before it is planned (decision 0018).
//!
//! A short text can have a large plan. A common table expression is copied wherever it is named, `*` stands for all
//! columns of all relations, each join has the columns of all relations before it, and a column is replaced by the
//! expression that it names. The planner copies all of that, and cannot be stopped. So the syntax tree is walked as the
//! planner will walk it, and three sizes are counted: the columns of a select list, the columns of all operators
//! together, and the terms of all expressions together, with every column replaced by its expression. A query that
//! exceeds a limit is refused.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{
    Cte, Expr, GroupByExpr, Ident, JoinConstraint, JoinOperator, OrderByKind, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, TableAlias, TableFactor, TableWithJoins, Visit, Visitor,
};

use crate::error::QueryError;

/// The greatest number of columns of a select list or a row of `VALUES`, and of keys of one `GROUP BY` or `ORDER BY`.
pub(crate) const MAX_COLUMNS: usize = 500;

/// The greatest number of columns of all operators of a plan together.
pub(crate) const MAX_PLAN_COLUMNS: usize = 20_000;

/// The greatest number of terms of all expressions of a plan together.
pub(crate) const MAX_TERMS: usize = 40_000;

/// The longest name, and the longest text of an expression that is a column without a name, in bytes.
pub(crate) const MAX_NAME: usize = 1 << 10;

/// The number of columns that is assumed for a table of the store. No table has more.
const TABLE_COLUMNS: usize = 16;

/// Checks that the plan of `query` will not be too large.
pub(super) fn check(query: &Query) -> Result<(), QueryError> {
    Scope::default().query(query).map(|_| ())
}

/// The size of a part of a query.
#[derive(Debug, Clone, Default)]
struct Relation {
    columns: Vec<Column>,
    /// The columns of all of its operators.
    plan_columns: usize,
    /// The terms of all of its expressions.
    terms: usize,
    /// The number of tables that it reads. A condition is copied for each of them.
    leaves: usize,
}

/// A column of a relation.
#[derive(Debug, Clone, Default)]
struct Column {
    /// The name of the column; `None` if it is named after its expression or not known.
    name: Option<String>,
    /// The terms of its expression, with every column in it replaced by its expression.
    terms: usize,
}

impl Relation {
    /// Returns the size of a table with this number of columns.
    fn table(columns: usize) -> Self {
        Self {
            columns: vec![Column { name: None, terms: 1 }; columns],
            plan_columns: columns,
            terms: 0,
            leaves: 1,
        }
    }

    /// Adds another relation, as a join does.
    fn join(&mut self, other: Self) -> Result<(), QueryError> {
        self.columns.extend(other.columns);
        self.absorb(other.plan_columns, other.terms)?;
        self.leaves = self.leaves.saturating_add(other.leaves);
        self.operator()
    }

    /// Counts another operator with the relation's columns.
    fn operator(&mut self) -> Result<(), QueryError> {
        self.absorb(self.columns.len(), 0)
    }

    /// Adds columns and terms, and checks the limits.
    fn absorb(&mut self, plan_columns: usize, terms: usize) -> Result<(), QueryError> {
        self.plan_columns = self.plan_columns.saturating_add(plan_columns);
        self.terms = self.terms.saturating_add(terms);
        allow(
            "columns of all joins and subqueries",
            self.plan_columns,
            MAX_PLAN_COLUMNS,
        )?;
        allow("terms of all expressions", self.terms, MAX_TERMS)
    }

    /// Returns the relation with the names that an alias gives to it and its columns.
    fn named(mut self, alias: Option<&TableAlias>) -> Result<Self, QueryError> {
        if let Some(alias) = alias {
            for (column, name) in self.columns.iter_mut().zip(&alias.columns) {
                column.name = Some(normal(&name.name));
            }
            self.operator()?;
        }
        Ok(self)
    }

    /// Returns the most terms for which a column of this name stands.
    fn terms_of(&self, name: &str) -> Option<usize> {
        let named = self
            .columns
            .iter()
            .filter(|column| column.name.as_deref() == Some(name));
        // A column without a known name may have any name, so the largest of them is assumed.
        let unnamed = self.columns.iter().filter(|column| column.name.is_none());
        let most = |terms: Option<usize>, column: &Column| Some(terms.unwrap_or_default().max(column.terms));
        named.fold(None, most).or_else(|| unnamed.fold(None, most))
    }
}

fn allow(what: &'static str, found: usize, allowed: usize) -> Result<(), QueryError> {
    if found > allowed {
        return Err(QueryError::TooComplex { what, found, allowed });
    }
    Ok(())
}

/// The names that are known within a part of a query.
#[derive(Debug, Clone, Default)]
struct Scope {
    /// The common table expressions, by name.
    queries: HashMap<String, Arc<Relation>>,
    /// The relations of the enclosing queries, innermost last, whose columns a subquery can use.
    enclosing: Vec<Arc<Relation>>,
}

impl Scope {
    fn query(&self, query: &Query) -> Result<Relation, QueryError> {
        let mut scope = self.clone();
        let mut planned = Relation::default();
        if let Some(with) = &query.with {
            for cte in &with.cte_tables {
                let relation = scope.cte(cte, with.recursive)?;
                // The planner plans it where it is defined, and again wherever it is named.
                planned.absorb(relation.plan_columns, relation.terms)?;
                scope.queries.insert(normal(&cte.alias.name), Arc::new(relation));
            }
        }
        let mut relation = scope.body(&query.body)?;
        if let Some(order_by) = &query.order_by
            && let OrderByKind::Expressions(keys) = &order_by.kind
        {
            allow("keys of an `ORDER BY`", keys.len(), MAX_COLUMNS)?;
            for key in keys {
                let terms = scope.terms(&key.expr, &relation)?;
                relation.absorb(0, terms)?;
            }
        }
        relation.operator()?;
        relation.absorb(planned.plan_columns, planned.terms)?;
        Ok(relation)
    }

    fn cte(&self, cte: &Cte, recursive: bool) -> Result<Relation, QueryError> {
        let mut scope = self.clone();
        if recursive && let SetExpr::SetOperation { left, .. } = &*cte.query.body {
            // Within a recursive expression, its name stands for its first part.
            let first = scope.body(left)?.named(Some(&cte.alias))?;
            let work = Relation {
                plan_columns: first.columns.len(),
                terms: 0,
                leaves: 1,
                columns: first.columns,
            };
            scope.queries.insert(normal(&cte.alias.name), Arc::new(work));
        }
        scope.query(&cte.query)?.named(Some(&cte.alias))
    }

    fn body(&self, body: &SetExpr) -> Result<Relation, QueryError> {
        match body {
            SetExpr::Select(select) => self.select(select),
            SetExpr::Query(query) => self.query(query),
            SetExpr::SetOperation { left, right, .. } => {
                let (mut left, right) = (self.body(left)?, self.body(right)?);
                // A column of the union stands for either of two expressions: the larger one counts.
                for (column, other) in left.columns.iter_mut().zip(&right.columns) {
                    column.terms = column.terms.max(other.terms);
                }
                left.leaves = left.leaves.saturating_add(right.leaves);
                left.absorb(right.plan_columns, right.terms)?;
                left.operator()?;
                Ok(left)
            }
            SetExpr::Values(values) => {
                let width = values
                    .rows
                    .iter()
                    .map(|row| row.content.len())
                    .max()
                    .unwrap_or_default();
                allow("columns of `VALUES`", width, MAX_COLUMNS)?;
                let mut relation = Relation::table(width);
                for value in values.rows.iter().flat_map(|row| &row.content) {
                    let terms = self.terms(value, &Relation::default())?;
                    relation.absorb(0, terms)?;
                }
                Ok(relation)
            }
            // The planner refuses these, or they name a table.
            _ => Ok(Relation::table(TABLE_COLUMNS)),
        }
    }

    fn select(&self, select: &Select) -> Result<Relation, QueryError> {
        let mut from = Relation::default();
        for tables in &select.from {
            let tables = self.tables(tables)?;
            from.join(tables)?;
        }
        let conditions = [&select.selection, &select.having, &select.qualify, &select.prewhere];
        for condition in conditions.into_iter().flatten() {
            let terms = self.terms(condition, &from)?;
            // The optimizer pushes a condition down to the tables, and so may copy it for each of them.
            let leaves = from.leaves.max(1);
            from.absorb(from.columns.len(), terms.saturating_mul(leaves))?;
        }
        let mut columns = Vec::new();
        let mut item_terms = 0usize;
        for item in &select.projection {
            self.item(item, &from, &mut columns)?;
            allow("columns of a `SELECT`", columns.len(), MAX_COLUMNS)?;
        }
        for column in &columns {
            item_terms = item_terms.saturating_add(column.terms);
        }
        let keys = self.group_by(&select.group_by, &from)?;
        for window in &select.named_window {
            let terms = self.terms(window, &from)?;
            from.absorb(0, terms)?;
        }
        if let Some(distinct) = &select.distinct {
            let terms = self.terms(distinct, &from)?;
            from.absorb(columns.len(), terms)?;
        }
        from.absorb(keys.saturating_add(columns.len()), item_terms.saturating_add(keys))?;
        Ok(Relation { columns, ..from })
    }

    fn item(&self, item: &SelectItem, from: &Relation, columns: &mut Vec<Column>) -> Result<(), QueryError> {
        match item {
            SelectItem::UnnamedExpr(expr) => {
                let terms = self.terms(expr, from)?;
                let name = match expr {
                    Expr::Identifier(name) => Some(normal(name)),
                    Expr::CompoundIdentifier(names) => names.last().map(normal),
                    expr => {
                        allow_name(expr.to_string().len())?;
                        None
                    }
                };
                columns.push(Column { name, terms });
            }
            SelectItem::ExprWithAlias { expr, alias } => {
                allow_name(alias.value.len())?;
                columns.push(Column {
                    name: Some(normal(alias)),
                    terms: self.terms(expr, from)?,
                });
            }
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::Expr(_), _)
            | SelectItem::ExprWithAliases { .. } => columns.extend(from.columns.iter().cloned()),
            // `relation.*` has at most as many columns as `*`.
            SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) => {
                columns.extend(from.columns.iter().cloned());
            }
        }
        Ok(())
    }

    /// Returns the number of keys of all grouping sets of a `GROUP BY` together.
    fn group_by(&self, group_by: &GroupByExpr, from: &Relation) -> Result<usize, QueryError> {
        let GroupByExpr::Expressions(keys, _) = group_by else {
            return Ok(from.columns.len());
        };
        let (mut count, mut sets) = (0usize, 1usize);
        for key in keys {
            let (keys, these) = match key {
                // `CUBE` of n keys has a grouping set for each subset of them: 2^n.
                Expr::Cube(keys) => {
                    let sets = u32::try_from(keys.len()).ok().and_then(|keys| 2usize.checked_pow(keys));
                    (keys, sets.unwrap_or(usize::MAX))
                }
                // `ROLLUP` of n keys has a grouping set for each prefix, also the empty one.
                Expr::Rollup(keys) => (keys, keys.len() + 1),
                Expr::GroupingSets(sets) => (sets, sets.len()),
                _ => {
                    count = count.saturating_add(1);
                    continue;
                }
            };
            // Several of these in one `GROUP BY` are combined, each set of one with each set of the other.
            sets = sets.saturating_mul(these.max(1));
            count = count.saturating_add(keys.iter().map(Vec::len).sum());
        }
        allow("keys of a `GROUP BY`", count, MAX_COLUMNS)?;
        let terms = keys.iter().try_fold(0usize, |sum, key| {
            Ok::<_, QueryError>(sum.saturating_add(self.terms(key, from)?))
        })?;
        let all = sets.saturating_mul(count.max(terms));
        allow("keys of all grouping sets", all, MAX_PLAN_COLUMNS)?;
        Ok(all)
    }

    fn tables(&self, tables: &TableWithJoins) -> Result<Relation, QueryError> {
        let mut relation = self.table(&tables.relation)?;
        for join in &tables.joins {
            relation.join(self.table(&join.relation)?)?;
            let terms = match constraint(&join.join_operator) {
                Some(JoinConstraint::On(condition)) => self.terms(condition, &relation)?,
                Some(JoinConstraint::Natural) => relation.columns.len(),
                Some(JoinConstraint::Using(names)) => names.len(),
                Some(JoinConstraint::None) | None => 0,
            };
            let leaves = relation.leaves;
            relation.absorb(0, terms.saturating_mul(leaves))?;
        }
        Ok(relation)
    }

    fn table(&self, table: &TableFactor) -> Result<Relation, QueryError> {
        match table {
            TableFactor::Table {
                name,
                alias,
                args: None,
                ..
            } => {
                let cte = match &name.0[..] {
                    [part] => part.as_ident().and_then(|name| self.queries.get(&normal(name))),
                    _ => None,
                };
                cte.map(|cte| Relation::clone(cte))
                    .unwrap_or_else(|| Relation::table(TABLE_COLUMNS))
                    .named(alias.as_ref())
            }
            TableFactor::Derived { subquery, alias, .. } => self.query(subquery)?.named(alias.as_ref()),
            TableFactor::NestedJoin {
                table_with_joins,
                alias,
            } => self.tables(table_with_joins)?.named(alias.as_ref()),
            TableFactor::Pivot { table, .. }
            | TableFactor::Unpivot { table, .. }
            | TableFactor::MatchRecognize { table, .. } => self.table(table),
            // Table functions, which have one or two columns.
            TableFactor::Table { alias, .. }
            | TableFactor::Function { alias, .. }
            | TableFactor::TableFunction { alias, .. }
            | TableFactor::UNNEST { alias, .. } => {
                let mut relation = Relation::table(2);
                let terms = self.terms(table, &Relation::default())?;
                relation.absorb(0, terms)?;
                relation.named(alias.as_ref())
            }
            _ => Ok(Relation::table(TABLE_COLUMNS)),
        }
    }

    /// Returns the number of terms of an expression over the columns of `from`, with its subqueries.
    fn terms<E: Visit + ?Sized>(&self, expression: &E, from: &Relation) -> Result<usize, QueryError> {
        let mut terms = Terms {
            scope: self,
            from,
            inside: 0,
            count: 0,
        };
        match expression.visit(&mut terms) {
            ControlFlow::Continue(()) => Ok(terms.count),
            ControlFlow::Break(error) => Err(error),
        }
    }
}

/// Returns a name in the form in which the planner compares it: in lower case unless it is quoted.
fn normal(name: &Ident) -> String {
    match name.quote_style {
        Some(_) => name.value.clone(),
        None => name.value.to_lowercase(),
    }
}

fn allow_name(bytes: usize) -> Result<(), QueryError> {
    if bytes > MAX_NAME {
        return Err(QueryError::NameTooLong {
            found: bytes,
            allowed: MAX_NAME,
        });
    }
    Ok(())
}

fn constraint(operator: &JoinOperator) -> Option<&JoinConstraint> {
    match operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::Right(constraint)
        | JoinOperator::RightOuter(constraint)
        | JoinOperator::FullOuter(constraint)
        | JoinOperator::CrossJoin(constraint)
        | JoinOperator::Semi(constraint)
        | JoinOperator::LeftSemi(constraint)
        | JoinOperator::RightSemi(constraint)
        | JoinOperator::Anti(constraint)
        | JoinOperator::LeftAnti(constraint)
        | JoinOperator::RightAnti(constraint)
        | JoinOperator::StraightJoin(constraint)
        | JoinOperator::AsOf { constraint, .. } => Some(constraint),
        _ => None,
    }
}

/// Counts the terms of an expression.
struct Terms<'a> {
    scope: &'a Scope,
    from: &'a Relation,
    /// The number of subqueries around the visited node. The contents of a subquery were counted at its start.
    inside: usize,
    count: usize,
}

impl Terms<'_> {
    fn column(&self, name: &Ident) -> usize {
        let name = normal(name);
        // The innermost relation that has the name wins, as in SQL.
        let enclosing = self.scope.enclosing.iter().rev().map(|relation| &**relation);
        std::iter::once(self.from)
            .chain(enclosing)
            .find_map(|relation| relation.terms_of(&name))
            .unwrap_or(1)
    }
}

impl Visitor for Terms<'_> {
    type Break = QueryError;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<QueryError> {
        if self.inside == 0 {
            let mut scope = self.scope.clone();
            scope.enclosing.push(Arc::new(self.from.clone()));
            match scope.query(query) {
                Ok(relation) => {
                    self.count = self
                        .count
                        .saturating_add(relation.plan_columns)
                        .saturating_add(relation.terms);
                }
                Err(error) => return ControlFlow::Break(error),
            }
        }
        self.inside += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<QueryError> {
        self.inside -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<QueryError> {
        if self.inside == 0 {
            let terms = match expr {
                Expr::Identifier(name) => self.column(name),
                Expr::CompoundIdentifier(names) => names.last().map_or(1, |name| self.column(name)),
                _ => 1,
            };
            self.count = self.count.saturating_add(terms);
        }
        ControlFlow::Continue(())
    }
}
