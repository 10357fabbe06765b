//! What lanes have done and the journal has not written yet.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use super::SETTLE_WITHIN;
use crate::journal::{LaneId, Seq, Settlement};

/// What is settled but not written yet.
#[derive(Default)]
pub(super) struct Settlements {
    pub(super) waiting: Vec<(LaneId, u64, Settlement)>,
    /// When they are to be written, be there items or not.
    pub(super) due: Option<Instant>,
    /// The number of each lane's last one.
    pub(super) numbers: HashMap<LaneId, u64>,
}

impl Settlements {
    pub(super) fn note(&mut self, lane: LaneId, settlement: Settlement) {
        if !settlement.held.is_empty() {
            self.supersede(lane, &settlement);
        }
        let number = self.numbers.entry(lane).or_default();
        *number += 1;
        self.waiting.push((lane, *number, settlement));
        self.due.get_or_insert_with(|| Instant::now() + SETTLE_WITHIN);
    }

    /// Forgets what an earlier one says of items that this one holds again, and those that say
    /// nothing any more: items are tried for as long as the journal cannot be written, and each
    /// try is a settlement. What the others count stays theirs, because one of them may be
    /// written already.
    fn supersede(&mut self, lane: LaneId, newer: &Settlement) {
        let again: HashSet<Seq> = newer.held.iter().map(|held| held.seq).collect();
        self.waiting.retain_mut(|(of, _, earlier)| {
            if *of != lane {
                return true;
            }
            earlier.held.retain(|held| !again.contains(&held.seq));
            let is_empty = earlier.held.is_empty() && earlier.released.is_empty() && earlier.dead.is_empty();
            !(is_empty && earlier.settled == 0 && earlier.through <= newer.through)
        });
    }

    pub(super) fn written(&mut self) {
        self.waiting.clear();
        self.due = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Held;

    /// Each item that is tried again and again is kept once, whatever the number of tries.
    #[test]
    fn of_what_is_tried_again_only_the_newest_waits() {
        let mut settlements = Settlements::default();
        let held =
            |seq, tries| Held { seq, tries, not_before: 0, reason: "r".to_owned(), redelivered: false };
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
        let waiting = settlements.waiting.iter().map(|(lane, number, settlement)| {
            let held: Vec<_> = settlement.held.iter().map(|held| (held.seq, held.tries)).collect();
            (lane.0, *number, settlement.settled, held)
        });
        let expected = [
            (1, 1, 7, vec![]),
            (2, 1, 0, vec![(1, 1)]),
            (1, 96, 0, vec![(1, 49)]),
            (1, 97, 0, vec![(2, 49)]),
        ];
        assert_eq!(waiting.collect::<Vec<_>>(), expected);
    }
}
