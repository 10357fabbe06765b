//! What the bundled returners for SQL databases have in common: Salt's tables
//! `jids`, `salt_returns` and `salt_events`, written once and read back.
//!
//! Every statement runs in the transaction of the call, which the host commits only
//! if the call succeeds. Nothing here knows which server it is; a [`Dialect`] does.

pub mod clean;
pub mod events;
pub mod job_cache;
pub mod loads;
pub mod returns;
pub mod schema;

use returner_sdk::sql::Value;
use returner_sdk::{Failure, JobReturn};

/// What the configuration calls the granted connection.
pub const CONNECTION: &str = "db";

/// A column whose texts may have to be fitted to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Column {
    /// `jids.jid`
    LoadJid,
    /// `jids.load`, JSON
    Load,
    /// `salt_returns.fun`
    Fun,
    /// `salt_returns.jid`
    Jid,
    /// `salt_returns.return`, JSON
    Return,
    /// `salt_returns.id`
    Id,
    /// `salt_returns.full_ret`, JSON
    FullRet,
    /// `salt_events.tag`
    Tag,
    /// `salt_events.data`, JSON
    Data,
    /// `salt_events.master_id`
    MasterId,
}

/// Where the databases differ.
pub trait Dialect {
    /// Ends an INSERT that leaves the row alone whose key is there already.
    const KEEP_FIRST: &'static str;

    /// Ends a SELECT that must see what another transaction is about to commit, and
    /// wait for it.
    const LOCK: &'static str;

    /// The column of `salt_returns` with the time at which a row was written.
    const WRITTEN: &'static str;

    /// A moment, made of the parameter that [`moment`](Self::moment) gives, to
    /// compare [`WRITTEN`](Self::WRITTEN) with.
    const MOMENT: &'static str;

    /// An hour before such a moment, or before the server's own where that is the earlier one.
    const SINCE: &'static str;

    /// The parameter for a moment in milliseconds since 1970-01-01 UTC.
    fn moment(millis: u64) -> Value;

    /// The text as the column takes it.
    ///
    /// # Errors
    /// It does not fit, and cannot be made to without a loss.
    fn fit(&self, column: Column, text: String) -> Result<String, Failure> {
        let _ = column;
        Ok(text)
    }

    /// Whether the column can have this text. One that it cannot have is not there, and some servers
    /// take it for an error to ask for it.
    ///
    /// # Errors
    /// The column cannot be told: its table is not there.
    fn can_have(&self, column: Column, text: &str) -> Result<bool, Failure> {
        match self.fit(column, text.to_owned()) {
            Ok(_) => Ok(true),
            Err(Failure::Reject(_)) => Ok(false),
            Err(failure @ Failure::Retry(_)) => Err(failure),
        }
    }

    /// The SQL expression of the data in a row of `salt_events`, as a text.
    fn data(&self) -> &'static str {
        "`data`"
    }

    /// What [`data`](Self::data) is in the row of an event whose data was made to
    /// [`fit`](Self::fit).
    ///
    /// # Errors
    /// The server's.
    fn told_data(&self, fitted: &str) -> Result<String, Failure> {
        Ok(fitted.to_owned())
    }

    /// The SQL expression of what stands in a column, which two rows have the same only if their
    /// texts are, but for spaces at the end. Comparing the columns themselves may leave out case or
    /// accents.
    fn exact(&self, column: Column, expression: &str) -> String {
        let _ = column;
        expression.to_owned()
    }

    /// Whether `salt_returns.fun` may have other functions as the same text as this one:
    /// those that are cut to it, if it is as long as the column or longer.
    fn is_shared(&self, fun: &str) -> bool {
        let _ = fun;
        false
    }

    /// The SQL expression of the whole return in a row of `salt_returns`.
    fn full(&self) -> &'static str;

    /// The SQL expression that tells one return of a job and minion from another.
    fn telling(&self) -> &'static str;

    /// What [`telling`](Self::telling) is in the row of this return. `None` if the return does
    /// not [`fit`](Self::fit), and so has none.
    ///
    /// # Errors
    /// The server's.
    fn told(&self, item: &JobReturn) -> Result<Option<String>, Failure>;
}
