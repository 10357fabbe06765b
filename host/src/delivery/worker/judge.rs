//! What a call that has ended means for its items.

use std::sync::Arc;

use super::{Fate, Outcome, Worker};
use crate::delivery::batch::Task;
use crate::delivery::crashes;
use crate::delivery::status::Next;
use crate::delivery::wait::Wait;
use crate::items::{Failure, Kind, Refusal};
use crate::plugins::{CallError, Instance, Stop, Trap, brief, brief_lines};

/// What to do after a call.
pub(super) enum Verdict {
    Done(Vec<Outcome>),
    /// Deliver these, of which the last come first; after this wait, if they are tried again and
    /// not only told apart.
    Deliver(Vec<Vec<Task>>, Option<Wait>),
}

impl Worker {
    pub(super) fn judge(
        &mut self,
        kind: Kind,
        mut tasks: Vec<Task>,
        result: Result<Vec<Refusal>, CallError>,
    ) -> Verdict {
        let fresh = std::mem::replace(&mut self.fresh, false);
        let printed = self.instance.as_ref().map(Instance::printed).unwrap_or_default();
        self.replace_grown();
        if let Err(CallError::Stopped(trap)) = &result {
            self.reporter.crashed(&self.returner, crashes::function(kind), &tasks, trap);
        }
        let error = match result {
            Ok(refusals) => {
                self.stopped = 0;
                self.failed = 0;
                self.hoped = false;
                self.reporter.well();
                return Verdict::Done(self.sort_out(tasks, refusals, printed));
            }
            Err(error) => error,
        };
        match error {
            CallError::Failed(Failure::Reject(reason)) => match tasks.len() {
                1 => Verdict::Done(vec![self.dead(tasks.remove(0), reason, printed)]),
                _ => Verdict::Deliver(halves(tasks), None),
            },
            CallError::Stopped(trap) if trap.stop != Stop::HostTime => {
                self.judge_trap(kind, tasks, trap, fresh)
            }
            error => self.judge_outage(kind, tasks, &error),
        }
    }

    /// The plugin's fault: an item that is alone, in an instance of its own, is a dead letter.
    fn judge_trap(&mut self, kind: Kind, mut tasks: Vec<Task>, trap: Box<Trap>, fresh: bool) -> Verdict {
        self.instance = None;
        if tasks.len() == 1 {
            self.stopped += 1;
        }
        for task in &mut tasks {
            task.redelivered = true;
        }
        let wait = self.backoff(self.stopped, None);
        let stderr = trap.stderr.clone();
        let error = CallError::Stopped(trap);
        let reason = error.to_string();
        let (next, verdict) = match tasks.len() {
            // In a new instance it is the item, and not what came before it.
            1 if fresh => {
                (Next::GoOn, Verdict::Done(vec![self.dead(tasks.remove(0), reason.clone(), stderr)]))
            }
            // It waits for the instance.
            1 => (Next::Store(kind, 1), Verdict::Deliver(vec![tasks], None)),
            count => (Next::Halves(kind, count), Verdict::Deliver(halves(tasks), None)),
        };
        self.report(&reason, &error, next, wait.time);
        verdict
    }

    /// The server's fault: all of them wait.
    fn judge_outage(&mut self, kind: Kind, mut tasks: Vec<Task>, error: &CallError) -> Verdict {
        let unclear = matches!(error, CallError::Unclear(_) | CallError::Stopped(_));
        if unclear {
            self.instance = None;
        }
        for task in &mut tasks {
            task.redelivered |= unclear;
        }
        let asked = match error {
            CallError::Failed(Failure::Retry { after, .. }) => *after,
            _ => None,
        };
        self.failed += 1;
        let wait = self.backoff(self.failed, asked);
        let count = tasks.len();
        // All of them may be too much for the time of one call.
        let (next, again) = match error {
            CallError::Stopped(_) if count > 1 => (Next::Halves(kind, count), halves(tasks)),
            _ => (Next::Store(kind, count), vec![tasks]),
        };
        self.report(&error.to_string(), error, next, wait.time);
        Verdict::Deliver(again, Some(wait))
    }

    /// The outcomes of a call that answered ok; `printed` is what the guest did by then.
    fn sort_out(&self, tasks: Vec<Task>, refusals: Vec<Refusal>, printed: String) -> Vec<Outcome> {
        let mut outcomes: Vec<Outcome> =
            tasks.into_iter().map(|task| Outcome { task, fate: Fate::Stored }).collect();
        let mut printed = Printed::of(printed);
        let (mut same, mut newest): (Arc<str>, _) = (Arc::default(), None);
        for Refusal { index, failure } in refusals {
            // The instance has checked the indices.
            let Some(Outcome { task, fate }) = outcomes.get_mut(index) else { continue };
            *fate = match failure {
                Failure::Retry { message, after } => {
                    let reason = brief(&message);
                    if *same != *reason {
                        same = reason.into();
                    }
                    newest = Some(message);
                    Fate::Held { reason: Arc::clone(&same), after }
                }
                Failure::Reject(reason) => Fate::Dead {
                    reason: self.reporter.keep_reason(reason),
                    stderr: printed.with(task, |whole| self.reporter.keep_printed(whole)),
                },
            };
        }
        if let Some(message) = newest {
            self.reporter.put_off(&message);
        }
        outcomes
    }

    /// One that was alone: what was printed is about it.
    fn dead(&self, task: Task, reason: String, stderr: String) -> Outcome {
        let reason = self.reporter.keep_reason(reason);
        Outcome { task, fate: Fate::Dead { reason, stderr: self.reporter.keep_printed(stderr) } }
    }
}

/// What a call printed that refused some of its items: which lines are about which of them only the
/// plugin knows. What is long is kept with the first of them, and the others say so.
struct Printed {
    text: String,
    is_short: bool,
    first: Option<String>,
}

impl Printed {
    fn of(text: String) -> Self {
        Self { is_short: text == brief_lines(&text), text, first: None }
    }

    fn with(&mut self, task: &Task, keep: impl FnOnce(String) -> String) -> String {
        match &self.first {
            _ if self.is_short => self.text.clone(),
            Some(first) => format!("[what the call printed is kept with the first that it refused: {first}]"),
            None => {
                self.first = Some(brief(&task.entry.item.title()));
                keep(std::mem::take(&mut self.text))
            }
        }
    }
}

/// The second half and the first, which is taken from the end: order matters.
fn halves(mut tasks: Vec<Task>) -> Vec<Vec<Task>> {
    let second = tasks.split_off(tasks.len().div_ceil(2));
    vec![second, tasks]
}
