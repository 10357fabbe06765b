//! The obligation oracle: what was acknowledged is stored, whatever fails meanwhile.
//!
//! Clients send returns and write down every acknowledgement. A plan, made from a seed,
//! says what fails and when: processes are killed and stopped, servers hang, connections
//! break at a COMMIT, tables are locked, memory and disk run out, a plugin traps. Then
//! all of it is mended, the lanes drain, and the oracle looks into the stores themselves.
//!
//! What it promises:
//!
//! - The same seed, faults and duration give the same plan and the same clients. What
//!   meets what is up to the machine, so a failure may take more than one run to come
//!   again.
//! - A scenario that ends without a panic has met every obligation: see [`run`].
//!
//! It knows the host only as its users do: the program, its configuration and HTTP. Two
//! things it reads of it: the table of dead letters, and how large the journal is.

mod bed;
mod clients;
mod inject;
mod items;
mod ledger;
mod oracle;
mod plan;
mod report;
mod scenarios;
mod stores;
mod targets;
mod tmpfs;

pub use plan::Fault;
pub use report::Summary;
pub use scenarios::{Options, Scenario, run};
