//! What stands in a statement: the tables that it reads, and forms and functions that are
//! known.

use std::ops::ControlFlow;

use sqlparser::ast::{
    Expr, ObjectName, Query, Select, SelectFlavor, SetExpr, Statement, TableAlias, TableFactor, Visit,
    Visitor,
};

use super::{Dialect, Table, Uses, functions, operators, refused, table};
use crate::plugins::narrow::Refused;

/// What a part of a statement reads, with all that stands in it.
pub(super) fn read(dialect: Dialect, part: &impl Visit) -> Result<Uses, Refused> {
    let mut reader = Reader { dialect, uses: Uses::new(), factors: 0, relations: 0, locks: false };
    if let ControlFlow::Break(refused) = part.visit(&mut reader) {
        return Err(*refused);
    }
    if reader.locks {
        // Who holds the rows keeps others from changing them.
        let locked: Uses = reader.uses.iter().map(|(_, table)| ("update", table.clone())).collect();
        reader.uses.extend(locked);
    }
    Ok(reader.uses)
}

pub(super) struct Reader {
    dialect: Dialect,
    uses: Uses,
    /// Tables that were named by a factor, which says more of them.
    factors: usize,
    relations: usize,
    /// Rows are read to be held: FOR UPDATE, FOR SHARE.
    locks: bool,
}

/// Words that are functions without parentheses: who is logged in, and where.
const SESSION: [&str; 6] =
    ["current_catalog", "current_role", "current_schema", "current_user", "session_user", "system_user"];

impl Reader {
    fn check_query(&mut self, query: &Query) -> Result<(), Refused> {
        let Query {
            with,
            body,
            order_by: _,
            limit_clause: _,
            fetch,
            locks,
            for_clause,
            settings,
            format_clause,
            pipe_operators,
        } = query;
        let odd = fetch.is_some()
            || for_clause.is_some()
            || settings.is_some()
            || format_clause.is_some()
            || !pipe_operators.is_empty();
        self.locks |= !locks.is_empty();
        if with.is_some() {
            return Err(refused("WITH"));
        }
        if odd { Err(refused("this form of SELECT")) } else { Self::check_body(body) }
    }

    fn check_body(body: &SetExpr) -> Result<(), Refused> {
        match body {
            // Visited on their own.
            SetExpr::Select(_) | SetExpr::Query(_) | SetExpr::Values(_) => Ok(()),
            SetExpr::SetOperation { left, right, .. } => {
                Self::check_body(left)?;
                Self::check_body(right)
            }
            SetExpr::Insert(_)
            | SetExpr::Update(_)
            | SetExpr::Delete(_)
            | SetExpr::Merge(_)
            | SetExpr::Table(_) => Err(refused("this form of SELECT")),
        }
    }

    fn check_select(&self, select: &Select) -> Result<(), Refused> {
        let Select {
            select_token: _,
            optimizer_hints,
            distinct: _,
            select_modifiers: _,
            top,
            top_before_distinct: _,
            projection: _,
            exclude,
            into,
            from,
            lateral_views,
            prewhere,
            selection: _,
            connect_by,
            group_by: _,
            cluster_by,
            distribute_by,
            sort_by,
            having: _,
            named_window: _,
            qualify,
            window_before_qualify: _,
            value_table_mode,
            flavor,
        } = select;
        let odd = !optimizer_hints.is_empty()
            || top.is_some()
            || exclude.is_some()
            || into.is_some()
            || !lateral_views.is_empty()
            || prewhere.is_some()
            || !connect_by.is_empty()
            || !cluster_by.is_empty()
            || !distribute_by.is_empty()
            || !sort_by.is_empty()
            || qualify.is_some()
            || value_table_mode.is_some()
            || *flavor != SelectFlavor::Standard;
        if odd {
            return Err(refused("this form of SELECT"));
        }
        from.iter().try_for_each(|tables| operators::check_joins(self.dialect, tables))
    }

    fn check_factor(&mut self, factor: &TableFactor) -> Result<(), Refused> {
        match factor {
            TableFactor::Table { name, args, .. } if is_plain(factor) => {
                let table = Table { is_function: args.is_some(), ..table(name)? };
                self.uses.push(("select", table));
                self.factors += 1;
                Ok(())
            }
            TableFactor::Derived { lateral: false, sample: None, .. } => Ok(()),
            TableFactor::NestedJoin { table_with_joins, .. } => {
                operators::check_joins(self.dialect, table_with_joins)
            }
            _ => Err(refused("this kind of table")),
        }
    }

    pub(super) fn check_expr(dialect: Dialect, expr: &Expr) -> Result<(), Refused> {
        if let Expr::Identifier(name) = expr
            && name.quote_style.is_none()
            && SESSION.iter().any(|word| name.value.eq_ignore_ascii_case(word))
        {
            return Err(refused(&format!("`{}`", name.value)));
        }
        operators::check(dialect, expr)?;
        match expr {
            Expr::Function(function) => functions::check(dialect, function),
            _ => Ok(()),
        }
    }
}

/// Nothing stands beside the table's name but its alias, arguments and hints about indexes.
pub(super) fn is_plain(factor: &TableFactor) -> bool {
    let TableFactor::Table {
        name: _,
        alias,
        args: _,
        with_hints,
        version,
        with_ordinality,
        partitions,
        json_path,
        sample,
        index_directives: _,
        inheritance,
    } = factor
    else {
        return false;
    };
    let has_types = |alias: &TableAlias| alias.columns.iter().any(|column| column.data_type.is_some());
    !alias.as_ref().is_some_and(has_types)
        && with_hints.is_empty()
        && version.is_none()
        && !with_ordinality
        && partitions.is_empty()
        && json_path.is_none()
        && sample.is_none()
        && inheritance.is_none()
}

impl Visitor for Reader {
    type Break = Box<Refused>;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Self::Break> {
        flow(self.check_query(query))
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Self::Break> {
        flow(self.check_select(select))
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Self::Break> {
        flow(self.check_factor(factor))
    }

    fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<Self::Break> {
        // Every relation must be one of a factor, which was looked at just before.
        self.relations += 1;
        let is_known = self.relations <= self.factors;
        flow(if is_known { Ok(()) } else { Err(refused(&format!("`{name}` in this place"))) })
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Self::Break> {
        flow(Self::check_expr(self.dialect, expr))
    }

    fn pre_visit_statement(&mut self, _: &Statement) -> ControlFlow<Self::Break> {
        flow(Err(refused("a statement within a statement")))
    }
}

pub(super) fn flow(result: Result<(), Refused>) -> ControlFlow<Box<Refused>> {
    match result {
        Ok(()) => ControlFlow::Continue(()),
        Err(refused) => ControlFlow::Break(Box::new(refused)),
    }
}
