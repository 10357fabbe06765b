//! What a host says is wrong, as a command shows it.

use std::fmt;

use reqwest::StatusCode;
use serde::Deserialize;

/// An answer that is no success.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Problem {
    #[serde(skip)]
    pub(super) status: StatusCode,
    /// It is not a host that says so, but whoever listens in its place or in front of it.
    #[serde(skip)]
    pub(super) is_another: bool,
    pub(super) detail: String,
    pub(super) hint: Option<String>,
    pub(super) items: Vec<BadItem>,
    pub(super) known: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct BadItem {
    pub(super) index: usize,
    pub(super) reason: String,
    pub(super) hint: Option<String>,
}

impl Problem {
    /// Whether a host said it, with this status.
    pub(super) fn is_a_hosts(&self, status: StatusCode) -> bool {
        self.status == status && !self.is_another
    }

    /// Whether the same request may be taken later: the host says so, or a proxy has none behind it.
    pub(super) fn may_pass(&self) -> bool {
        self.status == StatusCode::SERVICE_UNAVAILABLE || self.is_another && self.status.is_server_error()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.detail)?;
        if !self.known.is_empty() {
            write!(f, "\n  hint: there are `{}`", self.known.join("`, `"))?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}
