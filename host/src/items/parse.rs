//! Text to [`Item`]: which members an item must have and of what type.
//!
//! What Salt leaves open is taken as Salt's own returners take it: a return without
//! `success` has the success that its `retcode` says, one without `return` returned
//! null. What no store could file is refused: a missing or mistyped `jid`, `id` or
//! `fun`.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use jiter::Peek;
use serde_json::Value;

use super::json::{Walk, expanded, quote};
use super::{Event, Item, Key, Kind, Load, Minions, Return, Route};

/// Why a text is not an item; names the member.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Invalid(pub(crate) String);

/// The longest text of a member that is looked at, in bytes, and of a list of minions: what a list
/// of small values becomes in memory is many times its text.
const MAX_MEMBER: usize = 1 << 20;
const MAX_MINIONS: usize = 16 << 20;

/// The longest `jid`, `id`, `tag` and name of a function, in bytes. MySQL's schema
/// of Salt has 255 characters for the first three.
const MAX_NAME: usize = 1024;

/// Makes an item of its text.
///
/// `assign` gives a job id to a return that Salt sent with the job id `req` (a
/// minion's own job: `salt-call`, a start-up state).
pub(crate) fn parse(kind: Kind, text: &str, assign: impl FnOnce() -> String) -> Result<Item, Invalid> {
    let members = Members::of(text)?;
    match kind {
        Kind::Return => parse_return(&members, assign).map(Item::Return),
        Kind::Load => parse_load(&members).map(Item::Load),
        Kind::Minions => {
            let minions = members.required("minions", names)?;
            Ok(Item::Minions(Minions { jid: members.name("jid")?, minions, full: text.into() }))
        }
        Kind::Event => parse_event(&members).map(Item::Event),
    }
}

