//! The journal's clock, by which windows and waits are measured.
//!
//! It shows about the date and runs evenly, by the time since the machine's boot: a wall
//! clock that is set back an hour, or on a day, moves no deadline and no window. The wall
//! clock sets it once, when a process first asks; the journal keeps the [`Anchor`] of that,
//! by which the next process knows whether the wall clock was set in between. From one boot
//! to the next there is nothing but the wall clock.

use std::fs;
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::Connection;
use rustix::time::{ClockId, clock_gettime};

use super::schema;

/// What reading two clocks one after the other can make of a difference, in milliseconds.
const NO_JUMP: u64 = 1000;

/// Milliseconds since 1970-01-01 UTC, by the wall clock when the process first asked, and
/// evenly since.
pub(crate) fn now() -> u64 {
    at_boot().saturating_add(since_boot()).cast_unsigned()
}

/// What the clock showed when the machine booted.
fn at_boot() -> i64 {
    static AT_BOOT: LazyLock<i64> = LazyLock::new(|| {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(wall.as_millis()).unwrap_or(i64::MAX) - since_boot()
    });
    *AT_BOOT
}

/// Includes the time in which the machine slept.
fn since_boot() -> i64 {
    let since = clock_gettime(ClockId::Boottime);
    since.tv_sec * 1000 + since.tv_nsec / 1_000_000
}

/// What ties the clock of a process to the machine's boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Anchor {
    /// Tells boots apart.
    boot: i64,
    at_boot: i64,
}

impl Anchor {
    /// None where the system does not tell its boots apart.
    pub(super) fn here() -> Option<Self> {
        // A UUID that the kernel makes at each boot (random(4)).
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let boot = u128::from_str_radix(&boot.trim().replace('-', ""), 16).ok()?;
        Some(Self { boot: boot as i64, at_boot: at_boot() })
    }

    /// The one that was kept in a journal.
    pub(super) fn kept(connection: &Connection) -> rusqlite::Result<Option<Self>> {
        let (boot, at_boot) = (schema::state(connection, "boot")?, schema::state(connection, "at_boot")?);
        Ok(boot.zip(at_boot).map(|(boot, at_boot)| Self { boot, at_boot }))
    }

    pub(super) fn keep(self, connection: &Connection) -> rusqlite::Result<()> {
        schema::set_state(connection, "boot", self.boot)?;
        schema::set_state(connection, "at_boot", self.at_boot)
    }

    /// By how many milliseconds this clock is ahead of an earlier one, because the wall clock was
    /// set between them. None where another boot lies between.
    pub(super) fn ahead_of(self, earlier: Self) -> Option<i64> {
        let ahead = self.at_boot - earlier.at_boot;
        let ahead = if ahead.unsigned_abs() > NO_JUMP { ahead } else { 0 };
        (self.boot == earlier.boot).then_some(ahead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_clock_was_set_where_the_boot_seems_to_have_moved() {
        let (first, day) = (Anchor { boot: 1, at_boot: 1_000_000 }, 86_400_000);
        let moved = |by| Anchor { at_boot: first.at_boot + by, ..first };
        assert_eq!(moved(200).ahead_of(first), Some(0));
        assert_eq!(moved(day).ahead_of(first), Some(day));
        assert_eq!(moved(-day).ahead_of(first), Some(-day));
        assert_eq!(Anchor { boot: 2, ..moved(day) }.ahead_of(first), None);
    }
}
