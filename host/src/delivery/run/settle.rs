//! What became of a window, told to the journal.

use std::collections::HashSet;

use super::Run;
use crate::delivery::batch::Task;
use crate::delivery::held;
use crate::delivery::worker::{Fate, Outcome};
use crate::journal::{DeadLetter, JournalError, Settlement, Window, now};
use crate::plugins::brief;

/// The most dead letters that are taken back from a plugin that fails its probation.
const TAKEN_BACK: usize = 10_000;

impl Run {
    pub(super) fn settle(&mut self, window: &Window, outcomes: Vec<Outcome>) -> Result<(), JournalError> {
        let longest = self.returner.settings.delivery.max_backoff;
        let (mut stored, mut newly_held) = (0, 0);
        let mut over = HashSet::new();
        let mut settlement = Settlement { through: window.through, ..Settlement::default() };
        self.board.recent.push(window.entries.iter().cloned());
        for Outcome { task, fate } in outcomes {
            if matches!(fate, Fate::Stored | Fate::Dead { .. }) {
                settlement.settled += 1;
                if task.was_held {
                    let was = self.held.release(task.seq());
                    over.extend(was.filter(|_| matches!(fate, Fate::Stored)));
                    settlement.released.push(task.seq());
                }
            }
            match fate {
                Fate::Stored => stored += 1,
                Fate::Dead { reason, stderr } => {
                    if self.probation.is_some() && self.rejected.len() < TAKEN_BACK {
                        self.rejected.push(task.seq());
                    }
                    settlement.dead.push(self.dead_letter(task, reason, stderr))
                }
                Fate::Held { reason, after } => {
                    newly_held += usize::from(!task.was_held);
                    settlement.held.push(self.held.refuse(&task, reason, after, longest));
                }
                Fate::Pending => settlement.held.push(held::broken_off(&task)),
            }
        }
        if let Some(held) = settlement.held.last().filter(|_| newly_held > 0 && self.returner.may_tell()) {
            let (returner, reason) = (self.name(), brief(&held.reason));
            tracing::warn!(returner, items = newly_held, "to be tried again, each on its own: {reason}");
        }
        let probe = self.returner.can_be_probed();
        self.held.window_ended(stored, &mut settlement.held, newly_held, probe);
        self.held.is_over(&over);
        self.board.settled(stored, &settlement);
        self.journal.settle(self.id, settlement)?;
        self.cursor.send_replace(window.through);
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
