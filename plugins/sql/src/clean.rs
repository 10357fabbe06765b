//! Deletes what is old, in steps, so that no statement locks much for long.
//!
//! A job is old by the time in its id, if it is so in every time zone ([`jid::is_before`]). A
//! job whose id is no time is old if its last return was written before the moment.

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

/// Deletes jobs with their returns, and events, that are older than `before`
/// (milliseconds since 1970-01-01 UTC). Gives how many jobs and events went; not
/// all of them, if it takes too long, but some.
///
/// # Errors
/// The server's: nothing is deleted.
pub fn clean<D: Dialect>(before: u64) -> Result<u64, Failure> {
    let begun = Instant::now();
    let mut gone = 0;
    // Those with returns, found by the index that Salt's schema has, and loads that nobody
    // answered.
    for (table, tables) in [("salt_returns", &["salt_returns", "jids"][..]), ("jids", &["jids"])] {
        let mut after = String::new();
        loop {
            let page = jobs_between(table, &after, &jid::bound(before))?;
            let Some(last) = page.last() else { break };
            after.clone_from(last);
            let old = old_of::<D>(page, before)?;
            tables.iter().try_for_each(|table| delete(table, &old))?;
            gone += old.len() as u64;
            if gone > 0 && begun.elapsed() > PATIENCE {
                return Ok(gone);
            }
        }
    }
    for step in [named_jobs::<D>, events::<D>] {
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

/// The first job ids between two, in order.
fn jobs_between(table: &str, after: &str, before: &str) -> Result<Vec<String>, Failure> {
    let statement = format!(
        "SELECT DISTINCT `jid` FROM `{table}` WHERE `jid` > ? AND `jid` < ? ORDER BY `jid` LIMIT {JOBS}"
    );
    let rows = sql::query(CONNECTION, &statement, &[after.into(), before.into()])?;
    Ok(rows.into_texts().map(|[jid]| jid).collect())
}

/// Those that are old. An id before all times of the range need not be one.
fn old_of<D: Dialect>(jobs: Vec<String>, before: u64) -> Result<Vec<String>, Failure> {
    let (times, others): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|jid| jid::millis(jid).is_some());
    let mut old: Vec<String> = times.into_iter().filter(|jid| jid::is_before(jid, before)).collect();
    if !others.is_empty() {
        let (jids, params) = sql::placeholders(others.iter().map(String::as_str));
        old.extend(written_before::<D>(&format!("`jid` IN ({jids})"), params, before)?);
    }
    Ok(old)
}

/// Of the jobs that meet a condition some whose last return was written before the moment.
fn written_before<D: Dialect>(
    condition: &str,
    mut params: Vec<Value>,
    before: u64,
) -> Result<Vec<String>, Failure> {
    params.push(D::moment(before));
    let statement = format!(
        "SELECT `jid` FROM `salt_returns` WHERE {condition} GROUP BY `jid` HAVING MAX({}) < {} LIMIT {JOBS}",
        D::WRITTEN,
        D::MOMENT
    );
    Ok(sql::query(CONNECTION, &statement, &params)?.into_texts().map(|[jid]| jid).collect())
}

/// Jobs whose id is no time, and after all that are.
fn named_jobs<D: Dialect>(before: u64) -> Result<u64, Failure> {
    let jobs = written_before::<D>("`jid` >= '3'", Vec::new(), before)?;
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
