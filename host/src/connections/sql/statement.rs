//! What the first word of a statement tells.
//!
//! A guard rail against mistakes, not a boundary: what a plugin may do on a server
//! is decided by the rights of the connection's user.

use super::{SqlError, SqlErrorKind};

const TRANSACTION: [&str; 9] =
    ["ABORT", "BEGIN", "COMMIT", "END", "RELEASE", "ROLLBACK", "SAVEPOINT", "START", "XA"];

const SESSION: [&str; 16] = [
    "CALL", "CREATE", "DECLARE", "DISCARD", "DO", "EXECUTE", "FLUSH", "HANDLER", "LISTEN", "LOAD", "LOCK",
    "PREPARE", "RESET", "SET", "UNLOCK", "USE",
];

const READING: [&str; 6] = ["DESCRIBE", "EXPLAIN", "PRAGMA", "SELECT", "SHOW", "VALUES"];

/// The host begins and ends transactions.
pub(super) fn refuse_transaction_control(statement: &str) -> Result<(), SqlError> {
    let word = first_word(statement, &TRANSACTION).or_else(|| prepares_a_commit(statement));
    let Some(word) = word.or_else(|| sets_autocommit(statement)) else { return Ok(()) };
    let message =
        format!("{word} is not for plugins: the host begins the transaction, and commits when a call is ok");
    Err(SqlError::new(SqlErrorKind::Statement, message, false))
}

/// What ends MySQL's transaction when it is set.
fn sets_autocommit(statement: &str) -> Option<&'static str> {
    let sets = first_word(statement, &["SET"]).is_some();
    (sets && statement.to_ascii_lowercase().contains("autocommit")).then_some("SET autocommit")
}

/// PostgreSQL's first half of a commit in two phases, which takes the transaction away.
fn prepares_a_commit(statement: &str) -> Option<&'static str> {
    let prepares = |nested| {
        let statement = after_comments(statement, nested);
        let rest = &statement[word_of(statement, &["PREPARE"])?.len()..];
        word_of(after_comments(rest, nested), &["TRANSACTION"])
    };
    prepares(false).or_else(|| prepares(true)).map(|_| "PREPARE TRANSACTION")
}

/// Whether MySQL commits before it, and it itself. What is temporary is not committed.
/// <https://dev.mysql.com/doc/refman/8.4/en/implicit-commit.html>
pub(super) fn mysql_commits(statement: &str) -> bool {
    const COMMITTING: [&str; 14] = [
        "ALTER", "ANALYZE", "CACHE", "CHECK", "CREATE", "DROP", "FLUSH", "GRANT", "LOCK", "OPTIMIZE",
        "RENAME", "REPAIR", "REVOKE", "TRUNCATE",
    ];
    let commits = |nested| {
        let statement = after_comments(statement, nested);
        let Some(word) = word_of(statement, &COMMITTING) else { return false };
        let next = |text, words: &[&'static str]| {
            let text: &str = after_comments(text, nested);
            word_of(text, words).map(|word| &text[word.len()..])
        };
        let rest = &statement[word.len()..];
        let rest = next(rest, &["OR"]).and_then(|rest| next(rest, &["REPLACE"])).unwrap_or(rest);
        match word {
            "CREATE" | "DROP" => next(rest, &["TEMPORARY"]).is_none(),
            // MariaDB's other one runs a statement, and tells how.
            "ANALYZE" => next(rest, &["LOCAL", "NO", "TABLE"]).is_some(),
            _ => true,
        }
    };
    commits(false) || commits(true)
}

/// Whether it is MySQL's LOCK TABLES: the next transaction lets go of what it locks, and nothing
/// under it is one.
pub(super) fn locks_tables(statement: &str) -> bool {
    first_word(statement, &["LOCK"]).is_some()
}

/// Whether it speaks another protocol from here on: PostgreSQL's COPY.
pub(super) fn copies(statement: &str) -> bool {
    first_word(statement, &["COPY"]).is_some()
}

/// Whether it may leave its mark on the connection (a variable, a lock, a temporary
/// table), which the next user of the connection must not see. Any statement can by its
/// functions; PostgreSQL takes their names in signs, too (`U&"..."`).
pub(super) fn changes_session(statement: &str) -> bool {
    const IN_ALL: [&str; 5] = [":=", "advisory", "get_lock", "set_config", "u&\""];
    let lower = statement.to_ascii_lowercase();
    let is_query = first_word(statement, &["SELECT", "TABLE", "VALUES", "WITH"]).is_some();
    // Of what changes rows, INTO is a part.
    first_word(statement, &SESSION).is_some()
        || IN_ALL.iter().any(|mark| lower.contains(mark))
        || (is_query && lower.contains("into"))
}

/// Whether it certainly writes nothing.
pub(super) fn only_reads(statement: &str) -> bool {
    [false, true].iter().all(|&nested| word_of(after_comments(statement, nested), &READING).is_some())
}

