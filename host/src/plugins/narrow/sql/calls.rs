//! MySQL: words that are functions where a parenthesis follows at once, and where a space stands
//! between them the names of functions that somebody has stored.
//! <https://dev.mysql.com/doc/refman/8.4/en/function-resolution.html>

use sqlparser::tokenizer::Token;

use super::{Refused, refused};

const WORDS: &str = "\
    adddate bit_and bit_or bit_xor cast count curdate curtime date_add date_sub extract group_concat json_arrayagg \
    json_objectagg max mid min now position session_user st_collect std stddev stddev_pop stddev_samp subdate substr \
    substring sum sysdate system_user trim var_pop var_samp variance";

/// What stands before names in whose place no function can be: `INSERT INTO count (a)`.
const BEFORE_NAMES: [&str; 6] = ["exists", "index", "into", "key", "references", "table"];

/// Refuses a statement in which such a word, a space and a parenthesis stand.
pub(super) fn check(tokens: &[Token]) -> Result<(), Refused> {
    let mut before = None;
    for (place, token) in tokens.iter().enumerate() {
        let Token::Word(word) = token else {
            if !matches!(token, Token::Whitespace(_)) {
                before = None;
            }
            continue;
        };
        let lower = word.value.to_ascii_lowercase();
        let is_name = before.is_some_and(|before: String| BEFORE_NAMES.contains(&before.as_str()));
        let spaces =
            tokens[place + 1..].iter().take_while(|next| matches!(next, Token::Whitespace(_))).count();
        let is_called = spaces > 0 && tokens.get(place + 1 + spaces) == Some(&Token::LParen);
        if is_called && !is_name && word.quote_style.is_none() && WORDS.split(' ').any(|known| known == lower)
        {
            return Err(refused(&format!("a space between `{}` and its parenthesis", word.value)));
        }
        before = word.quote_style.is_none().then_some(lower);
    }
    Ok(())
}
