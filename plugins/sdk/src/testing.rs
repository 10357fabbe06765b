//! Tests without a host: `cargo test` runs a returner on the machine's own target, and a
//! [`Host`] of the test's answers its calls.
//!
#![cfg_attr(not(feature = "full"), doc = "```")]
#![cfg_attr(feature = "full", doc = "```text")]
//! use returner_sdk::sql::{self, Value};
//! use returner_sdk::testing::{self, Host};
//! # use returner_sdk::{JobReturn, Outcome, Returner};
//! # struct Audit;
//! # impl Returner for Audit {
//! #     fn store(batch: Vec<JobReturn>) -> Outcome {
//! #         let mut insert = sql::Insert::new("db", "INSERT INTO audit (minion) VALUES");
//! #         for item in batch {
//! #             insert.row([item.minion.into()])?;
//! #         }
//! #         insert.finish()?;
//! #         Ok(vec![])
//! #     }
//! # }
//!
//! #[derive(Default)]
//! struct Table {
//!     values: usize,
//!     is_full: bool,
//! }
//!
//! impl Host for Table {
//!     fn sql_execute(&mut self, connection: &str, statement: &str, params: &[Value]) -> Result<u64, sql::Error> {
//!         assert!(connection == "db" && statement.starts_with("INSERT INTO audit"), "{statement}");
//!         if self.is_full {
//!             let (kind, message) = (sql::Kind::Other, "the disk is full".to_owned());
//!             return Err(sql::Error { kind, code: None, message, retryable: true });
//!         }
//!         self.values += params.len();
//!         Ok(1)
//!     }
//! }
//!
//! let batch = || vec![testing::job_return("20260214093012345678", "web1", "test.ping", "true")];
//! let (outcome, table) = testing::on(Table::default(), || Audit::store(batch()));
//! assert!(outcome.is_ok_and(|refusals| refusals.is_empty()));
//! assert_eq!(table.values, 1);
//!
//! let full = Table { is_full: true, ..Table::default() };
//! let (outcome, _) = testing::on(full, || Audit::store(batch()));
//! assert!(matches!(outcome, Err(returner_sdk::Failure::Retry(_))));
//! ```
//!
//! What a real host and real servers do with the component is for `returner plugins test` and
//! `returner plugins run`.

pub(crate) mod host;

use std::cell::RefCell;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;

use crate::http::{self, Request, Response};
use crate::log::Level;
use crate::mongo::{self, FindOptions, Update, WriteError};
use crate::redis::{self, Reply};
use crate::sql::{self, Rows, Value};
use crate::{Event, JobLoad, JobMinions, JobReturn};

