//! MySQL's binary rows as the contract's values.
//!
//! Dates and times are read here, byte by byte, and become the text that MySQL
//! prints: types of a date library could not hold MySQL's zero dates, nor times
//! beyond a day.

use std::fmt::Write;

use sqlx::mysql::{MySqlRow, MySqlTypeInfo, MySqlValueRef};
use sqlx::{Decode, MySql, Row, Type, TypeInfo, ValueRef};

use super::{SqlError, SqlErrorKind, SqlValue};

type DecodeError = Box<dyn std::error::Error + Send + Sync>;

/// A row of a prepared statement.
pub(super) fn row(row: &MySqlRow) -> Result<Vec<SqlValue>, SqlError> {
    let column = |index| {
        let value = row.try_get_raw(index).map_err(|error| unreadable(index, &error))?;
        decode(value).map_err(|error| unreadable(index, &*error))
    };
    (0..row.len()).map(column).collect()
}

fn unreadable(index: usize, error: &dyn std::error::Error) -> SqlError {
    SqlError::new(
        SqlErrorKind::Other,
        format!("cannot read the column {index} of the answer: {error}"),
        false,
    )
}

fn decode(value: MySqlValueRef<'_>) -> Result<SqlValue, DecodeError> {
    let info = value.type_info().into_owned();
    if value_is_null(&value, &info) {
        return Ok(SqlValue::Null);
    }
    match info.name() {
        "BOOLEAN" => {
            let number = <i64 as Decode<MySql>>::decode(value)?;
            Ok(if matches!(number, 0 | 1) {
                SqlValue::Boolean(number == 1)
            } else {
                SqlValue::Integer(number)
            })
        }
        "TINYINT" | "SMALLINT" | "MEDIUMINT" | "INT" | "BIGINT" => {
            Ok(SqlValue::Integer(<i64 as Decode<MySql>>::decode(value)?))
        }
        "TINYINT UNSIGNED" | "SMALLINT UNSIGNED" | "MEDIUMINT UNSIGNED" | "INT UNSIGNED"
        | "BIGINT UNSIGNED" | "YEAR" | "BIT" => unsigned(<u64 as Decode<MySql>>::decode(value)?),
        "FLOAT" => Ok(SqlValue::Float(<f32 as Decode<MySql>>::decode(value)?.into())),
        "DOUBLE" => Ok(SqlValue::Float(<f64 as Decode<MySql>>::decode(value)?)),
        "DATE" => date_time(bytes(value)?, false),
        "DATETIME" | "TIMESTAMP" => date_time(bytes(value)?, true),
        "TIME" => time(bytes(value)?),
        "DECIMAL" | "JSON" | "SET" => text(bytes(value)?),
        // A collation that compares bytes does not make a text binary.
        _ if <str as Type<MySql>>::compatible(&info) => text(bytes(value)?),
        _ => Ok(SqlValue::Bytes(bytes(value)?.to_owned())),
    }
}

/// Whether it is NULL. The driver takes zero dates for NULL too; they are values.
fn value_is_null(value: &MySqlValueRef<'_>, info: &MySqlTypeInfo) -> bool {
    value.is_null()
        && !(matches!(info.name(), "DATE" | "DATETIME" | "TIMESTAMP") && bytes(value.clone()).is_ok())
}

fn bytes<'r>(value: MySqlValueRef<'r>) -> Result<&'r [u8], DecodeError> {
    <&[u8] as Decode<'r, MySql>>::decode(value)
}

fn unsigned(number: u64) -> Result<SqlValue, DecodeError> {
    Ok(i64::try_from(number).map_or_else(|_| SqlValue::Text(number.to_string()), SqlValue::Integer))
}

/// A text that is not UTF-8 (a server that ignores the session's character set) stays
/// what it is.
fn text(bytes: &[u8]) -> Result<SqlValue, DecodeError> {
    Ok(match std::str::from_utf8(bytes) {
        Ok(text) => SqlValue::Text(text.to_owned()),
        Err(_) => SqlValue::Bytes(bytes.to_owned()),
    })
}

