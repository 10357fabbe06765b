//! `log`: a guest's lines in the host's log, under the returner's name.

use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

use crate::plugins::asked::Asked;
use crate::plugins::contract::v0_1::salt::returner::log::{Host, Level};
use crate::plugins::state::GuestState;
use crate::plugins::words;

/// How many lines, and how much of them, the plugin of one returner may write, and the last in which it warned.
pub(crate) struct LogBudget {
    lines: u64,
    second: Mutex<Second>,
    warning: Mutex<Option<(String, SystemTime)>>,
}

struct Second {
    begun: Instant,
    written: u64,
    bytes: usize,
    dropped: u64,
}

/// What becomes of a line.
#[derive(Debug, PartialEq, Eq)]
struct Turn {
    speaks: bool,
    /// Lines that were left out before it, and of which nothing was said yet.
    dropped: u64,
}

/// The most bytes of a second's lines, but for one that is longer: what is written for a day fills a
/// disk.
const BYTES: usize = 64 << 10;

/// The most fields of one line.
const MOST_FIELDS: usize = 64;

/// Fields as they stand in a line, as many as there is room for.
fn told(fields: &[(String, String)]) -> String {
    let mut told = String::new();
    for (name, value) in fields {
        if told.len() > words::LONGEST {
            break;
        }
        told += &format!(" {}={:?}", words::line(name), words::line(value));
    }
    told
}

/// How long a line of it becomes, at most.
fn size(message: &str, fields: &[(String, String)]) -> usize {
    let fields: usize = fields.iter().map(|(name, value)| name.len() + value.len()).sum();
    message.len().min(words::LONGEST) + fields.min(words::LONGEST)
}

impl Second {
    fn new() -> Self {
        Self { begun: Instant::now(), written: 0, bytes: 0, dropped: 0 }
    }
}

impl LogBudget {
    /// `lines`: in a second.
    pub(crate) fn new(lines: u64) -> Self {
        let second = Second::new();
        Self { lines, second: Mutex::new(second), warning: Mutex::default() }
    }

    /// Says what the host refused a plugin, as one of the lines that this may write.
    pub(crate) fn warn(&self, returner: &str, message: String) {
        if self.turn(message.len()).speaks {
            tracing::warn!(returner, "{message}");
            *self.warning.lock() = Some((message, SystemTime::now()));
        }
    }

    /// The last line at the level of a warning, or above it, and when it came.
    pub(crate) fn warning(&self) -> Option<(String, SystemTime)> {
        self.warning.lock().clone()
    }

    /// Whether the host may say something that a plugin can bring about as often as it likes; how
    /// many times it was not allowed to, and nobody has been told of.
    pub(crate) fn speaks(&self) -> Option<u64> {
        // The host's own words are few.
        let Turn { speaks, dropped } = self.turn(0);
        speaks.then_some(dropped)
    }

    /// For a line of so many bytes.
    fn turn(&self, bytes: usize) -> Turn {
        let mut second = self.second.lock();
        let mut dropped = 0;
        if second.begun.elapsed() >= Duration::from_secs(1) {
            dropped = second.dropped;
            *second = Second::new();
        }
        let has_room = second.bytes == 0 || second.bytes + bytes <= BYTES;
        let speaks = second.written < self.lines && has_room;
        if speaks {
            second.written += 1;
            second.bytes += bytes;
        } else {
            second.dropped += 1;
        }
        Turn { speaks, dropped }
    }
}

impl Host for GuestState {
    async fn write(
        &mut self,
        level: Level,
        message: String,
        fields: Vec<(String, String)>,
    ) -> wasmtime::Result<()> {
        let returner = self.grants.returner.as_str();
        let fields = &fields[..fields.len().min(MOST_FIELDS)];
        if self.is_trial() {
            return Ok(());
        }
        if let Some(bench) = &self.grants.bench {
            let told = format!("log {}: {message}", format!("{level:?}").to_lowercase());
            let fields = fields.iter().map(|(name, value)| format!("{name}={value:?}"));
            bench.answered(&Asked::one(told, fields), "");
        }
        let Turn { speaks, dropped } = self.grants.log.turn(size(&message, fields));
        if dropped > 0 {
            let bound = self.grants.limits.log_lines;
            tracing::warn!(
                returner,
                "{dropped} lines of its plugin were left out: it may write {bound} a second (`limits.log_lines`), of {} at most",
                bytesize::ByteSize(BYTES as u64)
            );
        }
        if !speaks {
            return Ok(());
        }
        let message = words::line(&message);
        let fields = words::line(&told(fields));
        if matches!(level, Level::Warn | Level::Error) {
            *self.grants.log.warning.lock() = Some((format!("{message}{fields}"), SystemTime::now()));
        }
        match level {
            Level::Trace => tracing::trace!(target: "plugin", returner, "{message}{fields}"),
            Level::Debug => tracing::debug!(target: "plugin", returner, "{message}{fields}"),
            Level::Info => tracing::info!(target: "plugin", returner, "{message}{fields}"),
            Level::Warn => tracing::warn!(target: "plugin", returner, "{message}{fields}"),
            Level::Error => tracing::error!(target: "plugin", returner, "{message}{fields}"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_as_many_as_there_is_room_for() {
        let field = |value: &str| ("a".to_owned(), value.to_owned());
        assert_eq!(told(&[field("1"), field("\u{1b}")]), " a=\"1\" a=\" \"");
        let long = vec![field(&"x".repeat(words::LONGEST)); 1000];
        assert!(told(&long).len() < 3 * words::LONGEST);
    }

    #[test]
    fn what_is_too_much_is_left_out_and_counted() {
        let budget = LogBudget::new(2);
        for speaks in [true, true, false, false] {
            assert_eq!(budget.turn(10), Turn { speaks, dropped: 0 });
        }
        budget.second.lock().begun -= Duration::from_secs(1);
        assert_eq!(budget.turn(10), Turn { speaks: true, dropped: 2 });
        assert_eq!(budget.turn(10), Turn { speaks: true, dropped: 0 });
        assert!(!LogBudget::new(0).turn(10).speaks);
    }

    #[test]
    fn a_second_has_few_long_lines_and_one_whatever_it_is() {
        let budget = LogBudget::new(100);
        let spoken = |bytes: usize| (0..100).filter(|_| budget.turn(bytes).speaks).count();
        assert_eq!(spoken(16 << 10), 4);
        budget.second.lock().begun -= Duration::from_secs(1);
        assert_eq!(budget.turn(2 * BYTES), Turn { speaks: true, dropped: 96 });
        assert!(!budget.turn(1).speaks);
        budget.second.lock().begun -= Duration::from_secs(1);
        assert_eq!(spoken(100), 100);
        let fields = [("a".to_owned(), "x".repeat(1 << 20))];
        assert_eq!(size(&"x".repeat(1 << 20), &fields), 2 * words::LONGEST);
    }
}
