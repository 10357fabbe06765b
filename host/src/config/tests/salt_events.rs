//! Salt's event bus, and what Salt's own files say of this host.

use super::*;

fn bus(text: &str) -> SaltEventsSettings {
    settings(text).host.salt_events.expect("a bus")
}

#[test]
fn a_bus_is_a_socket_or_an_address() {
    let found = bus("host.salt_events: /var/run/salt/master/master_event_pub.ipc\n");
    assert_eq!(found.address, Address::Unix("/var/run/salt/master/master_event_pub.ipc".into()));
    assert!(found.tags.let_through("anything") && found.trimmed_wait == std::time::Duration::from_secs(60));
    assert_eq!(bus("host.salt_events: tcp://127.0.0.1:4512\n").address, tcp("127.0.0.1", 4512));
    assert_eq!(bus("host.salt_events: tcp://[::1]:4512\n").address, tcp("::1", 4512));
    assert!(settings("return: sqlite3\n").host.salt_events.is_none());
}

#[test]
fn a_master_without_a_name_is_warned_of() {
    let found = warnings("return: sqlite3\nhost.salt_events: /s\n");
    assert!(found.len() == 1 && found[0].starts_with("conf:2: `host.salt_events` is followed"), "{found:?}");
    assert_eq!(warnings("return: sqlite3\nid: salt_master\nhost.salt_events: /s\n"), Vec::<String>::new());
}

#[test]
fn tags_take_and_leave() {
    let found = bus("host:\n  salt_events: /s\n  salt_event_tags: ['salt/*', '!salt/auth', mine]\n");
    for (tag, wanted) in [("salt/key", true), ("salt/auth", false), ("mine", true), ("other", false)] {
        assert_eq!(found.tags.let_through(tag), wanted, "{tag}");
    }
    let found = bus("host:\n  salt_events: /s\n  salt_event_tags: '!salt/*'\n");
    assert!(found.tags.let_through("other") && !found.tags.let_through("salt/auth"));
}

#[test]
fn what_is_no_bus_is_named() {
    let text =
        "host:\n  salt_events: master_event_pub.ipc\n  salt_event_tags: ['[a']\n  salt_trimmed_wait: soon\n";
    let errors = errors(text);
    for part in [
        "conf:2: `host.salt_events` is `master_event_pub.ipc`, expected the master's socket",
        "tcp://127.0.0.1:4512",
        "conf:3: `host.salt_event_tags` has `[a`, which is no pattern",
        "conf:4: `host.salt_trimmed_wait`",
    ] {
        assert!(errors.contains(part), "no `{part}` in\n{errors}");
    }
    // Whoever takes the bus out for a while does not have to take out all that is about it.
    let warnings = warnings("host.salt_event_tags: [a]\n");
    assert!(warnings[0].contains("is of no use without `host.salt_events`"), "{warnings:?}");
}

#[test]
fn salts_own_files_say_where_the_host_is() {
    let directory = Directory::new(&[
        ("minion", "master: salt.example\nreturn: mysql\nreturner.url: https://salt.example:4510\n"),
        ("minion.d/returner.conf", "returner:\n  token: geheim\n  ca: /ca.pem\nreturn: [mysql, audit]\n"),
    ]);
    let found = SaltOptions::load(&directory.path("minion")).expect("a minion's configuration");
    assert_eq!(found.url.as_deref(), Some("https://salt.example:4510"));
    assert_eq!((found.master.as_deref(), found.ca), (Some("salt.example"), Some("/ca.pem".into())));
    assert_eq!(found.token.map(|token| token.expose().to_owned()).as_deref(), Some("geheim"));
    assert_eq!(found.returners, ["audit", "mysql"]);
}
