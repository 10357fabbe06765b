//! What of a granted connection a guest can use, where the configuration says so.
//!
//! # Invariants
//! - What is not understood is refused: a statement that does not parse, a form of it that
//!   nobody thought of, a command whose keys are not known.
//! - A refusal changes nothing: it comes before the server hears of the call.
//!
//! It narrows what the server lets the host's own user do. A user with few rights is the
//! second wall behind it, and never harms.

mod mongo;
mod readings;
mod redis;
mod sql;

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use crate::config::{ANY, Actions, Narrowing};
use crate::connections::TableGrants;

use readings::Readings;
use sql::{Dialect, SqlRules};

pub(super) use mongo::writes;
pub(super) use redis::of_the_server;
pub(super) use sql::Reached;

/// What of one connection a guest can use.
#[derive(Debug)]
pub(crate) struct Narrowed(Rules);

#[derive(Debug)]
enum Rules {
    Sql(Arc<SqlRules>, Readings),
    Redis { commands: BTreeSet<String>, keys: BTreeSet<String> },
    Mongo(Actions),
}

impl Narrowed {
    /// `kind` is the connection's; see [`Connection::kind`](crate::connections::Connection).
    pub(crate) fn new(narrowing: &Narrowing, kind: &str) -> Self {
        Self(match narrowing.clone() {
            Narrowing::Tables(granted) => {
                Rules::Sql(Arc::new(SqlRules::new(Dialect::of(kind), granted)), Readings::default())
            }
            Narrowing::Redis { commands, keys } => Rules::Redis { commands, keys },
            Narrowing::Collections(granted) => Rules::Mongo(granted),
        })
    }

    /// What it grants in vain: Redis commands that are not let through under a narrowing.
    pub(crate) fn never(&self) -> Vec<String> {
        match &self.0 {
            Rules::Redis { commands, .. } => redis::never(commands),
            Rules::Sql(..) | Rules::Mongo(_) => Vec::new(),
        }
    }

    pub(super) async fn allows_statement(&self, statement: &str) -> Result<(), Refused> {
        let Rules::Sql(rules, readings) = &self.0 else { return Err(Refused("SQL".to_owned())) };
        if let Some(known) = rules.known(statement) {
            return known;
        }
        let (rules, statement) = (Arc::clone(rules), statement.to_owned());
        readings.read(move || rules.allows(&statement)).await
    }

    /// What is granted on tables, for a database that judges for itself.
    pub(super) fn tables(&self) -> Option<Arc<dyn TableGrants>> {
        match &self.0 {
            Rules::Sql(rules, _) => Some(Arc::clone(rules) as Arc<dyn TableGrants>),
            Rules::Redis { .. } | Rules::Mongo(_) => None,
        }
    }

    pub(super) fn allows_commands(&self, pipeline: &[Vec<Vec<u8>>]) -> Result<(), Refused> {
        match &self.0 {
            Rules::Redis { commands, keys } => {
                pipeline.iter().try_for_each(|command| redis::allows(commands, keys, command))
            }
            _ => Err(Refused("Redis".to_owned())),
        }
    }

    pub(super) fn allows_scan(&self, pattern: &str) -> Result<(), Refused> {
        match &self.0 {
            Rules::Redis { commands, keys } => redis::allows_scan(commands, keys, pattern),
            _ => Err(Refused("Redis".to_owned())),
        }
    }

    pub(super) fn allows_action(
        &self,
        action: &'static str,
        collection: &str,
        pipeline: &[String],
    ) -> Result<(), Refused> {
        match &self.0 {
            Rules::Mongo(rules) => mongo::allows(rules, action, collection, pipeline),
            _ => Err(Refused("MongoDB".to_owned())),
        }
    }
}

/// What a statement reaches on a connection of this kind, whatever is granted of it. Read as
/// [`Narrowed::allows_statement`] reads.
pub(super) async fn reached(kind: &str, statement: &str) -> Result<Reached, Refused> {
    static OF_TRIALS: LazyLock<Readings> = LazyLock::new(Readings::default);
    let (dialect, statement) = (Dialect::of(kind), statement.to_owned());
    OF_TRIALS.read(move || sql::reached(dialect, &statement)).await
}

/// Why a call is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Refused(String);

/// Whether an action is granted on a name. Its own entry says all of it; `ANY` is for names
/// without one, but not for what is `special`.
fn granted(actions: &Actions, name: &str, action: &str, special: bool) -> bool {
    let any = || actions.get(ANY).filter(|_| !special);
    actions.get(name).or_else(any).is_some_and(|granted: &BTreeSet<String>| granted.contains(action))
}
