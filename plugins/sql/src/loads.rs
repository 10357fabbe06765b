//! Writes loads to `jids`: the first of a job wins. Minions that become known later
//! are added to its `Minions`.
//!
//! The key of `jids` may leave out case, accents, or spaces at the end of a job's id, as that
//! of Salt's manual does. A job whose id is taken by another one's is refused: what was said
//! to be stored is there.
//!
//! Minions of a job whose load never came are kept in a row without a function (a
//! *placeholder*), which gives way to the load if it does come.

use std::collections::{BTreeMap, HashMap, HashSet};

use returner_sdk::sql::{self, Insert, Value};
use returner_sdk::{Failure, JobLoad, JobMinions, Outcome, Refusal, json};

use crate::{CONNECTION, Column, Dialect};

/// How many jobs one query looks for.
const LOOK: usize = 256;

const INSERT: &str = "INSERT INTO `jids` (`jid`, `load`) VALUES";
const UPDATE: &str = "UPDATE `jids` SET `load` = ? WHERE `jid` = ?";

/// What stands in `jids` for a job.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Known {
    Load,
    Placeholder(String),
}

/// Writes those loads whose job is new.
///
/// # Errors
/// The server's: nothing is written.
pub fn store<D: Dialect>(dialect: &D, batch: Vec<JobLoad>) -> Outcome {
    let mut known = known(dialect, &batch)?;
    let mut insert = Insert::new(CONNECTION, INSERT).ending(D::KEEP_FIRST);
    // The places of each new job, of which all but the first are the same again.
    let mut inserted: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let mut refusals = Vec::new();
    for (index, item) in batch.into_iter().enumerate() {
        if let Some(places) = inserted.get_mut(&item.jid) {
            places.push(index);
            continue;
        }
        let known = known.entry(item.jid.clone());
        let placeholder = match &known {
            std::collections::hash_map::Entry::Occupied(entry) => match entry.get() {
                Known::Load => continue,
                Known::Placeholder(load) => Some(load.clone()),
            },
            std::collections::hash_map::Entry::Vacant(_) => None,
        };
        let job = item.jid.clone();
        match fit(dialect, item, placeholder.as_deref()) {
            Ok([jid, load]) if placeholder.is_some() => {
                sql::execute(CONNECTION, UPDATE, &[load, jid])?;
            }
            Ok(row) => {
                insert.row(row)?;
                inserted.insert(job, vec![index]);
            }
            Err(failure) => {
                refusals.push(Refusal::new(index, failure));
                continue;
            }
        }
        known.insert_entry(Known::Load);
    }
    insert.finish()?;
    refusals.extend(taken::<D>(&inserted)?);
    Ok(refusals)
}

/// Refuses those jobs that are not there under their own id after they were written.
fn taken<D: Dialect>(inserted: &BTreeMap<String, Vec<usize>>) -> Result<Vec<Refusal>, Failure> {
    let jobs: Vec<&str> = inserted.keys().map(String::as_str).collect();
    let missing = missing(&jobs, "")?;
    // Those that another transaction wrote are seen by a lock only, which is for few rows.
    let missing = if missing.is_empty() { missing } else { self::missing(&missing, D::LOCK)? };
    let refused = missing.into_iter().flat_map(|jid| inserted[jid].iter().map(move |index| (*index, jid)));
    Ok(refused.map(|(index, jid)| Refusal::new(index, is_taken(jid))).collect())
}

/// Which of these jobs have no row of their own.
fn missing<'a>(jobs: &[&'a str], lock: &str) -> Result<Vec<&'a str>, Failure> {
    let mut missing = Vec::new();
    for jobs in jobs.chunks(LOOK) {
        let (jids, params) = sql::placeholders(jobs.iter().copied());
        let statement = format!("SELECT `jid` FROM `jids` WHERE `jid` IN ({jids}){lock}");
        let there: HashSet<String> =
            sql::query(CONNECTION, &statement, &params)?.into_texts().map(|[jid]| jid).collect();
        missing.extend(jobs.iter().filter(|jid| !there.contains(**jid)));
    }
    Ok(missing)
}

fn is_taken(jid: &str) -> Failure {
    Failure::reject(format!(
        "job `{jid}` has no row of its own in `jids`: the column `jid` takes the id of another job for the \
         same, as a collation does that leaves out case, accents or spaces at the end"
    ))
}

