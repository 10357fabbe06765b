//! What intake records.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::ReasonLabels;
use crate::items::Kind;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

/// What intake records.
#[derive(Debug, Clone, Default)]
pub(crate) struct IntakeMetrics {
    accepted: Family<KindLabels, Counter>,
    duplicates: Family<KindLabels, Counter>,
    refused: Family<ReasonLabels, Counter>,
}

impl IntakeMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        for kind in Kind::ALL {
            self.accepted(kind, 0, 0);
        }
        registry.register(
            "returner_items_accepted",
            "Items that were acknowledged and are on disk, duplicates left out, since the host started",
            self.accepted.clone(),
        );
        registry.register(
            "returner_items_duplicate",
            "Items that were acknowledged and not taken, because every returner had them already",
            self.duplicates.clone(),
        );
        registry.register(
            "returner_requests_refused",
            "Requests of which no item was taken, since the host started; full and disk mean that the journal takes \
             nothing in",
            self.refused.clone(),
        );
    }

    pub(crate) fn accepted(&self, kind: Kind, accepted: usize, duplicates: usize) {
        let labels = KindLabels { kind: label(kind) };
        self.accepted.get_or_create(&labels).inc_by(accepted as u64);
        self.duplicates.get_or_create(&labels).inc_by(duplicates as u64);
    }

    pub(crate) fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&ReasonLabels { reason }).inc();
    }
}

pub(in crate::telemetry) fn label(kind: Kind) -> &'static str {
    match kind {
        Kind::Return => "return",
        Kind::Load => "load",
        Kind::Minions => "minions",
        Kind::Event => "event",
    }
}
