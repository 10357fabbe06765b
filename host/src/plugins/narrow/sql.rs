//! SQL: by verb and table, as a parser reads the statement.
//!
//! A parser that reads a statement otherwise than the server does would be a door. So a
//! statement must first be made of plain words, numbers, texts and signs that all servers
//! read alike (no comments, which MySQL runs; no backslashes and, for MySQL, no double
//! quotes, which its modes read differently; no variables), none of its names may be a word that
//! the server reserves, and then it must have a form in which every table, every function and
//! every operator in it is known here.

mod calls;
mod changes;
mod definitions;
mod depth;
mod fields;
mod functions;
mod keywords;
mod operators;
mod reading;
mod reserved;
mod signs;
mod types;

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use parking_lot::Mutex;
use sqlparser::ast::{ObjectName, ObjectNamePart, ObjectType, Statement};
use sqlparser::dialect::{self, MySqlDialect, PostgreSqlDialect, SQLiteDialect};
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, Tokenizer};

use super::readings::{TIME, too_slow};
use super::{Refused, granted};
use crate::config::{Actions, SQLITES_OWN, is_shadow};
use crate::connections::{TableGrants, numbered};

use reading::read;

/// The most levels of nesting of a statement.
const DEPTH: usize = 50;

/// The longest statement that is read, in bytes, and in the words and signs it is made of: what
/// the parser makes of one takes hundreds of times its length. The SDK's longest has 66,000.
const LENGTH: usize = 256 << 10;
const TOKENS: usize = 100_000;

/// How many statements are known, at most; plugins use a few texts.
const KNOWN: usize = 256;

/// Whose SQL it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Mysql,
    Postgres,
    Sqlite,
}

impl Dialect {
    /// Of a kind of [`Connection`](crate::connections::Connection).
    pub(super) fn of(kind: &str) -> Self {
        match kind {
            "sqlite" => Dialect::Sqlite,
            "postgres" => Dialect::Postgres,
            _ => Dialect::Mysql,
        }
    }

    /// As the parser has it.
    fn of_parser(self) -> &'static dyn dialect::Dialect {
        match self {
            Dialect::Mysql => &MySqlDialect {},
            Dialect::Postgres => &PostgreSqlDialect {},
            Dialect::Sqlite => &SQLiteDialect {},
        }
    }
}

/// What of an SQL connection is granted.
#[derive(Debug)]
pub(super) struct SqlRules {
    dialect: Dialect,
    granted: Actions,
    /// By digests of statements.
    known: Mutex<HashMap<[u8; 32], Result<(), Refused>>>,
    /// Those that are read, and since when.
    read: Mutex<HashMap<[u8; 32], Instant>>,
}

fn digest(statement: &str) -> [u8; 32] {
    *blake3::hash(statement.as_bytes()).as_bytes()
}

impl SqlRules {
    pub(super) fn new(dialect: Dialect, granted: Actions) -> Self {
        Self { dialect, granted, known: Mutex::default(), read: Mutex::default() }
    }

    /// What is known of a statement that was read before, or is read for too long: nothing stops
    /// that, so nobody begins it again.
    pub(super) fn known(&self, statement: &str) -> Option<Result<(), Refused>> {
        let digest = digest(statement);
        let is_slow = self.read.lock().get(&digest).is_some_and(|since| since.elapsed() >= TIME);
        if is_slow { Some(Err(too_slow())) } else { self.known.lock().get(&digest).cloned() }
    }

    /// Whether a statement may go through. Reading it takes up to a tenth of a second, and a
    /// stack as a thread has it.
    pub(super) fn allows(&self, statement: &str) -> Result<(), Refused> {
        let digest = digest(statement);
        self.read.lock().entry(digest).or_insert_with(Instant::now);
        let decided = self.decide(statement);
        self.read.lock().remove(&digest);
        // What is refused may be told with a long name.
        if decided.as_ref().map_or_else(|refused| refused.0.len() < 1000, |()| true) {
            let mut known = self.known.lock();
            if known.len() >= KNOWN {
                known.clear();
            }
            known.insert(digest, decided.clone());
        }
        decided
    }

    fn decide(&self, statement: &str) -> Result<(), Refused> {
        for (verb, table) in uses(self.dialect, statement)? {
            if !self.is_granted(verb, &table) {
                return Err(Refused(format!("`{verb}` on the table `{}`", table.name)));
            }
        }
        Ok(())
    }

