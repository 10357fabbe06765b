//! What MongoDB's errors mean: whether the same call can succeed later.
//!
//! As with SQL: the network, elections, rights and disks are an operator's business
//! and worth trying again; what the server has against a document or a command is
//! not. Codes: <https://github.com/mongodb/mongo/blob/master/src/mongo/base/error_codes.yml>.

use mongodb::error::{Error, ErrorKind, WriteFailure};

use super::bson::{BsonError, JsonError};

/// An operation that failed as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}{}", code.map(|code| format!(" ({code})")).unwrap_or_default())]
pub(crate) struct MongoError {
    /// The server's code, for example 11000.
    pub(crate) code: Option<i32>,
    /// Never credentials.
    pub(crate) message: String,
    pub(crate) retryable: bool,
}

impl MongoError {
    /// Something outside of what was asked: it can be better next time.
    pub(super) fn outage(message: impl Into<String>) -> Self {
        Self { code: None, message: message.into(), retryable: true }
    }

    pub(super) fn of_server(code: i32, message: impl Into<String>) -> Self {
        Self { code: Some(code), message: message.into(), retryable: is_outage(code) }
    }
}

impl From<Error> for MongoError {
    fn from(error: Error) -> Self {
        match &*error.kind {
            ErrorKind::Command(error) => Self::of_server(error.code, &error.message),
            ErrorKind::Write(WriteFailure::WriteError(error)) => Self::of_server(error.code, &error.message),
            // Written, but not as safely as was asked.
            ErrorKind::Write(WriteFailure::WriteConcernError(error)) => {
                Self { code: Some(error.code), message: error.message.clone(), retryable: true }
            }
            ErrorKind::InvalidArgument { message, .. } => {
                Self { code: None, message: message.clone(), retryable: false }
            }
            ErrorKind::Bson(error) => Self { code: None, message: error.to_string(), retryable: false },
            ErrorKind::ServerSelection { message, .. } => Self::outage(no_server(message)),
            kind => Self::outage(kind.to_string()),
        }
    }
}

/// The driver prints all that it knows of every server; what matters is why the first
/// of them was not to be had.
fn no_server(message: &str) -> String {
    let cause = |start: &str| message.split_once(start)?.1.split(", labels:").next();
    match cause("Error: Kind: ") {
        Some(cause) => format!("no server is to be had: {cause}"),
        None => message.to_owned(),
    }
}

impl From<BsonError> for MongoError {
    fn from(error: BsonError) -> Self {
        Self { code: Some(error.code()), message: error.to_string(), retryable: false }
    }
}

impl From<JsonError> for MongoError {
    fn from(error: JsonError) -> Self {
        Self { code: None, message: error.to_string(), retryable: false }
    }
}

/// Whether it is about the server and not about what was asked.
pub(super) fn is_outage(code: i32) -> bool {
    matches!(
        code,
        // Network, host unreachable or not found, time.
        6 | 7 | 89 | 9001 | 50 | 262 | 202 | 317 | 402 | 462
        // Unauthorized, AuthenticationFailed: rights can be given.
        | 11 | 13 | 18 | 8000
        // Locks and conflicts, a router that knows of older shards, too many sessions.
        | 24 | 46 | 63 | 112 | 244 | 251 | 261 | 13388
        // Shutdown, not primary, election, no write concern.
        | 91 | 189 | 10058 | 10107 | 11600 | 11601 | 11602 | 13435 | 13436 | 64 | 79 | 100 | 133 | 134 | 150
        // Disk, memory, killed on the server.
        | 14031 | 39 | 146 | 292 | 43 | 237 | 290
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_away_is_told_in_a_line() {
        let message = "Server selection timeout: No available servers. Topology: { Type: Unknown, Servers: [ { Address: \
                       127.0.0.1:1, Type: Unknown, Error: Kind: I/O error: Connection refused (os error 111), labels: \
                       {}, source: None, server response: None } ] }";
        assert_eq!(
            no_server(message),
            "no server is to be had: I/O error: Connection refused (os error 111)"
        );
        assert_eq!(no_server("something else"), "something else");
    }

    #[test]
    fn outages_are_tried_again_and_bad_documents_are_not() {
        for code in [18, 13, 10107, 11600, 14031, 50] {
            assert!(MongoError::of_server(code, "").retryable, "{code}");
        }
        for code in [11000, 2, 9, 15, 52, 57, 121, 10334, 59] {
            assert!(!MongoError::of_server(code, "").retryable, "{code}");
        }
    }
}
