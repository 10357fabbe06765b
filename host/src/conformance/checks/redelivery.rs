//! What is delivered again does not stand twice, whatever part of it was stored before.

use super::super::desk::Desk;
use super::super::items::{alike, plain};
use super::super::stores::difference;
use super::super::{Kit, Verdict};
use super::kinds;
use crate::items::{Item, Kind};

/// How it differs from all items stored at once that a half of them was stored before.
async fn half(kit: &Kit, items: &[Item]) -> Result<Option<String>, String> {
    let mut at_once = Desk::new(kit).await?;
    at_once.store(items).await?;
    let mut again = Desk::new(kit).await?;
    again.store(&items[..items.len() / 2]).await?;
    let result = again.deliver(items, true).await;
    again.settle(items, result).await?;
    Ok(difference(&again.content().await?, &at_once.content().await?))
}

pub(super) async fn run(kit: &Kit) -> Result<Verdict, String> {
    let mut wrong = Vec::new();
    let (mut seen, mut told) = (false, false);
    for kind in kinds(kit) {
        let items = plain(kind, 1, 6);
        let mut desk = Desk::new(kit).await?;
        desk.store(&items).await?;
        let once = desk.content().await?;
        told |= desk.script.has_told();
        seen |= !once.is_empty() && !desk.stores.connections.is_empty();
        // A call whose end nobody knows comes again; some of it may be new, and may be twice
        // in what comes.
        for (what, again) in [("all of it", &items[..]), ("a part of it", &items[2..4])] {
            let result = desk.deliver(again, true).await;
            desk.settle(again, result).await.map_err(|error| format!("{what}, again: {error}"))?;
            if let Some(difference) = difference(&desk.content().await?, &once) {
                wrong.push(format!("{}s, {what} delivered again: {difference}", kind.name()));
                break;
            }
        }
        if let Some(difference) = half(kit, &items).await? {
            wrong.push(format!("{}s, of which a half was stored before: {difference}", kind.name()));
        }
        if kind == Kind::Return
            && let Some(difference) = half(kit, &alike()).await?
        {
            let what = "two functions of a job that returned the same, of which one was stored before";
            wrong.push(format!("{what}: {difference}"));
        }
    }
    if !seen && wrong.is_empty() {
        let why = match told {
            true => "what it sends cannot be looked for where it arrives; by HTTP, send an idempotency key",
            false => {
                "it stored none of these items; if an option chooses what it stores, `--option` chooses more"
            }
        };
        return Ok(Verdict::NotTried(why.to_owned()));
    }
    Ok(Verdict::of(wrong))
}
