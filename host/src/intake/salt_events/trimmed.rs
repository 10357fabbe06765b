//! Returns that Salt trimmed for its bus, which a minion's own module sends whole: usually a
//! moment later, because a minion answers its master first.
//!
//! They wait in memory, in the order in which they came: for a time, or until too much waits.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::message::Sorted;

/// How much waits at most, in bytes.
const MOST: usize = 64 << 20;

#[derive(Default)]
pub(super) struct Trimmed {
    waiting: VecDeque<Incomplete>,
    bytes: usize,
}

/// A return that lacks something.
pub(super) struct Incomplete {
    /// When it was received, in milliseconds since 1970-01-01 UTC.
    pub(super) at: u64,
    pub(super) text: String,
    until: Instant,
}

impl Trimmed {
    pub(super) fn wait(&mut self, sorted: Sorted, at: u64, wait: Duration) {
        self.bytes += sorted.text.len();
        self.waiting.push_back(Incomplete { at, text: sorted.text, until: Instant::now() + wait });
    }

    /// When the first one was received.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.waiting.front().map(|incomplete| incomplete.at)
    }

    /// Those that have waited long enough.
    pub(super) fn due(&mut self) -> Vec<Incomplete> {
        let mut due = Vec::new();
        while self.waiting.front().is_some_and(|first| self.bytes > MOST || first.until <= Instant::now())
            && let Some(first) = self.waiting.pop_front()
        {
            self.bytes -= first.text.len();
            due.push(first);
        }
        due
    }

    /// All of them, when the host does not listen any longer.
    pub(super) fn end(&mut self) -> Vec<Incomplete> {
        self.bytes = 0;
        self.waiting.drain(..).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::items::Kind;

    #[test]
    fn what_waits_has_a_bound_and_an_order() {
        let mut trimmed = Trimmed::default();
        let add = |trimmed: &mut Trimmed, at, size| {
            let sorted = Sorted { kind: Kind::Return, text: "x".repeat(size), trimmed: true };
            trimmed.wait(sorted, at, Duration::from_secs(3600));
        };
        add(&mut trimmed, 1, MOST / 2);
        add(&mut trimmed, 2, MOST / 2);
        assert!(trimmed.due().is_empty());
        assert_eq!(trimmed.oldest(), Some(1));
        add(&mut trimmed, 3, 10);
        assert_eq!(trimmed.due().iter().map(|incomplete| incomplete.at).collect::<Vec<_>>(), [1]);
        assert_eq!(trimmed.end().len(), 2);
        assert_eq!(trimmed.oldest(), None);
    }
}
