//! The job cache.

use returner_sdk::{Failure, Job, JobCache, MinionReturn, sql};

use super::{Broken, DB, breaks};

pub(super) fn load(jid: &str) -> Result<Option<String>, Failure> {
    let found = sql::query(DB, "SELECT whole FROM loads WHERE jid = ?", &[jid.into()])?;
    Ok(found.into_texts().map(|[whole]| whole).next())
}

fn answers(condition: &str, value: &str) -> Result<Vec<MinionReturn>, Failure> {
    let column = if breaks("read-your-writes") { "jid" } else { "whole" };
    let statement = format!("SELECT minion, jid, {column} FROM answers WHERE {condition}");
    let found = match sql::query(DB, &statement, &[value.into()]) {
        Err(_) if breaks("question-faults") => return Ok(vec![]),
        found => found?,
    };
    Ok(found.into_texts().map(|[minion, jid, full]| MinionReturn { minion, jid, full }).collect())
}

impl JobCache for Broken {
    fn get_load(jid: String) -> Result<Option<String>, Failure> {
        load(&jid)
    }

    fn get_jid(jid: String) -> Result<Vec<MinionReturn>, Failure> {
        answers("jid = ?", &jid)
    }

    fn get_fun(fun: String) -> Result<Vec<MinionReturn>, Failure> {
        let newest = "jid = (SELECT MAX(jid) FROM answers b WHERE b.minion = answers.minion AND b.fun = ?)";
        answers(newest, &fun)
    }

    fn get_jids(limit: Option<u32>) -> Result<Vec<Job>, Failure> {
        let limit = limit.map_or(-1, i64::from);
        let found =
            sql::query(DB, "SELECT jid, whole FROM loads ORDER BY jid DESC LIMIT ?", &[limit.into()])?;
        let mut jobs: Vec<Job> = found.into_texts().map(|[jid, load]| Job { jid, load }).collect();
        jobs.reverse();
        Ok(jobs)
    }

    fn get_minions() -> Result<Vec<String>, Failure> {
        let found = sql::query(DB, "SELECT DISTINCT minion FROM answers", &[])?;
        Ok(found.into_texts().map(|[minion]| minion).collect())
    }

    fn clean(_: u64) -> Result<u64, Failure> {
        let gone = sql::execute(DB, "DELETE FROM loads", &[])?;
        sql::execute(DB, "DELETE FROM answers", &[])?;
        Ok(gone)
    }
}
