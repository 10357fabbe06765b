//! What flows: returns, loads, later minions of a job, and events.
//!
//! An [`Item`] is text that Salt sent plus what the host needs to route it. The
//! text is the one truth: the journal keeps nothing but it, and an item read back
//! is parsed again. Whatever parsing refuses ([`parse`]) never gets past intake.
//!
//! This module knows nothing of where items come from or go to.

mod failure;
#[cfg(test)]
mod fuzz;
mod json;
mod msgpack;
mod parse;
mod trimmed;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

pub(crate) use failure::{Failure, Refusal};
pub(crate) use json::{Malformed, quote, split};
pub(crate) use msgpack::{NoMsgpack, from_msgpack};
pub(crate) use parse::{Invalid, minion_ids, parse, parse_minions};
pub(crate) use trimmed::{mark_trimmed, marked};

/// Which of Salt's messages an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Return,
    Load,
    Minions,
    Event,
}

impl Kind {
    /// As in a file of the journal: never change a number.
    pub(crate) fn code(self) -> i64 {
        match self {
            Kind::Return => 1,
            Kind::Load => 2,
            Kind::Minions => 3,
            Kind::Event => 4,
        }
    }

    pub(crate) const ALL: [Kind; 4] = [Kind::Return, Kind::Load, Kind::Minions, Kind::Event];

    pub(crate) fn from_code(code: i64) -> Option<Kind> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// The word for people: "a return", "a load".
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Return => "return",
            Kind::Load => "load",
            Kind::Minions => "list of minions",
            Kind::Event => "event",
        }
    }

    /// So many of them, for people: "1 return", "2 lists of minions".
    pub(crate) fn counted(self, count: usize) -> String {
        match (self, count) {
            (_, 1) => format!("1 {}", self.name()),
            (Kind::Minions, _) => format!("{count} lists of minions"),
            _ => format!("{count} {}s", self.name()),
        }
    }
}

/// One of Salt's messages, checked.
#[derive(Debug, Clone)]
pub(crate) enum Item {
    Return(Return),
    Load(Load),
    Minions(Minions),
    Event(Event),
}

impl Item {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Item::Return(_) => Kind::Return,
            Item::Load(_) => Kind::Load,
            Item::Minions(_) => Kind::Minions,
            Item::Event(_) => Kind::Event,
        }
    }

    /// The text that [`parse`] makes this item of again.
    pub(crate) fn text(&self) -> &str {
        match self {
            Item::Return(item) => &item.full,
            Item::Load(item) => &item.full,
            Item::Minions(item) => &item.full,
            Item::Event(item) => &item.full,
        }
    }

    /// By which a second copy of it is known; none where nobody looks for one.
    pub(crate) fn dedupe_key(&self) -> Option<Key> {
        match self {
            Item::Return(item) if !item.assigned => Some(item.key),
            _ => None,
        }
    }

    /// Names the item in a log or a list of dead letters.
    pub(crate) fn title(&self) -> String {
        match self {
            Item::Return(item) => {
                format!("return of `{}` from `{}` to job {}", item.fun, item.minion, item.jid)
            }
            Item::Load(item) => format!("load of job {}", item.jid),
            Item::Minions(item) => format!("minions of job {}", item.jid),
            Item::Event(item) => format!("event `{}`", item.tag),
        }
    }
}

impl AsRef<Item> for Item {
    fn as_ref(&self) -> &Item {
        self
    }
}

/// One minion's answer to one job.
#[derive(Debug, Clone)]
pub(crate) struct Return {
    pub(crate) jid: Arc<str>,
    pub(crate) minion: Arc<str>,
    /// A compound job's functions are joined by commas.
    pub(crate) fun: Arc<str>,
    pub(crate) success: bool,
    pub(crate) retcode: i32,
    pub(crate) full: Arc<str>,
    /// Where the `return` is in `full`; empty where Salt sent none.
    value: Range<usize>,
    pub(crate) key: Key,
    pub(crate) route: Route,
    /// Salt sent the job id `req` and the host gave it another.
    pub(crate) assigned: bool,
}

impl Return {
    /// The return as the load of its job, as Salt's own returners save it for a job id
    /// that they made; none where its text would not be one.
    pub(crate) fn as_load(&self) -> Option<Load> {
        match parse(Kind::Load, &self.full, String::new) {
            Ok(Item::Load(load)) => Some(load),
            _ => None,
        }
    }

    /// The same for all returns of one minion to one job, whatever they hold.
    pub(crate) fn identity(&self) -> Key {
        parse::key_of([&self.jid, &self.minion, &self.fun], &[], &[])
    }

    /// What the function returned, as JSON text.
    pub(crate) fn value(&self) -> &str {
        match self.full.get(self.value.clone()) {
            Some("") | None => "null",
            Some(value) => value,
        }
    }
}

/// Salt's per-return choice among the configurations of a returner.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Route {
    /// `ret_config`: the name of a profile.
    pub(crate) profile: Option<Arc<str>>,
    /// `ret_kwargs`: options for this return only, a JSON object as text.
    pub(crate) overrides: Option<Arc<str>>,
}

/// What the master published to start a job.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) jid: Arc<str>,
    pub(crate) fun: Arc<str>,
    /// Salt's `Minions` or `minions`, where it has them.
    pub(crate) minions: Vec<String>,
    /// It is a return that was saved as the load of its job, and nothing that a master published.
    pub(crate) returned: bool,
    pub(crate) full: Arc<str>,
}

/// Minions of a job that became known after its load.
#[derive(Debug, Clone)]
pub(crate) struct Minions {
    pub(crate) jid: Arc<str>,
    pub(crate) minions: Vec<String>,
    pub(crate) full: Arc<str>,
}

/// One message of the master's event bus.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) tag: Arc<str>,
    /// Where the event's `data` is in `full`.
    data: Range<usize>,
    pub(crate) master: Option<Arc<str>>,
    pub(crate) full: Arc<str>,
    pub(crate) key: Key,
}

impl Event {
    /// The event with the id of the master that sent it, if it does not have one.
    pub(crate) fn with_master(self, id: &str) -> Self {
        if self.master.is_some() {
            return self;
        }
        let before = format!(r#"{{"tag":{},"master":{},"data":"#, quote(&self.tag), quote(id));
        let full: Arc<str> = format!("{before}{}}}", self.data()).into();
        Self { data: before.len()..full.len() - 1, master: Some(id.into()), full, ..self }
    }

    pub(crate) fn data(&self) -> &str {
        &self.full[self.data.clone()]
    }
}

/// The same for every copy of one return (or event), and for no other: a hash of
/// jid, minion, function, resource and what was returned. White space, the order
/// of an object's keys and the spelling of a number or a string do not count,
/// because a minion's module and the event bus differ in them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key(pub(crate) [u8; 16]);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `hex::encode` makes a text sign by sign, and each delivery has one.
        let mut digits = [0; 2 * 16];
        hex::encode_to_slice(self.0, &mut digits).map_err(|_| std::fmt::Error)?;
        f.write_str(std::str::from_utf8(&digits).map_err(|_| std::fmt::Error)?)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
