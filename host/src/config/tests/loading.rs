//! Files, includes, secrets and mistakes.

use serde_json::json;

use super::*;

#[test]
fn all_mistakes_are_named_at_once() {
    let text = "return: mysq\nmysql.hots: db\nmysql.port: 70000\nhost.lisen: x\nredis.password: {env: RETURNER_NO_SUCH_VARIABLE}\n";
    assert_eq!(
        errors(text),
        "error: conf:1: `return` names the returner `mysq`, and there is none\n  hint: did you mean `mysql`?\n\
         error: conf:2: unknown key `mysql.hots`\n  hint: did you mean `mysql.host`?\n\
         error: conf:3: `mysql.port` is `70000`\n  hint: give a whole number from 1 to 65535\n\
         error: conf:4: unknown key `host.lisen`\n  hint: did you mean `host.listen`?\n\
         error: conf:5: `redis.password.env` names the environment variable `RETURNER_NO_SUCH_VARIABLE`, which is not set\n  \
         hint: set `RETURNER_NO_SUCH_VARIABLE` where the host is started"
    );
}

#[test]
fn files_that_cannot_be_read_are_errors() {
    assert_eq!(
        errors("a: [1\n").lines().next().map(|line| line.starts_with("error: conf:2: this is not YAML")),
        Some(true)
    );
    assert_eq!(
        errors("- a\n"),
        "error: conf:1: this is no map of keys to values\n  hint: write `key: value`"
    );
    let missing = Directory::new(&[]).load().expect_err("no file");
    assert!(missing.starts_with("error: conf: cannot read the configuration: No such file"), "{missing}");
    let directory = Directory::new(&[]);
    std::fs::write(directory.path("conf"), b"a: 1\nb: \xff\n").expect("a file");
    assert_eq!(
        directory.load().expect_err("no text"),
        "error: conf: cannot read the configuration: line 2 is not UTF-8"
    );
    assert_eq!(settings("# nothing\n").return_to, ["sqlite3"]);
}

#[test]
fn duplicates_do_not_hide_other_mistakes() {
    let found = errors("a: 1\na: 2\nmysql.host: x\nmysql: {host: y}\nmysql.hots: 1\n");
    assert_eq!(found.matches("error: ").count(), 3, "{found}");
    assert!(found.contains("conf:4: `mysql.host` is given twice\n  hint: the first is on line 3"), "{found}");
}

#[test]
fn included_files_come_later_and_win() {
    let directory = Directory::new(&[
        ("conf", "return: mysql\nmysql: {host: main, user: main, db: main}\ninclude: more/*.yaml\n"),
        ("conf.d/b.conf", "mysql.db: default\nmysql.user: default\n"),
        ("conf.d/a.conf", "mysql.db: not this\n"),
        ("conf.d/ignored.txt", "[[["),
        ("more/ca.pem", ""),
        ("more/x.yaml", "mysql.user: included\ninclude: [x.yaml, none.yaml]\nmysql.ssl_ca: ca.pem\n"),
    ]);
    let (settings, warnings) = directory.load().expect("a good configuration");
    let mysql = mysql(&settings, "mysql");
    assert_eq!(
        (&mysql.address, mysql.user.as_str(), mysql.database.as_str()),
        (&tcp("main", 3306), "included", "default")
    );
    let MysqlTls::Verified(tls) = &mysql.tls else { panic!("`ssl_ca` asks for it: {:?}", mysql.tls) };
    assert_eq!(tls.ca, Some(directory.path("more/ca.pem")));
    assert_eq!(settings.files.len(), 4);
    assert_eq!(warnings, ["more/x.yaml:2: `include: none.yaml` matches no file"]);

    let broken =
        Directory::new(&[("conf", "return: audit\ninclude: x.yaml\n"), ("x.yaml", "audit.plugin: [\n")]);
    let found = broken.load().expect_err("a broken file");
    assert!(
        found.starts_with("error: x.yaml:2: this is not YAML") && found.matches("error: ").count() == 1,
        "{found}"
    );
}

