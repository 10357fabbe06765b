//! Plugins: loading components, and calling them within their bounds.
//!
//! A [`Plugin`] is a component that was checked; an [`Instance`] of it runs under a
//! returner's [`Grants`]. What a guest can reach is in [`capabilities`], one file
//! each; what it may use of the host in [`limits`].
//!
//! Faults say whose they are: a [`CallError`] tells the guest's answer from a guest
//! that was stopped and from a fault of the host's.
//!
//! This module knows nothing of lanes, batches or retries.

mod advice;
mod asked;
mod backtrace;
mod calls;
mod capabilities;
mod compile;
mod contract;
mod file;
mod guests;
mod instance;
mod limits;
mod load;
mod narrow;
mod needs;
mod parts;
mod pulse;
mod state;
mod stderr;
mod trial;
mod words;

pub(crate) use advice::advice;
pub(crate) use asked::{Asked, Bench, Fault};
pub(crate) use calls::Delivery;
pub(crate) use capabilities::LogBudget;
pub(crate) use compile::{CompileBounds, compile_alone};
pub(crate) use contract::{Job, MinionReturn, SPOKEN};
pub(crate) use file::read as read_file;
pub(crate) use instance::{CallError, Instance, Stop, Trap};
pub(crate) use load::{Interface, LoadError, Plugin, Runtime};
pub(crate) use needs::Need;
pub(crate) use state::Grants;
pub(crate) use trial::{Noted, Notes};
pub(crate) use words::{brief, brief_lines, lines};
