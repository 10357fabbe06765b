//! The host reads what Salt's own modules wrote.

use returner_servers::{Host, Salt, load, new_jid, ret};
use serde_json::{Map, Value, json};

use super::cases::options;
use super::sqlite::SALTS;
use crate::stores::{NAMES, Stores};

/// Salt's module cannot write all of Unicode into the tables of its manual (fault 9).
const MYSQL: &str = include_str!("../../../plugins/mysql/schema.sql");

fn all_options(stores: &Stores) -> Map<String, Value> {
    let mut all = Map::new();
    for (name, given) in [
        ("mysql", stores.mysql.options()),
        ("mongo", stores.mongo.options()),
        ("redis", stores.redis.options()),
        ("sqlite3", stores.sqlite.options()),
    ] {
        all.extend(options(name, &given));
    }
    all
}

#[tokio::test]
async fn by_job_by_function_and_by_minion() {
    let stores = Stores::new().await;
    stores.mysql.execute(MYSQL).await;
    stores.sqlite.execute(SALTS).await;
    let mut salt = Salt::start(&all_options(&stores));
    let (old, new) = (new_jid(), new_jid());
    let mut saved = load(&old, "test.arg");
    saved["kwargs"] = json!({"a.b": {"$c": 1}});
    let returns = [
        ret(&old, "web1", "test.arg", json!({"é": [1, "\u{1F600}"]})),
        ret(&old, "web2", "test.arg", json!(9_007_199_254_740_993_i64)),
        ret(&new, "web1", "test.arg", json!("newer")),
    ];
    for name in NAMES {
        salt.call(name, "save_load", [json!(old), saved.clone()]);
        salt.call(name, "save_load", [json!(new), load(&new, "test.arg")]);
        for item in &returns {
            salt.call(name, "returner", [item.clone()]);
        }
    }
    let host = Host::start(&stores.config()).await;
    for name in NAMES {
        let ask = async |path: &str| host.get(&format!("{path}?returner={name}")).await.expect(200).json();
        assert_eq!(ask(&format!("/v1/jobs/{old}")).await["load"], saved, "{name}");
        let same = async |path: &str, expected: &[&Value]| {
            let answer = ask(path).await;
            let mut found = answer["returns"].as_array().cloned().unwrap_or_default();
            found.sort_by_key(|entry| entry["minion"].as_str().unwrap_or_default().to_owned());
            assert_eq!(found.len(), expected.len(), "{name} {path}: {answer}");
            for (entry, expected) in found.iter().zip(expected) {
                // Salt's `sqlite3` keeps no more than these.
                for field in ["jid", "id", "fun", "return"] {
                    assert_eq!(entry["full"][field], expected[field], "{name} {path}: {entry}");
                }
                if name != "sqlite3" {
                    assert_eq!(&&entry["full"], expected, "{name} {path}");
                }
            }
        };
        same(&format!("/v1/jobs/{old}/returns"), &[&returns[0], &returns[1]]).await;
        same("/v1/functions/test.arg/returns", &[&returns[2], &returns[1]]).await;
        let mut minions = ask("/v1/minions").await["minions"].as_array().cloned().unwrap_or_default();
        minions.sort_by_key(Value::to_string);
        assert_eq!(minions, [json!("web1"), json!("web2")], "{name}");
        let jobs = ask("/v1/jobs").await;
        let jids: Vec<&Value> =
            jobs["jobs"].as_array().into_iter().flatten().map(|job| &job["jid"]).collect();
        assert_eq!(jids, [&json!(old), &json!(new)], "{name}: {jobs}");
    }
}
