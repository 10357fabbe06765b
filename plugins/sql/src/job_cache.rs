//! Answers questions from Salt's tables, also about rows that Salt's own modules
//! wrote.

use std::collections::BTreeMap;

use returner_sdk::sql::{self, Value};
use returner_sdk::{Failure, Job, MinionReturn, json};

use crate::{CONNECTION, Column, Dialect};

/// The load of a job, with its minions.
///
/// # Errors
/// The server's.
pub fn get_load(jid: &str) -> Result<Option<String>, Failure> {
    let rows = sql::query(CONNECTION, "SELECT `load` FROM `jids` WHERE `jid` = ?", &[jid.into()])?;
    Ok(rows.into_texts().next().map(|[load]| with_minions(load)))
}

/// The returns of a job. Salt's module writes a row for each retry of a minion: the
/// last one counts.
///
/// # Errors
/// The server's.
pub fn get_jid<D: Dialect>(dialect: &D, jid: &str) -> Result<Vec<MinionReturn>, Failure> {
    let statement = format!(
        "SELECT `id`, `jid`, `fun`, {} FROM `salt_returns` WHERE `jid` = ? ORDER BY {}",
        dialect.full(),
        D::WRITTEN
    );
    let mut newest = BTreeMap::new();
    for [minion, jid, fun, full] in sql::query(CONNECTION, &statement, &[jid.into()])?.into_texts() {
        let resource = json::string_member(&full, "resource_id");
        newest.insert((minion.clone(), fun, resource), MinionReturn { minion, jid, full });
    }
    Ok(newest.into_values().collect())
}

/// The newest return of a function from each minion.
///
/// # Errors
/// The server's.
pub fn get_fun<D: Dialect>(dialect: &D, fun: &str) -> Result<Vec<MinionReturn>, Failure> {
    // The column may have the name's beginning only.
    let column = dialect.fit(Column::Fun, fun.to_owned())?;
    let statement = format!(
        "SELECT `id`, `jid`, {} FROM `salt_returns` \
         JOIN (SELECT `id`, MAX(`jid`) AS `jid` FROM `salt_returns` WHERE `fun` = ? GROUP BY `id`) AS `newest` \
         USING (`id`, `jid`) WHERE `fun` = ? ORDER BY {}",
        dialect.full(),
        D::WRITTEN
    );
    let params: [Value; 2] = [column.as_str().into(), column.as_str().into()];
    let mut newest = BTreeMap::new();
    for [minion, jid, full] in sql::query(CONNECTION, &statement, &params)?.into_texts() {
        if column == fun || json::functions(&full).as_deref() == Some(fun) {
            newest.insert(minion.clone(), MinionReturn { minion, jid, full });
        }
    }
    Ok(newest.into_values().collect())
}

/// The newest jobs, newest last.
///
/// # Errors
/// The server's.
pub fn get_jids(limit: Option<u32>) -> Result<Vec<Job>, Failure> {
    let statement = "SELECT `jid`, `load` FROM `jids` ORDER BY `jid` DESC LIMIT ?";
    let rows = sql::query(CONNECTION, statement, &[limit.unwrap_or(u32::MAX).into()])?;
    let mut jobs: Vec<Job> =
        rows.into_texts().map(|[jid, load]| Job { jid, load: with_minions(load) }).collect();
    jobs.reverse();
    Ok(jobs)
}

/// The minions that ever answered.
///
/// # Errors
/// The server's.
pub fn get_minions() -> Result<Vec<String>, Failure> {
    let statement = "SELECT DISTINCT `id` FROM `salt_returns` ORDER BY `id`";
    Ok(sql::query(CONNECTION, statement, &[])?.into_texts().map(|[minion]| minion).collect())
}

fn with_minions(load: String) -> String {
    json::with_minions::<&str>(load, &[])
}
