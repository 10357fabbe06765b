//! One guest at work at a bench: items are delivered to it as a lane does, and what stands in
//! its stores afterwards is looked at.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::script::Script;
use super::stores::{Content, Stores};
use super::{Kit, items};
use crate::items::{Failure, Item, Kind, Refusal};
use crate::plugins::{Bench, CallError, Delivery, Fault, Grants, Instance, Interface, advice};

/// The most lines that are shown of what a guest printed before it was stopped.
const PRINTED: usize = 6;

/// What languages print around the cause.
const NOISE: [&str; 5] = [
    "Python function threw an unexpected exception",
    "Redirecting call to abort()",
    "RUST_BACKTRACE",
    "thread '<unnamed>'",
    "Traceback (most recent call last)",
];

/// How often what is to be tried again is delivered again.
const ROUNDS: usize = 5;

pub(super) struct Desk<'k> {
    kit: &'k Kit,
    pub(super) script: Arc<Script>,
    pub(super) stores: Stores,
    grants: Arc<Grants>,
    instance: Instance,
    /// The job ids of what was delivered.
    jids: BTreeSet<String>,
}

/// What became of items that were delivered until none was to be tried again.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// Those that were rejected, and why.
    pub(super) rejected: Vec<(String, String)>,
}

impl<'k> Desk<'k> {
    /// A guest with empty stores, set up.
    pub(super) async fn new(kit: &'k Kit) -> Result<Self, String> {
        let mut desk = Self::before_setup(kit).await?;
        desk.setup().await.map_err(|error| format!("`setup`: {}", told(&error)))?;
        Ok(desk)
    }

    pub(super) async fn before_setup(kit: &'k Kit) -> Result<Self, String> {
        let script = Arc::new(Script::new(&kit.http_answer));
        let stores = Stores::open(kit)?;
        stores.empty(&kit.prepare).await?;
        let grants = Grants::of(&kit.settings, stores.connections.clone());
        let bench = Arc::clone(&script) as Arc<dyn Bench>;
        let grants = Grants { bench: Some(bench), ..grants.map_err(|error| error.to_string())? };
        let grants = Arc::new(grants);
        let instance = Instance::new(&kit.plugin, &grants).await;
        let instance = instance.map_err(|error| format!("it cannot be begun: {}", told(&error)))?;
        Ok(Self { kit, script, stores, grants, instance, jids: BTreeSet::new() })
    }

    pub(super) async fn setup(&mut self) -> Result<(), CallError> {
        self.revive().await?;
        self.instance.setup().await
    }

    pub(super) fn exports(&self, interface: Interface) -> bool {
        self.kit.plugin.exports.contains(&interface)
    }

    /// The guest itself, for a question.
    pub(super) fn instance(&mut self) -> &mut Instance {
        &mut self.instance
    }

    pub(super) fn memory(&self) -> usize {
        self.instance.memory()
    }

    pub(super) fn memory_limit(&self) -> u64 {
        self.grants.limits.memory
    }

    /// One call, in which the call of the host of this number fails.
    pub(super) async fn deliver_with(
        &mut self,
        items: &[Item],
        fault: Option<(usize, Fault)>,
    ) -> Result<Vec<Refusal>, CallError> {
        self.script.begin(fault);
        let result = self.deliver(items, false).await;
        self.script.disarm();
        result
    }

    /// One call. Items of one kind.
    pub(super) async fn deliver(
        &mut self,
        items: &[Item],
        redelivered: bool,
    ) -> Result<Vec<Refusal>, CallError> {
        self.revive().await?;
        self.jids.extend(items.iter().filter_map(jid));
        let given =
            |item: &Item| Delivery { given: Arc::new(item.clone()), accepted: items::ACCEPTED, redelivered };
        let batch = items.iter().map(given).collect();
        let Some(first) = items.first() else { return Ok(Vec::new()) };
        self.instance.store(first.kind(), batch).await
    }

