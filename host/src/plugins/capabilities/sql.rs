//! `sql`: statements on a granted connection, in the transaction of the call.
//!
//! The transaction begins with the call's first statement on a connection and is
//! ended by the instance, never by the guest.

use crate::connections::{Connection, Hazards, SqlError, SqlErrorKind, SqlRows, SqlTransaction, SqlValue};
use crate::plugins::asked::{Asked, CallFailure, Fault};
use crate::plugins::contract::v0_1::salt::returner::sql::{Error, Host, Kind, Rows, Value};
use crate::plugins::narrow::{Reached, reached};
use crate::plugins::state::GuestState;
use crate::plugins::trial::is_beyond_rollback;

impl Host for GuestState {
    async fn execute(
        &mut self,
        connection: String,
        statement: String,
        params: Vec<Value>,
    ) -> wasmtime::Result<Result<u64, Error>> {
        let params: Vec<SqlValue> = params.into_iter().map(SqlValue::from).collect();
        let asked = self.asked(|| asked("execute", &connection, &statement, &params));
        let work = async |state: &mut Self| {
            let transaction = state.transaction(&connection, &statement, &params).await?;
            transaction.execute(statement, params).await.map_err(Error::from)
        };
        Ok(self.answer(asked, work, |changed| format!("{changed} rows changed")).await)
    }

    async fn query(
        &mut self,
        connection: String,
        statement: String,
        params: Vec<Value>,
    ) -> wasmtime::Result<Result<Rows, Error>> {
        let params: Vec<SqlValue> = params.into_iter().map(SqlValue::from).collect();
        let asked = self.asked(|| asked("query", &connection, &statement, &params));
        let work = async |state: &mut Self| {
            let bounds = state.grants.answer();
            let transaction = state.transaction(&connection, &statement, &params).await?;
            transaction.query(statement, params, bounds).await.map_err(Error::from)
        };
        let told = |found: &SqlRows| {
            let rows = found.rows.iter().map(|row| format!("({})", shown(row).join(", ")));
            format!("{} rows {}", found.rows.len(), rows.collect::<Vec<_>>().join(" "))
        };
        let result = self.answer(asked, work, told).await;
        Ok(result.map(|rows| Rows {
            columns: rows.columns,
            rows: rows.rows.into_iter().map(|row| row.into_iter().map(Value::from).collect()).collect(),
        }))
    }
}

impl GuestState {
    /// The call's transaction on a connection, for a statement that is granted; the first
    /// one begins it.
    async fn transaction(
        &mut self,
        name: &str,
        statement: &str,
        params: &[SqlValue],
    ) -> Result<&mut SqlTransaction, Error> {
        let sizes = params.iter().map(SqlValue::size).chain([statement.len()]);
        self.fits(sizes).map_err(|message| Error { kind: Kind::Data, ..denied(message) })?;
        self.narrowed_statement(name, statement).await.map_err(denied)?;
        let reached = if self.is_trial() { self.reached(name, statement).await? } else { None };
        if !self.transactions.contains_key(name) {
            let connection = self.connection(name).map_err(denied)?;
            let Connection::Sql(pool) = &*connection else {
                return Err(denied(Self::wrong_kind(name, &connection, "sql")));
            };
            let tables = self.grants.narrowed.get(name).and_then(|narrowed| narrowed.tables());
            let transaction = pool.begin_within(self.purpose, tables).await?;
            self.transactions.insert(name.to_owned(), transaction);
        }
        let transaction = self.transactions.get_mut(name);
        let transaction =
            transaction.ok_or_else(|| denied(format!("the connection `{name}` has no transaction")))?;
        if let Some(reached) = reached {
            let hazard = hazard(&reached, &transaction.hazards().await?);
            hazard.map_or(Ok(()), |hazard| Err(denied(format!("this is a trial, and {hazard}"))))?;
        }
        Ok(transaction)
    }

    /// What a statement reaches in a trial, where some of it may keep what is rolled back. Of
    /// SQLite none does, and no function reaches beyond its transaction.
    async fn reached(&mut self, name: &str, statement: &str) -> Result<Option<Reached>, Error> {
        if is_beyond_rollback(statement) {
            return Err(denied("this is a trial, and the statement could not be rolled back".to_owned()));
        }
        let connection = self.connection(name).map_err(denied)?;
        if !matches!(connection.kind(), "mysql" | "postgres") {
            return Ok(None);
        }
        let reached = self.in_its_place(reached(connection.kind(), statement)).await;
        let unknown = |refused| format!("this is a trial, which has only what it can read: {refused}");
        reached.map(Some).map_err(|refused| denied(unknown(refused)))
    }
}