/// A length, then year (two bytes), month, day; hour, minute, second; microseconds
/// (four bytes). Trailing zeroes are left out.
fn date_time(bytes: &[u8], with_time: bool) -> Result<SqlValue, DecodeError> {
    let fields = padded::<11>(bytes)?;
    let year = u16::from_le_bytes([fields[0], fields[1]]);
    let mut text = format!("{year:04}-{:02}-{:02}", fields[2], fields[3]);
    if with_time {
        write!(text, " {:02}:{:02}:{:02}", fields[4], fields[5], fields[6])?;
        micros(&mut text, [fields[7], fields[8], fields[9], fields[10]])?;
    }
    Ok(SqlValue::Text(text))
}

/// A length, then whether it is negative, days (four bytes), hour, minute, second;
/// microseconds (four bytes).
fn time(bytes: &[u8]) -> Result<SqlValue, DecodeError> {
    let fields = padded::<12>(bytes)?;
    let days = u32::from_le_bytes([fields[1], fields[2], fields[3], fields[4]]);
    let hours = u64::from(days) * 24 + u64::from(fields[5]);
    let sign = if fields[0] == 1 { "-" } else { "" };
    let mut text = format!("{sign}{hours:02}:{:02}:{:02}", fields[6], fields[7]);
    micros(&mut text, [fields[8], fields[9], fields[10], fields[11]])?;
    Ok(SqlValue::Text(text))
}

fn padded<const LENGTH: usize>(bytes: &[u8]) -> Result<[u8; LENGTH], DecodeError> {
    let mut fields = [0; LENGTH];
    let (length, rest) = bytes.split_first().ok_or("no bytes")?;
    if usize::from(*length) != rest.len() {
        return Err("a length that is not that of the value".into());
    }
    fields.get_mut(..rest.len()).ok_or("too many bytes")?.copy_from_slice(rest);
    Ok(fields)
}

/// The server says nowhere how many decimals the column has: they are written where
/// there are any.
fn micros(text: &mut String, micros: [u8; 4]) -> std::fmt::Result {
    match u32::from_le_bytes(micros) {
        0 => Ok(()),
        micros => write!(text, ".{micros:06}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: Result<SqlValue, DecodeError>) -> String {
        match value {
            Ok(SqlValue::Text(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn dates_and_times_are_as_mysql_prints_them() {
        assert_eq!(of(date_time(&[4, 0xea, 7, 11, 24], false)), "2026-11-24");
        assert_eq!(of(date_time(&[4, 0xea, 7, 11, 24], true)), "2026-11-24 00:00:00");
        assert_eq!(of(date_time(&[7, 0xea, 7, 11, 24, 4, 5, 6], true)), "2026-11-24 04:05:06");
        assert_eq!(
            of(date_time(&[11, 0xea, 7, 11, 24, 4, 5, 6, 1, 0, 0, 0], true)),
            "2026-11-24 04:05:06.000001"
        );
        assert_eq!(of(date_time(&[0], true)), "0000-00-00 00:00:00");
        assert_eq!(of(time(&[0])), "00:00:00");
        assert_eq!(of(time(&[8, 1, 34, 0, 0, 0, 22, 59, 59])), "-838:59:59");
    }

    #[test]
    fn a_cut_value_is_an_error() {
        assert!(date_time(&[], true).is_err());
        assert!(date_time(&[7, 0xea], true).is_err());
        assert!(time(&[13, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).is_err());
    }

    #[test]
    fn what_does_not_fit_is_text() {
        assert_eq!(unsigned(7).ok(), Some(SqlValue::Integer(7)));
        assert_eq!(unsigned(u64::MAX).ok(), Some(SqlValue::Text(u64::MAX.to_string())));
    }
}
