//! What a lane says of itself, for people and metrics.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

use crate::journal::Seq;

/// How many of the newest dead letters are remembered by their place.
const RECENT_DEAD: usize = 10_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Its `setup` has not gone through yet.
    SettingUp,
    Ready,
    /// The last try failed; it waits for the next.
    Retrying,
    Stopped,
}

impl State {
    pub(crate) fn name(self) -> &'static str {
        match self {
            State::SettingUp => "setting-up",
            State::Ready => "ready",
            State::Retrying => "retrying",
            State::Stopped => "stopped",
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct LastError {
    pub(crate) message: String,
    pub(crate) at: SystemTime,
    pub(crate) next_try: Option<Instant>,
}

/// A lane's counters since the host started (`dead` since ever) and its state.
#[derive(Debug, Clone)]
pub(crate) struct Status {
    pub(crate) state: State,
    pub(crate) stored: u64,
    pub(crate) retried: u64,
    pub(crate) dead: u64,
    pub(crate) last_error: Option<LastError>,
    /// When the oldest item of the present window was accepted, in milliseconds since
    /// 1970-01-01 UTC.
    pub(crate) oldest: Option<u64>,
    held: BTreeSet<Seq>,
    recent_dead: VecDeque<Seq>,
}

/// Shared by a lane, its workers and whoever looks.
#[derive(Debug)]
pub(super) struct Board(Mutex<Status>);

impl Board {
    pub(super) fn new(dead: u64, held: impl Iterator<Item = Seq>) -> Self {
        Self(Mutex::new(Status {
            state: State::SettingUp,
            stored: 0,
            retried: 0,
            dead,
            last_error: None,
            oldest: None,
            held: held.collect(),
            recent_dead: VecDeque::new(),
        }))
    }

    pub(super) fn look(&self) -> Status {
        self.0.lock().clone()
    }

    pub(super) fn state(&self, state: State) {
        self.0.lock().state = state;
    }

    pub(super) fn oldest(&self, accepted: Option<u64>) {
        self.0.lock().oldest = accepted;
    }

    pub(super) fn failed(&self, message: &str, state: State, next_try: Option<Duration>) {
        let mut status = self.0.lock();
        status.state = state;
        status.last_error = Some(LastError {
            message: message.to_owned(),
            at: SystemTime::now(),
            next_try: next_try.map(|wait| Instant::now() + wait),
        });
    }

    /// Dead letters that wait to be tried again.
    pub(super) fn exhumed(&self, seqs: impl Iterator<Item = Seq>) {
        let mut status = self.0.lock();
        for seq in seqs {
            status.dead = status.dead.saturating_sub(1);
            status.recent_dead.retain(|dead| *dead != seq);
            status.held.insert(seq);
        }
    }

    /// Dead letters that were removed for good.
    pub(super) fn dropped(&self, dead: u64) {
        let mut status = self.0.lock();
        status.dead = status.dead.saturating_sub(dead);
    }

    pub(super) fn retried(&self, items: usize) {
        self.0.lock().retried += items as u64;
    }

    /// What became of a window's items.
    pub(super) fn settled(&self, stored: usize, held: &[Seq], released: &[Seq], dead: &[Seq]) {
        let mut status = self.0.lock();
        status.stored += stored as u64;
        status.dead += dead.len() as u64;
        for seq in released {
            status.held.remove(seq);
        }
        status.held.extend(held);
        status.recent_dead.extend(dead);
        let excess = status.recent_dead.len().saturating_sub(RECENT_DEAD);
        status.recent_dead.drain(..excess);
    }
}

impl Status {
    /// How many items wait to be tried again on their own.
    pub(crate) fn waiting(&self) -> usize {
        self.held.len()
    }

    pub(crate) fn is_held(&self, seqs: std::ops::RangeInclusive<Seq>) -> bool {
        !seqs.is_empty() && self.held.range(seqs).next().is_some()
    }

    pub(crate) fn is_dead(&self, seqs: &std::ops::RangeInclusive<Seq>) -> bool {
        self.recent_dead.iter().any(|seq| seqs.contains(seq))
    }
}
