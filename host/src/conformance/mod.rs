//! The conformance kit: the same checks for every plugin, whatever language it is written in.
//!
//! A check delivers as a lane does, to a guest at a [`Bench`](crate::plugins), and looks into
//! the stores afterwards: what was acknowledged is in them, once. So the oracle is what a
//! check without faults left in the same stores.
//!
//! # Invariants
//! - A store is only used if it was empty, because each check begins with empty stores.
//! - HTTP goes nowhere: a stand-in takes every request that is allowed.
//! - What could not be looked at is said, and is no success.

mod checks;
mod desk;
mod items;
mod report;
mod script;
mod stores;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

pub(crate) use self::report::{Checked, Report, Verdict};
use crate::connections::Connection;
use crate::plugins::{Bench, Grants, Plugin};

/// Connections by the plugin's names for them.
pub(crate) type Connections = BTreeMap<String, Arc<Connection>>;

/// What a guest is granted, with connections that are open.
pub(crate) trait Granting: Send + Sync {
    /// Connections to the stores; one in memory is a new one each time.
    fn connect(&self) -> Result<Connections, String>;

    fn grants(&self, connections: Connections, bench: Arc<dyn Bench>) -> Result<Grants, String>;
}

/// A plugin, and all that its checks need.
pub(crate) struct Kit<'k> {
    pub(crate) plugin: Arc<Plugin>,
    pub(crate) granting: &'k dyn Granting,
    /// SQL for tables that the plugin does not create itself.
    pub(crate) prepare: Vec<String>,
    /// How many calls the check of memory makes.
    pub(crate) calls: usize,
}

impl Kit<'_> {
    /// Runs the checks, each of which is `told` when it has ended.
    ///
    /// # Errors
    /// A store cannot be used, or is not empty.
    pub(crate) async fn run(&self, told: impl Fn(&Checked)) -> Result<Report, String> {
        let stores = stores::Stores::new(self.granting.connect()?);
        stores.claim().await?;
        let begun = Instant::now();
        let mut checked = Vec::new();
        for check in checks::ALL {
            let begun = Instant::now();
            let verdict = Box::pin(check.run(self)).await;
            let one = Checked { name: check.name(), about: check.about(), verdict, took: begun.elapsed() };
            told(&one);
            checked.push(one);
        }
        // For the next time.
        stores.empty(&[]).await?;
        Ok(Report { plugin: self.plugin.title(), checked, took: begun.elapsed() })
    }
}
