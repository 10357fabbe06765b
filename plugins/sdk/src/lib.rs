//! Write a returner for the host `returner` in Rust.
//!
//! A *returner* stores what Salt's minions answered. It is a WebAssembly component
//! that the host runs in a sandbox: it reaches the connections that the
//! configuration grants to it, and nothing else. The least of one:
//!
#![cfg_attr(not(feature = "full"), doc = "```")]
// It is no `FullReturner`: a test of the suite builds the same from the README.
#![cfg_attr(feature = "full", doc = "```text")]
//! use returner_sdk::{JobReturn, Outcome, Returner, sql};
//!
//! struct Audit;
//!
//! impl Returner for Audit {
//!     fn store(batch: Vec<JobReturn>) -> Outcome {
//!         let mut insert = sql::Insert::new("db", "INSERT INTO audit (jid, minion, answer) VALUES");
//!         for item in batch {
//!             insert.row([item.jid.into(), item.minion.into(), item.value.into()])?;
//!         }
//!         insert.finish()?;
//!         Ok(vec![])
//!     }
//! }
//!
//! returner_sdk::export!(Audit);
//! ```
//!
//! In its `Cargo.toml`, `crate-type = ["cdylib"]` and this crate as a dependency;
//! `cargo build --release --target wasm32-wasip2` then makes the component. In the
//! host's configuration:
//!
//! ```yaml
//! audit.plugin: audit.wasm
//! audit.connections: {db: mysql}
//! ```
//!
//! # What a returner can rely on
//! - Items are checked: `value` and `full` are JSON, and names are not empty.
//! - What one call writes through [`sql`] is one transaction. The host commits it
//!   after the call answered `Ok`, and undoes it otherwise.
//! - A call is repeated if nobody knows whether it succeeded. The items then have
//!   `redelivered` set: look before you write, unless writing twice changes
//!   nothing. `key` is the same each time.
//! - A panic is a trap: the host shows what it printed, tries the items one by one,
//!   and sets aside the one that does it.
//!
//! # More than returns
//! With the feature `full` a returner can also be Salt's master job cache and event
//! store: see `FullReturner`.
//!
//! # Tests
//! This crate builds for the machine's own target too: `cargo test` runs a returner there, and
//! what it asks of the host is answered by the test. See `testing`, which no component has.

mod failure;
mod returner;

pub mod jid;
pub mod json;
pub mod log;
pub mod mongo;
pub mod redis;
pub mod sql;
#[cfg(not(target_family = "wasm"))]
pub mod testing;

#[cfg(target_family = "wasm")]
use bindings::salt::returner as host;
#[cfg(not(target_family = "wasm"))]
use testing::host;

pub use bindings::salt::returner::types::{Event, Failure, JobLoad, JobMinions, JobReturn, Refusal, Retry};
pub use host::config;
pub use host::http;
#[cfg(feature = "full")]
pub use returner::{Events, FullReturner, Job, JobCache, Loads, MinionReturn};
pub use returner::{Outcome, Returner};

#[doc(hidden)]
pub use returner::{Adapter, Package};

/// What `wit-bindgen` makes of the contract. One world only: each puts its own type
/// into the component.
#[doc(hidden)]
#[allow(missing_docs, unreachable_pub, unsafe_code, clippy::all, reason = "generated")]
pub mod bindings {
    #[cfg(not(feature = "full"))]
    wit_bindgen::generate!({
        path: "../../wit",
        world: "described-returner",
        pub_export_macro: true,
        default_bindings_module: "returner_sdk::bindings",
    });

    #[cfg(feature = "full")]
    wit_bindgen::generate!({
        path: "../../wit",
        world: "full-returner",
        pub_export_macro: true,
        default_bindings_module: "returner_sdk::bindings",
    });
}

/// Makes a type the component's returner: one line at the end of `lib.rs`.
///
/// The type implements [`Returner`] and, with the feature `full`, `FullReturner`. The
/// component has the name and the version of its package; `export!(Audit, "audit")` gives
/// it another name.
#[macro_export]
macro_rules! export {
    ($returner:ty) => {
        $crate::export!($returner, env!("CARGO_PKG_NAME"));
    };
    ($returner:ty, $name:expr) => {
        impl $crate::Package for $returner {
            const NAME: &'static str = $name;
            const VERSION: &'static str = env!("CARGO_PKG_VERSION");
        }

        #[allow(unsafe_code, reason = "generated: the functions that the host calls")]
        const _: () = {
            type Component = $crate::Adapter<$returner>;
            // Only a component has exports; their names mean nothing to other linkers.
            #[cfg(target_family = "wasm")]
    $crate::bindings::export!(Component with_types_in $crate::bindings);
            #[cfg(not(target_family = "wasm"))]
            let _ = Component::is_returner;
        };
    };
}
