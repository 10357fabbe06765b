//! `returner salt backfill`: what the host did not hear of Salt's event bus, from the job
//! cache on the master's own disk, or from the returner that is the master's job cache.
//!
//! Nothing is stored twice: each returner is asked which minions of a job it has. A gap is
//! filled only when all of it was acknowledged; so it may be run again whenever it failed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use reqwest::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::client::{Client, NoAnswer, segment};
use super::super::{Failure, HostArgs, output};
use super::job_cache::{self, Job};
use super::own_jobs::OwnJobs;
use crate::config::{SaltOptions, Settings};

/// What a master writes just before and after its event, in milliseconds.
const AROUND: u64 = 10_000;

/// The most bytes of one request.
const PART: usize = 4 << 20;

#[derive(Debug, Args)]
pub(super) struct Backfill {
    /// The master's job cache; without it, what `--salt-config` says: `jobs` in its `cachedir`, or
    /// the returner of `master_job_cache`
    #[arg(long, value_name = "DIR")]
    job_cache: Option<PathBuf>,
    /// The master's configuration
    #[arg(long, value_name = "FILE", default_value = "/etc/salt/master")]
    salt_config: PathBuf,
    /// Look at what was written since then (`2h`, `3d`), and not at the gaps that the host knows of
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    since: Option<Duration>,
    /// Fill this returner (or several, by commas), not those of the configuration's `return`; the
    /// gaps stay
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    returner: Vec<String>,
    #[command(flatten)]
    host: HostArgs,
}

#[derive(Debug, Deserialize)]
struct SaltEvents {
    gaps: Vec<Gap>,
    /// Nothing is heard now, since then.
    missing_since_ms: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Gap {
    from: String,
    until: String,
    from_ms: u64,
    until_ms: u64,
}

#[derive(Debug, Deserialize)]
struct Returners {
    returners: Vec<Named>,
}

#[derive(Debug, Deserialize)]
struct Named {
    name: String,
}

#[derive(Debug, Deserialize)]
struct Stored {
    returns: Vec<Answered>,
}

#[derive(Debug, Deserialize)]
struct Answered {
    minion: String,
}

/// What a master has of its jobs.
enum Source {
    /// Salt's own job cache.
    Disk(PathBuf),
    /// `master_job_cache`.
    Returner(String),
}

/// What came of it.
#[derive(Debug, Default, Serialize)]
struct Report {
    /// Jobs that were looked at.
    jobs: usize,
    /// Returns that were missing and were sent, by returner.
    returns: BTreeMap<String, u64>,
    /// Gaps that are filled.
    filled: usize,
    /// What could not be sent, and why: the gaps stay.
    left: Vec<String>,
}

impl Backfill {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let client = Client::new(&self.host)?;
        let source = self.source()?;
        self.check(&client, &source).await?;
        let heard: SaltEvents = client.get("/v1/salt-events", &[]).await?;
        let times = self.times(&heard);
        let mut report = Report::default();
        if !times.is_empty() {
            match &source {
                Source::Disk(directory) => {
                    self.fill_from_disk(&client, directory, &times, &mut report).await?
                }
                Source::Returner(cache) => {
                    self.fill_from_returner(&client, cache, &times, &mut report).await?
                }
            }
            if report.left.is_empty() && self.since.is_none() && self.returner.is_empty() {
                for gap in &heard.gaps {
                    let (from, until) = (gap.from_ms.to_string(), gap.until_ms.to_string());
                    let query = [("from", from.as_str()), ("until", until.as_str())];
                    client.call::<Value>(Method::DELETE, "/v1/salt-events/gaps", &query).await?;
                    report.filled += 1;
                }
            }
        }
        self.tell(&source, &report, heard.missing_since_ms.is_some(), times.is_empty())
    }

