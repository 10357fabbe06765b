//! What became of a window, told to the journal.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::Run;
use super::parts::Parts;
use crate::delivery::batch::Task;
use crate::delivery::held;
use crate::delivery::worker::{Fate, Outcome};
use crate::journal::{DeadLetter, Held, JournalError, Settlement, Window, now};
use crate::plugins::brief;

/// The most dead letters that are taken back from a plugin that fails its probation.
const TAKEN_BACK: usize = 10_000;

/// The most that a lane leaves to the journal to write before it goes on, by its weight.
const OWED: u32 = 1 << 20;

pub(in crate::delivery) fn owed() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(OWED as usize))
}

impl Run {
    pub(super) async fn settle(
        &mut self,
        window: &Window,
        mut outcomes: Vec<Outcome>,
    ) -> Result<(), JournalError> {
        self.board.recent.push(window.entries.iter().cloned());
        outcomes.sort_unstable_by_key(|outcome| outcome.task.seq());
        let (mut stored, mut newly_held) = (0, 0);
        let mut over = HashSet::new();
        let mut parts = Parts::after(*self.cursor.borrow());
        for Outcome { task, fate } in outcomes {
            let is_stored = matches!(fate, Fate::Stored);
            let is_settled = is_stored || matches!(fate, Fate::Dead { .. });
            stored += usize::from(is_stored);
            newly_held += usize::from(matches!(fate, Fate::Held { .. }) && !task.was_held);
            parts.item(task.seq(), is_settled);
            if is_settled && task.was_held {
                let was = self.held.release(task.seq());
                over.extend(was.filter(|_| is_stored));
                parts.release(task.seq());
            }
            self.note(&mut parts, task, fate);
        }
        let mut parts = parts.through(window.through);
        self.hold(&mut parts, stored, newly_held);
        self.held.is_over(&over);
        self.board.settled(stored, &parts);
        for part in parts {
            self.tell(part).await?;
        }
        Ok(())
    }

    /// What is left of an item.
    fn note(&mut self, parts: &mut Parts, task: Task, fate: Fate) {
        match fate {
            Fate::Stored => {}
            Fate::Dead { reason, stderr } => {
                if self.probation.is_some() && self.rejected.len() < TAKEN_BACK {
                    self.rejected.push(task.seq());
                }
                parts.bury(self.dead_letter(task, reason, stderr));
            }
            Fate::Held { reason, after } => {
                let longest = self.returner.settings.delivery.max_backoff;
                parts.hold(self.held.refuse(&task, reason, after, longest));
            }
            Fate::Pending => parts.hold(held::broken_off(&task)),
        }
    }

    /// Those that are to be tried again, `newly` of them for the first time.
    fn hold(&mut self, parts: &mut [Settlement], stored: usize, newly: usize) {
        let mut again: Vec<&mut Held> = parts.iter_mut().flat_map(|part| &mut part.held).collect();
        let newest = again.last().map(|held| Arc::clone(&held.reason)).filter(|_| newly > 0);
        let probe = self.returner.can_be_probed();
        self.held.window_ended(stored, &mut again, newly, probe);
        let Some(reason) = newest.filter(|_| self.returner.may_tell()) else { return };
        let returner = self.name();
        tracing::warn!(returner, items = newly, "to be tried again, each on its own: {reason}");
        if self.held.is_full() {
            tracing::warn!(returner, "so many wait by now that it takes nothing new before some are settled");
        }
    }

    /// Leaves a part to the journal to write, and waits first where that has much of this lane's
    /// to write already: what a lane has to say of its items is not to fill the memory. Not where
    /// its turn ends: a journal that cannot be written must keep no stop and no reload waiting.
    async fn tell(&mut self, mut part: Settlement) -> Result<(), JournalError> {
        let weight = u32::try_from(part.weight()).unwrap_or(OWED).min(OWED);
        if weight > 0 {
            let owed = Arc::clone(&self.owed).acquire_many_owned(weight);
            part.owed = tokio::select! {
                owed = owed => owed.ok(),
                () = self.end.cancelled() => None,
            };
        }
        let through = part.through;
        self.journal.settle(self.id, part)?;
        self.cursor.send_replace(through);
        Ok(())
    }

    fn dead_letter(&self, task: Task, reason: String, stderr: String) -> DeadLetter {
        let plugin = self.returner.plugin.title();
        let item = task.entry.item.title();
        if self.returner.may_tell() {
            let (item, reason) = (brief(&item), brief(&reason));
            tracing::warn!(
                returner = self.name(),
                plugin,
                tries = task.tries,
                "dead letter: {item}: {reason}"
            );
        }
        DeadLetter { entry: task.entry, reason, plugin, stderr, tries: task.tries, at: now() }
    }
}
