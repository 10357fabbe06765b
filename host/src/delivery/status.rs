//! What a lane says of itself, for people and metrics: what whoever looks is given, which is
//! small and a copy. A [`Board`](super::board::Board) makes it.
//!
//! Times that pass are told by a clock that no one sets; the moments beside them are for
//! reading.

use std::fmt;
use std::time::{Duration, SystemTime};

use crate::items::Kind;
use crate::journal::Held;

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
    pub(crate) const ALL: [State; 4] = [State::SettingUp, State::Ready, State::Retrying, State::Stopped];

    pub(crate) fn name(self) -> &'static str {
        match self {
            State::SettingUp => "setting-up",
            State::Ready => "ready",
            State::Retrying => "retrying",
            State::Stopped => "stopped",
        }
    }
}

/// What a lane will do when it has waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    SetUp,
    Start,
    Store(Kind, usize),
    /// Each of so many items on its own.
    Apart(usize),
    /// In halves, until the one at fault is alone.
    Halves(Kind, usize),
    /// The item that failed is a dead letter.
    GoOn,
    Read,
}

impl fmt::Display for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Next::SetUp => f.write_str("run the plugin's `setup`"),
            Next::Start => f.write_str("start the plugin"),
            Next::Store(kind, count) => write!(f, "store {}", kind.counted(*count)),
            Next::Apart(1) => f.write_str("store the one that it refused"),
            Next::Apart(count) => write!(f, "store the {count} that it refused, each on its own"),
            Next::Halves(kind, count) => {
                write!(f, "store {} in halves, to find the one at fault", kind.counted(*count))
            }
            Next::GoOn => f.write_str("go on with the items after it"),
            Next::Read => f.write_str("read the journal"),
        }
    }
}

/// A lane's counters since the host started (`dead` since ever) and its state.
#[derive(Debug, Clone)]
pub(crate) struct Status {
    pub(crate) state: State,
    pub(crate) stored: u64,
    pub(crate) retried: u64,
    pub(crate) dead: u64,
    pub(crate) failing: Option<Failing>,
    pub(crate) held: Option<HeldItems>,
    /// Also of a lane that is well again.
    pub(crate) last_error: Option<LastError>,
    /// That its newest plugin was too bad, and the one before runs.
    pub(crate) went_back: Option<WentBack>,
}

/// A plugin that failed its probation.
#[derive(Debug, Clone)]
pub(crate) struct WentBack {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) stored: u64,
    pub(crate) rejected: u64,
    /// Why it rejected the last of them.
    pub(crate) reason: String,
    pub(crate) at: SystemTime,
}

/// Failures one after the other, with nothing that went well in between.
#[derive(Debug, Clone)]
pub(crate) struct Failing {
    /// When the first of them was.
    pub(crate) since: SystemTime,
    pub(crate) lasted: Duration,
    pub(crate) tries: u32,
    pub(crate) next: Next,
    /// How long until then; none if it is being tried.
    pub(crate) next_in: Option<Duration>,
}

/// Items that wait to be tried again on their own.
#[derive(Debug, Clone)]
pub(crate) struct HeldItems {
    pub(crate) count: usize,
    pub(crate) oldest: Held,
}

#[derive(Debug, Clone)]
pub(crate) struct LastError {
    pub(crate) message: String,
    /// It made an item a dead letter, and is no outage that may be over.
    pub(crate) of_dead_letter: bool,
    pub(crate) at: SystemTime,
    pub(crate) ago: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_next_is_said_in_words() {
        assert_eq!(Next::Store(Kind::Return, 2).to_string(), "store 2 returns");
        assert_eq!(Next::Apart(3).to_string(), "store the 3 that it refused, each on its own");
        assert_eq!(Next::Store(Kind::Minions, 1).to_string(), "store 1 list of minions");
    }
}
