//! Saying why something was not stored, and whether trying again can help.

use std::time::Duration;

use crate::{Failure, Refusal, Retry, mongo, redis, sql};

impl Failure {
    /// Try again later. The host waits longer each time.
    pub fn retry(message: impl Into<String>) -> Self {
        Self::Retry(Retry { message: message.into(), after: None })
    }

    /// As [`retry`](Self::retry), but not before this much time has passed: what HTTP's
    /// `Retry-After` says, for example.
    pub fn retry_after(message: impl Into<String>, wait: Duration) -> Self {
        let millis = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
        Self::Retry(Retry { message: message.into(), after: Some(millis) })
    }

    /// It will never be stored. The host sets it aside as a dead letter, which an
    /// operator can look at and send again.
    pub fn reject(reason: impl Into<String>) -> Self {
        Self::Reject(reason.into())
    }

    /// What a server's error means: it says itself whether trying again can help.
    pub fn of_server(message: String, retryable: bool) -> Self {
        if retryable { Self::retry(message) } else { Self::Reject(message) }
    }
}

impl Refusal {
    /// The item at this place of the batch was not stored.
    ///
    /// # Panics
    /// If there are more than 2^32 items, which no host sends.
    pub fn new(index: usize, failure: impl Into<Failure>) -> Self {
        let index = u32::try_from(index).expect("a batch has fewer than 2^32 items");
        Self { index, failure: failure.into() }
    }
}

impl From<sql::Error> for Failure {
    fn from(error: sql::Error) -> Self {
        let message = match &error.code {
            Some(code) => format!("{} ({code})", error.message),
            None => error.message,
        };
        Self::of_server(message, error.retryable)
    }
}

impl From<redis::Error> for Failure {
    fn from(error: redis::Error) -> Self {
        Self::of_server(error.message, error.retryable)
    }
}

impl From<mongo::Error> for Failure {
    fn from(error: mongo::Error) -> Self {
        let message = match error.code {
            Some(code) => format!("{} ({code})", error.message),
            None => error.message,
        };
        Self::of_server(message, error.retryable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_sql(retryable: bool) -> Failure {
        let kind = sql::Kind::Data;
        sql::Error { kind, code: Some("1406".to_owned()), message: "too long".to_owned(), retryable }.into()
    }

    #[test]
    fn a_server_says_whether_trying_again_can_help() {
        assert!(matches!(of_sql(false), Failure::Reject(reason) if reason == "too long (1406)"));
        assert!(matches!(of_sql(true), Failure::Retry(retry) if retry.message == "too long (1406)"));
    }
}