    /// Also where nothing is to be filled: that "nothing was missed" is said of what was named.
    async fn check(&self, client: &Client, source: &Source) -> Result<(), Failure> {
        if let Source::Disk(directory) = source
            && self.job_cache.is_some()
            && !directory.is_dir()
        {
            let message = format!("`{}` is no directory", directory.display());
            return Err(Failure::failed(format!("{message}\n  hint: {HINT}")));
        }
        if self.returner.is_empty() {
            return Ok(());
        }
        let known: Returners = client.get("/v1/returners", &[]).await?;
        let known: Vec<String> = known.returners.into_iter().map(|known| known.name).collect();
        match self.returner.iter().find(|name| !known.contains(name)) {
            None => Ok(()),
            Some(name) => {
                let hint = format!("there are `{}`", known.join("`, `"));
                Err(Failure::refused(format!("there is no returner `{name}`\n  hint: {hint}")))
            }
        }
    }

    async fn fill_from_disk(
        &self,
        client: &Client,
        directory: &Path,
        times: &[(u64, u64)],
        report: &mut Report,
    ) -> Result<(), Failure> {
        let wanted = |at: u64| times.iter().any(|(from, until)| (*from..=*until).contains(&at));
        let found = job_cache::read(directory, wanted).map_err(|error| {
            Failure::failed(format!("`{}`: {error}\n  hint: {HINT}", directory.display()))
        })?;
        report.jobs = found.jobs.len();
        report.left = found.unreadable;
        for returner in self.returners()? {
            let mut filling = Filling { client, returner: &returner, report };
            if let Err(failure) = filling.fill(&found.jobs).await {
                report.left.push(format!("`{returner}`: {failure}"));
            }
        }
        Ok(())
    }

    /// The master itself has sent them to its job cache, or keeps them to send.
    async fn fill_from_returner(
        &self,
        client: &Client,
        cache: &str,
        times: &[(u64, u64)],
        report: &mut Report,
    ) -> Result<(), Failure> {
        let jobs = OwnJobs { client, returner: cache };
        let begun = jobs.around(times).await?;
        report.jobs = begun.len();
        let mut others = self.returners()?;
        others.retain(|name| name != cache);
        for job in &begun {
            let job = jobs.whole(job).await?;
            let mut filled = Vec::with_capacity(others.len());
            for returner in others {
                let mut filling = Filling { client, returner: &returner, report };
                match filling.fill(std::slice::from_ref(&job)).await {
                    Ok(()) => filled.push(returner),
                    Err(failure) => report.left.push(format!("`{returner}`: {failure}")),
                }
            }
            others = filled;
        }
        Ok(())
    }

    fn tell(&self, source: &Source, report: &Report, goes_on: bool, nothing: bool) -> Result<(), Failure> {
        let Report { jobs, returns, filled, left } = report;
        if self.host.json {
            output::json(report)?;
        } else if nothing {
            output::line("nothing was missed")?;
        } else {
            for (returner, count) in returns {
                let sent = output::counted(*count, "return that was missing", "returns that were missing");
                output::line(&format!("`{returner}`: {sent} sent"))?;
            }
            if let Source::Returner(cache) = source {
                output::line(&format!(
                    "`{cache}`: the master sends to it itself; `salt-run {cache}.flush` sends what it keeps"
                ))?;
            }
            output::line(&format!(
                "{} looked at; {} filled",
                output::counted(*jobs as u64, "job", "jobs"),
                output::counted(*filled as u64, "gap", "gaps"),
            ))?;
        }
        if goes_on {
            eprintln!("warning: the host hears nothing of Salt's event bus now: run this again when it does");
        }
        if left.is_empty() {
            return Ok(());
        }
        let told: Vec<String> = left.iter().map(|one| format!("error: {one}")).collect();
        Err(Failure::refused(format!("{}\nerror: not all of it was sent: the gaps stay", told.join("\n"))))
    }

    /// Where the master keeps its jobs.
    fn source(&self) -> Result<Source, Failure> {
        let options = match &self.job_cache {
            None if self.salt_config.exists() => SaltOptions::load(&self.salt_config),
            None => return Ok(Source::Disk(PathBuf::from("/var/cache/salt/master/jobs"))),
            Some(directory) => return Ok(Source::Disk(directory.clone())),
        };
        let options = options.map_err(|errors| Failure::usage(errors.to_string()))?;
        if let Some(cache) = options.job_cache {
            return Ok(Source::Returner(cache));
        }
        Ok(Source::Disk(options.cache("master").join("jobs")))
    }

