//! The contract's values as PostgreSQL's parameters, and its columns as the contract's values.
//!
//! A parameter goes over as text, and the server reads it as the type that it wants in that
//! place: so a plugin hands a date, a UUID or a JSON document over as text, without a cast.
//! Columns come as PostgreSQL's binary forms (`src/backend/utils/adt` of its source).

use std::error::Error;
use std::fmt::Write;

use bytes::BytesMut;
use jiff::civil;
use tokio_postgres::Row;
use tokio_postgres::types::{Format, FromSql, IsNull, Kind, ToSql, Type, to_sql_checked};

use super::{SqlError, SqlErrorKind, SqlValue};

type Failure = Box<dyn Error + Sync + Send>;

/// A parameter, whatever the type that the server wants.
#[derive(Debug)]
pub(super) struct Param(pub(super) SqlValue);

/// Whether a value can go over as the text of this type.
pub(super) fn fits(value: &SqlValue, wanted: &Type) -> bool {
    match value {
        SqlValue::Bytes(bytes) => *wanted == Type::BYTEA || std::str::from_utf8(bytes).is_ok(),
        _ => true,
    }
}

impl ToSql for Param {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Failure> {
        match &self.0 {
            SqlValue::Null => return Ok(IsNull::Yes),
            SqlValue::Boolean(value) => write!(out, "{value}")?,
            SqlValue::Integer(value) => write!(out, "{value}")?,
            SqlValue::Float(value) if value.is_infinite() => {
                out.write_str(if *value > 0.0 { "Infinity" } else { "-Infinity" })?;
            }
            SqlValue::Float(value) => write!(out, "{value}")?,
            SqlValue::Text(value) => out.extend_from_slice(value.as_bytes()),
            SqlValue::Bytes(value) => out.extend_from_slice(value),
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, wanted: &Type) -> Format {
        match &self.0 {
            SqlValue::Bytes(_) if *wanted == Type::BYTEA => Format::Binary,
            _ => Format::Text,
        }
    }

