//! The memory of a guest lasts: at half of its limit the host replaces it, which costs a new
//! instance. A guest that needs one every some thousand calls keeps what it should let go.

use super::super::desk::{Desk, told};
use super::super::items::plain;
use super::super::{Kit, Verdict};
use crate::items::Kind;

/// How many returns a call is given.
const ITEMS: usize = 10;

/// How many calls half of the limit must last for.
const LASTS: u64 = 10_000;

/// Less than this says nothing, in bytes: memory comes in pieces.
const PIECE: u64 = 4 << 20;

pub(super) async fn run(kit: &Kit) -> Result<Verdict, String> {
    let mut desk = Desk::new(kit).await?;
    let items = plain(Kind::Return, 1, ITEMS);
    let mut halfway = 0;
    for call in 0..kit.calls {
        // The same ones again: a store need not hold a hundred thousand rows for this.
        let delivered = desk.deliver(&items, call > 0).await;
        delivered.map_err(|error| format!("the call number {call}: {}", told(&error)))?;
        if call == kit.calls / 2 {
            halfway = desk.memory();
        }
    }
    let (end, calls) = (desk.memory(), kit.calls);
    let grown = end.saturating_sub(halfway) as u64;
    let within = (calls - calls / 2).max(1) as u64;
    if grown <= PIECE || grown * LASTS / within <= desk.memory_limit() / 2 {
        return Ok(Verdict::Held);
    }
    let [from, to] = [halfway, end].map(|bytes| bytesize::ByteSize(bytes as u64));
    Ok(Verdict::Failed(vec![format!(
        "between the calls {} and {calls} it grew from {from} to {to}",
        calls / 2
    )]))
}
