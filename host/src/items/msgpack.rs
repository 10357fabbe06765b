//! MessagePack as Salt packs it, to JSON as Salt's modules of this host write it.
//!
//! The same value must have the same form on both ways, the event bus and a minion's module
//! (`host/salt/_returner_host.py`, `encode`): only then is it known for the same. What JSON
//! has no form for:
//!
//! - bytes: the text if they are UTF-8, or else `{"__bytes__": "base64"}`
//! - text that is not UTF-8: each wrong byte as `\udcXX`, as Python shows it
//! - NaN and infinities: text
//! - keys that are no text: their JSON as text
//! - a datetime (Salt's extension 78): as ISO 8601 has it
//! - levels beyond [`MAX_DEPTH`]: text

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rmpv::ValueRef;
use serde_json::{Map, Number, Value, json};

/// As in `_returner_host.py`.
const MAX_DEPTH: usize = 100;

/// Salt's extension types (`salt.payload`).
const DATETIME: i8 = 78;

/// The deepest nesting that is read at all.
const MAX_READ: usize = 1024;

/// Bytes that are not what Salt packs.
#[derive(Debug, thiserror::Error)]
#[error("it is no MessagePack: {0}")]
pub(crate) struct NoMsgpack(String);

/// Reads one value, which takes all of the bytes.
pub(crate) fn from_msgpack(bytes: &[u8]) -> Result<Value, NoMsgpack> {
    let mut rest = bytes;
    let value = rmpv::decode::read_value_ref_with_max_depth(&mut rest, MAX_READ)
        .map_err(|error| NoMsgpack(error.to_string()))?;
    match rest.len() {
        0 => Ok(plain(&value, 0)),
        more => Err(NoMsgpack(format!("{more} bytes follow its end"))),
    }
}

fn plain(value: &ValueRef<'_>, depth: usize) -> Value {
    match value {
        ValueRef::Nil => Value::Null,
        ValueRef::Boolean(value) => Value::Bool(*value),
        ValueRef::Integer(value) => match (value.as_u64(), value.as_i64()) {
            (Some(value), _) => value.into(),
            (None, Some(value)) => value.into(),
            (None, None) => Value::Null,
        },
        ValueRef::F32(value) => float(f64::from(*value)),
        ValueRef::F64(value) => float(*value),
        ValueRef::String(value) => Value::String(text(value.as_bytes())),
        ValueRef::Binary(value) => bytes(value),
        ValueRef::Ext(DATETIME, value) => Value::String(datetime(&text(value))),
        ValueRef::Ext(_, value) => bytes(value),
        ValueRef::Array(_) | ValueRef::Map(_) if depth > MAX_DEPTH => Value::String(value.to_string()),
        ValueRef::Array(values) => values.iter().map(|value| plain(value, depth + 1)).collect(),
        ValueRef::Map(members) => {
            let mut map = Map::with_capacity(members.len());
            for (key, value) in members {
                map.insert(key_of(key), plain(value, depth + 1));
            }
            Value::Object(map)
        }
    }
}

fn key_of(key: &ValueRef<'_>) -> String {
    match plain(key, MAX_DEPTH) {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

fn float(value: f64) -> Value {
    match Number::from_f64(value) {
        Some(number) => Value::Number(number),
        None if value.is_nan() => json!("NaN"),
        None if value > 0.0 => json!("Infinity"),
        None => json!("-Infinity"),
    }
}

fn bytes(value: &[u8]) -> Value {
    match std::str::from_utf8(value) {
        Ok(text) => json!(text),
        Err(_) => json!({ "__bytes__": STANDARD.encode(value) }),
    }
}

fn text(value: &[u8]) -> String {
    let mut text = String::with_capacity(value.len());
    for chunk in value.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| format!("\\udc{byte:02x}")));
    }
    text
}

/// `20260214T09:30:12.345678` to `2026-02-14T09:30:12.345678`; without the fraction where it
/// is none, as Python's `isoformat`.
fn datetime(text: &str) -> String {
    let Some((year, rest)) = text.split_at_checked(4) else { return text.to_owned() };
    let Some((month, rest)) = rest.split_at_checked(2) else { return text.to_owned() };
    let whole = format!("{year}-{month}-{rest}");
    whole.strip_suffix(".000000").unwrap_or(&whole).to_owned()
}

#[cfg(test)]
mod tests {
    use rmpv::Value as Packed;

    use super::*;

    fn read(value: &Packed) -> Value {
        let mut packed = Vec::new();
        rmpv::encode::write_value(&mut packed, value).expect("memory can be written to");
        from_msgpack(&packed).expect("it is MessagePack")
    }

    #[test]
    fn each_value_has_the_form_of_salts_modules() {
        let invalid = |bytes: &[u8]| {
            let mut packed = vec![0xd9, bytes.len() as u8];
            packed.extend(bytes);
            from_msgpack(&packed).expect("text")
        };
        assert_eq!(invalid(b"a\xffb"), json!("a\\udcffb"));
        assert_eq!(read(&Packed::from(u64::MAX)), json!(u64::MAX));
        assert_eq!(read(&Packed::from(i64::MIN)), json!(i64::MIN));
        assert_eq!(read(&Packed::F64(f64::NAN)), json!("NaN"));
        assert_eq!(read(&Packed::F64(f64::NEG_INFINITY)), json!("-Infinity"));
        assert_eq!(read(&Packed::Binary(b"text".to_vec())), json!("text"));
        assert_eq!(read(&Packed::Binary(vec![0xff, 0])), json!({"__bytes__": "/wA="}));
        let moment = |text: &str| read(&Packed::Ext(78, text.as_bytes().to_vec()));
        assert_eq!(moment("20260214T09:30:12.345678"), json!("2026-02-14T09:30:12.345678"));
        assert_eq!(moment("20260214T09:30:12.000000"), json!("2026-02-14T09:30:12"));
        let map =
            Packed::Map(vec![(1.into(), Packed::Nil), (true.into(), "x".into()), (Packed::Nil, 2.into())]);
        assert_eq!(read(&map), json!({"1": null, "true": "x", "null": 2}));
    }

    #[test]
    fn very_deep_values_end_in_text_or_an_error_and_never_in_a_crash() {
        let deep = |levels: usize| [vec![0x91; levels], vec![0xc0]].concat();
        assert!(from_msgpack(&deep(90)).is_ok());
        let read = from_msgpack(&deep(500)).expect("it is read");
        assert!(read.to_string().len() > 500);
        assert!(from_msgpack(&deep(1_000_000)).is_err());
        assert!(from_msgpack(&[0xc0, 0xc0]).is_err());
        assert!(from_msgpack(&[0xdf, 0xff, 0xff, 0xff, 0xff]).is_err());
    }
}
