//! What the journal records.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Upper bounds in seconds: a flush takes from tens of microseconds to what a dying disk
/// needs.
const COMMIT_SECONDS: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0];

const COMMIT_ITEMS: [f64; 11] = [1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 4000.0];

/// How many of the newest commits a person is told of.
const NEWEST_COMMITS: usize = 256;

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
    pub(super) fn register(&self, registry: &mut Registry) {
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

#[cfg(test)]
mod tests {
    use super::*;

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
