//! From one returner to the next, and back to the one before.

use std::sync::Arc;

use super::Run;
use crate::delivery::probation::{Counts, Probation};
use crate::delivery::returner::Returner;
use crate::delivery::worker::{Fate, Outcome};
use crate::plugins::brief;

impl Run {
    /// Takes the next returner, or the one before if the present one failed its probation. What
    /// the last one left waits no longer: its waits were about what was wrong with it.
    pub(super) fn change(&mut self) {
        let probation = self.probation.take();
        let failed = probation.as_ref().and_then(|probation| probation.failed());
        let mut turn = self.turn.lock();
        let (next, back_from) = match (turn.next.take(), probation, failed) {
            (Some(next), probation, _) => (next, Err(probation)),
            (None, Some(probation), Some(record)) => {
                let before = Arc::clone(&probation.before);
                self.board.went_back(&self.returner, &before, record);
                self.shown.store(Arc::clone(&before));
                (before, Ok(probation))
            }
            // It stops.
            (None, probation, _) => {
                self.probation = probation;
                return;
            }
        };
        self.board.begins(back_from.is_ok());
        self.end = self.stop.child_token();
        turn.end = self.end.clone();
        drop(turn);
        match back_from {
            // One that comes back has shown what it does.
            Ok(probation) => self.by_others = self.board.counts().without(probation.counts),
            Err(last) => self.probation = self.begin_probation(&next, last),
        }
        self.returner = next;
        self.held.wait_no_longer();
        self.hire();
    }

    /// The probation of the next returner, which takes the place of the present one, whose own was
    /// the last one.
    fn begin_probation(&mut self, next: &Returner, last: Option<Arc<Probation>>) -> Option<Arc<Probation>> {
        let all = self.board.counts();
        let own = all.without(self.by_others);
        let is_same = next.plugin.sha256 == self.returner.plugin.sha256;
        let probation = match &last {
            Some(last) if !last.passed() => last.passed_on(next, &self.returner, &self.end),
            _ => {
                self.rejected.truncate(self.rejected_before);
                Probation::of(next, &self.returner, own, &self.end)
            }
        };
        if !is_same {
            self.rejected_before = self.rejected.len();
            // The last that has passed may come back by hand, too: what it did is still its own.
            let known = last.filter(|_| probation.is_none()).map_or(Counts::default(), |last| last.counts);
            self.by_others = all.without(known);
        }
        probation
    }

    /// What was rejected on probation by a plugin that is gone is this one's to try.
    pub(super) async fn take_back(&mut self) {
        if self.probation.is_some() || self.rejected.is_empty() {
            return;
        }
        let mut rejected = std::mem::take(&mut self.rejected);
        self.rejected_before = 0;
        rejected.sort_unstable();
        rejected.dedup();
        match self.journal.replay_of(self.id, rejected.clone()).await {
            Ok(held) => {
                self.board.exhumed(&held);
                self.held.extend(held);
            }
            Err(error) => {
                tracing::error!(
                    returner = self.name(),
                    %error,
                    "what it rejected first stays dead letters until the next items come; hint: `returner dead replay \
                     --returner '{}'`",
                    self.name()
                );
                self.rejected = rejected;
            }
        }
    }

    /// What a plugin rejected that fails its probation is the next one's to try.
    pub(super) fn spare(&mut self, mut outcomes: Vec<Outcome>) -> Vec<Outcome> {
        let Some(probation) = &self.probation else { return outcomes };
        if probation.failed().is_some() {
            for Outcome { task, fate } in &mut outcomes {
                if let Fate::Dead { reason, .. } = fate {
                    task.redelivered = true;
                    *fate = Fate::Held { reason: brief(reason).into(), after: None };
                }
            }
        } else if probation.passed() {
            // What it rejected itself is what a plugin that has passed rejects.
            self.probation = None;
            self.rejected.truncate(self.rejected_before);
        }
        outcomes
    }
}
