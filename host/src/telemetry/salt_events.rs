//! What is counted of Salt's event bus.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::metrics::label;
use crate::items::Kind;

/// What following Salt's event bus records.
#[derive(Debug, Clone, Default)]
pub(crate) struct SaltEventsMetrics {
    messages: Family<MessageLabels, Counter>,
    connected: Gauge,
    gaps: Counter,
    trimmed: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MessageLabels {
    became: &'static str,
}

impl SaltEventsMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "returner_salt_messages",
            "Messages of Salt's event bus since the host started, by what became of them: return, load, event, nothing \
             where nobody wants them, replaced where Salt left something out and the whole return came, unreadable",
            self.messages.clone(),
        );
        registry.register(
            "returner_salt_events_connected",
            "1 while the host listens on Salt's event bus",
            self.connected.clone(),
        );
        registry.register(
            "returner_salt_events_gaps",
            "How often the host did not hear Salt's event bus for a time, since it started",
            self.gaps.clone(),
        );
        registry.register(
            "returner_salt_returns_trimmed",
            "Returns that were stored as Salt trimmed them, because the whole one did not come, since the host started",
            self.trimmed.clone(),
        );
    }

    pub(crate) fn taken(&self, kind: Kind, count: usize) {
        self.count(label(kind), count);
    }

    pub(crate) fn unwanted(&self, count: usize) {
        self.count("nothing", count);
    }

    pub(crate) fn bad(&self, count: usize) {
        self.count("unreadable", count);
    }

    /// Returns that lack something, and whose whole one came.
    pub(crate) fn replaced(&self, count: usize) {
        self.count("replaced", count);
    }

    /// Returns that lack something, and whose whole one did not come.
    pub(crate) fn trimmed(&self, count: usize) {
        self.trimmed.inc_by(count as u64);
    }

    pub(crate) fn trimmed_so_far(&self) -> u64 {
        self.trimmed.get()
    }

    fn count(&self, became: &'static str, count: usize) {
        self.messages.get_or_create(&MessageLabels { became }).inc_by(count as u64);
    }

    pub(crate) fn connected(&self, is: bool) {
        self.connected.set(is.into());
    }

    pub(crate) fn missed(&self) {
        self.gaps.inc();
    }
}
