//! Text to [`Item`]: which members an item must have and of what type.
//!
//! What Salt leaves open is taken as Salt's own returners take it: a return without
//! `success` has the success that its `retcode` says, one without `return` returned
//! null. What no store could file is refused: a missing or mistyped `jid`, `id` or
//! `fun`.

mod fields;
mod members;

use std::sync::Arc;

use super::json::{expanded, quote};
use super::{Event, Item, Key, Kind, Load, Minions, Return, Route};
use fields::{functions, names, retcode, string_or_null, success};
use members::{MAX_MINIONS, Members, mistyped};

/// Why a text is not an item; names the member.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Invalid(pub(crate) String);

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
    let data = members.present("data")?;
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

#[cfg(test)]
mod tests {
    use super::members::MAX_MEMBER;
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
