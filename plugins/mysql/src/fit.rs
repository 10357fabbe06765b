//! Fits a text to a column without a loss, or says why that cannot be done.
//!
//! JSON is written with escapes where the column's characters do not suffice. The
//! name of a function is cut: the whole of it stands in `full_ret`. Job ids, minions
//! and tags stand nowhere else.

use std::fmt::Write;

use returner_sql::Column;

/// What stands in the name of a function for a character that the column lacks.
const REPLACEMENT: char = '?';

/// The characters that a column has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Charset {
    /// All of them: `utf8mb4`.
    Unicode,
    /// MySQL's `utf8` of three bytes: no emoji.
    BasicPlane,
    /// What all others have in common.
    Ascii,
}

/// How much a column takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Width {
    /// A `varchar`.
    Characters(usize),
    /// A `text`.
    Bytes(usize),
    /// MySQL's `json`: what the server takes. MariaDB's is a `longtext`.
    Json,
}

/// What a column takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) width: Width,
    pub(crate) charset: Charset,
    /// Whether it compares texts by each of their characters, and not by a collation that
    /// leaves out case or accents. Most collations leave out spaces at the end.
    pub(crate) is_exact: bool,
}

/// A text that does not fit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Misfit {
    pub(crate) text: String,
    pub(crate) reason: String,
}

impl Shape {
    pub(crate) fn fit(self, column: Column, text: String) -> Result<String, Misfit> {
        let text = match column {
            _ if self.charset.has_all_of(&text) => text,
            Column::Load | Column::Return | Column::FullRet | Column::Data => self.charset.escape(&text),
            Column::Fun => self.charset.replace(&text),
            Column::LoadJid | Column::Jid | Column::Id | Column::Tag | Column::MasterId => {
                let reason = "its character set lacks one of the characters; utf8mb4 has all".to_owned();
                return Err(Misfit { text, reason });
            }
        };
        let (length, width, unit) = match self.width {
            // A text has at least as many bytes as characters.
            Width::Characters(width) if text.len() <= width => return Ok(text),
            Width::Characters(width) => (text.chars().count(), width, "characters"),
            Width::Bytes(width) => (text.len(), width, "bytes"),
            Width::Json => return Ok(text),
        };
        if length <= width {
            Ok(text)
        } else if column == Column::Fun {
            Ok(text.chars().take(width).collect())
        } else {
            Err(Misfit { text, reason: format!("{length} {unit} are more than {width}") })
        }
    }

    /// Whether there are other names of functions that [`fit`](Self::fit) makes the same
    /// text of as of this one.
    pub(crate) fn is_shared(self, fun: &str) -> bool {
        let fills = match self.width {
            Width::Characters(width) => fun.chars().count() >= width,
            Width::Bytes(width) => fun.len() >= width,
            Width::Json => false,
        };
        let may_be_replaced = self.charset != Charset::Unicode && fun.contains(REPLACEMENT);
        fills || may_be_replaced || !self.charset.has_all_of(fun)
    }
}

impl Charset {
    fn has_all_of(self, text: &str) -> bool {
        match self {
            Self::Unicode => true,
            // Only characters beyond the basic plane have four bytes in UTF-8.
            Self::BasicPlane => text.bytes().all(|byte| byte < 0xF0),
            Self::Ascii => text.is_ascii(),
        }
    }

    fn has(self, character: char) -> bool {
        match self {
            Self::Unicode => true,
            Self::BasicPlane => character.len_utf8() < 4,
            Self::Ascii => character.is_ascii(),
        }
    }

    /// The same JSON in these characters: beyond ASCII there are only strings in it,
    /// and a string may have `\uXXXX` for any character (two for one beyond the basic
    /// plane).
    fn escape(self, json: &str) -> String {
        let mut escaped = String::with_capacity(json.len() + 64);
        for character in json.chars() {
            if self.has(character) {
                escaped.push(character);
                continue;
            }
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(escaped, "\\u{unit:04x}").expect("writing to a string cannot fail");
            }
        }
        escaped
    }

    fn replace(self, text: &str) -> String {
        text.chars().map(|character| if self.has(character) { character } else { REPLACEMENT }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD_TEXT: Shape =
        Shape { width: Width::Bytes(16_777_215), charset: Charset::BasicPlane, is_exact: false };
    const OLD_FUN: Shape = Shape { width: Width::Characters(50), ..OLD_TEXT };

    #[test]
    fn json_keeps_its_characters_in_any_charset() {
        let json = "{\"k\u{E4}\": \"\u{1F600}\"}";
        let fitted = OLD_TEXT.fit(Column::Return, json.to_owned()).unwrap();
        assert_eq!(fitted, "{\"k\u{E4}\": \"\\ud83d\\ude00\"}");
        let ascii = Shape { charset: Charset::Ascii, ..OLD_TEXT };
        assert_eq!(ascii.fit(Column::Data, json.to_owned()).unwrap(), r#"{"k\u00e4": "\ud83d\ude00"}"#);
        let new = Shape { charset: Charset::Unicode, ..OLD_TEXT };
        assert_eq!(new.fit(Column::Load, json.to_owned()).unwrap(), json);
    }

    #[test]
    fn a_function_is_cut_and_an_id_is_not() {
        let long = "\u{E4}".repeat(51);
        assert_eq!(OLD_FUN.fit(Column::Fun, long.clone()).unwrap(), "\u{E4}".repeat(50));
        assert_eq!(OLD_FUN.fit(Column::Fun, "a\u{1F600}".to_owned()).unwrap(), "a?");
        let misfit = OLD_FUN.fit(Column::Id, long.clone()).unwrap_err();
        assert_eq!(misfit, Misfit { text: long, reason: "51 characters are more than 50".to_owned() });
        assert!(OLD_FUN.fit(Column::Tag, "\u{1F600}".to_owned()).is_err());
        assert!(OLD_FUN.fit(Column::Jid, "\u{E4}".repeat(50)).is_ok());
    }

    #[test]
    fn a_function_may_share_its_text_with_others() {
        let cases = [("\u{E4}", 49, false), ("\u{E4}", 50, true), ("a", 51, true), ("a", 49, false)];
        for (character, times, shared) in cases {
            assert_eq!(OLD_FUN.is_shared(&character.repeat(times)), shared, "{times} of {character}");
        }
        assert!(OLD_FUN.is_shared("a\u{1F600}") && OLD_FUN.is_shared("a?"));
        let new = Shape { width: Width::Characters(255), charset: Charset::Unicode, is_exact: true };
        assert!(!new.is_shared("a\u{1F600}?") && new.is_shared(&"a".repeat(255)));
        assert!(Shape { width: Width::Bytes(3), ..new }.is_shared("a\u{E4}"));
    }

    #[test]
    fn a_value_has_its_bytes_counted() {
        let small = Shape { width: Width::Bytes(3), charset: Charset::Unicode, is_exact: true };
        assert!(small.fit(Column::Return, "\"a\"".to_owned()).is_ok());
        assert!(small.fit(Column::Return, "\"\u{E4}\"".to_owned()).is_err());
    }
}
