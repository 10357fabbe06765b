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

use self::checks::Check;
pub(crate) use self::report::{Checked, Report, Verdict};
use self::stores::Stores;
use crate::config::{ConnectionSettings, ReturnerSettings};
use crate::plugins::Plugin;

/// A plugin, and all that its checks need.
pub(crate) struct Kit {
    pub(crate) plugin: Arc<Plugin>,
    /// What it is granted.
    pub(crate) settings: ReturnerSettings,
    /// Its stores, by its names for the connections; one in memory is a new one each time.
    pub(crate) connections: BTreeMap<String, ConnectionSettings>,
    /// SQL for tables that the plugin does not create itself.
    pub(crate) prepare: Vec<String>,
    /// How many calls the check of memory makes.
    pub(crate) calls: usize,
    /// The body of what the stand-in answers to each request by HTTP.
    pub(crate) http_answer: Vec<u8>,
}

impl Kit {
    /// Runs the checks, each of which is `told` when it has ended.
    ///
    /// # Errors
    /// A store cannot be used, or is not empty.
    pub(crate) async fn run(&self, told: impl Fn(&Checked)) -> Result<Report, String> {
        let stores = Stores::open(self)?;
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
        // That check looks for each item in what was stored and sent.
        let is_blind = |checked: &Checked| {
            checked.name == Check::Batches.name() && matches!(checked.verdict, Verdict::NotTried(_))
        };
        let seen = !checked.iter().any(is_blind);
        Ok(Report { plugin: self.plugin.title(), seen, checked, took: begun.elapsed() })
    }
}
