//! Odd returns, as Salt does send them.

use mongodb::bson::{Bson, doc};
use returner_servers::{Host, new_jid, ret};
use serde_json::{Value, json};

use crate::stores::{NAMES, Stores, TUTORIAL};

/// The whole returns of a job, as a store gives them back.
async fn fulls(host: &Host, returner: &str, jid: &str) -> Vec<Value> {
    let answer = host.get(&format!("/v1/jobs/{jid}/returns?returner={returner}")).await.expect(200).json();
    let returns = answer["returns"].as_array().cloned().unwrap_or_default();
    returns.into_iter().map(|mut entry| entry["full"].take()).collect()
}

/// Stores a return and claims that every store gives it back as it was.
async fn comes_back(host: &Host, item: &Value) {
    host.store("/v1/returns", item).await;
    for name in NAMES {
        let found = fulls(host, name, item["jid"].as_str().unwrap_or_default()).await;
        assert_eq!(found, std::slice::from_ref(item), "{name}");
    }
}

#[tokio::test]
async fn odd_values_come_back_from_every_store() {
    let stores = Stores::new().await;
    stores.mysql.execute(TUTORIAL).await;
    let host = Host::start(&stores.config()).await;
    for value in [
        json!("\u{1F600} and \u{0000} and \\ud83d and 'quotes' \"both\""),
        json!({"pkg_|-x.y_|-x.y_|-installed": {"result": true, "changes": {"a.b": {"$new": 1, "$set": {}}}}}),
        json!({"": {"%2e": ".", "\u{FF0E}": "\u{FF04}", "_id": 1}, "a": [{"b.c": [{"$d": null}]}]}),
        json!([9_007_199_254_740_993_i64, -9_223_372_036_854_775_808_i64]),
        json!([1.0, -0.5, 1e300, 0, -1]),
        json!({"$oid": "0123456789abcdef01234567", "$date": "x"}),
        json!(null),
        json!(""),
        json!("x".repeat(1 << 20)),
    ] {
        comes_back(&host, &ret(&new_jid(), "wéb", "test.arg", value)).await;
    }
}

#[tokio::test]
async fn numbers_keep_their_digits() {
    let stores = Stores::new().await;
    let host = Host::start(&stores.config()).await;
    let jid = new_jid();
    host.store("/v1/returns", &ret(&jid, "web1", "test.big", json!(9_007_199_254_740_993_i64))).await;
    for name in NAMES {
        let answer = host.get(&format!("/v1/jobs/{jid}/returns?returner={name}")).await;
        assert!(answer.text.contains("9007199254740993"), "{name}: {}", answer.text);
    }
    let found = stores.mongo.find("saltReturns", doc! {"jid": &jid}).await;
    assert_eq!(found[0].get("return"), Some(&Bson::Int64(9_007_199_254_740_993)));
}

/// Of MongoDB's servers only MongoDB has a type for them (Decimal128).
#[tokio::test]
async fn the_greatest_integers_keep_their_digits() {
    let stores = Stores::new().await;
    let host = Host::start(&stores.config()).await;
    let names =
        NAMES.into_iter().filter(|name| *name != "mongo" || std::env::var_os("MONGODB_URL").is_some());
    for name in names {
        let jid = new_jid();
        let item = ret(&jid, "web1", "test.big", json!(u64::MAX));
        host.post(&format!("/v1/returns?wait=stored&returner={name}"), &item).await.expect(200);
        assert_eq!(fulls(&host, name, &jid).await, [item], "{name}");
    }
}

#[tokio::test]
async fn dots_and_dollars_survive_a_server_that_refuses_them() {
    let stores = Stores::with_ferretdb().await;
    let host = Host::start(&format!("return: mongo\n{}", stores.connections())).await;
    let value = json!({"a.b": {"$new": [{"c.d": 1}], "%2e": 2}, "plain": 3});
    let item = ret(&new_jid(), "web1", "state.apply", value);
    let jid = item["jid"].as_str().unwrap_or_default();
    // With one that the server takes: each is written in the form that it needs.
    let plain = ret(jid, "web2", "state.apply", json!({"plain": 1}));
    host.store("/v1/returns", &json!([item, plain])).await;
    let mut found = fulls(&host, "mongo", jid).await;
    found.sort_by_key(|full| full["id"].as_str().unwrap_or_default().to_owned());
    assert_eq!(found, [item.clone(), plain]);
}

