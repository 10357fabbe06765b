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

/// Reads one value, which takes all of the bytes, and has no more than `most` in it: each takes
/// many times its bytes once it is read.
pub(crate) fn from_msgpack(bytes: &[u8], most: usize) -> Result<Value, NoMsgpack> {
    if has_more(bytes, most) {
        return Err(NoMsgpack(format!("there are more than {most} values in it")));
    }
    let mut rest = bytes;
    let value = rmpv::decode::read_value_ref_with_max_depth(&mut rest, MAX_READ)
        .map_err(|error| NoMsgpack(error.to_string()))?;
    match rest.len() {
        0 => Ok(plain(&value, 0)),
        more => Err(NoMsgpack(format!("{more} bytes follow its end"))),
    }
}

/// Whether there are more values than `most`, keys and all levels included. What is cut off or
/// wrong is for its reader to say.
fn has_more(bytes: &[u8], most: usize) -> bool {
    let (mut rest, mut missing, mut seen) = (bytes, 1_u64, 0);
    while missing > 0 {
        let Some((members, behind)) = rest.split_first().and_then(|(marker, rest)| step(*marker, rest))
        else {
            return false;
        };
        seen += 1;
        if seen > most {
            return true;
        }
        (rest, missing) = (behind, (missing - 1).saturating_add(members));
    }
    false
}

/// How many values stand in the one with this marker, and what follows its own bytes.
fn step(marker: u8, rest: &[u8]) -> Option<(u64, &[u8])> {
    let (members, (length, rest)) = match marker {
        0x80..=0x8f => (2 * u64::from(marker & 0x0f), (0, rest)),
        0x90..=0x9f => (u64::from(marker & 0x0f), (0, rest)),
        0xdc..=0xdf => {
            let (said, rest) = number(rest, if matches!(marker, 0xdc | 0xde) { 2 } else { 4 })?;
            (if marker < 0xde { said } else { 2 * said }, (0, rest))
        }
        0xa0..=0xbf => (0, (u64::from(marker & 0x1f), rest)),
        0xc4 | 0xd9 => (0, number(rest, 1)?),
        0xc5 | 0xda => (0, number(rest, 2)?),
        0xc6 | 0xdb => (0, number(rest, 4)?),
        // The type of an extension stands before it.
        0xc7..=0xc9 => {
            let (said, rest) = number(rest, 1 << (marker - 0xc7))?;
            (0, (said + 1, rest))
        }
        0xd4..=0xd8 => (0, (1 + (1 << (marker - 0xd4)), rest)),
        0xca => (0, (4, rest)),
        0xcb => (0, (8, rest)),
        0xcc..=0xcf => (0, (1 << (marker - 0xcc), rest)),
        0xd0..=0xd3 => (0, (1 << (marker - 0xd0), rest)),
        _ => (0, (0, rest)),
    };
    Some((members, rest.get(usize::try_from(length).ok()?..)?))
}

/// The number in so many bytes, and what follows it.
fn number(rest: &[u8], width: usize) -> Option<(u64, &[u8])> {
    let (said, rest) = rest.split_at_checked(width)?;
    Some((said.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)), rest))
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

    fn packed(value: &Packed) -> Vec<u8> {
        let mut packed = Vec::new();
        rmpv::encode::write_value(&mut packed, value).expect("memory can be written to");
        packed
    }

    fn from_msgpack(bytes: &[u8]) -> Result<Value, NoMsgpack> {
        super::from_msgpack(bytes, 1 << 20)
    }

    fn read(value: &Packed) -> Value {
        from_msgpack(&packed(value)).expect("it is MessagePack")
    }

    fn count(value: &Packed) -> usize {
        match value {
            Packed::Array(values) => 1 + values.iter().map(count).sum::<usize>(),
            Packed::Map(members) => {
                1 + members.iter().map(|(key, value)| count(key) + count(value)).sum::<usize>()
            }
            _ => 1,
        }
    }

    /// One of each form that MessagePack has.
    fn every_form() -> Packed {
        let mut values = vec![Packed::Nil, true.into(), Packed::F32(0.5), Packed::F64(0.5)];
        values.extend([0_u64, 1 << 7, 1 << 8, 1 << 16, 1 << 32].map(Packed::from));
        values.extend([-1_i64, -(1 << 7), -(1 << 8), -(1 << 16), -(1 << 33)].map(Packed::from));
        for length in [0, 1, 2, 3, 4, 8, 16, 40, 300, 70_000] {
            values.push("x".repeat(length).into());
            values.push(Packed::Binary(vec![0xff; length]));
            values.push(Packed::Ext(7, vec![0xff; length]));
            values.push(Packed::Array(vec![Packed::Nil; length]));
            values.push(Packed::Map((0..length).map(|key| (key.into(), vec![Packed::Nil].into())).collect()));
        }
        Packed::Array(values)
    }

    #[test]
    fn values_are_counted_before_they_are_read() {
        let (value, bytes) = (every_form(), packed(&every_form()));
        let all = count(&value);
        assert!(super::from_msgpack(&bytes, all).is_ok());
        let error = super::from_msgpack(&bytes, all - 1).expect_err("one too many");
        assert!(error.to_string().ends_with(&format!("there are more than {} values in it", all - 1)));
        // A value is a byte, and much more in memory.
        for (each, length) in [(&b"\xc0"[..], 1), (b"\x80", 1), (b"\x91\xc0", 2), (b"\x81\xc0\xc0", 3)] {
            let many = 1_u32 << 20;
            let bytes = [&[0xdd][..], &many.to_be_bytes(), &each.repeat(many as usize)].concat();
            let error = from_msgpack(&bytes).expect_err("too many");
            assert!(error.to_string().contains("1048576 values"), "{each:?}");
            assert!(!has_more(&bytes, many as usize * length + 1), "{each:?}");
        }
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
