//! The keys of objects, escaped for servers that take no dots and dollars in them.
//!
//! They are written as Salt's own module writes those of a load, like in a URL: `%`
//! is `%25`, `$` is `%24`, `.` is `%2e`, and NUL, which BSON cannot have, is `%00`. Only
//! keys change; numbers and texts stay as they stand.

use std::borrow::Cow;
use std::ops::Range;

use returner_sdk::json;

use crate::parts::{Part, parts, replace};

/// The JSON with each key escaped; none if that changes nothing.
pub(crate) fn escape(text: &str) -> Option<String> {
    rewrite(text, |key| {
        key.contains(['%', '$', '.', '\0'])
            .then(|| key.replace('%', "%25").replace('$', "%24").replace('.', "%2e").replace('\0', "%00"))
    })
}

/// The inverse of [`escape`], and of what Salt's module does to a load, which escapes
/// a backslash as `%5c` as well.
pub(crate) fn unescape(text: &str) -> String {
    let original = rewrite(text, |key| {
        key.contains('%').then(|| {
            let key = key.replace("%24", "$").replace("%2e", ".").replace("%00", "\0").replace("%5c", "\\");
            key.replace("%25", "%")
        })
    });
    original.unwrap_or_else(|| text.to_owned())
}

/// The JSON with some keys changed; none if none was.
fn rewrite(text: &str, change: impl Fn(&str) -> Option<String>) -> Option<String> {
    let changed = |place: Range<usize>| {
        let quoted = &text[place.clone()];
        let key: Cow<'_, str> = match quoted.contains('\\') {
            false => quoted[1..quoted.len() - 1].into(),
            true => json::text(quoted)?.into(),
        };
        change(&key).map(|key| (place, json::quote(&key)))
    };
    let found = parts(text).filter_map(|part| match part {
        Part::Key(place) => changed(place),
        Part::Text(_) | Part::Between(_) => None,
    });
    replace(text, found)
}

/// How many objects and lists are within each other.
pub(crate) fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for part in parts(text) {
        let Part::Between(place) = part else { continue };
        for byte in text[place].bytes() {
            match byte {
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => continue,
            }
            deepest = deepest.max(depth);
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_escaped_and_values_are_not() {
        let text = r#"{"a.b" : {"$new": "x.y$", "50%": 1.10}, "c": [{"d\".\u002e": "{\"e.f\": 1}"}]}"#;
        let escaped =
            r#"{"a%2eb" : {"%24new": "x.y$", "50%25": 1.10}, "c": [{"d\"%2e%2e": "{\"e.f\": 1}"}]}"#;
        assert_eq!(escape(text).as_deref(), Some(escaped));
        assert_eq!(unescape(escaped), text.replace("\\u002e", "."));
    }

    #[test]
    fn escaping_is_reversible() {
        for key in ["%2e", "%252e", ".", "%%24", "$.%", "%5c", "a%25", "\0"] {
            let text = format!("{{{}:1}}", json::quote(key));
            assert_eq!(unescape(&escape(&text).unwrap()), text, "{key}");
        }
    }

    #[test]
    fn nothing_to_escape_is_nothing_to_write() {
        assert_eq!(escape(r#"{"a": ".$%", "b": ["c.d"]}"#), None);
        assert_eq!(escape("\".\""), None);
        assert_eq!(escape("1.5"), None);
    }

    #[test]
    fn depth_is_that_of_objects_and_lists() {
        assert_eq!(depth("1"), 0);
        assert_eq!(depth(r#"{"a": [1, {"b": "[[[\"[["}], "c": {}}"#), 3);
    }
}
