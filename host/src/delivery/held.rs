//! What a lane holds: items that wait to be tried again, each on its own.
//!
//! # Invariants
//! - An item waits with exponential backoff of its own, by how often it was refused, or as
//!   long as the plugin asked for.
//! - What was broken off by a stop or a reload goes before all that came after it.
//! - What held one item up is over for the others when that one is stored.
//! - They are in memory, each with a few hundred bytes at most. A lane that has [`MOST`] takes
//!   nothing new: what comes next waits in the journal, where it costs no memory.
//! - While nothing is stored at all, one of those that were refused is tried each second,
//!   if its returner can be probed: see [`wait`](super::wait).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::backoff;
use super::batch::Task;
use super::wait::PROBE_EVERY;
use crate::journal::{Entry, Held, Seq, now};

/// The most that are tried again in one window.
const AT_ONCE: usize = 500;

/// The most that a lane holds and goes on to what comes next.
const MOST: usize = 100_000;

/// Why an item is held whose delivery did not end.
const BROKEN_OFF: &str = "its delivery was broken off by a stop or a reload";

/// Those of one lane.
pub(super) struct HeldBack {
    items: BTreeMap<Seq, Held>,
    /// How often each of them was refused on its own: what a server that was away cost its
    /// batch before is no reason to wait.
    refused: HashMap<Seq, u32>,
    /// Those for which the plugin said when to come again.
    asked: HashSet<Seq>,
    /// Nothing was stored since something was refused.
    nothing_goes: bool,
}

/// Those whose time has come.
#[derive(Default)]
pub(super) struct DueItems {
    /// Oldest first: those that were broken off, or else the others.
    pub(super) seqs: Vec<Seq>,
    /// There are more of them.
    pub(super) more: bool,
    pub(super) broken_off: bool,
}

impl HeldBack {
    pub(super) fn new(items: Vec<Held>) -> Self {
        let nothing_goes = !items.is_empty();
        let items = items.into_iter().map(|held| (held.seq, held)).collect();
        Self { items, refused: HashMap::new(), asked: HashSet::new(), nothing_goes }
    }

    pub(super) fn extend(&mut self, items: impl IntoIterator<Item = Held>) {
        self.items.extend(items.into_iter().map(|held| (held.seq, held)));
    }

    /// There is no room for more.
    pub(super) fn is_full(&self) -> bool {
        self.items.len() >= MOST
    }

    pub(super) fn has(&self, seq: Seq) -> bool {
        self.items.contains_key(&seq)
    }

    /// When the next of them is due, in milliseconds since 1970-01-01 UTC.
    pub(super) fn next(&self) -> Option<u64> {
        self.items.values().map(|held| held.not_before).min()
    }

    /// It is not known any more what a try has stored.
    pub(super) fn are_unclear(&mut self) {
        self.items.values_mut().for_each(|held| held.redelivered = true);
    }

    /// Another returner takes them: their waits were about what was wrong with the last.
    pub(super) fn wait_no_longer(&mut self) {
        self.items.values_mut().for_each(|held| held.not_before = 0);
    }

    pub(super) fn due(&self) -> DueItems {
        let now = now();
        let due = |broken_off: bool| -> Vec<Seq> {
            let due = self.items.values().filter(|held| held.not_before <= now);
            let due = due.filter(|held| !broken_off || *held.reason == *BROKEN_OFF).map(|held| held.seq);
            due.take(AT_ONCE + 1).collect()
        };
        let first = due(true);
        let broken_off = !first.is_empty();
        let mut seqs = if broken_off { first } else { due(false) };
        let more = seqs.len() > AT_ONCE;
        seqs.truncate(AT_ONCE);
        DueItems { seqs, more, broken_off }
    }

    /// One of them, to be tried again.
    pub(super) fn task(&self, entry: Arc<Entry>) -> Option<Task> {
        let held = self.items.get(&entry.seq)?;
        Some(Task { tries: held.tries, redelivered: held.redelivered, was_held: true, entry })
    }

    /// It is stored, or dead: gives why it was held.
    pub(super) fn release(&mut self, seq: Seq) -> Option<Arc<str>> {
        self.refused.remove(&seq);
        self.asked.remove(&seq);
        self.items.remove(&seq).map(|held| held.reason)
    }

