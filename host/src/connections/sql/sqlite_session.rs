//! What is done on one SQLite connection, blocking: the settings of a session, what
//! a guest's statements may do, and statements.
//!
//! A guest reaches the tables of this one file. ATTACH would open others, and most
//! pragmas change the connection or the file for everyone: SQLite's authorizer
//! refuses both.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{CachedStatement, ErrorCode, Statement, ToSql};

use super::sqlite::Open;
use super::sqlite_error::{error_of, out_of_memory};
use super::sqlite_judge::TableGrants;
use super::{SqlError, SqlErrorKind, SqlRows, SqlValue, sqlite_depth, sqlite_functions};
use crate::connections::answer::{AnswerBounds, AnswerSize};

/// Prepared statements kept by one connection.
const STATEMENTS: usize = 100;

/// The longest text of one that is kept. The SDK's longest INSERT of fifteen columns fits.
const KEPT: usize = 32 << 10;

/// Steps of SQLite's machine between two looks at whether to stop: some microseconds.
const STEPS: i32 = 4096;

/// The longest text or blob.
pub(super) const LONGEST: i32 = 256 << 20;

/// What SQLite may have in memory at once, in the whole process: a row is there before it can be
/// counted. What would be more is an error of the statement that asks for it, and is tried again.
const HEAP: i64 = 2 << 30;

/// What it may have in memory for a guest's statement to run: the rest is the journal's, which
/// takes nothing in without it.
pub(super) const FOR_GUESTS: i64 = HEAP / 2;

/// What it may have in memory for a statement to be kept: what is kept is nobody's to give back.
const FOR_KEEPING: i64 = HEAP / 4;

/// Functions that no guest has: one runs code of its own, one makes more of a text than there is
/// memory for, and the others take time with the square of what they are given, in one step that
/// nothing can stop.
const REFUSED: [&str; 5] = ["json_patch", "json_pretty", "jsonb_patch", "load_extension", "snippet"];

/// Pragmas that only tell something.
const PRAGMAS: [&str; 8] = [
    "foreign_key_list",
    "function_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "table_info",
    "table_list",
    "table_xinfo",
];

pub(super) fn set_up(open: &Open, busy: Duration) -> Result<(), SqlError> {
    let connection = &open.connection;
    let configure = || {
        connection.busy_timeout(busy)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
        connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, LONGEST)?;
        connection.pragma_update(None, "hard_heap_limit", HEAP)?;
        sqlite_functions::define(connection, &open.cancelled)?;
        let (cancelled, host, memory) = (Arc::clone(&open.cancelled), Arc::clone(&open.host), open.memory);
        let is_over = move || {
            cancelled.load(Ordering::Relaxed)
                || (!host.load(Ordering::Relaxed) && returner_sqlite_heap::used() > memory)
        };
        connection.progress_handler(STEPS, Some(is_over))?;
        let (host, judge) = (Arc::clone(&open.host), Arc::clone(&open.judge));
        connection.authorizer(Some(move |context: AuthContext<'_>| match host.load(Ordering::Relaxed) {
            true => Authorization::Allow,
            false if judge.allows(&context) => authorize(&context),
            false => Authorization::Deny,
        }))
    };
    configure().map_err(|error| error_of(&error))
}

/// What is kept of a statement was judged by other grants.
pub(super) fn judge_by(open: &Open, grants: Option<Arc<dyn TableGrants>>) {
    if open.judge.by(grants) {
        open.connection.flush_prepared_statement_cache();
    }
}

fn authorize(context: &AuthContext<'_>) -> Authorization {
    match context.action {
        AuthAction::Attach { .. }
        | AuthAction::Detach { .. }
        | AuthAction::Transaction { .. }
        | AuthAction::Savepoint { .. }
        // They would be there for the next user of the connection, before the real ones.
        | AuthAction::CreateTempIndex { .. }
        | AuthAction::CreateTempTable { .. }
        | AuthAction::CreateTempTrigger { .. }
        | AuthAction::CreateTempView { .. }
        | AuthAction::Unknown { .. } => Authorization::Deny,
        AuthAction::Function { function_name } if REFUSED.contains(&function_name) => Authorization::Deny,
        // The same by the name of their schema.
        AuthAction::CreateTable { .. }
        | AuthAction::CreateIndex { .. }
        | AuthAction::CreateTrigger { .. }
        | AuthAction::CreateView { .. }
        | AuthAction::CreateVtable { .. }
            if context.database_name == Some("temp") =>
        {
            Authorization::Deny
        }
        AuthAction::Pragma { pragma_name, .. } if !PRAGMAS.contains(&pragma_name) => Authorization::Deny,
        _ => Authorization::Allow,
    }
}

/// A statement of the host: BEGIN or COMMIT.
pub(super) fn control(open: &Open, statement: &str) -> Result<(), SqlError> {
    open.host.store(true, Ordering::Relaxed);
    let done = open.connection.execute_batch(statement);
    open.host.store(false, Ordering::Relaxed);
    done.map_err(|error| error_of(&error))
}

/// SQLite may have ended the transaction by itself.
pub(super) fn rollback(open: &Open) -> Result<(), SqlError> {
    if open.connection.is_autocommit() { Ok(()) } else { control(open, "ROLLBACK") }
}

