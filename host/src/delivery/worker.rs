//! A worker: one instance of the plugin, one call at a time.
//!
//! What a failed call means for its items:
//!
//! | the call | its items |
//! |---|---|
//! | answered ok | are stored, but those refused: tried again on their own, or dead letters |
//! | answered `retry`, or was not committed | are tried again together, after a wait |
//! | ran out of time while it waited for a server, or its commit is unclear | the same, and say `redelivered` |
//! | answered `reject` | are halved, until the one is alone that is meant: a dead letter |
//! | trapped, or hit a limit | the same, with a new instance each time |
//!
//! A plugin that traps on one item alone after another is restarted with growing waits,
//! so that a broken one does not turn a whole journal into dead letters.

mod judge;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backoff;
use super::batch::{Batch, Task};
use super::board::Reporter;
use super::probation::Probation;
use super::returner::Returner;
use super::status::Next;
use super::wait::{Wait, Waited};
use crate::items::{Failure, Kind, Refusal};
use crate::plugins::{CallError, Delivery, Instance, Stop, brief};
use crate::telemetry::CallEnd;

use judge::Verdict;

/// What became of an item.
#[derive(Debug)]
pub(super) enum Fate {
    Stored,
    Dead {
        reason: String,
        stderr: String,
    },
    /// To be tried again on its own; the reason in short.
    Held {
        reason: Arc<str>,
        after: Option<Duration>,
    },
    /// The host stops; it was not tried to the end.
    Pending,
}

#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) task: Task,
    pub(super) fate: Fate,
}

pub(super) struct Worker {
    returner: Arc<Returner>,
    reporter: Reporter,
    stop: CancellationToken,
    probation: Option<Arc<Probation>>,
    instance: Option<Instance>,
    /// The instance has not been called yet.
    fresh: bool,
    /// Items that stopped an instance alone, since the last call that ended well.
    stopped: u32,
    /// Calls that failed since the last that ended well, or since a server came back.
    failed: u32,
    /// Calls in a row in which each item was put off on its own.
    refused: u32,
    /// A server that answered right after a call failed was tried soon, since then.
    hoped: bool,
    /// The last failure that was logged, and when.
    logged: Option<(String, Instant)>,
}

/// After so many calls in a row that failed, and so often at most, `setup` is run again.
const FAILED: u32 = 2;
const BETWEEN_SETUPS: Duration = Duration::from_secs(10);

/// For so long the same failure is not logged again: one that lasts is tried each second.
const LOGGED: Duration = Duration::from_secs(60);

/// The first of what comes next, and the rest of it after that.
fn first_alone(parts: &mut Vec<Vec<Task>>) {
    if let Some(mut next) = parts.pop() {
        let rest = next.split_off(next.len().min(1));
        parts.extend([rest, next].into_iter().filter(|part| !part.is_empty()));
    }
}

impl Worker {
    pub(super) fn new(
        returner: &Arc<Returner>,
        reporter: Reporter,
        stop: &CancellationToken,
        probation: Option<Arc<Probation>>,
    ) -> Self {
        Self {
            returner: Arc::clone(returner),
            reporter,
            stop: stop.clone(),
            probation,
            instance: None,
            fresh: true,
            stopped: 0,
            failed: 0,
            refused: 0,
            hoped: false,
            logged: None,
        }
    }

    /// Runs the plugin's `setup` until it goes through; says whether it did, or the
    /// host stops.
    pub(super) async fn set_up(&mut self) -> bool {
        let mut tries = 0;
        while let Some(instance) = self.instance().await {
            let Err(error) = instance.setup().await else {
                self.reporter.set_up();
                return true;
            };
            if !matches!(error, CallError::Failed(_)) {
                self.instance = None;
            }
            if let CallError::Stopped(trap) = &error {
                self.reporter.crashed(&self.returner, "lifecycle.setup", &[], trap);
            }
            tries += 1;
            let asked = match &error {
                CallError::Failed(Failure::Retry { after, .. }) => *after,
                _ => None,
            };
            let wait = self.backoff(tries, asked);
            self.report(&format!("setup: {error}"), &error, Next::SetUp, wait.time);
            self.pause(wait).await;
        }
        false
    }

    /// Somebody may have taken away what `setup` had made: a database that was put back empty, or
    /// a table that was dropped. After calls that failed it is run again, now and then; what it
    /// says is for the next call to say.
    async fn set_up_again(&mut self) {
        if self.failed.max(self.refused) < FAILED || self.stop.is_cancelled() {
            return;
        }
        let returner = Arc::clone(&self.returner);
        // Another worker is at it: the call may go through without.
        let Ok(mut last) = returner.set_up_again.try_lock() else { return };
        if last.is_some_and(|last| last.elapsed() < BETWEEN_SETUPS) {
            return;
        }
        let Some(instance) = self.instance().await else { return };
        let done = instance.setup().await;
        *last = Some(std::time::Instant::now());
        if let Err(error) = done
            && !matches!(error, CallError::Failed(_))
        {
            tracing::debug!(returner = returner.settings.name, "setup, again: {error}");
            self.instance = None;
        }
    }

