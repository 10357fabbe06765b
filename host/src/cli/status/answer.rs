//! What a host says of its returners and its journal, as far as people are told.

use serde::Deserialize;

#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    pub(super) returners: Vec<Returner>,
    pub(super) orphaned: Vec<Orphaned>,
    pub(super) configuration: Configuration,
    pub(super) journal: Journal,
    /// None of a host that never followed Salt's event bus.
    #[serde(default)]
    pub(super) salt_events: Option<SaltEvents>,
}

#[derive(Debug, Deserialize)]
pub(super) struct SaltEvents {
    pub(super) address: Option<String>,
    pub(super) connected_since: Option<String>,
    pub(super) hears: bool,
    pub(super) missing_since_ms: Option<u64>,
    pub(super) error: Option<String>,
    pub(super) trimmed: u64,
    pub(super) gaps: Vec<Gap>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Gap {
    pub(super) from: String,
    pub(super) until: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Returner {
    pub(super) name: String,
    pub(super) depth: u64,
    pub(super) state: String,
    pub(super) oldest_ms: Option<u64>,
    pub(super) stored: u64,
    pub(super) retried: u64,
    pub(super) dead: u64,
    pub(super) failing: Option<Failing>,
    pub(super) held: Option<Held>,
    pub(super) last_error: Option<LastError>,
    pub(super) went_back: Option<WentBack>,
}

#[derive(Debug, Deserialize)]
pub(super) struct WentBack {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) stored: u64,
    pub(super) rejected: u64,
    pub(super) reason: String,
    pub(super) at: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Failing {
    pub(super) since: String,
    pub(super) for_ms: u64,
    pub(super) tries: u32,
    pub(super) next: String,
    pub(super) next_try_ms: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Held {
    pub(super) items: u64,
    pub(super) tries: u32,
    pub(super) reason: String,
    pub(super) next_try_ms: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct LastError {
    pub(super) message: String,
    /// It made a dead letter, and is not an outage that is over.
    pub(super) of_dead_letter: bool,
    pub(super) ago_ms: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Orphaned {
    pub(super) name: String,
    pub(super) depth: u64,
    pub(super) dead: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Configuration {
    pub(super) error: Option<Refused>,
}

/// A version of the configuration that is not taken.
#[derive(Debug, Deserialize)]
pub(super) struct Refused {
    pub(super) message: String,
    pub(super) at: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Journal {
    pub(super) bytes: u64,
    pub(super) limit: u64,
    pub(super) refuses: Option<Refusal>,
    pub(super) commits: Option<Commits>,
    pub(super) asked_for: AskedFor,
}

/// What is kept for returners that returns asked for.
#[derive(Debug, Deserialize)]
pub(super) struct AskedFor {
    pub(super) refuses: Option<Refusal>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Refusal {
    pub(super) reason: String,
    pub(super) message: String,
    pub(super) behind: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Commits {
    pub(super) count: u64,
    pub(super) median_ms: f64,
    pub(super) slowest_ms: f64,
}
