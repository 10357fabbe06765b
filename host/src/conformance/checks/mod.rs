//! The checks, and what each of them holds a plugin to.

mod batches;
mod calls;
mod contract;
mod faults;
mod job_cache;
mod memory;
mod redelivery;

use super::{Kit, Verdict};
use crate::items::Kind;
use crate::plugins::Interface;

/// What is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    Describe,
    SetupAgain,
    Empty,
    One,
    Many,
    Batches,
    Huge,
    Odd,
    Refusals,
    Redelivery,
    SetupFaults,
    Faults,
    QuestionFaults,
    Calls,
    Memory,
    ReadYourWrites,
}

/// In the order in which they run: the simplest first.
pub(super) const ALL: [Check; 16] = [
    Check::Describe,
    Check::SetupAgain,
    Check::Empty,
    Check::One,
    Check::Many,
    Check::Batches,
    Check::Huge,
    Check::Odd,
    Check::Refusals,
    Check::Redelivery,
    Check::SetupFaults,
    Check::Faults,
    Check::QuestionFaults,
    Check::Calls,
    Check::Memory,
    Check::ReadYourWrites,
];

impl Check {
    pub(super) fn name(self) -> &'static str {
        match self {
            Check::Describe => "describe",
            Check::SetupAgain => "setup-again",
            Check::Empty => "empty",
            Check::One => "one",
            Check::Many => "many",
            Check::Batches => "batches",
            Check::Huge => "huge",
            Check::Odd => "odd",
            Check::Refusals => "refusals",
            Check::Redelivery => "redelivery",
            Check::SetupFaults => "setup-faults",
            Check::Faults => "faults",
            Check::QuestionFaults => "question-faults",
            Check::Calls => "calls",
            Check::Memory => "memory",
            Check::ReadYourWrites => "read-your-writes",
        }
    }

    pub(super) fn about(self) -> &'static str {
        match self {
            Check::Describe => "it says its name and version",
            Check::SetupAgain => "`setup` can run again, and changes nothing that is stored",
            Check::Empty => "a call without items is answered with `ok([])`",
            Check::One => "one item of each kind is answered with `ok`",
            Check::Many => "a thousand items of each kind in one call are answered with `ok`",
            Check::Batches => "what is stored is the same, whether items come one by one or together",
            Check::Huge => "a return of 4 MiB is stored, or rejected with a reason",
            Check::Odd => "what is unusual is stored, or rejected with a reason, and never tried for ever",
            Check::Refusals => "a refusal names an item of the batch, once, and the same one as alone",
            Check::Redelivery => "what is delivered again does not stand twice",
            Check::SetupFaults => "`setup` survives each call of the host that fails",
            Check::Faults => {
                "a call of the host that fails leads to an honest answer: nothing lost, nothing stored twice"
            }
            Check::QuestionFaults => "a question is not answered wrongly when a call of the host fails",
            Check::Calls => "no call leaves anything behind for the next",
            Check::Memory => "many calls do not fill half of its memory, at which the host replaces it",
            Check::ReadYourWrites => "the job cache gives back what was stored, and cleans it",
        }
    }

    pub(super) async fn run(self, kit: &Kit) -> Verdict {
        let verdict = match self {
            Check::Describe => contract::describe(kit).await,
            Check::SetupAgain => contract::setup_again(kit).await,
            Check::Empty => contract::empty(kit).await,
            Check::One => contract::stored(kit, 1).await,
            Check::Many => contract::stored(kit, 1000).await,
            Check::Batches => batches::run(kit).await,
            Check::Huge => contract::huge(kit).await,
            Check::Odd => contract::odd(kit).await,
            Check::Refusals => contract::refusals(kit).await,
            Check::Redelivery => redelivery::run(kit).await,
            Check::SetupFaults => faults::of_setup(kit).await,
            Check::Faults => faults::of_store(kit).await,
            Check::QuestionFaults => job_cache::faults(kit).await,
            Check::Calls => calls::run(kit).await,
            Check::Memory => memory::run(kit).await,
            Check::ReadYourWrites => job_cache::run(kit).await,
        };
        verdict.unwrap_or_else(|error| Verdict::Failed(vec![error]))
    }
}

/// The kinds of items that a plugin stores.
fn kinds(kit: &Kit) -> impl Iterator<Item = Kind> {
    let stores = |kind: &Kind| {
        let interface = match kind {
            Kind::Return => Interface::Returns,
            Kind::Load | Kind::Minions => Interface::Loads,
            Kind::Event => Interface::Events,
        };
        kit.plugin.exports.contains(&interface)
    };
    // Minions belong to a load that was accepted before.
    [Kind::Load, Kind::Minions, Kind::Return, Kind::Event].into_iter().filter(stores)
}
