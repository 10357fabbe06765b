//! What one instance uses, and where it is stopped.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::{ResourceLimiter, UpdateDeadline};

use super::guests::{Meter, Spent};
use super::parts::{INSTANCES, MEMORIES, Parts};
use super::pulse::PULSE;
use super::state::GuestState;
use crate::config::Limits;

/// The bytes of a table's element, for its share of the memory.
const TABLE_ELEMENT: usize = 16;

/// The use of memory and processor by one instance.
#[derive(Debug)]
pub(super) struct Usage {
    memory: usize,
    memory_bound: u64,
    /// The guest was refused memory, in this call or before.
    pub(super) memory_refused: bool,
    cpu_bound: Duration,
    /// The guest was stopped for the processor time of this call.
    pub(super) cpu_exceeded: bool,
    begun: Instant,
    /// For how long the host had been stopped when it began.
    stopped_before: Duration,
    meter: Arc<Meter>,
    /// What the meter showed when it began.
    used_before: Spent,
    /// What the host did for it elsewhere, and counts as its own.
    taken: Duration,
    /// The host's own work in this call.
    host: Spent,
    /// What the meter showed when it began.
    host_call: Option<Spent>,
}

impl Usage {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            memory: 0,
            memory_bound: limits.memory,
            memory_refused: false,
            cpu_bound: limits.cpu,
            cpu_exceeded: false,
            begun: Instant::now(),
            stopped_before: PULSE.stopped(),
            meter: Arc::default(),
            used_before: Spent::default(),
            taken: Duration::ZERO,
            host: Spent::default(),
            host_call: None,
        }
    }

    /// Counts what it takes beside its memories and tables; says whether it may.
    pub(super) fn begin_with(&mut self, parts: Parts) -> bool {
        self.grow(usize::try_from(parts.bytes).ok())
    }

    /// What it takes, its memories and tables in it, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.memory
    }

    /// A new call begins.
    pub(super) fn begin_call(&mut self) {
        self.begun = Instant::now();
        self.stopped_before = PULSE.stopped();
        self.used_before = self.meter.spent();
        self.taken = Duration::ZERO;
        self.host = Spent::default();
        self.host_call = None;
        self.cpu_exceeded = false;
    }

    /// For whoever runs it.
    pub(super) fn meter(&self) -> Arc<Meter> {
        Arc::clone(&self.meter)
    }

    /// The processor time of this call, without the host's own work; or half of the time in which it
    /// ran or could have run, where that is more: a guest that computes comes to its end also where
    /// others leave it little of a processor, and what they took is not all held against it.
    fn cpu(&self) -> Duration {
        let Spent { cpu, time } = self.meter.spent().since(self.used_before).since(self.host);
        cpu.max(time / 2) + self.taken
    }

    /// The host's own work begins, which may be a wait.
    pub(super) fn host_call_begins(&mut self) {
        self.host_call = Some(self.meter.spent());
    }

    pub(super) fn host_call_ends(&mut self) {
        if let Some(before) = self.host_call.take() {
            self.host = self.host.and(self.meter.spent().since(before));
        }
    }

    pub(super) fn is_in_host_call(&self) -> bool {
        self.host_call.is_some()
    }

    /// The host has worked for so long in the guest's place.
    pub(super) fn took(&mut self, time: Duration) {
        self.taken += time;
    }

    /// Whether the host itself was stopped for most of this call.
    pub(super) fn host_was_stopped(&self) -> bool {
        PULSE.stopped().saturating_sub(self.stopped_before) > self.begun.elapsed() / 2
    }

    /// Whether the guest did nothing for most of this call.
    pub(super) fn is_idle(&self) -> bool {
        self.cpu() < self.begun.elapsed() / 2
    }

    /// Allows a part of the guest's to grow, and counts that. What grew is never taken back: wasmtime
    /// also says that a growth failed which was not asked for here, and whoever took that for the
    /// last one that was would count a guest's memory away.
    ///
    /// `by` is none where it is more than can be counted.
    fn grow(&mut self, by: Option<usize>) -> bool {
        let grown = by.and_then(|by| self.memory.checked_add(by));
        match grown.filter(|grown| *grown as u64 <= self.memory_bound) {
            Some(grown) => {
                self.memory = grown;
                true
            }
            None => {
                self.memory_refused = true;
                false
            }
        }
    }
}

/// Called each time the guest is seen to run in a new epoch: lets others run, or
/// stops the guest.
pub(super) fn on_epoch(state: &mut GuestState) -> wasmtime::Result<UpdateDeadline> {
    if state.usage.cpu() > state.usage.cpu_bound {
        state.usage.cpu_exceeded = true;
        wasmtime::bail!("the processor time of a call is over");
    }
    Ok(UpdateDeadline::Yield(1))
}

/// What cannot come about is refused before it is counted, and is no want of memory.
fn is_beyond(desired: usize, maximum: Option<usize>) -> bool {
    maximum.is_some_and(|maximum| desired > maximum)
}

impl ResourceLimiter for GuestState {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(!is_beyond(desired, maximum) && self.usage.grow(desired.checked_sub(current)))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let bytes = || desired.checked_sub(current)?.checked_mul(TABLE_ELEMENT);
        Ok(!is_beyond(desired, maximum) && self.usage.grow(bytes()))
    }

    fn instances(&self) -> usize {
        INSTANCES
    }

    fn tables(&self) -> usize {
        INSTANCES
    }

    fn memories(&self) -> usize {
        MEMORIES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::Grants;

    #[test]
    fn memory_is_counted_whatever_is_asked_for_and_only_what_came_about() {
        const PAGE: usize = 64 << 10;
        let mut state = GuestState::new(Arc::new(Grants::nothing("audit")));
        let bound = usize::try_from(Limits::default().memory).unwrap();
        assert!(state.memory_growing(0, 3200 * PAGE, None).unwrap());
        let held = state.usage.memory();
        // As much as makes the sum less than what is held; and less than there was.
        let wrapping = usize::MAX - 100 * PAGE;
        for (current, desired) in [(100 * PAGE, wrapping), (0, usize::MAX), (1, 0), (0, bound)] {
            assert!(!state.memory_growing(current, desired, None).unwrap(), "{current} to {desired}");
            assert!(!state.table_growing(current, desired, None).unwrap(), "{current} to {desired}");
            assert_eq!(state.usage.memory(), held);
        }
        assert!(state.usage.memory_refused);
        state.usage.memory_refused = false;
        for _ in 0..10_000 {
            assert!(!state.memory_growing(0, 2 * PAGE, Some(PAGE)).unwrap());
            assert!(!state.table_growing(0, 1000, Some(10)).unwrap());
            // As wasmtime does of what it never asked for.
            state.memory_grow_failed(wasmtime::Error::msg("beyond its type")).unwrap();
        }
        assert!(!state.usage.memory_refused, "what cannot come about is no want of memory");
        assert_eq!(state.usage.memory(), held);
    }
}
