//! JSON text to BSON and back, without loss.
//!
//! There: an integer becomes an int32, int64 or decimal128 by its size, a number with
//! a fraction or an exponent a double, and keys stay as they are, dots and dollars
//! included. Back: what JSON lacks becomes MongoDB's relaxed extended JSON, except
//! that a whole decimal128 within 64 bits becomes the integer it was.
//!
//! Does not look for keys that stand twice: the host refuses them before it accepts
//! an item.

use std::fmt;

use bson::raw::CStr;
use bson::{Bson, Decimal128, RawArray, RawArrayBuf, RawBson, RawBsonRef, RawDocument, RawDocumentBuf};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// How deep MongoDB lets documents and arrays nest.
const DEEPEST: usize = 100;

/// The largest document that MongoDB takes, less the room for an `_id` that the
/// driver adds.
pub(super) const LARGEST: usize = (16 << 20) - 64;

/// JSON that no server would take as a document.
#[derive(Debug, thiserror::Error)]
pub(super) enum BsonError {
    #[error("not valid for BSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the document is nested deeper than {DEEPEST} levels")]
    Deep,
    #[error("the document takes at least {0} bytes of BSON; MongoDB takes {LARGEST}")]
    Large(usize),
    #[error("a JSON object was expected")]
    NotAnObject,
}

impl BsonError {
    /// The code that MongoDB itself has for it.
    pub(super) fn code(&self) -> i32 {
        match self {
            // FailedToParse, Overflow, BSONObjectTooLarge, TypeMismatch.
            Self::Json(_) => 9,
            Self::Deep => 15,
            Self::Large(_) => 10334,
            Self::NotAnObject => 14,
        }
    }
}

/// A JSON object as a document.
pub(super) fn document(json: &str) -> Result<RawDocumentBuf, BsonError> {
    let RawBson::Document(document) = value(json)? else { return Err(BsonError::NotAnObject) };
    let size = document.as_bytes().len();
    if size > LARGEST { Err(BsonError::Large(size)) } else { Ok(document) }
}

fn value(json: &str) -> Result<RawBson, BsonError> {
    // The depth is counted here, and once more than enough by serde_json.
    let Shape { deepest, commas } = Shape::of(json);
    if deepest > DEEPEST {
        return Err(BsonError::Deep);
    }
    // Before it is several times as large in memory.
    if commas > LARGEST / LEAST {
        return Err(BsonError::Large(commas * LEAST));
    }
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let value = Value.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// The least that a value takes in BSON, in bytes: its type, a key of one sign, and its end.
const LEAST: usize = 3;

/// What stands outside of strings.
#[derive(Default)]
struct Shape {
    /// The deepest nesting of brackets.
    deepest: usize,
    /// Each with a value before it.
    commas: usize,
}

impl Shape {
    fn of(json: &str) -> Self {
        let (mut shape, mut depth) = (Self::default(), 0_usize);
        let (mut in_string, mut escaped) = (false, false);
        for byte in json.bytes() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if in_string => escaped = true,
                b'"' => in_string = !in_string,
                b'[' | b'{' if !in_string => {
                    depth += 1;
                    shape.deepest = shape.deepest.max(depth);
                }
                b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
                b',' if !in_string => shape.commas += 1,
                _ => {}
            }
        }
        shape
    }
}

struct Value;

