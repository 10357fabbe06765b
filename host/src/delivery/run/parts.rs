//! A settlement in parts, so that none is much to write at once.
//!
//! # Invariant
//! - Each part moves the cursor past its own items and no others: the journal may have written any
//!   number of them, the first ones, and says what is true.

use crate::journal::{DeadLetter, Held, Seq, Settlement};

/// What a part has at least when the next begins, by its weight.
const PART: usize = 64 << 10;

/// What became of items, told in the order of their places.
pub(super) struct Parts {
    done: Vec<Settlement>,
    last: Settlement,
    weight: usize,
}

impl Parts {
    /// Of items after a cursor, and of some that are held.
    pub(super) fn after(cursor: Seq) -> Self {
        Self { done: Vec::new(), last: Self::part(cursor), weight: 0 }
    }

    fn part(through: Seq) -> Settlement {
        Settlement { through, ..Settlement::default() }
    }

    /// The next of them, and whether it is settled. The places of those that are held are below
    /// the cursor.
    pub(super) fn item(&mut self, seq: Seq, is_settled: bool) {
        if self.weight >= PART {
            let next = Self::part(self.last.through);
            self.done.push(std::mem::replace(&mut self.last, next));
            self.weight = 0;
        }
        self.last.through = self.last.through.max(seq);
        self.last.settled += u64::from(is_settled);
    }

    /// It was held.
    pub(super) fn release(&mut self, seq: Seq) {
        self.weight += Settlement::RELEASED;
        self.last.released.push(seq);
    }

    pub(super) fn hold(&mut self, held: Held) {
        self.weight += held.weight();
        self.last.held.push(held);
    }

    pub(super) fn bury(&mut self, dead: DeadLetter) {
        self.weight += dead.weight();
        self.last.dead.push(dead);
    }

    /// All of them; the lane has no other item up to `through`.
    pub(super) fn through(mut self, through: Seq) -> Vec<Settlement> {
        self.last.through = through;
        self.done.push(self.last);
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(seq: Seq) -> Held {
        Held { seq, tries: 1, not_before: 5, reason: "x".repeat(200).into(), redelivered: false }
    }

    /// Twenty thousand items, of which each second one is to be tried again.
    #[test]
    fn each_part_is_short_and_says_what_became_of_its_own_items() {
        let mut parts = Parts::after(100);
        parts.item(7, true);
        parts.release(7);
        for seq in 101..=20_100 {
            let is_stored = seq % 2 == 0;
            parts.item(seq, is_stored);
            if !is_stored {
                parts.hold(held(seq));
            }
        }
        let parts = parts.through(30_000);
        assert!(parts.len() > 20 && parts.iter().all(|part| part.weight() < PART + 1000));
        assert_eq!((parts[0].released.len(), parts.last().map(|part| part.through)), (1, Some(30_000)));
        let mut cursor = 100;
        for part in &parts {
            let own = |seq: Seq| cursor < seq && seq <= part.through.min(20_100);
            assert!(part.held.iter().all(|held| own(held.seq)));
            let stored = (cursor + 1..=part.through.min(20_100)).filter(|seq| seq % 2 == 0).count();
            let others = (cursor + 1..=part.through.min(20_100)).count() - stored;
            assert_eq!(part.settled, (stored + part.released.len()) as u64);
            assert_eq!(part.held.len(), others);
            cursor = part.through;
        }
    }

    #[test]
    fn what_is_stored_is_one_part() {
        let mut parts = Parts::after(0);
        (1..=100_000).for_each(|seq| parts.item(seq, true));
        let parts = parts.through(100_000);
        assert_eq!((parts.len(), parts[0].settled, parts[0].weight()), (1, 100_000, 0));
    }
}
