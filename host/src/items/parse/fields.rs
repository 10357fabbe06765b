//! What Salt writes into the members of an item. Each reads a value, or says what it expected.

use serde_json::Value;

/// The longest `jid`, `id`, `tag` and name of a function, in bytes. MySQL's schema
/// of Salt has 255 characters for the first three.
pub(super) const MAX_NAME: usize = 1024;

/// Why a text names nothing.
pub(super) enum Unnamed {
    Empty,
    Control,
    Long,
}

pub(super) fn check_name(text: &str) -> Result<(), Unnamed> {
    match text {
        "" => Err(Unnamed::Empty),
        _ if text.chars().any(char::is_control) => Err(Unnamed::Control),
        _ if text.len() > MAX_NAME => Err(Unnamed::Long),
        _ => Ok(()),
    }
}

pub(super) fn string(value: Value) -> Result<String, &'static str> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err("a string"),
    }
}

pub(super) fn string_or_null(value: Value) -> Result<Option<String>, &'static str> {
    match value {
        Value::Null => Ok(None),
        value => string(value).map(|text| Some(text).filter(|text| !text.is_empty())),
    }
}

fn strings(value: Value) -> Result<Vec<String>, &'static str> {
    let expected = "a list of strings";
    let Value::Array(list) = value else { return Err(expected) };
    list.into_iter().map(|item| string(item).map_err(|_| expected)).collect()
}

/// Names of minions.
pub(super) fn names(value: Value) -> Result<Vec<String>, &'static str> {
    let names = strings(value)?;
    match names.iter().all(|name| check_name(name).is_ok()) {
        true => Ok(names),
        false => Err("a list of names: none empty, with control characters, or of more than 1024 bytes"),
    }
}

/// One function, or a compound job's list of them.
pub(super) fn functions(value: Value) -> Result<String, &'static str> {
    let expected = "a string, or a compound job's list of strings";
    let named = match value {
        Value::String(name) => vec![name],
        Value::Array(_) => strings(value).map_err(|_| expected)?,
        _ => return Err(expected),
    };
    // Of several, Salt may leave one empty.
    let checked = named.iter().filter(|name| !name.is_empty()).try_for_each(|name| check_name(name));
    let name = named.join(",");
    match checked {
        _ if name.is_empty() => Err("the name of a function, not an empty one"),
        Err(Unnamed::Control) => Err("the name of a function, without control characters"),
        Err(_) => Err("the name of a function, of at most 1024 bytes"),
        Ok(()) => Ok(name),
    }
}

/// Salt's `success`; a compound job has one for each function, by name or
/// (`multifunc_ordered`) by place.
pub(super) fn success(value: Value) -> Result<bool, &'static str> {
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
        one => truth(&one),
    })
}

/// Salt's `retcode`; of a compound job the first that is not 0. Salt itself stores
/// whatever a module left in `__context__["retcode"]`: what is no number counts as
/// Python counts it.
pub(super) fn retcode(value: Value) -> Result<i32, &'static str> {
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
        one => Some(code(&one)),
    };
    Ok(first.unwrap_or(0))
}
