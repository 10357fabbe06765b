//! What is counted and timed since the process started, for `GET /metrics`.
//!
//! Promises:
//! - Recording takes no time worth measuring, waits for nobody and cannot fail.
//! - Labels have few values: kinds, reasons, outcomes, and the names of lanes, which are
//!   bounded. Never a job or a minion.
//!
//! Each part of the host is given its own handles ([`JournalMetrics`] and its like) and
//! records where it happens. What can be read at any moment (the depth of a lane) is not
//! here: `web::metrics` asks for it at each scrape.

mod intake;
mod journal;
mod lane;

use std::sync::Arc;

use prometheus_client::encoding::{EncodeLabelSet, prometheus_text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::salt_events::SaltEventsMetrics;

pub(super) use intake::label;

pub(crate) use intake::IntakeMetrics;
pub(crate) use journal::{Commits, JournalMetrics};
pub(crate) use lane::{CallEnd, LaneMetrics};

/// Upper bounds in seconds, up to what `limits.time` may be.
const CALL_SECONDS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];

/// Everything that is counted and timed.
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) journal: JournalMetrics,
    pub(crate) intake: IntakeMetrics,
    pub(crate) salt_events: SaltEventsMetrics,
    stored: Family<LaneLabels, Counter>,
    retried: Family<LaneLabels, Counter>,
    dead: Family<LaneLabels, Counter>,
    went_back: Family<LaneLabels, Counter>,
    calls: Calls,
    reloads: Family<ReloadLabels, Counter>,
    denied: Family<ReasonLabels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabels {
    result: &'static str,
}

/// What came of a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reload {
    Applied,
    Unchanged,
    Refused,
}

/// Which lane.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct LaneLabels {
    pub(crate) returner: Arc<str>,
}

