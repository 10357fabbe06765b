//! Answers questions, also about what Salt's own module wrote.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use returner_sdk::mongo::{self, FindOptions};
use returner_sdk::{Failure, Job, JobCache, MinionReturn, jid, json};

use crate::document::{original, original_load};
use crate::{CONNECTION, EVENTS, JOBS, Mongo, RETURNS};

/// How many documents are read at once where there may be any number.
const STEP: u32 = 500;

/// How long one `clean` goes on, roughly. The rest is for the next one.
const PATIENCE: Duration = Duration::from_secs(4);

/// What is read of a return.
const OF_RETURN: &str = r#"{"_id":0,"minion":1,"jid":1,"fun":1,"full_ret":1,"stored_as":1}"#;

impl JobCache for Mongo {
    fn get_load(jid: String) -> Result<Option<String>, Failure> {
        let options = FindOptions { sort: None, projection: None, limit: Some(1) };
        let found = mongo::find(CONNECTION, JOBS, &of_job(&jid), &options)?;
        Ok(found.first().map(|document| original_load(document)))
    }

    /// Salt's module inserts a document for each retry of a minion: one counts.
    fn get_jid(jid: String) -> Result<Vec<MinionReturn>, Failure> {
        let options = FindOptions { sort: None, projection: Some(OF_RETURN.to_owned()), limit: None };
        let found = mongo::find(CONNECTION, RETURNS, &of_job(&jid), &options)?;
        let mut returns = BTreeMap::new();
        for document in found {
            let Some(read) = read(&document) else { continue };
            let resource = json::string_member(&read.full, "resource_id");
            returns.insert((read.minion.clone(), json::functions(&document), resource), read);
        }
        Ok(returns.into_values().collect())
    }

    /// Reads the newest returns, in steps, leaving out the minions that have one:
    /// `$first` in `$group` would do it at once, but not every server has it.
    fn get_fun(fun: String) -> Result<Vec<MinionReturn>, Failure> {
        let mut newest: BTreeMap<String, MinionReturn> = BTreeMap::new();
        let mut step = STEP;
        loop {
            let minions = json::array(newest.keys());
            let filter = format!(r#"{{"fun":{},"minion":{{"$nin":{minions}}}}}"#, of_fun(&fun));
            let options = FindOptions {
                sort: Some(r#"{"jid":-1}"#.to_owned()),
                projection: Some(OF_RETURN.to_owned()),
                limit: Some(step),
            };
            let found = mongo::find(CONNECTION, RETURNS, &filter, &options)?;
            let before = newest.len();
            let of_fun = |document: &&String| json::functions(document).as_ref() == Some(&fun);
            for read in found.iter().filter(of_fun).filter_map(|document| read(document)) {
                newest.entry(read.minion.clone()).or_insert(read);
            }
            if found.len() < usize::try_from(step).unwrap_or(usize::MAX) {
                return Ok(newest.into_values().collect());
            }
            if newest.len() == before {
                // Compound jobs only, which have the function among others.
                step = step.saturating_mul(2);
            }
        }
    }

    fn get_jids(limit: Option<u32>) -> Result<Vec<Job>, Failure> {
        let options = FindOptions { sort: Some(r#"{"jid":-1}"#.to_owned()), projection: None, limit };
        let found = mongo::find(CONNECTION, JOBS, "{}", &options)?;
        let job = |document: &String| {
            Some(Job { jid: json::string_member(document, "jid")?, load: original_load(document) })
        };
        Ok(found.iter().rev().filter_map(job).collect())
    }

    fn get_minions() -> Result<Vec<String>, Failure> {
        let group = [r#"{"$group":{"_id":"$minion"}}"#.to_owned()];
        let found = mongo::aggregate(CONNECTION, RETURNS, &group)?;
        let mut minions: Vec<String> =
            found.iter().filter_map(|document| json::string_member(document, "_id")).collect();
        minions.sort_unstable();
        Ok(minions)
    }

    /// A job whose id is no time stays.
    fn clean(before: u64) -> Result<u64, Failure> {
        let begun = Instant::now();
        let mut gone = 0;
        for collection in [RETURNS, JOBS] {
            let mut after = String::new();
            loop {
                let mut jids = jids_of(collection, &after, &jid::bound(before))?;
                let Some(last) = jids.last() else { break };
                after.clone_from(last);
                jids.retain(|jid| jid::is_before(jid, before));
                if jids.is_empty() {
                    continue;
                }
                let these = format!(r#"{{"jid":{{"$in":{}}}}}"#, json::array(&jids));
                mongo::delete(CONNECTION, RETURNS, &these)?;
                mongo::delete(CONNECTION, JOBS, &these)?;
                gone += jids.len() as u64;
                if gone > 0 && begun.elapsed() > PATIENCE {
                    return Ok(gone);
                }
            }
        }
        Ok(gone + mongo::delete(CONNECTION, EVENTS, &format!(r#"{{"accepted":{{"$lt":{before}}}}}"#))?)
    }
}

fn of_job(jid: &str) -> String {
    format!(r#"{{"jid":{}}}"#, json::quote(jid))
}

/// A condition that `fun` meets, and the list of a compound job that has these
/// functions and others.
fn of_fun(fun: &str) -> String {
    match fun.contains(',') {
        true => format!(r#"{{"$all":{}}}"#, json::array(fun.split(','))),
        false => json::quote(fun),
    }
}

fn read(document: &str) -> Option<MinionReturn> {
    Some(MinionReturn {
        minion: json::string_member(document, "minion")?,
        jid: json::string_member(document, "jid")?,
        full: original(document, "full_ret")?,
    })
}

/// The first job ids between two, in order, each once.
fn jids_of(collection: &str, after: &str, before: &str) -> Result<Vec<String>, Failure> {
    let filter = format!(r#"{{"jid":{{"$gt":{},"$lt":{}}}}}"#, json::quote(after), json::quote(before));
    let options = FindOptions {
        sort: Some(r#"{"jid":1}"#.to_owned()),
        projection: Some(r#"{"_id":0,"jid":1}"#.to_owned()),
        limit: Some(STEP),
    };
    let found = mongo::find(CONNECTION, collection, &filter, &options)?;
    let mut jids: Vec<String> =
        found.iter().filter_map(|document| json::string_member(document, "jid")).collect();
    jids.dedup();
    Ok(jids)
}
