//! A database of SQLite, which needs no server.

use std::path::PathBuf;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Connection, FromRow};

use crate::directory::Directory;

/// A database file of one test.
#[derive(Debug)]
pub struct SqliteDatabase {
    file: PathBuf,
    /// None for a file of somebody else.
    _directory: Option<Directory>,
}

impl SqliteDatabase {
    /// A file that does not exist yet.
    ///
    /// # Panics
    ///
    /// If its directory cannot be made.
    #[must_use]
    pub fn new() -> Self {
        let directory = Directory::new("sqlite");
        Self { file: directory.path().join("salt.db"), _directory: Some(directory) }
    }

    /// A file that somebody else has made, such as the host's journal.
    #[must_use]
    pub fn of_file(file: PathBuf) -> Self {
        Self { file, _directory: None }
    }

    /// Salt's lines of configuration for it.
    #[must_use]
    pub fn config(&self) -> String {
        self.options().iter().map(|(key, value)| format!("sqlite3.{key}: '{value}'\n")).collect()
    }

    /// Salt's options for it, without the name of the returner.
    #[must_use]
    pub fn options(&self) -> Vec<(&'static str, String)> {
        vec![("database", self.file.display().to_string()), ("timeout", "5.0".to_owned())]
    }

    /// Has the database refuse returns of the minion `bad`, until the trigger `refuses` is dropped.
    ///
    /// # Panics
    ///
    /// If the table is not there yet.
    pub async fn refuse_bad(&self) {
        self.execute(
            "CREATE TRIGGER refuses BEFORE INSERT ON salt_returns WHEN NEW.id = 'bad' \
             BEGIN SELECT RAISE(ABORT, 'not this one'); END",
        )
        .await;
    }

    /// Runs statements that give no rows; makes the file if it is not there.
    ///
    /// # Panics
    ///
    /// If one fails.
    pub async fn execute(&self, statements: &str) {
        let done = async {
            let mut connection = self.connect().await?;
            sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut connection).await?;
            connection.close().await
        };
        if let Err(error) = done.await {
            panic!("{statements}: {error}");
        }
    }

    /// The rows of a query.
    ///
    /// # Panics
    ///
    /// If it fails.
    pub async fn rows<R>(&self, query: &str) -> Vec<R>
    where
        R: for<'r> FromRow<'r, SqliteRow> + Send + Unpin,
    {
        let rows = async {
            let mut connection = self.connect().await?;
            let rows = sqlx::query_as(AssertSqlSafe(query)).fetch_all(&mut connection).await?;
            connection.close().await?;
            Ok::<_, sqlx::Error>(rows)
        };
        rows.await.unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    /// How many rows a table has, or a part of it: `salt_returns WHERE jid = '1'`.
    ///
    /// # Panics
    ///
    /// If there is no such table.
    pub async fn count(&self, table: &str) -> i64 {
        let rows: Vec<(i64,)> = self.rows(&format!("SELECT COUNT(*) FROM {table}")).await;
        rows.first().map_or(0, |(count,)| *count)
    }

    /// A connection that keeps everybody else from writing, until it is dropped.
    ///
    /// # Panics
    ///
    /// If another one writes already.
    pub async fn locked(&self) -> SqliteConnection {
        // Others read meanwhile.
        self.execute("PRAGMA journal_mode = WAL").await;
        let locked = async {
            let mut connection = self.connect().await?;
            sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut connection).await?;
            Ok::<_, sqlx::Error>(connection)
        };
        locked.await.unwrap_or_else(|error| panic!("no lock: {error}"))
    }

    async fn connect(&self) -> Result<SqliteConnection, sqlx::Error> {
        let options = SqliteConnectOptions::new().filename(&self.file).create_if_missing(true);
        SqliteConnection::connect_with(&options).await
    }
}

impl Default for SqliteDatabase {
    fn default() -> Self {
        Self::new()
    }
}
