//! Job ids for returns that came without one (`req`).

use parking_lot::Mutex;

/// Makes job ids as Salt does (`salt.utils.jid.gen_jid`): the local time to the
/// microsecond, 20 digits. While one process runs, each moment is given once; as text each is
/// greater than the last, but for the hour that local time repeats when summer time ends, in which
/// Salt's own can be the same, too.
#[derive(Debug, Default)]
pub(crate) struct JobIds {
    last: Mutex<i64>,
}

impl JobIds {
    pub(crate) fn next(&self) -> String {
        let mut last = self.last.lock();
        let micros = jiff::Timestamp::now().as_microsecond().max(*last + 1);
        *last = micros;
        let moment = jiff::Timestamp::from_microsecond(micros).unwrap_or_else(|_| jiff::Timestamp::now());
        let local = moment.to_zoned(jiff::tz::TimeZone::system());
        format!("{}{:06}", local.strftime("%Y%m%d%H%M%S"), local.subsec_nanosecond() / 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn job_ids_are_salts_and_never_the_same() {
        let job_ids = JobIds::default();
        let made: Vec<String> = (0..10_000).map(|_| job_ids.next()).collect();
        assert!(made.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(made.iter().all(|jid| jid.len() == 20 && jid.bytes().all(|byte| byte.is_ascii_digit())));
        let year = jiff::Zoned::now().year().to_string();
        assert!(made[0].starts_with(&year));
    }
}
