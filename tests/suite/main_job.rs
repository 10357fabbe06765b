//! The main job: a return, a load and an event go in, stand in all four stores, and are
//! read back by job, by function and by minion.

use std::path::Path;

use mongodb::bson::doc;
use reqwest::Method;
use returner_servers::{
    Authority, Host, Redis, SqliteDatabase, bson_as_json, event, guest, load, new_jid, ret, returner, until,
};
use serde_json::{Value, json};

use crate::stores::{NAMES, Stores, TUTORIAL};

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("not JSON ({error}): {text}"))
}

#[tokio::test]
async fn a_return_a_load_and_an_event_stand_in_all_stores() {
    let stores = Stores::new().await;
    stores.mysql.execute(TUTORIAL).await;
    let host = Host::start(&stores.config()).await;
    let jid = new_jid();
    let load = load(&jid, "test.ping");
    let ret = ret(&jid, "web1", "test.ping", json!({"up": true, "näme": [1, 2.5, null]}));
    let event = event("salt/job/1/new", json!({"jid": jid, "_stamp": "2026-02-14T09:30:12.345678"}));
    for (path, item) in [("/v1/loads", &load), ("/v1/returns", &ret), ("/v1/events", &event)] {
        let stored = host.store(path, item).await;
        assert_eq!(
            (&stored["accepted"], &stored["duplicates"], &stored["stored"]),
            (&json!(1), &json!(0), &json!(true))
        );
    }
    in_mysql(&stores, &load, &ret, &event).await;
    in_sqlite(&stores, &load, &ret, &event).await;
    in_redis(&stores, &load, &ret, &event).await;
    in_mongo(&stores, &load, &ret, &event).await;
}

type Texts<const N: usize> = [String; N];

async fn in_mysql(stores: &Stores, load: &Value, ret: &Value, event: &Value) {
    let loads: Vec<(String, String)> = stores.mysql.rows("SELECT `jid`, `load` FROM jids").await;
    assert_eq!(loads.len(), 1);
    assert_eq!((&json!(loads[0].0), &parsed(&loads[0].1)), (&load["jid"], load));
    let query = "SELECT fun, jid, `return`, id, success, full_ret FROM salt_returns";
    let returns: Vec<(String, String, String, String, String, String)> = stores.mysql.rows(query).await;
    assert_eq!(returns.len(), 1);
    let (fun, jid, value, id, success, full) = &returns[0];
    let names: Texts<4> = [fun, jid, id, success].map(Clone::clone);
    assert_eq!(names, ["test.ping", ret["jid"].as_str().unwrap_or_default(), "web1", "1"]);
    assert_eq!((parsed(value), &parsed(full)), (ret["return"].clone(), ret));
    let events: Vec<(String, String, String)> =
        stores.mysql.rows("SELECT tag, data, master_id FROM salt_events").await;
    assert_eq!(events.len(), 1);
    let (tag, data, master) = &events[0];
    assert_eq!(
        (tag.as_str(), parsed(data), master.as_str()),
        ("salt/job/1/new", event["data"].clone(), "master1")
    );
}

async fn in_sqlite(stores: &Stores, load: &Value, ret: &Value, event: &Value) {
    let loads: Vec<(String, String)> = stores.sqlite.rows("SELECT `jid`, `load` FROM jids").await;
    assert_eq!(loads.len(), 1);
    assert_eq!(parsed(&loads[0].1), *load);
    // Salt's table has what the function returned under the name `full_ret`.
    let query = "SELECT fun, jid, id, success, full_ret FROM salt_returns";
    let returns: Vec<(String, String, String, String, String)> = stores.sqlite.rows(query).await;
    assert_eq!(returns.len(), 1);
    let (fun, _, id, success, value) = &returns[0];
    assert_eq!((fun.as_str(), id.as_str(), success.as_str()), ("test.ping", "web1", "1"));
    assert_eq!(parsed(value), ret["return"]);
    let events: Vec<(String, String)> = stores.sqlite.rows("SELECT tag, data FROM salt_events").await;
    assert_eq!(events.len(), 1);
    assert_eq!(parsed(&events[0].1), event["data"]);
}

