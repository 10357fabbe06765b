//! Stores in an SQLite file, in the tables of Salt's own `sqlite3` returner: as
//! Salt's manual makes them, or as `schema.sql` does, with a column more for the whole
//! return. Moments are in UTC.
//!
//! Each return is written once: see [`returner_sql::returns`].

mod table;
#[cfg(test)]
mod tests;

use returner_sdk::sql::{self, Value};
use returner_sdk::{
    Event, Events, Failure, Job, JobCache, JobLoad, JobMinions, JobReturn, Loads, MinionReturn, Outcome,
    Returner, jid, json,
};
use returner_sql::{CONNECTION, clean, events, job_cache, loads, returns, schema};

use crate::table::Table;

const SCHEMA: &str = include_str!("../schema.sql");

const INSERT: &str = "INSERT INTO `salt_returns` (`fun`, `jid`, `id`, `fun_args`, `date`, `full_ret`, `success`, `ret`) VALUES";

const INSERT_IN_SALTS: &str =
    "INSERT INTO `salt_returns` (`fun`, `jid`, `id`, `fun_args`, `date`, `full_ret`, `success`) VALUES";

struct Sqlite;

returner_sdk::export!(Sqlite, "sqlite");

impl Returner for Sqlite {
    fn setup() -> Result<(), Failure> {
        let statement = "SELECT `name` FROM `sqlite_master` WHERE `type` IN ('table', 'view')";
        let rows = sql::query(CONNECTION, statement, &[])?;
        schema::create(SCHEMA, &rows.into_texts().map(|[table]| table).collect())
    }
    fn store(batch: Vec<JobReturn>) -> Outcome {
        match Table::current()? {
            table @ Table::Ours => returns::store(&table, batch, INSERT, |item| Ok(row(item))),
            table @ Table::Salts => returns::store(&table, batch, INSERT_IN_SALTS, |item| {
                let [fun, jid, id, arguments, date, value, success, _] = row(item);
                Ok([fun, jid, id, arguments, date, value, success])
            }),
        }
    }
}

fn row(item: JobReturn) -> [Value; 8] {
    let arguments =
        json::member(&item.full, "fun_args").filter(|arguments| !matches!(*arguments, "[]" | "null"));
    [
        item.fun.into(),
        item.jid.into(),
        item.minion.into(),
        arguments.into(),
        jid::timestamp(item.accepted).into(),
        item.value.into(),
        // As Python's module writes a boolean into a text.
        if item.success { "1" } else { "0" }.into(),
        item.full.into(),
    ]
}

impl Loads for Sqlite {
    fn store(batch: Vec<JobLoad>) -> Outcome {
        loads::store(&Table::Ours, batch)
    }

    fn add_minions(batch: Vec<JobMinions>) -> Outcome {
        loads::add_minions(&Table::Ours, batch)
    }
}

impl Events for Sqlite {
    fn store(batch: Vec<Event>) -> Outcome {
        events::store(&Table::Ours, batch)
    }
}

impl JobCache for Sqlite {
    fn get_load(jid: String) -> Result<Option<String>, Failure> {
        job_cache::get_load(&Table::Ours, &jid)
    }

    fn get_jid(jid: String) -> Result<Vec<MinionReturn>, Failure> {
        job_cache::get_jid(&Table::current()?, &jid)
    }

    fn get_fun(fun: String) -> Result<Vec<MinionReturn>, Failure> {
        job_cache::get_fun(&Table::current()?, &fun)
    }

    fn get_jids(limit: Option<u32>) -> Result<Vec<Job>, Failure> {
        job_cache::get_jids(limit)
    }

    fn get_minions() -> Result<Vec<String>, Failure> {
        job_cache::get_minions()
    }

    fn clean(before: u64) -> Result<u64, Failure> {
        clean::clean::<Table>(before)
    }
}
