//! What a plugin's statement does on MySQL and MariaDB, told by the words that it begins with.
//!
//! A statement that runs others (a block, a loop, a text) could end the host's transaction, or leave
//! on the connection what nobody has read. So one begins with a word of a list, none of which begins
//! such a statement or can be the label of one, and a plugin makes no stored programs.
//!
//! A guard rail as the others here: what somebody else has stored on the server runs unread.

use super::placeholders::quoted;
use super::statement::Effects;
use super::{SqlError, SqlErrorKind};

/// What leaves nothing on the connection, unless a function or a variable in it does.
const PASSING: [&str; 9] =
    ["DELETE", "INSERT", "REPLACE", "SELECT", "SHOW", "TABLE", "UPDATE", "VALUES", "WITH"];

/// What the server commits, and what was written before it.
/// <https://dev.mysql.com/doc/refman/8.4/en/implicit-commit.html>
const COMMITTING: [&str; 13] = [
    "ALTER", "ANALYZE", "CHECK", "CREATE", "DROP", "FLUSH", "GRANT", "LOCK", "OPTIMIZE", "RENAME", "REPAIR",
    "REVOKE", "TRUNCATE",
];

const OTHERS: [&str; 11] =
    ["CALL", "CHECKSUM", "DESC", "DESCRIBE", "DO", "EXPLAIN", "HANDLER", "LOAD", "SET", "UNLOCK", "USE"];

/// What certainly writes nothing. Some of EXPLAIN runs what it explains.
const READING: [&str; 6] = ["SELECT", "SET", "SHOW", "TABLE", "USE", "VALUES"];
const EXPLAINING: [&str; 3] = ["DESC", "DESCRIBE", "EXPLAIN"];

/// What CREATE makes, or begins with, that is no program. DEFINER may begin one.
const NO_PROGRAMS: [&str; 15] = [
    "ALGORITHM",
    "DATABASE",
    "FULLTEXT",
    "INDEX",
    "ROLE",
    "SCHEMA",
    "SEQUENCE",
    "SPATIAL",
    "SQL",
    "TABLE",
    "TEMPORARY",
    "UNIQUE",
    "USER",
    "VECTOR",
    "VIEW",
];

/// What a statement does.
///
/// # Errors
/// If it is not for plugins.
pub(super) fn effects(statement: &str) -> Result<Effects, SqlError> {
    if has_versioned_comment(statement) {
        return Err(refused(
            "a comment that begins with `/*!` or `/*M!` is not for plugins, for servers differ in what they run \
             of it: write what is in it, or leave it out; a value that has it goes as a parameter",
        ));
    }
    let beginning = Beginning::of(statement);
    beginning.check()?;
    let lower = statement.to_ascii_lowercase();
    // It would be called by statements that do not name it.
    if beginning.is(0, &["ALTER", "CREATE"]) && calls_what_leaves_a_mark(&lower) {
        return Err(refused("GET_LOCK and LAST_INSERT_ID with a value are no part of what a plugin makes"));
    }
    let explains = beginning.is(0, &EXPLAINING);
    Ok(Effects {
        commits: beginning.commits(),
        locks: beginning.is(0, &["LOCK"]),
        writes: if explains { lower.contains("analyze") } else { !beginning.is(0, &READING) },
        marks: !beginning.is(0, &PASSING) || may_leave_a_mark(&lower),
    })
}

/// The first words and signs of a statement, behind its brackets.
struct Beginning<'a>(Vec<&'a str>);

impl<'a> Beginning<'a> {
    fn of(statement: &'a str) -> Self {
        Self(Words(statement).skip_while(|word| *word == "(").take(5).collect())
    }

    /// Whether one of these words stands at a place.
    fn is(&self, place: usize, sought: &[&str]) -> bool {
        self.0.get(place).is_some_and(|word| sought.iter().any(|one| word.eq_ignore_ascii_case(one)))
    }

    /// Where CREATE says what it makes.
    fn made(&self) -> usize {
        if self.is(1, &["OR"]) && self.is(2, &["REPLACE"]) { 3 } else { 1 }
    }

