//! The oracle: Salt's own returner modules get the same items, on the same servers, and
//! what they store is compared with what the host stores, field by field. A difference is
//! a failure unless it is on the test's list, which names the known fault that it mends;
//! one on the list that is not found is a failure, too.
//!
//! Then both ways: the host reads what Salt's modules wrote ([`reads_salt`]), and they
//! read what the host wrote ([`salt_reads`]).

mod cases;
mod contents;
mod known_faults;
mod mongo;
mod mysql;
mod reads_salt;
mod redis;
mod salt_reads;
pub(crate) mod sqlite;