/// Whether it may write something that a commit keeps.
pub(super) fn may_write(statement: &str) -> bool {
    let sets = first_word(statement, &["SET", "USE"]).is_some();
    // MariaDB's SET STATEMENT runs another one.
    !only_reads(statement) && (!sets || statement.to_ascii_lowercase().contains("statement"))
}

/// The word of a list that a statement begins with, for one server or another: PostgreSQL's
/// comments stand in each other, MySQL's do not.
fn first_word(statement: &str, words: &[&'static str]) -> Option<&'static str> {
    [false, true].iter().find_map(|&nested| word_of(after_comments(statement, nested), words))
}

fn word_of(statement: &str, words: &[&'static str]) -> Option<&'static str> {
    let end = statement.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(statement.len());
    words.iter().find(|word| statement[..end].eq_ignore_ascii_case(word)).copied()
}

/// The last byte of the comment that a text begins with.
fn end_of_comment(statement: &str, nested: bool) -> Option<usize> {
    let (mut depth, mut at) = (0, 0);
    loop {
        let found = at + statement[at..].find(['*', '/'])?;
        let two = statement.get(found..found + 2);
        match two {
            Some("/*") if nested || depth == 0 => depth += 1,
            Some("*/") => depth -= 1,
            _ => {
                at = found + 1;
                continue;
            }
        }
        if depth == 0 {
            return Some(found + 1);
        }
        at = found + 2;
    }
}

fn after_comments(mut statement: &str, nested: bool) -> &str {
    loop {
        statement = statement.trim_start_matches(|c: char| c.is_whitespace() || c == ';' || c == '(');
        let end = if statement.starts_with("--") || statement.starts_with('#') {
            statement.find('\n')
        } else if statement.starts_with("/*!") || statement.starts_with("/*M!") {
            // MySQL runs what is in such a comment, after an optional version.
            let inside = statement.trim_start_matches(|c: char| !c.is_ascii_alphabetic() || c == 'M');
            return inside;
        } else if statement.starts_with("/*") {
            end_of_comment(statement, nested)
        } else {
            return statement;
        };
        statement = end.map_or("", |end| &statement[end + 1..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_are_the_hosts() {
        for statement in [
            "BEGIN",
            " commit ",
            "-- x\n/* y */ Rollback",
            "start transaction",
            "/*!50000 COMMIT */",
            "xa start 'a'",
            "prepare /* x */ transaction 'a'",
            "/* /* */ */ RELEASE SAVEPOINT statement",
            "/* /* */ COMMIT",
            "/*/ */ COMMIT",
            "set @@session.AutoCommit = 1",
        ] {
            assert!(refuse_transaction_control(statement).is_err(), "{statement}");
        }
        for statement in [
            "INSERT INTO begin VALUES (1)",
            "SELECT 'commit'",
            "beginning",
            "",
            "/* unfinished",
            "-- only",
            "PREPARE x AS SELECT 1",
        ] {
            assert!(refuse_transaction_control(statement).is_ok(), "{statement}");
        }
    }

    #[test]
    fn reading_is_told_from_writing() {
        assert!(only_reads("(select 1) union (select 2)"));
        assert!(!only_reads("WITH x AS (SELECT 1) DELETE FROM t"));
        assert!(!only_reads("INSERT INTO t SELECT 1"));
        assert!(changes_session("set names latin1"));
        assert!(!changes_session("SELECT 1"));
        assert!(
            changes_session("select SET_CONFIG('search_path', 'x', false)") && changes_session("DO $$ $$")
        );
        for statement in [
            "INSERT INTO t SELECT pg_advisory_lock(1)",
            "UPDATE t SET a = (@leak := 42)",
            "DELETE FROM t WHERE set_config('role', 'x', false) = ''",
            "EXPLAIN ANALYZE SELECT pg_advisory_lock(1)",
            "ANALYZE SELECT Get_Lock('a', 1)",
            "INSERT INTO t SELECT U&\"set\\005fconfig\"('role', 'x', false)",
        ] {
            assert!(changes_session(statement), "{statement}");
        }
        assert!(!changes_session("INSERT INTO t (a) VALUES (?)"));
        assert!(!only_reads("/* /* */ SELECT */ DELETE FROM t"));
        assert!(
            may_write("INSERT INTO t VALUES (1)")
                && !may_write("set names utf8mb4")
                && !may_write("SELECT 1")
        );
    }

    #[test]
    fn what_mysql_commits_is_told() {
        for statement in [
            "create table t (a int)",
            "/* x */ TRUNCATE t",
            "/*!50000 ALTER TABLE t ADD b INT */",
            "DROP TABLE t",
        ] {
            assert!(mysql_commits(statement), "{statement}");
        }
        for statement in [
            "INSERT INTO t VALUES (1)",
            "CREATE TEMPORARY TABLE t (a int)",
            "drop /* x */ temporary table t",
            "SELECT 1",
            "CREATE OR REPLACE TEMPORARY TABLE t (a int)",
            "ANALYZE SELECT 1",
            "",
            "/* /* */ -- */",
        ] {
            assert!(!mysql_commits(statement), "{statement}");
        }
    }
}
