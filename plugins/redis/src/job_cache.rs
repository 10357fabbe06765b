//! Answers questions, also about what Salt's own module wrote. Keys are found with
//! SCAN: KEYS would stop the server meanwhile.

use std::collections::BTreeSet;

use returner_sdk::redis::{self, Pipeline, Reply, Scalar};
use returner_sdk::{Failure, Job, JobCache, MinionReturn, jid, json};

use crate::writes::command;
use crate::{CONNECTION, Redis, keys};

/// How many keys one command or pipeline is about.
const STEP: usize = 500;

impl JobCache for Redis {
    fn get_load(jid: String) -> Result<Option<String>, Failure> {
        let commands = [command(["GET", &keys::load(&jid)]), command(["SMEMBERS", &keys::job_minions(&jid)])];
        let mut replies = ask(commands)?.into_iter();
        let load = replies.next().into_iter().flatten().next();
        let later = replies.next().unwrap_or_default();
        Ok(match load {
            None if later.is_empty() => None,
            None => Some(json::with_minions(format!("{{\"jid\":{}}}", json::quote(&jid)), &later)),
            Some(load) => Some(json::with_minions(load, &later)),
        })
    }

    fn get_jid(jid: String) -> Result<Vec<MinionReturn>, Failure> {
        let answer = ask([command(["HGETALL", &keys::returns(&jid)])])?.into_iter().flatten();
        Ok(pairs(answer)
            .map(|(field, full)| MinionReturn {
                minion: keys::minion_of(&field).to_owned(),
                jid: jid.clone(),
                full,
            })
            .collect())
    }

    fn get_fun(fun: String) -> Result<Vec<MinionReturn>, Failure> {
        let minions = Self::get_minions()?;
        let mut found = Vec::new();
        for minions in minions.chunks(STEP) {
            let jobs = ask(minions.iter().map(|minion| command(["GET", &keys::last_job(minion, &fun)])))?;
            let last: Vec<(&String, String)> = minions
                .iter()
                .zip(jobs)
                .filter_map(|(minion, job)| Some((minion, job.into_iter().next()?)))
                .collect();
            let returns =
                ask(last.iter().map(|(minion, jid)| command(["HGET", &keys::returns(jid), minion])))?;
            for ((minion, jid), full) in last.into_iter().zip(returns) {
                // It may have expired, and the name of the last job stayed.
                let Some(full) = full.into_iter().next().filter(|full| is_of(full, &fun)) else { continue };
                found.push(MinionReturn { minion: minion.clone(), jid, full });
            }
        }
        Ok(found)
    }

    fn get_jids(limit: Option<u32>) -> Result<Vec<Job>, Failure> {
        let jids: Vec<String> = jobs_of(keys::LOAD)?.into_iter().collect();
        let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(jids.len());
        let newest = &jids[jids.len().saturating_sub(limit)..];
        let mut jobs = Vec::with_capacity(newest.len());
        for jids in newest.chunks(STEP) {
            let loads = jids.iter().map(|jid| command(["GET", &keys::load(jid)]));
            let minions = jids.iter().map(|jid| command(["SMEMBERS", &keys::job_minions(jid)]));
            let mut loads = ask(loads.chain(minions))?;
            let minions = loads.split_off(jids.len());
            for ((jid, load), minions) in jids.iter().zip(loads).zip(minions) {
                // It may have expired since it was found.
                let Some(load) = load.into_iter().next() else { continue };
                jobs.push(Job { jid: jid.clone(), load: json::with_minions(load, &minions) });
            }
        }
        Ok(jobs)
    }

    fn get_minions() -> Result<Vec<String>, Failure> {
        let mut minions: Vec<String> =
            ask([command(["SMEMBERS", keys::MINIONS])])?.into_iter().flatten().collect();
        minions.sort_unstable();
        Ok(minions)
    }

