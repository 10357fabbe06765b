//! How items come, in one call or in many, changes nothing of what is stored. So whoever leaves
//! the last one out, takes the first hundred only, or forgets what comes alone is found, though it
//! answers that all is stored.

use super::super::desk::Desk;
use super::super::items::plain;
use super::super::stores::{Content, difference};
use super::super::{Kit, Verdict};
use super::kinds;
use crate::items::{Item, Kind};

/// More than whoever counts in tens or hundreds takes at once.
const ITEMS: usize = 130;

/// Each of these changes a load of its own, which no server does many of at once.
const MINIONS: usize = 20;

/// What stands where items are stored so many at a time.
async fn in_parts(kit: &Kit, items: &[Item], size: usize) -> Result<Content, String> {
    let mut desk = Desk::new(kit).await?;
    for part in items.chunks(size) {
        desk.store(part).await?;
    }
    desk.content().await
}

pub(super) async fn run(kit: &Kit) -> Result<Verdict, String> {
    let mut wrong = Vec::new();
    let mut seen = false;
    for kind in kinds(kit) {
        let items = plain(kind, 1, if kind == Kind::Minions { MINIONS } else { ITEMS });
        let alone = in_parts(kit, &items, 1).await?;
        seen |= alone.values().any(|lines| !lines.is_empty());
        for size in [2, 7, items.len()] {
            if let Some(difference) = difference(&in_parts(kit, &items, size).await?, &alone) {
                let all = kind.counted(items.len());
                wrong.push(format!("{all}, {size} in each call and not one by one: {difference}"));
                break;
            }
        }
    }
    if !seen && wrong.is_empty() {
        let why = "it answers `ok`, and stores and sends nothing of these items; if an option chooses what it stores, \
                   `--option` chooses more";
        return Ok(Verdict::NotTried(why.to_owned()));
    }
    Ok(Verdict::of(wrong))
}
