//! SQL on a connection that the configuration names and grants.
//!
//! All statements of one call into the plugin run in one transaction, which the
//! host commits when the plugin answers `Ok`. Servers keep prepared statements by
//! their text, so a text that names a number of rows should have few sizes:
//! [`Insert`] and [`placeholders`] see to it.

use std::mem;

pub use crate::host::sql::{Error, Kind, Rows, Value, execute, query};

/// The most rows of one statement: a power of two.
const MAX_ROWS: usize = 1024;

/// The most bytes of values in one statement, unless one row alone has more. MySQL
/// takes 16 MiB by default, older ones 4 MiB or 1 MiB.
const MAX_BYTES: usize = 1_000_000;

/// SQLite takes this many parameters, MySQL 65,535.
const MAX_PARAMS: usize = 32_766;

/// Inserts any number of rows with few statements of few different texts: each has
/// a power of two of rows, and about a megabyte of values at most.
///
/// ```no_run
/// use returner_sdk::sql::Insert;
/// # fn main() -> Result<(), returner_sdk::sql::Error> {
/// let mut insert = Insert::new("db", "INSERT INTO t (a, b) VALUES");
/// for i in 0..1000 {
///     insert.row([i.into(), "text".into()])?;
/// }
/// assert_eq!(insert.finish()?, 1000);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "`finish` writes the last rows"]
pub struct Insert<'a, const COLUMNS: usize> {
    connection: &'a str,
    head: &'a str,
    tail: &'a str,
    params: Vec<Value>,
    bytes: usize,
    written: u64,
}

impl<'a, const COLUMNS: usize> Insert<'a, COLUMNS> {
    /// `head` is the statement up to its rows: `INSERT INTO t (a, b) VALUES`.
    pub fn new(connection: &'a str, head: &'a str) -> Self {
        Self { connection, head, tail: "", params: Vec::new(), bytes: 0, written: 0 }
    }

    /// What comes after the rows: `ON CONFLICT DO NOTHING`.
    pub fn ending(mut self, tail: &'a str) -> Self {
        self.tail = tail;
        self
    }

    /// Adds a row. Writes those before it once there are enough.
    ///
    /// # Errors
    /// The server's. What was written before is undone if the call into the plugin
    /// then fails.
    pub fn row(&mut self, row: [Value; COLUMNS]) -> Result<(), Error> {
        let bytes = row.iter().map(size).sum::<usize>();
        let full = self.params.len() == Self::max_rows() * COLUMNS;
        if full || self.bytes + bytes > MAX_BYTES {
            self.write()?;
        }
        self.bytes += bytes;
        self.params.extend(row);
        Ok(())
    }

    /// Writes the last rows; gives the number of rows that all statements changed.
    ///
    /// # Errors
    /// The server's.
    pub fn finish(mut self) -> Result<u64, Error> {
        self.write()?;
        Ok(self.written)
    }

    fn write(&mut self) -> Result<(), Error> {
        let params = mem::take(&mut self.params);
        self.bytes = 0;
        let mut rest = params.as_slice();
        while !rest.is_empty() {
            let rows = power_of_two(rest.len() / COLUMNS);
            let (some, others) = rest.split_at(rows * COLUMNS);
            self.written += execute(self.connection, &self.statement(rows), some)?;
            rest = others;
        }
        // Its room is used again.
        self.params = params;
        self.params.clear();
        Ok(())
    }

    fn statement(&self, rows: usize) -> String {
        let row = format!("({})", ["?"; COLUMNS].join(","));
        let rows = vec![row.as_str(); rows].join(",");
        format!("{} {rows} {}", self.head, self.tail)
    }

    const fn max_rows() -> usize {
        let allowed = power_of_two(MAX_PARAMS / COLUMNS);
        if allowed < MAX_ROWS { allowed } else { MAX_ROWS }
    }
}

/// The greatest power of two that is not more than a number, which is not 0.
const fn power_of_two(number: usize) -> usize {
    1 << number.ilog2()
}

/// The bytes of a value, roughly.
pub fn size(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::Null | Value::Boolean(_) | Value::Integer(_) | Value::Float(_) => 8,
    }
}

/// The parameters of `column IN (?, ?, ...)`, and their placeholders. The last value
/// is repeated up to a power of two, so that there are few different statements.
///
/// No values at all are one `NULL`, which nothing is equal to.
pub fn placeholders<T: Into<Value>>(values: impl IntoIterator<Item = T>) -> (String, Vec<Value>) {
    let mut params: Vec<Value> = values.into_iter().map(Into::into).collect();
    let last = params.last().cloned().unwrap_or(Value::Null);
    params.resize(params.len().next_power_of_two(), last);
    (vec!["?"; params.len()].join(","), params)
}

impl Value {
    /// The text of a text, or of bytes that are one: some servers call a long text
    /// binary.
    pub fn into_text(self) -> Option<String> {
        match self {
            Value::Text(text) => Some(text),
            Value::Bytes(bytes) => String::from_utf8(bytes).ok(),
            Value::Null | Value::Boolean(_) | Value::Integer(_) | Value::Float(_) => None,
        }
    }

    /// An integer, also where the server wrote it as text.
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            Value::Integer(number) => Some(*number),
            Value::Boolean(yes) => Some(i64::from(*yes)),
            Value::Text(text) => text.parse().ok(),
            Value::Null | Value::Float(_) | Value::Bytes(_) => None,
        }
    }
}

impl Rows {
    /// The rows of a query for texts only. What is no text is empty.
    pub fn into_texts<const COLUMNS: usize>(self) -> impl Iterator<Item = [String; COLUMNS]> {
        self.rows.into_iter().map(|row| {
            let mut values = row.into_iter();
            std::array::from_fn(|_| values.next().and_then(Value::into_text).unwrap_or_default())
        })
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<i32> for Value {
    fn from(number: i32) -> Self {
        Self::Integer(number.into())
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Integer(number.into())
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl From<bool> for Value {
    fn from(yes: bool) -> Self {
        Self::Boolean(yes)
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_names_its_rows() {
        let insert = Insert::<2>::new("db", "INSERT INTO t (a, b) VALUES").ending("ON CONFLICT DO NOTHING");
        assert_eq!(insert.statement(2), "INSERT INTO t (a, b) VALUES (?,?),(?,?) ON CONFLICT DO NOTHING");
    }

    #[test]
    fn rows_are_written_in_powers_of_two() {
        assert_eq!([1, 2, 3, 4, 237, 1024].map(power_of_two), [1, 2, 2, 4, 128, 1024]);
        assert_eq!(Insert::<6>::max_rows(), 1024);
        assert_eq!(Insert::<40>::max_rows(), 512);
    }

    #[test]
    fn lists_have_few_lengths() {
        let (text, params) = placeholders(["a", "b", "c"]);
        assert_eq!(text, "?,?,?,?");
        assert!(matches!(params.last(), Some(Value::Text(text)) if text == "c"));
        let (text, params) = placeholders(Vec::<String>::new());
        assert_eq!(text, "?");
        assert!(matches!(params[..], [Value::Null]));
    }
}
