//! The forms in which an item is written as a document, and read back.
//!
//! The plain one has everything as Salt sent it. Where that cannot be, the field
//! `stored_as` says what was done instead:
//! - `integers`: integers from 2^63 on are texts, as [`integers`] has them. So is every
//!   document written that has one.
//! - `escaped`: keys have their dots and dollars escaped, as [`keys`] does it, because the
//!   server refused them.
//! - `escaped integers`: both.
//! - `text`: what Salt sent is JSON text, because BSON has no room for its depth, or because
//!   it has such an integer beside a text that reads as one.
//!
//! [`original`] and [`original_load`] give back what Salt sent, whatever the form.

use std::borrow::Cow;

use returner_sdk::json;

use crate::{integers, keys};

/// The field that names a form other than the plain one.
const FORM: &str = "stored_as";
const INTEGERS: &str = "integers";
const ESCAPED: &str = "escaped";
const ESCAPED_INTEGERS: &str = "escaped integers";
const TEXT: &str = "text";

/// The field of a load as text.
const LOAD: &str = "load";

/// BSON takes 100 levels; a document has some of its own.
const MAX_DEPTH: usize = 90;

/// An item, as what is inserted.
#[derive(Debug)]
pub(crate) struct Document {
    /// The `_id`.
    pub(crate) id: String,
    /// The members that are the same in each form, `_id` first.
    head: String,
    body: Body,
}

