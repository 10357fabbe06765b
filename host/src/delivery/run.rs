//! A lane at work.
//!
//! It works window by window: read what comes next (and what is due of what was
//! held), deliver it, settle it. A window is settled whole, so the cursor is all that
//! a lane has to keep, and the table of held items what the cursor cannot say.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backoff;
use super::batch::{Batch, Plan, Task};
use super::board::{Board, Reporter};
use super::held::{self, DueItems, HeldBack};
use super::probation::{Counts, Probation};
use super::returner::Returner;
use super::status::Next;
use super::worker::{Fate, Outcome, Worker};
use crate::journal::{DeadLetter, Held, Journal, JournalError, LaneId, Seq, Settlement, Window, now};
use crate::plugins::brief;

/// The wait after the journal could not be read.
const AFTER_READ_ERROR: Duration = Duration::from_secs(1);

/// The least time from the begin of one window to the next while they are not full and
/// nobody waits for what is in them: what comes meanwhile shares a call and a commit. The
/// first one after a rest waits for nothing.
const BETWEEN: Duration = Duration::from_millis(20);

/// The most dead letters that are taken back from a plugin that fails its probation.
const TAKEN_BACK: usize = 10_000;

/// Which returner a lane delivers to, and which it is to change to.
pub(super) struct Turn {
    pub(super) next: Option<Arc<Returner>>,
    /// Ends the present one's calls, the one under way not.
    pub(super) end: CancellationToken,
}

/// What a window had in it.
enum Round {
    Nothing,
    Part,
    /// As much as a window holds: there is likely more.
    Full,
}

/// What is to be tried again now.
#[derive(Default)]
struct Due {
    tasks: Vec<Task>,
    /// There is more of it than one window takes.
    more: bool,
    broken_off: bool,
}

/// A lane at work.
pub(super) struct Run {
    pub(super) returner: Arc<Returner>,
    /// The one that others see.
    pub(super) shown: Arc<ArcSwap<Returner>>,
    pub(super) probation: Option<Arc<Probation>>,
    /// The dead letters that were made of items on probation, oldest first. While there is none,
    /// the present returner's to try.
    pub(super) rejected: Vec<Seq>,
    /// How many of them by plugins before the present one.
    pub(super) rejected_before: usize,
    /// What was done in this lane, and not by the present plugin.
    pub(super) by_others: Counts,
    pub(super) journal: Arc<Journal>,
    pub(super) board: Arc<Board>,
    pub(super) reporter: Reporter,
    pub(super) stop: CancellationToken,
    pub(super) turn: Arc<Mutex<Turn>>,
    /// Ends the turn of the present returner.
    pub(super) end: CancellationToken,
    pub(super) id: LaneId,
    pub(super) uncertain_through: Seq,
    /// A worker broke: what it delivered is not known, and was perhaps not settled since.
    pub(super) broke: bool,
    /// How many times in a row one did.
    pub(super) breaks: u32,
    pub(super) held: HeldBack,
    pub(super) workers: Vec<Worker>,
    pub(super) cursor: watch::Sender<Seq>,
    /// Somebody began to wait for the cursor.
    pub(super) awaited: Arc<Notify>,
    pub(super) replayed: mpsc::UnboundedReceiver<Held>,
    /// The journal was read again, and may hold what nobody has told this lane.
    pub(super) reopened: watch::Receiver<u64>,
    /// What was found there so: to be told of it later is nothing new.
    pub(super) found: HashSet<Seq>,
    /// Windows in a row that had more held items than they take.
    pub(super) skipped: u32,
}

impl Run {
    /// Until the lane is stopped; says whether it is known what was delivered.
    pub(super) async fn run(mut self) -> bool {
        while !self.stop.is_cancelled() {
            self.serve().await;
            self.change();
            self.take_back().await;
        }
        !self.broke
    }

    /// Until the turn of the present returner ends.
    async fn serve(&mut self) {
        let Some(worker) = self.workers.first_mut() else { return };
        if !worker.set_up().await {
            return;
        }
        let mut head = self.journal.head();
        while !self.end.is_cancelled() {
            head.mark_unchanged();
            let begun = Instant::now();
            match self.round().await {
                Ok(Round::Full) => self.reporter.well(),
                Ok(Round::Part) => {
                    self.reporter.well();
                    self.gather(begun + BETWEEN).await;
                }
                Ok(Round::Nothing) => {
                    self.board.at_rest();
                    self.sleep(&mut head).await;
                }
                Err(error) => {
                    tracing::error!(returner = self.name(), %error, "cannot go on reading");
                    self.reporter.failed(&error.to_string(), Next::Read, AFTER_READ_ERROR);
                    tokio::time::sleep(AFTER_READ_ERROR).await;
                }
            }
        }
    }

