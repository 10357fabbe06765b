//! What is delivered again does not stand twice, whatever part of it was stored before.

use super::super::desk::Desk;
use super::super::items::plain;
use super::super::stores::difference;
use super::super::{Kit, Verdict};
use super::kinds;

pub(super) async fn run(kit: &Kit) -> Result<Verdict, String> {
    let mut wrong = Vec::new();
    let mut seen = false;
    for kind in kinds(kit) {
        let items = plain(kind, 1, 6);
        let mut desk = Desk::new(kit).await?;
        desk.store(&items).await?;
        let once = desk.content().await?;
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
        let mut desk = Desk::new(kit).await?;
        desk.store(&items[..3]).await?;
        let result = desk.deliver(&items, true).await;
        desk.settle(&items, result).await?;
        if let Some(difference) = difference(&desk.content().await?, &once) {
            wrong.push(format!("{}s, of which a half was stored before: {difference}", kind.name()));
        }
    }
    if !seen && wrong.is_empty() {
        let why = "it wrote to no store that can be looked into; by HTTP, send an idempotency key";
        return Ok(Verdict::NotTried(why.to_owned()));
    }
    Ok(Verdict::of(wrong))
}
