//! What a server replies, and what its errors tell.

use redis::Value;

use crate::connections::answer::{AnswerSize, TooLarge};

/// The answer to one command.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RedisReply {
    Scalar(RedisScalar),
    Many(Vec<RedisScalar>),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RedisScalar {
    Nil,
    Integer(i64),
    /// A simple string such as `OK`.
    Status(String),
    Bulk(Vec<u8>),
    /// This command failed.
    Error(RedisError),
}

/// There is no reply at all, or one command failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct RedisError {
    /// Never credentials. The server's words, where it answered: `WRONGTYPE Operation ...`.
    pub(crate) message: String,
    pub(crate) retryable: bool,
}

impl RedisError {
    /// A server that is out of memory, loading, read-only or closed to this user is an
    /// outage: an operator or time can mend it. What a server says begins with its kind.
    fn of_server(message: String) -> Self {
        const OUTAGES: [&str; 15] = [
            "ASK",
            "BUSY",
            "CLUSTERDOWN",
            "LOADING",
            "MASTERDOWN",
            "MISCONF",
            "MOVED",
            "NOAUTH",
            "NOPERM",
            "NOREPLICAS",
            "OOM",
            "READONLY",
            "TRYAGAIN",
            "UNBLOCKED",
            "WRONGPASS",
        ];
        let kind = message.split(' ').next().unwrap_or_default();
        let retryable = OUTAGES.contains(&kind);
        Self { message, retryable }
    }
}

impl From<TooLarge> for RedisError {
    fn from(error: TooLarge) -> Self {
        Self { message: error.to_string(), retryable: false }
    }
}

impl RedisReply {
    pub(super) fn count(&self, held: &mut AnswerSize) -> Result<(), TooLarge> {
        match self {
            RedisReply::Scalar(scalar) => held.add(scalar.size()),
            RedisReply::Many(scalars) => scalars.iter().try_for_each(|scalar| held.add(scalar.size())),
        }
    }
}

impl RedisScalar {
    /// Its bytes, roughly.
    fn size(&self) -> usize {
        size_of::<Self>()
            + match self {
                RedisScalar::Bulk(bytes) => bytes.len(),
                RedisScalar::Status(text) => text.len(),
                RedisScalar::Error(error) => error.message.len(),
                RedisScalar::Nil | RedisScalar::Integer(_) => 0,
            }
    }
}

/// The next cursor and the keys of a step of a scan.
pub(super) fn step(mut replies: Vec<Value>) -> Result<(Vec<u8>, Vec<Vec<u8>>), RedisError> {
    let odd = || RedisError { message: "a reply to SCAN that is none".to_owned(), retryable: false };
    let values = match replies.pop() {
        Some(Value::Array(values)) => values,
        Some(Value::ServerError(error)) => {
            return Err(RedisError::of_server(error_text(&error)));
        }
        _ => return Err(odd()),
    };
    let Ok([Value::BulkString(cursor), Value::Array(keys)]) = <[Value; 2]>::try_from(values) else {
        return Err(odd());
    };
    let key = |value| if let Value::BulkString(key) = value { Some(key) } else { None };
    Ok((cursor, keys.into_iter().filter_map(key).collect()))
}

pub(super) fn reply(value: Value) -> RedisReply {
    match value {
        Value::Array(values) => RedisReply::Many(values.into_iter().map(scalar).collect()),
        value => RedisReply::Scalar(scalar(value)),
    }
}

fn scalar(value: Value) -> RedisScalar {
    match value {
        Value::Nil => RedisScalar::Nil,
        Value::Int(value) => RedisScalar::Integer(value),
        Value::BulkString(bytes) => RedisScalar::Bulk(bytes),
        Value::SimpleString(text) => RedisScalar::Status(text),
        Value::Okay => RedisScalar::Status("OK".to_owned()),
        Value::ServerError(error) => RedisScalar::Error(RedisError::of_server(error_text(&error))),
        // The contract's replies are one array deep, and the protocol is the older one,
        // which has nothing else.
        _ => {
            let message = "ERR the reply is nested deeper than the contract has it".to_owned();
            RedisScalar::Error(RedisError { message, retryable: false })
        }
    }
}

fn error_text(error: &redis::ServerError) -> String {
    match error.details() {
        Some(details) => format!("{} {details}", error.code()),
        None => error.code().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_one_array_deep() {
        let nested = Value::Array(vec![Value::Int(1), Value::Array(vec![Value::Nil])]);
        let RedisReply::Many(scalars) = reply(nested) else { panic!("an array") };
        assert_eq!(scalars[0], RedisScalar::Integer(1));
        assert!(matches!(&scalars[1], RedisScalar::Error(error) if error.message.contains("deeper")));
        assert_eq!(reply(Value::Okay), RedisReply::Scalar(RedisScalar::Status("OK".to_owned())));
    }

    #[test]
    fn an_outage_is_tried_again_and_a_wrong_type_is_not() {
        let full = "OOM command not allowed when used memory > 'maxmemory'.";
        assert!(RedisError::of_server(full.to_owned()).retryable);
        let wrong = "WRONGTYPE Operation against a key holding the wrong kind of value";
        assert!(!RedisError::of_server(wrong.to_owned()).retryable);
    }

    #[test]
    fn a_step_of_a_scan_is_read() {
        let key = |key: &str| Value::BulkString(key.as_bytes().to_vec());
        let (cursor, keys) =
            step(vec![Value::Array(vec![key("7"), Value::Array(vec![key("a")])])]).expect("a step");
        assert_eq!((cursor, keys), (b"7".to_vec(), vec![b"a".to_vec()]));
        assert!(step(vec![Value::Nil]).is_err());
    }
}