#[tokio::test]
async fn compound_jobs() {
    let stores = Stores::new().await;
    stores.mysql.execute(TUTORIAL).await;
    let host = Host::start(&stores.config()).await;
    let functions = json!(["test.ping", "cmd.run", "a_very_long_module_name.and_a_very_long_function"]);
    let mut item = ret(&new_jid(), "web1", "", json!({"test.ping": true, "cmd.run": "x"}));
    item["fun"] = functions.clone();
    item["success"] = json!({"test.ping": true, "cmd.run": false});
    item["retcode"] = json!({"test.ping": 0, "cmd.run": 1});
    comes_back(&host, &item).await;
    let rows: Vec<(String, String)> = stores.mysql.rows("SELECT fun, success FROM salt_returns").await;
    let (fun, success) = &rows[0];
    assert_eq!((fun.len(), success.as_str()), (50, "0"), "{fun}");
    assert!(fun.starts_with("test.ping,cmd.run,a_very"), "{fun}");
    // `multifunc_ordered`: lists instead of dictionaries.
    let mut item = ret(&new_jid(), "web1", "", json!([true, "x"]));
    item["fun"] = json!(["test.ping", "cmd.run"]);
    item["success"] = json!([true, true]);
    item["retcode"] = json!([0, 0]);
    comes_back(&host, &item).await;
}

#[tokio::test]
async fn a_long_function_is_cut_in_its_column_only() {
    let stores = Stores::new().await;
    stores.mysql.execute(TUTORIAL).await;
    let host = Host::start(&stores.config()).await;
    let fun = format!("module.{}", "é".repeat(80));
    comes_back(&host, &ret(&new_jid(), "web1", &fun, json!(true))).await;
    let rows: Vec<(String,)> = stores.mysql.rows("SELECT fun FROM salt_returns").await;
    assert_eq!(rows[0].0, fun.chars().take(50).collect::<String>());
}

#[tokio::test]
async fn resources_of_a_minion_do_not_overwrite_each_other() {
    let stores = Stores::new().await;
    let host = Host::start(&stores.config()).await;
    let jid = new_jid();
    let items: Vec<Value> = [None, Some("disk0"), Some("disk1")]
        .into_iter()
        .map(|resource| {
            let mut item = ret(&jid, "web1", "test.ping", json!(true));
            if let Some(resource) = resource {
                item["resource_id"] = json!(resource);
            }
            item
        })
        .collect();
    host.store("/v1/returns", &json!(items)).await;
    for name in NAMES {
        let mut found = fulls(&host, name, &jid).await;
        found.sort_by_key(|full| full["resource_id"].as_str().unwrap_or_default().to_owned());
        assert_eq!(found, items, "{name}");
    }
    // Salt's own module finds the minion's own return where it looks for it.
    let plain: String = stores.redis.ask(&["HGET", &format!("ret:{jid}"), "web1"]).await;
    assert_eq!(serde_json::from_str::<Value>(&plain).ok(), Some(items[0].clone()));
}

#[tokio::test]
async fn a_return_without_a_job_is_given_one_and_never_taken_for_a_duplicate() {
    let stores = Stores::new().await;
    let host = Host::start(&stores.config()).await;
    let item = ret("req", "web1", "state.apply", json!(true));
    let mut given = Vec::new();
    for _ in 0..2 {
        let answer = host.store("/v1/returns", &item).await;
        assert_eq!((&answer["accepted"], &answer["assigned"][0]["index"]), (&json!(1), &json!(0)));
        let jid = answer["assigned"][0]["jid"].as_str().expect("a job id").to_owned();
        assert!(jid.len() == 20 && jid.bytes().all(|byte| byte.is_ascii_digit()), "{jid}");
        given.push(jid);
    }
    assert_ne!(given[0], given[1]);
    for name in NAMES {
        for jid in &given {
            let mut expected = item.clone();
            expected["jid"] = json!(jid);
            assert_eq!(fulls(&host, name, jid).await, [expected], "{name}");
            // As Salt's own returners do, the return is the load of its job.
            let job = host.get(&format!("/v1/jobs/{jid}?returner={name}")).await.expect(200).json();
            assert_eq!(job["load"]["fun"], "state.apply", "{name}");
        }
    }
    assert!(stores.redis.keys().await.iter().all(|key| !key.contains("req")), "no key of `req`");
}

#[tokio::test]
async fn the_first_load_of_a_job_wins() {
    let stores = Stores::new().await;
    let host = Host::start(&stores.config()).await;
    let jid = new_jid();
    let load = returner_servers::load(&jid, "test.ping");
    host.store("/v1/loads", &load).await;
    // Salt sends the return as the load, again with every return.
    host.store("/v1/loads", &ret(&jid, "web1", "test.ping", json!(true))).await;
    for name in NAMES {
        let job = host.get(&format!("/v1/jobs/{jid}?returner={name}")).await.expect(200).json();
        assert_eq!(job["load"]["tgt"], "*", "{name}: {job}");
        assert!(job["load"].get("return").is_none(), "{name}: {job}");
    }
}
