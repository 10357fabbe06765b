//! Why an item was not stored.

use std::time::Duration;

/// Whether trying again can help, and why it failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Try again, at the earliest after this time.
    Retry { message: String, after: Option<Duration> },
    /// Never to be stored.
    Reject(String),
}

impl Failure {
    pub(crate) fn message(&self) -> &str {
        match self {
            Failure::Retry { message, .. } | Failure::Reject(message) => message,
        }
    }
}

/// One item of a batch that was not stored; `index` is its place in the batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) index: usize,
    pub(crate) failure: Failure,
}
