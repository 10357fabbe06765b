//! Redis: keys, their values, and when they expire.

use returner_servers::{Host, Redis, RedisDatabase, Salt, load, new_jid};
use serde_json::{Value, json};

use super::cases::{Case, cases, options, store};
use super::contents::{Contents, Difference, compare, name_of};

/// Salt keeps jobs for a day if nothing else is configured.
const DAY: i64 = 86_400;

const DIFFERENCES: [Difference; 3] = [
    Difference {
        place: "last/web1:['test.ping', 'cmd.run']",
        mends: "fault 10: Salt's key of a compound job is Python's way to print a list",
    },
    Difference { place: "last/web1:test.ping,cmd.run", mends: "fault 10: the key of a compound job" },
    Difference {
        place: "overwritten/load",
        mends: "fault 7 (issue 58612): a return overwrites the load of its job",
    },
];

async fn contents(database: &RedisDatabase, cases: &[Case]) -> Contents {
    let mut contents = Contents::default();
    for key in database.keys().await {
        let ttl: i64 = database.ask(&["TTL", &key]).await;
        let ttl = match ttl {
            // The two did not write in the same second.
            ttl if (DAY - 300..=DAY).contains(&ttl) => json!("a day"),
            other => json!(other),
        };
        if let Some(jid) = key.strip_prefix("ret:") {
            let case = name_of(cases, jid);
            let fields: Vec<(String, String)> = database.ask(&["HGETALL", &key]).await;
            for (minion, full) in fields {
                contents.put_json(case, &format!("ret of {minion}"), &full);
            }
            contents.put(case, "ttl", ttl);
        } else if let Some(jid) = key.strip_prefix("load:") {
            let load: String = database.ask(&["GET", &key]).await;
            let case = name_of(cases, jid);
            contents.put_json(case, "load", &load);
            contents.put(case, "ttl of load", ttl);
        } else if key == "minions" {
            let mut minions: Vec<String> = database.ask(&["SMEMBERS", &key]).await;
            minions.sort();
            contents.put("minions", "members", json!(minions));
            contents.put("minions", "ttl", ttl);
        } else {
            let jid: String = database.ask(&["GET", &key]).await;
            contents.put("last", &key, json!([name_of(cases, &jid), ttl]));
        }
    }
    contents
}

#[tokio::test]
async fn keys_are_salts() {
    let server = Redis::shared().await;
    let (ours, salts) = (server.database().await, server.database().await);
    let host = Host::start(&format!("return: redis\nkeep_jobs_seconds: {DAY}\n{}", ours.config())).await;
    let mut options = options("redis", &salts.options());
    options.insert("keep_jobs_seconds".to_owned(), json!(DAY));
    let mut salt = Salt::start(&options);
    let mut cases = cases();
    let raised = store(&cases, &mut salt, "redis", &host).await;
    assert!(raised.is_empty(), "{raised:?}");
    for name in ["kept", "overwritten"] {
        let load = load(&new_jid(), "state.apply");
        let jid = load["jid"].clone();
        salt.call("redis", "save_load", [jid.clone(), load.clone()]);
        host.store("/v1/loads", &load).await;
        if name == "overwritten" {
            let again = json!({"jid": jid, "fun": "state.apply", "return": Value::Null});
            salt.call("redis", "save_load", [jid, again.clone()]);
            host.store("/v1/loads", &again).await;
        }
        cases.push(Case { name, item: load });
    }
    compare(&contents(&ours, &cases).await, &contents(&salts, &cases).await, &DIFFERENCES);
}

#[tokio::test]
async fn jobs_that_are_kept_for_ever_have_no_end() {
    let ours = Redis::shared().await.database().await;
    let host = Host::start(&format!("return: redis\nkeep_jobs_seconds: 0\n{}", ours.config())).await;
    let cases = cases();
    host.store("/v1/returns", &cases[0].item).await;
    // Salt's module has the server refuse the command, or delete the key (fault 14).
    assert_eq!(ours.ask::<i64>(&["TTL", &format!("ret:{}", cases[0].jid())]).await, -1);
}
