//! Stores in MongoDB, in the collections of Salt's own `mongo` returner.
//!
//! | collection | `_id` | fields |
//! |---|---|---|
//! | `saltReturns` | the key of the return | `minion`, `jid`, `fun`, `return`, `full_ret`, and `out` where Salt sent one |
//! | `jobs` | the job id | those of the load, and `Minions` where minions are known |
//! | `events` | the key of the event | `tag`, `data`, `master`, and `accepted` in milliseconds since 1970-01-01 UTC |
//!
//! Each is inserted under its `_id`, so that a second delivery changes nothing. Keys
//! with dots and dollars stay as they are. A document that the server refuses is
//! written in another form, which [`document`] describes.

mod document;
mod events;
mod insert;
mod job_cache;
mod keys;
mod loads;
mod returns;

use returner_sdk::{Failure, FullReturner, config, mongo};

/// What the configuration calls the granted connection.
const CONNECTION: &str = "db";

const RETURNS: &str = "saltReturns";
const JOBS: &str = "jobs";
const EVENTS: &str = "events";

struct Mongo;

returner_sdk::export!(Mongo);

/// What jobs are looked up by.
const NEEDED: [(&str, &str); 2] = [(RETURNS, r#"{"jid":1}"#), (JOBS, r#"{"jid":1}"#)];

/// What Salt's option `indexes` adds, and an index for the returns of a function.
const WANTED: [(&str, &str); 3] =
    [(RETURNS, r#"{"minion":1}"#), (RETURNS, r#"{"fun":1,"jid":-1}"#), (EVENTS, r#"{"tag":1}"#)];

impl FullReturner for Mongo {
    const NAME: &'static str = "mongo";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const OPTIONS: &'static [&'static str] = &["indexes"];

    fn setup() -> Result<(), Failure> {
        let wanted = config::get("indexes").is_some_and(|indexes| indexes == "true");
        for (collection, index) in NEEDED.iter().chain(WANTED.iter().filter(|_| wanted)) {
            mongo::create_index(CONNECTION, collection, index, false)?;
        }
        Ok(())
    }
}
