//! Stores in MySQL and MariaDB, in the tables of Salt's own `mysql` returner: in
//! those of Salt's manual (`utf8` of three bytes, `fun varchar(50)`) as they are, and
//! in the better ones of `schema.sql`, which `setup` creates where tables are
//! missing.
//!
//! Each return is written once: see [`returner_sql::returns`].

mod columns;
mod fit;

use returner_sdk::sql::{self, Value};
use returner_sdk::{
    Event, Events, Failure, Job, JobCache, JobLoad, JobMinions, JobReturn, Loads, MinionReturn, Outcome,
    Returner, log,
};
use returner_sql::{CONNECTION, Column, Dialect, clean, events, job_cache, loads, returns, schema};

use crate::columns::Columns;

const SCHEMA: &str = include_str!("../schema.sql");

const INSERT: &str =
    "INSERT INTO `salt_returns` (`fun`, `jid`, `return`, `id`, `success`, `full_ret`) VALUES";

struct Mysql;

returner_sdk::export!(Mysql, "mysql");

impl Returner for Mysql {
    fn setup() -> Result<(), Failure> {
        // A user without the right to create tables is fine where they are there.
        let statement =
            "SELECT `table_name` FROM `information_schema`.`tables` WHERE `table_schema` = DATABASE()";
        let rows = sql::query(CONNECTION, statement, &[])?;
        schema::create(SCHEMA, &rows.into_texts().map(|[table]| table).collect())?;
        if Columns::with(|columns| Ok(columns.are_salts()))? {
            log::warn(
                "the tables are those of Salt's manual: names of functions over 50 characters are cut there, and \
                 job ids, minions and tags that a column does not take are rejected; `returner schema mysql` prints \
                 better ones",
            );
        }
        Ok(())
    }

    fn store(batch: Vec<JobReturn>) -> Outcome {
        Columns::with(|columns| returns::store(columns, batch, INSERT, |item| row(columns, item)))
    }
}

fn row(columns: &Columns, item: JobReturn) -> Result<[Value; 6], Failure> {
    let fit = |column, text| columns.fit(column, text).map(Value::Text);
    Ok([
        fit(Column::Fun, item.fun)?,
        fit(Column::Jid, item.jid)?,
        fit(Column::Return, item.value)?,
        fit(Column::Id, item.minion)?,
        // As Python's drivers write a boolean into a text.
        if item.success { "1" } else { "0" }.into(),
        fit(Column::FullRet, item.full)?,
    ])
}

impl Dialect for Columns {
    // IGNORE would also ignore that a text does not fit.
    const KEEP_FIRST: &'static str = "ON DUPLICATE KEY UPDATE `jid` = `jids`.`jid`";
    const LOCK: &'static str = " FOR UPDATE";
    const WRITTEN: &'static str = "`alter_time`";
    const MOMENT: &'static str = "FROM_UNIXTIME(?)";
    const SINCE: &'static str = "FROM_UNIXTIME(GREATEST(LEAST(?, UNIX_TIMESTAMP()), 3600) - 3600)";

    fn moment(millis: u64) -> Value {
        Value::Integer(i64::try_from(millis / 1000).unwrap_or(i64::MAX))
    }

    fn fit(&self, column: Column, text: String) -> Result<String, Failure> {
        self.fit(column, text)
    }

    fn exact(&self, column: Column, expression: &str) -> String {
        if self.is_exact(column) {
            expression.to_owned()
        } else {
            format!("CAST(CONVERT({expression} USING utf8mb4) AS BINARY)")
        }
    }

    fn is_shared(&self, fun: &str) -> bool {
        self.is_shared(fun)
    }

    fn full(&self) -> &'static str {
        "`full_ret`"
    }

    fn data(&self) -> &'static str {
        if self.is_json(Column::Data) { "CAST(`data` AS CHAR)" } else { "`data`" }
    }

    fn told_data(&self, fitted: &str) -> Result<String, Failure> {
        if self.is_json(Column::Data) { in_its_words(fitted) } else { Ok(fitted.to_owned()) }
    }

    fn telling(&self) -> &'static str {
        "`full_ret`"
    }

    fn told(&self, item: &JobReturn) -> Result<Option<String>, Failure> {
        match self.fit(Column::FullRet, item.full.clone()) {
            Ok(full) if self.is_json(Column::FullRet) => in_its_words(&full).map(Some),
            Ok(full) => Ok(Some(full)),
            Err(_) => Ok(None),
        }
    }
}

/// What a column of MySQL's own type `json` makes of a text: it has another order of
/// keys, other spaces, and other words for some numbers.
fn in_its_words(json: &str) -> Result<String, Failure> {
    let rows = sql::query(CONNECTION, "SELECT CAST(CAST(? AS JSON) AS CHAR)", &[json.into()])?;
    Ok(rows.into_texts().next().map(|[text]| text).unwrap_or_default())
}

impl Loads for Mysql {
    fn store(batch: Vec<JobLoad>) -> Outcome {
        Columns::with(|columns| loads::store(columns, batch))
    }

    fn add_minions(batch: Vec<JobMinions>) -> Outcome {
        Columns::with(|columns| loads::add_minions(columns, batch))
    }
}

impl Events for Mysql {
    fn store(batch: Vec<Event>) -> Outcome {
        Columns::with(|columns| events::store(columns, batch))
    }
}

impl JobCache for Mysql {
    fn get_load(jid: String) -> Result<Option<String>, Failure> {
        Columns::with(|columns| job_cache::get_load(columns, &jid))
    }

    fn get_jid(jid: String) -> Result<Vec<MinionReturn>, Failure> {
        Columns::with(|columns| job_cache::get_jid(columns, &jid))
    }

    fn get_fun(fun: String) -> Result<Vec<MinionReturn>, Failure> {
        Columns::with(|columns| job_cache::get_fun(columns, &fun))
    }

    fn get_jids(limit: Option<u32>) -> Result<Vec<Job>, Failure> {
        job_cache::get_jids(limit)
    }

    fn get_minions() -> Result<Vec<String>, Failure> {
        job_cache::get_minions()
    }

    fn clean(before: u64) -> Result<u64, Failure> {
        clean::clean::<Columns>(before)
    }
}