type Calls = Family<CallLabels, Histogram, fn() -> Histogram>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    returner: Arc<str>,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::default();
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("returner_build", "Which version of the host runs", build);
        let (journal, intake) = (JournalMetrics::default(), IntakeMetrics::default());
        intake.register(&mut registry);
        journal.register(&mut registry);
        let salt_events = SaltEventsMetrics::default();
        salt_events.register(&mut registry);
        let (stored, retried, dead) = (Family::default(), Family::default(), Family::default());
        let went_back = Family::default();
        registry.register(
            "returner_plugins_went_back",
            "Plugins that took another's place since the host started, did worse, and gave it back",
            Family::clone(&went_back),
        );
        let calls = Calls::new_with_constructor(|| Histogram::new(CALL_SECONDS));
        registry.register(
            "returner_items_stored",
            "Items that a returner stored since the host started",
            Family::clone(&stored),
        );
        registry.register(
            "returner_items_retried",
            "Items that were to be tried again since the host started, each time they were",
            Family::clone(&retried),
        );
        registry.register(
            "returner_dead_letters_added",
            "Items that a returner rejected for good since the host started",
            Family::clone(&dead),
        );
        registry.register(
            "returner_call_duration_seconds",
            "How long the calls that store a batch took, commit included, by how they ended: stored, retry or \
             reject as the plugin or the server said; trapped; limit where a limit of the returner stopped it",
            calls.clone(),
        );
        let reloads = Family::default();
        registry.register(
            "returner_configuration_reloads",
            "How often the configuration was read again since the host started: applied, unchanged, or refused because \
             something in it is wrong",
            Family::clone(&reloads),
        );
        let denied = Family::default();
        registry.register(
            "returner_requests_denied",
            "Requests of those who may not, since the host started: unknown, where nothing or nothing right says who it is; \
             role, where another one is needed",
            Family::clone(&denied),
        );
        Self {
            registry,
            journal,
            intake,
            salt_events,
            stored,
            retried,
            dead,
            went_back,
            calls,
            reloads,
            denied,
        }
    }

    /// A request of someone who may not.
    pub(crate) fn denied(&self, reason: &'static str) {
        self.denied.get_or_create(&ReasonLabels { reason }).inc();
    }

    pub(crate) fn reloaded(&self, reload: Reload) {
        let result = match reload {
            Reload::Applied => "applied",
            Reload::Unchanged => "unchanged",
            Reload::Refused => "refused",
        };
        self.reloads.get_or_create(&ReloadLabels { result }).inc();
    }

    /// The handles of a lane. One that is made anew under the same name goes on counting.
    pub(crate) fn lane(&self, returner: &str) -> LaneMetrics {
        let labels = LaneLabels { returner: returner.into() };
        LaneMetrics {
            stored: self.stored.get_or_create_owned(&labels),
            retried: self.retried.get_or_create_owned(&labels),
            dead: self.dead.get_or_create_owned(&labels),
            went_back: self.went_back.get_or_create_owned(&labels),
            calls: self.calls.clone(),
            returner: labels.returner,
        }
    }

    /// Leaves out a lane that a single return asked for and that has ended: there is no bound to how
    /// many of those there were.
    pub(crate) fn forget_lane(&self, returner: &str) {
        let labels = LaneLabels { returner: returner.into() };
        for family in [&self.stored, &self.retried, &self.dead, &self.went_back] {
            family.remove(&labels);
        }
        for end in CallEnd::ALL {
            let returner = Arc::clone(&labels.returner);
            self.calls.remove(&CallLabels { returner, outcome: end.name() });
        }
    }

    /// All of it, and what else was read just now, as [`Metrics::CONTENT_TYPE`] says.
    pub(crate) fn text(&self, moment: &Registry) -> String {
        let mut text = String::new();
        for registry in [&self.registry, moment] {
            prometheus_text::encode(&mut text, registry).expect("writing to memory does not fail");
        }
        text
    }

    pub(crate) const CONTENT_TYPE: &'static str = prometheus_text::CONTENT_TYPE;
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::items::Kind;

    #[test]
    fn nothing_is_left_of_a_lane_that_is_forgotten() {
        let metrics = Metrics::new();
        let lane = metrics.lane("mysql{}");
        lane.stored.inc();
        CallEnd::ALL.iter().for_each(|end| lane.called(*end, Duration::from_secs(1)));
        assert!(metrics.text(&Registry::default()).contains("mysql{}"));
        metrics.forget_lane("mysql{}");
        assert!(!metrics.text(&Registry::default()).contains("mysql{}"));
    }

    #[test]
    fn what_is_recorded_is_in_the_text() {
        let metrics = Metrics::new();
        metrics.intake.accepted(Kind::Return, 3, 1);
        metrics.intake.refused("full");
        metrics.journal.size(8192, 1 << 40);
        metrics.journal.committed(Duration::from_micros(300), 4);
        metrics.journal.committed(Duration::from_micros(300), 0);
        let lane = metrics.lane("mysql");
        lane.stored.inc_by(3);
        lane.called(CallEnd::Limit, Duration::from_secs(3));
        let text = metrics.text(&Registry::default());
        for line in [
            "returner_items_accepted_total{kind=\"return\"} 3",
            "returner_items_accepted_total{kind=\"event\"} 0",
            "returner_items_duplicate_total{kind=\"return\"} 1",
            "returner_requests_refused_total{reason=\"full\"} 1",
            "returner_journal_bytes 8192",
            "returner_journal_limit_bytes 1099511627776",
            "returner_journal_commit_duration_seconds_bucket{le=\"0.0005\"} 2",
            "returner_journal_commit_items_count 1",
            "returner_items_stored_total{returner=\"mysql\"} 3",
            "returner_items_retried_total{returner=\"mysql\"} 0",
            "returner_call_duration_seconds_count{returner=\"mysql\",outcome=\"limit\"} 1",
            "# TYPE returner_build_info gauge",
        ] {
            assert!(text.lines().any(|found| found == line), "no `{line}` in\n{text}");
        }
    }

    #[test]
    fn a_lane_of_the_same_name_goes_on_counting() {
        let metrics = Metrics::new();
        metrics.lane("mysql").stored.inc();
        assert_eq!(metrics.lane("mysql").stored.get(), 1);
        assert_eq!(metrics.lane("redis").stored.get(), 0);
    }
}
