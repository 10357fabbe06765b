//! What stands after a period: a name, or the `*` of all columns. And before it a name.
//!
//! PostgreSQL takes `(x).f` and `$1.f` for a call of the function `f`
//! (<https://www.postgresql.org/docs/current/xfunc-sql.html#XFUNC-SQL-COMPOSITE-FUNCTIONS>), of any
//! with one parameter: `('SELECT …').ts_stat` runs what it is given.
//!
//! The parser takes what stands there and has an opening bracket for an expression, and reads it
//! a second time if it is none that may stand there: `a.trim(a.trim(…))` takes twice the time
//! with each level. Nothing that is allowed has such a form, but for the names of tables before
//! their columns.

use sqlparser::tokenizer::Token;

use super::{Refused, refused};

/// What stands before the name of a table, and no expression.
const BEFORE_TABLES: [&str; 7] = ["exists", "insert", "into", "on", "references", "replace", "table"];

/// Brackets in which a table may be named so: `CREATE TABLE a (b INT REFERENCES s.t (c))`. With
/// few levels nothing is read more often than a few times.
const BRACKETS: usize = 1;

/// Refuses a statement in which something else stands after a period, or before it.
pub(super) fn check(tokens: &[Token]) -> Result<(), Refused> {
    let tokens: Vec<&Token> =
        tokens.iter().filter(|token| !matches!(token, Token::Whitespace(_) | Token::EOF)).collect();
    let mut open = 0_usize;
    for (place, token) in tokens.iter().enumerate() {
        match token {
            Token::LParen => open += 1,
            Token::RParen => open = open.saturating_sub(1),
            Token::Period if !matches!(tokens[..place].last(), Some(Token::Word(_))) => {
                return Err(refused("a period after anything but a name"));
            }
            Token::Period => match (tokens.get(place + 1), tokens.get(place + 2)) {
                (Some(Token::Word(word)), Some(Token::LParen)) => {
                    if open > BRACKETS || !is_table(&tokens[..place]) {
                        return Err(refused(&format!("a bracket after `.{}`", word.value)));
                    }
                }
                (Some(Token::Word(_) | Token::Mul), _) => {}
                _ => return Err(refused("anything but a name after a period")),
            },
            _ => {}
        }
    }
    Ok(())
}

/// Whether the name that goes on after these is a table's.
fn is_table(before: &[&Token]) -> bool {
    let mut rest = before;
    loop {
        let [before @ .., Token::Word(_)] = rest else { return false };
        match before {
            [before @ .., Token::Period] => rest = before,
            [.., Token::Word(word)] => {
                return word.quote_style.is_none()
                    && BEFORE_TABLES.iter().any(|known| word.value.eq_ignore_ascii_case(known));
            }
            _ => return false,
        }
    }
}
