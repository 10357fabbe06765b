//! Deletes what is old, in steps, so that no statement locks much for long.
//!
//! The time in a job id is the master's, in a time zone that nobody here knows. So
//! a job is old if it is so in every time zone. A job whose id is no time is old if
//! its last return was written before the moment.

use std::time::{Duration, Instant};

use returner_sdk::sql::{self, Value};
use returner_sdk::{Failure, jid};

use crate::{CONNECTION, Dialect};

/// How long one call goes on, roughly. The rest is for the next one.
const PATIENCE: Duration = Duration::from_secs(4);

/// How many jobs go at once.
const JOBS: usize = 128;

/// How many events go at once.
const EVENTS: u32 = 5000;

/// The most that a time zone is behind UTC, in milliseconds.
const BEHIND: u64 = 12 * 3_600_000;

/// Deletes jobs with their returns, and events, that are older than `before`
/// (milliseconds since 1970-01-01 UTC). Gives how many jobs and events went; not
/// all of them, if it takes too long, but some.
///
/// # Errors
/// The server's: nothing is deleted.
pub fn clean<D: Dialect>(before: u64) -> Result<u64, Failure> {
    let begun = Instant::now();
    let mut gone = 0;
    for step in [answered_jobs, unanswered_jobs, named_jobs::<D>, events::<D>] {
        loop {
            if gone > 0 && begun.elapsed() > PATIENCE {
                return Ok(gone);
            }
            match step(before)? {
                0 => break,
                some => gone += some,
            }
        }
    }
    Ok(gone)
}

/// Jobs with returns. They are found by the index on `jid` that Salt's schema has.
fn answered_jobs(before: u64) -> Result<u64, Failure> {
    let statement = "SELECT DISTINCT `jid` FROM `salt_returns` WHERE `jid` >= '1' AND `jid` < ?";
    let jobs = old_jobs(statement, before)?;
    delete("salt_returns", &jobs)?;
    delete("jids", &jobs)?;
    Ok(jobs.len() as u64)
}

/// Loads that nobody answered.
fn unanswered_jobs(before: u64) -> Result<u64, Failure> {
    let jobs = old_jobs("SELECT `jid` FROM `jids` WHERE `jid` >= '1' AND `jid` < ?", before)?;
    delete("jids", &jobs)?;
    Ok(jobs.len() as u64)
}

fn old_jobs(statement: &str, before: u64) -> Result<Vec<String>, Failure> {
    let bound = jid::at(before.saturating_sub(BEHIND));
    let rows = sql::query(CONNECTION, &format!("{statement} LIMIT {JOBS}"), &[bound.into()])?;
    let is_time = |jid: &String| jid::millis(jid).is_some();
    Ok(rows.into_texts().map(|[jid]| jid).filter(is_time).collect())
}

/// Jobs whose id is no time: such ids begin with a letter, after all digits.
fn named_jobs<D: Dialect>(before: u64) -> Result<u64, Failure> {
    let statement = format!(
        "SELECT `jid` FROM `salt_returns` WHERE `jid` >= 'A' GROUP BY `jid` HAVING MAX({}) < {} LIMIT {JOBS}",
        D::WRITTEN,
        D::MOMENT
    );
    let rows = sql::query(CONNECTION, &statement, &[D::moment(before)])?;
    let jobs: Vec<String> = rows.into_texts().map(|[jid]| jid).collect();
    delete("salt_returns", &jobs)?;
    delete("jids", &jobs)?;
    Ok(jobs.len() as u64)
}

fn delete(table: &str, jobs: &[String]) -> Result<(), Failure> {
    if jobs.is_empty() {
        return Ok(());
    }
    let (jids, params) = sql::placeholders(jobs.iter().map(String::as_str));
    sql::execute(CONNECTION, &format!("DELETE FROM `{table}` WHERE `jid` IN ({jids})"), &params)?;
    Ok(())
}

/// The oldest events have the lowest ids. They are looked for without a lock, and
/// deleted by id: new events can be written meanwhile.
fn events<D: Dialect>(before: u64) -> Result<u64, Failure> {
    let old = format!("`alter_time` < {}", D::MOMENT);
    let statement = format!("SELECT `id` FROM `salt_events` WHERE {old} ORDER BY `id` LIMIT {EVENTS}");
    let found = sql::query(CONNECTION, &statement, &[D::moment(before)])?;
    let Some(last) = found.rows.last().and_then(|row| row.first()).and_then(Value::as_integer) else {
        return Ok(0);
    };
    let statement = format!("DELETE FROM `salt_events` WHERE `id` <= ? AND {old}");
    Ok(sql::execute(CONNECTION, &statement, &[last.into(), D::moment(before)])?)
}