    /// Takes the next returner, or the one before if the present one failed its probation. What
    /// the last one left waits no longer: its waits were about what was wrong with it.
    fn change(&mut self) {
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
    async fn take_back(&mut self) {
        if self.probation.is_some() || self.rejected.is_empty() {
            return;
        }
        let mut rejected = std::mem::take(&mut self.rejected);
        self.rejected_before = 0;
        rejected.sort_unstable();
        rejected.dedup();
        match self.journal.replay_of(self.id, rejected).await {
            Ok(held) => {
                self.board.exhumed(&held);
                self.held.extend(held);
            }
            Err(error) => tracing::error!(
                returner = self.name(),
                %error,
                "what it rejected first stays dead letters; hint: `returner dead replay --returner '{}'`",
                self.name()
            ),
        }
    }

    /// New workers, each with an instance of its own.
    pub(super) fn hire(&mut self) {
        let count = self.returner.settings.delivery.workers.max(1);
        self.workers = (0..count).map(|_| self.worker()).collect();
    }

    fn worker(&self) -> Worker {
        Worker::new(&self.returner, self.board.reporter(), &self.end, self.probation.clone())
    }

    fn name(&self) -> &str {
        &self.returner.settings.name
    }

    /// A replay that failed may be on disk all the same. All that this lane has settled was told
    /// to the journal before it is asked, so what it holds then is what is to be tried.
    async fn look_again(&mut self) -> Result<(), JournalError> {
        if !self.reopened.has_changed().unwrap_or(false) {
            return Ok(());
        }
        let state = self.journal.lane(self.name()).await?;
        self.reopened.mark_unchanged();
        let mut held = state.held;
        held.retain(|held| !self.held.has(held.seq));
        self.board.found(state.dead, &held);
        self.found.extend(held.iter().map(|held| held.seq));
        self.held.extend(held);
        Ok(())
    }

    fn take_replayed(&mut self, held: Held) {
        if !self.found.remove(&held.seq) {
            self.held.extend([held]);
        }
    }

    /// One window.
    async fn round(&mut self) -> Result<Round, JournalError> {
        self.look_again().await?;
        let settings = &self.returner.settings.delivery;
        let workers = settings.workers.max(1);
        let after = *self.cursor.borrow();
        let count = settings.batch.max(1) * workers;
        let bytes = settings.batch_bytes * workers;
        let Due { mut tasks, more, broken_off } = self.due().await?;
        // What was broken off is older than what comes next: all of it goes before. What is
        // refused again and again takes turns with it.
        let goes_before = more && (self.skipped.is_multiple_of(2) || broken_off);
        self.skipped = if more { self.skipped.wrapping_add(1) } else { 0 };
        let window = match goes_before {
            true => Window { entries: Vec::new(), through: after },
            false => self.journal.next(self.id, after, count, bytes).await?,
        };
        tasks.extend(window.entries.iter().map(|entry| Task {
            entry: Arc::clone(entry),
            tries: 0,
            redelivered: entry.seq <= self.uncertain_through,
            was_held: false,
        }));
        if tasks.is_empty() {
            if window.through > after {
                let settlement = Settlement { through: window.through, ..Settlement::default() };
                self.journal.settle(self.id, settlement)?;
                self.cursor.send_replace(window.through);
            }
            return Ok(Round::Nothing);
        }
        let full = more || tasks.len() >= count;
        match self.deliver(tasks).await {
            Some(outcomes) => {
                let outcomes = self.spare(outcomes);
                self.settle(&window, outcomes)?;
                self.breaks = 0;
                self.take_back().await;
            }
            // A fault of the host's own; nothing is known, so all of it comes again.
            None => {
                self.uncertain_through = self.uncertain_through.max(window.through);
                self.held.are_unclear();
                self.broke = true;
                self.after_break().await;
            }
        }
        Ok(if full { Round::Full } else { Round::Part })
    }

    /// What broke a worker may do so again: each time waits longer.
    async fn after_break(&mut self) {
        self.breaks += 1;
        let wait = backoff::wait(self.breaks, self.returner.settings.delivery.max_backoff, None);
        self.reporter.failed(
            "a worker broke: a fault of the host's own; its items come again",
            Next::Read,
            wait,
        );
        let _ = tokio::time::timeout(wait, self.end.cancelled()).await;
    }

    /// The held items whose time has come, as many as a window takes.
    async fn due(&mut self) -> Result<Due, JournalError> {
        while let Ok(held) = self.replayed.try_recv() {
            self.take_replayed(held);
        }
        let DueItems { seqs, mut more, broken_off } = self.held.due();
        if seqs.is_empty() {
            return Ok(Due::default());
        }
        let last = seqs.last().copied();
        let settings = &self.returner.settings.delivery;
        let bytes = settings.batch_bytes * settings.workers.max(1);
        let entries = self.journal.entries(self.id, seqs, bytes).await?;
        // The bytes of one window may end before the last of them.
        more |= entries.last().is_some_and(|entry| Some(entry.seq) < last);
        let tasks = entries.into_iter().filter_map(|entry| self.held.task(entry)).collect();
        Ok(Due { tasks, more, broken_off })
    }

    /// Hands everything to the workers; none if one of them broke.
    async fn deliver(&mut self, tasks: Vec<Task>) -> Option<Vec<Outcome>> {
        let plan = Plan::of(tasks, &self.returner.settings.delivery);
        let mut outcomes = self.hand_out(vec![plan.first]).await?;
        outcomes.extend(self.hand_out(plan.then).await?);
        Some(outcomes)
    }

    /// The first batches go to the first worker, and so on. Each works in a task of its own:
    /// a fault of the host's ends that worker and not the lane.
    async fn hand_out(&mut self, batches: Vec<Vec<Batch>>) -> Option<Vec<Outcome>> {
        let mut outcomes = Vec::new();
        let mut running = JoinSet::new();
        let count = batches.len();
        let rest = self.workers.split_off(count.min(self.workers.len()));
        for (mut worker, batches) in std::mem::replace(&mut self.workers, rest).into_iter().zip(batches) {
            if batches.is_empty() {
                self.workers.push(worker);
                continue;
            }
            running.spawn(async move {
                let mut outcomes = Vec::new();
                for batch in batches {
                    outcomes.extend(worker.deliver(batch).await);
                }
                (worker, outcomes)
            });
        }
        let mut whole = true;
        while let Some(ended) = running.join_next().await {
            match ended {
                Ok((worker, done)) => {
                    self.workers.push(worker);
                    outcomes.extend(done);
                }
                Err(error) => {
                    tracing::error!(returner = self.name(), %error, "a worker broke; its items come again");
                    self.workers.push(self.worker());
                    whole = false;
                }
            }
        }
        whole.then_some(outcomes)
    }

    /// What a plugin rejected that fails its probation is the next one's to try.
    fn spare(&mut self, mut outcomes: Vec<Outcome>) -> Vec<Outcome> {
        let Some(probation) = &self.probation else { return outcomes };
        if probation.failed().is_some() {
            for Outcome { task, fate } in &mut outcomes {
                if let Fate::Dead { reason, .. } = fate {
                    task.redelivered = true;
                    *fate = Fate::Held { reason: std::mem::take(reason), after: None };
                }
            }
        } else if probation.passed() {
            // What it rejected itself is what a plugin that has passed rejects.
            self.probation = None;
            self.rejected.truncate(self.rejected_before);
        }
        outcomes
    }

    fn settle(&mut self, window: &Window, outcomes: Vec<Outcome>) -> Result<(), JournalError> {
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

    /// Lets more come, unless somebody waits for what is there.
    async fn gather(&mut self, until: Instant) {
        // The lane's own handle has a receiver, too.
        if self.cursor.receiver_count() < 2 {
            let _ = tokio::time::timeout_at(until, self.awaited.notified()).await;
        }
    }

    /// Until there is something new, something held is due, or the lane stops.
    async fn sleep(&mut self, head: &mut watch::Receiver<Seq>) {
        let next = self.held.next();
        let due = async {
            match next {
                Some(at) => tokio::time::sleep(Duration::from_millis(at.saturating_sub(now()).max(1))).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = head.changed() => {}
            Some(held) = self.replayed.recv() => self.take_replayed(held),
            Ok(()) = self.reopened.changed() => self.reopened.mark_changed(),
            () = due => {}
            () = self.end.cancelled() => {}
        }
    }
}
