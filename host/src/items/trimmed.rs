//! What Salt leaves out of its event bus, and of its own job cache.

use serde_json::{Map, Value};

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

fn is_trimmed(value: &Value) -> bool {
    match value {
        Value::String(text) => text == TRIMMED,
        // Salt looks into dictionaries only; a list is left out whole.
        Value::Object(members) => members.values().any(is_trimmed),
        _ => false,
    }
}