    /// A job whose id is no time stays.
    fn clean(before: u64) -> Result<u64, Failure> {
        let is_old = |jid: &String| jid::is_before(jid, before);
        let mut old = BTreeSet::new();
        for kind in [keys::LOAD, keys::RETURNS, keys::JOB_MINIONS] {
            old.extend(jobs_of(kind)?.into_iter().filter(is_old));
        }
        let old: Vec<String> = old.into_iter().collect();
        for jids in old.chunks(STEP) {
            ask(jids.iter().map(|jid| {
                command(["DEL", &keys::load(jid), &keys::returns(jid), &keys::job_minions(jid)])
            }))?;
        }
        Ok(old.len() as u64 + clean_events(before)?)
    }
}

fn clean_events(before: u64) -> Result<u64, Failure> {
    let bound = format!("({before}");
    let step = STEP.to_string();
    let mut gone = 0;
    loop {
        let oldest = command(["ZRANGEBYSCORE", keys::EVENTS, "-inf", &bound, "LIMIT", "0", &step]);
        let old: Vec<String> = ask([oldest])?.into_iter().flatten().collect();
        if old.is_empty() {
            return Ok(gone);
        }
        let mut forget = command(["ZREM", keys::EVENTS]);
        forget.extend(old.iter().map(|key| key.as_bytes().to_vec()));
        ask(old.iter().map(|key| command(["DEL", &keys::event(key)])).chain([forget]))?;
        gone += old.len() as u64;
    }
}

/// Whether a return is of this function. Another one of the same job and minion may have
/// taken its place.
fn is_of(full: &str, fun: &str) -> bool {
    json::functions(full).is_some_and(|own| own == fun)
}

/// The job ids, in order, of the keys that begin so.
fn jobs_of(kind: &str) -> Result<BTreeSet<String>, Failure> {
    let found = redis::scan(CONNECTION, &format!("{kind}*"))?;
    Ok(found
        .into_iter()
        .filter_map(|key| String::from_utf8(key).ok()?.strip_prefix(kind).map(str::to_owned))
        .collect())
}

/// The texts that each command answers with: none if there is no such key.
fn ask(commands: impl IntoIterator<Item = Vec<Vec<u8>>>) -> Result<Vec<Vec<String>>, Failure> {
    let mut pipeline = Pipeline::default();
    for command in commands {
        pipeline.command(command);
    }
    pipeline.send(CONNECTION)?.into_iter().map(texts).collect()
}

fn texts(reply: Reply) -> Result<Vec<String>, Failure> {
    if let Some(failure) = reply.failure() {
        return Err(failure);
    }
    Ok(match reply {
        Reply::Scalar(scalar) => scalar.into_text().into_iter().collect(),
        Reply::Many(scalars) => scalars.into_iter().filter_map(Scalar::into_text).collect(),
    })
}

/// Fields and values, which a hash's answer has by turns.
fn pairs(texts: impl Iterator<Item = String>) -> impl Iterator<Item = (String, String)> {
    let mut texts = texts;
    std::iter::from_fn(move || Some((texts.next()?, texts.next()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_read_in_pairs() {
        let bulk = |text: &str| Scalar::Bulk(text.as_bytes().to_vec());
        let reply = Reply::Many(vec![bulk("web1"), bulk("{}"), bulk("web2"), bulk("[]")]);
        let found: Vec<_> = pairs(texts(reply).unwrap().into_iter()).collect();
        assert_eq!(found, [("web1".into(), "{}".into()), ("web2".to_owned(), "[]".to_owned())]);
    }

    #[test]
    fn a_return_is_of_its_own_function() {
        let full = r#"{"jid":"1","id":"web1","fun":"test.ping","return":"cmd.run"}"#;
        assert!(is_of(full, "test.ping") && !is_of(full, "cmd.run"));
        let compound = r#"{"fun":["test.ping","cmd.run"],"return":{}}"#;
        assert!(is_of(compound, "test.ping,cmd.run") && !is_of(compound, "test.ping"));
    }

    #[test]
    fn nothing_is_no_text_and_an_error_is_a_failure() {
        assert!(texts(Reply::Scalar(Scalar::Nil)).unwrap().is_empty());
        let error = redis::Error { message: "WRONGTYPE".to_owned(), retryable: false };
        assert!(texts(Reply::Scalar(Scalar::Error(error))).is_err());
    }
}
