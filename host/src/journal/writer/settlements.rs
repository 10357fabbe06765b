//! What lanes have done and the journal has not written yet.
//!
//! A transaction takes a share of it, so that who appends beside it does not wait for all that a
//! lane may have to say of its items. Who asks for what was settled is answered when all is written
//! that was settled before.
//!
//! # Invariant
//! Whatever the share, what is written is whole: a cursor that passes an item which is held is
//! written with that it is held, or after it. So what is said again of an item takes the place of
//! what was said first, where that waits, and never the other way around: between the two may lie
//! the end of a share, and what no cursor, dead letter or held item keeps is removed.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use super::{Answer, SETTLE_WITHIN};
use crate::journal::{Held, JournalError, LaneId, Seq, Settlement};

/// What is settled but not written yet.
#[derive(Default)]
pub(super) struct Settlements {
    pub(super) waiting: VecDeque<Waiting>,
    /// When they are to be written, be there items or not.
    pub(super) due: Option<Instant>,
    /// The number of each lane's last one.
    numbers: HashMap<LaneId, u64>,
    /// How many were noted.
    noted: u64,
    asking: Vec<Asking>,
    /// How much one transaction writes, by its weight.
    most: usize,
}

pub(super) struct Waiting {
    pub(super) lane: LaneId,
    /// The lane counts its own.
    pub(super) number: u64,
    pub(super) settlement: Settlement,
    /// [`Settlements::noted`], with it.
    at: u64,
}

/// Who asks for what was settled.
struct Asking {
    reply: Answer<Result<(), JournalError>>,
    /// [`Settlements::noted`], by then.
    after: u64,
}

impl Settlements {
    /// Nothing waits; these are the numbers of what is written. A transaction is to write so much at
    /// most, by its weight, or one of them.
    pub(super) fn after(numbers: HashMap<LaneId, u64>, most: usize) -> Self {
        Self { numbers, most, ..Self::default() }
    }

    pub(super) fn note(&mut self, lane: LaneId, mut settlement: Settlement) {
        if !settlement.held.is_empty() {
            self.merge(lane, &mut settlement);
        }
        let number = self.numbers.entry(lane).or_default();
        *number += 1;
        self.noted += 1;
        self.waiting.push_back(Waiting { lane, number: *number, settlement, at: self.noted });
        self.due.get_or_insert_with(|| Instant::now() + SETTLE_WITHIN);
    }

    /// What a newer one says of items that an earlier one holds takes its place there, so that each
    /// is kept once: items are tried for as long as the journal cannot be written, and each try is a
    /// settlement. Should the earlier one be written already, by a commit whose end is unclear, the
    /// item is held by that, as it was said then. Forgets those that say nothing any more; what the
    /// others count stays theirs.
    fn merge(&mut self, lane: LaneId, newer: &mut Settlement) {
        let mut again: HashMap<Seq, Held> = newer.held.iter().map(|held| (held.seq, held.clone())).collect();
        for earlier in self.waiting.iter_mut().filter(|waiting| waiting.lane == lane) {
            for held in &mut earlier.settlement.held {
                if let Some(newest) = again.remove(&held.seq) {
                    *held = newest;
                }
            }
        }
        newer.held.retain(|held| again.contains_key(&held.seq));
        let says_nothing =
            |one: &Settlement| one.held.is_empty() && one.released.is_empty() && one.dead.is_empty();
        if says_nothing(newer) {
            newer.owed = None;
        }
        self.waiting.retain(|Waiting { lane: of, settlement: earlier, .. }| {
            *of != lane || !says_nothing(earlier) || earlier.settled > 0 || earlier.through > newer.through
        });
    }

    /// How many of them the next transaction writes, the first ones: at least one.
    pub(super) fn share(&self) -> usize {
        let mut weight = 0;
        let fitting = self.waiting.iter().take_while(|waiting| {
            weight += waiting.settlement.weight();
            weight <= self.most
        });
        fitting.count().max(self.waiting.len().min(1))
    }

    /// So many of them are written, the first ones. What is left is written at once.
    pub(super) fn written(&mut self, share: usize) {
        self.waiting.drain(..share);
        self.due = if self.waiting.is_empty() { None } else { Some(Instant::now()) };
        let through = self.waiting.front().map_or(self.noted, |first| first.at - 1);
        for Asking { reply, .. } in self.asking.extract_if(.., |asking| asking.after <= through) {
            // Nobody may wait for it any more.
            let _ = reply.send(Ok(()));
        }
    }

    /// Somebody asks for what was settled: it is written now.
    pub(super) fn ask(&mut self, reply: Answer<Result<(), JournalError>>) {
        if self.waiting.is_empty() {
            return drop(reply.send(Ok(())));
        }
        self.asking.push(Asking { reply, after: self.noted });
        self.due = Some(Instant::now());
    }

    /// They cannot be written now.
    pub(super) fn refuse(&mut self) {
        for Asking { reply, .. } in self.asking.drain(..) {
            let _ = reply.send(Err(JournalError::Behind));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::*;

    /// Each item that is tried again and again is kept once, whatever the number of tries.
    #[test]
    fn of_what_is_tried_again_only_the_newest_waits() {
        let mut settlements = Settlements::default();
        let held = |seq, tries| Held { seq, tries, not_before: 0, reason: "r".into(), redelivered: false };
        let again = |seqs: &[Seq], tries| {
            let held = seqs.iter().map(|seq| held(*seq, tries)).collect();
            Settlement { through: 9, held, ..Settlement::default() }
        };
        settlements.note(LaneId(1), Settlement { settled: 7, ..again(&[1, 2], 1) });
        settlements.note(LaneId(2), again(&[1], 1));
        for tries in 2..50 {
            settlements.note(LaneId(1), again(&[1], tries));
            settlements.note(LaneId(1), again(&[2], tries));
        }
        let waiting = settlements.waiting.iter().map(|Waiting { lane, number, settlement, .. }| {
            let held: Vec<_> = settlement.held.iter().map(|held| (held.seq, held.tries)).collect();
            (lane.0, *number, settlement.settled, held)
        });
        // Where the cursor first passed them; the last one only says how far the lane is.
        let expected = [(1, 1, 7, vec![(1, 49), (2, 49)]), (2, 1, 0, vec![(1, 1)]), (1, 97, 0, vec![])];
        assert_eq!(waiting.collect::<Vec<_>>(), expected);
    }
    /// A lane that waits for room has it again when what it said is written, or said anew.
    #[test]
    fn what_a_lane_owes_comes_back_to_it() {
        let room = Arc::new(Semaphore::new(10));
        let mut settlements = Settlements::after(HashMap::new(), 1 << 20);
        let mut note = |seqs: &[Seq], settled| {
            let held = seqs.iter().map(|seq| Held {
                seq: *seq,
                tries: 1,
                not_before: 0,
                reason: "r".into(),
                redelivered: false,
            });
            let owed = Arc::clone(&room).try_acquire_many_owned(4).ok();
            assert!(owed.is_some());
            let settlement =
                Settlement { through: 9, settled, held: held.collect(), owed, ..Settlement::default() };
            settlements.note(LaneId(1), settlement);
            room.available_permits()
        };
        assert_eq!(note(&[1, 2], 0), 6);
        assert_eq!(note(&[1, 2], 5), 6, "the first says it");
        assert_eq!(note(&[1, 2], 0), 6, "and goes on to say it");
        settlements.written(settlements.share());
        assert_eq!((room.available_permits(), settlements.waiting.len()), (10, 0));
    }
}