/// Why a statement may leave something behind in spite of a rollback.
fn hazard(reached: &Reached, hazards: &Hazards) -> Option<String> {
    let Hazards { changing, reading, calling, any } = hazards;
    let of = |tables: &[String], kept: &[String]| {
        let same = |kept: &&String| tables.iter().any(|table| is_same_name(table, kept));
        kept.iter().find(same).cloned()
    };
    if let Some(table) = of(&reached.changed, changing) {
        let why = "by its engine, or as a view or by a trigger, which lead elsewhere";
        return Some(format!("`{table}` may keep what is rolled back ({why})"));
    }
    if let Some(table) = of(&reached.changed, reading).or_else(|| of(&reached.read, reading)) {
        let why = "it is a view, or a default, a check, a policy, an index or a type of it has one";
        return Some(format!("`{table}` may run a function of the database's own ({why})"));
    }
    if let Some(name) = calling.iter().find(|name| reached.words.contains(*name)) {
        return Some(format!("`{name}` may be a function of the database's own"));
    }
    any.first().map(|any| format!("the database has {any}, which any statement may run"))
}

/// Whether two names may be one table's: some servers know no case.
fn is_same_name(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}

fn asked(what: &str, connection: &str, statement: &str, params: &[SqlValue]) -> Asked {
    Asked::one(format!("sql.{what} {connection}: {statement}"), shown(params))
}

/// Values for people.
fn shown(values: &[SqlValue]) -> Vec<String> {
    let value = |value: &SqlValue| match value {
        SqlValue::Null => "NULL".to_owned(),
        SqlValue::Boolean(value) => value.to_string(),
        SqlValue::Integer(value) => value.to_string(),
        SqlValue::Float(value) => value.to_string(),
        SqlValue::Text(text) => format!("{text:?}"),
        SqlValue::Bytes(bytes) => format!("x'{}'", hex::encode(bytes)),
    };
    values.iter().map(value).collect()
}

fn denied(message: String) -> Error {
    Error { kind: Kind::Denied, code: None, message, retryable: false }
}

impl CallFailure for Error {
    fn of(fault: Fault) -> Self {
        let kind = match fault {
            Fault::Away => Kind::Unavailable,
            Fault::Hangs => Kind::Timeout,
            Fault::Refuses | Fault::AnswersLater | Fault::AnswersNever => Kind::Other,
        };
        Self { kind, code: None, message: fault.message().to_owned(), retryable: fault.is_retryable() }
    }

    fn message(&self) -> &str {
        &self.message
    }
}

impl From<SqlError> for Error {
    fn from(error: SqlError) -> Self {
        let kind = match error.kind {
            SqlErrorKind::Unavailable => Kind::Unavailable,
            SqlErrorKind::Timeout => Kind::Timeout,
            SqlErrorKind::Denied => Kind::Denied,
            SqlErrorKind::Constraint => Kind::Constraint,
            SqlErrorKind::Data => Kind::Data,
            SqlErrorKind::Statement => Kind::Statement,
            SqlErrorKind::Other => Kind::Other,
        };
        Self { kind, code: error.code, message: error.message, retryable: error.retryable }
    }
}

impl From<Value> for SqlValue {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Boolean(value) => Self::Boolean(value),
            Value::Integer(value) => Self::Integer(value),
            Value::Float(value) => Self::Float(value),
            Value::Text(value) => Self::Text(value),
            Value::Bytes(value) => Self::Bytes(value),
        }
    }
}

impl From<SqlValue> for Value {
    fn from(value: SqlValue) -> Self {
        match value {
            SqlValue::Null => Self::Null,
            SqlValue::Boolean(value) => Self::Boolean(value),
            SqlValue::Integer(value) => Self::Integer(value),
            SqlValue::Float(value) => Self::Float(value),
            SqlValue::Text(value) => Self::Text(value),
            SqlValue::Bytes(value) => Self::Bytes(value),
        }
    }
}
