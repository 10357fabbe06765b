//! What the host tells of itself while it runs: the log ([`log`]), and what it counts
//! and times ([`metrics`]).
//!
//! This module knows nothing of the parts that tell it.

mod log;
mod metrics;
mod salt_events;

pub(crate) use log::start;
pub(crate) use metrics::{CallEnd, Commits, IntakeMetrics, JournalMetrics};
pub(crate) use metrics::{LaneLabels, LaneMetrics, Metrics, Reload};
pub(crate) use salt_events::SaltEventsMetrics;