    /// Delivers a batch, to the end of each of its items or until the host stops.
    pub(super) async fn deliver(&mut self, batch: Batch) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(batch.tasks.len());
        let mut parts = vec![batch.tasks];
        while let Some(mut tasks) = parts.pop() {
            self.set_up_again().await;
            let Some(result) = self.call(batch.kind, &tasks).await else {
                outcomes.extend(tasks.into_iter().map(|task| Outcome { task, fate: Fate::Pending }));
                continue;
            };
            for task in &mut tasks {
                task.tries += 1;
            }
            match self.judge(batch.kind, tasks, result) {
                Verdict::Done(done) => {
                    if let Some(probation) = &self.probation {
                        probation.note(&done);
                    }
                    let is_held = |outcome: &Outcome| matches!(outcome.fate, Fate::Held { after: None, .. });
                    self.refused = if done.iter().all(is_held) { self.refused + 1 } else { 0 };
                    outcomes.extend(done);
                }
                Verdict::Deliver(again, wait) => {
                    let count = again.iter().map(Vec::len).sum();
                    parts.extend(again);
                    if let Some(wait) = wait {
                        self.reporter.retried(count);
                        if self.pause(wait).await == Waited::Probe {
                            first_alone(&mut parts);
                        }
                    }
                }
            }
        }
        outcomes
    }

    /// One call; none if the host stops before it.
    async fn call(&mut self, kind: Kind, tasks: &[Task]) -> Option<Result<Vec<Refusal>, CallError>> {
        let instance = self.instance().await?;
        let batch: Vec<Delivery> = tasks
            .iter()
            .map(|task| Delivery {
                given: Arc::clone(&task.entry) as _,
                accepted: task.entry.accepted,
                redelivered: task.redelivered,
            })
            .collect();
        let begun = Instant::now();
        let result = instance.store(kind, batch).await;
        self.reporter.called(end_of(&result), begun.elapsed());
        Some(result)
    }

    fn backoff(&self, tries: u32, asked: Option<Duration>) -> Wait {
        let longest = self.returner.settings.delivery.max_backoff;
        Wait { time: backoff::wait(tries, longest, asked), asked: asked.is_some() }
    }

    fn replace_grown(&mut self) {
        if self.instance.as_ref().is_some_and(Instance::has_grown) {
            tracing::debug!(
                returner = self.returner.settings.name,
                "its instance has taken half of `limits.memory`: a new one takes its place"
            );
            self.instance = None;
        }
    }

    /// The instance, a new one where there is none; none if the host stops.
    async fn instance(&mut self) -> Option<&mut Instance> {
        if self.instance.is_none() && self.stopped > 0 {
            let wait = self.backoff(self.stopped, None);
            self.reporter.waits(wait.time);
            self.pause(wait).await;
        }
        let mut tries = 0;
        while self.instance.as_ref().is_none_or(Instance::is_broken) {
            if self.stop.is_cancelled() {
                return None;
            }
            match self.returner.instance().await {
                Ok(instance) => {
                    self.instance = Some(instance);
                    self.fresh = true;
                }
                Err(error) => {
                    if let CallError::Stopped(trap) = &error {
                        self.reporter.crashed(&self.returner, "start", &[], trap);
                    }
                    tries += 1;
                    let wait = self.backoff(tries, None);
                    self.report(&format!("cannot start: {error}"), &error, Next::Start, wait.time);
                    self.pause(wait).await;
                }
            }
        }
        if self.stop.is_cancelled() {
            return None;
        }
        self.instance.as_mut()
    }

    fn report(&mut self, message: &str, error: &CallError, next: Next, wait: Duration) {
        self.reporter.failed(message, next, wait);
        let plugin = self.returner.plugin.title();
        let returner = self.returner.settings.name.as_str();
        match error {
            CallError::Stopped(_) if !self.returner.may_tell() => {}
            CallError::Stopped(trap) => tracing::error!(
                returner,
                plugin,
                ?wait,
                stderr = trap.stderr,
                backtrace = trap.backtrace,
                "{message}"
            ),
            _ if self
                .logged
                .as_ref()
                .is_some_and(|(logged, at)| logged == message && at.elapsed() < LOGGED) =>
            {
                tracing::debug!(returner, plugin, ?wait, "{message}");
            }
            _ => {
                tracing::warn!(returner, plugin, ?wait, "{}", brief(message));
                self.logged = Some((message.to_owned(), Instant::now()));
            }
        }
    }

    /// Waits, but no longer than until the host stops.
    async fn pause(&mut self, wait: Wait) -> Waited {
        let waited = tokio::select! {
            () = self.stop.cancelled() => Waited::Through,
            waited = wait.pass(&self.returner, &self.reporter, !self.hoped) => waited,
        };
        match waited {
            // It may answer before it is ready: the waits begin anew.
            Waited::Back => (self.failed, self.hoped) = (0, false),
            Waited::Hoped => self.hoped = true,
            Waited::Through | Waited::Probe => {}
        }
        waited
    }
}

/// How a call ended, for the metrics.
fn end_of(result: &Result<Vec<Refusal>, CallError>) -> CallEnd {
    match result {
        Ok(_) => CallEnd::Stored,
        Err(CallError::Failed(Failure::Reject(_)) | CallError::Missing(_)) => CallEnd::Reject,
        Err(
            CallError::Failed(_)
            | CallError::NotCommitted(_)
            | CallError::Unclear(_)
            | CallError::Busy { .. },
        ) => CallEnd::Retry,
        Err(CallError::Stopped(trap)) => match trap.stop {
            Stop::Trap | Stop::Contract => CallEnd::Trapped,
            Stop::Memory | Stop::Cpu | Stop::Time | Stop::HostTime => CallEnd::Limit,
        },
    }
}
