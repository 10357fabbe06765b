//! A plugin that has just taken another's place, and has to show that it does no worse.
//!
//! # Invariants
//! - Only what the plugin itself does counts: items that it stored, and those that it
//!   rejects or that stop it alone. A server that is away says nothing of a plugin.
//! - What it rejected is the one before's to try, if that takes its place again. Of what it
//!   rejected before that was clear, the dead letters are taken back.
//! - Another plugin, or other settings, that come meanwhile change neither with whom it is
//!   compared nor to whom its place goes back: that is the last one that has passed.
//! - Whether it has passed or failed is final. Its turn ends with a failure, whatever other workers store meanwhile;
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
    /// What the one before did.
    pub(super) counts: Counts,
    /// The share of items that it may reject.
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
    standing: Standing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Standing {
    #[default]
    Open,
    Passed,
    Failed,
}

impl Record {
    /// What the same plugin has done goes on to count; one that has failed is tried anew, as
    /// something about its returner changed.
    fn carried_on(&self, is_same: bool) -> Self {
        if is_same && self.standing == Standing::Open { self.clone() } else { Self::default() }
    }

    /// Adds to the counts, and says whether it has passed or failed where that is clear now.
    fn add(&mut self, counts: Counts, bound: f64) {
        self.counts.stored += counts.stored;
        self.counts.rejected += counts.rejected;
        if self.standing != Standing::Open {
            return;
        }
        let Counts { stored, rejected } = self.counts;
        if rejected >= REJECTED && self.counts.share() > bound {
            self.standing = Standing::Failed;
        } else if stored >= PASSED {
            self.standing = Standing::Passed;
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

    /// What was done beside this.
    pub(super) fn without(self, part: Self) -> Self {
        Self {
            stored: self.stored.saturating_sub(part.stored),
            rejected: self.rejected.saturating_sub(part.rejected),
        }
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
        let is_other = returner.plugin.sha256 != before.plugin.sha256;
        is_other.then(|| Arc::new(Self::with(before, counts, Record::default(), end)))
    }

    fn with(before: &Arc<Returner>, counts: Counts, record: Record, end: &CancellationToken) -> Self {
        Self {
            before: Arc::clone(before),
            counts,
            bound: counts.share().max(SHARE),
            record: Mutex::new(record),
            end: end.clone(),
        }
    }

    /// Of the returner that takes the place of `present`, whose probation this is and has not
    /// passed. None if its plugin is that of the one before.
    pub(super) fn passed_on(
        &self,
        returner: &Returner,
        present: &Returner,
        end: &CancellationToken,
    ) -> Option<Arc<Self>> {
        if returner.plugin.sha256 == self.before.plugin.sha256 {
            return None;
        }
        let is_same = returner.plugin.sha256 == present.plugin.sha256;
        let record = self.record.lock().carried_on(is_same);
        Some(Arc::new(Self::with(&self.before, self.counts, record, end)))
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
        if record.standing == Standing::Failed {
            self.end.cancel();
        }
    }

    /// What it has done, if that is too bad.
    pub(super) fn failed(&self) -> Option<Record> {
        Some(self.record.lock().clone()).filter(|record| record.standing == Standing::Failed)
    }

    pub(super) fn passed(&self) -> bool {
        self.record.lock().standing == Standing::Passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(steps: &[(u64, u64)], bound: f64) -> Standing {
        let mut record = Record::default();
        steps.iter().for_each(|(stored, rejected)| {
            record.add(Counts { stored: *stored, rejected: *rejected }, bound);
        });
        record.standing
    }

    #[test]
    fn it_fails_when_it_rejects_more_than_it_stores_and_than_the_one_before() {
        assert_eq!(after(&[(0, 5)], SHARE), Standing::Failed);
        assert_eq!(after(&[(4, 5)], SHARE), Standing::Failed);
        assert_eq!(after(&[(0, 4)], SHARE), Standing::Open, "too few to say");
        assert_eq!(after(&[(5, 5)], SHARE), Standing::Open);
        assert_eq!(after(&[(1000, 900)], SHARE), Standing::Passed);
        assert_eq!(after(&[(1, 9)], 0.9), Standing::Open, "the one before was no better");
        assert_eq!(after(&[(0, 9)], 0.9), Standing::Failed);
    }

    #[test]
    fn what_a_plugin_did_under_other_settings_counts_on() {
        let mut record = Record::default();
        record.add(Counts { stored: 0, rejected: 3 }, SHARE);
        let mut same = record.carried_on(true);
        same.add(Counts { stored: 0, rejected: 2 }, SHARE);
        assert_eq!(same.standing, Standing::Failed);
        assert_eq!(record.carried_on(false).counts.rejected, 0, "another plugin");
        assert_eq!(same.carried_on(true).standing, Standing::Open, "it is tried anew");
    }

    #[test]
    fn a_verdict_is_final() {
        assert_eq!(after(&[(0, 5), (2000, 0)], SHARE), Standing::Failed, "another worker stores meanwhile");
        assert_eq!(after(&[(PASSED, 0), (0, 5000)], SHARE), Standing::Passed);
    }
}
