//! Integers from 2^63 to 2^64-1, written as texts.
//!
//! BSON's own integers end at 2^63-1. What it has beside them, decimal128, not every server
//! of MongoDB's protocol takes: FerretDB 1.24 breaks the connection off, as if it were away,
//! and would be asked again for ever. Python's driver refuses such an integer itself.

use std::borrow::Cow;
use std::ops::Range;

use returner_sdk::json;

use crate::parts::{Part, parts, replace};

/// The digits of 2^63, and of 2^64-1 one more.
const DIGITS: usize = 19;

/// The JSON with each such integer as a text; none if there is none.
pub(crate) fn as_texts(text: &str) -> Option<String> {
    let found = parts(text).flat_map(|part| match part {
        // Most of what is between strings is too short.
        Part::Between(place) if place.len() >= DIGITS => numbers(text, place),
        Part::Between(_) | Part::Key(_) | Part::Text(_) => Vec::new(),
    });
    replace(text, found.map(|place| (place.clone(), json::quote(&text[place]))))
}

/// The JSON with each text that reads as such an integer as that integer; none if there is
/// none. The inverse of [`as_texts`] for what has no such text of its own.
pub(crate) fn from_texts(text: &str) -> Option<String> {
    let integer = |place: Range<usize>| {
        let quoted = &text[place.clone()];
        let digits: Cow<'_, str> = match quoted.contains('\\') {
            false => quoted.trim_matches('"').into(),
            true => json::text(quoted)?.into(),
        };
        is_great(&digits).then(|| (place, digits.into_owned()))
    };
    let found = parts(text).filter_map(|part| match part {
        Part::Text(place) => integer(place),
        Part::Key(_) | Part::Between(_) => None,
    });
    replace(text, found)
}

/// Where such integers are in what is between strings.
fn numbers(text: &str, place: Range<usize>) -> Vec<Range<usize>> {
    let of_number = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
    let mut start = place.start;
    let mut found = Vec::new();
    for word in text.as_bytes()[place].split(|byte| !of_number(byte)) {
        let end = start + word.len();
        if is_great(&text[start..end]) {
            found.push(start..end);
        }
        start = end + 1;
    }
    found
}

/// Whether this is such an integer, as JSON writes it.
fn is_great(word: &str) -> bool {
    let is_great = |number: u64| i64::try_from(number).is_err() && number.to_string() == word;
    word.len() >= DIGITS && word.parse().is_ok_and(is_great)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_that_bson_lacks_become_texts_and_come_back() {
        for (text, expected) in [
            ("18446744073709551615", r#""18446744073709551615""#),
            (
                r#"{"a":9223372036854775808,"b" : [ -1, 18446744073709551615,9223372036854775807 ]}"#,
                r#"{"a":"9223372036854775808","b" : [ -1, "18446744073709551615",9223372036854775807 ]}"#,
            ),
        ] {
            assert_eq!(as_texts(text).as_deref(), Some(expected));
            assert_eq!(from_texts(expected).as_deref(), Some(text));
        }
    }

    #[test]
    fn nothing_else_is_one() {
        for text in [
            "9223372036854775807",
            "-9223372036854775808",
            "9223372036854775808.0",
            "9223372036854775808e2",
            "1e308",
            "0.9223372036854775808",
            r#"{"9223372036854775808": "9223372036854775808"}"#,
            "[true, false, null, 1.10, 12345678901234567]",
        ] {
            assert_eq!(as_texts(text), None, "{text}");
        }
        for text in [
            r#"{"9223372036854775808": 1}"#,
            // A job id.
            r#""20260214093012345678""#,
            r#""+9223372036854775808""#,
            r#""09223372036854775808""#,
            r#"" 9223372036854775808""#,
        ] {
            assert_eq!(from_texts(text), None, "{text}");
        }
    }

    #[test]
    fn a_text_is_known_however_it_is_written() {
        assert_eq!(from_texts(r#"["\u0039223372036854775808"]"#).as_deref(), Some("[9223372036854775808]"));
    }
}
