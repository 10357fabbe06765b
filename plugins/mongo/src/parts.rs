//! A JSON text in parts, so that some of them can be changed and all others stay as they
//! stand.

use std::ops::Range;

/// Where a part is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// A key, quotes included.
    Key(Range<usize>),
    /// Another string, quotes included.
    Text(Range<usize>),
    /// What is between strings: brackets, numbers and names.
    Between(Range<usize>),
}

/// The parts of a JSON text, in their order.
pub(crate) fn parts(text: &str) -> impl Iterator<Item = Part> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let rest = text.get(start..).filter(|rest| !rest.is_empty())?;
        let length = if rest.starts_with('"') { string(rest) } else { rest.find('"') };
        let place = start..start + length.unwrap_or(rest.len());
        start = place.end;
        Some(match rest.starts_with('"') {
            false => Part::Between(place),
            true if text[start..].trim_start().starts_with(':') => Part::Key(place),
            true => Part::Text(place),
        })
    })
}

/// How long the string is that a text begins with, quotes included.
fn string(text: &str) -> Option<usize> {
    let mut end = 1;
    loop {
        end += text.get(end..)?.find(['"', '\\'])?;
        if text[end..].starts_with('"') {
            return Some(end + 1);
        }
        // A backslash and the character after it, which is ASCII.
        end += 2;
    }
}

/// The text with other ones in some places, which are in their order; none if there are no
/// such places.
pub(crate) fn replace(text: &str, others: impl Iterator<Item = (Range<usize>, String)>) -> Option<String> {
    let mut written = String::new();
    let mut copied = 0;
    for (place, other) in others {
        written.push_str(&text[copied..place.start]);
        written.push_str(&other);
        copied = place.end;
    }
    (copied > 0).then(|| written + &text[copied..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_from_other_strings() {
        let text = r#"{"a" : ["b\":", 1], "\\":"c"}"#;
        let found: Vec<(char, &str)> = parts(text)
            .map(|part| match part {
                Part::Key(place) => ('k', &text[place]),
                Part::Text(place) => ('t', &text[place]),
                Part::Between(place) => ('b', &text[place]),
            })
            .collect();
        let expected = [
            ('b', "{"),
            ('k', r#""a""#),
            ('b', " : ["),
            ('t', r#""b\":""#),
            ('b', ", 1], "),
            ('k', r#""\\""#),
            ('b', ":"),
            ('t', r#""c""#),
            ('b', "}"),
        ];
        assert_eq!(found, expected);
        assert_eq!(parts("1").collect::<Vec<_>>(), [Part::Between(0..1)]);
        assert_eq!(parts("").count(), 0);
    }

    #[test]
    fn the_rest_stays_as_it_stands() {
        assert_eq!(replace("[1, 2]", [(1..2, "3".to_owned())].into_iter()).as_deref(), Some("[3, 2]"));
        assert_eq!(replace("1", [(0..1, String::new())].into_iter()).as_deref(), Some(""));
        assert_eq!(replace("1", std::iter::empty()), None);
    }
}
