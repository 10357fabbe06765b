//! Delivery: from the journal to the returners.
//!
//! # Invariants
//! - An item leaves a lane only when its returner stored it, or as a dead letter with
//!   a reason. Everything else (an outage, a trap, a stop of the host) keeps it.
//! - A lane's trouble is its own: lanes share nothing but the journal.
//! - Returns of one minion are handed to one returner in the order of acceptance,
//!   unless one of them waits to be tried again; a load before the returns that were
//!   accepted after it.
//!
//! A [`Lane`]'s [`run`] reads a window of its items, cuts it into batches ([`batch`]), lets its
//! workers deliver them ([`worker`]: one call at a time each, halving what fails as a
//! whole) and settles the window. [`lanes`] has all lanes, [`reload`]
//! puts another version of the configuration in the place of the one that runs, and
//! [`dead_letters`] has what was rejected for good.
//!
//! This module knows nothing of where items come from.

mod allowance;
mod backoff;
mod batch;
mod board;
mod build;
mod crashes;
mod dead_letters;
mod held;
mod lane;
mod lanes;
mod loads;
mod oldest;
mod probation;
mod quota;
mod recent;
mod reload;
mod returner;
mod run;
mod status;
mod trial;
mod variants;
mod wait;
mod worker;

pub(crate) use build::{BuildError, check_options};
pub(crate) use crashes::{Crashes, Report, Summary};
pub(crate) use dead_letters::DeadLetters;
pub(crate) use lane::{Backlog, Lane};
pub(crate) use lanes::{DropError, Lanes, Orphan, RouteError};
pub(crate) use loads::published;
pub(crate) use quota::{AskedFor, QuotaError};
pub(crate) use returner::Returner;
pub(crate) use status::{Failing, HeldItems, LastError, State, Status, WentBack};
pub(crate) use trial::{Comparison, TrialError, Tried};