/// The row of a load: its job id and itself.
fn fit(dialect: &impl Dialect, item: JobLoad, placeholder: Option<&str>) -> Result<[Value; 2], Failure> {
    let mut minions = item.minions;
    minions.extend(placeholder.and_then(minions_of).unwrap_or_default());
    let load = json::with_minions(item.full, &minions);
    Ok([dialect.fit(Column::LoadJid, item.jid)?.into(), dialect.fit(Column::Load, load)?.into()])
}

fn known(dialect: &impl Dialect, batch: &[JobLoad]) -> Result<HashMap<String, Known>, Failure> {
    let mut found = HashMap::new();
    let mut jids = Vec::with_capacity(batch.len());
    for item in batch {
        if dialect.can_have(Column::LoadJid, &item.jid)? {
            jids.push(item.jid.as_str());
        }
    }
    for jids in jids.chunks(LOOK) {
        let (jids, params) = sql::placeholders(jids.iter().copied());
        let statement = format!(
            "SELECT `jid`, CASE WHEN `load` LIKE '{{\"Minions\":%' THEN `load` ELSE '' END \
             FROM `jids` WHERE `jid` IN ({jids})"
        );
        for [jid, load] in sql::query(CONNECTION, &statement, &params)?.into_texts() {
            let known = if is_placeholder(&load) { Known::Placeholder(load) } else { Known::Load };
            found.insert(jid, known);
        }
    }
    Ok(found)
}

/// Adds minions to the loads of their jobs.
///
/// # Errors
/// The server's: nothing is written.
pub fn add_minions<D: Dialect>(dialect: &D, batch: Vec<JobMinions>) -> Outcome {
    let mut refusals = Vec::new();
    for (index, item) in batch.into_iter().enumerate() {
        let jid = match dialect.fit(Column::LoadJid, item.jid.clone()) {
            Ok(jid) => jid,
            Err(failure) => {
                refusals.push(Refusal::new(index, failure));
                continue;
            }
        };
        let statement = format!("SELECT `jid`, `load` FROM `jids` WHERE `jid` = ?{}", D::LOCK);
        let found = sql::query(CONNECTION, &statement, &[jid.as_str().into()])?.into_texts().next();
        let before = match found {
            Some([found, _]) if found != jid => {
                refusals.push(Refusal::new(index, is_taken(&jid)));
                continue;
            }
            found => found.map(|[_, load]| load),
        };
        let after = match &before {
            Some(load) => json::with_minions(load.clone(), &item.minions),
            None => placeholder(&item),
        };
        if before.as_ref() == Some(&after) {
            continue;
        }
        match dialect.fit(Column::Load, after) {
            Ok(load) if before.is_some() => {
                sql::execute(CONNECTION, UPDATE, &[load.into(), jid.into()])?;
            }
            Ok(load) => {
                let mut insert = Insert::new(CONNECTION, INSERT).ending(D::KEEP_FIRST);
                insert.row([jid.into(), load.into()])?;
                insert.finish()?;
            }
            Err(failure) => refusals.push(Refusal::new(index, failure)),
        }
    }
    Ok(refusals)
}

/// What stands for a load that has not come. It begins with its minions, which is
/// how [`known`] finds it.
fn placeholder(item: &JobMinions) -> String {
    format!("{{\"Minions\":{},\"jid\":{}}}", json::array(&item.minions), json::quote(&item.jid))
}

fn is_placeholder(load: &str) -> bool {
    !load.is_empty() && json::member(load, "fun").is_none()
}

fn minions_of(load: &str) -> Option<Vec<String>> {
    json::strings(json::member(load, json::MINIONS)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placeholder_is_told_from_a_load() {
        let minions = vec!["web1".to_owned()];
        let item =
            JobMinions { jid: "1".to_owned(), minions: minions.clone(), accepted: 0, redelivered: false };
        let text = placeholder(&item);
        assert!(text.starts_with("{\"Minions\":") && is_placeholder(&text));
        assert_eq!(minions_of(&text), Some(minions));
        assert!(!is_placeholder(r#"{"Minions":[],"fun":"test.ping","jid":"1"}"#));
        assert!(!is_placeholder(""));
    }
}
