//! Salt's job ids as moments.
//!
//! Salt makes a job id of the time: `20260214093012345678` is 2026-02-14
//! 09:30:12.345678 by the master's clock and time zone (UTC with its `utc_jid`),
//! and may add `_` and a number. A job id can also be any other text.

const DAY: u64 = 86_400_000;

/// The most that a time zone is behind UTC, in milliseconds.
const BEHIND: u64 = 12 * 3_600_000;

/// The first digits that are the time.
const DIGITS: usize = 20;

/// The job id that a master in UTC would have given at a moment, in milliseconds
/// since 1970-01-01 UTC.
pub fn at(millis: u64) -> String {
    let (year, month, day) = date_of(millis / DAY);
    let time = millis % DAY;
    let (hours, minutes) = (time / 3_600_000, time / 60_000 % 60);
    let (seconds, fraction) = (time / 1000 % 60, time % 1000);
    format!("{year:04}{month:02}{day:02}{hours:02}{minutes:02}{seconds:02}{fraction:03}000")
}

/// The moment that a job id names, in milliseconds since 1970-01-01, as if the
/// master were in UTC. None for a text that is no time.
pub fn millis(jid: &str) -> Option<u64> {
    let digits = jid.get(..DIGITS).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    if !matches!(jid.as_bytes().get(DIGITS), None | Some(b'_')) {
        return None;
    }
    let number = |from: usize, to: usize| digits[from..to].parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let (hours, minutes, seconds) = (number(8, 10)?, number(10, 12)?, number(12, 14)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    if hours > 23 || minutes > 59 || seconds > 60 {
        return None;
    }
    let seconds = (hours * 60 + minutes) * 60 + seconds;
    Some(days_of(year, month, day) * DAY + seconds * 1000 + number(14, 17)?)
}

/// A job id after those of all jobs that are older than a moment (milliseconds since
/// 1970-01-01 UTC) in every time zone: the time in a job id is the master's, in one that
/// nobody here knows. For a look at a range of ids; [`is_before`] says of each whether it is a
/// time at all.
pub fn bound(moment: u64) -> String {
    at(moment.saturating_sub(BEHIND))
}

/// Whether a job is older than a moment in every time zone. Not one whose id is no time.
pub fn is_before(jid: &str, moment: u64) -> bool {
    millis(jid).is_some_and(|millis| millis < moment.saturating_sub(BEHIND))
}

/// A moment as SQL and Python write it: `2026-02-14 09:30:12.345000`, UTC.
pub fn timestamp(millis: u64) -> String {
    let digits = at(millis);
    let part = |from: usize, to: usize| &digits[from..to];
    let (date, time) = ([part(0, 4), part(4, 6), part(6, 8)], [part(8, 10), part(10, 12), part(12, 14)]);
    format!("{} {}.{}", date.join("-"), time.join(":"), part(14, 20))
}

/// Year, month and day of a day since 1970-01-01, in the Gregorian calendar. Years
/// begin in March here, so that a leap day is a year's last.
fn date_of(day: u64) -> (u64, u64, u64) {
    let day = day + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

/// The inverse of [`date_of`].
fn days_of(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let month = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_id_is_a_moment() {
        assert_eq!(at(1_771_061_412_345), "20260214093012345000");
        assert_eq!(millis("20260214093012345678"), Some(1_771_061_412_345));
        assert_eq!(millis("20260214093012345678_4711"), Some(1_771_061_412_345));
        assert_eq!(timestamp(1_771_061_412_345), "2026-02-14 09:30:12.345000");
        assert_eq!(timestamp(0), "1970-01-01 00:00:00.000000");
    }

    #[test]
    fn a_job_is_old_if_it_is_so_everywhere() {
        let moment = 1_771_061_412_345;
        assert_eq!(bound(moment), "20260213213012345000");
        assert!(is_before("20260213213012344999", moment) && !is_before("20260213213012345678", moment));
        assert!(!is_before("1771061412", moment) && !is_before("20260101-nightly", moment));
    }

    #[test]
    fn leap_days_are_days() {
        for day in 0..80_000 {
            let (year, month, date) = date_of(day);
            assert_eq!(days_of(year, month, date), day);
        }
        assert_eq!(at(951_782_400_000), "20000229000000000000");
    }

    #[test]
    fn other_texts_are_no_moments() {
        for jid in
            ["", "req", "20260214", "2026021409301234567x", "20261314093012345678", "202602140930123456789"]
        {
            assert_eq!(millis(jid), None, "{jid}");
        }
    }
}
