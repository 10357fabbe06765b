//! One instance of a plugin, and one call into it.
//!
//! # Invariants
//! - A call ends within the returner's limits, whatever the guest does, and a call
//!   that was stopped leaves the instance broken: it is never called again.
//! - A guest runs on the guests' threads ([`guests`](super::guests)), and begins and ends there; who
//!   waits for it, and what is committed, on the host's own. A call that nobody waits for any more
//!   ends, and its instance is broken.
//! - What a call wrote through `sql` is committed only after the guest answered ok;
//!   every other end of the call rolls it back.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::error::Elapsed;
use wasmtime::component::ResourceTableError;
use wasmtime::{Store, Trap as WasmTrap};
use wasmtime_wasi::I32Exit;

use super::guests::Meter;
use super::limits::on_epoch;
use super::load::{Interface, Plugin};
use super::state::{Grants, GuestState, RESOURCES};
use super::stderr::Stderr;
use super::{backtrace, words};
use crate::connections::{CommitError, Purpose, SqlError};
use crate::items::Failure;

/// A guest that was begun.
pub(crate) struct Instance {
    /// None while a call has it, and after one that did not give it back.
    running: Option<Running>,
    pub(super) plugin: Arc<Plugin>,
    stderr: Stderr,
    broken: bool,
    /// The memory that it had before its first call, in bytes.
    began_with: usize,
}

/// What a call takes with it to the guests' threads.
pub(super) struct Running {
    pub(super) store: Store<GuestState>,
    pub(super) guest: wasmtime::component::Instance,
}

impl Running {
    pub(super) fn meter(&self) -> Arc<Meter> {
        self.store.data().usage.meter()
    }
}

/// How a call came back: with the guest, and what it answered within its time; or with what the
/// host's own code said when it panicked.
type Called<T> = Result<(Running, Result<wasmtime::Result<Result<T, Failure>>, Elapsed>), String>;

/// How a call ended that did not end well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The guest answered that it failed.
    #[error("{}", _0.message())]
    Failed(Failure),
    /// The guest was stopped. What it was given may be the cause.
    #[error(transparent)]
    Stopped(Box<Trap>),
    /// The guest answered ok, and the server did not commit: nothing is stored.
    #[error("not committed: {0}")]
    NotCommitted(String),
    /// The guest answered ok, and nobody knows whether the server committed.
    #[error("it is not known whether the commit went through: {0}")]
    Unclear(String),
    #[error("the plugin does not export `{0}`")]
    Missing(Interface),
    /// Nobody called the guest: a question that waited for those before it.
    #[error(
        "all of the instances that may answer questions were busy for {waited:?}; `limits.instances` is {instances}"
    )]
    Busy { instances: u64, waited: Duration },
}

impl CallError {
    /// The last lines that the guest printed before it was stopped, for people, each on a line;
    /// empty if it was not, or printed nothing.
    pub(crate) fn printed(&self) -> String {
        const LINES: usize = 8;
        let CallError::Stopped(trap) = self else { return String::new() };
        let lines: Vec<&str> = trap.stderr.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = &lines[lines.len().saturating_sub(LINES)..];
        last.iter().map(|line| format!("\n  | {}", words::line(line))).collect()
    }
}

/// A guest that was stopped, and what is known of why.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct Trap {
    pub(crate) stop: Stop,
    pub(crate) reason: String,
    /// What it printed in this call: the beginning and the end of it.
    pub(crate) stderr: String,
    /// The guest's functions, innermost first, where it has names.
    pub(crate) backtrace: String,
}

/// What stopped a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    Trap,
    Memory,
    Cpu,
    /// The wall clock, while the guest itself ran or slept.
    Time,
    /// The wall clock, while it waited for the host: the server is to blame.
    HostTime,
    /// Its answer is against the contract.
    Contract,
}

impl Instance {
    /// Instantiates a plugin. A component may run code of its own here.
    pub(crate) async fn new(plugin: &Arc<Plugin>, grants: &Arc<Grants>) -> Result<Self, CallError> {
        Self::seated(plugin, grants, None).await
    }

