//! No call leaves anything behind for the next: neither one that went well nor one that failed.

use super::super::desk::Desk;
use super::super::items::plain;
use super::super::stores::difference;
use super::super::{Kit, Verdict};
use super::kinds;
use crate::items::Kind;
use crate::plugins::{CallError, Fault};

/// The most calls of the host that are made to fail.
const MOST: usize = 10;

/// How many batches come one after another: what leaks may show after some of them only.
const BATCHES: usize = 12;

pub(super) async fn run(kit: &Kit) -> Result<Verdict, String> {
    let mut wrong = Vec::new();
    for kind in kinds(kit) {
        wrong.extend(one_after_another(kit, kind).await?);
        wrong.extend(after_a_failure(kit, kind).await?);
    }
    Ok(Verdict::of(wrong))
}

/// Batches in one guest stand as they do when each is alone.
async fn one_after_another(kit: &Kit, kind: Kind) -> Result<Option<String>, String> {
    let batches: Vec<_> = (0..BATCHES).map(|number| plain(kind, 1 + 10 * number, 3)).collect();
    let mut apart = Desk::new(kit).await?;
    for batch in &batches {
        apart.begin_anew().await?;
        apart.store(batch).await?;
    }
    let expected = apart.content().await?;
    let mut together = Desk::new(kit).await?;
    for batch in &batches {
        together.store(batch).await?;
    }
    let difference = difference(&together.content().await?, &expected);
    Ok(difference.map(|difference| format!("batches of {}s, one after another: {difference}", kind.name())))
}

/// What a call that failed was given is not in what the next one stores.
async fn after_a_failure(kit: &Kit, kind: Kind) -> Result<Option<String>, String> {
    let (first, second) = (plain(kind, 1, 3), plain(kind, 11, 3));
    let mut alone = Desk::new(kit).await?;
    let result = alone.deliver_with(&second, None).await;
    let calls = alone.script.calls().min(MOST);
    alone.settle(&second, result).await?;
    // Elsewhere, a part of what failed may stand rightly.
    if !alone.stores.are_transactional() || alone.script.has_told() {
        return Ok(None);
    }
    let expected = alone.content().await?;
    for call in 0..calls {
        let mut desk = Desk::new(kit).await?;
        let result = desk.deliver_with(&first, Some((call, Fault::Away))).await;
        if !matches!(result, Err(CallError::Failed(_))) {
            continue;
        }
        desk.store(&second).await?;
        if let Some(difference) = difference(&desk.content().await?, &expected) {
            let name = kind.name();
            return Ok(Some(format!("after a call of {name}s that failed, the next one: {difference}")));
        }
    }
    Ok(None)
}