/// The item of a job id and minion ids.
pub(crate) fn parse_minions(jid: &str, minions: &[String]) -> Result<Item, Invalid> {
    let text = format!(r#"{{"jid":{},"minions":{}}}"#, quote(jid), serde_json::json!(minions));
    parse(Kind::Minions, &text, String::new)
}

/// The minion ids that a JSON text has: one, or the `minions` of an object.
pub(crate) fn minion_ids(text: &str) -> Result<Vec<String>, Invalid> {
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Ids {
        One(String),
        All { minions: Vec<String> },
    }
    if text.len() > MAX_MINIONS {
        return Err(Invalid(format!(
            "has {} bytes, more than {MAX_MINIONS}: send them in parts",
            text.len()
        )));
    }
    let expected =
        |_| Invalid("expected a minion's id, or an object with a list of them in `minions`".to_owned());
    let ids = match serde_json::from_str(text).map_err(expected)? {
        Ids::One(minion) => vec![minion],
        Ids::All { minions } => minions,
    };
    // Whatever is wrong with one of them is told of this text.
    parse_minions("1", &ids).map(|_| ids)
}

fn parse_return(members: &Members<'_>, assign: impl FnOnce() -> String) -> Result<Return, Invalid> {
    let minion = members.name("id")?;
    let fun: Arc<str> = members.required("fun", functions)?.into();
    let retcode = members.optional("retcode", retcode)?.unwrap_or(0);
    let success = members.optional("success", success)?.unwrap_or(retcode == 0);
    let route = Route {
        profile: members.optional("ret_config", string_or_null)?.flatten().map(Into::into),
        overrides: members.overrides()?,
    };
    let mut jid = members.name("jid")?;
    let mut full: Arc<str> = members.text.into();
    let mut value = members.find("return").unwrap_or(0..0);
    let assigned = &*jid == "req";
    if assigned {
        jid = assign().into();
        let place = members.find("jid").unwrap_or(0..0);
        full =
            format!("{}{}{}", &members.text[..place.start], quote(&jid), &members.text[place.end..]).into();
        if value.start > place.start {
            let grown = full.len() - members.text.len();
            value = value.start + grown..value.end + grown;
        }
    }
    let key = key_of([&jid, &minion, &fun], &members.resource, &members.value);
    Ok(Return { jid, minion, fun, success, retcode, full, value, key, route, assigned })
}

fn parse_load(members: &Members<'_>) -> Result<Load, Invalid> {
    let jid = members.name("jid")?;
    if &*jid == "req" {
        return Err(Invalid("`jid` is `req`: a load needs the job id that its returns have".to_owned()));
    }
    let listed = match members.optional("Minions", names)? {
        Some(minions) => Some(minions),
        None => members.optional("minions", names)?,
    };
    // A return that is the load of its own job has the minion that it is from.
    let returned = members.find("return").is_some();
    let listed = match (listed, returned, members.name("id")) {
        (None, true, Ok(minion)) => Some(vec![minion.to_string()]),
        (listed, ..) => listed,
    };
    Ok(Load {
        jid,
        fun: members.required("fun", functions)?.into(),
        minions: listed.unwrap_or_default(),
        returned,
        full: members.text.into(),
    })
}

fn parse_event(members: &Members<'_>) -> Result<Event, Invalid> {
    let tag = members.name("tag")?;
    let data = members.find("data").ok_or_else(|| missing("data"))?;
    if !members.text[data.clone()].starts_with('{') {
        return Err(mistyped("data", &members.text[data], "an object"));
    }
    let master = members.optional("master", string_or_null)?.flatten().map(Into::into);
    let key = key_of([&tag], &[], &members.value);
    Ok(Event { tag, data, master, full: members.text.into(), key })
}

/// `resource` and `value` are canonical forms.
pub(super) fn key_of<const N: usize>(names: [&str; N], resource: &[u8], value: &[u8]) -> Key {
    let mut hash = blake3::Hasher::new();
    for part in names.map(str::as_bytes) {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let mut length = 0u64;
    expanded(resource, |part| length += part.len() as u64);
    hash.update(&length.to_le_bytes());
    for form in [resource, value] {
        expanded(form, |part| {
            hash.update(part);
        });
    }
    let mut key = [0; 16];
    key.copy_from_slice(&hash.finalize().as_bytes()[..16]);
    Key(key)
}

/// The members of an item's object that the host looks at.
struct Members<'a> {
    text: &'a str,
    places: HashMap<&'static str, Range<usize>>,
    /// The canonical form of `return`, or of an event's `data`.
    value: Vec<u8>,
    /// The canonical form of `resource_id`.
    resource: Vec<u8>,
}

/// What the host looks at; a member named otherwise is Salt's business.
const KNOWN: [&str; 14] = [
    "jid",
    "id",
    "fun",
    "return",
    "success",
    "retcode",
    "resource_id",
    "ret_config",
    "ret_kwargs",
    "Minions",
    "minions",
    "tag",
    "data",
    "master",
];

impl<'a> Members<'a> {
    fn of(text: &'a str) -> Result<Self, Invalid> {
        let mut walk = Walk::new(text);
        let malformed = |error: super::json::Malformed| Invalid(error.to_string());
        if walk.peek().map_err(malformed)? != Peek::Object {
            return Err(Invalid(format!("is {}, expected an object", kind_of(text))));
        }
        let mut members = Self { text, places: HashMap::new(), value: Vec::new(), resource: Vec::new() };
        let mut keys = Vec::new();
        while let Some(key) = walk.key(keys.is_empty()).map_err(malformed)? {
            let known = KNOWN.into_iter().find(|known| *known == key);
            let place = match known {
                Some("return") => walk.value_of_either_way(&mut members.value),
                Some("data") => walk.value(Some(&mut members.value)),
                Some("resource_id") => walk.value(Some(&mut members.resource)),
                _ => walk.value(None),
            };
            let place = place.map_err(malformed)?;
            if let Some(known) = known {
                members.places.insert(known, place);
            }
            keys.push(key);
        }
        walk.finish().map_err(malformed)?;
        if let Some(problem) = walk.take_problem() {
            return Err(Invalid(problem));
        }
        keys.sort_unstable();
        match keys.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(twice) => Err(Invalid(format!("has the key {} twice", quote(&twice[0])))),
            None => Ok(members),
        }
    }

    fn find(&self, name: &str) -> Option<Range<usize>> {
        self.places.get(name).cloned()
    }

    fn optional<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Value) -> Result<T, &'static str>,
    ) -> Result<Option<T>, Invalid> {
        let Some(place) = self.find(name) else { return Ok(None) };
        let text = &self.text[place];
        let most = if matches!(name, "Minions" | "minions") { MAX_MINIONS } else { MAX_MEMBER };
        if text.len() > most {
            return Err(Invalid(format!("`{name}` has {} bytes, more than {most}", text.len())));
        }
        // The walk has seen that it is JSON.
        let value: Value =
            serde_json::from_str(text).map_err(|error| Invalid(format!("`{name}`: {error}")))?;
        read(&value).map(Some).map_err(|expected| mistyped(name, text, expected))
    }

    fn required<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Value) -> Result<T, &'static str>,
    ) -> Result<T, Invalid> {
        self.optional(name, read)?.ok_or_else(|| missing(name))
    }

    /// A text that names something: not empty, of one line, not too long.
    fn name(&self, name: &str) -> Result<Arc<str>, Invalid> {
        let text = self.required(name, |value| value.as_str().map(str::to_owned).ok_or("a string"))?;
        match check_name(&text) {
            Ok(()) => Ok(text.into()),
            Err(Unnamed::Empty) => Err(Invalid(format!("`{name}` is empty"))),
            Err(Unnamed::Control) => {
                Err(Invalid(format!("`{name}` has a control character: {}", quote(&text))))
            }
            Err(Unnamed::Long) => {
                Err(Invalid(format!("`{name}` has {} bytes, more than {MAX_NAME}", text.len())))
            }
        }
    }

    /// `ret_kwargs`, where it overrides anything.
    fn overrides(&self) -> Result<Option<Arc<str>>, Invalid> {
        let overrides = self.optional("ret_kwargs", |value| match value {
            Value::Null => Ok(None),
            Value::Object(map) if map.is_empty() => Ok(None),
            Value::Object(_) => Ok(Some(value.to_string())),
            _ => Err("an object"),
        })?;
        Ok(overrides.flatten().map(Into::into))
    }
}