async fn in_redis(stores: &Stores, load: &Value, ret: &Value, event: &Value) {
    let jid = ret["jid"].as_str().unwrap_or_default();
    let stored: String = stores.redis.ask(&["HGET", &format!("ret:{jid}"), "web1"]).await;
    assert_eq!(parsed(&stored), *ret);
    let stored: String = stores.redis.ask(&["GET", &format!("load:{jid}")]).await;
    assert_eq!(parsed(&stored), *load);
    let last: String = stores.redis.ask(&["GET", "web1:test.ping"]).await;
    assert_eq!(last, jid);
    let minions: Vec<String> = stores.redis.ask(&["SMEMBERS", "minions"]).await;
    assert_eq!(minions, ["web1"]);
    let keys = stores.redis.keys().await;
    let key = keys.iter().find(|key| key.starts_with("event:")).expect("a key for the event");
    let stored: String = stores.redis.ask(&["GET", key]).await;
    assert_eq!(parsed(&stored)["data"], event["data"]);
}

async fn in_mongo(stores: &Stores, load: &Value, ret: &Value, event: &Value) {
    let jobs = stores.mongo.find("jobs", doc! {}).await;
    assert_eq!(jobs.len(), 1);
    assert_eq!(bson_as_json(&jobs[0]), *load);
    let returns = stores.mongo.find("saltReturns", doc! {}).await;
    assert_eq!(returns.len(), 1);
    let stored = bson_as_json(&returns[0]);
    let expected = json!({
        "minion": "web1", "jid": ret["jid"], "fun": "test.ping", "return": ret["return"], "full_ret": ret,
    });
    assert_eq!(stored, expected);
    let events = stores.mongo.find("events", doc! {}).await;
    assert_eq!(events.len(), 1);
    let stored = bson_as_json(&events[0]);
    assert_eq!((&stored["tag"], &stored["data"]), (&event["tag"], &event["data"]));
}

