//! Odd returns, as Salt does send them.

use mongodb::bson::{Bson, doc};
use returner_servers::{Host, Mariadb, Server, load, new_jid, ret, returner};
use serde_json::{Value, json};

use crate::stores::{NAMES, Stores, TUTORIAL};

/// The whole returns of a job, as a store gives them back.
async fn fulls(host: &Host, returner: &str, jid: &str) -> Vec<Value> {
    asked(host, &format!("/v1/jobs/{jid}/returns?returner={returner}")).await
}

/// The newest whole return of a function from each minion, in the order of the minions.
async fn of_function(host: &Host, returner: &str, fun: &str) -> Vec<Value> {
    let mut found = asked(host, &format!("/v1/functions/{fun}/returns?returner={returner}")).await;
    found.sort_by_key(|full| full["id"].as_str().unwrap_or_default().to_owned());
    found
}

async fn asked(host: &Host, path: &str) -> Vec<Value> {
    let answer = host.get(path).await.expect(200).json();
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

/// BSON has no integer for them, and not every server of MongoDB's protocol what it has
/// instead: one breaks the connection off, another one refuses.
#[tokio::test]
async fn the_greatest_integers_keep_their_digits() {
    for (server, stores) in [("shared", Stores::new().await), ("FerretDB", Stores::with_ferretdb().await)] {
        let host = Host::start(&stores.config()).await;
        for value in [
            json!(u64::MAX),
            json!({"a.b": [{"$c": 9_223_372_036_854_775_808_u64}, i64::MAX], "d": u64::MAX, "e": 1.5}),
            // A text that reads as one, beside one.
            json!([u64::MAX, u64::MAX.to_string()]),
        ] {
            let mut item = ret(&new_jid(), "web1", "test.big", value);
            item["fun_args"] = json!([u64::MAX, {"deep": [u64::MAX - 1]}]);
            comes_back(&host, &item).await;
        }
        let jid = new_jid();
        let value = json!({"a": u64::MAX, "b": i64::MAX});
        host.store("/v1/returns", &ret(&jid, "web1", "test.big", value)).await;
        let found = stores.mongo.find("saltReturns", doc! {"jid": &jid}).await;
        let expected = doc! {"a": "18446744073709551615", "b": i64::MAX};
        assert_eq!(found[0].get("return"), Some(&Bson::Document(expected)), "{server}");
        assert_eq!(found[0].get("stored_as"), Some(&Bson::String("integers".to_owned())), "{server}");
    }
}

#[tokio::test]
async fn loads_and_events_with_the_greatest_integers_are_stored() {
    for (server, stores) in [("shared", Stores::new().await), ("FerretDB", Stores::with_ferretdb().await)] {
        let host = Host::start(&stores.config()).await;
        // The minions of one job are known before its load is.
        let (usual, late) = (new_jid(), new_jid());
        host.store(&format!("/v1/jobs/{late}/minions"), &json!(["web1"])).await;
        for jid in [&usual, &late] {
            let mut load = returner_servers::load(jid, "test.big");
            load["arg"] = json!([u64::MAX]);
            host.store("/v1/loads", &load).await;
            host.store(&format!("/v1/jobs/{jid}/minions"), &json!(["web2"])).await;
            for name in NAMES {
                let job = host.get(&format!("/v1/jobs/{jid}?returner={name}")).await.expect(200).json();
                assert_eq!(job["load"]["arg"], load["arg"], "{server}, {name}: {job}");
                assert_eq!(job["load"]["jid"], json!(jid), "{server}, {name}: {job}");
                let minions = job["load"]["Minions"].as_array().cloned().unwrap_or_default();
                assert!(minions.contains(&json!("web2")), "{server}, {name}: {job}");
            }
        }
        host.store("/v1/events", &returner_servers::event("big", json!({"a": u64::MAX}))).await;
        let found = stores.mongo.find("events", doc! {"tag": "big"}).await;
        let expected = doc! {"a": "18446744073709551615"};
        assert_eq!(found[0].get("data"), Some(&Bson::Document(expected)), "{server}");
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
async fn functions_that_are_cut_to_the_same_text_are_told_apart() {
    let stores = Stores::new().await;
    stores.mysql.execute(TUTORIAL).await;
    let host = Host::start(&stores.config()).await;
    // As long as the column, which has the others as this one, too.
    let whole = format!("module.{}", "x".repeat(43));
    let (one, two) = (format!("{whole}_one"), format!("{whole}_two"));
    let (first, second, third) = (new_jid(), new_jid(), new_jid());
    let returns = [
        ret(&first, "web1", &one, json!(1)),
        ret(&second, "web1", &one, json!(2)),
        ret(&third, "web1", &two, json!(3)),
        ret(&first, "web2", &whole, json!(4)),
        ret(&second, "web2", &two, json!(5)),
        // Both in one job.
        ret(&third, "web3", &one, json!(6)),
        ret(&third, "web3", &two, json!(7)),
    ];
    for item in &returns {
        host.store("/v1/returns", item).await;
    }
    for (fun, expected) in [
        (&one, vec![&returns[1], &returns[5]]),
        (&two, vec![&returns[2], &returns[4], &returns[6]]),
        (&whole, vec![&returns[3]]),
    ] {
        assert_eq!(of_function(&host, "mysql", fun).await.iter().collect::<Vec<_>>(), expected, "{fun}");
    }
    assert!(of_function(&host, "mysql", &format!("{whole}_three")).await.is_empty());
    // Both are returns of their job, too.
    let mut of_job = fulls(&host, "mysql", &third).await;
    of_job.sort_by_key(|full| full["return"].as_i64());
    assert_eq!(of_job, [&returns[2], &returns[5], &returns[6]].map(Clone::clone));
}

/// The columns of Salt's manual have a collation that leaves out case and accents, also in the key
/// of `jids`; those of the host's own tables have not.
#[tokio::test]
async fn names_that_a_collation_takes_for_one_are_told_apart() {
    for (schema, minions) in [(TUTORIAL, 2), ("SELECT 1", 5)] {
        let database = Mariadb::shared().await.database().await;
        database.execute(schema).await;
        let host = Host::start(&format!("return: mysql\n{}", database.config())).await;
        let (older, newer) = (new_jid(), new_jid());
        let named = [format!("{newer}_Job"), format!("{newer}_job"), format!("{newer}_j\u{F6}b")];
        let returns = [
            ret(&newer, "web1", "test.ping", json!(1)),
            ret(&older, "Web1", "test.ping", json!(2)),
            ret(&older, "w\u{E9}b1", "test.ping", json!(3)),
            ret(&newer, "Web1", "Test.ping", json!(4)),
            ret(&newer, "web1", "Test.ping", json!(5)),
            ret(&named[0], "web2", "test.arg", json!(6)),
            ret(&named[1], "web2", "test.arg", json!(7)),
            ret(&named[2], "web2", "test.arg", json!(8)),
            ret(&named[1], "WEB2", "test.Arg", json!(9)),
        ];
        for item in &returns {
            host.store("/v1/returns", item).await;
        }
        for (fun, expected) in [
            ("test.ping", vec![1, 0, 2]),
            ("Test.ping", vec![3, 4]),
            ("test.Arg", vec![8]),
            ("TEST.ARG", vec![]),
        ] {
            let expected: Vec<Value> =
                expected.into_iter().map(|place: usize| returns[place].clone()).collect();
            assert_eq!(of_function(&host, "mysql", fun).await, expected, "{fun}");
        }
        for (place, jid) in named.iter().enumerate() {
            let mut found = fulls(&host, "mysql", jid).await;
            found.sort_by_key(|full| full["return"].as_i64());
            let expected =
                if place == 1 { vec![&returns[6], &returns[8]] } else { vec![&returns[5 + place]] };
            assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{jid}");
        }
        // Here the index is asked, which has each once.
        let found = host.get("/v1/minions?returner=mysql").await.expect(200).json();
        assert_eq!(found["minions"].as_array().map(Vec::len), Some(minions), "{found}");
    }
}

/// Many spellings of one minion's id are as many rows, and not as many by as many.
#[tokio::test]
async fn a_minion_of_many_spellings_makes_no_long_answer() {
    let database = Mariadb::shared().await.database().await;
    database.execute(TUTORIAL).await;
    let host =
        Host::start(&format!("return: mysql\nmysql.limits: {{rows: 1000}}\n{}", database.config())).await;
    let jid = new_jid();
    let spelled = |number: usize| -> String {
        let letter = |(place, small): (usize, char)| {
            if number >> place & 1 == 1 { small.to_ascii_uppercase() } else { small }
        };
        "abcdefghi".chars().enumerate().map(letter).collect()
    };
    let items: Vec<Value> =
        (0..500).map(|number| ret(&jid, &spelled(number), "test.ping", json!(number))).collect();
    host.store("/v1/returns", &json!(items)).await;
    assert_eq!(of_function(&host, "mysql", "test.ping").await.len(), 500);
}

/// The first job's load stands in the only row that the key has for both: that of the second one
/// is a dead letter, and never said to be stored.
#[tokio::test]
async fn a_load_whose_id_is_taken_by_another_jobs_is_a_dead_letter() {
    for (schema, other) in [(TUTORIAL, "_JOB"), ("SELECT 1", "_job ")] {
        let database = Mariadb::shared().await.database().await;
        database.execute(schema).await;
        let host = Host::start(&format!("return: mysql\n{}", database.config())).await;
        let jid = new_jid();
        let ids = ["_job", other].map(|end| format!("{jid}{end}"));
        host.store("/v1/loads", &load(&ids[0], "test.ping")).await;
        // Twice in a batch with another one that is new.
        let more = [load(&ids[1], "test.ping"), load(&jid, "test.ping"), load(&ids[1], "cmd.run")];
        host.post("/v1/loads", &json!(more)).await.expect(202);
        host.post(&format!("/v1/jobs/{}/minions", ids[1]), &json!({"minions": ["web1"]})).await.expect(202);
        host.wait_drained("mysql").await;
        let doing = host.returner("mysql").await;
        assert_eq!((&doing["dead"], &doing["stored"]), (&json!(3), &json!(2)), "{doing}");
        let dead = host.get("/v1/dead-letters").await;
        assert!(dead.text.contains("takes the id of another job for the same"), "{}", dead.text);
        let found: Vec<(String,)> = database.rows("SELECT jid FROM jids ORDER BY jid").await;
        assert_eq!(found, [(jid.clone(),), (ids[0].clone(),)]);
        for (id, status) in [(&ids[0], 200), (&jid, 200), (&ids[1], 404)] {
            let answer = host.get(&format!("/v1/jobs/{id}?returner=mysql")).await;
            answer.expect(status);
            let has_it = answer.text.contains(&format!("\"jid\":\"{id}\""));
            assert_eq!(status == 200, has_it, "{}", answer.text);
        }
    }
}

/// The tables of Salt's manual have MySQL's `utf8` of three bytes, and job ids and minions that are no
/// more than that: another one is set aside alone, also where it is asked for, and comes again.
#[tokio::test]
async fn a_name_that_a_column_cannot_have_stops_nobody_else() {
    let mut mariadb = Mariadb::start().await;
    let database = mariadb.database().await;
    database.execute(TUTORIAL).await;
    let mut host = Host::start(&format!("return: mysql\n{}", database.config())).await;
    let odd = format!("{}\u{1F600}", new_jid());
    host.post("/v1/loads", &load(&odd, "test.ping")).await.expect(202);
    host.post(&format!("/v1/jobs/{odd}/minions"), &json!({"minions": ["web1"]})).await.expect(202);
    host.store("/v1/returns", &ret(&new_jid(), "web1", "test.ping", json!(1))).await;
    host.get(&format!("/v1/jobs/{odd}")).await.expect(404);
    assert!(fulls(&host, "mysql", &odd).await.is_empty());
    assert_eq!(host.returner("mysql").await["dead"], 2);
    // Nobody knows what became of these.
    mariadb.pause();
    let items = [
        ret(&odd, "web1", "test.ping", json!(2)),
        ret(&new_jid(), "web\u{1F600}", "test.ping", json!(3)),
        ret(&new_jid(), "web1", "test.ping", json!(4)),
    ];
    host.post("/v1/returns", &json!(items)).await.expect(202);
    host.kill();
    mariadb.resume();
    host.restart().await;
    host.store("/v1/returns", &ret(&new_jid(), "web1", "test.ping", json!(5))).await;
    host.wait_drained("mysql").await;
    assert_eq!(host.returner("mysql").await["dead"], 4);
    assert_eq!(database.count("salt_returns").await, 3);
    drop(host);
    drop(database);
    drop(mariadb);
}

/// What comes after it in the file has done nothing wrong.
#[tokio::test]
async fn what_a_returner_rejects_holds_up_nothing_that_is_sent_behind_it() {
    let database = Mariadb::shared().await.database().await;
    database.execute(TUTORIAL).await;
    let host = Host::start(&format!("return: mysql\n{}", database.config())).await;
    let odd = ret(&format!("{}\u{1F600}", new_jid()), "web1", "test.ping", json!(0));
    let good = (0..1500).map(|number| ret(&new_jid(), "web1", "test.ping", json!(number)));
    let lines: Vec<String> = std::iter::once(odd).chain(good).map(|item| item.to_string()).collect();
    std::fs::write(host.directory().join("lines.ndjson"), lines.join("\n")).expect("a test's directory");
    let send = ["send", "--wait", "lines.ndjson", "--config", "returner.yaml"];
    let sent = returner(host.directory(), &send);
    assert_eq!(sent.expect(1).stdout.trim(), "1501 accepted, 0 duplicates, 0 refused");
    assert!(sent.stderr.contains("not all is stored: rejected by `mysql`"), "{}", sent.stderr);
    assert_eq!(database.count("salt_returns").await, 1500);
    let again = returner(host.directory(), &[&send[..], &["--json"]].concat());
    let told: Value = serde_json::from_str(&again.stdout).expect("JSON");
    assert_eq!((&told["accepted"], &told["duplicates"]), (&json!(0), &json!(1501)), "{told}");
}

/// `ret:<jid>` has one return a minion, as Salt's own hash: the one that came last.
#[tokio::test]
async fn a_return_is_no_answer_for_another_function_of_its_job() {
    let stores = Stores::new().await;
    let host = Host::start(&stores.config()).await;
    let jid = new_jid();
    let ping = ret(&jid, "web1", "test.ping", json!(true));
    let run = ret(&jid, "web1", "cmd.run", json!("x"));
    for item in [&ping, &run] {
        host.store("/v1/returns", item).await;
    }
    for name in NAMES {
        assert_eq!(of_function(&host, name, "cmd.run").await, std::slice::from_ref(&run), "{name}");
        let expected = if name == "redis" { vec![] } else { vec![ping.clone()] };
        assert_eq!(of_function(&host, name, "test.ping").await, expected, "{name}");
    }
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