impl<'de> DeserializeSeed<'de> for Value {
    type Value = RawBson;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<RawBson, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value {
    type Value = RawBson;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<RawBson, E> {
        Ok(RawBson::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<RawBson, E> {
        Ok(RawBson::Boolean(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<RawBson, E> {
        Ok(i32::try_from(value).map_or(RawBson::Int64(value), RawBson::Int32))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<RawBson, E> {
        match i64::try_from(value) {
            Ok(value) => self.visit_i64(value),
            Err(_) => value.to_string().parse::<Decimal128>().map(RawBson::Decimal128).map_err(E::custom),
        }
    }

    fn visit_f64<E>(self, value: f64) -> Result<RawBson, E> {
        Ok(RawBson::Double(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<RawBson, E> {
        Ok(RawBson::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<RawBson, E> {
        Ok(RawBson::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<RawBson, A::Error> {
        let mut array = RawArrayBuf::new();
        while let Some(value) = values.next_element_seed(Value)? {
            array.push(value);
        }
        Ok(RawBson::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<RawBson, A::Error> {
        let mut document = RawDocumentBuf::new();
        while let Some(key) = entries.next_key::<String>()? {
            let key =
                <&CStr>::try_from(key.as_str()).map_err(|_| A::Error::custom("a key with a NUL in it"))?;
            document.append(key, entries.next_value_seed(Value)?);
        }
        Ok(RawBson::Document(document))
    }
}

/// A document as JSON text.
pub(super) fn json(document: &RawDocument) -> Result<String, JsonError> {
    let mut text = String::with_capacity(document.as_bytes().len());
    write_document(&mut text, document)?;
    Ok(text)
}

/// A document of the server that cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum JsonError {
    #[error("the server sent a document that is none: {0}")]
    Bson(#[from] bson::error::Error),
    #[error("a value of the server has no JSON: {0}")]
    Json(#[from] serde_json::Error),
}

fn write_document(text: &mut String, document: &RawDocument) -> Result<(), JsonError> {
    text.push('{');
    for (index, entry) in document.iter().enumerate() {
        let (key, value) = entry?;
        if index > 0 {
            text.push(',');
        }
        text.push_str(&serde_json::to_string(key.as_str())?);
        text.push(':');
        write_value(text, value)?;
    }
    text.push('}');
    Ok(())
}

fn write_array(text: &mut String, array: &RawArray) -> Result<(), JsonError> {
    text.push('[');
    for (index, value) in array.into_iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        write_value(text, value?)?;
    }
    text.push(']');
    Ok(())
}

fn write_value(text: &mut String, value: RawBsonRef<'_>) -> Result<(), JsonError> {
    match value {
        RawBsonRef::Document(document) => return write_document(text, document),
        RawBsonRef::Array(array) => return write_array(text, array),
        RawBsonRef::Null => text.push_str("null"),
        RawBsonRef::Boolean(value) => text.push_str(if value { "true" } else { "false" }),
        RawBsonRef::Int32(value) => text.push_str(&value.to_string()),
        RawBsonRef::Int64(value) => text.push_str(&value.to_string()),
        RawBsonRef::String(value) => text.push_str(&serde_json::to_string(value)?),
        RawBsonRef::Double(value) if value.is_finite() => text.push_str(&serde_json::to_string(&value)?),
        RawBsonRef::Double(value) => {
            let name = if value.is_nan() {
                "NaN"
            } else if value > 0.0 {
                "Infinity"
            } else {
                "-Infinity"
            };
            text.push_str(&format!(r#"{{"$numberDouble":"{name}"}}"#));
        }
        RawBsonRef::Decimal128(value) => match value.to_string() {
            whole if whole.parse::<u64>().is_ok() || whole.parse::<i64>().is_ok() => text.push_str(&whole),
            other => text.push_str(&format!(r#"{{"$numberDecimal":"{other}"}}"#)),
        },
        RawBsonRef::DateTime(value) => match value.try_to_rfc3339_string() {
            Ok(date) => text.push_str(&format!(r#"{{"$date":"{date}"}}"#)),
            // Beyond the year 9999.
            Err(_) => {
                text.push_str(&format!(r#"{{"$date":{{"$numberLong":"{}"}}}}"#, value.timestamp_millis()))
            }
        },
        other => text.push_str(&serde_json::to_string(&Bson::try_from(RawBson::from(other))?)?),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bson::oid::ObjectId;
    use bson::{DateTime, rawdoc};
    use proptest::prelude::*;
    use serde_json::{Map, Number, Value as Json};

    use super::*;

    fn there_and_back(text: &str) -> String {
        json(&document(text).expect(text)).expect(text)
    }

    #[test]
    fn numbers_keep_their_kind() {
        let document =
            document(r#"{"a":1,"b":2147483648,"c":18446744073709551615,"d":1.0,"e":-0.5e3}"#).expect("valid");
        let kind = |key: &str| document.get(key).expect("valid").expect("there").element_type();
        use bson::spec::ElementType::{Decimal128, Double, Int32, Int64};
        assert_eq!(["a", "b", "c", "d", "e"].map(kind), [Int32, Int64, Decimal128, Double, Double]);
        assert_eq!(
            json(&document).expect("valid"),
            r#"{"a":1,"b":2147483648,"c":18446744073709551615,"d":1.0,"e":-500.0}"#
        );
    }

    #[test]
    fn keys_and_texts_stay_as_they_are() {
        let text = r#"{"b.c":{"$set":[]},"a":"😀 \" \\ \u0000","":{},"2026-11-24T04:05:06":null}"#;
        assert_eq!(there_and_back(text), text);
    }

    #[test]
    fn what_json_lacks_is_extended_json() {
        let id = ObjectId::parse_str("64f0c0c0c0c0c0c0c0c0c0c0").expect("an id");
        let infinite = f64::NEG_INFINITY;
        let document =
            rawdoc! { "_id": id, "at": DateTime::from_millis(1_000), "x": infinite, "n": f64::NAN };
        let expected = r#"{"_id":{"$oid":"64f0c0c0c0c0c0c0c0c0c0c0"},"at":{"$date":"1970-01-01T00:00:01Z"},"x":{"$numberDouble":"-Infinity"},"n":{"$numberDouble":"NaN"}}"#;
        assert_eq!(json(&document).expect("valid"), expected);
        let fraction: Decimal128 = "1.5".parse().expect("a decimal");
        assert_eq!(json(&rawdoc! { "d": fraction }).expect("valid"), r#"{"d":{"$numberDecimal":"1.5"}}"#);
    }

    #[test]
    fn what_no_server_takes_is_refused() {
        let nested = |levels: usize| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
        assert!(document(&nested(DEEPEST)).is_ok());
        assert!(matches!(document(&nested(DEEPEST + 1)), Err(BsonError::Deep)));
        assert!(matches!(document(&"[".repeat(1_000_000)), Err(BsonError::Deep)));
        assert!(matches!(document(r#"{"a\u0000b":1}"#), Err(BsonError::Json(_))));
        assert!(matches!(document("{} {}"), Err(BsonError::Json(_))));
        assert!(matches!(document("[]"), Err(BsonError::NotAnObject)));
        let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(LARGEST));
        assert!(matches!(document(&large), Err(BsonError::Large(_))));
        let many = format!(r#"{{"a":[{}1]}}"#, "1,".repeat(LARGEST / LEAST + 1));
        assert!(matches!(document(&many), Err(BsonError::Large(bytes)) if bytes > LARGEST));
        assert!(document(r#"{"[[[": "\"[{[{"}"#).is_ok());
    }

    fn any_json() -> impl Strategy<Value = Json> {
        let key = "[^\\x00]{0,8}";
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            any::<i64>().prop_map(Json::from),
            any::<u64>().prop_map(Json::from),
            any::<i32>().prop_map(Json::from),
            any::<f64>().prop_filter_map("finite", |number| Number::from_f64(number).map(Json::Number)),
            any::<i32>().prop_map(|number| Json::from(f64::from(number))),
            any::<String>().prop_map(Json::from),
        ];
        leaf.prop_recursive(6, 64, 8, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Json::Array),
                prop::collection::vec((key, inner), 0..8)
                    .prop_map(|entries| Json::Object(entries.into_iter().collect::<Map<_, _>>())),
            ]
        })
    }

    proptest! {
        #[test]
        fn there_and_back_is_the_same(value in any_json()) {
            let text = Json::Object(Map::from_iter([("value".to_owned(), value)])).to_string();
            prop_assert_eq!(there_and_back(&text), text);
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = document(&text);
        }
    }
}
