//! Each function that a narrowed grant lets through is the server's own, and stands in the manual.

use std::collections::BTreeSet;

use returner_servers::Mariadb;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, MySqlConnection};

use super::super::{Dialect, SqlRules};
use super::*;
use crate::config::Actions;

const ALL: [Dialect; 3] = [Dialect::Mysql, Dialect::Postgres, Dialect::Sqlite];

/// Written without brackets, or with words between them; or a window's.
const ODD: [&str; 6] = ["cast", "count", "current_date", "current_time", "current_timestamp", "row_number"];

fn plain(dialect: Dialect) -> impl Iterator<Item = &'static str> {
    names(dialect).split(' ').filter(|name| !ODD.contains(name))
}

#[test]
fn each_is_let_through() {
    for dialect in ALL {
        let rules = SqlRules::new(dialect, Actions::from([("t".to_owned(), ["select".to_owned()].into())]));
        for name in plain(dialect) {
            let arguments = if name.starts_with("substr") { "a, 1" } else { "a" };
            assert_eq!(rules.allows(&format!("SELECT {name}({arguments}) FROM t")), Ok(()), "{dialect:?}");
        }
        for unknown in ["sleep", "load_file", "load_extension", "pg_sleep", "benchmark", "mine", "repeat"] {
            let refused = rules.allows(&format!("SELECT {unknown}(a) FROM t")).expect_err(unknown);
            assert!(refused.to_string().contains(&format!("the function `{unknown}`")), "{refused}");
        }
    }
}

/// A name that it does not have is looked for among those that somebody has stored.
#[tokio::test]
async fn mariadb_has_each_itself() {
    let database = Mariadb::shared().await.database().await;
    let mut connection = MySqlConnection::connect(&database.url()).await.expect("it is there");
    connection.execute("CREATE TABLE t (a INT)").await.expect("a new table");
    for name in plain(Dialect::Mysql).chain(["no_such_function"]) {
        // What is wrong with it is the number of its arguments, or their kind.
        let asked = connection.execute(AssertSqlSafe(format!("SELECT {name}(1, a, 1, 1, 1) FROM t"))).await;
        let text = asked.err().map(|error| error.to_string()).unwrap_or_default();
        assert_eq!(text.contains("does not exist"), name == "no_such_function", "{name}: {text}");
    }
}

#[test]
fn sqlite_has_each_itself() {
    let connection = rusqlite::Connection::open_in_memory().expect("there is room");
    let mut asked =
        connection.prepare("SELECT name FROM pragma_function_list WHERE builtin").expect("a list");
    let all: BTreeSet<String> =
        asked.query_map([], |row| row.get(0)).expect("a list").map(|name| name.expect("a name")).collect();
    for name in plain(Dialect::Sqlite) {
        assert!(all.contains(name), "{name}");
    }
}

#[test]
fn each_stands_in_the_manual() {
    let manual = include_str!("../../../../CONFIGURATION.md");
    for (dialect, server) in ALL.into_iter().zip(["MySQL and MariaDB", "PostgreSQL", "SQLite"]) {
        let head = format!("| {server} | ");
        let line = manual.lines().find_map(|line| line.strip_prefix(&head)).expect(server);
        let told: Vec<&str> =
            line.trim_end_matches(" |").split(' ').map(|word| word.trim_matches('`')).collect();
        assert_eq!(told.join(" "), names(dialect), "`host/CONFIGURATION.md`, {server}");
    }
}