pub(super) fn execute(open: &Open, statement: &str, params: Vec<SqlValue>) -> Result<u64, SqlError> {
    let mut prepared = prepare(open, statement, params)?;
    let mut run = || {
        if prepared.column_count() == 0 {
            return prepared.raw_execute();
        }
        // A query, or RETURNING: it is done when its rows are read.
        let mut rows = prepared.raw_query();
        let mut count = 0;
        while rows.next()?.is_some() {
            count += 1;
        }
        Ok(count)
    };
    let changed = run().map_err(|error| failed(open, &error))?;
    Ok(u64::try_from(changed).unwrap_or(u64::MAX))
}

pub(super) fn query(
    open: &Open,
    statement: &str,
    params: Vec<SqlValue>,
    bounds: AnswerBounds,
) -> Result<SqlRows, SqlError> {
    let mut prepared = prepare(open, statement, params)?;
    let columns: Vec<String> = prepared.column_names().into_iter().map(str::to_owned).collect();
    let mut answer = SqlRows { columns, rows: Vec::new() };
    let mut held = AnswerSize::within(bounds);
    let mut rows = prepared.raw_query();
    while let Some(row) = rows.next().map_err(|error| failed(open, &error))? {
        let mut values = Vec::with_capacity(answer.columns.len());
        for index in 0..answer.columns.len() {
            let found = row.get_ref(index).map_err(|error| error_of(&error))?;
            held.add_to_row(size(found))?;
            values.push(value(found));
        }
        held.add(0)?;
        answer.rows.push(values);
    }
    Ok(answer)
}

fn prepare<'a>(open: &'a Open, statement: &str, params: Vec<SqlValue>) -> Result<Prepared<'a>, SqlError> {
    sqlite_depth::check(&open.connection, statement)?;
    if returner_sqlite_heap::used() > open.memory {
        return Err(out_of_memory(open.memory));
    }
    open.judge.begin(statement);
    let is_kept = statement.len() <= KEPT && returner_sqlite_heap::used() <= FOR_KEEPING;
    let prepared = match is_kept {
        true => open.connection.prepare_cached(statement).map(Prepared::Kept),
        false => open.connection.prepare(statement).map(Prepared::Once),
    };
    let mut prepared = prepared.map_err(|error| failed(open, &error))?;
    let (given, wanted) = (params.len(), prepared.parameter_count());
    if given != wanted {
        let message = format!("the statement has {wanted} parameters, and {given} were given");
        return Err(SqlError::new(SqlErrorKind::Statement, message, false));
    }
    for (index, param) in params.into_iter().enumerate() {
        prepared.raw_bind_parameter(index + 1, param).map_err(|error| failed(open, &error))?;
    }
    Ok(prepared)
}

/// A prepared statement, which the connection keeps or not.
enum Prepared<'a> {
    Kept(CachedStatement<'a>),
    Once(Statement<'a>),
}

impl<'a> Deref for Prepared<'a> {
    type Target = Statement<'a>;

    fn deref(&self) -> &Statement<'a> {
        match self {
            Self::Kept(statement) => statement,
            Self::Once(statement) => statement,
        }
    }
}

impl<'a> DerefMut for Prepared<'a> {
    fn deref_mut(&mut self) -> &mut Statement<'a> {
        match self {
            Self::Kept(statement) => statement,
            Self::Once(statement) => statement,
        }
    }
}

/// The error of a guest's statement, which may have been ended for what is in memory, or refused by
/// its grants.
fn failed(open: &Open, error: &rusqlite::Error) -> SqlError {
    let is_ended = error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted);
    let is_cancelled = open.cancelled.load(Ordering::Relaxed);
    if is_ended && !is_cancelled {
        return out_of_memory(open.memory);
    }
    let error = error_of(error);
    match open.judge.refused() {
        Some(message) if error.kind == SqlErrorKind::Denied => SqlError { message, ..error },
        _ => error,
    }
}

impl ToSql for SqlValue {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Null => ToSqlOutput::Owned(Value::Null),
            Self::Boolean(value) => ToSqlOutput::Owned(Value::Integer(i64::from(*value))),
            Self::Integer(value) => ToSqlOutput::Owned(Value::Integer(*value)),
            Self::Float(value) => ToSqlOutput::Owned(Value::Real(*value)),
            Self::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Self::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
        })
    }
}

/// The bytes of a value, roughly, before it is copied.
fn size(value: ValueRef<'_>) -> usize {
    size_of::<SqlValue>()
        + match value {
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len(),
            ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => 8,
        }
}

fn value(value: ValueRef<'_>) -> SqlValue {
    match value {
        ValueRef::Null => SqlValue::Null,
        ValueRef::Integer(value) => SqlValue::Integer(value),
        ValueRef::Real(value) => SqlValue::Float(value),
        ValueRef::Blob(bytes) => SqlValue::Bytes(bytes.to_owned()),
        // SQLite does not see to it that a text is one.
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => SqlValue::Text(text.to_owned()),
            Err(_) => SqlValue::Bytes(bytes.to_owned()),
        },
    }
}
