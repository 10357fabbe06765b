//! The tutorial's commands.

use mongodb::bson::doc;
use returner_servers::{Mariadb, SaltVersion, until};
use serde_json::json;

use super::{Fixture, of_both_versions};

of_both_versions!(each_way_of_naming_a_returner_stores);

async fn each_way_of_naming_a_returner_stores(version: SaltVersion) {
    let alternative = Mariadb::shared().await.database().await;
    let more = alternative.config_as("alternative.mysql");
    let fixture = Fixture::with(
        version,
        &more,
        "return: sqlite3\nschedule:\n  often: {function: test.fib, args: [7], seconds: 2, returner: redis}\n",
    )
    .await;
    let master = &fixture.master;

    // `--return`, one and several.
    assert_eq!(master.salt(&["test.ping", "--return", "mysql"]), json!({"m1": true}));
    master.salt(&["test.ping", "--return", "redis"]);
    master.salt(&["test.ping", "--return", "mongo"]);
    master.salt(&["cmd.run", "echo hé 🧂", "--return", "mysql,redis"]);
    fixture.in_mysql("test.ping", &json!(true)).await;
    fixture.in_mysql("cmd.run", &json!("hé 🧂")).await;
    until("the keys in Redis", async || {
        let keys = fixture.redis.keys().await;
        let wanted = ["minions", "m1:test.ping", "m1:cmd.run", "m1:test.fib"];
        let missing: Vec<&&str> = wanted.iter().filter(|key| !keys.iter().any(|has| has == **key)).collect();
        let returns = keys.iter().filter(|key| key.starts_with("ret:2")).count();
        if missing.is_empty() && returns >= 3 { Ok(()) } else { Err(format!("{keys:?}")) }
    })
    .await;
    until("the document in MongoDB", async || {
        let found = fixture.mongo.find("saltReturns", doc! {"fun": "test.ping", "minion": "m1"}).await;
        if found.len() == 1 { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;

    // The other name of Salt's module, which 3008 does not have any more.
    if version == SaltVersion::V3008 {
        let other = ["test.collatz", "3", "--return", "redis_return"];
        assert!(master.command("salt", &[&["*"], &other[..]].concat()).expect(0).stdout.contains("m1"));
        until("what came by the other name", async || {
            let keys = fixture.redis.keys().await;
            if keys.iter().any(|key| key == "m1:test.collatz") { Ok(()) } else { Err(format!("{keys:?}")) }
        })
        .await;
    }

    // `return:` of the minion's configuration, for a job that names none; and `salt-call`.
    master.salt(&["test.echo", "by the configuration"]);
    fixture.minion.call(&["test.echo", "by salt-call", "--return", "mysql"]).expect(0);
    fixture.in_mysql("test.echo", &json!("by salt-call")).await;
    until("the row in SQLite", async || {
        let rows: Vec<(String,)> =
            fixture.sqlite.rows("SELECT full_ret FROM salt_returns WHERE fun = 'test.echo'").await;
        if rows.iter().any(|(full,)| full.contains("by the configuration")) {
            Ok(())
        } else {
            Err(format!("{rows:?}"))
        }
    })
    .await;

    // `ret_config` and `ret_kwargs`.
    // (With `--static`, `salt` itself leaves them out.)
    let publish = |value, option, with| {
        master.command("salt", &["*", "test.echo", value, "--return", "mysql", option, with]).expect(0);
    };
    publish("elsewhere", "--return_config", "alternative");
    let other = Mariadb::shared().await.database().await;
    publish("there", "--return_kwargs", &json!({"db": other.name()}).to_string());
    for (database, value) in [(&alternative, "\"elsewhere\""), (&other, "\"there\"")] {
        until(value, async || {
            let rows: Result<Vec<(String,)>, _> =
                database.try_rows("SELECT CAST(`return` AS CHAR) FROM salt_returns").await;
            match rows {
                Ok(rows) if rows == [(value.to_owned(),)] => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }
}
