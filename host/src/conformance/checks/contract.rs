//! What the contract says of each call: the answers, and the refusals in them.

use super::super::desk::{Desk, told};
use super::super::items::{huge as huge_item, odd as odd_items, plain};
use super::super::stores::difference;
use super::super::{Kit, Verdict};
use super::kinds;
use crate::items::{Failure, Item, Kind, Refusal};
use crate::plugins::{CallError, Interface};

pub(super) async fn describe(kit: &Kit) -> Result<Verdict, String> {
    if !kit.plugin.exports.contains(&Interface::About) {
        return Ok(Verdict::NotTried("it does not export `about`".to_owned()));
    }
    let mut desk = Desk::before_setup(kit).await?;
    let about = desk.instance().describe().await.map_err(|error| format!("`describe`: {}", told(&error)))?;
    let is_empty = |text: &str| text.trim().is_empty();
    let mut wrong = Vec::new();
    wrong.extend(is_empty(&about.name).then(|| "its `name` is empty".to_owned()));
    wrong.extend(is_empty(&about.version).then(|| "its `version` is empty".to_owned()));
    let nameless = about.options.iter().filter(|option| is_empty(option));
    wrong.extend(nameless.map(|_| "an option has no name".to_owned()));
    Ok(Verdict::of(wrong))
}

pub(super) async fn setup_again(kit: &Kit) -> Result<Verdict, String> {
    if !kit.plugin.exports.contains(&Interface::Lifecycle) {
        return Ok(Verdict::NotTried("it does not export `lifecycle`".to_owned()));
    }
    let mut desk = Desk::new(kit).await?;
    desk.store(&plain(Kind::Return, 1, 3)).await?;
    let before = desk.content().await?;
    desk.setup().await.map_err(|error| format!("the second `setup`: {}", told(&error)))?;
    let wrong = difference(&desk.content().await?, &before);
    Ok(Verdict::of(wrong.into_iter().map(|wrong| format!("after the second `setup`, {wrong}")).collect()))
}

pub(super) async fn empty(kit: &Kit) -> Result<Verdict, String> {
    let mut wrong = Vec::new();
    for kind in kinds(kit) {
        let mut desk = Desk::new(kit).await?;
        match desk.deliver_nothing(kind).await {
            Ok(_) => {}
            Err(error) => wrong.push(format!("no {}s at all: {}", kind.name(), told(&error))),
        }
    }
    Ok(Verdict::of(wrong))
}

/// So many plain items of each kind, in one call.
pub(super) async fn stored(kit: &Kit, count: usize) -> Result<Verdict, String> {
    let mut wrong = Vec::new();
    let mut desk = Desk::new(kit).await?;
    for kind in kinds(kit) {
        // Each of these changes a load of its own, which no server does many of at once.
        let count = if kind == Kind::Minions { count.min(100) } else { count };
        let what = kind.counted(count);
        match desk.deliver(&plain(kind, 1, count), false).await {
            Ok(refusals) => {
                if let Some(Refusal { index, failure }) = refusals.first() {
                    let more = refusals.len() - 1;
                    let reason = failure.message();
                    wrong.push(format!("{what}: number {index} was refused, and {more} more: {reason}"));
                }
            }
            Err(error) => wrong.push(format!("{what}: {}", told(&error))),
        }
    }
    Ok(Verdict::of(wrong))
}

pub(super) async fn huge(kit: &Kit) -> Result<Verdict, String> {
    let mut desk = Desk::new(kit).await?;
    let result = desk.deliver(&huge_item(), false).await;
    Ok(Verdict::of(dishonest("the return", result).into_iter().collect()))
}

pub(super) async fn odd(kit: &Kit) -> Result<Verdict, String> {
    let mut wrong = Vec::new();
    let mut desk = Desk::new(kit).await?;
    for (name, item) in odd_items() {
        let result = desk.deliver(std::slice::from_ref(&item), false).await;
        wrong.extend(dishonest(name, result));
    }
    Ok(Verdict::of(wrong))
}

/// What is wrong with what became of one item that no server had trouble with.
fn dishonest(name: &str, result: Result<Vec<Refusal>, CallError>) -> Option<String> {
    let failure = match result {
        Ok(refusals) => refusals.into_iter().next()?.failure,
        Err(CallError::Failed(failure)) => failure,
        Err(error) => return Some(format!("{name}: {}", told(&error))),
    };
    match failure {
        Failure::Retry { message, .. } => {
            Some(format!("{name} would be tried for ever: `retry` ({message}) in place of `reject`"))
        }
        Failure::Reject(reason) if reason.trim().is_empty() => {
            Some(format!("{name}: rejected without a reason"))
        }
        Failure::Reject(_) => None,
    }
}

/// All at once, and each alone: the same ones are refused.
pub(super) async fn refusals(kit: &Kit) -> Result<Verdict, String> {
    let named = odd_items();
    let mut items: Vec<Item> = named.iter().map(|(_, item)| item.clone()).collect();
    items.extend(plain(Kind::Return, 100, 3));
    let together = match Desk::new(kit).await?.deliver(&items, false).await {
        Ok(refusals) => refusals,
        // The whole batch, which the host halves until it has the item.
        Err(CallError::Failed(Failure::Reject(_))) => return Ok(Verdict::Held),
        Err(error) => return Ok(Verdict::Failed(vec![told(&error)])),
    };
    let mut wrong = Vec::new();
    let mut desk = Desk::new(kit).await?;
    for (index, item) in items.iter().enumerate() {
        let name = named.get(index).map_or("a plain return", |(name, _)| name);
        let in_batch = together.iter().any(|refusal| refusal.index == index);
        let alone = match desk.deliver(std::slice::from_ref(item), false).await {
            Ok(refusals) => !refusals.is_empty(),
            Err(CallError::Failed(_)) => true,
            Err(error) => {
                wrong.push(format!("{name}: {}", told(&error)));
                continue;
            }
        };
        if in_batch != alone {
            let [batch, single] = [in_batch, alone].map(|refused| if refused { "refused" } else { "stored" });
            wrong.push(format!("{name} is {batch} in a batch, at the place {index}, and {single} alone"));
        }
    }
    Ok(Verdict::of(wrong))
}