    /// The same, with a seat that it has from its beginning to its end.
    pub(crate) async fn seated(
        plugin: &Arc<Plugin>,
        grants: &Arc<Grants>,
        seat: Option<OwnedSemaphorePermit>,
    ) -> Result<Self, CallError> {
        let mut state = GuestState::new(Arc::clone(grants));
        state.seat = seat;
        let (stderr, meter) = (state.stderr.clone(), state.usage.meter());
        let begun = plugin.guests.run(meter, &plugin.excess, begin(Arc::clone(plugin), state)).await;
        let running = begun.unwrap_or_else(|said| Err(panicked(&stderr, &said)))?;
        let began_with = running.store.data().usage.memory();
        Ok(Self { running: Some(running), plugin: Arc::clone(plugin), stderr, broken: false, began_with })
    }

    /// Gives it a seat for what comes next, or takes it.
    pub(crate) fn seat(&mut self, seat: Option<OwnedSemaphorePermit>) {
        if let Some(running) = &mut self.running {
            running.store.data_mut().seat = seat;
        }
    }

    /// What it printed in the last call: the beginning and the end of it.
    pub(crate) fn printed(&self) -> String {
        self.stderr.text()
    }

    /// Whether it must not be called again.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// A call begins: gives the time that it may take, and the guest. It is broken until the guest
    /// has come back on its own, which [`end`](Self::end) is told.
    pub(super) fn begin(&mut self, purpose: Purpose) -> Result<(Duration, Running), CallError> {
        self.broken = true;
        let running = self.running.take();
        let mut running = running.ok_or_else(|| panicked(&self.stderr, "a call before did not come back"))?;
        running.store.set_epoch_deadline(1);
        let state = running.store.data_mut();
        state.usage.begin_call();
        state.stderr.begin_call();
        state.purpose = purpose;
        Ok((state.grants.limits.time, running))
    }

    /// The end of a call that was [begun](Self::begin): checks its answer, and commits.
    pub(super) async fn end<T>(
        &mut self,
        called: Called<T>,
        check: impl FnOnce(&T) -> Result<(), String>,
    ) -> Result<T, CallError> {
        let (running, answer) = called.map_err(|said| panicked(&self.stderr, &said))?;
        let state = self.running.insert(running).store.data_mut();
        let answer = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(undo(state, |state| stopped(state, &error)).await),
            Err(_) => return Err(undo(state, out_of_time).await),
        };
        match answer {
            Ok(answer) => match check(&answer) {
                Ok(()) => {
                    self.broken = false;
                    match state.is_trial() {
                        true => roll_back(state).await,
                        false => commit(state).await?,
                    }
                    Ok(answer)
                }
                Err(reason) => Err(undo(state, |state| contract(state, reason)).await),
            },
            Err(failure) => {
                self.broken = false;
                Err(undo(state, |_| CallError::Failed(failure)).await)
            }
        }
    }

    /// The memory that it has, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.running.as_ref().map_or(0, |running| running.store.data().usage.memory())
    }
}

impl Instance {
    /// It has taken half of what it may take, beyond what it began with: another one should be called
    /// in its place, because the next call may be the one that is stopped for it.
    pub(crate) fn has_grown(&self) -> bool {
        let Some(running) = &self.running else { return false };
        let state = running.store.data();
        let most = usize::try_from(state.grants.limits.memory).unwrap_or(usize::MAX);
        let spare = most.saturating_sub(self.began_with);
        state.usage.memory() > self.began_with + spare / 2
    }
}

impl Drop for Instance {
    /// Its memory goes back to the system, which takes a while of a processor.
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            self.plugin.guests.end(running);
        }
    }
}

/// Begins a guest, on a guest's thread.
async fn begin(plugin: Arc<Plugin>, state: GuestState) -> Result<Running, CallError> {
    let limits = state.grants.limits.clone();
    let mut store = Store::new(plugin.pre.engine(), state);
    store.limiter(|state| state);
    let handed_over = store.data().grants.handed_over();
    store.set_hostcall_fuel(usize::try_from(handed_over).unwrap_or(usize::MAX));
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|mut store| on_epoch(store.data_mut()));
    store.data_mut().usage.begin_call();
    if !store.data_mut().usage.begin_with(plugin.parts) {
        return Err(stopped(store.data(), &wasmtime::Error::msg("its parts take too much memory")));
    }
    match tokio::time::timeout(limits.time, plugin.pre.instantiate_async(&mut store)).await {
        Ok(Ok(guest)) => Ok(Running { store, guest }),
        Ok(Err(error)) => Err(stopped(store.data(), &error)),
        Err(_) => Err(out_of_time(store.data())),
    }
}

