//! Single returns that ask for something else.

use serde_json::{Value as Json, json};

use super::*;
use crate::config::variant::Variant;

fn variant(settings: &Settings, returner: &str, kwargs: Json) -> Result<Variant, String> {
    settings.variant(returner, None, kwargs.as_object()).map_err(|error| error.to_string())
}

const ALL: &str = "return: [mysql, mongo, redis, sqlite3, audit]\nmysql: {host: db, user: u, pass: hunter2}\nmongo.uri: mongodb://u:hunter2@h/d\nredis: {host: r, password: hunter2, user: app}\naudit: {plugin: a.wasm, options: {severity: info}, connections: {db: mysql}}\n";

#[test]
fn single_options_are_overridden_by_a_return() {
    let found = settings(ALL);
    let name =
        |returner: &str, kwargs: Json| variant(&found, returner, kwargs).map(|variant| variant.settings.name);
    assert_eq!(name("mysql", json!({"db": "x"})), Ok(r#"mysql{"db":"x"}"#.to_owned()));
    assert_eq!(
        name("mysql", json!({"db": "salt", "port": "3306", "unknown": 1, "user": null, "host": ""})),
        Ok("mysql".to_owned())
    );
    assert_eq!(name("mysql", json!({"pass": "hunter2"})), Ok("mysql".to_owned()));
    assert_eq!(name("audit", json!({"severity": "info", "other": 1})), Ok("audit".to_owned()));
    assert!(name("none", json!({})).is_err());

    let changed = variant(&found, "mysql", json!({"db": "x"})).expect("a variant");
    let Some(ConnectionSettings::Mysql(mysql)) = changed.connections.get(&changed.settings.connections["db"])
    else {
        panic!("no connection: {changed:?}")
    };
    assert_eq!((mysql.database.as_str(), shown(&mysql.password)), ("x", Some("hunter2")));

    let changed = variant(&found, "mongo", json!({"db": "x", "indexes": true})).expect("a variant");
    let Some(ConnectionSettings::Mongo(mongo)) = changed.connections.values().next() else {
        panic!("{changed:?}")
    };
    assert_eq!((mongo.database.as_str(), mongo.uri.is_some()), ("x", true));
    assert_eq!(changed.settings.options["indexes"], "true");

    let changed = variant(&found, "audit", json!({"severity": 5, "other": 1})).expect("a variant");
    assert_eq!(changed.settings.options["severity"], "5");
    assert!(
        changed.connections.contains_key("mysql") && changed.settings.name.starts_with("audit{\"severity\":")
    );
    assert!(
        variant(&found, "redis", json!({"db": "another-salt"}))
            .expect_err("no number")
            .contains("`db` is `another-salt`")
    );
    assert!(variant(&found, "redis", json!({"db": [1]})).is_err());
}

/// What is kept of a variant is what makes it, and not what else a return said, which may be long.
#[test]
fn a_variant_is_made_again_of_what_makes_it() {
    let found = settings(&format!("{ALL}alternative.mysql.host: other\n"));
    let long = "A".repeat(1 << 20);
    let mine = json!({"host": "mine", "user": "me", "pass": null, "db": null, "zzz": long});
    let (mysql, audit) = (json!({"db": "x", "zzz": [1]}), json!({"severity": 5, "other": long, "db": "x"}));
    for (returner, profile, kwargs, kept) in [
        ("mysql", None, &mysql, json!({"db": "x"})),
        ("mysql", Some("alternative"), &mysql, json!({"db": "x"})),
        ("mysql", None, &mine, json!({"host": "mine", "user": "me", "pass": null})),
        ("audit", None, &audit, json!({"severity": 5})),
    ] {
        let first = found.variant(returner, profile, kwargs.as_object()).expect("a variant");
        assert_eq!(Json::Object(first.options.kwargs().clone()), kept);
        let again = found.variant(&first.base, None, Some(first.options.kwargs())).expect("a variant");
        assert_eq!(again.settings, first.settings);
        assert_eq!(again.connections, first.connections);
    }
    let plain =
        found.variant("mysql", Some("alternative"), json!({"zzz": 1}).as_object()).expect("a variant");
    assert_eq!((plain.base.as_str(), plain.options.kwargs().len()), ("alternative.mysql", 0));
}

#[test]
fn a_return_cannot_send_the_configured_secrets_elsewhere() {
    let found = settings(ALL);
    let refused = |returner: &str, kwargs: Json| variant(&found, returner, kwargs).expect_err("refused");
    for kwargs in [
        json!({"host": "evil"}),
        json!({"port": 1}),
        json!({"unix_socket": "/tmp/evil"}),
        json!({"host": "evil", "user": "u"}),
        json!({"host": "evil", "pass": "p"}),
        json!({"host": "evil", "user": "", "pass": "p"}),
    ] {
        assert!(refused("mysql", kwargs.clone()).contains("give `user` and `pass` beside it"), "{kwargs}");
    }
    assert!(refused("mongo", json!({"host": "evil"})).contains("give `user` and `password`"));
    assert!(
        refused("redis", json!({"host": "evil", "password": "p"})).contains("give `user` and `password`")
    );
    for (returner, key) in [
        ("mongo", "uri"),
        ("sqlite3", "database"),
        ("mysql", "ssl_ca"),
        ("mysql", "ssl"),
        ("redis", "ssl_key"),
    ] {
        assert!(
            refused(returner, json!({key: "x"})).contains(&format!("`{key}` cannot be set by a return")),
            "{key}"
        );
    }
    // Not even as a reference to a secret of the host's.
    assert!(
        refused("mysql", json!({"host": "evil", "user": "u", "pass": {"env": "PATH"}}))
            .contains("single value")
    );

    let all = variant(&found, "mysql", json!({"host": "mine", "user": "me", "pass": "hunter3"}))
        .expect("a variant");
    assert!(!format!("{all:?}").contains("hunter"), "{all:?}");
    // No secret is not the configured one.
    for nothing in [json!(null), json!("")] {
        let bare = variant(&found, "mysql", json!({"host": "mine", "user": "me", "pass": nothing}))
            .expect("a variant");
        let Some(ConnectionSettings::Mysql(mysql)) = bare.connections.values().next() else {
            panic!("{bare:?}")
        };
        assert!(mysql.password.is_none() && mysql.address == tcp("mine", 3306));
    }
    let other =
        variant(&found, "mongo", json!({"host": "mine", "user": "me", "password": "x"})).expect("a variant");
    let Some(ConnectionSettings::Mongo(mongo)) = other.connections.values().next() else {
        panic!("{other:?}")
    };
    assert!(mongo.uri.is_none() && mongo.address == tcp("mine", 27017));
}
