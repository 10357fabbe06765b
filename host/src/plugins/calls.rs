//! The calls of the contract, in the host's own words.

use super::contract::exports::salt::returner::about::Description;
use super::contract::exports::salt::returner::job_cache::{Job, MinionReturn};
use super::contract::salt::returner::types as wit;
use super::instance::{CallError, Instance};
use super::load::Interface;
use super::words;
use crate::connections::Purpose;
use crate::items::{Failure, Item, Kind, Refusal};

use std::time::Duration;

/// An item on its way into a guest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Delivery<'a> {
    pub(crate) item: &'a Item,
    /// Milliseconds since 1970-01-01 UTC.
    pub(crate) accepted: u64,
    pub(crate) redelivered: bool,
}

impl Instance {
    pub(crate) async fn describe(&mut self) -> Result<Description, CallError> {
        let call = async |store: &mut _, guest: &_, exports: &super::Exports| {
            let Some(indices) = &exports.about else { wasmtime::bail!("`about` is not exported") };
            Ok(Ok(indices.load(&mut *store, guest)?.call_describe(store).await?))
        };
        self.call(Purpose::Read, call, |_| Ok(())).await
    }

    /// Runs `lifecycle.setup`, where there is one.
    pub(crate) async fn setup(&mut self) -> Result<(), CallError> {
        let call = async |store: &mut _, guest: &_, exports: &super::Exports| {
            let Some(indices) = &exports.lifecycle else { return Ok(Ok(())) };
            let answer = indices.load(&mut *store, guest)?.call_setup(store).await?;
            Ok(answer.map_err(Failure::from))
        };
        self.call(Purpose::Write, call, |()| Ok(())).await
    }

