//! No word that the server reserves is a name to the parser, and none of a statement's words is
//! missing from what the parser has understood.
//!
//! The parser takes nearly every word for a name where it knows nothing better. To it,
//! `SELECT a OR FROM secrets` names a column `FROM` and calls it `secrets`; a server ends the
//! expression before `FROM` and reads a table.
//!
//! # How it is told
//! The statement is read again with each of these words in other letters, but as the keyword that
//! it is. What the parser takes for a keyword is the same in both trees, and what it takes for a
//! name differs. The trees are compared by the equality that each of their nodes derives, so there
//! is no list of places in which a name may stand, of which one could be forgotten.
//!
//! Beside that, the tree is written out as SQL, which has the statement's words, each as often:
//! `UPDATE REPLACE audit SET …` is to the parser `UPDATE OR REPLACE`, and to PostgreSQL a change
//! of the table `replace`.

use std::convert::Infallible;
use std::ops::ControlFlow;

use sqlparser::ast::{Expr, Ident, ObjectNamePart, Statement, VisitMut, VisitorMut};
use sqlparser::tokenizer::{Token, Tokenizer, Word};

use super::reserved::is_reserved;
use super::{Dialect, Refused, broken, functions, parsed, refused};

/// Stands before the other letters. No statement that comes here has it, and no word of a
/// server's.
const MARK: char = '\0';

/// Reserved words that are operands, and begin nothing.
const OPERANDS: [&str; 4] = ["default", "utc_date", "utc_time", "utc_timestamp"];

/// Words that one of the two may have without the other: `a b` is `a AS b` in the tree, MySQL's
/// `BINARY a` is `CAST(a AS BINARY)`, and `FULL OUTER JOIN` is `FULL JOIN`.
const FREE: [&str; 3] = ["as", "cast", "outer"];

/// Claims that of the statement's words none that is reserved is a name without quotes, and none
/// is left out.
pub(super) fn check(dialect: Dialect, tokens: Vec<Token>, statement: &Statement) -> Result<(), Refused> {
    let said = words(dialect, &tokens);
    let again = parsed(dialect, marked(dialect, tokens));
    let mut again = again.map_err(|refused| Refused(refused.0.replace(MARK, "")))?;
    let ControlFlow::Continue(()) = again.visit(&mut Unmark(dialect));
    let written = again.to_string();
    if let Some((_, name)) = written.split_once(MARK) {
        let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(name.len());
        let (name, rest) = name.split_at(end);
        if rest.starts_with('(') {
            return Err(functions::unknown(name));
        }
        return Err(Refused(format!("the name `{name}`, which may be a keyword to the server: quote it")));
    }
    if again != *statement {
        return Err(Refused("a name that may be a keyword to the server: quote it".to_owned()));
    }
    let read = Tokenizer::new(dialect.of_parser(), &written).tokenize().map_err(|error| broken(&error))?;
    let read = words(dialect, &read);
    if said == read {
        return Ok(());
    }
    let differs = said.iter().zip(&read).find(|(said, read)| said != read).map(|(said, read)| said.min(read));
    let word = differs.or_else(|| said.get(read.len())).or_else(|| read.get(said.len()));
    Err(refused(&format!("`{}` in this place", word.map_or("", String::as_str))))
}

/// With reserved words in other letters.
fn marked(dialect: Dialect, mut tokens: Vec<Token>) -> Vec<Token> {
    for place in 0..tokens.len() {
        let is_field = is_field(dialect, &tokens[..place]);
        if let Token::Word(word) = &mut tokens[place]
            && word.quote_style.is_none()
            && !is_field
            && is_reserved(dialect, &word.value)
        {
            word.value.insert(0, MARK);
        }
    }
    tokens
}

/// Whether these and a word make one name, whatever the word: `t.order`. SQLite has no such rule,
/// and with a space between them MySQL takes the word for what it is elsewhere.
fn is_field(dialect: Dialect, before: &[Token]) -> bool {
    dialect != Dialect::Sqlite && matches!(before, [.., Token::Word(_), Token::Period])
}

/// The words of a statement, in the order of their letters.
fn words(dialect: Dialect, tokens: &[Token]) -> Vec<String> {
    let word = |token: &Token| match token {
        Token::Word(word) => Some(lower(word)).filter(|word| !FREE.contains(&word.as_str())),
        _ => None,
    };
    let mut words: Vec<String> = tokens.iter().filter_map(word).collect();
    // `a NOTNULL` is `a IS NOT NULL` in the tree.
    let operators = words.iter_mut().filter(|word| *word == "notnull");
    let operators = operators.map(|word| *word = "is".to_owned()).count();
    words.extend(["not", "null"].repeat(operators).into_iter().map(str::to_owned));
    if dialect == Dialect::Sqlite && words.first().is_some_and(|first| first == "replace") {
        // The same as INSERT OR REPLACE.
        words.extend(["insert", "or"].map(str::to_owned));
    }
    words.sort_unstable();
    words
}

/// As it is compared: in small letters, if it is not quoted.
fn lower(word: &Word) -> String {
    if word.quote_style.is_none() { word.value.to_ascii_lowercase() } else { word.to_string() }
}

/// Gives the words their letters back that stand for values: functions (`LEFT(a, 1)`) and
/// [`OPERANDS`].
struct Unmark(Dialect);

impl Unmark {
    fn unmark(name: &mut Ident, is_value: impl Fn(&str) -> bool) {
        if let Some(word) = name.value.strip_prefix(MARK)
            && is_value(&word.to_ascii_lowercase())
        {
            name.value = word.to_owned();
        }
    }
}

impl VisitorMut for Unmark {
    type Break = Infallible;

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        match expr {
            Expr::Identifier(name) => Self::unmark(name, |word| OPERANDS.contains(&word)),
            Expr::Function(function) => {
                if let [ObjectNamePart::Identifier(name)] = function.name.0.as_mut_slice() {
                    Self::unmark(name, |word| functions::is_known(self.0, word));
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
#[path = "keywords_tests.rs"]
mod tests;
