//! Returners with plugins of their own, profiles, and what they are used for.

use std::time::Duration;

use super::*;

#[test]
fn a_returner_of_ones_own() {
    let digits = "AB".repeat(32);
    let directory = Directory::new(&[
        ("plugins/audit.wasm", ""),
        (
            "conf",
            &format!(
                "return: [mysql, audit]\naudit:\n  plugin: plugins/audit.wasm\n  sha256: {digits}\n  options: {{severity: info, tags: [a, 1], a.b: yes}}\n  connections: {{db: mysql}}\n  limits: {{memory: 64MiB, time: 10s}}\n  delivery.batch: 5\naudit.allow_http: ['https://hooks.example.com']\naudit.allow_connect: ['tcp://mail.example:25']\nmysql.limits.cpu: 2\n"
            ),
        ),
    ]);
    let (settings, warnings) = directory.load().expect("a good configuration");
    let audit = &settings.returners["audit"];
    let path = directory.path("plugins/audit.wasm");
    assert_eq!(audit.plugin, PluginSource::File { path, sha256: Some("ab".repeat(32)) });
    let options: Vec<(&str, &str)> =
        audit.options.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(options, [("a.b", "yes"), ("severity", "info"), ("tags", r#"["a",1]"#)]);
    assert_eq!(audit.connections["db"], "mysql");
    assert_eq!(
        (audit.limits.memory, audit.limits.time, audit.delivery.batch),
        (64 << 20, Duration::from_secs(10), 5)
    );
    assert_eq!(settings.returners["mysql"].limits.cpu, Duration::from_secs(2));
    assert_eq!(audit.allow_connect, ["tcp://mail.example:25"]);
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn mistakes_in_a_returner_of_ones_own() {
    let found = errors(
        "return: [other, audit]\naudit.plugin: a.wasm\naudit.limit: {}\naudit.sha256: 12\naudit.connections: {db: mysql, x: sqlite}\naudit.limits.memory: 1KiB\naudit.allow_http: [hooks]\nother.plug: x\nsqlite3.timeout: 1\nmysql.plugin: x\na{b.plugin: x\n",
    );
    for part in [
        "conf:1: `return` names the returner `other`, and there is none\n  hint: `other.plugin: FILE` is missing",
        "conf:3: unknown key `audit.limit`\n  hint: did you mean `audit.limits`?",
        "conf:4: `audit.sha256` is no SHA-256",
        "conf:5: `audit.connections.db` is `mysql`, and there is no such connection\n  hint: `mysql.host` and the keys",
        "conf:5: `audit.connections.x` is `sqlite`, and there is no such connection\n  hint: did you mean `sqlite3`?",
        "conf:6: `audit.limits.memory` is `1KiB`\n  hint: give a size such as `64MiB`, from ",
        "conf:7: an item of `audit.allow_http` is `hooks`",
        "conf:10: unknown key `mysql.plugin`\n  hint: `mysql` is bundled",
        "conf:11: `a{b` cannot be the name of a returner",
    ] {
        assert!(found.contains(part), "{part} is not in:\n{found}");
    }
    assert_eq!(found.matches("error: ").count(), 9, "{found}");
}

#[test]
fn a_header_that_the_plugin_does_not_see() {
    let found = settings(
        "return: audit\naudit.plugin: a.wasm\naudit.allow_http:\n  - https://one.example\n  - origin: https://two.example\n    headers: {Authorization: Bearer s3cret, X-Key: k}\n",
    );
    let audit = &found.returners["audit"];
    assert_eq!(audit.allow_http, ["https://one.example", "https://two.example"]);
    let headers: Vec<(&str, &str)> = audit.http_headers["https://two.example"]
        .iter()
        .map(|(name, secret)| (name.as_str(), secret.expose()))
        .collect();
    assert_eq!(headers, [("authorization", "Bearer s3cret"), ("x-key", "k")]);
    assert!(!format!("{audit:?}").contains("s3cret"));

    let found = errors(
        "return: audit\naudit.plugin: a.wasm\naudit.allow_http:\n- {headers: {A: b}}\n- {origin: hooks, header: {}}\n- origin: https://a.example\n  headers:\n    Host: x\n    A b: c\n    Token: \"s3cret\\n\"\n    Other: {env: NOT_SET_ANYWHERE}\n",
    );
    for part in [
        "conf:4: `audit.allow_http` does not say which origin\n  hint: write `origin: https://hooks.example.com`",
        "conf:5: an item of `audit.allow_http` is `hooks`",
        "conf:5: unknown key `audit.allow_http.header`\n  hint: did you mean `audit.allow_http.headers`?",
        "conf:8: `audit.allow_http.headers.Host` is a header that the host sets itself",
        "conf:9: `audit.allow_http.headers.A b` is the header of no name that can be sent",
        "conf:10: what `audit.allow_http.headers.Token` holds cannot be sent in a header",
        "conf:11: `audit.allow_http.headers.Other.env` names the environment variable `NOT_SET_ANYWHERE`",
    ] {
        assert!(found.contains(part), "{part} is not in:\n{found}");
    }
    assert_eq!(found.matches("error: ").count(), 7, "{found}");
    assert!(!found.contains("s3cret"), "{found}");
}

#[test]
fn a_secret_among_the_options_is_warned_of() {
    let directory = Directory::new(&[
        ("a.wasm", ""),
        ("conf", "return: audit\naudit.plugin: a.wasm\naudit.options: {token: {env: HOME}, map: {a: b}}\n"),
    ]);
    let (_, warnings) = directory.load().expect("a good configuration");
    let [warning] = warnings.as_slice() else { panic!("{warnings:?}") };
    assert!(warning.contains("`audit.options.token` is given to the plugin as it is"), "{warning}");
}

#[test]
fn a_name_that_is_nearly_a_returners_is_warned_of() {
    let directory = Directory::new(&[
        ("a.wasm", ""),
        (
            "conf",
            "return: changes\nchanges.plugin: a.wasm\nchange.options: {only: all}\nother.options: {only: all}\nchanges.options: {a: b}\n",
        ),
    ]);
    let (_, warnings) = directory.load().expect("a good configuration");
    let [warning] = warnings.as_slice() else { panic!("{warnings:?}") };
    assert!(
        warning.contains(
            "conf:3: `change.options` belongs to no returner\n  hint: did you mean `changes.options`?"
        ),
        "{warning}"
    );
}

#[test]
fn a_connection_that_is_narrowed() {
    let found = settings(
        "return: audit\nmysql.host: db\nredis.host: r\nmongo.host: m\naudit:\n  plugin: a.wasm\n  connections:\n    db: {connection: mysql, tables: {audit: [insert, select], information_schema.columns: select}}\n    cache: {connection: redis, commands: [hset], keys: ['audit:*']}\n    docs: {connection: mongo, collections: {audit: insert}}\n    all: mysql\n",
    );
    let audit = &found.returners["audit"];
    assert_eq!(audit.connections["db"], "mysql");
    let shown: Vec<(&str, String)> =
        audit.narrowed.iter().map(|(guest, narrowing)| (guest.as_str(), narrowing.to_string())).collect();
    assert_eq!(
        shown,
        [
            ("cache", "HSET on the keys audit:*".to_owned()),
            ("db", "`audit` (insert, select), `information_schema.columns` (select)".to_owned()),
            ("docs", "`audit` (insert)".to_owned()),
        ]
    );
    let found = errors(
        "return: audit\nmysql.host: db\nredis.host: r\naudit.plugin: a.wasm\naudit.connections:\n  a: {connection: mysql, tables: {x: [selct]}}\n  b: {tables: {x: [select]}}\n  c: {connection: redis, tables: {x: [select]}}\n  d: {connection: mysql, tables: {}}\n  e: {connection: mysql, tabels: {x: [select]}}\n  f: {connection: mysql, tables: [x]}\n  g: {connection: mysql, tables: {x: select}, keys: ['*']}\n",
    );
    for part in [
        "conf:6: `audit.connections.a.tables.x` has `selct`, which is nothing to grant\n  hint: did you mean `select`?",
        "conf:7: `audit.connections.b` does not say which connection",
        "conf:8: `audit.connections.c` narrows `redis` by what it does not have",
        "conf:9: `audit.connections.d.tables` grants nothing",
        "conf:10: unknown key `audit.connections.e.tabels`",
        "conf:11: `audit.connections.f.tables` is no map",
        "conf:12: `audit.connections.g` is narrowed in two ways",
    ] {
        assert!(found.contains(part), "{part} is not in:\n{found}");
    }
}

#[test]
fn files_that_are_not_there() {
    let found = errors(
        "return: audit\naudit.plugin: plugins/audit.wasm\naudit.sha256: 1\nmysql.ssl_ca: /no/such\nb.plugin: .\n",
    );
    assert_eq!(
        found,
        "error: conf:2: `audit.plugin` names the file `plugins/audit.wasm`: No such file or directory (os error 2)\n  \
         hint: a relative path is relative to the file that says it\n\
         error: conf:3: `audit.sha256` is no SHA-256\n  hint: 64 hexadecimal digits, as `sha256sum` prints them\n\
         error: conf:4: `mysql.ssl_ca` names the file `/no/such`: No such file or directory (os error 2)\n\
         error: conf:5: `b.plugin` names the file `.`: it is something else"
    );
}

#[test]
fn what_is_unused_or_confused_is_warned_of() {
    assert_eq!(
        warnings("mysql.host: db\nmysql.password: x\n"),
        [
            "conf:2: `mysql.password` is a key of Salt's cache, which the returner does not read\n  hint: the returner's is `mysql.pass`",
            "`mysql` is configured, but without `return` returns go to `sqlite3`\n  hint: write `return: mysql`"
        ]
    );
    assert_eq!(
        warnings("return: mysql\nredis.host: r\n"),
        [
            "`redis` is configured, and used only for what names it\n  hint: add it to `return` for all returns to go to `redis`, too"
        ]
    );
    assert_eq!(warnings("return: mysql\nmaster_job_cache: redis\nredis.host: r\n"), Vec::<String>::new());
    assert_eq!(
        warnings("mysq: {host: db}\nredi.x: 1\nsqlite.database: x\n"),
        [
            "conf:1: `mysq.host` is a key of nobody here\n  hint: did you mean `mysql.host`?",
            "conf:3: `sqlite.database` is a key of nobody here\n  hint: did you mean `sqlite3.database`?"
        ]
    );
    assert!(errors("return: smtp").contains("`return` names no returner that this host has"));
    assert!(errors("redis.cluster_mode: true").contains("asks for a Redis cluster"));
    assert!(errors("mongo: {uri: 'mongodb://a', host: b}").contains("`mongo.uri` and `mongo.host` both say"));
}

#[test]
fn profiles_fall_back_key_by_key() {
    for text in
        ["alternative.mysql.host: db2", "alternative: {mysql: {host: db2}}", "alternative.mysql: {host: db2}"]
    {
        let found =
            settings(&format!("return: mysql\nmysql: {{host: db1, user: u, unix_socket: /s}}\n{text}\n"));
        let profile = mysql(&found, "alternative.mysql");
        assert_eq!((&profile.address, profile.user.as_str()), (&tcp("db2", 3306), "u"), "{text}");
        assert_eq!(mysql(&found, "mysql").address, Address::Unix(PathBuf::from("/s")));
        assert_eq!(found.returners["alternative.mysql"].connections["db"], "alternative.mysql");
        let variant = found.variant("mysql", Some("alternative"), None).expect("a variant");
        assert_eq!(variant.settings.name, "alternative.mysql");
        assert!(variant.connections.contains_key("alternative.mysql"));
        assert_eq!(found.variant("mysql", Some("nowhere"), None).expect("a variant").settings.name, "mysql");
    }
    assert!(errors("a.b.mysql.hots: x\n").contains("unknown key `a.b.mysql.hots`"));
    assert_eq!(settings("other: {mysql: {foo: x}}").returner_names(), ["sqlite3"].into());
    assert_eq!(settings("engine.redis.prefix: x\nfoo.mysql: 5").returner_names(), ["sqlite3"].into());
    assert!(settings("a.b.redis.host: x").returners.contains_key("a.b.redis"));
}
