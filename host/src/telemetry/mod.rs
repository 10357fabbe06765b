//! What the host tells of itself while it runs: the log ([`log`]), and what it counts
//! and times ([`metrics`]).
//!
//! This module knows nothing of the parts that tell it.

mod log;
mod metrics;

pub(crate) use log::start;
pub(crate) use metrics::{CallEnd, Commits, IntakeMetrics, JournalMetrics};
pub(crate) use metrics::{LaneLabels, LaneMetrics, Metrics, Reload};
