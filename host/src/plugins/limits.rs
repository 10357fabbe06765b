//! What one instance uses, and where it is stopped.

use std::time::{Duration, Instant};

use returner_engine::EPOCH;
use wasmtime::{ResourceLimiter, UpdateDeadline};

use super::pulse::PULSE;
use super::state::GuestState;
use crate::config::Limits;

/// The most tables, memories and core instances of one component.
const PARTS: usize = 1000;

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
    /// Epochs in which the guest was seen to run.
    ticks: u32,
    /// What the host did for it meanwhile, and counts as its own.
    taken: Duration,
    /// Time of this call in the host's own work.
    pub(super) host_time: Duration,
    pub(super) in_host_call: bool,
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
            ticks: 0,
            taken: Duration::ZERO,
            host_time: Duration::ZERO,
            in_host_call: false,
        }
    }

    /// What its memories and tables take, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.memory
    }

    /// A new call begins.
    pub(super) fn begin_call(&mut self) {
        self.begun = Instant::now();
        self.stopped_before = PULSE.stopped();
        self.ticks = 0;
        self.taken = Duration::ZERO;
        self.host_time = Duration::ZERO;
        self.in_host_call = false;
        self.cpu_exceeded = false;
    }

    /// The processor time of this call, at most: an epoch counts in which the guest
    /// ran at all, but not the host's own work.
    fn cpu(&self) -> Duration {
        (EPOCH * self.ticks).min(self.begun.elapsed().saturating_sub(self.host_time)) + self.taken
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

    fn grow(&mut self, by: usize) -> bool {
        let fits = (self.memory + by) as u64 <= self.memory_bound;
        if fits {
            self.memory += by;
        } else {
            self.memory_refused = true;
        }
        fits
    }
}

/// Called each time the guest is seen to run in a new epoch: lets others run, or
/// stops the guest.
pub(super) fn on_epoch(state: &mut GuestState) -> wasmtime::Result<UpdateDeadline> {
    state.usage.ticks += 1;
    if state.usage.cpu() > state.usage.cpu_bound {
        state.usage.cpu_exceeded = true;
        wasmtime::bail!("the processor time of a call is over");
    }
    Ok(UpdateDeadline::Yield(1))
}

impl ResourceLimiter for GuestState {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.usage.grow(desired.saturating_sub(current)))
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.usage.grow(desired.saturating_sub(current).saturating_mul(TABLE_ELEMENT)))
    }

    fn instances(&self) -> usize {
        PARTS
    }

    fn tables(&self) -> usize {
        PARTS
    }

    fn memories(&self) -> usize {
        PARTS
    }
}