/// Answers what a returner asks of its host; see the functions of [`sql`], [`redis`], [`mongo`],
/// [`http`] and [`config`](crate::config) for what each means. A call that a test does not
/// expect, and has no function for, is a panic that names it.
#[allow(missing_docs, reason = "each is the function of its name")]
pub trait Host {
    /// `config::get`: no option is set.
    fn option(&mut self, name: &str) -> Option<String> {
        self.options().into_iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// `config::all`.
    fn options(&mut self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// `log::write`: a line of the test's output.
    fn log(&mut self, level: Level, message: &str, fields: &[(String, String)]) {
        eprintln!("{level:?}: {message} {fields:?}");
    }

    fn sql_execute(
        &mut self,
        _connection: &str,
        statement: &str,
        _params: &[Value],
    ) -> Result<u64, sql::Error> {
        unexpected("sql::execute", statement)
    }

    fn sql_query(
        &mut self,
        _connection: &str,
        statement: &str,
        _params: &[Value],
    ) -> Result<Rows, sql::Error> {
        unexpected("sql::query", statement)
    }

    fn redis_pipeline(
        &mut self,
        _connection: &str,
        commands: &[Vec<Vec<u8>>],
    ) -> Result<Vec<Reply>, redis::Error> {
        let first = commands.first().and_then(|command| command.first());
        unexpected("redis::pipeline", &String::from_utf8_lossy(first.map_or(&[], Vec::as_slice)))
    }

    fn redis_scan(&mut self, _connection: &str, pattern: &str) -> Result<Vec<Vec<u8>>, redis::Error> {
        unexpected("redis::scan", pattern)
    }

    fn mongo_insert(
        &mut self,
        _connection: &str,
        collection: &str,
        _documents: &[String],
    ) -> Result<Vec<WriteError>, mongo::Error> {
        unexpected("mongo::insert", collection)
    }

    fn mongo_update_many(
        &mut self,
        _connection: &str,
        collection: &str,
        _updates: &[Update],
    ) -> Result<Vec<WriteError>, mongo::Error> {
        unexpected("mongo::update_many", collection)
    }

    fn mongo_find(
        &mut self,
        _connection: &str,
        collection: &str,
        _filter: &str,
        _options: &FindOptions,
    ) -> Result<Vec<String>, mongo::Error> {
        unexpected("mongo::find", collection)
    }

    fn mongo_aggregate(
        &mut self,
        _connection: &str,
        collection: &str,
        _pipeline: &[String],
    ) -> Result<Vec<String>, mongo::Error> {
        unexpected("mongo::aggregate", collection)
    }

    fn mongo_delete(
        &mut self,
        _connection: &str,
        collection: &str,
        _filter: &str,
    ) -> Result<u64, mongo::Error> {
        unexpected("mongo::delete", collection)
    }

    fn mongo_create_index(
        &mut self,
        _connection: &str,
        collection: &str,
        _keys: &str,
        _unique: bool,
    ) -> Result<(), mongo::Error> {
        unexpected("mongo::create_index", collection)
    }

    fn http_send(&mut self, request: &Request) -> Result<Response, http::Error> {
        unexpected("http::send", &request.url)
    }
}

fn unexpected(function: &str, what: &str) -> ! {
    panic!("`{function}` was called (`{what}`), and the test's `Host` has no function for it")
}

thread_local! {
    static HOST: RefCell<Option<Rc<RefCell<dyn Host>>>> = const { RefCell::new(None) };
}

/// Runs a part of a returner, whose calls `host` answers; gives what it gave, and the host for
/// a look at what it was asked. It is the host of this thread only, and ends with the call.
///
/// # Panics
/// If `run` does, or runs another part on a host of its own.
pub fn on<H: Host + 'static, T>(host: H, run: impl FnOnce() -> T) -> (T, H) {
    struct Ends;
    impl Drop for Ends {
        fn drop(&mut self) {
            HOST.with_borrow_mut(Option::take);
        }
    }
    let host = Rc::new(RefCell::new(host));
    let ends = HOST.with_borrow_mut(|current| {
        assert!(current.is_none(), "a returner runs on one host at a time");
        *current = Some(host.clone());
        Ends
    });
    let answer = run();
    drop(ends);
    let Ok(host) = Rc::try_unwrap(host) else { unreachable!("nobody else keeps it") };
    (answer, host.into_inner())
}

fn asked<T>(function: &str, ask: impl FnOnce(&mut dyn Host) -> T) -> T {
    let host = HOST.with_borrow(Clone::clone);
    let Some(host) = host else {
        panic!("`{function}` was called without a host: `returner_sdk::testing::on` runs a returner on one")
    };
    ask(&mut *host.borrow_mut())
}

/// A return as a host gives it to `store`, for the first time: `value` is JSON.
#[must_use]
pub fn job_return(jid: &str, minion: &str, fun: &str, value: &str) -> JobReturn {
    let [quoted_jid, quoted_minion, quoted_fun] = [jid, minion, fun].map(serde_json::Value::from);
    let full = format!(
        r#"{{"jid":{quoted_jid},"id":{quoted_minion},"fun":{quoted_fun},"return":{value},"retcode":0,"success":true}}"#
    );
    let [jid, minion, fun, value] = [jid, minion, fun, value].map(str::to_owned);
    JobReturn {
        key: key(&full),
        jid,
        minion,
        fun,
        success: true,
        retcode: 0,
        value,
        full,
        accepted: ACCEPTED,
        redelivered: false,
    }
}

/// A load as a host gives it to `Loads::store`, for the first time: `root` has asked all of these
/// minions.
#[must_use]
pub fn job_load(jid: &str, fun: &str, minions: &[&str]) -> JobLoad {
    let full = serde_json::json!({
        "jid": jid, "fun": fun, "arg": [], "tgt": minions, "tgt_type": "list", "user": "root", "Minions": minions,
    });
    JobLoad {
        jid: jid.to_owned(),
        fun: fun.to_owned(),
        full: full.to_string(),
        minions: minions.iter().map(ToString::to_string).collect(),
        accepted: ACCEPTED,
        redelivered: false,
    }
}

/// Minions of a job as a host gives them to `Loads::add_minions`, for the first time.
#[must_use]
pub fn job_minions(jid: &str, minions: &[&str]) -> JobMinions {
    let minions = minions.iter().map(ToString::to_string).collect();
    JobMinions { jid: jid.to_owned(), minions, accepted: ACCEPTED, redelivered: false }
}

/// An event as a host gives it to `Events::store`, for the first time: `data` is a JSON object, and
/// the master is called `master`.
#[must_use]
pub fn event(tag: &str, data: &str) -> Event {
    Event {
        tag: tag.to_owned(),
        data: data.to_owned(),
        master: "master".to_owned(),
        key: key(&format!("{tag} {data}")),
        accepted: ACCEPTED,
        redelivered: false,
    }
}

/// 14 February 2026, 9:30:12 UTC.
const ACCEPTED: u64 = 1_771_061_412_000;

/// 32 digits, the same for the same text.
fn key(text: &str) -> String {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, text).hash(&mut hasher);
        hasher.finish()
    };
    format!("{:016x}{:016x}", half(0), half(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    struct Options(Vec<String>);

    impl Host for Options {
        fn option(&mut self, name: &str) -> Option<String> {
            self.0.push(name.to_owned());
            (name == "url").then(|| "https://hook.example".to_owned())
        }
    }

    #[test]
    fn what_is_asked_is_answered_by_the_tests_host_and_by_no_other() {
        let (answers, Options(asked)) =
            on(Options(Vec::new()), || [config::get("url"), config::get("other")]);
        assert_eq!(answers, [Some("https://hook.example".to_owned()), None]);
        assert_eq!(asked, ["url", "other"]);
        for call in [|| drop(config::get("url")), || on(Options(Vec::new()), || _ = http::send(&request())).0]
        {
            assert!(std::panic::catch_unwind(call).is_err());
        }
        // Nor is one left by a panic.
        assert!(HOST.with_borrow(Option::is_none));
    }

    fn request() -> Request {
        Request { method: "GET".to_owned(), url: String::new(), headers: Vec::new(), body: Vec::new() }
    }

    #[test]
    fn a_return_is_what_a_host_would_give() {
        let [one, same, other] =
            ["web1", "web1", "we\"b2"].map(|minion| job_return("2026", minion, "test.ping", "[1]"));
        assert_eq!((one.key.len(), &one.key), (32, &same.key));
        assert_ne!(one.key, other.key);
        let full: serde_json::Value = serde_json::from_str(&other.full).unwrap();
        assert_eq!((full["id"].as_str(), &full["return"][0]), (Some("we\"b2"), &1.into()));
        let load = job_load("2026", "test.ping", &["web1", "we\"b2"]);
        let full: serde_json::Value = serde_json::from_str(&load.full).unwrap();
        assert_eq!(full["Minions"], serde_json::json!(load.minions));
        assert_eq!(job_minions("2026", &["web1", "we\"b2"]).minions, load.minions);
        assert_ne!(event("a", "{}").key, event("b", "{}").key);
    }
}
