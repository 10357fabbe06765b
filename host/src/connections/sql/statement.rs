//! What the first word of a statement tells.
//!
//! A guard rail against mistakes, not a boundary: what a plugin may do on a server
//! is decided by the rights of the connection's user.

use super::{SqlError, SqlErrorKind};

const TRANSACTION: [&str; 9] =
    ["ABORT", "BEGIN", "COMMIT", "END", "RELEASE", "ROLLBACK", "SAVEPOINT", "START", "XA"];

const READING: [&str; 6] = ["DESCRIBE", "EXPLAIN", "PRAGMA", "SELECT", "SHOW", "VALUES"];

/// What a statement does to its transaction and to its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Effects {
    /// The server commits it, and what was written before it.
    pub(crate) commits: bool,
    /// It locks what the next transaction lets go of, and nothing under it is one.
    pub(crate) locks: bool,
    /// It may write something that a commit keeps.
    pub(crate) writes: bool,
    /// It may leave its mark on the connection (a variable, a lock, a temporary table), which the
    /// next user of the connection must not see.
    pub(crate) marks: bool,
}

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
    let prepares = |comments| {
        let statement = after_comments(statement, comments);
        let rest = &statement[word_of(statement, &["PREPARE"])?.len()..];
        word_of(after_comments(rest, comments), &["TRANSACTION"])
    };
    Comments::ALL.into_iter().find_map(prepares).map(|_| "PREPARE TRANSACTION")
}

/// Whether it speaks another protocol from here on: PostgreSQL's COPY.
pub(super) fn copies(statement: &str) -> bool {
    first_word(statement, &["COPY"]).is_some()
}

/// Whether it certainly writes nothing.
pub(super) fn only_reads(statement: &str) -> bool {
    let reads = |comments| word_of(after_comments(statement, comments), &READING).is_some();
    Comments::ALL.into_iter().all(reads)
}

/// Whose comments.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Comments {
    /// They stand in each other, and a carriage return ends a line.
    Postgres,
    Others,
}

impl Comments {
    const ALL: [Self; 2] = [Self::Others, Self::Postgres];
}

/// The word of a list that a statement begins with, for one server or another.
pub(super) fn first_word(statement: &str, words: &[&'static str]) -> Option<&'static str> {
    Comments::ALL.into_iter().find_map(|comments| word_of(after_comments(statement, comments), words))
}

fn word_of(statement: &str, words: &[&'static str]) -> Option<&'static str> {
    let end = statement.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(statement.len());
    words.iter().find(|word| statement[..end].eq_ignore_ascii_case(word)).copied()
}

/// The last byte of the comment that a text begins with.
fn end_of_comment(statement: &str, comments: Comments) -> Option<usize> {
    let (mut depth, mut at) = (0, 0);
    loop {
        let found = at + statement[at..].find(['*', '/'])?;
        let two = statement.get(found..found + 2);
        match two {
            Some("/*") if comments == Comments::Postgres || depth == 0 => depth += 1,
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

fn after_comments(mut statement: &str, comments: Comments) -> &str {
    let ends_line = |c: char| c == '\n' || c == '\r' && comments == Comments::Postgres;
    loop {
        statement = statement.trim_start_matches(|c: char| c.is_whitespace() || c == ';' || c == '(');
        let end = if statement.starts_with("--") || statement.starts_with('#') {
            statement.find(ends_line)
        } else if statement.starts_with("/*") {
            end_of_comment(statement, comments)
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
            "-- x\rCOMMIT",
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
        assert!(!only_reads("/* /* */ SELECT */ DELETE FROM t"));
    }
}