    fn is_granted(&self, verb: &str, table: &Table) -> bool {
        // SQLite knows no case, and of MySQL's servers some do: there a name that differs in
        // nothing else may be the same table, which has an entry of its own.
        let alike = self.granted.keys().find(|name| name.eq_ignore_ascii_case(&table.name));
        let (name, is_alike) = match (self.dialect, alike) {
            (Dialect::Sqlite, Some(name)) => (name, false),
            (Dialect::Mysql, alike) => (&table.name, alike.is_some()),
            _ => (&table.name, false),
        };
        let is_special = table.is_function
            || is_alike
            || table.name.contains('.')
            // The case of other letters is folded by rules of the server's.
            || self.dialect == Dialect::Mysql && !table.name.is_ascii()
            || self.dialect.is_own_table(&table.name)
            || self.dialect == Dialect::Sqlite && self.granted.keys().any(|of| is_shadow(&table.name, of));
        granted(&self.granted, name, verb, is_special)
    }
}

impl TableGrants for SqlRules {
    fn allows(&self, verb: &'static str, table: &str) -> bool {
        // A grant may name the schema, of which SQLite has one here.
        [table.to_owned(), format!("main.{table}")]
            .into_iter()
            .any(|name| self.is_granted(verb, &Table { name, is_function: false }))
    }
}

