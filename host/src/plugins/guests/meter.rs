//! What one guest's calls use of the processors.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// A use of the processors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::plugins) struct Spent {
    /// Of a processor.
    pub(in crate::plugins) cpu: Duration,
    /// By the clock: while it ran, or could have run if no other had the processor.
    pub(in crate::plugins) time: Duration,
}

impl Spent {
    pub(in crate::plugins) fn since(self, before: Self) -> Self {
        Self { cpu: self.cpu.saturating_sub(before.cpu), time: self.time.saturating_sub(before.time) }
    }

    pub(in crate::plugins) fn and(self, more: Self) -> Self {
        Self { cpu: self.cpu + more.cpu, time: self.time + more.time }
    }
}

/// The use of one guest's calls: that of the threads on which they were polled. Whatever was done
/// there is in it: the guest's own code, and the host's functions that it called.
#[derive(Debug)]
pub(in crate::plugins) struct Meter {
    begun: Instant,
    cpu: AtomicU64,
    time: AtomicU64,
    /// What the thread had used when the poll under way began, and when that was, since `begun`;
    /// [`NONE`](Self::NONE) where none is under way. All in nanoseconds.
    poll_cpu: AtomicU64,
    poll_time: AtomicU64,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            cpu: AtomicU64::new(0),
            time: AtomicU64::new(0),
            poll_cpu: AtomicU64::new(Self::NONE),
            poll_time: AtomicU64::new(Self::NONE),
        }
    }
}

impl Meter {
    const NONE: u64 = u64::MAX;

    /// So far. In a poll only its own thread asks.
    pub(in crate::plugins) fn spent(&self) -> Spent {
        let so_far = |sum: &AtomicU64, begun: &AtomicU64, now: u64| {
            let under_way = match begun.load(Ordering::Relaxed) {
                Self::NONE => 0,
                begun => now.saturating_sub(begun),
            };
            Duration::from_nanos(sum.load(Ordering::Relaxed) + under_way)
        };
        Spent {
            cpu: so_far(&self.cpu, &self.poll_cpu, thread_time()),
            time: so_far(&self.time, &self.poll_time, self.clock()),
        }
    }

    pub(super) fn begin(&self) {
        self.poll_cpu.store(thread_time(), Ordering::Relaxed);
        self.poll_time.store(self.clock(), Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        let ended = |sum: &AtomicU64, begun: &AtomicU64, now: u64| {
            let begun = begun.swap(Self::NONE, Ordering::Relaxed);
            sum.fetch_add(now.saturating_sub(begun), Ordering::Relaxed);
        };
        ended(&self.cpu, &self.poll_cpu, thread_time());
        ended(&self.time, &self.poll_time, self.clock());
    }

    fn clock(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(Self::NONE)
    }
}

/// The processor time of this thread, in nanoseconds.
pub(super) fn thread_time() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}
