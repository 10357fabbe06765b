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

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::encoding::{EncodeLabelSet, prometheus_text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::salt_events::SaltEventsMetrics;
use crate::items::Kind;

/// Upper bounds in seconds: a flush takes from tens of microseconds to what a dying disk
/// needs.
const COMMIT_SECONDS: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0];

const COMMIT_ITEMS: [f64; 11] = [1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 4000.0];

/// Upper bounds in seconds, up to what `limits.time` may be.
const CALL_SECONDS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];

/// How many of the newest commits a person is told of.
const NEWEST_COMMITS: usize = 256;

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
struct KindLabels {
    kind: &'static str,
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

/// What intake records.
#[derive(Debug, Clone, Default)]
pub(crate) struct IntakeMetrics {
    accepted: Family<KindLabels, Counter>,
    duplicates: Family<KindLabels, Counter>,
    refused: Family<ReasonLabels, Counter>,
}

impl IntakeMetrics {
    fn register(&self, registry: &mut Registry) {
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

pub(super) fn label(kind: Kind) -> &'static str {
    match kind {
        Kind::Return => "return",
        Kind::Load => "load",
        Kind::Minions => "minions",
        Kind::Event => "event",
    }
}

/// What the journal records.
#[derive(Debug, Clone)]
pub(crate) struct JournalMetrics {
    bytes: Gauge,
    limit: Gauge,
    durations: Histogram,
    items: Histogram,
    newest: Arc<Mutex<VecDeque<Duration>>>,
}

impl Default for JournalMetrics {
    fn default() -> Self {
        Self {
            bytes: Gauge::default(),
            limit: Gauge::default(),
            durations: Histogram::new(COMMIT_SECONDS),
            items: Histogram::new(COMMIT_ITEMS),
            newest: Arc::default(),
        }
    }
}

/// How long the newest commits took, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Commits {
    pub(crate) count: usize,
    pub(crate) median: Duration,
    pub(crate) slowest: Duration,
}

impl JournalMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "returner_journal_bytes",
            "The size of the journal: what waits, dead letters, and keys that tell duplicates",
            self.bytes.clone(),
        );
        registry.register(
            "returner_journal_limit_bytes",
            "The size at which the journal takes nothing more in (`host.max_journal`)",
            self.limit.clone(),
        );
        registry.register(
            "returner_journal_commit_duration_seconds",
            "How long it took to write and flush (fsync) a commit of the journal, which acknowledgements wait for",
            self.durations.clone(),
        );
        registry.register(
            "returner_journal_commit_items",
            "How many items shared a commit, where there were any",
            self.items.clone(),
        );
    }

    /// The journal was opened, or what it holds changed.
    pub(crate) fn size(&self, bytes: u64, limit: u64) {
        self.bytes.set(bytes.try_into().unwrap_or(i64::MAX));
        self.limit.set(limit.try_into().unwrap_or(i64::MAX));
    }

    /// A commit went through that wrote something.
    pub(crate) fn committed(&self, took: Duration, items: usize) {
        self.durations.observe(took.as_secs_f64());
        if items > 0 {
            self.items.observe(items as f64);
        }
        let mut newest = self.newest.lock();
        if newest.len() == NEWEST_COMMITS {
            newest.pop_front();
        }
        newest.push_back(took);
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.get().try_into().unwrap_or(0)
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit.get().try_into().unwrap_or(0)
    }

    /// None before the first commit.
    pub(crate) fn commits(&self) -> Option<Commits> {
        let mut newest: Vec<Duration> = self.newest.lock().iter().copied().collect();
        newest.sort_unstable();
        Some(Commits {
            count: newest.len(),
            median: *newest.get(newest.len() / 2)?,
            slowest: *newest.last()?,
        })
    }
}

/// What one lane records.
#[derive(Debug, Clone)]
pub(crate) struct LaneMetrics {
    pub(crate) stored: Counter,
    pub(crate) retried: Counter,
    pub(crate) dead: Counter,
    /// Plugins that were too bad.
    pub(crate) went_back: Counter,
    returner: Arc<str>,
    calls: Calls,
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
    const ALL: [Self; 5] = [Self::Stored, Self::Retry, Self::Reject, Self::Trapped, Self::Limit];

    fn name(self) -> &'static str {
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

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn only_the_newest_commits_are_told_of() {
        let metrics = JournalMetrics::default();
        assert_eq!(metrics.commits(), None);
        metrics.committed(Duration::from_secs(60), 1);
        for _ in 0..NEWEST_COMMITS {
            metrics.committed(Duration::from_millis(2), 1);
        }
        metrics.committed(Duration::from_millis(9), 1);
        let (median, slowest) = (Duration::from_millis(2), Duration::from_millis(9));
        assert_eq!(metrics.commits(), Some(Commits { count: NEWEST_COMMITS, median, slowest }));
    }
}