#[test]
fn secrets_come_from_files_and_never_show() {
    let directory = Directory::new(&[
        (
            "conf",
            "return: [mysql, mongo, redis]\nmysql.pass: {file: secrets/mysql}\nmongo.uri: mongodb://u:hunter2@h/d\nredis.password: hunter2\n",
        ),
        ("secrets/mysql", "hunter2\n"),
    ]);
    let (settings, _) = directory.load().expect("a good configuration");
    assert_eq!(shown(&mysql(&settings, "mysql").password), Some("hunter2"));
    assert_eq!(
        (shown(&mongo(&settings).uri), mongo(&settings).database.as_str()),
        (Some("mongodb://u:hunter2@h/d"), "d")
    );
    let debug = format!("{settings:?}");
    assert!(!debug.contains("hunter2"), "{debug}");

    let found = errors(
        "mysql.pass: {file: none}\nmongo.password: {fil: x}\nmongo.uri: hunter2\nredis.password: [hunter2]\n",
    );
    assert_eq!(found.matches("error: ").count(), 4, "{found}");
    assert!(found.contains("conf:1: `mysql.pass.file` names the file `none`: No such file"), "{found}");
    assert!(!found.contains("hunter2"), "{found}");
    // What is a password for whoever wrote it, and something else for YAML or a URL.
    for text in [
        "mysql.pass: !hunter2",
        "mysql.pass: !<hunter2> x",
        "audit.plugin: a.wasm\naudit.allow_http: ['https://u:hunter2@h.example/']",
        "audit.plugin: a.wasm\naudit.allow_connect: ['tcp://u:hunter2@h.example']",
    ] {
        let found = errors(text);
        assert!(!found.contains("hunter2") && found.contains("hint: "), "{found}");
    }
    let path = std::env::var("PATH").expect("a path");
    assert_eq!(
        shown(&mysql(&self::settings("return: mysql\nmysql.pass.env: PATH"), "mysql").password),
        Some(path.as_str())
    );
}

/// A password in a place where none belongs is not told, and is not accepted either: whoever
/// names the server in a message would tell it.
#[test]
fn a_url_is_no_host_and_no_connection_and_is_not_quoted() {
    for (text, key) in [
        ("mysql.host: 'mysql://root:hunter2@127.0.0.1/x'", "`mysql.host` is no name"),
        ("mysql.host: 'root:hunter2@db'", "`mysql.host` is no name"),
        ("redis.host: 'redis://:hunter2@127.0.0.1'", "`redis.host` is no name"),
        ("mongo.host: 'mongodb://u:hunter2@h'", "`mongo.host` is no name"),
        ("alternative.mysql.host: '//hunter2'", "`alternative.mysql.host` is no name"),
        ("returner.pgjsonb.host: 'postgres://u:hunter2@h/d'", "`returner.pgjsonb.host` is no name"),
        (
            "audit.plugin: a.wasm\naudit.connections: {db: 'mysql://u:hunter2@h/d'}",
            "`audit.connections.db` is no name",
        ),
        (
            "audit.plugin: a.wasm\naudit.connections: {db: {connection: 'mysql://u:hunter2@h/d', tables: {x: [select]}}}",
            "`audit.connections.db` is no name",
        ),
    ] {
        let found = errors(text);
        assert!(found.contains(key) && found.contains("hint: ") && !found.contains("hunter2"), "{found}");
    }
    settings("return: mysql\nmysql.host: '::1'\nreturner.postgres.host: /run/postgresql\n");
    let kwargs = json!({"host": "mysql://u:hunter2@h/d", "user": "u", "pass": "p"});
    let refused = settings("return: mysql\n").variant("mysql", None, kwargs.as_object());
    let refused = refused.expect_err("a URL").to_string();
    assert!(refused.contains("`host` is no name") && !refused.contains("hunter2"), "{refused}");
}

/// Whoever reads a pipe waits until somebody writes into it.
#[test]
fn a_pipe_is_no_configuration() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let directory = Directory::new(&[
        ("conf", "include: x.yaml\nreturn: mysql\nmysql.pass: {file: pipe}\n"),
        ("x.yaml", ""),
    ]);
    mknodat(CWD, directory.path("pipe"), FileType::Fifo, Mode::RWXU, 0).expect("a pipe");
    let found = directory.load().expect_err("a pipe");
    assert!(found.contains("`mysql.pass.file` names the file `pipe`: it is no file"), "{found}");
    std::fs::rename(directory.path("pipe"), directory.path("x.yaml")).expect("a move");
    let found = directory.load().expect_err("a pipe");
    assert!(found.contains("x.yaml: cannot read the configuration: it is no file"), "{found}");
}

#[test]
fn directories_in_which_a_pattern_finds_its_files_are_watched() {
    let directory = Directory::new(&[
        ("conf", "include: conf.d/*/r.yaml\n"),
        ("conf.d/a/x", ""),
        ("conf.d/b/r.yaml", ""),
    ]);
    let loaded = Settings::load(Some(&directory.path("conf"))).expect("a good configuration");
    for part in ["conf.d", "conf.d/a", "conf.d/b"] {
        assert!(loaded.watched.seen().contains_key(&directory.path(part)), "{part}: {:?}", loaded.watched);
    }
}