    to_sql_checked!();
}

/// A row of an answer.
pub(super) fn row(row: &Row) -> Result<Vec<SqlValue>, SqlError> {
    let column = |index: usize| {
        let value: Result<Option<Column>, _> = row.try_get(index);
        value.map(|value| value.map_or(SqlValue::Null, |Column(value)| value)).map_err(|error| {
            let why = error.source().map_or_else(|| error.to_string(), ToString::to_string);
            let name = row.columns()[index].name();
            let message = format!("cannot read the column `{name}` of the answer: {why}");
            SqlError::new(SqlErrorKind::Other, message, false)
        })
    };
    (0..row.len()).map(column).collect()
}

struct Column(SqlValue);

impl<'a> FromSql<'a> for Column {
    fn from_sql(of: &Type, bytes: &'a [u8]) -> Result<Self, Failure> {
        decode(of, bytes).map(Column)
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

fn decode(of: &Type, bytes: &[u8]) -> Result<SqlValue, Failure> {
    Ok(match *of {
        Type::BOOL => SqlValue::Boolean(bool::from_sql(of, bytes)?),
        Type::INT2 => SqlValue::Integer(i16::from_sql(of, bytes)?.into()),
        Type::INT4 => SqlValue::Integer(i32::from_sql(of, bytes)?.into()),
        Type::INT8 => SqlValue::Integer(i64::from_sql(of, bytes)?),
        Type::OID => SqlValue::Integer(u32::from_sql(of, bytes)?.into()),
        Type::FLOAT4 => SqlValue::Float(f32::from_sql(of, bytes)?.into()),
        Type::FLOAT8 => SqlValue::Float(f64::from_sql(of, bytes)?),
        Type::BYTEA => SqlValue::Bytes(bytes.to_vec()),
        Type::VOID => SqlValue::Null,
        Type::NUMERIC => SqlValue::Text(numeric(bytes)?),
        Type::DATE => SqlValue::Text(civil::Date::from_sql(of, bytes)?.to_string()),
        Type::TIME => SqlValue::Text(civil::Time::from_sql(of, bytes)?.to_string()),
        Type::TIMESTAMP => SqlValue::Text(moment(civil::DateTime::from_sql(of, bytes)?)),
        Type::TIMESTAMPTZ => {
            let moment_in_utc = jiff::Timestamp::from_sql(of, bytes)?;
            SqlValue::Text(format!("{}+00", moment(jiff::tz::Offset::UTC.to_datetime(moment_in_utc))))
        }
        Type::UUID => SqlValue::Text(uuid(bytes)?),
        Type::JSONB => match bytes.split_first() {
            Some((1, text)) => text_of(text)?,
            _ => return Err("a JSONB document of an unknown version".into()),
        },
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::JSON | Type::XML | Type::UNKNOWN => {
            text_of(bytes)?
        }
        _ => match of.kind() {
            Kind::Domain(inner) => decode(inner, bytes)?,
            Kind::Enum(_) => text_of(bytes)?,
            _ if of.name() == "citext" => text_of(bytes)?,
            _ => return Err(format!("it is of the type `{of}`; write `::text` behind it").into()),
        },
    })
}

fn text_of(bytes: &[u8]) -> Result<SqlValue, Failure> {
    Ok(SqlValue::Text(std::str::from_utf8(bytes)?.to_owned()))
}

/// As PostgreSQL prints it: `2026-11-24 04:05:06.000001`.
fn moment(moment: civil::DateTime) -> String {
    format!("{} {}", moment.date(), moment.time())
}

fn uuid(bytes: &[u8]) -> Result<String, Failure> {
    let digits = hex::encode(<[u8; 16]>::try_from(bytes)?);
    let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
    Ok(parts.join("-"))
}

/// Four numbers of 16 bits (how many digits follow, the weight of the first, the sign, how many
/// decimals there are), then the digits, each from 0 to 9999 (`numeric_send` in `numeric.c`).
fn numeric(bytes: &[u8]) -> Result<String, Failure> {
    let (words, odd) = bytes.as_chunks::<2>();
    let words: Vec<i16> = words.iter().map(|word| i16::from_be_bytes(*word)).collect();
    let [count, weight, sign, scale, digits @ ..] = words.as_slice() else {
        return Err("a number that is cut short".into());
    };
    if !odd.is_empty() || usize::try_from(*count).ok() != Some(digits.len()) {
        return Err("a number that is cut short".into());
    }
    let minus = match sign.cast_unsigned() {
        0 => "",
        0x4000 => "-",
        0xc000 => return Ok("NaN".to_owned()),
        0xd000 => return Ok("Infinity".to_owned()),
        0xf000 => return Ok("-Infinity".to_owned()),
        other => return Err(format!("a number with the sign {other:#x}").into()),
    };
    let (weight, scale) = (i32::from(*weight), usize::from(scale.cast_unsigned()));
    let digit = |place: i32| usize::try_from(weight - place).ok().and_then(|at| digits.get(at)).unwrap_or(&0);
    let mut text = minus.to_owned();
    write!(text, "{}", digit(weight.max(0)))?;
    for place in (0..weight.max(0)).rev() {
        write!(text, "{:04}", digit(place))?;
    }
    if scale > 0 {
        let mut decimals = String::new();
        for place in 1..=i32::try_from(scale.div_ceil(4))? {
            write!(decimals, "{:04}", digit(-place))?;
        }
        write!(text, ".{}", &decimals[..scale])?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(words: &[i32]) -> String {
        let bytes: Vec<u8> = words.iter().flat_map(|word| (*word as u16).to_be_bytes()).collect();
        numeric(&bytes).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn numbers_are_as_postgresql_prints_them() {
        assert_eq!(number(&[0, 0, 0, 0]), "0");
        assert_eq!(number(&[1, 0, 0, 0, 7]), "7");
        assert_eq!(number(&[2, 1, 0x4000, 0, 12, 34]), "-120034");
        // Digits that are zero at the end are left out.
        assert_eq!(number(&[1, 2, 0, 0, 5]), "500000000");
        assert_eq!(number(&[2, 0, 0, 2, 1, 2500]), "1.25");
        assert_eq!(number(&[1, -1, 0, 5, 12]), "0.00120");
        assert_eq!(number(&[1, -2, 0x4000, 8, 1]), "-0.00000001");
        assert_eq!(number(&[1, 0, 0, 3, 3]), "3.000");
        assert_eq!(number(&[0, 0, 0xc000, 0]), "NaN");
        assert!(numeric(&[0, 1, 0, 0, 0, 0, 0, 0]).is_err() && numeric(&[0]).is_err());
    }

    #[test]
    fn a_parameter_goes_as_text() {
        let text = |value: SqlValue, wanted: &Type| {
            let mut out = BytesMut::new();
            let param = Param(value);
            param.to_sql(wanted, &mut out).unwrap_or_else(|error| panic!("{error}"));
            (param.encode_format(wanted) as i16, out.to_vec())
        };
        assert_eq!(text(SqlValue::Text("{}".to_owned()), &Type::JSONB), (0, b"{}".to_vec()));
        assert_eq!(text(SqlValue::Float(f64::NEG_INFINITY), &Type::FLOAT8), (0, b"-Infinity".to_vec()));
        assert_eq!(text(SqlValue::Float(1e300), &Type::FLOAT8).1.len(), 301);
        assert_eq!(text(SqlValue::Bytes(vec![0, 255]), &Type::BYTEA), (1, vec![0, 255]));
        assert_eq!(text(SqlValue::Bytes(b"a".to_vec()), &Type::TEXT), (0, b"a".to_vec()));
    }
}
