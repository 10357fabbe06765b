//! Moments and stretches of time, as answers have them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// RFC 3339, with milliseconds.
pub(super) fn moment(at: SystemTime) -> String {
    // Beyond the year 9999 there is no such text.
    let last = UNIX_EPOCH + Duration::from_secs(253_402_300_799);
    humantime::format_rfc3339_millis(at.clamp(UNIX_EPOCH, last)).to_string()
}

/// The same of milliseconds since 1970-01-01 UTC.
pub(super) fn moment_of(millis: u64) -> String {
    moment(UNIX_EPOCH.checked_add(Duration::from_millis(millis)).unwrap_or(UNIX_EPOCH))
}

/// In whole milliseconds.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_calendar_has_is_no_panic() {
        assert_eq!(moment_of(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(moment_of(1_767_225_600_123), "2026-01-01T00:00:00.123Z");
        for far in [253_402_300_800_000, u64::MAX / 1000, u64::MAX] {
            assert!(moment_of(far).ends_with('Z'), "{far}");
        }
        assert_eq!(millis(Duration::MAX), u64::MAX);
    }
}
