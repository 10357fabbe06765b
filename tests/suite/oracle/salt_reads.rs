//! Salt's own modules read what the host wrote.

use returner_servers::{Host, Salt, load, new_jid, ret};
use serde_json::{Map, Value, json};

use super::cases::options;
use crate::stores::{Stores, TUTORIAL};

/// A job with two returns, stored by the host in all stores.
struct Stored {
    stores: Stores,
    _host: Host,
    load: Value,
    returns: [Value; 2],
}

impl Stored {
    async fn new() -> Self {
        let stores = Stores::new().await;
        stores.mysql.execute(TUTORIAL).await;
        let host = Host::start(&stores.config()).await;
        let jid = new_jid();
        let load = load(&jid, "test.arg");
        let returns = [
            ret(&jid, "web1", "test.arg", json!({"é": [1, 2.5, "\u{1F600}"]})),
            ret(&jid, "web2", "test.arg", json!("text")),
        ];
        host.store("/v1/loads", &load).await;
        host.store("/v1/returns", &json!(returns)).await;
        Self { stores, _host: host, load, returns }
    }

    fn jid(&self) -> Value {
        self.load["jid"].clone()
    }

    /// What `get_jid` and `get_fun` of most modules give: whole returns by minion.
    fn by_minion(&self) -> Value {
        let of = |item: &Value| (item["id"].as_str().unwrap_or_default().to_owned(), item.clone());
        Value::Object(self.returns.iter().map(of).collect::<Map<_, _>>())
    }
}

fn sorted(value: Value) -> Vec<String> {
    let list = value.as_array().cloned().unwrap_or_default();
    let mut texts: Vec<String> = list.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    texts.sort();
    texts
}

/// The functions whose answer is the same in MySQL and Redis.
fn reads_all(salt: &mut Salt, module: &str, stored: &Stored) {
    assert_eq!(salt.call(module, "get_load", [stored.jid()]), stored.load, "{module}");
    assert_eq!(salt.call(module, "get_jid", [stored.jid()]), stored.by_minion(), "{module}");
    assert_eq!(salt.call(module, "get_fun", [json!("test.arg")]), stored.by_minion(), "{module}");
    assert_eq!(sorted(salt.call(module, "get_minions", [])), ["web1", "web2"], "{module}");
    is_listed(&salt.call(module, "get_jids", []), module, stored);
}

#[track_caller]
fn is_listed(jobs: &Value, module: &str, stored: &Stored) {
    let job = &jobs[stored.jid().as_str().unwrap_or_default()];
    assert_eq!(
        (&job["Function"], &job["Target"], &job["User"]),
        (&json!("test.arg"), &json!("*"), &json!("root")),
        "{module}: {jobs}"
    );
}

#[tokio::test]
async fn mysql() {
    let stored = Stored::new().await;
    let mut salt = Salt::start(&options("mysql", &stored.stores.mysql.options()));
    reads_all(&mut salt, "mysql", &stored);
    let newest = salt.call("mysql", "get_jids_filter", [json!(1)]);
    assert_eq!(newest[0]["JID"], stored.jid());
}

#[tokio::test]
async fn redis() {
    let stored = Stored::new().await;
    let mut salt = Salt::start(&options("redis", &stored.stores.redis.options()));
    reads_all(&mut salt, "redis", &stored);
}

#[tokio::test]
async fn mongo() {
    let stored = Stored::new().await;
    let mut salt = Salt::start(&options("mongo", &stored.stores.mongo.options()));
    assert_eq!(salt.call("mongo", "get_load", [stored.jid()]), stored.load);
    assert_eq!(salt.call("mongo", "get_jid", [stored.jid()]), stored.by_minion());
    // Fault 16: one document, not one a minion, and the list of minions in a list.
    let one = salt.call("mongo", "get_fun", [json!("test.arg")]);
    assert!(stored.returns.contains(&one["full_ret"]), "{one}");
    assert_eq!(sorted(salt.call("mongo", "get_minions", [])[0].take()), ["web1", "web2"]);
    // `get_jids` runs JavaScript on the server, which neither of the two here does.
}

#[tokio::test]
async fn sqlite() {
    let stored = Stored::new().await;
    let mut salt = Salt::start(&options("sqlite3", &stored.stores.sqlite.options()));
    assert_eq!(salt.call("sqlite3", "get_load", [stored.jid()]), stored.load);
    // Salt's module gives one minion of a job, and of it what the function returned.
    let one = salt.call("sqlite3", "get_jid", [stored.jid()]);
    assert_eq!(one, json!({"web1": {"return": stored.returns[0]["return"]}}));
    assert_eq!(sorted(salt.call("sqlite3", "get_minions", [])), ["web1", "web2"]);
    is_listed(&salt.call("sqlite3", "get_jids", []), "sqlite3", &stored);
    // Its `get_fun` never worked: it takes the text of a return for a dictionary.
    assert!(salt.try_call("sqlite3", "get_fun", [json!("test.arg")]).is_err());
}
