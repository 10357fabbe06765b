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
    /// Tells boots apart, and the clocks that run since the same one.
    boot: i64,
    at_boot: i64,
}

impl Anchor {
    /// None where the system does not tell its boots apart.
    pub(super) fn here() -> Option<Self> {
        // A UUID that the kernel makes at each boot (random(4)).
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(Self { boot: boot_of(&boot, &clock_of_process())?, at_boot: at_boot() })
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

/// Names the clock that counts since the boot: in a time namespace it is set off (time_namespaces(7)).
/// By the offset, too, because the number of a namespace that is gone is given again.
fn clock_of_process() -> String {
    let namespace = fs::read_link("/proc/self/ns/time").unwrap_or_default();
    let offsets = fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
    format!("{} {offsets}", namespace.display())
}

fn boot_of(boot: &str, clock: &str) -> Option<i64> {
    let boot = u128::from_str_radix(&boot.trim().replace('-', ""), 16).ok()?;
    Some(boot as i64 ^ i64::from(crc32fast::hash(clock.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of two clocks since one boot neither tells the time of the other.
    #[test]
    fn another_clock_since_the_same_boot_counts_as_another_boot() {
        let boot = "2e2d9f6e-1a5b-4c39-8c0e-5c1d4f0a7b66\n";
        let clock = |namespace: u64, offset: u64| {
            boot_of(boot, &format!("time:[{namespace}] monotonic 0 0\nboottime {offset} 0\n")).unwrap()
        };
        let here = clock(4026531834, 0);
        assert_eq!(here, clock(4026531834, 0));
        assert!(here != clock(4026532001, 100_000) && here != clock(4026531834, 100_000));
        assert_eq!(boot_of("", "time"), None);
        assert_eq!(Anchor::here(), Anchor::here());
    }

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