fn missing(name: &str) -> Invalid {
    Invalid(format!("`{name}` is missing"))
}

fn mistyped(name: &str, text: &str, expected: &str) -> Invalid {
    Invalid(format!("`{name}` is {}, expected {expected}", kind_of(text)))
}

/// The kind of a JSON value, for messages.
fn kind_of(text: &str) -> &'static str {
    match text.trim_start().bytes().next() {
        Some(b'"') => "a string",
        Some(b'[') => "a list",
        Some(b'{') => "an object",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        Some(_) => "a number",
        None => "empty",
    }
}

/// Why a text names nothing.
enum Unnamed {
    Empty,
    Control,
    Long,
}

fn check_name(text: &str) -> Result<(), Unnamed> {
    match text {
        "" => Err(Unnamed::Empty),
        _ if text.chars().any(char::is_control) => Err(Unnamed::Control),
        _ if text.len() > MAX_NAME => Err(Unnamed::Long),
        _ => Ok(()),
    }
}

/// Names of minions, or of functions.
fn names(value: &Value) -> Result<Vec<String>, &'static str> {
    let names = strings(value)?;
    match names.iter().all(|name| check_name(name).is_ok()) {
        true => Ok(names),
        false => Err("a list of names: none empty, with control characters, or of more than 1024 bytes"),
    }
}

fn strings(value: &Value) -> Result<Vec<String>, &'static str> {
    let expected = "a list of strings";
    let list = value.as_array().ok_or(expected)?;
    list.iter().map(|item| item.as_str().map(str::to_owned).ok_or(expected)).collect()
}

fn string_or_null(value: &Value) -> Result<Option<String>, &'static str> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) if text.is_empty() => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        _ => Err("a string"),
    }
}

/// One function, or a compound job's list of them.
fn functions(value: &Value) -> Result<String, &'static str> {
    let expected = "a string, or a compound job's list of strings";
    let named = match value {
        Value::String(name) => vec![name.clone()],
        Value::Array(_) => strings(value).map_err(|_| expected)?,
        _ => return Err(expected),
    };
    // Of several, Salt may leave one empty.
    let name = named.join(",");
    match named.iter().filter(|name| !name.is_empty()).try_for_each(|name| check_name(name)) {
        _ if name.is_empty() => Err("the name of a function, not an empty one"),
        Err(Unnamed::Control) => Err("the name of a function, without control characters"),
        Err(_) => Err("the name of a function, of at most 1024 bytes"),
        Ok(()) => Ok(name),
    }
}

/// Salt's `success`; a compound job has one for each function, by name or
/// (`multifunc_ordered`) by place.
fn success(value: &Value) -> Result<bool, &'static str> {
    let truth = |value: &Value| match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    };
    Ok(match value {
        Value::Object(map) => map.values().all(truth),
        Value::Array(list) => list.iter().all(truth),
        one => truth(one),
    })
}

