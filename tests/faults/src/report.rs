//! What a scenario came to, in a line.

use std::fmt;
use std::sync::atomic::Ordering;

use crate::clients::Counters;
use crate::ledger::Ledger;
use crate::oracle::Findings;

/// The counts of a scenario that went well.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// Returns that were acknowledged.
    pub acknowledged: usize,
    /// Copies of them that the stores owe.
    pub owed: usize,
    /// Copies that stand in a store.
    pub stored: usize,
    /// Copies that are dead letters, as they should be.
    pub dead_letters: usize,
    /// Requests that were refused with 503.
    pub refused: u64,
    /// Requests whose connection broke.
    pub broken: u64,
    /// Returns that clients gave up.
    pub abandoned: u64,
    /// The longest that an acknowledgement took, in milliseconds.
    pub slowest: u64,
    /// The faults that were injected.
    pub faults: usize,
}

impl Summary {
    pub(crate) fn of(ledger: &Ledger, counters: &Counters, findings: &Findings) -> Self {
        let (acknowledged, owed) = ledger.owed();
        Self {
            acknowledged,
            owed,
            stored: findings.stored,
            dead_letters: findings.dead_letters,
            refused: counters.refused.load(Ordering::Relaxed),
            broken: counters.broken.load(Ordering::Relaxed),
            abandoned: counters.abandoned.load(Ordering::Relaxed),
            slowest: counters.slowest.load(Ordering::Relaxed),
            faults: counters.faults.load(Ordering::Relaxed),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} returns acknowledged, {} copies owed; {} stored, {} dead letters; {} faults; \
             {} requests refused, {} broken off, {} returns given up; slowest acknowledgement {} ms",
            self.acknowledged,
            self.owed,
            self.stored,
            self.dead_letters,
            self.faults,
            self.refused,
            self.broken,
            self.abandoned,
            self.slowest
        )
    }
}
