//! SQL: by verb and table, as a parser reads the statement.
//!
//! A parser that reads a statement otherwise than the server does would be a door. So a
//! statement must first be made of plain words, numbers, texts and signs that all servers
//! read alike (no comments, which MySQL runs; no backslashes and, for MySQL, no double
//! quotes, which its modes read differently; no variables), and then have a form in which
//! every table and every function that it names is known here.

use std::collections::HashSet;
use std::ops::ControlFlow;

use parking_lot::Mutex;
use sqlparser::ast::helpers::stmt_create_table::CreateTableBuilder;
use sqlparser::ast::{
    AlterTable, AlterTableOperation, AssignmentTarget, ColumnDef, ColumnOption, CreateIndex, CreateTable,
    CreateTableOptions, Delete, Expr, FromTable, FunctionArguments, IndexColumn, Insert, ObjectName,
    ObjectNamePart, ObjectType, OnConflictAction, OnInsert, Query, Select, SelectFlavor, SetExpr, Statement,
    TableConstraint, TableFactor, TableObject, TableWithJoins, Update, Visit, Visitor,
};
use sqlparser::dialect::{self, MySqlDialect, SQLiteDialect};
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, Tokenizer, Whitespace};

use super::{Refused, granted};
use crate::config::Actions;

/// The most levels of nesting of a statement.
const DEPTH: usize = 50;

/// How many statements are known to be allowed, at most; plugins use a few texts.
const KNOWN: usize = 256;

/// Functions of their arguments alone, or of the time.
const FUNCTIONS: [&str; 65] = [
    "abs",
    "avg",
    "cast",
    "ceil",
    "ceiling",
    "changes",
    "char_length",
    "character_length",
    "coalesce",
    "concat",
    "concat_ws",
    "count",
    "database",
    "date",
    "date_add",
    "date_format",
    "date_sub",
    "datediff",
    "datetime",
    "floor",
    "from_unixtime",
    "greatest",
    "group_concat",
    "hex",
    "if",
    "ifnull",
    "instr",
    "json_array",
    "json_extract",
    "json_object",
    "json_quote",
    "json_type",
    "typeof",
    "json_unquote",
    "json_valid",
    "julianday",
    "last_insert_id",
    "last_insert_rowid",
    "least",
    "left",
    "length",
    "locate",
    "lower",
    "max",
    "min",
    "mod",
    "now",
    "nullif",
    "replace",
    "right",
    "round",
    "strftime",
    "substr",
    "substring",
    "substring_index",
    "sum",
    "time",
    "timestampdiff",
    "total",
    "trim",
    "unix_timestamp",
    "upper",
    "utc_timestamp",
    "values",
    "curdate",
];

/// Whose SQL it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Mysql,
    Sqlite,
}

/// What of an SQL connection is granted.
#[derive(Debug)]
pub(super) struct SqlRules {
    dialect: Dialect,
    granted: Actions,
    /// Digests of statements that are allowed.
    known: Mutex<HashSet<[u8; 32]>>,
}

impl SqlRules {
    pub(super) fn new(dialect: Dialect, granted: Actions) -> Self {
        Self { dialect, granted, known: Mutex::default() }
    }

    /// Whether a statement may go through.
    pub(super) fn allows(&self, statement: &str) -> Result<(), Refused> {
        let digest = *blake3::hash(statement.as_bytes()).as_bytes();
        if self.known.lock().contains(&digest) {
            return Ok(());
        }
        for (verb, table) in uses(self.dialect, statement)? {
            let is_special = table.is_function
                || table.name.contains('.')
                || table.name.to_ascii_lowercase().starts_with("sqlite_");
            if !granted(&self.granted, &table.name, verb, is_special) {
                return Err(Refused(format!("`{verb}` on the table `{}`", table.name)));
            }
        }
        let mut known = self.known.lock();
        if known.len() >= KNOWN {
            known.clear();
        }
        known.insert(digest);
        Ok(())
    }
}

/// A table as a statement names it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Table {
    name: String,
    /// SQLite's tables that are functions: `pragma_table_info('t')`.
    is_function: bool,
}

