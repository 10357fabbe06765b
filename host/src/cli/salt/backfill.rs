//! `returner salt backfill`: what the host did not hear of Salt's event bus, from the job
//! cache on the master's own disk.
//!
//! Nothing is stored twice: each returner is asked which minions of a job it has. A gap is
//! filled only when all of it was acknowledged; so it may be run again whenever it failed.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::client::{Client, segment};
use super::super::{Failure, HostArgs, output};
use super::job_cache::{self, Job, Return};
use crate::config::Settings;

/// What a master writes just before and after its event, in milliseconds.
const AROUND: u64 = 10_000;

/// The most bytes of one request.
const PART: usize = 4 << 20;

#[derive(Debug, Args)]
pub(super) struct Backfill {
    /// The master's job cache: `jobs` in its `cachedir`
    #[arg(long, value_name = "DIR", default_value = "/var/cache/salt/master/jobs")]
    job_cache: PathBuf,
    /// Look at what was written since then (`2h`, `3d`), and not at the gaps that the host knows of
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    since: Option<Duration>,
    /// Fill this returner (or several, by commas), not those of the configuration's `return`
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    returner: Vec<String>,
    #[command(flatten)]
    host: HostArgs,
}

#[derive(Debug, Deserialize)]
struct Standing {
    gaps: Vec<Gap>,
}

#[derive(Debug, Deserialize)]
struct Gap {
    from: String,
    until: String,
    from_ms: u64,
    until_ms: u64,
}

#[derive(Debug, Deserialize)]
struct Stored {
    returns: Vec<Answered>,
}

#[derive(Debug, Deserialize)]
struct Answered {
    minion: String,
}

#[derive(Debug, Deserialize)]
struct Filled {
    filled: u64,
}

impl Backfill {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let client = Client::new(&self.host)?;
        let standing: Standing = client.get("/v1/salt-events", &[]).await?;
        let times = self.times(&standing.gaps);
        if times.is_empty() {
            return self.report(&json!({"jobs": 0, "returns": 0, "filled": 0}), "nothing was missed");
        }
        let wanted = |at: u64| times.iter().any(|(from, until)| (*from..=*until).contains(&at));
        let found = job_cache::read(&self.job_cache, wanted).map_err(|error| {
            Failure::failed(format!(
                "`{}`: {error}\n  hint: `--job-cache` names the directory `jobs` in the master's `cachedir`; run it \
                 on the master, as the user of Salt",
                self.job_cache.display()
            ))
        })?;
        let returners = self.returners()?;
        let mut sent = 0;
        for returner in &returners {
            sent += Filling { client: &client, returner }.fill(&found.jobs).await?;
        }
        for problem in &found.unreadable {
            eprintln!("warning: passed over {problem}");
        }
        let filled = match (self.since, standing.gaps.last()) {
            (None, Some(last)) => {
                let until = last.until_ms.to_string();
                let query = [("until", until.as_str())];
                client.call::<Filled>(Method::DELETE, "/v1/salt-events/gaps", &query).await?.filled
            }
            _ => 0,
        };
        let jobs = found.jobs.len();
        let text = format!(
            "{} looked at; {} sent to {}; {} filled",
            output::counted(jobs as u64, "job", "jobs"),
            output::counted(sent, "return that was missing", "returns that were missing"),
            returners.join(", "),
            output::counted(filled, "gap", "gaps"),
        );
        self.report(&json!({"jobs": jobs, "returns": sent, "filled": filled}), &text)
    }

    fn report(&self, answer: &Value, text: &str) -> Result<(), Failure> {
        if self.host.json { output::json(answer) } else { output::line(text) }
    }

    /// From when until when, in milliseconds since 1970-01-01 UTC.
    fn times(&self, gaps: &[Gap]) -> Vec<(u64, u64)> {
        if let Some(since) = self.since {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            return vec![(now.saturating_sub(since).as_millis() as u64, u64::MAX)];
        }
        gaps.iter()
            .map(|gap| {
                if !self.host.json {
                    let _ = output::line(&format!("missed    {} to {}", gap.from, gap.until));
                }
                (gap.from_ms.saturating_sub(AROUND), gap.until_ms + AROUND)
            })
            .collect()
    }

    fn returners(&self) -> Result<Vec<String>, Failure> {
        if !self.returner.is_empty() {
            return Ok(self.returner.clone());
        }
        let loaded = Settings::load(self.host.config.file().as_deref());
        Ok(loaded.map_err(|errors| Failure::usage(errors.to_string()))?.settings.return_to)
    }
}

/// One returner that is filled.
struct Filling<'a> {
    client: &'a Client,
    returner: &'a str,
}

impl Filling<'_> {
    /// Sends what it has not; says how many returns.
    async fn fill(&self, jobs: &[Job]) -> Result<u64, Failure> {
        let mut sent = 0;
        for job in jobs {
            let stored = self.stored(&job.jid).await?;
            // The first load of a job wins: one that is there already changes nothing.
            self.send("/v1/loads", std::slice::from_ref(&job.load)).await?;
            let missing: Vec<&Return> =
                job.returns.iter().filter(|answer| !stored.contains(&answer.minion)).collect();
            let texts: Vec<String> = missing.iter().map(|answer| answer.text.clone()).collect();
            for part in parts(&texts) {
                self.send("/v1/returns", part).await?;
            }
            sent += missing.len() as u64;
        }
        Ok(sent)
    }

    /// The minions whose return of a job it has.
    async fn stored(&self, jid: &str) -> Result<BTreeSet<String>, Failure> {
        let path = format!("/v1/jobs/{}/returns", segment(jid));
        let stored: Stored = self.client.get(&path, &[("returner", self.returner)]).await?;
        Ok(stored.returns.into_iter().map(|answered| answered.minion).collect())
    }

    async fn send(&self, path: &str, texts: &[String]) -> Result<(), Failure> {
        let body = texts.join("\n").into_bytes();
        let answer = self.client.post::<Value>(path, &[("returner", self.returner)], body).await;
        answer.map(drop).map_err(Failure::from)
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
