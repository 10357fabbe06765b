//! What MySQL and MariaDB tell of accounts, the hashes of their passwords included: the host's
//! own is one of them.
//!
//! A guard rail as the others here: a procedure that somebody has stored can still ask.

use super::placeholders::quoted;
use super::{SqlError, SqlErrorKind};

const OF_ACCOUNTS: [&[&str]; 2] = [&["show", "grants"], &["show", "create", "user"]];

/// Refuses a statement that asks for accounts.
pub(super) fn refuse(statement: &str) -> Result<(), SqlError> {
    if !may_show(statement) {
        return Ok(());
    }
    // Whether a backslash is one in a text depends on the session's mode.
    let readings = [false, true].map(|backslashes| words(statement, backslashes));
    let asks = |asked: &&[&str]| readings.iter().any(|words| are_there(asked, words));
    let Some(asked) = OF_ACCOUNTS.into_iter().find(asks) else { return Ok(()) };
    let asked = asked.join(" ").to_uppercase();
    let message = format!("{asked} is not for plugins: it may tell the hash of the host's own password");
    Err(SqlError::new(SqlErrorKind::Denied, message, false))
}

/// Whether the word that all of them begin with may be in it: most statements are long, and many
/// a second, and not read for more.
fn may_show(statement: &str) -> bool {
    let (text, show) = (statement.as_bytes(), b"show");
    let from = |at: usize| text.get(at..at + show.len());
    memchr::memchr2_iter(b's', b'S', text)
        .any(|at| from(at).is_some_and(|word| word.eq_ignore_ascii_case(show)))
}

/// A word or sign of a statement.
struct Word {
    /// In lower case.
    text: String,
    /// It stands in a comment that a server may run, or leave out.
    is_optional: bool,
}

/// Whether these words stand one after the other, as some server reads them.
fn are_there(sought: &[&str], words: &[Word]) -> bool {
    // For each beginning of what is sought, whether what was read so far may end with it.
    let mut ends = vec![false; sought.len() + 1];
    for word in words {
        ends[0] = true;
        let mut next = if word.is_optional { ends.clone() } else { vec![false; ends.len()] };
        for (at, one) in sought.iter().enumerate() {
            next[at + 1] |= ends[at] && word.text == *one;
        }
        ends = next;
        if ends[sought.len()] {
            return true;
        }
    }
    false
}

/// The words and signs of a statement, without comments; a quoted text is one sign, unless it may
/// be a statement itself.
fn words(statement: &str, backslashes: bool) -> Vec<Word> {
    let (mut words, mut rest, mut is_optional) = (Vec::<Word>::new(), statement, false);
    let mut holds_statements = false;
    while let Some(sign) = rest.chars().next() {
        let line = || rest.find('\n').unwrap_or(rest.len());
        let (length, text) = match sign {
            '#' => (line(), None),
            '-' if is_comment(rest) => (line(), None),
            '/' if rest.starts_with("/*!") || rest.starts_with("/*M!") => {
                is_optional = true;
                let mark = rest.find('!').map_or(rest.len(), |at| at + 1);
                let version = rest[mark..].find(|c: char| !c.is_ascii_digit());
                (version.map_or(rest.len(), |length| mark + length), None)
            }
            '/' if rest.starts_with("/*") => {
                (rest[2..].find("*/").map_or(rest.len(), |end| end + "/**/".len()), None)
            }
            '*' if is_optional && rest.starts_with("*/") => {
                is_optional = false;
                (2, None)
            }
            '\'' | '"' | '`' if holds_statements => (1, None),
            '\'' | '"' | '`' => (quoted(rest, sign, backslashes), Some("'")),
            sign if is_of_word(sign) => {
                let end = rest.find(|c| !is_of_word(c)).unwrap_or(rest.len());
                (end, Some(&rest[..end]))
            }
            sign if sign.is_whitespace() || sign.is_control() => (sign.len_utf8(), None),
            sign => (sign.len_utf8(), Some(&rest[..sign.len_utf8()])),
        };
        let text = text.map(str::to_ascii_lowercase);
        holds_statements |= matches!(text.as_deref(), Some("execute" | "prepare"));
        words.extend(text.map(|text| Word { text, is_optional }));
        rest = &rest[length..];
    }
    words
}

/// Two hyphens and a space.
fn is_comment(text: &str) -> bool {
    let after = text.strip_prefix("--").map(|rest| rest.chars().next());
    after.is_some_and(|sign| sign.is_none_or(|sign| sign.is_whitespace() || sign.is_control()))
}

fn is_of_word(sign: char) -> bool {
    sign.is_ascii_alphanumeric() || sign == '_' || sign == '$' || !sign.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_not_for_plugins() {
        for statement in [
            "SHOW GRANTS",
            "show  grants FOR CURRENT_USER",
            "/* x */ SHOW/**/GRANTS",
            "SHOW -- x\nGRANTS",
            "SHOW # x\nCREATE\tUSER",
            "/*!50000 SHOW */ /*M!100100 GRANTS */",
            "SHOW /*!99999 TABLES */ GRANTS",
            "SHOW /*!99999 TABLES*/ CREATE /*! TABLE */ USER x",
            "IF 1 THEN SHOW GRANTS; END IF",
            "EXECUTE IMMEDIATE 'SHOW GRANTS'",
            "PREPARE s FROM \"show create user x\"",
            "SELECT '\\'; SHOW GRANTS; -- '",
        ] {
            assert!(refuse(statement).is_err(), "{statement}");
        }
        for statement in [
            "SHOW TABLES",
            "SHOW CREATE TABLE user",
            "SELECT `show`, grants FROM t",
            "SELECT show, grants FROM t",
            "INSERT INTO t VALUES ('show grants')",
            "SELECT 1 /* SHOW GRANTS */",
            "SELECT 1 # SHOW GRANTS",
            "SELECT 1--1",
            "/*! SHOW",
            "'",
            "",
        ] {
            assert!(refuse(statement).is_ok(), "{statement}");
        }
    }
}