/// Commits what the call wrote, connection by connection: once one has it, it is not known any
/// more that none has.
async fn commit(state: &mut GuestState) -> Result<(), CallError> {
    let mut committed = false;
    for (_, transaction) in mem::take(&mut state.transactions) {
        match transaction.commit().await {
            Ok(()) => committed = true,
            Err(CommitError::RolledBack(error)) if !committed => return Err(not_committed(&error)),
            Err(error) => return Err(CallError::Unclear(error.to_string())),
        }
    }
    Ok(())
}

async fn undo(state: &mut GuestState, error: impl FnOnce(&GuestState) -> CallError) -> CallError {
    roll_back(state).await;
    error(state)
}

async fn roll_back(state: &mut GuestState) {
    for (_, transaction) in mem::take(&mut state.transactions) {
        transaction.rollback().await;
    }
}

/// A server that will never take it, such as one whose constraints it checks at the end, says so.
fn not_committed(error: &SqlError) -> CallError {
    match error.retryable {
        true => CallError::NotCommitted(error.to_string()),
        false => CallError::Failed(Failure::Reject(format!("the commit: {error}"))),
    }
}

fn out_of_time(state: &GuestState) -> CallError {
    let bound = humantime::format_duration(state.grants.limits.time);
    let (stop, doing) = if state.usage.host_was_stopped() {
        (Stop::HostTime, "for most of which the host itself was stopped")
    } else if state.usage.is_in_host_call() || state.waits_by_wasi() {
        (Stop::HostTime, "most of it waiting for a server")
    } else {
        (Stop::Time, "and did not answer")
    };
    trap(state, stop, format!("a call took longer than {bound}, {doing} (`limits.time`)"), String::new())
}

fn contract(state: &GuestState, reason: String) -> CallError {
    trap(state, Stop::Contract, format!("its answer is against the contract: {reason}"), String::new())
}

/// Why wasmtime gave up on the guest.
fn stopped(state: &GuestState, error: &wasmtime::Error) -> CallError {
    let limits = &state.grants.limits;
    let backtrace = error.downcast_ref().map(backtrace::text).unwrap_or_default();
    if state.usage.cpu_exceeded {
        let bound = humantime::format_duration(limits.cpu);
        let reason = format!("a call used more than {bound} of processor time (`limits.cpu`)");
        return trap(state, Stop::Cpu, reason, backtrace);
    }
    if state.usage.memory_refused {
        let bound = bytesize::ByteSize(limits.memory);
        let reason = format!("it needs more than {bound} of memory (`limits.memory`)");
        return trap(state, Stop::Memory, reason, backtrace);
    }
    // wasmtime has no type for it. Only the cause itself is looked at: what stands around it holds
    // the guest's names, which wasmtime writes out at any length.
    let cause = words::line(&error.root_cause().to_string());
    if cause.contains("fuel allocated for hostcalls") {
        let reason = match state.grants.takes_statements() {
            true => format!(
                "it handed over far more than {} in one call of the host (`limits.statement`)",
                bytesize::ByteSize(limits.statement)
            ),
            false => format!(
                "it handed over more than {} in one call of the host, and is granted nothing that takes so much",
                bytesize::ByteSize(state.grants.handed_over())
            ),
        };
        return trap(state, Stop::Memory, reason, backtrace);
    }
    if let Some(ResourceTableError::Full) = error.root_cause().downcast_ref() {
        let reason = format!(
            "it held {RESOURCES} of WASI's things at once (sockets, streams, requests): no more can be had"
        );
        return trap(state, Stop::Memory, reason, backtrace);
    }
    let reason = match error.downcast_ref::<WasmTrap>() {
        Some(WasmTrap::UnreachableCodeReached) => "it aborted (a panic, or an assertion)".to_owned(),
        Some(trap) => format!("it trapped: {trap}"),
        None if let Some(exit) = error.downcast_ref::<I32Exit>() => {
            format!("it exited, with the code {}", exit.0)
        }
        None => format!("it was stopped: {cause}"),
    };
    trap(state, Stop::Trap, reason, backtrace)
}

/// The host's own fault. What the guest did may be the cause, so it is held to be.
fn panicked(stderr: &Stderr, said: &str) -> CallError {
    let reason = format!("the host itself failed in a call of it: {}", words::line(said));
    let (stderr, backtrace) = (stderr.text(), String::new());
    CallError::Stopped(Box::new(Trap { stop: Stop::Trap, reason, stderr, backtrace }))
}

fn trap(state: &GuestState, stop: Stop, reason: String, backtrace: String) -> CallError {
    CallError::Stopped(Box::new(Trap { stop, reason, stderr: state.stderr.text(), backtrace }))
}
