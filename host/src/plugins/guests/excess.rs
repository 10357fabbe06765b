//! How nice the threads of a plugin's calls are: the more so, the more its calls have lately taken
//! of the processors beyond what a call takes that only stores a batch.
//!
//! The system gives a processor to those first who are less nice. So a plugin that computes gets
//! what others leave, and one that comes back soon, as ordinary ones do, waits for none that
//! computes. It is the length of calls that counts, and not their sum: a busy lane is no fault.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// What a call takes of a processor before any of it is too much.
const ORDINARY: Duration = Duration::from_millis(100);

/// After so long, a third is left of what counts.
const REMEMBERED: Duration = Duration::from_secs(30);

/// How much nicer than the host's own threads one is that runs a guest.
pub(super) const LEAST: i32 = 5;

/// How much nicer one is from so much excess on, the least first. A neighbour's guest beside the
/// nicest has nineteen of twenty parts of a processor.
const LEVELS: [(Duration, i32); 3] =
    [(Duration::ZERO, 10), (Duration::from_millis(300), 15), (Duration::from_secs(2), 19)];

/// What the calls of one plugin took beyond [`ORDINARY`], each of them, lately.
#[derive(Debug)]
pub(in crate::plugins) struct Excess(Mutex<Sum>);

#[derive(Debug)]
struct Sum {
    seconds: f64,
    at: Instant,
}

impl Default for Excess {
    fn default() -> Self {
        Self(Mutex::new(Sum { seconds: 0.0, at: Instant::now() }))
    }
}

impl Excess {
    /// A call that had taken `before` has taken `after`.
    pub(super) fn note(&self, before: Duration, after: Duration) {
        let more = after.saturating_sub(ORDINARY.max(before));
        if !more.is_zero() {
            let mut sum = self.0.lock();
            sum.pass(Instant::now());
            sum.seconds += more.as_secs_f64();
        }
    }

    /// How much nicer than the host's own its threads are to be.
    pub(super) fn nicer(&self) -> i32 {
        let mut sum = self.0.lock();
        sum.pass(Instant::now());
        let reached = LEVELS.iter().rev().find(|(excess, _)| sum.seconds > excess.as_secs_f64());
        reached.map_or(LEAST, |(_, nicer)| *nicer)
    }
}

impl Sum {
    fn pass(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at);
        self.seconds *= (-passed.as_secs_f64() / REMEMBERED.as_secs_f64()).exp();
        // Less than the clocks can tell.
        if self.seconds < 0.001 {
            self.seconds = 0.0;
        }
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn calls_that_end_soon_count_nothing_however_many() {
        let excess = Excess::default();
        for _ in 0..10_000 {
            excess.note(Duration::ZERO, 50 * MS);
            excess.note(50 * MS, 99 * MS);
        }
        assert_eq!(excess.nicer(), LEAST);
    }

    #[test]
    fn who_computes_is_nicer_and_stays_it_for_its_next_calls() {
        let excess = Excess::default();
        let mut before = Duration::ZERO;
        for (after, nicer) in [(100, LEAST), (200, 10), (500, 15), (3000, 19), (100_000, 19)] {
            excess.note(before, after * MS);
            before = after * MS;
            assert_eq!(excess.nicer(), nicer, "after {before:?}");
        }
        excess.note(Duration::ZERO, MS);
        assert_eq!(excess.nicer(), 19, "of the next call");
        excess.0.lock().at -= 20 * REMEMBERED;
        assert_eq!(excess.nicer(), LEAST, "it is long ago");
    }
}
