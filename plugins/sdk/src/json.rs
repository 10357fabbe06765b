//! JSON as text: what a returner passes on is best left as Salt sent it, because a
//! parser changes numbers and drops the order of keys.

use std::borrow::Cow;
use std::collections::HashSet;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A string as JSON text, quotes included.
pub fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The string that a JSON text is.
pub fn text(quoted: &str) -> Option<String> {
    serde_json::from_str(quoted).ok()
}

/// Strings as the text of a JSON array.
pub fn array<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = texts.into_iter().map(|text| quote(text.as_ref())).collect();
    format!("[{}]", items.join(","))
}

/// The text of a member of an object, where it stands in the object's text. None
/// if there is no such member, or no object.
///
/// ```
/// let full = r#"{"jid": "1", "return": {"a": 1.10}}"#;
/// assert_eq!(returner_sdk::json::member(full, "return"), Some(r#"{"a": 1.10}"#));
/// ```
pub fn member<'a>(object: &'a str, name: &str) -> Option<&'a str> {
    // Most texts do not have the name at all, and searching is cheaper than parsing.
    // A name may be written with escapes.
    if !object.contains(name) && !object.contains(r"\u") {
        return None;
    }
    let mut deserializer = serde_json::Deserializer::from_str(object);
    deserializer.deserialize_map(Member { name }).ok().flatten().map(RawValue::get)
}

/// The string that a member of an object is.
pub fn string_member(object: &str, name: &str) -> Option<String> {
    member(object, name).and_then(text)
}

/// The strings of an array of strings.
pub fn strings(array: &str) -> Option<Vec<String>> {
    serde_json::from_str(array).ok()
}

/// The function of a return, of a compound job all of them, joined by commas.
pub fn functions(full: &str) -> Option<String> {
    let fun = member(full, "fun")?;
    match strings(fun) {
        Some(functions) => Some(functions.join(",")),
        None => text(fun),
    }
}

struct Member<'n> {
    name: &'n str,
}

impl<'de> Visitor<'de> for Member<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(Key(key)) = map.next_key()? {
            if key == self.name {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// A key, borrowed unless it has escapes.
struct Key<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Key<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// Salt's name for the minions of a job in a load.
pub const MINIONS: &str = "Minions";

/// Its name for them in the event that tells of the job.
const MINIONS_IN_EVENT: &str = "minions";

/// A load with more minions in its `Minions`, and everything else as it was. A load
/// that has them already, or whose only list is the `minions` of Salt's event, is
/// given a `Minions` with all of them; none is given an empty one.
///
/// ```
/// let load = r#"{"fun": "test.ping", "minions": ["web1"]}"#;
/// assert_eq!(
///     returner_sdk::json::with_minions(load.to_owned(), &["web2"]),
///     r#"{"fun": "test.ping", "minions": ["web1"],"Minions":["web1","web2"]}"#,
/// );
/// ```
pub fn with_minions<T: AsRef<str>>(load: String, more: &[T]) -> String {
    let [listed, told] = [MINIONS, MINIONS_IN_EVENT].map(|name| member(&load, name));
    let read = |text: Option<&str>| text.and_then(strings).unwrap_or_default();
    let known = read(listed);
    let mut seen: HashSet<&str> = HashSet::new();
    let told = read(told);
    let all: Vec<&str> = (known.iter().chain(&told).map(String::as_str))
        .chain(more.iter().map(AsRef::as_ref))
        .filter(|minion| seen.insert(minion))
        .collect();
    if all == known {
        return load;
    }
    let place = listed.map(|listed| {
        let start = listed.as_ptr().addr() - load.as_ptr().addr();
        start..start + listed.len()
    });
    let all = array(&all);
    match (place, load.rfind('}')) {
        (Some(place), _) => format!("{}{all}{}", &load[..place.start], &load[place.end..]),
        (None, Some(end)) => {
            let comma = if load[..end].trim_end().ends_with('{') { "" } else { "," };
            format!("{}{comma}\"{MINIONS}\":{all}}}", &load[..end])
        }
        (None, None) => load,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_found_where_it_stands() {
        let full = r#"{"a": {"fun": 1}, "\u0066un": ["x", 1.10], "b": 2}"#;
        assert_eq!(member(full, "a"), Some(r#"{"fun": 1}"#));
        assert_eq!(member(r#"{"fun" : [1.10 ]}"#, "fun"), Some("[1.10 ]"));
        assert_eq!(member(full, "fun"), Some(r#"["x", 1.10]"#));
        assert_eq!(member(full, "c"), None);
        assert_eq!(member("[\"c\"]", "c"), None);
    }

    #[test]
    fn minions_are_added_once() {
        let load = |text: &str, more: &[&str]| with_minions(text.to_owned(), more);
        assert_eq!(
            load(r#"{"Minions": ["a"] , "x": 1.10}"#, &["b", "a"]),
            r#"{"Minions": ["a","b"] , "x": 1.10}"#
        );
        assert_eq!(load(r#"{"Minions": ["a"]}"#, &["a"]), r#"{"Minions": ["a"]}"#);
        assert_eq!(load("{ }", &["a"]), r#"{ "Minions":["a"]}"#);
        assert_eq!(load(r#"{"x": 1}"#, &[]), r#"{"x": 1}"#);
        assert_eq!(load(r#"{"minions": ["a"]}"#, &[]), r#"{"minions": ["a"],"Minions":["a"]}"#);
        assert_eq!(load(r#"{"Minions": null}"#, &["a"]), r#"{"Minions": ["a"]}"#);
    }

    #[test]
    fn strings_are_quoted() {
        assert_eq!(array(["a\"b", "\u{1F600}\n"]), "[\"a\\\"b\",\"\u{1F600}\\n\"]");
    }
}
