//! The forms in which an item is written as a document, and read back.
//!
//! The plain one has everything as Salt sent it. Where a server refuses that, the
//! field `stored_as` says what was done instead:
//! - `escaped`: keys have their dots and dollars escaped, as [`keys`] does it.
//! - `text`: what Salt sent is JSON text, because BSON has no room for its depth.

use returner_sdk::json;

use crate::keys;

/// The field that names a form other than the plain one.
const FORM: &str = "stored_as";
const ESCAPED: &str = "escaped";
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
#[derive(Debug)]
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

    /// Everything as Salt sent it.
    pub(crate) fn plain(&self) -> String {
        match &self.body {
            Body::Members(members) => {
                self.finish("", members.iter().map(|(name, value)| member(name, value)).collect())
            }
            Body::Object(object) => self.finish("", members_of(object)),
        }
    }

    /// The form for a server that refused the plain one; none if that would be the
    /// same.
    pub(crate) fn other(&self) -> Option<String> {
        match &self.body {
            Body::Members(members) => {
                if members.iter().any(|(_, value)| keys::depth(value) > MAX_DEPTH) {
                    let texts = members.iter().map(|(name, value)| member(name, &json::quote(value)));
                    return Some(self.finish(TEXT, texts.collect()));
                }
                let escaped: Vec<_> =
                    members.iter().map(|(name, value)| (name, value, keys::escape(value))).collect();
                escaped.iter().any(|(.., escaped)| escaped.is_some()).then(|| {
                    let members = escaped
                        .iter()
                        .map(|(name, value, escaped)| member(name, escaped.as_ref().unwrap_or(value)));
                    self.finish(ESCAPED, members.collect())
                })
            }
            Body::Object(object) if keys::depth(object) > MAX_DEPTH => {
                let jid = member("jid", &json::quote(&self.id));
                Some(self.finish(TEXT, jid + &member(LOAD, &json::quote(object))))
            }
            Body::Object(object) => {
                keys::escape(object).map(|object| self.finish(ESCAPED, members_of(&object)))
            }
        }
    }

    fn finish(&self, form: &str, members: String) -> String {
        let form = if form.is_empty() { String::new() } else { member(FORM, &json::quote(form)) };
        format!("{}{form}{members}}}", self.head)
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
        Some(ESCAPED) => Some(keys::unescape(value)),
        Some(TEXT) => json::text(value),
        _ => Some(value.to_owned()),
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
        Some(TEXT) => {
            let minions = json::member(&load, json::MINIONS).and_then(json::strings).unwrap_or_default();
            json::with_minions(json::string_member(&load, LOAD).unwrap_or_default(), &minions)
        }
        Some(_) => keys::unescape(&load),
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
        assert_eq!(document.plain(), plain);
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
    fn a_load_is_read_as_it_was_sent() {
        let load = r#"{"cmd": "publish", "kwargs": {"a.b": 1.10}}"#;
        let document = Document::of_load("1".to_owned(), load.to_owned());
        assert_eq!(document.plain(), r#"{"_id":"1","cmd": "publish", "kwargs": {"a.b": 1.10}}"#);
        for form in [document.plain(), document.other().unwrap()] {
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
