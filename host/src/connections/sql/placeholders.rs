//! `?` for a statement's parameters, as the contract has it, in PostgreSQL's own way.
//!
//! A `?` that is an operator of PostgreSQL's (`jsonb ? text`) is written `??`, as JDBC has
//! it (<https://jdbc.postgresql.org/documentation/query/#using-the-statement-or-preparedstatement-interface>).
//! What is quoted is left as it is: texts, names, `$tag$` texts and comments.

/// The statement with `$1`, `$2` and so on.
pub(crate) fn numbered(statement: &str) -> String {
    let mut written = String::with_capacity(statement.len() + 16);
    let (mut rest, mut number) = (statement, 0);
    while let Some(c) = rest.chars().next() {
        let length = match c {
            '?' if rest.starts_with("??") => {
                written.push('?');
                rest = &rest[2..];
                continue;
            }
            '?' => {
                number += 1;
                written.push_str(&format!("${number}"));
                rest = &rest[1..];
                continue;
            }
            '\'' => quoted(rest, '\'', ends_with_escape_mark(&written)),
            '"' => quoted(rest, '"', false),
            '$' if !ends_in_a_name(&written) => dollar_quoted(rest),
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => comment(rest),
            _ => c.len_utf8(),
        };
        let (part, after) = rest.split_at(length);
        written.push_str(part);
        rest = after;
    }
    written
}

/// The length of what begins with a quote; a doubled one is part of it, and so is one after a
/// backslash in an `E''` text.
pub(super) fn quoted(text: &str, quote: char, backslashes: bool) -> usize {
    let mut signs = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = signs.next() {
        if c == '\\' && backslashes {
            signs.next();
        } else if c == quote && signs.next_if(|(_, next)| *next == quote).is_none() {
            return at + c.len_utf8();
        }
    }
    text.len()
}

/// Whether an `E` stands there that makes the next text one with backslashes.
fn ends_with_escape_mark(written: &str) -> bool {
    written.strip_suffix(['e', 'E']).is_some_and(|before| !ends_in_a_name(before))
}

fn ends_in_a_name(written: &str) -> bool {
    written.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$' || !c.is_ascii())
}

/// The length of `$tag$ ... $tag$`, or of the `$` alone.
fn dollar_quoted(text: &str) -> usize {
    let tag = |c: char| c.is_alphanumeric() || c == '_' || !c.is_ascii();
    let Some(end) = text[1..].find(|c| !tag(c)).map(|at| at + 1) else { return 1 };
    if !text[end..].starts_with('$') || text[1..].starts_with(|c: char| c.is_ascii_digit()) {
        return 1;
    }
    let mark = &text[..=end];
    text[mark.len()..].find(mark).map_or(text.len(), |at| mark.len() + at + mark.len())
}

/// The length of a comment; there may be others in it.
fn comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_numbered() {
        assert_eq!(
            numbered("INSERT INTO t VALUES (?, ?), (?, ?)"),
            "INSERT INTO t VALUES ($1, $2), ($3, $4)"
        );
        assert_eq!(numbered("SELECT ?::jsonb ?? 'a', doc ??| ?"), "SELECT $1::jsonb ? 'a', doc ?| $2");
        assert_eq!(numbered(""), "");
    }

    #[test]
    fn what_is_quoted_is_left_alone() {
        for quoted in [
            "'what?'",
            "'it''s ?'",
            "E'it\\'s ?'",
            "e'\\\\'",
            "\"a ? \"\"b?\"",
            "$$ ? $ ? $$",
            "$t1$ ? $$ ? $t1$",
            "-- what?\n",
            "/* what? /* ? */ ? */",
            "'schön ?'",
        ] {
            assert_eq!(numbered(&format!("SELECT {quoted} ?")), format!("SELECT {quoted} $1"), "{quoted}");
        }
        // A backslash is a sign like others in an ordinary text, and an `e` may end a name.
        assert_eq!(numbered("SELECT '\\' ?"), "SELECT '\\' $1");
        assert_eq!(numbered("SELECT date'\\' ?"), "SELECT date'\\' $1");
        assert_eq!(numbered("SELECT a$b, $1, 2 - ?"), "SELECT a$b, $1, 2 - $1");
    }

    #[test]
    fn what_does_not_end_is_left_as_it_is() {
        for statement in ["SELECT '?", "SELECT \"?", "SELECT $$?", "SELECT $a$?", "/* ?", "-- ?", "$", "E'\\"]
        {
            assert_eq!(numbered(statement), statement);
        }
    }
}