/// Salt's `retcode`; of a compound job the first that is not 0. Salt itself stores
/// whatever a module left in `__context__["retcode"]`: what is no number counts as
/// Python counts it.
fn retcode(value: &Value) -> Result<i32, &'static str> {
    let code = |value: &Value| match value {
        Value::Number(number) => match number.as_i64() {
            Some(code) => code.clamp(i32::MIN.into(), i32::MAX.into()) as i32,
            None => 1,
        },
        Value::Null | Value::Bool(false) => 0,
        _ => 1,
    };
    let first = match value {
        Value::Object(map) => map.values().map(code).find(|code| *code != 0),
        Value::Array(list) => list.iter().map(code).find(|code| *code != 0),
        one => Some(code(one)),
    };
    Ok(first.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_host_looks_at_is_not_endless() {
        let value = format!("[{}0]", "0,".repeat(MAX_MEMBER / 2));
        for (member, other) in [("success", "fun"), ("ret_kwargs", "fun"), ("fun", "master")] {
            let text = format!(r#"{{"{member}":{value},"{other}":"f","jid":"1","id":"a"}}"#);
            let error = of(Kind::Return, &text).unwrap_err();
            assert!(error.contains(&format!("`{member}` has ")), "{error}");
        }
        let minions = format!(r#"["{}"]"#, "a\",\"".repeat(MAX_MINIONS / 4));
        let error = of(Kind::Load, &format!(r#"{{"jid":"1","fun":"f","minions":{minions}}}"#)).unwrap_err();
        assert!(error.contains("more than 16777216"), "{error}");
    }

    fn of(kind: Kind, text: &str) -> Result<Item, String> {
        parse(kind, text, || "20260101000000000001".to_owned()).map_err(|Invalid(reason)| reason)
    }

    fn a_return(text: &str) -> Return {
        match of(Kind::Return, text) {
            Ok(Item::Return(item)) => item,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_return_is_read() {
        let text =
            r#"{"jid":"2026","id":"m1","fun":"test.ping","return":{"a":[1.50]},"retcode":0,"success":true}"#;
        let item = a_return(text);
        assert_eq!((&*item.jid, &*item.minion, &*item.fun), ("2026", "m1", "test.ping"));
        assert_eq!((item.value(), &*item.full), (r#"{"a":[1.50]}"#, text));
        assert_eq!((item.success, item.retcode), (true, 0));
    }

    #[test]
    fn compound_jobs_are_read() {
        let item = a_return(
            r#"{"jid":"1","id":"m","fun":["a.b","c.d"],"return":{},"success":{"a.b":true,"c.d":false},"retcode":{"a.b":0,"c.d":3}}"#,
        );
        assert_eq!((&*item.fun, item.success, item.retcode), ("a.b,c.d", false, 3));
    }

    #[test]
    fn success_falls_back_on_the_retcode() {
        assert!(a_return(r#"{"jid":"1","id":"m","fun":"f","return":1}"#).success);
        assert!(!a_return(r#"{"jid":"1","id":"m","fun":"f","return":1,"retcode":2}"#).success);
    }

    #[test]
    fn volatile_fields_do_not_change_the_key() {
        let key = |text| a_return(text).key;
        let plain = key(r#"{"jid":"1","id":"m","fun":"f","return":{"a":1,"b":2}}"#);
        let bus =
            r#"{"cmd":"_return","_stamp":"x","ts":1,"return":{"b":2,"a":1},"fun":"f","id":"m","jid":"1"}"#;
        assert_eq!(plain, key(bus));
        for other in [
            r#"{"jid":"2","id":"m","fun":"f","return":{"a":1,"b":2}}"#,
            r#"{"jid":"1","id":"n","fun":"f","return":{"a":1,"b":2}}"#,
            r#"{"jid":"1","id":"m","fun":"g","return":{"a":1,"b":2}}"#,
            r#"{"jid":"1","id":"m","fun":"f","return":{"a":1,"b":3}}"#,
            r#"{"jid":"1","id":"m","fun":"f","return":{"a":1,"b":2},"resource_id":"r"}"#,
        ] {
            assert_ne!(plain, key(other), "{other}");
        }
    }

    #[test]
    fn req_is_given_a_job_id() {
        for text in [
            r#"{"jid": "req", "id":"m","fun":"f","return":{"é":1}}"#,
            r#"{"return":{"é":1},"id":"m","fun":"f","jid":"req"}"#,
        ] {
            let item = a_return(text);
            assert!(item.assigned);
            assert_eq!((&*item.jid, item.value()), ("20260101000000000001", r#"{"é":1}"#));
            assert_eq!(*item.full, text.replace("req", "20260101000000000001"));
            let again = a_return(&item.full);
            assert_eq!((again.key, again.value()), (item.key, item.value()));
        }
    }

    /// The journal keeps the text: what is read back is the same load, or there is none.
    #[test]
    fn a_return_is_the_load_of_its_own_job_where_its_text_is_one() {
        let load =
            a_return(r#"{"jid":"req","id":"m","fun":["a","b"],"return":1}"#).as_load().expect("a load");
        assert_eq!((&*load.fun, &load.minions[..]), ("a,b", &["m".to_owned()][..]));
        let Ok(Item::Load(again)) = of(Kind::Load, &load.full) else { panic!() };
        assert_eq!((again.jid, again.fun, again.minions), (load.jid, load.fun, load.minions));
        let odd = a_return(r#"{"jid":"req","id":"m","fun":"f","return":1,"minions":"x"}"#);
        assert!(odd.as_load().is_none());
    }

    #[test]
    fn later_minions_are_a_list_of_names_and_nothing_else() {
        let ids = ["a", "b"].map(str::to_owned);
        let Ok(Item::Minions(item)) = parse_minions("1", &ids) else { panic!() };
        assert_eq!((&*item.full, item.minions.len()), (r#"{"jid":"1","minions":["a","b"]}"#, 2));
        assert_eq!(minion_ids(r#" "a" "#).unwrap(), ["a"]);
        assert_eq!(minion_ids(r#"{"minions": ["a", "b"]}"#).unwrap(), ids);
        for bad in
            [r#""""#, r#""a\u0000""#, r#"{"minions": ["a", 1]}"#, r#"{"minions": [""]}"#, "{}", "null", "7"]
        {
            assert!(minion_ids(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_event_is_given_its_master() {
        let Ok(Item::Event(event)) = of(Kind::Event, r#"{"data":{"a":"é"},"tag":"t"}"#) else { panic!() };
        let event = event.with_master("m1");
        assert_eq!(&*event.full, r#"{"tag":"t","master":"m1","data":{"a":"é"}}"#);
        let Ok(Item::Event(again)) = of(Kind::Event, &event.full) else { panic!() };
        assert_eq!((again.data(), &again.master, again.key), (event.data(), &event.master, event.key));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, reason) in [
            (r#"{"id":"m","fun":"f"}"#, "`jid` is missing"),
            (r#"{"jid":1,"id":"m","fun":"f"}"#, "`jid` is a number, expected a string"),
            (r#"{"jid":"1","id":"","fun":"f"}"#, "`id` is empty"),
            (
                r#"{"jid":"1","id":"m","fun":"f\u0000"}"#,
                "`fun` is a string, expected the name of a function, without control characters",
            ),
            (r#"{"jid":"1","id":"m\u0000","fun":"f"}"#, r#"`id` has a control character: "m\u0000""#),
            (
                r#"{"jid":"1","id":"m","fun":["a",1]}"#,
                "`fun` is a list, expected a string, or a compound job's list of strings",
            ),
            (r#"{"jid":"1","id":"m","fun":"f","fun":"g"}"#, r#"has the key "fun" twice"#),
            (
                r#"{"jid":"1","id":"m","fun":"f","return":18446744073709551616}"#,
                "an integer of 20 digits does not fit 64 bits; send it as a string",
            ),
            ("[]", "is a list, expected an object"),
            (
                r#"{"jid":"1","id":"m","fun":"f","ret_kwargs":"x"}"#,
                "`ret_kwargs` is a string, expected an object",
            ),
        ] {
            assert_eq!(of(Kind::Return, text).unwrap_err(), reason, "{text}");
        }
        assert_eq!(
            of(Kind::Load, r#"{"jid":"req","fun":"f"}"#).unwrap_err().split(':').next(),
            Some("`jid` is `req`")
        );
        assert_eq!(
            of(Kind::Event, r#"{"tag":"t","data":[]}"#).unwrap_err(),
            "`data` is a list, expected an object"
        );
    }

    #[test]
    fn loads_minions_and_events_are_read() {
        match of(Kind::Load, r#"{"jid":"1","fun":"f","tgt":"*","Minions":["a","b"]}"#) {
            Ok(Item::Load(load)) => assert_eq!(load.minions, ["a", "b"]),
            other => panic!("{other:?}"),
        }
        match parse_minions("1", &["a".to_owned()]) {
            Ok(Item::Minions(item)) => assert_eq!((&*item.jid, item.minions), ("1", vec!["a".to_owned()])),
            other => panic!("{other:?}"),
        }
        match of(Kind::Event, r#"{"tag":"salt/x","data":{"_stamp":"s"},"master":"m"}"#) {
            Ok(Item::Event(event)) => {
                assert_eq!((event.data(), event.master.as_deref()), (r#"{"_stamp":"s"}"#, Some("m")))
            }
            other => panic!("{other:?}"),
        }
    }
}
