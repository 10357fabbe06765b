//! The journal's clock.

use std::sync::LazyLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970-01-01 UTC, by a clock that runs evenly: it is set by the wall
/// clock once, when the process first asks, so that a wall clock which is set back an
/// hour, or on a day, moves no deadline and no window.
pub(crate) fn now() -> u64 {
    static BEGIN: LazyLock<(u64, Instant)> = LazyLock::new(|| {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        (millis(wall), Instant::now())
    });
    let (wall, begun) = *BEGIN;
    wall + millis(begun.elapsed())
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
