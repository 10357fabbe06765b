//! What differs between two configurations.

use super::*;

fn differences(old: &str, new: &str) -> Vec<String> {
    let (old, new) = (settings(old), settings(new));
    let found = old.differences(&new);
    let mark = |widens| if widens { " (widens)" } else { "" };
    found.iter().map(|found| format!("{}: {}{}", found.subject, found.change, mark(found.widens))).collect()
}

#[test]
fn the_same_said_otherwise_differs_in_nothing() {
    let old = "return: mysql\nmysql.host: db\nmysql.pass: hunter2\n";
    let new = "mysql: {pass: hunter2, host: db}\nreturn: [mysql]\n";
    assert_eq!(differences(old, new), Vec::<String>::new());
}

#[test]
fn the_masters_name_is_one_of_them() {
    assert_eq!(differences("id: a\n", "id: b\n"), ["`id`: was a, becomes b"]);
}

#[test]
fn a_size_that_differs_by_a_byte_differs() {
    assert_eq!(
        differences("host.max_journal: 1048576\n", "host.max_journal: 1048577\n"),
        ["`host.max_journal`: was 1.0 MiB (1048576 bytes), becomes 1.0 MiB (1048577 bytes)"]
    );
}

#[test]
fn each_thing_is_named_and_no_secret() {
    let old = "return: mysql\nmysql: {host: db, pass: hunter2}\nhost.drain: 1s\n";
    let new = "return: [mysql, redis]\nmysql: {host: db2, pass: hunter3}\nmysql.limits.memory: 1MiB\nhost.drain: 2s\n";
    assert_eq!(
        differences(old, new),
        [
            "`return`: was mysql, becomes mysql, redis",
            "`host.drain`: was 1s, becomes 2s",
            "connection `mysql`: its server, password changed (widens)",
            "returner `mysql`: `limits.memory` was 256.0 MiB (268435456 bytes), becomes 1.0 MiB (1048576 bytes)",
            "returner `redis`: added, of the bundled `redis`",
            "returner `redis`: granted the connection `redis` as `db`, of it DEL, EXPIRE, GET, HGET, HGETALL, HSET, SADD, SCAN, SET, SMEMBERS, ZADD, ZRANGEBYSCORE, ZREM, ZREMRANGEBYSCORE on the keys * (widens)",
        ]
    );
}

#[test]
fn a_grant_that_widens_is_marked() {
    let with =
        |more: &str| format!("return: mysql\nmysql.host: db\nredis.host: r\naudit.plugin: a.wasm\n{more}");
    let plugin = settings(&with("")).returners["audit"].plugin.clone();
    assert!(matches!(plugin, PluginSource::File { .. }));
    let directory = |more: &str| {
        // The same file in both, or the plugin would be another one, too.
        let mut settings = settings(&with(more));
        settings.returners.get_mut("audit").expect("a returner").plugin = plugin.clone();
        settings
    };
    let found = |old: &str, new: &str| -> Vec<(String, bool)> {
        let found = directory(old).differences(&directory(new));
        found.into_iter().map(|found| (found.change, found.widens)).collect()
    };
    let granted = "audit.connections: {db: mysql}\n";
    assert_eq!(found("", granted), [("granted the connection `mysql` as `db`".to_owned(), true)]);
    assert_eq!(found(granted, ""), [("no longer granted the connection `db` (`mysql`)".to_owned(), false)]);
    assert_eq!(
        found(granted, "audit.connections: {db: redis}\n"),
        [("its connection `db` was mysql, becomes redis".to_owned(), true)]
    );
    assert_eq!(
        found("", "audit.connections: {db: {connection: mysql, tables: {audit: [insert]}}}\n"),
        [("granted the connection `mysql` as `db`, of it `audit` (insert)".to_owned(), true)]
    );
    let narrow = |verbs: &str| {
        format!("audit.connections: {{db: {{connection: mysql, tables: {{audit: [{verbs}]}}}}}}\n")
    };
    let changed = |old: &str, new: &str| {
        let found = found(old, new);
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].1
    };
    assert!(changed(&narrow("insert"), &narrow("insert, select")), "it widens");
    assert!(!changed(&narrow("insert, select"), &narrow("insert")));
    assert!(changed(&narrow("insert"), granted), "all of it");
    assert!(!changed(granted, &narrow("insert")));
    let tables =
        |tables: &str| format!("audit.connections: {{db: {{connection: mysql, tables: {{{tables}}}}}}}\n");
    for (old, new, widens) in [
        ("'*': [select], secrets: [insert]", "'*': [select]", true),
        ("'*': [select], secrets: [select, insert]", "'*': [select]", false),
        ("'*': [select]", "'*': [select], sqlite_master: [select]", true),
        ("'*': [select]", "'*': [select], 'other.secrets': [select]", true),
        ("'*': [select]", "'*': [select], audit: [select]", false),
        (
            "'*': [select], secrets: [insert], docs: [insert]",
            "'*': [select], secrets: [insert], docs: [insert], SECRETS: [select]",
            true,
        ),
        (
            "'*': [select], secrets: [insert], docs: [insert]",
            "'*': [select], secrets: [insert], docs: [insert], docs_content: [select]",
            true,
        ),
        (
            "'*': [select], secrets: [insert], docs: [insert]",
            "'*': [select], secrets: [insert], docs: [insert], notes_content: [select]",
            false,
        ),
    ] {
        assert_eq!(changed(&tables(old), &tables(new)), widens, "{old} -> {new}");
    }
    let moved = |old: &str, new: &str| {
        let [old, new] = [old, new].map(|db| directory(&format!("mysql.db: {db}\n{granted}")));
        old.differences(&new).into_iter().map(|found| (found.change, found.widens)).collect::<Vec<_>>()
    };
    assert_eq!(moved("a", "b"), [("its database changed".to_owned(), true)]);
    let one = "audit.allow_http: ['https://a.example']\n";
    assert_eq!(found("", one), [("`allow_http` has `https://a.example`, too".to_owned(), true)]);
    assert_eq!(found(one, ""), [("`allow_http` no longer has `https://a.example`".to_owned(), false)]);
    let sends = |token: &str| {
        format!("audit.allow_http: [{{origin: 'https://a.example', headers: {{X-Token: {token}}}}}]\n")
    };
    let (none, two) = (found(one, &sends("t1")), found(&sends("t1"), &sends("t2")));
    assert_eq!(none, [("the host sends `x-token` to `https://a.example`".to_owned(), true)]);
    assert_eq!(two, [("the host sends another `x-token` to `https://a.example`".to_owned(), false)]);
    assert_eq!(found(&sends("t1"), one)[0].0, "the host no longer sends `x-token` to `https://a.example`");
    assert_eq!(
        found("audit.options: {token: a}\n", "audit.options: {token: b}\n"),
        [("its options changed: `token`".to_owned(), false)]
    );
}