    /// An item was refused, and is to be tried again: after so long, if the plugin asked for it.
    pub(super) fn refuse(
        &mut self,
        task: &Task,
        reason: Arc<str>,
        after: Option<Duration>,
        longest: Duration,
    ) -> Held {
        let refused = self.refused.entry(task.seq()).or_default();
        *refused += 1;
        match after {
            Some(_) => self.asked.insert(task.seq()),
            None => self.asked.remove(&task.seq()),
        };
        let wait = backoff::wait(*refused, longest, after);
        held(task, now() + wait.as_millis() as u64, reason)
    }

    /// A window is over, in which so many were stored, and these are to be tried again, so many
    /// of them for the first time. `probe` says that one of them is tried soon while nothing is
    /// stored.
    pub(super) fn window_ended(&mut self, stored: usize, again: &mut [&mut Held], first: usize, probe: bool) {
        self.nothing_goes = stored == 0 && (self.nothing_goes || first > 0);
        self.extend(again.iter().map(|held| Held::clone(held)));
        let next_probe = now() + PROBE_EVERY.as_millis() as u64;
        let mut all = self.items.values().filter(|held| !self.asked.contains(&held.seq));
        // As one of the others is tried soon, this one waits.
        if probe && self.nothing_goes && all.all(|held| held.not_before > next_probe) {
            let waiting = again.iter_mut().filter(|held| !self.asked.contains(&held.seq));
            // Not the oldest: if it alone is at fault the others would never be tried for it.
            if let Some(soonest) = waiting.min_by_key(|held| held.not_before) {
                soonest.not_before = next_probe;
                self.extend([Held::clone(soonest)]);
            }
        }
    }

    /// What held some of them up is over.
    pub(super) fn is_over(&mut self, reasons: &HashSet<Arc<str>>) {
        let waiting = self.items.values_mut().filter(|held| reasons.contains(&held.reason));
        waiting.filter(|held| !self.asked.contains(&held.seq)).for_each(|held| held.not_before = 0);
    }
}

/// An item whose delivery did not end.
pub(super) fn broken_off(task: &Task) -> Held {
    held(task, 0, BROKEN_OFF.into())
}

fn held(task: &Task, not_before: u64, reason: Arc<str>) -> Held {
    Held { seq: task.seq(), tries: task.tries, not_before, reason, redelivered: task.redelivered }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(seq: Seq, wait: Duration) -> Held {
        let not_before = now() + wait.as_millis() as u64;
        Held { seq, tries: 20, not_before, reason: "no".into(), redelivered: false }
    }

    /// Each window has the one item that is due, and has failed for long; they do not all become
    /// probes by that.
    #[test]
    fn one_is_tried_each_second_and_the_others_wait() {
        let mut held = HeldBack::new(Vec::new());
        let minute = Duration::from_secs(60);
        for seq in 1..=60 {
            held.window_ended(0, &mut [&mut refused(seq, minute)], 1, true);
        }
        let soon = now() + PROBE_EVERY.as_millis() as u64;
        assert!(held.next().is_some_and(|at| at <= soon), "one is tried");
        assert_eq!(held.items.values().filter(|held| held.not_before > soon).count(), 59);
        // Its turn is over, and another's comes.
        held.window_ended(0, &mut [&mut refused(1, minute)], 0, true);
        assert_eq!(held.items.values().filter(|held| held.not_before > soon + 1000).count(), 59);
        for nobody in [(1, true), (0, false)] {
            held.window_ended(nobody.0, &mut [&mut refused(1, minute)], 0, nobody.1);
            assert!(held.next().is_some_and(|at| at > soon + 1000), "{nobody:?}");
        }
    }

    /// One that waits a minute keeps its place in memory, and not its words.
    #[test]
    fn so_many_are_held_and_no_more_is_taken() {
        let mut held = HeldBack::new((1..MOST as Seq).map(|seq| refused(seq, Duration::ZERO)).collect());
        assert!(!held.is_full());
        held.extend([refused(MOST as Seq, Duration::ZERO)]);
        assert!(held.is_full());
        held.release(1);
        assert!(!held.is_full());
        assert!(size_of::<(Seq, Held)>() < 100);
    }

    #[test]
    fn what_asked_for_a_wait_is_no_probe() {
        let mut held = HeldBack::new(Vec::new());
        held.asked.insert(1);
        held.window_ended(0, &mut [&mut refused(1, Duration::from_secs(86_400))], 1, true);
        assert!(held.next().is_some_and(|at| at > now() + 80_000_000));
    }
}