#[test]
fn a_pattern_that_would_look_through_the_whole_disk_is_an_error() {
    let looks = errors("include: /**/*.yaml\n");
    assert!(looks.contains("conf:1: `include: /**/*.yaml` looks through a whole tree\n  hint: "), "{looks}");
    let directory = Directory::new(&[("conf", "include: many/*/*/r.yaml\n"), ("many/a/b/r.yaml", "")]);
    directory.load().expect("a good configuration");
    for number in 0..=1000 {
        std::fs::create_dir(directory.path(&format!("many/{number}"))).expect("a directory");
    }
    let looks = directory.load().expect_err("too many directories");
    assert!(looks.contains("`include: many/*/*/r.yaml` looks into more than 1000 directories"), "{looks}");
}

/// Its identity is of before it was opened, and whether it was empty is what was read.
#[test]
fn what_changes_after_it_was_read_is_a_change_and_does_not_count() {
    let directory = Directory::new(&[
        ("conf", "include: [full.yaml, empty.yaml]\nmysql.pass: {file: secret}\n"),
        ("full.yaml", "return: mysql\n"),
        ("empty.yaml", ""),
        ("secret", ""),
    ]);
    let loaded = Settings::load(Some(&directory.path("conf"))).expect("a good configuration");
    for (name, text) in [("full.yaml", ""), ("empty.yaml", "return: mysql\n"), ("secret", "s")] {
        let path = directory.path(name);
        std::fs::write(&path, text).expect("a file");
        assert_ne!(loaded.watched.seen()[&path], Identity::of(&path), "{name}");
        assert_eq!(loaded.watched.is_empty(&path), !text.is_empty(), "{name}");
    }
    assert_eq!(loaded.watched.full(), ["conf", "full.yaml"].map(|name| directory.path(name)).into());
}

#[test]
fn listening_is_for_this_machine_only() {
    let listen = |text: &str| settings(text).host.listen;
    assert_eq!(listen("host.listen: '[::1]:80'"), Some("[::1]:80".parse().expect("an address")));
    assert_eq!(listen("host: {listen: off, socket: /run/r.sock}"), None);
    assert!(errors("host.listen: 0.0.0.0:4510").contains("`returner token NAME --role write`"));
    assert!(errors("host.listen: off").contains("there is no `host.socket`"));
    assert!(errors("host.listen: here").contains("expected an address and a port"));
    assert!(errors("host: 5").contains("`host` is a single value or a list, expected keys below it"));
}

/// Whoever shows it would have the one role or the other, and nobody could see which.
#[test]
fn a_token_has_one_name() {
    let (one, other) = ("9f86d081".repeat(8), "0f86d081".repeat(8));
    let tokens = |second: &str| {
        format!(
            "host.tokens.a: {{sha256: {one}, role: write}}\nhost.tokens.b: {{sha256: {second}, role: admin}}\n"
        )
    };
    assert_eq!(settings(&tokens(&other)).host.access.tokens.len(), 2);
    for second in [one.clone(), one.to_uppercase()] {
        let found = errors(&tokens(&second));
        let said = "conf:2: `host.tokens.b.sha256` is the same as `host.tokens.a.sha256`";
        assert!(found.contains(said) && !found.contains("9f86d081"), "{found}");
    }
}

#[test]
fn a_socket_that_nobody_could_connect_to_is_an_error() {
    let path = |length: usize| format!("/{}", "s".repeat(length - 1));
    assert!(settings(&format!("host.socket: {}\n", path(107))).host.socket.is_some());
    let found = errors(&format!("host.socket: {}\n", path(108)));
    assert!(found.contains("conf:1: `host.socket` is `/sss") && found.contains("shorter path"), "{found}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    #[test]
    fn no_configuration_panics(
        lines in proptest::collection::vec(
            (
                "(return|event_return|master_job_cache|host|mysql|alternative|a|mongo|redis|sqlite3|include|id|keep_jobs)",
                "(\\.(mysql|host|port|pass|uri|plugin|options|limits|delivery|connections|data|listen|env|file|[a-z{.]{0,3})){0,3}",
                "(|x|5|'5'|off|None|~|a,b|mysql|\\[mysql, x\\]|\\{host: x\\}|\\{env: PATH\\}|\\{env: ''\\}|\\{mysql: \\{host: y\\}\\}|-1|1e999|\u{0}|é)",
            ),
            0..8,
        )
    ) {
        let text: String = lines.iter().map(|(name, keys, value)| format!("{name}{keys}: {value}\n")).collect();
        if let Ok((settings, _)) = load(&text) {
            for returner in settings.returners.keys() {
                let kwargs = json!({"host": "x", "port": 0, "db": 1, "pass": null});
                let _ = settings.variant(returner, Some("alternative"), kwargs.as_object());
            }
        }
    }
}
