//! Each call of the host fails in turn, in each way. Afterwards the items are delivered until
//! they are settled, and must stand as they do without a fault.

use super::super::desk::{Desk, told};
use super::super::items::plain;
use super::super::stores::{Content, difference};
use super::super::{Kit, Verdict};
use super::kinds;
use crate::items::{Failure, Item, Kind, Refusal};
use crate::plugins::{CallError, Fault, Interface};

/// The most calls of the host of one call that are made to fail.
const MOST: usize = 40;

/// How many items a call is given.
const ITEMS: usize = 3;

pub(super) async fn of_store(kit: &Kit) -> Result<Verdict, String> {
    let mut wrong = Vec::new();
    let mut failed = 0;
    for kind in kinds(kit) {
        let items = plain(kind, 1, ITEMS);
        let mut desk = Desk::new(kit).await?;
        let result = desk.deliver_with(&items, None).await;
        let calls = desk.script.calls();
        desk.settle(&items, result).await?;
        let expected = Expected { calls, content: desk.content().await? };
        for (call, fault) in (0..calls.min(MOST)).flat_map(|call| Fault::ALL.map(|fault| (call, fault))) {
            failed += 1;
            if let Some(problem) = one(kit, &items, (call, fault), &expected).await? {
                wrong.push(problem);
            }
        }
    }
    if failed == 0 {
        let why = "for no item did it call what could fail: `sql`, `redis`, `mongo`, HTTP or a peer by sockets; if an \
                   option chooses what it stores, `--option` chooses more";
        return Ok(Verdict::NotTried(why.to_owned()));
    }
    Ok(Verdict::of(wrong))
}

/// How it is without a fault.
struct Expected {
    calls: usize,
    content: Content,
}

/// What is wrong with what a plugin makes of one fault.
async fn one(
    kit: &Kit,
    items: &[Item],
    fault: (usize, Fault),
    expected: &Expected,
) -> Result<Option<String>, String> {
    let mut desk = Desk::new(kit).await?;
    let result = desk.deliver_with(items, Some(fault)).await;
    let Some(failed) = desk.script.failed() else { return Ok(None) };
    let wrong = |what: String| Ok(Some(format!("`{}` fails ({}): {what}", failed.call, failed.how)));
    if let Err(error @ CallError::Stopped(_)) = &result {
        return wrong(told(error));
    }
    let says_stored = matches!(&result, Ok(refusals) if refusals.is_empty());
    // One call more than without the fault is another try.
    if says_stored && failed.by_socket && desk.script.calls() <= expected.calls {
        return wrong("it answers that all is stored, and did not try again".to_owned());
    }
    if fault.1.is_retryable()
        && let Some(reason) = rejected(&result)
    {
        return wrong(format!("it rejects (`{reason}`) what can be stored later"));
    }
    let settled = match desk.settle(items, result).await {
        Ok(settled) => settled,
        // It is said to be tried again, and that is no lie.
        Err(_) if !fault.1.is_retryable() => return Ok(None),
        Err(error) => return wrong(error),
    };
    let content = desk.content().await?;
    match difference(&content, &expected.content) {
        Some(difference) if says_stored => wrong(format!("it answers that all is stored, but {difference}")),
        Some(difference) if settled.rejected.is_empty() => {
            wrong(format!("after it was delivered again, {difference}"))
        }
        _ => Ok(None),
    }
}

fn rejected(result: &Result<Vec<Refusal>, CallError>) -> Option<&str> {
    let reject = |failure: &Failure| matches!(failure, Failure::Reject(_));
    match result {
        Ok(refusals) => {
            let refusal = refusals.iter().find(|refusal| reject(&refusal.failure))?;
            Some(refusal.failure.message())
        }
        Err(CallError::Failed(failure)) if reject(failure) => Some(failure.message()),
        Err(_) => None,
    }
}

pub(super) async fn of_setup(kit: &Kit) -> Result<Verdict, String> {
    if !kit.plugin.exports.contains(&Interface::Lifecycle) {
        return Ok(Verdict::NotTried("it does not export `lifecycle`".to_owned()));
    }
    let items = plain(Kind::Return, 1, ITEMS);
    let mut desk = Desk::before_setup(kit).await?;
    desk.script.begin(None);
    desk.setup().await.map_err(|error| format!("`setup`: {}", told(&error)))?;
    let calls = desk.script.calls().min(MOST);
    if calls == 0 {
        return Ok(Verdict::NotTried("its `setup` calls nothing that could fail".to_owned()));
    }
    desk.store(&items).await?;
    let expected = desk.content().await?;
    let mut wrong = Vec::new();
    for (call, fault) in (0..calls).flat_map(|call| Fault::ALL.map(|fault| (call, fault))) {
        let mut desk = Desk::before_setup(kit).await?;
        desk.script.begin(Some((call, fault)));
        let result = desk.setup().await;
        desk.script.disarm();
        let Some(failed) = desk.script.failed() else { continue };
        let mut tell = |what: &str| wrong.push(format!("`{}` fails ({}): {what}", failed.call, failed.how));
        if let Err(error @ CallError::Stopped(_)) = &result {
            tell(&told(error));
            continue;
        }
        // As the host does: again, before anything is stored.
        if result.is_err()
            && let Err(error) = desk.setup().await
        {
            tell(&format!("the next `setup`: {}", told(&error)));
            continue;
        }
        if let Err(error) = desk.store(&items).await {
            tell(&format!("`setup` is content, and then {error}"));
        } else if let Some(difference) = difference(&desk.content().await?, &expected) {
            tell(&format!("afterwards {difference}"));
        }
    }
    Ok(Verdict::of(wrong))
}
