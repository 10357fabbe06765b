//! What the master asks, when this is its job cache.

use returner_sdk::sql::{self, Value};
use returner_sdk::{Failure, Job, JobCache, MinionReturn, jid};

use crate::column::json_of;
use crate::{DB, Postgres, cut};

/// The column `fun` may have the beginning only.
const WHOLE_FUN: &str = "coalesce(CASE jsonb_typeof(full_ret->'fun') \
    WHEN 'array' THEN array_to_string(ARRAY(SELECT jsonb_array_elements_text(full_ret->'fun')), ',') \
    ELSE full_ret->>'fun' END, fun)";

impl JobCache for Postgres {
    fn get_load(jid: String) -> Result<Option<String>, Failure> {
        let rows = sql::query(DB, "SELECT load::text FROM jids WHERE jid = ?", &[jid.into()])?;
        Ok(rows.into_texts().next().map(|[load]| json_of(&load)))
    }

    fn get_jid(jid: String) -> Result<Vec<MinionReturn>, Failure> {
        returns(
            "DISTINCT ON (id, fun, full_ret->'resource_id')",
            "jid = ? ORDER BY id, fun, full_ret->'resource_id'",
            [jid.into()],
        )
    }

    fn get_fun(fun: String) -> Result<Vec<MinionReturn>, Failure> {
        let newest = format!("fun = ? AND {WHOLE_FUN} = ? ORDER BY id, jid DESC");
        returns("DISTINCT ON (id)", &newest, [cut(&fun).into(), fun.into()])
    }

    fn get_jids(limit: Option<u32>) -> Result<Vec<Job>, Failure> {
        let limit = limit.map_or(Value::Null, |limit| Value::Integer(limit.into()));
        let rows = sql::query(DB, "SELECT jid, load::text FROM jids ORDER BY jid DESC LIMIT ?", &[limit])?;
        let mut jobs: Vec<Job> =
            rows.into_texts().map(|[jid, load]| Job { jid, load: json_of(&load) }).collect();
        jobs.reverse();
        Ok(jobs)
    }

    fn get_minions() -> Result<Vec<String>, Failure> {
        let rows = sql::query(DB, "SELECT DISTINCT id FROM salt_returns ORDER BY id", &[])?;
        Ok(rows.into_texts().map(|[minion]| minion).collect())
    }

    /// A job whose id is no time stays.
    fn clean(before: u64) -> Result<u64, Failure> {
        let (jid, at) = (Value::from(jid::bound(before)), Value::from(jid::timestamp(before)));
        let old = "jid < ? AND jid ~ '^[0-9]{20}(_|$)'";
        sql::execute(DB, &format!("DELETE FROM salt_returns WHERE {old}"), std::slice::from_ref(&jid))?;
        let jobs = sql::execute(DB, &format!("DELETE FROM jids WHERE {old}"), &[jid])?;
        let events = sql::execute(DB, "DELETE FROM salt_events WHERE alter_time < ?", &[at])?;
        Ok(jobs + events)
    }
}

fn returns<const N: usize>(which: &str, of: &str, values: [Value; N]) -> Result<Vec<MinionReturn>, Failure> {
    let statement =
        format!("SELECT {which} id, jid, full_ret::text FROM salt_returns WHERE {of}, alter_time DESC");
    let rows = sql::query(DB, &statement, &values)?;
    let answer = |[minion, jid, full]: [String; 3]| MinionReturn { minion, jid, full: json_of(&full) };
    Ok(rows.into_texts().map(answer).collect())
}
