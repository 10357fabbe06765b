//! The words and signs of a statement: those that all servers read alike, and all of them.

use sqlparser::tokenizer::{Token, Whitespace};

use super::{Dialect, Refused, refused};

/// The longest name that PostgreSQL does not cut, in bytes.
const NAME: usize = 63;

/// Refuses what one server reads otherwise than another, or than the parser.
pub(super) fn check(dialect: Dialect, statement: &str, tokens: &[Token]) -> Result<(), Refused> {
    tokens.iter().try_for_each(|token| check_token(dialect, token))?;
    check_signs(statement, tokens)?;
    check_whole(statement, tokens)
}

fn check_token(dialect: Dialect, token: &Token) -> Result<(), Refused> {
    match token {
        Token::Word(word) if dialect == Dialect::Postgres && word.value.len() > NAME => {
            Err(refused(&format!("a name of more than {NAME} bytes")))
        }
        Token::Word(word) => match word.quote_style {
            // MySQL's variables are words with signs before them.
            None if word.value.contains('@') => Err(refused("a variable")),
            // One that begins with a digit may be a number and a word: `1e1FROM`.
            None if !is_plain_word(&word.value) => Err(refused(&format!("the word `{}`", word.value))),
            None => Ok(()),
            Some('`') if dialect != Dialect::Postgres => Ok(()),
            Some('"') if dialect != Dialect::Mysql => Ok(()),
            Some(_) => Err(refused("a name in quotes or brackets that are not the server's")),
        },
        Token::Whitespace(Whitespace::SingleLineComment { .. } | Whitespace::MultiLineComment(_)) => {
            Err(refused("a comment"))
        }
        Token::Placeholder(text) if text == "?" && dialect != Dialect::Postgres => Ok(()),
        Token::Placeholder(text) if dialect == Dialect::Postgres && is_numbered(text) => Ok(()),
        // A cast.
        Token::DoubleColon if dialect == Dialect::Postgres => Ok(()),
        Token::EOF
        | Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::Comma
        | Token::Whitespace(_)
        | Token::Eq
        | Token::Neq
        | Token::Lt
        | Token::Gt
        | Token::LtEq
        | Token::GtEq
        | Token::Spaceship
        | Token::Plus
        | Token::Minus
        | Token::Mul
        | Token::Div
        | Token::Mod
        | Token::StringConcat
        | Token::LParen
        | Token::RParen
        | Token::Period
        | Token::Arrow
        | Token::LongArrow => Ok(()),
        other => Err(refused(&format!("`{other}`"))),
    }
}

fn is_numbered(placeholder: &str) -> bool {
    let number = placeholder.strip_prefix('$');
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit()))
}

fn is_plain_word(word: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    word.starts_with(is_letter) && word.chars().all(|c| is_letter(c) || c.is_ascii_digit())
}

/// Outside of texts and quoted names stands what can be seen, and spaces: SQLite takes a byte
/// order mark for a space, which the parser takes for a word. And where a number ends is no
/// question.
fn check_signs(statement: &str, tokens: &[Token]) -> Result<(), Refused> {
    let odd = |text: &str| text.chars().filter(|c| !matches!(c, ' '..='~' | '\t' | '\n' | '\r')).count();
    let quoted = |token: &Token| match token {
        Token::SingleQuotedString(text) => odd(text),
        Token::Word(word) if word.quote_style.is_some() => odd(&word.value),
        _ => 0,
    };
    if statement.contains('\0') || odd(statement) != tokens.iter().map(quoted).sum::<usize>() {
        return Err(refused("a sign that not every server reads alike"));
    }
    let runs_on = |pair: &[Token]| {
        matches!(pair, [Token::Number(..), Token::Word(_) | Token::Number(..) | Token::Period])
            || matches!(pair, [Token::Word(_), Token::Number(..)])
    };
    if tokens.windows(2).any(runs_on) { Err(refused("a number that runs into a word")) } else { Ok(()) }
}

/// The tokens, put together, are the statement. Of a comment that MySQL may run or not, by its
/// version (`/*!99999 audit AS */ secrets`), the tokenizer makes words and leaves out its marks.
fn check_whole(statement: &str, tokens: &[Token]) -> Result<(), Refused> {
    let quoted = |text: &str, quote: char| {
        let doubled = text.replace(quote, &format!("{quote}{quote}"));
        format!("{quote}{doubled}{quote}")
    };
    let written = |token: &Token| match token {
        Token::SingleQuotedString(text) => quoted(text, '\''),
        Token::Word(word) => match word.quote_style {
            Some(quote) => quoted(&word.value, quote),
            None => word.value.clone(),
        },
        other => other.to_string(),
    };
    // Two signs that are one operator, of which the parser knows one.
    let plain = |text: &str| text.replace("!=", "<>").split_ascii_whitespace().collect::<String>();
    if plain(&tokens.iter().map(written).collect::<String>()) == plain(statement) {
        Ok(())
    } else {
        Err(refused("a comment, or what is neither word nor sign"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::SqlRules;
    use super::*;
    use crate::config::{Actions, VERBS};

    /// MariaDB runs none of the versions from 50700 to 99999, and no server those above its own.
    #[test]
    fn what_a_server_may_leave_out_is_refused() {
        for dialect in [Dialect::Mysql, Dialect::Postgres, Dialect::Sqlite] {
            let verbs = VERBS.iter().map(|verb| (*verb).to_owned()).collect();
            let rules = SqlRules::new(dialect, Actions::from([("audit".to_owned(), verbs)]));
            for statement in [
                "SELECT a FROM /*!99999 (SELECT 1) AS */ secrets",
                "SELECT a FROM audit /*! */",
                "SELECT a FROM audit /*!50000 WHERE a = 1 */",
                "SELECT a FROM audit /*M!100000 WHERE a = 1 */",
                "INSERT INTO /*!99999 audit (item) SELECT 1 FROM (SELECT 1) AS */ secrets (k, v) \
                 /*!99999 UNION */ SELECT 'planted', 'by plugin'",
                "UPDATE /*!99999 audit AS */ secrets SET v = 'x'",
                "DELETE FROM /*!99999 audit AS */ secrets",
                "SELECT left /*!99999 + */ ('x')",
                "SELECT 'x' /*!99999 AS */ a",
                "SELECT a FROM audit # x",
                "SELECT a FROM audit -- x",
                "/*! */ SELECT a FROM audit",
            ] {
                assert!(rules.allows(statement).is_err(), "{dialect:?}: {statement}");
            }
            for statement in [
                "SELECT '/*!99999 x */', '--', '#', 'it''s', '''', '!=', '<>' FROM audit WHERE a != 1 AND b <> 2;",
                "\tSELECT\r\n1.5e3 , .5,-1\nFROM audit ; \n",
            ] {
                assert_eq!(rules.allows(statement), Ok(()), "{dialect:?}: {statement}");
            }
        }
    }
}
