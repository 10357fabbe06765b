//! The jobs of a master that keeps them in a returner of the host's own (`master_job_cache`): it
//! has sent them there itself, and the other returners can be filled from it.

use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::Failure;
use super::super::client::{Client, segment};
use super::job_cache::{Job, Return};

/// A job's id has the time at which it began, in the master's time zone or in UTC, and what came of
/// it may have come hours later.
const AROUND: Duration = Duration::from_secs(26 * 3600);

/// Of the digits of a job's id those of its second.
const SECOND: usize = 14;

pub(super) struct OwnJobs<'a> {
    pub(super) client: &'a Client,
    /// The job cache.
    pub(super) returner: &'a str,
}

#[derive(Deserialize)]
struct Jobs {
    jobs: Vec<Begun>,
}

/// A job without its returns.
#[derive(Deserialize)]
pub(super) struct Begun {
    jid: String,
    load: Box<RawValue>,
}

#[derive(Deserialize)]
struct Returns {
    returns: Vec<Answered>,
}

#[derive(Deserialize)]
struct Answered {
    minion: String,
    full: Box<RawValue>,
}

impl OwnJobs<'_> {
    /// Those that may have to do with these times, in milliseconds since 1970-01-01 UTC.
    pub(super) async fn around(&self, times: &[(u64, u64)]) -> Result<Vec<Begun>, Failure> {
        let times: Vec<(String, String)> =
            times.iter().map(|(from, until)| (second(*from, true), second(*until, false))).collect();
        let known: Jobs = self.client.get("/v1/jobs", &[("returner", self.returner)]).await?;
        let is_near = |job: &Begun| {
            let begun = job.jid.get(..SECOND).unwrap_or(&job.jid);
            times.iter().any(|(from, until)| (from.as_str()..=until.as_str()).contains(&begun))
        };
        Ok(known.jobs.into_iter().filter(is_near).collect())
    }

    /// With all that came of it.
    pub(super) async fn whole(&self, begun: &Begun) -> Result<Job, Failure> {
        let path = format!("/v1/jobs/{}/returns", segment(&begun.jid));
        let known: Returns = self.client.get(&path, &[("returner", self.returner)]).await?;
        let one = |Answered { minion, full }| Return { minion, text: full.get().to_owned() };
        let returns = known.returns.into_iter().map(one).collect();
        Ok(Job { jid: begun.jid.clone(), load: begun.load.get().to_owned(), returns })
    }
}

/// The second of a job's id that is certainly before a moment, or after it.
fn second(millis: u64, before: bool) -> String {
    let at = i64::try_from(millis).ok().and_then(|millis| Timestamp::from_millisecond(millis).ok());
    let edge = if before { Timestamp::MIN } else { Timestamp::MAX };
    let around = |at: Timestamp| if before { at.checked_sub(AROUND) } else { at.checked_add(AROUND) };
    let at = at.and_then(|at| around(at).ok()).unwrap_or(edge);
    at.strftime("%Y%m%d%H%M%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_near_within_a_day_and_a_time_zone() {
        let noon = 1_771_070_400_000; // 2026-02-14T12:00:00Z
        assert_eq!(
            (second(noon, true), second(noon, false)),
            ("20260213100000".into(), "20260215140000".into())
        );
        assert_eq!(second(u64::MAX, false).get(..4), Some("9999"));
    }
}