    fn check(&self) -> Result<(), SqlError> {
        if self.is(0, &["DEALLOCATE", "EXECUTE", "PREPARE"]) {
            return Err(refused(
                "PREPARE and EXECUTE are not for plugins: send the statement itself, and its values as \
                 parameters; the host keeps it prepared",
            ));
        }
        if ![&PASSING[..], &COMMITTING, &OTHERS].iter().any(|known| self.is(0, known)) {
            return Err(refused(
                "a plugin's statement begins with a word such as SELECT, INSERT or CREATE. Blocks, conditions and \
                 loops (BEGIN NOT ATOMIC, IF, CASE, LOOP) are not for plugins: decide in the plugin, and send \
                 one statement after the other",
            ));
        }
        if self.is(0, &["SHOW"])
            && (self.is(1, &["GRANTS"]) || self.is(1, &["CREATE"]) && self.is(2, &["USER"]))
        {
            let message = "SHOW GRANTS and SHOW CREATE USER are not for plugins: they may tell the hash of the \
                           host's own password";
            return Err(SqlError::new(SqlErrorKind::Denied, message, false));
        }
        if self.is(0, &["CREATE"]) && !self.is(self.made(), &NO_PROGRAMS) {
            return Err(refused(
                "a plugin makes no stored programs (procedures, functions, triggers, events), and nothing with \
                 DEFINER in front: nobody reads what they run. Who administers the server can make them",
            ));
        }
        if self.is(0, &["SET"]) && self.is(1, &["STATEMENT"]) {
            return Err(refused("SET STATEMENT runs another statement: send SET, and then that one"));
        }
        if self.is(0, &["LOAD"]) && !self.is(1, &["DATA", "XML"]) {
            return Err(refused("of LOAD only LOAD DATA and LOAD XML are for plugins"));
        }
        Ok(())
    }

    fn commits(&self) -> bool {
        if self.is(0, &["CREATE", "DROP"]) {
            // A temporary sequence commits as any other.
            let made = self.made();
            return !(self.is(made, &["TEMPORARY"]) && self.is(made + 1, &["TABLE", "TABLES"]));
        }
        if self.is(0, &["ANALYZE"]) {
            // MariaDB's other one runs a statement, and tells how.
            return self.is(1, &["LOCAL", "NO_WRITE_TO_BINLOG", "TABLE", "TABLES"]);
        }
        self.is(0, &COMMITTING) || self.is(0, &["SET"]) && self.is(1, &["DEFAULT", "PASSWORD"])
    }
}

fn refused(message: &str) -> SqlError {
    SqlError::new(SqlErrorKind::Statement, message, false)
}

/// Whether a statement, in lower case, may leave something by a variable or a function. Some servers
/// take other letters for those of a name.
fn may_leave_a_mark(lower: &str) -> bool {
    lower.contains('@') || !lower.is_ascii() || calls_what_leaves_a_mark(lower)
}

fn calls_what_leaves_a_mark(lower: &str) -> bool {
    const TELLS: &str = "last_insert_id";
    // With a value it sets what it tells.
    let sets = |at: usize| {
        let mut behind = Words(&lower[at + TELLS.len()..]);
        behind.next() != Some("(") || behind.next() != Some(")")
    };
    lower.contains("get_lock") || lower.match_indices(TELLS).any(|(at, _)| sets(at))
}

/// Whether there is a comment, outside of quoted texts, of which one server runs what another
/// leaves out.
fn has_versioned_comment(statement: &str) -> bool {
    if !["/*!", "/*M!"].iter().any(|mark| statement.contains(mark)) {
        return false;
    }
    // With these it hangs on the session's mode and character set, or on the server, what is quoted.
    if !statement.is_ascii() || ["\\", "/*+"].iter().any(|unclear| statement.contains(unclear)) {
        return true;
    }
    let mut rest = statement;
    while let Some(sign) = rest.chars().next() {
        if rest.starts_with("/*!") || rest.starts_with("/*M!") {
            return true;
        }
        let length = match sign {
            '\'' | '"' | '`' => quoted(rest, sign, false),
            _ => comment(rest).unwrap_or(1),
        };
        rest = &rest[length..];
    }
    false
}

/// The words and signs of a text, without space and comments. What is quoted is not kept together.
struct Words<'a>(&'a str);

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        loop {
            self.0 = self.0.trim_start_matches(is_space);
            let Some(length) = comment(self.0) else { break };
            self.0 = &self.0[length..];
        }
        let sign = self.0.chars().next()?.len_utf8();
        let word = self.0.find(|c| !is_of_word(c)).unwrap_or(self.0.len());
        let (next, rest) = self.0.split_at(word.max(sign));
        self.0 = rest;
        Some(next)
    }
}

/// The length of the comment that a text begins with.
fn comment(text: &str) -> Option<usize> {
    let length = |end: Option<usize>, mark: usize| end.map_or(text.len(), |at| at + mark);
    // Two hyphens are one before a space only.
    let is_line = |rest: &str| rest.chars().next().is_none_or(|c| is_space(c) || c.is_ascii_control());
    if text.starts_with('#') || text.strip_prefix("--").is_some_and(is_line) {
        return Some(length(text.find('\n'), 1));
    }
    let inside = text.strip_prefix("/*")?;
    Some(length(inside.find("*/"), "/**/".len()))
}

/// Space as the servers know it, which takes others for letters.
fn is_space(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\x0b'
}

fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()
}

#[cfg(test)]
#[path = "mysql_statement_tests.rs"]
mod tests;