#[test]
fn a_certificate_that_is_renewed_is_a_change() {
    let directory =
        Directory::new(&[("conf", "return: mysql\nmysql: {host: db, ssl_ca: ca.pem}\n"), ("ca.pem", "old")]);
    let old = directory.load().expect("a good configuration").0;
    std::fs::write(directory.path("ca.pem"), "new").expect("a file");
    let new = directory.load().expect("a good configuration").0;
    let found: Vec<String> = old.differences(&new).into_iter().map(|found| found.change).collect();
    assert_eq!(found, ["its TLS settings changed"]);
}

#[test]
fn what_opens_the_host_is_marked() {
    let token = |name: &str, role: &str| {
        format!("host.tokens.{name}: {{sha256: {}, role: {role}}}\n", &name.repeat(64)[..64])
    };
    let (a, b, reads) = (token("a", "write"), token("b", "write"), token("a", "read"));
    let widens = |old: &str, new: &str| -> Vec<(String, bool)> {
        let found = settings(old).differences(&settings(new));
        found.into_iter().map(|found| (found.subject, found.widens)).collect()
    };
    let socket = |more: &str| format!("host.socket: /run/r.sock\nhost.socket_mode: {more}\n");
    let everywhere = format!("host.listen: 0.0.0.0:4510\n{a}");
    for (old, new, key, is_wider) in [
        (a.clone(), everywhere.clone(), "listen", true),
        (everywhere.clone(), a.clone(), "listen", false),
        ("host.listen: off\nhost.socket: /s\n".to_owned(), "host.socket: /s\n".to_owned(), "listen", true),
        ("host.socket: /s\n".to_owned(), "host.listen: off\nhost.socket: /s\n".to_owned(), "listen", false),
        (format!("host.listen: 192.0.2.2:4510\n{a}"), everywhere.clone(), "listen", true),
        (everywhere.clone(), format!("host.listen: 192.0.2.2:4510\n{a}"), "listen", false),
        (everywhere.clone(), format!("host.listen: '[::]:4510'\n{a}"), "listen", true),
        (a.clone(), format!("{a}{b}"), "tokens", true),
        (format!("{a}{b}"), a.clone(), "tokens", false),
        (a.clone(), reads, "tokens", true),
        (token("a", "admin"), a.clone(), "tokens", false),
        (a.clone(), String::new(), "tokens", true),
        (String::new(), a.clone(), "tokens", false),
        (String::new(), socket("0600"), "socket", true),
        (socket("0600"), socket("0660"), "socket_mode", true),
        (socket("0666"), socket("0660"), "socket_mode", false),
        (socket("0660"), socket("0660") + "host.socket_group: salt\n", "socket_group", true),
        (socket("0660") + "host.socket_group: salt\n", socket("0660"), "socket_group", true),
    ] {
        let found = widens(&old, &new);
        assert!(found.contains(&(format!("`host.{key}`"), is_wider)), "{old}->\n{new}: {found:?}");
    }
}
