//! A plugin that has just taken another's place, and has to show that it does no worse.
//!
//! # Invariants
//! - Only what the plugin itself does counts: items that it stored, and those that it
//!   rejects or that stop it alone. A server that is away says nothing of a plugin.
//! - What it rejected is the one before's to try, if that takes its place again. Of what it
//!   rejected before that was clear, the dead letters are taken back.
//! - A verdict is final. Its turn ends with a failure, whatever other workers store meanwhile;
//!   and once it has passed, nothing ends its turn any more.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::returner::Returner;
use super::worker::{Fate, Outcome};

/// It fails if it rejects more than this share of what it is given, and of what the one
/// before it did.
const SHARE: f64 = 0.5;

/// Fewer rejected items prove nothing.
const REJECTED: u64 = 5;

/// It has passed when it has stored so many.
const PASSED: u64 = 1000;

/// Shared by a lane's workers.
pub(super) struct Probation {
    /// Whose place it took.
    pub(super) before: Arc<Returner>,
    /// The share of items that the one before rejected.
    bound: f64,
    record: Mutex<Record>,
    /// Ends its turn.
    end: CancellationToken,
}

/// What it has done so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Record {
    pub(super) counts: Counts,
    /// Why it rejected the last item that it did.
    pub(super) reason: String,
    verdict: Verdict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Verdict {
    #[default]
    Open,
    Passed,
    Failed,
}

impl Record {
    /// Adds to the counts, and comes to a verdict where that is clear now.
    fn add(&mut self, counts: Counts, bound: f64) {
        self.counts.stored += counts.stored;
        self.counts.rejected += counts.rejected;
        if self.verdict != Verdict::Open {
            return;
        }
        let Counts { stored, rejected } = self.counts;
        if rejected >= REJECTED && self.counts.share() > bound {
            self.verdict = Verdict::Failed;
        } else if stored >= PASSED {
            self.verdict = Verdict::Passed;
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) stored: u64,
    pub(super) rejected: u64,
}

impl Counts {
    pub(super) fn share(self) -> f64 {
        self.rejected as f64 / (self.stored + self.rejected).max(1) as f64
    }
}

impl Probation {
    /// Of the returner that takes the place of `before`, if its plugin is another. `counts`
    /// are those of the one before.
    pub(super) fn of(
        returner: &Returner,
        before: &Arc<Returner>,
        counts: Counts,
        end: &CancellationToken,
    ) -> Option<Arc<Self>> {
        (returner.plugin.sha256 != before.plugin.sha256).then(|| {
            Arc::new(Self {
                before: Arc::clone(before),
                bound: counts.share().max(SHARE),
                record: Mutex::default(),
                end: end.clone(),
            })
        })
    }

    /// Notes what became of items; once that is too bad, its turn ends.
    pub(super) fn note(&self, outcomes: &[Outcome]) {
        let mut record = self.record.lock();
        let mut counts = Counts::default();
        for Outcome { fate, .. } in outcomes {
            match fate {
                Fate::Stored => counts.stored += 1,
                Fate::Dead { reason, .. } => {
                    counts.rejected += 1;
                    record.reason.clone_from(reason);
                }
                Fate::Held { .. } | Fate::Pending => {}
            }
        }
        record.add(counts, self.bound);
        if record.verdict == Verdict::Failed {
            self.end.cancel();
        }
    }

    /// What it has done, if that is too bad.
    pub(super) fn failed(&self) -> Option<Record> {
        Some(self.record.lock().clone()).filter(|record| record.verdict == Verdict::Failed)
    }

    pub(super) fn passed(&self) -> bool {
        self.record.lock().verdict == Verdict::Passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(steps: &[(u64, u64)], bound: f64) -> Verdict {
        let mut record = Record::default();
        steps.iter().for_each(|(stored, rejected)| {
            record.add(Counts { stored: *stored, rejected: *rejected }, bound);
        });
        record.verdict
    }

    #[test]
    fn it_fails_when_it_rejects_more_than_it_stores_and_than_the_one_before() {
        assert_eq!(after(&[(0, 5)], SHARE), Verdict::Failed);
        assert_eq!(after(&[(4, 5)], SHARE), Verdict::Failed);
        assert_eq!(after(&[(0, 4)], SHARE), Verdict::Open, "too few to say");
        assert_eq!(after(&[(5, 5)], SHARE), Verdict::Open);
        assert_eq!(after(&[(1000, 900)], SHARE), Verdict::Passed);
        assert_eq!(after(&[(1, 9)], 0.9), Verdict::Open, "the one before was no better");
        assert_eq!(after(&[(0, 9)], 0.9), Verdict::Failed);
    }

    #[test]
    fn a_verdict_is_final() {
        assert_eq!(after(&[(0, 5), (2000, 0)], SHARE), Verdict::Failed, "another worker stores meanwhile");
        assert_eq!(after(&[(PASSED, 0), (0, 5000)], SHARE), Verdict::Passed);
    }
}
