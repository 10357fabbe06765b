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

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backoff;
use super::batch::{Batch, Task};
use super::crashes;
use super::probation::Probation;
use super::returner::Returner;
use super::status::{Next, Reporter};
use crate::items::{Failure, Kind, Refusal};
use crate::plugins::{CallError, Delivery, Instance, Stop};
use crate::telemetry::CallEnd;

/// How often a waiting worker looks whether its servers are back.
const PROBE_EVERY: Duration = Duration::from_millis(500);

/// What became of an item.
#[derive(Debug)]
pub(super) enum Fate {
    Stored,
    Dead {
        reason: String,
        stderr: String,
    },
    /// To be tried again on its own.
    Held {
        reason: String,
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
}

/// What to do after a call.
enum Verdict {
    Done(Vec<Outcome>),
    /// Tell the two halves apart.
    Halve(Vec<Task>),
    /// Try again, after this wait.
    Again(Vec<Task>, Duration),
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
            let wait = backoff::wait(tries, self.returner.settings.delivery.max_backoff, asked);
            self.report(&format!("setup: {error}"), &error, Next::SetUp, wait);
            self.pause(wait).await;
        }
        false
    }

    /// Delivers a batch, to the end of each of its items or until the host stops.
    pub(super) async fn deliver(&mut self, batch: Batch) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(batch.tasks.len());
        let mut parts = vec![batch.tasks];
        while let Some(mut tasks) = parts.pop() {
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
                    outcomes.extend(done);
                }
                Verdict::Halve(mut tasks) => {
                    // The first half is delivered first: order matters.
                    parts.push(tasks.split_off(tasks.len().div_ceil(2)));
                    parts.push(tasks);
                }
                Verdict::Again(tasks, wait) => {
                    self.reporter.retried(tasks.len());
                    self.pause(wait).await;
                    parts.push(tasks);
                }
            }
        }
        outcomes
    }

    /// One call; none if the host stops before it.
    async fn call(&mut self, kind: Kind, tasks: &[Task]) -> Option<Result<Vec<Refusal>, CallError>> {
        let instance = self.instance().await?;
        let batch: Vec<Delivery<'_>> = tasks
            .iter()
            .map(|task| Delivery {
                item: &task.entry.item,
                accepted: task.entry.accepted,
                redelivered: task.redelivered,
            })
            .collect();
        let begun = Instant::now();
        let result = instance.store(kind, &batch).await;
        self.reporter.called(end_of(&result), begun.elapsed());
        Some(result)
    }

    fn judge(
        &mut self,
        kind: Kind,
        mut tasks: Vec<Task>,
        result: Result<Vec<Refusal>, CallError>,
    ) -> Verdict {
        let fresh = std::mem::replace(&mut self.fresh, false);
        if let Err(CallError::Stopped(trap)) = &result {
            self.reporter.crashed(&self.returner, crashes::function(kind), &tasks, trap);
        }
        let error = match result {
            Ok(refusals) => {
                self.stopped = 0;
                self.failed = 0;
                self.reporter.well();
                return Verdict::Done(sort_out(tasks, refusals));
            }
            Err(error) => error,
        };
        match error {
            CallError::Failed(Failure::Reject(reason)) => match tasks.len() {
                1 => Verdict::Done(vec![dead(tasks.remove(0), reason, String::new())]),
                _ => Verdict::Halve(tasks),
            },
            CallError::Stopped(ref trap) if trap.stop != Stop::HostTime => {
                self.instance = None;
                if tasks.len() == 1 {
                    self.stopped += 1;
                }
                for task in &mut tasks {
                    task.redelivered = true;
                }
                let wait = backoff::wait(self.stopped, self.returner.settings.delivery.max_backoff, None);
                let next = match tasks.len() {
                    1 if fresh => Next::GoOn,
                    1 => Next::Store(kind, 1),
                    count => Next::Halves(kind, count),
                };
                self.report(&error.to_string(), &error, next, wait);
                match tasks.len() {
                    // In a new instance it is the item, and not what came before it.
                    1 if fresh => {
                        let stderr = trap.stderr.clone();
                        Verdict::Done(vec![dead(tasks.remove(0), error.to_string(), stderr)])
                    }
                    1 => Verdict::Again(tasks, wait),
                    _ => Verdict::Halve(tasks),
                }
            }
            error => {
                let unclear = matches!(error, CallError::Unclear(_) | CallError::Stopped(_));
                if unclear {
                    self.instance = None;
                }
                for task in &mut tasks {
                    task.redelivered |= unclear;
                }
                let asked = match &error {
                    CallError::Failed(Failure::Retry { after, .. }) => *after,
                    _ => None,
                };
                self.failed += 1;
                let wait = backoff::wait(self.failed, self.returner.settings.delivery.max_backoff, asked);
                self.report(&error.to_string(), &error, Next::Store(kind, tasks.len()), wait);
                Verdict::Again(tasks, wait)
            }
        }
    }

    /// The instance, a new one where there is none; none if the host stops.
    async fn instance(&mut self) -> Option<&mut Instance> {
        if self.instance.is_none() && self.stopped > 0 {
            let wait = backoff::wait(self.stopped, self.returner.settings.delivery.max_backoff, None);
            self.reporter.waits(wait);
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
                    let wait = backoff::wait(tries, self.returner.settings.delivery.max_backoff, None);
                    self.report(&format!("cannot start: {error}"), &error, Next::Start, wait);
                    self.pause(wait).await;
                }
            }
        }
        if self.stop.is_cancelled() {
            return None;
        }
        self.instance.as_mut()
    }

    fn report(&self, message: &str, error: &CallError, next: Next, wait: Duration) {
        self.reporter.failed(message, next, wait);
        let plugin = self.returner.plugin.title();
        let returner = self.returner.settings.name.as_str();
        match error {
            CallError::Stopped(trap) => tracing::error!(
                returner,
                plugin,
                ?wait,
                stderr = trap.stderr,
                backtrace = trap.backtrace,
                "{message}"
            ),
            _ => tracing::warn!(returner, plugin, ?wait, "{message}"),
        }
    }

    /// Waits, but no longer than until the host stops, or until a server that was away
    /// answers again.
    async fn pause(&mut self, wait: Duration) {
        let until = Instant::now() + wait;
        let waited = async {
            if wait > PROBE_EVERY && !self.returner.servers_answer().await {
                while Instant::now() < until {
                    tokio::time::sleep_until(until.min(Instant::now() + PROBE_EVERY)).await;
                    if self.returner.servers_answer().await {
                        return true;
                    }
                }
            }
            tokio::time::sleep_until(until).await;
            false
        };
        let back = tokio::select! {
            () = self.stop.cancelled() => false,
            back = waited => back,
        };
        if back {
            // It may answer before it is ready: the waits begin anew.
            self.failed = 0;
        }
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

/// The outcomes of a call that answered ok.
fn sort_out(tasks: Vec<Task>, refusals: Vec<Refusal>) -> Vec<Outcome> {
    let mut outcomes: Vec<Outcome> =
        tasks.into_iter().map(|task| Outcome { task, fate: Fate::Stored }).collect();
    for Refusal { index, failure } in refusals {
        // The instance has checked the indices.
        if let Some(outcome) = outcomes.get_mut(index) {
            outcome.fate = match failure {
                Failure::Retry { message, after } => Fate::Held { reason: message, after },
                Failure::Reject(reason) => Fate::Dead { reason, stderr: String::new() },
            };
        }
    }
    outcomes
}

fn dead(task: Task, reason: String, stderr: String) -> Outcome {
    Outcome { task, fate: Fate::Dead { reason, stderr } }
}