impl Dialect {
    /// Whether a table is the server's own, which stands in no schema of its own name.
    fn is_own_table(self, name: &str) -> bool {
        let begins =
            |with: &str| name.get(..with.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(with));
        match self {
            Dialect::Mysql => false,
            Dialect::Postgres => begins("pg_"),
            // Each pragma is a table, too, and some tell of all others.
            Dialect::Sqlite => {
                begins("sqlite_")
                    || begins("pragma_")
                    || SQLITES_OWN.iter().any(|own| name.eq_ignore_ascii_case(own))
            }
        }
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

fn broken(error: &dyn std::fmt::Display) -> Refused {
    Refused(format!("a statement that cannot be read: {error}"))
}

/// What a statement does to which tables.
fn uses(dialect: Dialect, statement: &str) -> Result<Uses, Refused> {
    if statement.len() > LENGTH {
        let what = format!(
            "a statement of {} bytes (the most is {LENGTH}; values belong into parameters)",
            statement.len()
        );
        return Err(Refused(what));
    }
    if statement.contains('\\') {
        return Err(refused("a backslash"));
    }
    // As the server will be given it.
    let statement = match dialect {
        Dialect::Postgres => Cow::Owned(numbered(statement)),
        Dialect::Mysql | Dialect::Sqlite => Cow::Borrowed(statement),
    };
    let tokens = tokens(dialect, &statement)?;
    depth::check(&tokens)?;
    fields::check(&tokens)?;
    if dialect == Dialect::Mysql {
        calls::check(&tokens)?;
    }
    let parsed = parsed(dialect, tokens.clone())?;
    keywords::check(dialect, tokens, &parsed)?;
    types::check(dialect, &parsed)?;
    of_statement(dialect, &parsed)
}

/// The words and signs of a statement, if all servers read them alike, without the semicolon at
/// its end.
fn tokens(dialect: Dialect, statement: &str) -> Result<Vec<Token>, Refused> {
    let tokenized = Tokenizer::new(dialect.of_parser(), statement).tokenize();
    let mut tokens = tokenized.map_err(|error| broken(&error))?;
    let is_sign = |token: &Token| !matches!(token, Token::Whitespace(_) | Token::EOF);
    let signs = tokens.iter().filter(|token| is_sign(token)).count();
    if signs > TOKENS {
        return Err(Refused(format!("a statement of {signs} words and signs (the most is {TOKENS})")));
    }
    let mut statement = statement;
    if let Some(last) = tokens.iter().rposition(is_sign).filter(|last| tokens[*last] == Token::SemiColon) {
        tokens.remove(last);
        statement = statement.trim_ascii_end().strip_suffix(';').unwrap_or(statement);
    }
    signs::check(dialect, statement, &tokens)?;
    if dialect == Dialect::Postgres {
        tokens.iter_mut().for_each(fold);
    }
    Ok(tokens)
}

/// The one statement that these are.
fn parsed(dialect: Dialect, tokens: Vec<Token>) -> Result<Statement, Refused> {
    let mut parser = Parser::new(dialect.of_parser()).with_recursion_limit(DEPTH).with_tokens(tokens);
    let mut statements = parser.parse_statements().map_err(|error| broken(&error))?;
    // It stops at the word END without a word of complaint, and the server reads on.
    if parser.peek_token_ref().token != Token::EOF {
        return Err(refused("anything after the statement"));
    }
    match (statements.pop(), statements.is_empty()) {
        (Some(statement), true) => Ok(statement),
        _ => Err(refused("anything but one statement")),
    }
}

/// What a statement reaches, by names without schemas.
#[derive(Debug, Default, PartialEq)]
pub(in crate::plugins) struct Reached {
    pub(in crate::plugins) changed: Vec<String>,
    pub(in crate::plugins) read: Vec<String>,
    /// On PostgreSQL, all names that stand in it: any may be a function's.
    pub(in crate::plugins) words: BTreeSet<String>,
}

/// What a statement reaches. Every table is its to use, but for those that are functions, and to
/// change the server's own.
pub(super) fn reached(dialect: Dialect, statement: &str) -> Result<Reached, Refused> {
    let mut reached = Reached::default();
    for (verb, Table { name, is_function }) in uses(dialect, statement)? {
        if is_function {
            return Err(refused(&format!("the function `{name}` for a table")));
        }
        let (schema, table) = name.rsplit_once('.').unwrap_or(("", &name));
        if verb == "select" {
            reached.read.push(table.to_owned());
            continue;
        }
        if is_own_schema(schema) || dialect.is_own_table(table) {
            return Err(refused(&format!("a change of `{name}`")));
        }
        reached.changed.push(table.to_owned());
    }
    if dialect == Dialect::Postgres {
        reached.words = words(statement)?;
    }
    Ok(reached)
}

/// The names in a statement that was read before, as PostgreSQL takes them.
fn words(statement: &str) -> Result<BTreeSet<String>, Refused> {
    let numbered = numbered(statement);
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, &numbered).tokenize();
    let tokens = tokens.map_err(|error| Refused(format!("a statement that cannot be read: {error}")))?;
    let name = |mut token| {
        fold(&mut token);
        if let Token::Word(word) = token { Some(word.value) } else { None }
    };
    Ok(tokens.into_iter().filter_map(name).collect())
}

fn is_own_schema(schema: &str) -> bool {
    const OWN: [&str; 5] = ["information_schema", "mysql", "performance_schema", "pg_catalog", "sys"];
    OWN.iter().any(|own| schema.eq_ignore_ascii_case(own))
}

/// PostgreSQL takes a name that is not quoted for one in lower case.
fn fold(token: &mut Token) {
    if let Token::Word(word) = token
        && word.quote_style.is_none()
    {
        word.value.make_ascii_lowercase();
    }
}

fn of_statement(dialect: Dialect, statement: &Statement) -> Result<Uses, Refused> {
    match statement {
        Statement::Query(query) => read(dialect, &**query),
        Statement::Insert(insert) => changes::of_insert(dialect, insert),
        Statement::Update(update) => changes::of_update(dialect, update),
        Statement::Delete(delete) => changes::of_delete(dialect, delete),
        Statement::CreateTable(create) => definitions::of_create_table(dialect, create),
        Statement::CreateIndex(create) => definitions::of_create_index(dialect, create),
        Statement::AlterTable(alter) => definitions::of_alter(dialect, alter),
        // CASCADE would reach what depends on the table.
        Statement::Drop {
            object_type: ObjectType::Table,
            if_exists: _,
            names,
            cascade: false,
            restrict: _,
            purge: false,
            temporary: false,
            table: None,
        } => names.iter().map(|name| Ok(("drop", table(name)?))).collect(),
        _ => Err(refused("this kind of statement")),
    }
}

/// Words that a server may read before a table's name, where the parser takes them for one:
/// `UPDATE LOW_PRIORITY secrets`.
const MODIFIERS: [&str; 9] = [
    "delayed",
    "high_priority",
    "ignore",
    "lateral",
    "low_priority",
    "only",
    "quick",
    "straight_join",
    "temporary",
];

fn table(name: &ObjectName) -> Result<Table, Refused> {
    let mut parts = Vec::new();
    for part in &name.0 {
        match part {
            ObjectNamePart::Identifier(ident)
                if ident.quote_style.is_none()
                    && MODIFIERS.iter().any(|word| ident.value.eq_ignore_ascii_case(word)) =>
            {
                return Err(refused(&format!("a table that is called `{}` without quotes", ident.value)));
            }
            ObjectNamePart::Identifier(ident) if !ident.value.contains('.') => {
                parts.push(ident.value.as_str())
            }
            _ => return Err(refused("a table's name with a dot, or made by a function")),
        }
    }
    Ok(Table { name: parts.join("."), is_function: false })
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod judge_tests;
#[cfg(test)]
mod tests;