type Uses = Vec<(&'static str, Table)>;

fn refused(what: &str) -> Refused {
    Refused(format!("{what}, which a narrowed connection does not have"))
}

/// What a statement does to which tables.
fn uses(dialect: Dialect, statement: &str) -> Result<Uses, Refused> {
    let parser: &dyn dialect::Dialect = match dialect {
        Dialect::Mysql => &MySqlDialect {},
        Dialect::Sqlite => &SQLiteDialect {},
    };
    let broken = |error: &dyn std::fmt::Display| Refused(format!("a statement that cannot be read: {error}"));
    let tokens = Tokenizer::new(parser, statement).tokenize().map_err(|error| broken(&error))?;
    for token in &tokens {
        check_token(dialect, token)?;
    }
    let mut parser = Parser::new(parser).with_recursion_limit(DEPTH).with_tokens(tokens);
    let mut statements = parser.parse_statements().map_err(|error| broken(&error))?;
    match (statements.pop(), statements.is_empty()) {
        (Some(statement), true) => of_statement(&statement),
        _ => Err(refused("anything but one statement")),
    }
}

fn check_token(dialect: Dialect, token: &Token) -> Result<(), Refused> {
    match token {
        Token::Word(word) => match word.quote_style {
            // MySQL's variables are words with signs before them.
            None if word.value.contains('@') => Err(refused("a variable")),
            None | Some('`') => Ok(()),
            Some('"') if dialect == Dialect::Sqlite => Ok(()),
            Some(_) => Err(refused("a name in brackets or double quotes")),
        },
        Token::SingleQuotedString(text) if text.contains('\\') => Err(refused("a backslash in a text")),
        Token::Whitespace(Whitespace::SingleLineComment { .. } | Whitespace::MultiLineComment(_)) => {
            Err(refused("a comment"))
        }
        Token::Placeholder(text) if text == "?" => Ok(()),
        Token::EOF
        | Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::Comma
        | Token::Whitespace(_)
        | Token::Eq
        | Token::Neq
        | Token::Lt
        | Token::Gt
        | Token::LtEq
        | Token::GtEq
        | Token::Spaceship
        | Token::Plus
        | Token::Minus
        | Token::Mul
        | Token::Div
        | Token::Mod
        | Token::StringConcat
        | Token::LParen
        | Token::RParen
        | Token::Period
        | Token::Arrow
        | Token::LongArrow => Ok(()),
        other => Err(refused(&format!("`{other}`"))),
    }
}

fn of_statement(statement: &Statement) -> Result<Uses, Refused> {
    match statement {
        Statement::Query(query) => read(&**query),
        Statement::Insert(insert) => of_insert(insert),
        Statement::Update(update) => of_update(update),
        Statement::Delete(delete) => of_delete(delete),
        Statement::CreateTable(create) => of_create_table(create),
        Statement::CreateIndex(create) => of_create_index(create),
        Statement::AlterTable(alter) => of_alter(alter),
        Statement::Drop { object_type: ObjectType::Table, names, .. } => {
            names.iter().map(|name| Ok(("drop", table(name)?))).collect()
        }
        _ => Err(refused("this kind of statement")),
    }
}

fn of_insert(insert: &Insert) -> Result<Uses, Refused> {
    // Every field is named, so that a new one of the parser's is thought of.
    let Insert {
        insert_token: _,
        optimizer_hints,
        or,
        ignore: _,
        into: _,
        table: target,
        table_alias: _,
        columns: _,
        by_name,
        overwrite,
        source,
        assignments,
        partitioned,
        after_columns,
        overriding,
        has_table_keyword,
        on,
        returning,
        output,
        replace_into,
        priority: _,
        insert_alias: _,
        settings,
        format_clause,
        multi_table_insert_type,
        multi_table_into_clauses,
        multi_table_when_clauses,
        multi_table_else_clause,
    } = insert;
    let odd = *by_name
        || *overwrite
        || *has_table_keyword
        || !optimizer_hints.is_empty()
        || partitioned.is_some()
        || !after_columns.is_empty()
        || overriding.is_some()
        || output.is_some()
        || settings.is_some()
        || format_clause.is_some()
        || multi_table_insert_type.is_some()
        || !multi_table_into_clauses.is_empty()
        || !multi_table_when_clauses.is_empty()
        || multi_table_else_clause.is_some();
    let TableObject::TableName(name) = target else { return Err(refused("this form of INSERT")) };
    if odd {
        return Err(refused("this form of INSERT"));
    }
    let name = table(name)?;
    let mut uses = vec![("insert", name.clone())];
    if *replace_into || or.is_some() {
        uses.push(("delete", name.clone()));
    }
    match on {
        Some(OnInsert::DuplicateKeyUpdate(_)) => uses.push(("update", name.clone())),
        Some(OnInsert::OnConflict(conflict)) => {
            if let OnConflictAction::DoUpdate(_) = conflict.action {
                uses.push(("update", name.clone()));
            }
        }
        Some(_) => return Err(refused("this form of INSERT")),
        None => {}
    }
    if returning.is_some() {
        uses.push(("select", name));
    }
    uses.extend(read(source)?);
    uses.extend(read(assignments)?);
    uses.extend(read(on)?);
    uses.extend(read(returning)?);
    Ok(uses)
}

fn of_update(update: &Update) -> Result<Uses, Refused> {
    let Update {
        update_token: _,
        optimizer_hints,
        table,
        on_cluster,
        assignments,
        from,
        selection,
        returning,
        output,
        or,
        order_by,
        limit,
        settings,
    } = update;
    let odd = !optimizer_hints.is_empty()
        || on_cluster.is_some()
        || from.is_some()
        || output.is_some()
        || settings.is_some()
        || assignments.iter().any(|one| !matches!(one.target, AssignmentTarget::ColumnName(_)));
    if odd {
        return Err(refused("this form of UPDATE"));
    }
    let name = single(table)?;
    let mut uses = vec![("update", name.clone())];
    if or.is_some() {
        uses.push(("delete", name.clone()));
    }
    if returning.is_some() {
        uses.push(("select", name));
    }
    uses.extend(read(assignments)?);
    uses.extend(read(selection)?);
    uses.extend(read(returning)?);
    uses.extend(read(order_by)?);
    uses.extend(read(limit)?);
    Ok(uses)
}

fn of_delete(delete: &Delete) -> Result<Uses, Refused> {
    let Delete {
        delete_token: _,
        optimizer_hints,
        tables,
        from,
        on_cluster,
        using,
        selection,
        returning,
        output,
        order_by,
        limit,
        settings,
    } = delete;
    let odd = !optimizer_hints.is_empty()
        || !tables.is_empty()
        || on_cluster.is_some()
        || using.is_some()
        || output.is_some()
        || settings.is_some();
    let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = from;
    let ([from], false) = (from.as_slice(), odd) else { return Err(refused("this form of DELETE")) };
    let name = single(from)?;
    let mut uses = vec![("delete", name.clone())];
    if returning.is_some() {
        uses.push(("select", name));
    }
    uses.extend(read(selection)?);
    uses.extend(read(returning)?);
    uses.extend(read(order_by)?);
    uses.extend(read(limit)?);
    Ok(uses)
}

fn of_create_table(create: &CreateTable) -> Result<Uses, Refused> {
    // What is not named here must be as in a table without it: no SELECT, LIKE, location.
    let plain = CreateTableBuilder::new(create.name.clone())
        .if_not_exists(create.if_not_exists)
        .columns(create.columns.clone())
        .constraints(create.constraints.clone())
        .table_options(create.table_options.clone())
        .build();
    if plain != *create || !are_plain(&create.table_options) {
        return Err(refused("this form of CREATE TABLE"));
    }
    let mut uses = vec![("create", table(&create.name)?)];
    for column in &create.columns {
        uses.extend(of_column(column)?);
    }
    for constraint in &create.constraints {
        match constraint {
            TableConstraint::ForeignKey(key) => uses.push(("select", table(&key.foreign_table)?)),
            TableConstraint::Unique(key) => uses.extend(of_index(&key.columns)?),
            TableConstraint::PrimaryKey(key) => uses.extend(of_index(&key.columns)?),
            TableConstraint::Index(index) => uses.extend(of_index(&index.columns)?),
            TableConstraint::Check(check) => uses.extend(read(check)?),
            _ => return Err(refused("this kind of constraint")),
        }
    }
    Ok(uses)
}

/// Columns of an index. A number behind one is how much of it is in there, which the parser
/// takes for a call: `tag`(255).
fn of_index(columns: &[IndexColumn]) -> Result<Uses, Refused> {
    let mut uses = Uses::new();
    for column in columns {
        let is_prefix = match &column.column.expr {
            Expr::Function(function) => match &function.args {
                FunctionArguments::List(list) => list.to_string().parse::<u16>().is_ok(),
                _ => false,
            },
            _ => false,
        };
        if !is_prefix {
            uses.extend(read(column)?);
        }
    }
    Ok(uses)
}

/// `ENGINE=InnoDB DEFAULT CHARSET=utf8mb4` and the like: other engines and options reach other
/// tables (`MERGE`, `UNION`), servers (`FEDERATED`) and files (`CSV`, `DATA DIRECTORY`).
fn are_plain(options: &CreateTableOptions) -> bool {
    let CreateTableOptions::Plain(options) = options else { return *options == CreateTableOptions::None };
    options.iter().all(|option| {
        let text = option.to_string().to_ascii_uppercase();
        let Some((key, value)) = text.split_once('=') else { return false };
        let (key, value) = (key.trim(), value.trim());
        match key {
            "ENGINE" => value == "INNODB",
            "CHARSET"
            | "DEFAULT CHARSET"
            | "CHARACTER SET"
            | "DEFAULT CHARACTER SET"
            | "COLLATE"
            | "DEFAULT COLLATE"
            | "ROW_FORMAT"
            | "AUTO_INCREMENT" => value.chars().all(|char| char.is_ascii_alphanumeric() || char == '_'),
            _ => false,
        }
    })
}

fn of_column(column: &ColumnDef) -> Result<Uses, Refused> {
    let mut uses = Uses::new();
    for option in &column.options {
        match &option.option {
            ColumnOption::ForeignKey(key) => uses.push(("select", table(&key.foreign_table)?)),
            ColumnOption::Null
            | ColumnOption::NotNull
            | ColumnOption::Default(_)
            | ColumnOption::PrimaryKey(_)
            | ColumnOption::Unique(_)
            | ColumnOption::Check(_)
            | ColumnOption::CharacterSet(_)
            | ColumnOption::Collation(_)
            | ColumnOption::Comment(_)
            | ColumnOption::OnUpdate(_)
            | ColumnOption::Generated { .. } => {}
            ColumnOption::DialectSpecific(tokens)
                if tokens.iter().all(|token| {
                    ["AUTO_INCREMENT", "AUTOINCREMENT"].contains(&token.to_string().to_uppercase().as_str())
                }) => {}
            _ => return Err(refused("this kind of column")),
        }
    }
    uses.extend(read(column)?);
    Ok(uses)
}

fn of_create_index(create: &CreateIndex) -> Result<Uses, Refused> {
    let CreateIndex {
        name: _,
        table_name,
        using,
        columns,
        unique: _,
        concurrently,
        r#async,
        if_not_exists: _,
        include,
        nulls_distinct,
        with,
        predicate,
        index_options,
        alter_options,
    } = create;
    let odd = using.is_some()
        || *concurrently
        || *r#async
        || !include.is_empty()
        || nulls_distinct.is_some()
        || !with.is_empty()
        || !index_options.is_empty()
        || !alter_options.is_empty();
    if odd {
        return Err(refused("this form of CREATE INDEX"));
    }
    let mut uses = vec![("create", table(table_name)?)];
    uses.extend(of_index(columns)?);
    uses.extend(read(predicate)?);
    Ok(uses)
}

fn of_alter(alter: &AlterTable) -> Result<Uses, Refused> {
    let AlterTable { name, if_exists: _, only, operations, location, on_cluster, table_type, end_token: _ } =
        alter;
    if *only || location.is_some() || on_cluster.is_some() || table_type.is_some() {
        return Err(refused("this form of ALTER TABLE"));
    }
    let mut uses = vec![("alter", table(name)?)];
    for operation in operations {
        match operation {
            AlterTableOperation::AddColumn { column_def, .. } => uses.extend(of_column(column_def)?),
            AlterTableOperation::DropColumn { .. } => {}
            _ => return Err(refused("this change of a table")),
        }
    }
    Ok(uses)
}

/// The only table of a clause that could name several.
fn single(from: &TableWithJoins) -> Result<Table, Refused> {
    match (&from.relation, from.joins.is_empty()) {
        (factor @ TableFactor::Table { name, args: None, .. }, true) if is_plain(factor) => table(name),
        _ => Err(refused("a change of several tables at once")),
    }
}

fn table(name: &ObjectName) -> Result<Table, Refused> {
    let mut parts = Vec::new();
    for part in &name.0 {
        match part {
            ObjectNamePart::Identifier(ident) if !ident.value.contains('.') => {
                parts.push(ident.value.as_str())
            }
            _ => return Err(refused("a table's name with a dot, or made by a function")),
        }
    }
    Ok(Table { name: parts.join("."), is_function: false })
}

/// What a part of a statement reads, with all that stands in it.
fn read(part: &impl Visit) -> Result<Uses, Refused> {
    let mut reader = Reader::default();
    match part.visit(&mut reader) {
        ControlFlow::Continue(()) => Ok(reader.uses),
        ControlFlow::Break(refused) => Err(*refused),
    }
}

#[derive(Default)]
struct Reader {
    uses: Uses,
    /// Tables that were named by a factor, which says more of them.
    factors: usize,
    relations: usize,
}

impl Reader {
    fn check_query(query: &Query) -> Result<(), Refused> {
        let Query {
            with,
            body,
            order_by: _,
            limit_clause: _,
            fetch,
            locks: _,
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

    fn check_select(select: &Select) -> Result<(), Refused> {
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
            from: _,
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
        if odd { Err(refused("this form of SELECT")) } else { Ok(()) }
    }

    fn check_factor(&mut self, factor: &TableFactor) -> Result<(), Refused> {
        match factor {
            TableFactor::Table { name, args, .. } if is_plain(factor) => {
                let table = Table { is_function: args.is_some(), ..table(name)? };
                self.uses.push(("select", table));
                self.factors += 1;
                Ok(())
            }
            TableFactor::Derived { lateral: false, sample: None, .. } | TableFactor::NestedJoin { .. } => {
                Ok(())
            }
            _ => Err(refused("this kind of table")),
        }
    }

    fn check_expr(expr: &Expr) -> Result<(), Refused> {
        let Expr::Function(function) = expr else { return Ok(()) };
        let [ObjectNamePart::Identifier(name)] = function.name.0.as_slice() else {
            return Err(refused(&format!("the function `{}`", function.name)));
        };
        let lower = name.value.to_ascii_lowercase();
        let is_known = FUNCTIONS.contains(&lower.as_str())
            || matches!(lower.as_str(), "current_timestamp" | "current_date" | "current_time" | "row_number");
        if is_known { Ok(()) } else { Err(refused(&format!("the function `{}`", name.value))) }
    }
}

/// Nothing stands beside the table's name but its alias, arguments and hints about indexes.
fn is_plain(factor: &TableFactor) -> bool {
    let TableFactor::Table {
        name: _,
        alias: _,
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
    with_hints.is_empty()
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
        flow(Self::check_query(query))
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Self::Break> {
        flow(Self::check_select(select))
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
        flow(Self::check_expr(expr))
    }

    fn pre_visit_statement(&mut self, _: &Statement) -> ControlFlow<Self::Break> {
        flow(Err(refused("a statement within a statement")))
    }
}

fn flow(result: Result<(), Refused>) -> ControlFlow<Box<Refused>> {
    match result {
        Ok(()) => ControlFlow::Continue(()),
        Err(refused) => ControlFlow::Break(Box::new(refused)),
    }
}

#[cfg(test)]
mod tests;
