//! Stores in MongoDB, in the collections of Salt's own `mongo` returner.
//!
//! | collection | `_id` | fields |
//! |---|---|---|
//! | `saltReturns` | the key of the return | `minion`, `jid`, `fun`, `return`, `full_ret`, and `out` where Salt sent one as text |
//! | `jobs` | the job id | those of the load, and `Minions` where minions are known |
//! | `events` | the key of the event | `tag`, `data`, `master`, and `accepted` in milliseconds since 1970-01-01 UTC |
//!
//! Each is inserted under its `_id`, so that a second delivery changes nothing. Keys
//! with dots and dollars stay as they are. A document that the server refuses is
//! written in another form, and one with an integer from 2^63 on has it as text from the
//! start: it has a field more, `stored_as`, which [`document`] describes.

mod document;
mod events;
mod insert;
mod integers;
mod job_cache;
mod keys;
mod loads;
mod parts;
mod returns;

use returner_sdk::{Failure, JobReturn, Outcome, Returner, config, log, mongo};

/// What the configuration calls the granted connection.
const CONNECTION: &str = "db";

const RETURNS: &str = "saltReturns";
const JOBS: &str = "jobs";
const EVENTS: &str = "events";

struct Mongo;

returner_sdk::export!(Mongo, "mongo");

/// What jobs are looked up by.
const NEEDED: [(&str, &str); 2] = [(RETURNS, r#"{"jid":1}"#), (JOBS, r#"{"jid":1}"#)];

/// What Salt's option `indexes` adds, and an index for the returns of a function.
const WANTED: [(&str, &str); 3] =
    [(RETURNS, r#"{"minion":1}"#), (RETURNS, r#"{"fun":1,"jid":-1}"#), (EVENTS, r#"{"tag":1}"#)];

/// Of a command that the user has no right to.
const UNAUTHORIZED: i32 = 13;

/// An index makes questions fast, and nothing else: where the server will not make one,
/// returns are stored all the same.
fn make_index(collection: &str, index: &str) -> Result<(), Failure> {
    match mongo::create_index(CONNECTION, collection, index, false) {
        Err(error) if !error.retryable || error.code == Some(UNAUTHORIZED) => {
            log::warn(&format!(
                "`{collection}` has no index on {index}, and what is asked about jobs takes longer without: {}",
                error.message
            ));
            Ok(())
        }
        made => Ok(made?),
    }
}

impl Returner for Mongo {
    const OPTIONS: &'static [&'static str] = &["indexes"];

    fn setup() -> Result<(), Failure> {
        let wanted = config::get("indexes").is_some_and(|indexes| indexes == "true");
        for (collection, index) in NEEDED.iter().chain(WANTED.iter().filter(|_| wanted)) {
            make_index(collection, index)?;
        }
        Ok(())
    }

    fn store(batch: Vec<JobReturn>) -> Outcome {
        returns::store(batch)
    }
}