#[tokio::test]
async fn each_store_answers_by_job_by_function_and_by_minion() {
    let stores = Stores::new().await;
    let host = Host::start(&stores.config()).await;
    let (old, new, other) = (new_jid(), new_jid(), new_jid());
    let returns = [
        ret(&old, "web1", "test.ping", json!(1)),
        ret(&old, "web2", "test.ping", json!(2)),
        ret(&new, "web1", "test.ping", json!(3)),
        ret(&other, "web1", "cmd.run", json!("text")),
    ];
    host.store("/v1/loads", &json!([load(&old, "test.ping"), load(&new, "test.ping")])).await;
    for item in &returns {
        host.store("/v1/returns", item).await;
    }
    for name in NAMES {
        let ask = async |path: &str| host.get(&format!("{path}?returner={name}")).await.expect(200).json();
        assert_eq!(ask(&format!("/v1/jobs/{old}")).await["load"]["fun"], "test.ping", "{name}");
        let fulls = async |path: &str| {
            let answer = ask(path).await;
            let mut found: Vec<Value> = answer["returns"].as_array().into_iter().flatten().cloned().collect();
            found.sort_by_key(|entry| entry["minion"].as_str().unwrap_or_default().to_owned());
            found.into_iter().map(|mut entry| entry["full"].take()).collect::<Vec<_>>()
        };
        assert_eq!(fulls(&format!("/v1/jobs/{old}/returns")).await, returns[..2], "{name}");
        let last = [returns[2].clone(), returns[1].clone()];
        assert_eq!(fulls("/v1/functions/test.ping/returns").await, last, "{name}");
        let minions = ask("/v1/minions").await;
        let mut minions: Vec<&str> =
            minions["minions"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        minions.sort_unstable();
        assert_eq!(minions, ["web1", "web2"], "{name}");
        let jobs = ask("/v1/jobs").await;
        let jobs: Vec<&Value> =
            jobs["jobs"].as_array().into_iter().flatten().map(|job| &job["jid"]).collect();
        assert_eq!(jobs, [&json!(old), &json!(new)], "{name}: newest last");
        let newest = host.get(&format!("/v1/jobs?returner={name}&limit=1")).await.expect(200).json();
        assert_eq!(newest["jobs"][0]["jid"], json!(new), "{name}");
        host.get(&format!("/v1/jobs/20200101000000000000?returner={name}")).await.problem(404);
    }
}

#[tokio::test]
async fn minions_that_join_later_are_minions_of_the_job() {
    let stores = Stores::new().await;
    let host = Host::start(&stores.config()).await;
    let jid = new_jid();
    host.store("/v1/loads", &load(&jid, "test.ping")).await;
    host.store(&format!("/v1/jobs/{jid}/minions"), &json!(["web1", "web2"])).await;
    host.store(&format!("/v1/jobs/{jid}/minions"), &json!(["web2", "web3"])).await;
    for name in NAMES {
        let job = host.get(&format!("/v1/jobs/{jid}?returner={name}")).await.expect(200).json();
        let mut minions = job["load"]["Minions"].as_array().cloned().unwrap_or_default();
        minions.sort_by_key(Value::to_string);
        assert_eq!(minions, ["web1", "web2", "web3"], "{name}");
        assert_eq!(job["load"]["user"], "root", "{name}: the load is whole");
    }
}

#[tokio::test]
async fn what_is_old_can_be_deleted() {
    let stores = Stores::new().await;
    let host = Host::start(&stores.config()).await;
    // One of long ago, and one whose id the host makes of the time that it is.
    let old = "20200214093012345678";
    host.store("/v1/loads", &load(old, "test.ping")).await;
    host.store("/v1/returns", &ret(old, "web1", "test.ping", json!(true))).await;
    let answer = host.store("/v1/returns", &ret("req", "web1", "test.ping", json!(true))).await;
    let new = answer["assigned"][0]["jid"].as_str().expect("a job id").to_owned();
    // Ids that are no times, before those that are: more than any store reads at once.
    let epochs: Vec<String> = (0..600).map(|number| format!("1{number:09}")).collect();
    let returns: Value = epochs.iter().map(|jid| ret(jid, "web1", "test.ping", json!(jid))).collect();
    host.store("/v1/returns", &returns).await;
    for name in NAMES {
        let delete = async |age: &str| {
            let path = format!("/v1/jobs?older_than={age}&returner={name}");
            host.send(Method::DELETE, &path, "").await.expect(200).json()["deleted"].as_u64()
        };
        let status = async |jid: &str| host.get(&format!("/v1/jobs/{jid}?returner={name}")).await.status;
        assert_eq!(delete("30d").await, Some(1), "{name}");
        assert_eq!((status(old).await, status(&new).await), (404, 200), "{name}");
        for jid in [&epochs[0], &epochs[599]] {
            let path = format!("/v1/jobs/{jid}/returns?returner={name}");
            let kept = host.get(&path).await.expect(200).json();
            assert_eq!(kept["returns"].as_array().map(Vec::len), Some(1), "{name}: {kept}");
        }
        let returns = host.get(&format!("/v1/jobs/{old}/returns?returner={name}")).await.expect(200).json();
        assert_eq!(returns["returns"], json!([]), "{name}: no orphan remains");
    }
}

/// What comes late, by `returner salt backfill` for example, is no news.
#[tokio::test]
async fn the_newest_return_of_a_function_is_by_its_job_and_not_by_its_arrival() {
    let stores = Stores::new().await;
    let host = Host::start(&stores.config()).await;
    for jid in ["20260214093012345678", "20260213093012345678"] {
        host.store("/v1/returns", &ret(jid, "web1", "test.ping", json!(jid))).await;
    }
    for name in NAMES {
        let path = format!("/v1/functions/test.ping/returns?returner={name}");
        let found = host.get(&path).await.expect(200).json();
        assert_eq!(found["returns"][0]["full"]["jid"], "20260214093012345678", "{name}: {found}");
    }
}

#[tokio::test]
async fn a_body_is_an_object_an_array_or_a_line_each() {
    let database = SqliteDatabase::new();
    let host = Host::start(&database.config()).await;
    let jid = new_jid();
    let one = |minion: &str| ret(&jid, minion, "test.ping", json!(true)).to_string();
    let bodies =
        [one("a"), format!("[{},\n{}]", one("b"), one("c")), format!("{}\n\n{}\r\n", one("d"), one("e"))];
    for (body, count) in bodies.into_iter().zip([1, 2, 2]) {
        let answer = host.send(Method::POST, "/v1/returns?wait=stored", body).await.expect(200).json();
        assert_eq!(answer["accepted"], count);
    }
    assert_eq!(database.count("salt_returns").await, 5);
}

#[tokio::test]
async fn the_same_return_twice_is_stored_once() {
    let database = SqliteDatabase::new();
    let host = Host::start(&database.config()).await;
    let mut item = ret(&new_jid(), "web1", "test.ping", json!({"a": 1, "b": 2}));
    host.store("/v1/returns", &item).await;
    // As it comes by the event bus: other volatile fields, another order.
    item["cmd"] = json!("_return");
    item["_stamp"] = json!("2026-02-14T09:30:12.345678");
    item["return"] = json!({"b": 2, "a": 1});
    let answer = host.store("/v1/returns", &item).await;
    assert_eq!((&answer["accepted"], &answer["duplicates"]), (&json!(0), &json!(1)));
    assert_eq!(database.count("salt_returns").await, 1);
}

/// A `master_job_cache` gets what Salt trimmed: it says so, and stands beside no whole one.
#[tokio::test]
async fn a_return_that_lacks_something_is_marked_and_left_out_where_the_whole_one_is() {
    let database = SqliteDatabase::new();
    let host = Host::start(&format!("return: sqlite3\n{}", database.config())).await;
    let jid = new_jid();
    let of = |minion: &str, value: Value| ret(&jid, minion, "test.echo", value);
    let large = json!("x".repeat(20_000));
    let taken = |answer: Value| (answer["accepted"].clone(), answer["duplicates"].clone());
    for (minion, value, expected) in [
        ("web1", large.clone(), (json!(1), json!(0))),
        ("web1", json!("VALUE_TRIMMED"), (json!(0), json!(1))),
        ("web2", json!({"blob": "VALUE_TRIMMED"}), (json!(1), json!(0))),
        ("web2", json!({"blob": "VALUE_TRIMMED"}), (json!(0), json!(1))),
    ] {
        assert_eq!(taken(host.store("/v1/returns", &of(minion, value)).await), expected, "{minion}");
    }
    let stored = host.get(&format!("/v1/jobs/{jid}/returns")).await.expect(200).json();
    let full = |minion: &str| {
        let returns = stored["returns"].as_array().expect("a list");
        returns.iter().find(|one| one["minion"] == minion).expect("it is stored")["full"].clone()
    };
    assert_eq!((&full("web1")["return"], full("web1").get("value_trimmed")), (&large, None));
    assert_eq!(full("web2")["value_trimmed"], json!(true));
    let status = returner(host.directory(), &["status", "--url", &host.url("")]);
    assert!(
        status.expect(0).stdout.contains("1 return stored without what Salt leaves out"),
        "{}",
        status.stdout
    );
}

#[tokio::test]
async fn a_request_names_its_returners() {
    let stores = Stores::new().await;
    let host = Host::start(&format!("return: sqlite3\n{}", stores.connections())).await;
    let item = ret(&new_jid(), "web1", "test.ping", json!(true));
    host.post("/v1/returns?returner=mysql,redis&wait=stored", &item).await.expect(200);
    assert_eq!(stores.mysql.count("salt_returns").await, 1);
    assert!(stores.redis.keys().await.contains(&"minions".to_owned()));
    // The other one is not there.
    host.store("/v1/returns", &ret(&new_jid(), "web1", "test.ping", json!(true))).await;
    assert_eq!(stores.sqlite.count("salt_returns").await, 1);
    let problem = host.post("/v1/returns?returner=mysql,mysq", &item).await.problem_saying(404, "mysq");
    assert_eq!(problem["known"], json!(["mongo", "mysql", "redis", "sqlite3"]));
}

#[tokio::test]
async fn ret_config_and_ret_kwargs_choose_another_database() {
    let stores = Stores::new().await;
    let other = Stores::new().await;
    let config =
        format!("return: mysql\n{}{}", stores.mysql.config(), other.mysql.config_as("alternative.mysql"));
    let host = Host::start(&config).await;
    let mut item = ret(&new_jid(), "web1", "test.ping", json!(true));
    item["ret_config"] = json!("alternative");
    host.store("/v1/returns", &item).await;
    assert_eq!(other.mysql.count("salt_returns").await, 1);
    assert_eq!(stores.mysql.count("salt_returns").await, 0);
    let mut item = ret(&new_jid(), "web1", "test.ping", json!(true));
    item["ret_kwargs"] = json!({"db": other.mysql.name()});
    host.store("/v1/returns", &item).await;
    assert_eq!(other.mysql.count("salt_returns").await, 2);
}

/// Each asks for a returner of its own; there is no end of them.
#[tokio::test]
async fn returners_that_returns_ask_for_make_room_for_others() {
    let plugin = guest("hostile").await;
    let config = format!("return: odd\nodd.plugin: {}\nodd.options: {{setup: none}}\n", plugin.display());
    let host = Host::start(&config).await;
    let asking = |option: usize| {
        let mut item = ret(&new_jid(), "web1", "test.ping", json!(true));
        item["ret_kwargs"] = json!({"setup": option});
        item
    };
    // At once: one that is done before the last begins could make room for it.
    for option in 0..64 {
        host.post("/v1/returns", &asking(option)).await.expect(202);
    }
    host.post("/v1/returns", &asking(64)).await.problem_saying(429, "at once");
    until("an idle one to make room", async || {
        let answer = host.post("/v1/returns?wait=stored", &asking(64)).await;
        if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    // What nobody asked for any more can be asked for again, and be dropped.
    host.post("/v1/returns?wait=stored", &asking(1)).await.expect(200);
    let returners = host.get("/v1/returners").await.expect(200).json();
    let mut names =
        returners["returners"].as_array().into_iter().flatten().filter_map(|one| one["name"].as_str());
    let name = names.rfind(|name| name.contains('{')).expect("there are some").to_owned();
    let path = format!("/v1/lanes/{}", name.replace('{', "%7B").replace('"', "%22").replace('}', "%7D"));
    host.send(Method::DELETE, &path, "").await.expect(200);
    host.send(Method::DELETE, "/v1/lanes/odd", "").await.problem_saying(409, "is in the configuration");
}

#[tokio::test]
async fn without_a_configuration_it_stores_in_sqlite() {
    let host = Host::start_default().await;
    let jid = new_jid();
    host.store("/v1/returns", &ret(&jid, "web1", "test.ping", json!(true))).await;
    let returns = host.get(&format!("/v1/jobs/{jid}/returns")).await.expect(200).json();
    assert_eq!(returns["returns"][0]["minion"], "web1");
    assert!(host.directory().join("returner-data").is_dir());
    let greeting = host.log();
    for part in ["http://127.0.0.1:4510", "returner-data", "sqlite3", "curl "] {
        assert!(greeting.contains(part), "nothing of `{part}` in:\n{greeting}");
    }
}

/// A host is ready before the tables of a new database are made: its server may be away.
#[tokio::test]
async fn a_question_waits_until_the_tables_are_made() {
    let database = SqliteDatabase::new();
    let lock = database.locked().await;
    let (_, file) = &database.options()[0];
    let host = Host::start(&format!("sqlite3: {{database: '{file}', timeout: 60}}\n")).await;
    let release = async {
        assert_eq!(host.returner("sqlite3").await["state"], "setting-up");
        drop(lock);
    };
    let (answer, ()) = tokio::join!(host.get("/v1/jobs"), release);
    assert_eq!(answer.expect(200).json()["jobs"], json!([]));
}

/// Without `master_job_cache`, the first of `return` that can answer does.
#[tokio::test]
async fn a_returner_that_answers_no_questions_is_not_asked() {
    let (plugin, database) = (guest("nameless").await, SqliteDatabase::new());
    let plugin = format!("mute.plugin: {}\n", plugin.display());
    let config = format!("return: [mute, sqlite3]\n{plugin}{}", database.config());
    let host = Host::start(&config).await;
    let jid = new_jid();
    let item = ret(&jid, "web1", "test.ping", json!(true));
    host.post("/v1/returns?returner=sqlite3&wait=stored", &item).await.expect(200);
    let answers = host.get(&format!("/v1/jobs/{jid}/returns")).await.expect(200).json();
    assert_eq!(answers["returns"][0]["minion"], "web1", "{answers}");
    host.get(&format!("/v1/jobs/{jid}/returns?returner=mute"))
        .await
        .problem_saying(400, "answers no questions");
    let checked = returner(host.directory(), &["check", "--config", "returner.yaml"]);
    assert!(checked.expect(0).stdout.contains("questions to   sqlite3\n"), "{}", checked.stdout);
}

/// A server with a certificate that no public authority has signed, which wants one, too.
#[tokio::test]
async fn redis_speaks_tls() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (server, port) = Redis::start_with_tls(&authority.issue("redis"), &authority.ca()).await;
    let database = server.database().await;
    let client = authority.issue("host");
    let config = |ca: &Path| {
        let plain = database.config();
        let own =
            plain.lines().filter(|line| !line.starts_with("redis.port")).map(|line| format!("{line}\n"));
        format!(
            "return: redis\n{}redis.port: {port}\nredis.ssl_ca: {}\nredis.ssl_cert: {}\nredis.ssl_key: {}\n",
            own.collect::<String>(),
            ca.display(),
            client.certificate.display(),
            client.key.display()
        )
    };
    let host = Host::start(&config(&authority.ca())).await;
    let jid = new_jid();
    host.store("/v1/returns", &ret(&jid, "web1", "test.ping", json!(true))).await;
    assert_eq!(database.ask::<usize>(&["HLEN", &format!("ret:{jid}")]).await, 1);
    let stranger = Host::start(&config(&other.ca())).await;
    stranger.post("/v1/returns", &ret(&new_jid(), "web1", "test.ping", json!(true))).await.expect(202);
    until("the certificate to be refused", async || {
        let entry = stranger.returner("redis").await;
        let why = entry["last_error"].to_string();
        if why.contains("invalid peer certificate") { Ok(()) } else { Err(entry.to_string()) }
    })
    .await;
}
