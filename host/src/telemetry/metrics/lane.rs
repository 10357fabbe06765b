//! What one lane records.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;

use super::{CallLabels, Calls};

/// What one lane records.
#[derive(Debug, Clone)]
pub(crate) struct LaneMetrics {
    pub(crate) stored: Counter,
    pub(crate) retried: Counter,
    pub(crate) dead: Counter,
    /// Plugins that were too bad.
    pub(crate) went_back: Counter,
    pub(super) returner: Arc<str>,
    pub(super) calls: Calls,
}

/// How a call that stores a batch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallEnd {
    /// Well, whatever it said of single items.
    Stored,
    Retry,
    Reject,
    Trapped,
    /// One of the returner's limits stopped it.
    Limit,
}

impl CallEnd {
    pub(super) const ALL: [Self; 5] = [Self::Stored, Self::Retry, Self::Reject, Self::Trapped, Self::Limit];

    pub(super) fn name(self) -> &'static str {
        match self {
            CallEnd::Stored => "stored",
            CallEnd::Retry => "retry",
            CallEnd::Reject => "reject",
            CallEnd::Trapped => "trapped",
            CallEnd::Limit => "limit",
        }
    }
}

impl LaneMetrics {
    /// Whose they are.
    pub(crate) fn returner(&self) -> &str {
        &self.returner
    }

    pub(crate) fn called(&self, end: CallEnd, took: Duration) {
        let labels = CallLabels { returner: Arc::clone(&self.returner), outcome: end.name() };
        self.calls.get_or_create(&labels).observe(took.as_secs_f64());
    }
}
