//! What was sent and what was acknowledged: the obligations of the host.
//!
//! An item that was acknowledged is *owed* to the returners it was sent to. One that was
//! sent and not answered may be there or not; it is owed once the same is sent again and
//! acknowledged.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::items::{Content, Item};
use crate::targets::Targets;

/// What is known of one return.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Obligation {
    pub(crate) content: Content,
    /// Where it may stand.
    pub(crate) sent: Targets,
    /// Where it must.
    pub(crate) owed: Targets,
}

/// The returns of a job, by minion.
pub(crate) type Job = BTreeMap<String, Obligation>;

/// All obligations, by job id.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<BTreeMap<String, Job>>);

impl Ledger {
    /// Notes what is about to be sent.
    pub(crate) fn send(&self, items: &[Item], targets: Targets) {
        let mut jobs = self.lock();
        for item in items {
            let new =
                Obligation { content: item.content, sent: Targets::default(), owed: Targets::default() };
            let job = jobs.entry(item.jid.clone()).or_default();
            let obligation = job.entry(item.minion.clone()).or_insert(new);
            obligation.sent = obligation.sent.and(targets);
        }
    }

    /// Notes what was acknowledged.
    pub(crate) fn acknowledge(&self, items: &[Item], targets: Targets) {
        let mut jobs = self.lock();
        for item in items {
            let known = jobs.get_mut(&item.jid).and_then(|job| job.get_mut(&item.minion));
            let obligation = known.expect("what is acknowledged was sent before");
            obligation.owed = obligation.owed.and(targets);
        }
    }

    /// How many returns were acknowledged, and how many copies of them are owed.
    pub(crate) fn owed(&self) -> (usize, usize) {
        let jobs = self.lock();
        let owed = jobs.values().flat_map(Job::values).map(|obligation| obligation.owed.len());
        owed.filter(|copies| *copies > 0).fold((0, 0), |(items, all), copies| (items + 1, all + copies))
    }

    /// At most so many jobs, those after this one.
    pub(crate) fn after(&self, jid: &str, count: usize) -> Vec<(String, Job)> {
        let jobs = self.lock();
        let later = jobs.range::<str, _>((std::ops::Bound::Excluded(jid), std::ops::Bound::Unbounded));
        later.take(count).map(|(jid, job)| (jid.clone(), job.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Job>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::Target;

    #[test]
    fn only_what_is_acknowledged_is_owed() {
        let ledger = Ledger::default();
        let item = |minion: &str| Item {
            jid: "1".to_owned(),
            minion: minion.to_owned(),
            content: Content { number: 1, length: 1, is_poison: false },
        };
        let (both, one) = (Targets::of(&[Target::Mysql, Target::Redis]), Targets::of(&[Target::Mongo]));
        ledger.send(&[item("a"), item("b")], both);
        assert_eq!(ledger.owed(), (0, 0));
        ledger.acknowledge(&[item("a")], both);
        ledger.send(&[item("a")], one);
        ledger.acknowledge(&[item("a")], one);
        assert_eq!(ledger.owed(), (1, 3));
        let jobs = ledger.after("", 10);
        assert_eq!((jobs.len(), jobs[0].1["b"].sent, jobs[0].1["b"].owed), (1, both, Targets::default()));
        assert!(ledger.after("1", 10).is_empty());
    }
}
