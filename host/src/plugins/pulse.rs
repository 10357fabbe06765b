//! Whether the host itself runs: SIGSTOP, or a machine that is suspended, stops the clock of
//! whoever counts, and not the clock on the wall.
//!
//! A thread beats all the time; a long gap between two beats is a stop. A host that is merely
//! short of processor time beats late each time, but not that late.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A longer gap is a stop.
const GAP: Duration = Duration::from_secs(1);

/// The host's own, which the thread of the epochs beats.
pub(super) static PULSE: Pulse = Pulse::new();

static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);

pub(super) struct Pulse {
    /// The last beat, in milliseconds since the first look at the clock.
    last: AtomicU64,
    /// All gaps together that were stops, in milliseconds.
    stopped: AtomicU64,
}

impl Pulse {
    const fn new() -> Self {
        Self { last: AtomicU64::new(0), stopped: AtomicU64::new(0) }
    }

    pub(super) fn beat(&self) {
        self.beat_at(BEGUN.elapsed());
    }

    /// For how long the host has been stopped so far.
    pub(super) fn stopped(&self) -> Duration {
        self.stopped_at(BEGUN.elapsed())
    }

    fn beat_at(&self, now: Duration) {
        let now = now.as_millis() as u64;
        let last = self.last.swap(now, Ordering::AcqRel);
        let gap = gap(last, now);
        if gap > 0 {
            self.stopped.fetch_add(gap, Ordering::AcqRel);
        }
    }

    /// Who asks may run again before the thread that beats does.
    fn stopped_at(&self, now: Duration) -> Duration {
        let open = gap(self.last.load(Ordering::Acquire), now.as_millis() as u64);
        Duration::from_millis(self.stopped.load(Ordering::Acquire) + open)
    }
}

fn gap(last: u64, now: u64) -> u64 {
    let gap = now.saturating_sub(last);
    if gap > GAP.as_millis() as u64 { gap } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_gap_is_a_stop_and_beating_late_is_none() {
        let pulse = Pulse::new();
        let at = Duration::from_millis;
        (0..100).for_each(|beat| pulse.beat_at(at(beat * 900)));
        assert_eq!(pulse.stopped_at(at(89_200)), Duration::ZERO);
        assert_eq!(pulse.stopped_at(at(95_100)), at(6000), "before it beats again");
        pulse.beat_at(at(95_100));
        pulse.beat_at(at(95_110));
        assert_eq!(pulse.stopped_at(at(95_500)), at(6000));
    }
}
