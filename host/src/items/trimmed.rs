//! What Salt leaves out of its event bus, and of its own job cache.

use memchr::memmem;
use serde_json::{Map, Value};

use super::{Item, Kind, Return, parse};

/// What Salt writes in place of a value that is too large for its bus (`salt.utils.dicttrim`).
const TRIMMED: &str = "VALUE_TRIMMED";

/// What marks a return that has such a value in it.
const MARK: &str = "value_trimmed";

/// Marks a return of which Salt left something out; says whether it is one.
pub(crate) fn mark_trimmed(answer: &mut Map<String, Value>) -> bool {
    let trimmed = answer.get("return").is_some_and(is_trimmed);
    if trimmed {
        answer.insert(MARK.to_owned(), Value::Bool(true));
    }
    trimmed
}

/// The same of a return as a client sent it: one of which something is left out, marked; none where
/// nothing is, or where it is marked already. A master's `master_job_cache` gets such ones.
pub(crate) fn marked(answer: &Return) -> Option<Return> {
    let value = answer.value();
    memmem::find(value.as_bytes(), TRIMMED.as_bytes())?;
    // Deep ones are read nowhere else either.
    if !serde_json::from_str(value).is_ok_and(|value: Value| is_trimmed(&value)) {
        return None;
    }
    let rest = answer.full.trim_start().strip_prefix('{')?;
    if memmem::find(rest.as_bytes(), format!("\"{MARK}\"").as_bytes()).is_some() {
        return None;
    }
    // As text: what Salt sent stays as it is.
    match parse(Kind::Return, &format!("{{\"{MARK}\":true,{rest}"), String::new) {
        Ok(Item::Return(marked)) => Some(Return { assigned: answer.assigned, ..marked }),
        _ => None,
    }
}

fn is_trimmed(value: &Value) -> bool {
    match value {
        Value::String(text) => text == TRIMMED,
        // Salt looks into dictionaries only; a list is left out whole.
        Value::Object(members) => members.values().any(is_trimmed),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> Return {
        match parse(Kind::Return, text, String::new) {
            Ok(Item::Return(answer)) => answer,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_lacks_something_is_marked_once_and_all_else_of_it_stays() {
        let text = r#"{"jid":"1","id":"a","fun":"f","return":{"big":"VALUE_TRIMMED","n":1.50},"x": 1e3}"#;
        let marked_once = marked(&answer(text)).expect("it lacks something");
        assert_eq!(*marked_once.full, format!("{{\"value_trimmed\":true,{}", &text[1..]));
        assert!(marked(&marked_once).is_none());
        for whole in [r#""a VALUE_TRIMMED""#, r#"["VALUE_TRIMMED"]"#, "true"] {
            assert!(
                marked(&answer(&format!(r#"{{"jid":"1","id":"a","fun":"f","return":{whole}}}"#))).is_none()
            );
        }
    }
}
