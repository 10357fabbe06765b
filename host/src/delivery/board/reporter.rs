//! How a lane's worker writes down how it is doing.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::{Board, Series};
use crate::delivery::batch::Task;
use crate::delivery::returner::Returner;
use crate::delivery::status::Next;
use crate::plugins::{Trap, brief, brief_lines};
use crate::telemetry::CallEnd;

/// The place where one worker says how it is doing. A worker that is gone fails no more.
pub(in crate::delivery) struct Reporter {
    pub(super) board: Arc<Board>,
    pub(super) number: u64,
}

impl Reporter {
    /// A try failed; what is next comes after a wait.
    pub(in crate::delivery) fn failed(&self, message: &str, next: Next, wait: Duration) {
        let mut notes = self.board.notes.lock();
        notes.error(message.to_owned(), false);
        let now = Instant::now();
        let begun = Series { since: SystemTime::now(), begun: now, tries: 0, next, next_try: now };
        notes.out_since.get_or_insert(now);
        let series = notes.failing.entry(self.number).or_insert(begun);
        series.tries += 1;
        series.next = next;
        series.next_try = now + wait;
        drop(notes);
        self.board.begun.send_replace(true);
    }

    /// The wait is another than the last report said.
    pub(in crate::delivery) fn waits(&self, wait: Duration) {
        if let Some(series) = self.board.notes.lock().failing.get_mut(&self.number) {
            series.next_try = Instant::now() + wait;
        }
    }

    /// One item is tried next, sooner than the last report said.
    pub(in crate::delivery) fn probes(&self, wait: Duration) {
        if let Some(series) = self.board.notes.lock().failing.get_mut(&self.number) {
            series.next_try = Instant::now() + wait;
            if let Next::Store(kind, _) | Next::Halves(kind, _) = series.next {
                series.next = Next::Store(kind, 1);
            }
        }
    }

    /// The last try went well.
    pub(in crate::delivery) fn well(&self) {
        self.board.notes.lock().failing.remove(&self.number);
    }

    pub(in crate::delivery) fn set_up(&self) {
        self.well();
        self.board.notes.lock().setting_up = false;
        self.board.begun.send_replace(true);
    }

    /// The guest was stopped in a call.
    pub(in crate::delivery) fn crashed(
        &self,
        returner: &Returner,
        function: &str,
        tasks: &[Task],
        trap: &Trap,
    ) {
        self.board.crashes.note(returner, function, tasks, trap);
    }

    /// Items are to be tried again, each on its own: the newest reason, in full. It is kept in
    /// short with each of them.
    pub(in crate::delivery) fn put_off(&self, message: &str) {
        self.board.notes.lock().error(format!("to be tried again on its own: {message}"), false);
    }

    /// As much of the reason of a dead letter as the lane may keep.
    pub(in crate::delivery) fn keep_reason(&self, reason: String) -> String {
        self.board.allowance.keep(reason, brief)
    }

    /// The same of what the plugin printed.
    pub(in crate::delivery) fn keep_printed(&self, printed: String) -> String {
        self.board.allowance.keep(printed, brief_lines)
    }

    pub(in crate::delivery) fn retried(&self, items: usize) {
        self.board.metrics.retried.inc_by(items as u64);
    }

    pub(in crate::delivery) fn called(&self, end: CallEnd, took: Duration) {
        self.board.metrics.called(end, took);
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.well();
    }
}
