//! SQLite's dialect, and which `salt_returns` there is.

use returner_sdk::sql::{self, Value};
use returner_sdk::{Failure, JobReturn, jid};
use returner_sql::{CONNECTION, Dialect};

/// Who made the table `salt_returns`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    /// It is that of `schema.sql`, with the whole return in `ret`.
    Ours,
    /// It is that of Salt's manual, with what the function returned.
    Salts,
}

impl Table {
    /// Asks the database, which takes microseconds: it may be another one since the
    /// last call.
    pub(crate) fn current() -> Result<Self, Failure> {
        let statement = "SELECT `name` FROM pragma_table_info('salt_returns') WHERE `name` = 'ret'";
        let rows = sql::query(CONNECTION, statement, &[])?;
        Ok(if rows.rows.is_empty() { Self::Salts } else { Self::Ours })
    }
}

/// The whole return, made of what Salt's module wrote.
macro_rules! of_salts_columns {
    () => {
        "'{\"jid\":' || json_quote(`jid`) || ',\"id\":' || json_quote(`id`) || ',\"fun\":' || json_quote(`fun`) \
         || ',\"return\":' || `full_ret` \
         || CASE `success` WHEN '1' THEN ',\"success\":true' WHEN '0' THEN ',\"success\":false' ELSE '' END || '}'"
    };
}

impl Dialect for Table {
    const KEEP_FIRST: &'static str = "ON CONFLICT DO NOTHING";
    // There is one writer at a time.
    const LOCK: &'static str = "";
    const WRITTEN: &'static str = "`date`";
    const MOMENT: &'static str = "?";
    const SINCE: &'static str =
        "strftime('%Y-%m-%d %H:%M:%f', min(?, strftime('%Y-%m-%d %H:%M:%f', 'now')), '-1 hour')";

    fn moment(millis: u64) -> Value {
        jid::timestamp(millis).into()
    }

    fn full(&self) -> &'static str {
        match self {
            Self::Ours => concat!("COALESCE(`ret`, ", of_salts_columns!(), ")"),
            Self::Salts => of_salts_columns!(),
        }
    }

    fn telling(&self) -> &'static str {
        match self {
            Self::Ours => "`ret`",
            // What was returned is not enough: other functions of a job return the same.
            Self::Salts => "`fun` || char(10) || `date` || char(10) || `full_ret`",
        }
    }

    fn told(&self, item: &JobReturn) -> Result<Option<String>, Failure> {
        Ok(Some(match self {
            Self::Ours => item.full.clone(),
            Self::Salts => format!("{}\n{}\n{}", item.fun, jid::timestamp(item.accepted), item.value),
        }))
    }
}