    /// Stores a batch of items of one kind; gives those that were not stored.
    pub(crate) async fn store(
        &mut self,
        kind: Kind,
        batch: &[Delivery<'_>],
    ) -> Result<Vec<Refusal>, CallError> {
        let call = async |store: &mut _, instance: &_, exports: &super::Exports| {
            let answer = match kind {
                Kind::Return => {
                    let returns = exports.returns.load(&mut *store, instance)?;
                    let keys: Vec<String> = batch.iter().map(key).collect();
                    let batch: Vec<_> = batch.iter().zip(&keys).filter_map(job_return).collect();
                    returns.call_store(store, &batch).await?
                }
                Kind::Load => {
                    let Some(indices) = &exports.loads else { return Ok(Err(missing(Interface::Loads))) };
                    let loads = indices.load(&mut *store, instance)?;
                    let names = Names::of(batch);
                    loads.call_store(store, &names.loads()).await?
                }
                Kind::Minions => {
                    let Some(indices) = &exports.loads else { return Ok(Err(missing(Interface::Loads))) };
                    let loads = indices.load(&mut *store, instance)?;
                    let names = Names::of(batch);
                    loads.call_add_minions(store, &names.minions()).await?
                }
                Kind::Event => {
                    let Some(indices) = &exports.events else { return Ok(Err(missing(Interface::Events))) };
                    let events = indices.load(&mut *store, instance)?;
                    let keys: Vec<String> = batch.iter().map(key).collect();
                    let batch: Vec<_> = batch.iter().zip(&keys).filter_map(event).collect();
                    events.call_store(store, &batch).await?
                }
            };
            let refusals = answer.map(|refusals| refusals.into_iter().map(Refusal::from).collect::<Vec<_>>());
            Ok(refusals.map_err(Failure::from))
        };
        self.call(Purpose::Write, call, |refusals| check_refusals(refusals, batch.len())).await
    }
}

macro_rules! job_cache_call {
    ($(#[$doc:meta])* $purpose:ident $name:ident, $call:ident, ($($arg:ident: $type:ty),*), $answer:ty) => {
        $(#[$doc])*
        pub(crate) async fn $name(&mut self $(, $arg: $type)*) -> Result<$answer, CallError> {
            if self.plugin().indices.job_cache.is_none() {
                return Err(CallError::Missing(Interface::JobCache));
            }
            let call = async |store: &mut _, guest: &_, exports: &super::Exports| {
                let Some(indices) = &exports.job_cache else { wasmtime::bail!("`job-cache` is not exported") };
                let answer = indices.load(&mut *store, guest)?.$call(store $(, $arg)*).await?;
                Ok(answer.map_err(Failure::from))
            };
            self.call(Purpose::$purpose, call, |_| Ok(())).await
        }
    };
}

impl Instance {
    job_cache_call!(Read get_load, call_get_load, (jid: &str), Option<String>);
    job_cache_call!(Read get_jid, call_get_jid, (jid: &str), Vec<MinionReturn>);
    job_cache_call!(Read get_fun, call_get_fun, (fun: &str), Vec<MinionReturn>);
    job_cache_call!(Read get_jids, call_get_jids, (limit: Option<u32>), Vec<Job>);
    job_cache_call!(Read get_minions, call_get_minions, (), Vec<String>);
    job_cache_call!(Write clean, call_clean, (before: u64), u64);
}

fn missing(interface: Interface) -> Failure {
    Failure::Reject(format!("the plugin does not export `{interface}`"))
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

fn key(delivery: &Delivery<'_>) -> String {
    match delivery.item {
        Item::Return(item) => item.key.to_string(),
        Item::Event(item) => item.key.to_string(),
        Item::Load(_) | Item::Minions(_) => String::new(),
    }
}

fn job_return<'a>((delivery, key): (&Delivery<'a>, &'a String)) -> Option<wit::JobReturn<'a>> {
    let Item::Return(item) = delivery.item else { return None };
    Some(wit::JobReturn {
        jid: &item.jid,
        minion: &item.minion,
        fun: &item.fun,
        success: item.success,
        retcode: item.retcode,
        value: item.value(),
        full: &item.full,
        key,
        accepted: delivery.accepted,
        redelivered: delivery.redelivered,
    })
}

fn event<'a>((delivery, key): (&Delivery<'a>, &'a String)) -> Option<wit::Event<'a>> {
    let Item::Event(item) = delivery.item else { return None };
    Some(wit::Event {
        tag: &item.tag,
        data: item.data(),
        master: item.master.as_deref().unwrap_or_default(),
        key,
        accepted: delivery.accepted,
        redelivered: delivery.redelivered,
    })
}

/// The minions of loads as slices, which the records borrow.
struct Names<'a>(Vec<(Delivery<'a>, Vec<&'a str>)>);

impl<'a> Names<'a> {
    fn of(batch: &[Delivery<'a>]) -> Self {
        let minions = |delivery: &Delivery<'a>| match delivery.item {
            Item::Load(item) => item.minions.iter().map(String::as_str).collect(),
            Item::Minions(item) => item.minions.iter().map(String::as_str).collect(),
            Item::Return(_) | Item::Event(_) => Vec::new(),
        };
        Self(batch.iter().map(|delivery| (*delivery, minions(delivery))).collect())
    }

    fn loads(&self) -> Vec<wit::JobLoad<'_>> {
        let mut loads = Vec::with_capacity(self.0.len());
        for (delivery, minions) in &self.0 {
            let Item::Load(item) = delivery.item else { continue };
            loads.push(wit::JobLoad {
                jid: &item.jid,
                fun: &item.fun,
                full: &item.full,
                minions,
                accepted: delivery.accepted,
                redelivered: delivery.redelivered,
            });
        }
        loads
    }

    fn minions(&self) -> Vec<wit::JobMinions<'_>> {
        let mut all = Vec::with_capacity(self.0.len());
        for (delivery, minions) in &self.0 {
            let Item::Minions(item) = delivery.item else { continue };
            all.push(wit::JobMinions {
                jid: &item.jid,
                minions,
                accepted: delivery.accepted,
                redelivered: delivery.redelivered,
            });
        }
        all
    }
}

impl From<wit::Failure> for Failure {
    fn from(failure: wit::Failure) -> Self {
        match failure {
            wit::Failure::Retry(retry) => Failure::Retry {
                message: words::line(&retry.message),
                after: retry.after.map(|millis| Duration::from_millis(millis.into())),
            },
            wit::Failure::Reject(reason) => Failure::Reject(words::line(&reason)),
        }
    }
}

impl From<wit::Refusal> for Refusal {
    fn from(refusal: wit::Refusal) -> Self {
        Refusal { index: refusal.index as usize, failure: refusal.failure.into() }
    }
}