    /// From when until when, in milliseconds since 1970-01-01 UTC.
    fn times(&self, heard: &SaltEvents) -> Vec<(u64, u64)> {
        if let Some(since) = self.since {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            return vec![(now.saturating_sub(since).as_millis() as u64, u64::MAX)];
        }
        let mut times = Vec::new();
        for gap in &heard.gaps {
            if !self.host.json {
                let _ = output::line(&format!("missed    {} to {}", gap.from, gap.until));
            }
            times.push((gap.from_ms.saturating_sub(AROUND), gap.until_ms + AROUND));
        }
        times.extend(heard.missing_since_ms.map(|since| (since.saturating_sub(AROUND), u64::MAX)));
        times
    }

    fn returners(&self) -> Result<Vec<String>, Failure> {
        if !self.returner.is_empty() {
            return Ok(self.returner.clone());
        }
        let loaded = Settings::load(self.host.config.file().as_deref());
        Ok(loaded.map_err(|errors| Failure::usage(errors.to_string()))?.settings.return_to)
    }
}

const HINT: &str = "`--job-cache` names the directory `jobs` in the master's `cachedir`; run it on the master, as the user \
                    of Salt";

/// One returner that is filled.
struct Filling<'a> {
    client: &'a Client,
    returner: &'a str,
    report: &'a mut Report,
}

impl Filling<'_> {
    /// Sends what it has not. What the host will never take is left, and said.
    async fn fill(&mut self, jobs: &[Job]) -> Result<(), Failure> {
        self.sent(0);
        for job in jobs {
            let stored = self.stored(&job.jid).await?;
            // The first load of a job wins: one that is there already changes nothing.
            self.send(&job.jid, "/v1/loads", std::slice::from_ref(&job.load)).await?;
            let missing: Vec<String> = job
                .returns
                .iter()
                .filter(|answer| !stored.contains(&answer.minion))
                .map(|answer| answer.text.clone())
                .collect();
            for part in parts(&missing) {
                if self.send(&job.jid, "/v1/returns", part).await? {
                    self.sent(part.len());
                }
            }
        }
        Ok(())
    }

    fn sent(&mut self, returns: usize) {
        *self.report.returns.entry(self.returner.to_owned()).or_default() += returns as u64;
    }

    /// The minions whose return of a job it has.
    async fn stored(&self, jid: &str) -> Result<BTreeSet<String>, Failure> {
        let path = format!("/v1/jobs/{}/returns", segment(jid));
        let stored: Stored = self.client.get(&path, &[("returner", self.returner)]).await?;
        Ok(stored.returns.into_iter().map(|answered| answered.minion).collect())
    }

    /// Whether it was taken.
    async fn send(&mut self, jid: &str, path: &str, texts: &[String]) -> Result<bool, Failure> {
        let body = texts.join("\n").into_bytes();
        match self.client.post::<Value>(path, &[("returner", self.returner)], body).await {
            Ok(_) => Ok(true),
            Err(NoAnswer::Refused(problem))
                if matches!(problem.status, StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE) =>
            {
                let reasons: Vec<&str> = problem.items.iter().map(|item| item.reason.as_str()).collect();
                let reasons = reasons.join("; ");
                let left = format!("job {jid}, for `{}`: {} {reasons}", self.returner, problem.detail);
                self.report.left.push(left);
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Requests that are not too large; at least one item each.
fn parts(texts: &[String]) -> impl Iterator<Item = &[String]> {
    let mut size = 0;
    texts.chunk_by(move |text, next| {
        size += text.len();
        let fits = size + next.len() <= PART;
        size = if fits { size } else { 0 };
        fits
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_a_bound_and_all_of_it() {
        let texts: Vec<String> = [1, PART, 3, PART / 2, PART / 3].map(|size| "x".repeat(size)).to_vec();
        let found: Vec<&[String]> = parts(&texts).collect();
        assert_eq!(found.concat(), texts);
        let sizes = found.iter().map(|part| part.iter().map(String::len).sum::<usize>());
        assert!(sizes.zip(&found).all(|(size, part)| size <= PART || part.len() == 1));
    }
}
