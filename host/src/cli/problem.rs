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
