//! The calls of the contract, in the host's own words.

use super::contract::{About, Job, MinionReturn};
use super::instance::{CallError, Instance};
use super::load::Interface;
use crate::connections::Purpose;
use crate::items::{Item, Kind, Refusal};

/// An item on its way into a guest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Delivery<'a> {
    pub(crate) item: &'a Item,
    /// Milliseconds since 1970-01-01 UTC.
    pub(crate) accepted: u64,
    pub(crate) redelivered: bool,
}

/// One call: runs it within the limits, checks its answer, and commits.
macro_rules! call {
    ($instance:ident, $purpose:ident, $name:ident($($arg:expr),*), $check:expr) => {{
        let time = $instance.begin(Purpose::$purpose);
        let calls = &$instance.plugin.calls;
        let answer = calls.$name(&mut $instance.store, &$instance.guest $(, $arg)*);
        let answer = tokio::time::timeout(time, answer).await;
        $instance.end(answer, $check).await
    }};
}

/// A question to the job cache.
macro_rules! question {
    ($purpose:ident $name:ident($($arg:ident: $type:ty)?) -> $answer:ty) => {
        pub(crate) async fn $name(&mut self $(, $arg: $type)?) -> Result<$answer, CallError> {
            if !self.plugin.exports.contains(&Interface::JobCache) {
                return Err(CallError::Missing(Interface::JobCache));
            }
            call!(self, $purpose, $name($($arg)?), |_| Ok(()))
        }
    };
}

impl Instance {
    pub(crate) async fn describe(&mut self) -> Result<About, CallError> {
        call!(self, Read, describe(), |_| Ok(()))
    }

    /// Runs `lifecycle.setup`, where there is one.
    pub(crate) async fn setup(&mut self) -> Result<(), CallError> {
        call!(self, SetUp, setup(), |()| Ok(()))
    }

    /// Stores a batch of items of one kind; gives those that were not stored.
    pub(crate) async fn store(
        &mut self,
        kind: Kind,
        batch: &[Delivery<'_>],
    ) -> Result<Vec<Refusal>, CallError> {
        call!(self, Write, store(kind, batch), |refusals| check_refusals(refusals, batch.len()))
    }

    question!(Read get_load(jid: &str) -> Option<String>);
    question!(Read get_jid(jid: &str) -> Vec<MinionReturn>);
    question!(Read get_fun(fun: &str) -> Vec<MinionReturn>);
    question!(Read get_jids(limit: Option<u32>) -> Vec<Job>);
    question!(Read get_minions() -> Vec<String>);
    question!(Write clean(before: u64) -> u64);
}

fn check_refusals(refusals: &[Refusal], batch: usize) -> Result<(), String> {
    let mut refused = vec![false; batch];
    for refusal in refusals {
        match refused.get_mut(refusal.index) {
            Some(twice) if *twice => return Err(format!("it refused the item {} twice", refusal.index)),
            Some(refused) => *refused = true,
            None => return Err(format!("it refused the item {} of a batch of {batch}", refusal.index)),
        }
    }
    Ok(())
}