    /// A call without items.
    pub(super) async fn deliver_nothing(&mut self, kind: Kind) -> Result<Vec<Refusal>, CallError> {
        self.revive().await?;
        self.instance.store(kind, Vec::new()).await
    }

    /// What a lane does with what is to be tried again after a call.
    pub(super) async fn settle(
        &mut self,
        items: &[Item],
        mut result: Result<Vec<Refusal>, CallError>,
    ) -> Result<Settled, String> {
        let mut settled = Settled::default();
        let mut left: Vec<Item> = items.to_vec();
        for _ in 0..ROUNDS {
            left = match result {
                Ok(refusals) => settled.sort(&left, refusals),
                Err(CallError::Failed(Failure::Reject(reason))) => {
                    settled.rejected.extend(left.iter().map(|item| (item.title(), reason.clone())));
                    return Ok(settled);
                }
                Err(error @ CallError::Stopped(_)) => return Err(told(&error)),
                Err(_) => left,
            };
            if left.is_empty() {
                return Ok(settled);
            }
            result = self.deliver(&left, true).await;
        }
        Err(format!(
            "{} of {} were still to be tried again after {ROUNDS} deliveries",
            left.len(),
            items.len()
        ))
    }

    /// Delivers until nothing is left to be tried again.
    pub(super) async fn store(&mut self, items: &[Item]) -> Result<Settled, String> {
        let result = self.deliver(items, false).await;
        self.settle(items, result).await
    }

    /// What stands in the stores, and which items a web server or a peer by TCP was told of.
    pub(super) async fn content(&self) -> Result<Content, String> {
        let mut content = self.stores.content().await?;
        let told = self.script.told(&self.jids).into_iter();
        content.extend(told.map(|(way, told)| (format!("what was sent by {way}"), told)));
        Ok(content)
    }

    /// Another guest, at the same stores.
    pub(super) async fn begin_anew(&mut self) -> Result<(), String> {
        let begun = Instance::new(&self.kit.plugin, &self.grants).await;
        self.instance = begun.map_err(|error| format!("it cannot be begun: {}", told(&error)))?;
        Ok(())
    }

    /// A guest that was stopped is not called again: there is a new one.
    async fn revive(&mut self) -> Result<(), CallError> {
        if self.instance.is_broken() {
            self.instance = Instance::new(&self.kit.plugin, &self.grants).await?;
        }
        Ok(())
    }
}

impl Settled {
    /// Gives what is to be tried again.
    fn sort(&mut self, items: &[Item], refusals: Vec<Refusal>) -> Vec<Item> {
        let mut again = Vec::new();
        for Refusal { index, failure } in refusals {
            let Some(item) = items.get(index) else { continue };
            match failure {
                Failure::Retry { .. } => again.push(item.clone()),
                Failure::Reject(reason) => self.rejected.push((item.title(), reason)),
            }
        }
        again
    }
}

fn jid(item: &Item) -> Option<String> {
    match item {
        Item::Return(item) => Some(item.jid.to_string()),
        Item::Load(item) => Some(item.jid.to_string()),
        Item::Minions(item) => Some(item.jid.to_string()),
        Item::Event(item) => item.tag.split('/').nth(2).map(str::to_owned),
    }
}

/// An error with what the guest printed before.
pub(super) fn told(error: &CallError) -> String {
    match error {
        CallError::Stopped(trap) => {
            let tells =
                |line: &&str| !line.trim().is_empty() && !NOISE.iter().any(|noise| line.contains(noise));
            let printed: Vec<&str> = trap.stderr.lines().rev().filter(tells).take(PRINTED).collect();
            let printed: String = printed.iter().rev().map(|line| format!("\n    {line}")).collect();
            let advice = advice(&trap.stderr).map(|advice| format!("\n    hint: {advice}"));
            format!("it was stopped: {}{printed}{}", trap.reason, advice.unwrap_or_default())
        }
        error => error.to_string(),
    }
}