/// What Salt sent.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Body {
    /// Members, each with JSON.
    Members(Vec<(&'static str, String)>),
    /// A whole object, whose members are the document's.
    Object(String),
}

impl Document {
    /// A document with these texts, and with what Salt sent under these names.
    pub(crate) fn new<const N: usize>(
        id: String,
        texts: [(&str, &str); N],
        members: Vec<(&'static str, String)>,
    ) -> Self {
        let mut head = format!("{{\"_id\":{}", json::quote(&id));
        for (name, text) in texts {
            head.push_str(&member(name, &json::quote(text)));
        }
        Self { id, head, body: Body::Members(members) }
    }

    /// A load, whose members become those of the document.
    pub(crate) fn of_load(jid: String, load: String) -> Self {
        let head = format!("{{\"_id\":{}", json::quote(&jid));
        Self { id: jid, head, body: Body::Object(load) }
    }

    /// Adds a member whose value is not Salt's.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.head.push_str(&member(name, value));
        self
    }

    /// The form that is tried first: the plain one, if there is no integer that not every
    /// server takes.
    pub(crate) fn first(&self) -> String {
        let (form, body) = self.first_form();
        format!("{}{}}}", self.head, members_in(form, &body))
    }

    /// The form for a server that refused the first one; none if that would be the
    /// same.
    pub(crate) fn other(&self) -> Option<String> {
        let (form, body) = match self.first_form() {
            (TEXT, _) => return None,
            _ if self.body.depth() > MAX_DEPTH => (TEXT, self.body.as_text(&self.id)),
            (INTEGERS, body) => (ESCAPED_INTEGERS, body.changed(keys::escape)?),
            (_, body) => (ESCAPED, body.changed(keys::escape)?),
        };
        Some(format!("{}{}}}", self.head, members_in(form, &body)))
    }

    /// The change that makes a document with nothing but an `_id` and minions the first form
    /// of this one.
    pub(crate) fn change(&self) -> String {
        let (form, body) = self.first_form();
        format!("{{\"$set\":{{{}}}}}", members_in(form, &body).trim_start_matches(','))
    }

    fn first_form(&self) -> (&'static str, Cow<'_, Body>) {
        match self.body.changed(integers::as_texts) {
            None => ("", Cow::Borrowed(&self.body)),
            Some(body) if body.changed(integers::from_texts).as_ref() == Some(&self.body) => {
                (INTEGERS, Cow::Owned(body))
            }
            Some(_) => (TEXT, Cow::Owned(self.body.as_text(&self.id))),
        }
    }
}

impl Body {
    /// With each JSON changed; none if that changes nothing.
    fn changed(&self, change: impl Fn(&str) -> Option<String>) -> Option<Self> {
        match self {
            Self::Members(members) => {
                let changed: Vec<_> = members.iter().map(|(_, value)| change(value)).collect();
                changed.iter().any(Option::is_some).then(|| {
                    let members = members.iter().zip(changed);
                    Self::Members(
                        members
                            .map(|((name, value), changed)| (*name, changed.unwrap_or_else(|| value.clone())))
                            .collect(),
                    )
                })
            }
            Self::Object(object) => change(object).map(Self::Object),
        }
    }

    /// As JSON text. A load is looked up by its job id, whatever its form.
    fn as_text(&self, jid: &str) -> Self {
        Self::Members(match self {
            Self::Members(members) => {
                members.iter().map(|(name, value)| (*name, json::quote(value))).collect()
            }
            Self::Object(object) => vec![("jid", json::quote(jid)), (LOAD, json::quote(object))],
        })
    }

    fn depth(&self) -> usize {
        match self {
            Self::Members(members) => {
                members.iter().map(|(_, value)| keys::depth(value)).max().unwrap_or_default()
            }
            Self::Object(object) => keys::depth(object),
        }
    }
}

/// The members of a document in a form, each with a comma before it.
fn members_in(form: &str, body: &Body) -> String {
    let form = if form.is_empty() { String::new() } else { member(FORM, &json::quote(form)) };
    form + &match body {
        Body::Members(members) => members.iter().map(|(name, value)| member(name, value)).collect(),
        Body::Object(object) => members_of(object),
    }
}

fn member(name: &str, value: &str) -> String {
    format!(",{}:{value}", json::quote(name))
}

/// The members of an object, with a comma before them.
fn members_of(object: &str) -> String {
    let inner = object.trim().trim_start_matches('{');
    let inner = inner.strip_suffix('}').unwrap_or(inner).trim();
    if inner.is_empty() { String::new() } else { format!(",{inner}") }
}

/// What Salt sent under a name, of a document that was read.
pub(crate) fn original(document: &str, name: &str) -> Option<String> {
    let value = json::member(document, name)?;
    match json::string_member(document, FORM).as_deref() {
        Some(TEXT) => json::text(value),
        Some(form) => Some(restored(form, value)),
        None => Some(value.to_owned()),
    }
}

/// JSON as it was before it was written in a form that is not `text`.
fn restored(form: &str, text: &str) -> String {
    let restored = match form {
        ESCAPED | ESCAPED_INTEGERS => keys::unescape(text),
        _ => text.to_owned(),
    };
    match form {
        INTEGERS | ESCAPED_INTEGERS => integers::from_texts(&restored).unwrap_or(restored),
        _ => restored,
    }
}

/// The load that a document was made of, with the minions that were added to it.
/// Salt's own module, whose documents have an `_id` of MongoDB's making, escapes
/// every load.
pub(crate) fn original_load(document: &str) -> String {
    let (id, document) = take(document, "_id");
    let (form, load) = take(&document, FORM);
    let is_salts = id.is_some_and(|id| id.starts_with('{'));
    let load = match form.and_then(json::text).as_deref() {
        Some(form) => {
            // As they stand in the document: what is added to it is in no form.
            let minions = json::member(&load, json::MINIONS).and_then(json::strings).unwrap_or_default();
            let load = match form {
                TEXT => json::string_member(&load, LOAD).unwrap_or_default(),
                _ => restored(form, &load),
            };
            json::with_minions(load, &minions)
        }
        None if is_salts => keys::unescape(&load),
        None => load,
    };
    json::with_minions::<&str>(load, &[])
}

/// The value of a member, and the object without it.
fn take<'a>(object: &'a str, name: &str) -> (Option<&'a str>, String) {
    let found = json::member(object, name).and_then(|value| {
        let start = value.as_ptr().addr() - object.as_ptr().addr();
        let before = object[..start].trim_end().strip_suffix(':')?.trim_end();
        let before = before.strip_suffix(&json::quote(name))?.trim_end();
        Some((value, before, object[start + value.len()..].trim_start()))
    });
    let Some((value, before, after)) = found else { return (None, object.to_owned()) };
    // One of the commas around it goes, too.
    let rest = match before.strip_suffix(',') {
        Some(before) => format!("{before}{after}"),
        None => format!("{before}{}", after.strip_prefix(',').unwrap_or(after)),
    };
    (Some(value), rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn returned(value: &str) -> Document {
        Document::new("k\"1".to_owned(), [("minion", "web1")], vec![("return", value.to_owned())])
    }

    #[test]
    fn the_plain_form_has_what_salt_sent() {
        let document = returned(r#"{"a.b": {"$c": 1.10}}"#).with("accepted", "5");
        let plain = r#"{"_id":"k\"1","minion":"web1","accepted":5,"return":{"a.b": {"$c": 1.10}}}"#;
        assert_eq!(document.first(), plain);
        assert_eq!(original(plain, "return").as_deref(), Some(r#"{"a.b": {"$c": 1.10}}"#));
    }

    #[test]
    fn what_a_server_refuses_is_kept_in_another_form() {
        let value = r#"{"a.b": {"$c": 1.10}}"#;
        let escaped = returned(value).other().unwrap();
        assert!(escaped.contains(r#""return":{"a%2eb": {"%24c": 1.10}}"#), "{escaped}");
        assert_eq!(original(&escaped, "return").as_deref(), Some(value));

        let deep = format!("{}{}", "[".repeat(120), "]".repeat(120));
        let text = returned(&deep).other().unwrap();
        assert!(keys::depth(&text) == 1, "{text}");
        assert_eq!(original(&text, "return"), Some(deep));

        assert_eq!(returned(r#"{"a": "$b.c"}"#).other(), None);
    }

    #[test]
    fn integers_that_not_every_server_takes_are_texts_from_the_start() {
        let value = r#"{"a.b": [18446744073709551615, 9223372036854775807], "c": "5"}"#;
        let document = returned(value);
        let first = document.first();
        let expected = r#"{"_id":"k\"1","minion":"web1","stored_as":"integers","return":{"a.b": ["18446744073709551615", 9223372036854775807], "c": "5"}}"#;
        assert_eq!(first, expected);
        assert_eq!(original(&first, "return").as_deref(), Some(value));

        let other = document.other().unwrap();
        assert!(other.contains(r#""stored_as":"escaped integers","return":{"a%2eb": ["184"#), "{other}");
        assert_eq!(original(&other, "return").as_deref(), Some(value));
        assert_eq!(returned("9223372036854775808").other(), None);
    }

    #[test]
    fn an_integer_beside_a_text_that_reads_as_one_comes_back_as_it_was() {
        for text in [r#""9223372036854775808""#, r#""\u0039223372036854775808""#] {
            let value = format!("[9223372036854775808, {text}]");
            let document = returned(&value);
            let first = document.first();
            assert!(first.contains(r#""stored_as":"text","return":"["#), "{first}");
            assert_eq!(original(&first, "return"), Some(value));
            assert_eq!(document.other(), None);
        }
        // Without an integer there is nothing to take it for.
        assert!(!returned(r#""9223372036854775808""#).first().contains(FORM));
    }

    #[test]
    fn a_deep_value_with_such_an_integer_is_text() {
        let value = format!("{}9223372036854775808{}", "[".repeat(120), "]".repeat(120));
        let text = returned(&value).other().unwrap();
        assert_eq!(keys::depth(&text), 1, "{text}");
        assert_eq!(original(&text, "return"), Some(value));
    }

    #[test]
    fn a_load_with_such_an_integer_is_read_as_it_was_sent() {
        let load = r#"{"fun": "a", "jid": "1", "arg": [9223372036854775808], "Minions": ["web1"]}"#;
        let document = Document::of_load("1".to_owned(), load.to_owned());
        let first = document.first();
        let expected = format!(r#"{{"_id":"1","stored_as":"integers",{}"#, &load[1..]);
        assert_eq!(first, expected.replace("9223372036854775808", r#""9223372036854775808""#));
        assert_eq!(original_load(&first), load);
        // A minion that became known later, and whose name reads as such an integer.
        let more = first.replace(r#"["web1"]"#, r#"["web1","9223372036854775808"]"#);
        let expected = load.replace(r#"["web1"]"#, r#"["web1","9223372036854775808"]"#);
        assert_eq!(original_load(&more), expected);
    }

    #[test]
    fn a_job_is_found_by_its_id_whatever_its_form() {
        let load = r#"{"fun":"a","jid":"9223372036854775808","arg":[9223372036854775808]}"#;
        let document = Document::of_load("9223372036854775808".to_owned(), load.to_owned());
        let first = document.first();
        let member = |name| json::string_member(&first, name);
        assert_eq!(member("jid").as_deref(), Some("9223372036854775808"));
        assert_eq!(member(FORM).as_deref(), Some(TEXT));
        assert_eq!(original_load(&first), load);
    }

    #[test]
    fn a_load_after_its_minions_has_the_same_form() {
        let change = |load: &str| Document::of_load("1".to_owned(), load.to_owned()).change();
        assert_eq!(change(r#"{"fun":"a"}"#), r#"{"$set":{"fun":"a"}}"#);
        let changed = change(r#"{"arg":[9223372036854775808]}"#);
        assert_eq!(changed, r#"{"$set":{"stored_as":"integers","arg":["9223372036854775808"]}}"#);
    }

    #[test]
    fn a_load_is_read_as_it_was_sent() {
        let load = r#"{"cmd": "publish", "kwargs": {"a.b": 1.10}}"#;
        let document = Document::of_load("1".to_owned(), load.to_owned());
        assert_eq!(document.first(), r#"{"_id":"1","cmd": "publish", "kwargs": {"a.b": 1.10}}"#);
        for form in [document.first(), document.other().unwrap()] {
            let read = original_load(&form);
            assert_eq!(read.replace(' ', ""), load.replace(' ', ""), "{form}");
        }
        assert_eq!(original_load(r#"{"_id":"1"}"#), "{}");
    }

    #[test]
    fn a_deep_load_is_text() {
        let load = format!(r#"{{"fun": "a", "arg": {}{}}}"#, "[".repeat(120), "]".repeat(120));
        let text = Document::of_load("1".to_owned(), load.clone()).other().unwrap();
        assert_eq!(original_load(&text), load);
        let more = text.replace("\"jid\"", "\"Minions\":[\"web1\"],\"jid\"");
        assert!(original_load(&more).ends_with(r#","Minions":["web1"]}"#));
    }

    #[test]
    fn a_member_is_taken_from_anywhere() {
        let taken = (Some("1"), r#"{"a": 2,"b":3}"#.to_owned());
        for object in
            [r#"{"_id":1,"a": 2,"b":3}"#, r#"{"a": 2, "_id" : 1 ,"b":3}"#, r#"{"a": 2,"b":3, "_id":1}"#]
        {
            let (value, rest) = take(object, "_id");
            assert_eq!((value, rest.replace(", \"b", ",\"b")), taken, "{object}");
        }
        assert_eq!(take(r#"{"_id":1}"#, "_id"), (Some("1"), "{}".to_owned()));
        assert_eq!(take(r#"{"a":1}"#, "_id"), (None, r#"{"a":1}"#.to_owned()));
    }

    #[test]
    fn a_load_of_salts_module_is_unescaped() {
        let document = r#"{"_id":{"$oid":"65"},"fun":"a","arg":[{"b%2ec%5c":1}]}"#;
        assert_eq!(original_load(document), r#"{"fun":"a","arg":[{"b.c\\":1}]}"#);
    }
}
