//! The command line, against a running host and without one.

mod cutting;

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::Ordering;

use returner_servers::{Directory, Host, SqliteDatabase, free_port, load, new_jid, program, ret, returner};
use serde_json::{Value, json};

#[track_caller]
fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("not JSON ({error}): {text}"))
}

/// A line of a file, with a value of so many bytes.
fn line(jid: &str, minion: &str, bytes: usize) -> String {
    ret(jid, minion, "test.ping", json!("x".repeat(bytes))).to_string()
}

/// As [`returner`] makes it, for what that has no way to say.
fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(arguments).current_dir(directory).stdin(Stdio::null());
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RETURNER_")) {
        command.env_remove(name);
    }
    command
}

/// What is refused: the line, the reason and the hint of each.
fn refused(sent: &Value) -> Vec<(u64, &str, Option<&str>)> {
    let all = sent["refused"].as_array().map(Vec::as_slice).unwrap_or_default();
    let parts = all.iter().map(|one| {
        let line = one["line"].as_u64().unwrap_or_default();
        (line, one["reason"].as_str().unwrap_or_default(), one["hint"].as_str())
    });
    parts.collect()
}

#[tokio::test]
async fn send_takes_lines_and_arrays_and_names_the_lines_that_are_refused() {
    let database = SqliteDatabase::new();
    let host = Host::start(&database.config()).await;
    let (jid, url) = (new_jid(), host.url(""));
    let good = |minion: &str| ret(&jid, minion, "test.ping", json!(true));
    let directory = host.directory();
    let lines = format!("{}\n{{\"jid\": \"1\"}}\n\n{}\n", good("a"), good("b"));
    std::fs::write(directory.join("lines.ndjson"), lines).expect("a test's directory can be written to");
    let run = returner(directory, &["send", "lines.ndjson", "--url", &url, "--wait", "--json"]);
    let sent = parsed(&run.expect(4).stdout);
    assert_eq!((&sent["accepted"], &sent["refused"][0]["line"]), (&json!(2), &json!(2)), "{sent}");
    std::fs::write(directory.join("bad.json"), r#"[{"jid": "1"}]"#)
        .expect("a test's directory can be written to");
    let run = returner(directory, &["send", "bad.json", "--url", &url]);
    assert!(run.expect(4).stderr.contains("error: item 1: "), "an array has no lines: {}", run.stderr);
    let array = json!([good("c"), good("a")]).to_string();
    std::fs::write(directory.join("array.json"), array).expect("a test's directory can be written to");
    let run = returner(directory, &["send", "array.json", "--url", &url, "--wait", "--json"]);
    let sent = parsed(&run.expect(0).stdout);
    assert_eq!((&sent["accepted"], &sent["duplicates"]), (&json!(1), &json!(1)), "{sent}");
    assert_eq!(database.count("salt_returns").await, 3);
}

/// Returns of jobs without an id are stored once, each with the load of its job, though the host's
/// answer does not arrive.
#[tokio::test]
async fn send_doubles_no_return_whose_answer_was_cut_off() {
    let database = SqliteDatabase::new();
    let host = Host::start(&database.config()).await;
    let lines: Vec<String> = (0..3)
        .map(|number| ret("req", &format!("web{number}"), "test.ping", json!(true)).to_string())
        .collect();
    std::fs::write(host.directory().join("lines.ndjson"), lines.join("\n"))
        .expect("a test's directory can be written to");
    let (url, cut) = cutting::in_front_of(&host.url(""));
    let run = returner(host.directory(), &["send", "lines.ndjson", "--url", &url, "--wait", "--json"]);
    let sent = parsed(&run.expect(0).stdout);
    assert!(cut.load(Ordering::SeqCst), "nothing was cut off");
    assert_eq!((&sent["accepted"], &sent["duplicates"]), (&json!(0), &json!(3)), "{sent}");
    assert_eq!((database.count("salt_returns").await, database.count("jids").await), (3, 3));
}

#[tokio::test]
async fn send_makes_requests_as_small_as_the_host_wants_them() {
    let database = SqliteDatabase::new();
    let host = Host::start(&format!("{}host.max_body: 1MiB\n", database.config())).await;
    let jid = new_jid();
    let mut lines: Vec<String> = (0..3000).map(|number| line(&jid, &format!("web{number}"), 2000)).collect();
    lines.insert(1700, line(&jid, "large", 2 << 20));
    std::fs::write(host.directory().join("lines.ndjson"), lines.join("\n"))
        .expect("a test's directory can be written to");
    let run =
        returner(host.directory(), &["send", "lines.ndjson", "--url", &host.url(""), "--wait", "--json"]);
    let sent = parsed(&run.expect(4).stdout);
    assert_eq!(sent["accepted"], 3000, "{sent}");
    let [(1701, reason, Some(hint))] = refused(&sent)[..] else { panic!("{sent}") };
    assert!(reason.contains("`host.max_body`") && hint.contains("2.0 MiB"), "{sent}");
    assert_eq!(database.count("salt_returns").await, 3000);
}

#[tokio::test]
async fn a_line_that_no_host_takes_is_named_and_the_others_are_sent() {
    let database = SqliteDatabase::new();
    let host = Host::start(&database.config()).await;
    let (jid, url) = (new_jid(), host.url(""));
    let lines = [line(&jid, "a", 9), line(&jid, "b", 9), line(&jid, "large", 65 << 20), line(&jid, "c", 9)];
    std::fs::write(host.directory().join("lines.ndjson"), lines.join("\n"))
        .expect("a test's directory can be written to");
    let run = returner(host.directory(), &["send", "lines.ndjson", "--url", &url, "--wait"]);
    assert!(run.expect(4).stdout.contains("3 accepted, 0 duplicates, 1 refused"), "{}", run.stdout);
    assert!(run.stderr.contains("error: line 3: the body is longer than 64.0 MiB"), "{}", run.stderr);
    assert_eq!(database.count("salt_returns").await, 3);
}

/// Each way in which a line is bad, with good ones between: what is refused names the right
/// one, and programs get the reason apart from the hint.
#[tokio::test]
async fn lines_that_are_no_returns_are_named_one_by_one() {
    let database = SqliteDatabase::new();
    let host = Host::start(&database.config()).await;
    let (jid, url, directory) = (new_jid(), host.url(""), host.directory());
    let good = |minion: &str| line(&jid, minion, 9).into_bytes();
    let no_text: Vec<u8> = good("x").iter().map(|byte| if *byte == b'x' { 0xff } else { *byte }).collect();
    let place = no_text.iter().position(|byte| *byte == 0xff).unwrap_or_default();
    let mut greedy = ret(&jid, "d", "test.ping", json!(true));
    greedy["ret_kwargs"] = json!({"database": "/etc/passwd"});
    let lines = [
        good("a"),
        b"{\"jid\": nope".to_vec(),
        b"no object".to_vec(),
        good("b"),
        no_text,
        b"[1]".to_vec(),
        greedy.to_string().into_bytes(),
        good("c"),
    ];
    std::fs::write(directory.join("lines.ndjson"), lines.join(&b'\n'))
        .expect("a test's directory can be written to");
    let run = returner(directory, &["send", "lines.ndjson", "--url", &url, "--wait", "--json"]);
    let sent = parsed(&run.expect(4).stdout);
    assert_eq!(sent["accepted"], 3, "{sent}");
    let all = refused(&sent);
    let [(2, nope, None), (3, word, None), (5, bytes, None), (6, list, None), (7, kwargs, Some(hint))] =
        all[..]
    else {
        panic!("{sent}")
    };
    for malformed in [nope, word] {
        assert!(malformed.contains("it is not JSON: ") && malformed.contains(" at column "), "{sent}");
    }
    assert_eq!(bytes, format!("it is not UTF-8 at byte {place}"));
    assert!(list.contains("expected an object") && kwargs.contains("`database`"), "{sent}");
    assert!(hint.contains("ret_config"), "{sent}");
    assert!(
        all.iter().all(|(_, reason, _)| !reason.contains("hint:") && !reason.contains("line 1")),
        "{sent}"
    );
    assert!(run.stderr.contains(&format!("error: line 5: {bytes}\n")), "{}", run.stderr);
    assert!(run.stderr.contains(&format!("error: line 7: {kwargs}\n  hint: {hint}\n")), "{}", run.stderr);
    assert_eq!(database.count("salt_returns").await, 3);
}

/// Nobody can say where its items are.
#[tokio::test]
async fn an_array_that_is_no_text_is_refused_whole() {
    let database = SqliteDatabase::new();
    let host = Host::start(&database.config()).await;
    std::fs::write(host.directory().join("array.json"), b"[{\"jid\": \"\xff\"}]")
        .expect("a test's directory can be written to");
    let run = returner(host.directory(), &["send", "array.json", "--url", &host.url(""), "--json"]);
    assert_eq!(parsed(&run.expect(4).stdout)["accepted"], 0);
    assert!(run.stderr.contains("`array.json`") && run.stderr.contains("not UTF-8"), "{}", run.stderr);
}

/// What is wrong with the request is said once, and not of each line.
#[tokio::test]
async fn what_no_line_is_to_blame_for_is_told_once() {
    let database = SqliteDatabase::new();
    let host = Host::start(&database.config()).await;
    std::fs::write(host.directory().join("lines.ndjson"), [line("1", "a", 1), line("1", "b", 1)].join("\n"))
        .expect("a test's directory can be written to");
    let run = returner(
        host.directory(),
        &["send", "lines.ndjson", "--url", &host.url(""), "--returner", "nobody", "--json"],
    );
    let sent = parsed(&run.expect(4).stdout);
    assert_eq!((&sent["accepted"], &sent["refused"]), (&json!(0), &json!([])));
    assert!(run.stderr.contains("`sqlite3`"), "{}", run.stderr);
}

#[test]
fn a_directory_is_no_file_to_send() {
    let directory = Directory::new("directory");
    std::fs::create_dir(directory.path().join("returns")).expect("a test's directory can be written to");
    let run = returner(directory.path(), &["send", "returns", "--url", "http://127.0.0.1:1"]);
    assert!(run.expect(1).stderr.contains("`returns` is a directory\n  hint: "), "{}", run.stderr);
}

#[tokio::test]
async fn jobs_and_minions_are_shown() {
    let database = SqliteDatabase::new();
    let host = Host::start(&database.config()).await;
    let (jid, url) = (new_jid(), host.url(""));
    host.store("/v1/loads", &load(&jid, "test.ping")).await;
    host.store("/v1/returns", &ret(&jid, "web1", "test.ping", json!("an answer"))).await;
    let show = |arguments: &[&str]| {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--url", url.as_str()]).collect();
        let run = returner(host.directory(), &arguments);
        run.expect(0);
        run.stdout
    };
    assert_eq!(parsed(&show(&["jobs", "--json"]))["jobs"][0]["jid"], json!(jid));
    assert_eq!(parsed(&show(&["jobs", &jid, "--json"]))["returns"][0]["full"]["return"], "an answer");
    assert_eq!(parsed(&show(&["minions", "--json"]))["minions"], json!(["web1"]));
    for (arguments, words) in
        [(vec!["jobs"], jid.as_str()), (vec!["jobs", &jid], "an answer"), (vec!["minions"], "web1")]
    {
        let table = show(&arguments);
        assert!(table.contains(words), "{arguments:?}:\n{table}");
    }
}

#[tokio::test]
async fn a_job_is_shown_with_its_load_and_one_that_is_not_there_is_an_error() {
    let database = SqliteDatabase::new();
    let host = Host::start(&database.config()).await;
    let [loaded, unloaded, unknown] = [(); 3].map(|()| new_jid());
    let mut published = load(&loaded, "cmd.run");
    published["arg"] = json!(["uptime -p"]);
    published["Minions"] = json!(["web1", "web2"]);
    host.store("/v1/loads", &published).await;
    for jid in [&loaded, &unloaded] {
        host.store("/v1/returns", &ret(jid, "web1", "cmd.run", json!("an answer"))).await;
    }
    let url = host.url("");
    let show = |jid: &str, more: &[&str]| {
        returner(host.directory(), &[&["jobs", jid, "--url", url.as_str()], more].concat())
    };
    let run = show(&loaded, &[]);
    let (above, table) = run.expect(0).stdout.split_once("\n\n").expect("the table stands apart");
    let rows: Vec<(&str, &str)> = above.lines().filter_map(|row| row.split_once(' ')).collect();
    let rows: Vec<(&str, &str)> = rows.into_iter().map(|(name, value)| (name, value.trim())).collect();
    let expected = [
        ("job", loaded.as_str()),
        ("function", "cmd.run"),
        ("target", "* (glob)"),
        ("arguments", r#"["uptime -p"]"#),
        ("minions", "web1,web2"),
    ];
    assert_eq!(rows, expected);
    assert!(table.contains("an answer"), "{table}");
    let known = parsed(&show(&loaded, &["--json"]).expect(0).stdout);
    assert_eq!((&known["load"]["fun"], &known["returns"][0]["minion"]), (&json!("cmd.run"), &json!("web1")));
    let known = parsed(&show(&unloaded, &["--json"]).expect(0).stdout);
    assert_eq!((&known["load"], &known["returns"][0]["minion"]), (&Value::Null, &json!("web1")));
    assert!(show(&unloaded, &[]).expect(0).stdout.trim_start().starts_with("MINION"));
    let run = show(&unknown, &[]);
    assert!(run.expect(1).stderr.contains(&format!("there is no job `{unknown}`")), "{}", run.stderr);
    assert!(run.stderr.contains("\n  hint: ") && run.stdout.is_empty(), "{}", run.stderr);
    let run = show(&unknown, &["--returner", "nobody"]);
    assert!(run.expect(4).stderr.contains("`sqlite3`"), "who is asked comes first: {}", run.stderr);
}

#[tokio::test]
async fn without_a_host_it_says_so() {
    let directory = Directory::new("no-host");
    let url = format!("http://127.0.0.1:{}", free_port());
    let run = returner(directory.path(), &["minions", "--url", &url]);
    assert!(run.expect(3).stderr.contains(&url), "{}", run.stderr);
}

#[test]
fn what_is_no_url_of_a_host_is_a_wrong_command_line() {
    let directory = Directory::new("no-url");
    for url in ["foo", "localhost:4510", "ftp://localhost", "http://", "unix:", ""] {
        let run = returner(directory.path(), &["minions", "--url", url]);
        assert!(run.expect(2).stderr.contains(&format!("`{url}`")), "{url}: {}", run.stderr);
        for form in ["http://", "https://", "unix:"] {
            let hinted = run.stderr.lines().any(|line| line.contains("hint: ") && line.contains(form));
            assert!(hinted, "{url}: no `{form}` in the hint: {}", run.stderr);
        }
    }
}

/// Runs it with these variables, all of them empty.
fn with_empty(variables: &[&str], host: &Host, arguments: &[&str]) -> Output {
    let empty = variables.iter().map(|name| (name, ""));
    command(host.directory(), arguments).envs(empty).output().expect("the program can be run")
}

#[tokio::test]
async fn an_empty_variable_is_as_one_that_is_not_set() {
    let database = SqliteDatabase::new();
    let host = Host::start(&database.config()).await;
    let shown = with_empty(&["RETURNER_CONFIG"], &host, &["check"]);
    assert!(shown.status.success(), "{shown:?}");
    let variables = ["URL", "TOKEN", "TOKEN_FILE", "CA", "IDENTITY"].map(|name| format!("RETURNER_{name}"));
    let variables: Vec<&str> = variables.iter().map(String::as_str).collect();
    let shown = with_empty(&variables, &host, &["minions", "--config", "returner.yaml"]);
    assert!(shown.status.success(), "{shown:?}");
}

/// Each way that an error is told by is there for programs, too.
#[tokio::test]
async fn check_tells_programs_what_it_finds() {
    let directory = Directory::new("check");
    let check = |config: &str, arguments: &[&str]| {
        directory.write("returner.yaml", config);
        let arguments = [&["check", "--json", "--config", "returner.yaml"], arguments].concat();
        returner(directory.path(), &arguments)
    };
    let run = check("return: sqlite3\nhost.lisen: 127.0.0.1:4510\n", &[]);
    let [found] = &parsed(&run.expect(2).stdout)["findings"].as_array().cloned().unwrap_or_default()[..]
    else {
        panic!("{}", run.stdout)
    };
    let expected = ["file", "line", "error"].map(|name| found[name].clone());
    assert_eq!(expected, [json!("returner.yaml"), json!(2), json!(true)], "{found}");
    assert!(found["message"].as_str().is_some_and(|text| text.contains("`host.lisen`")), "{found}");
    assert!(found["hint"].as_str().is_some_and(|text| text.contains("`host.listen`")), "{found}");

    let database = SqliteDatabase::new();
    let config = format!("{}host.listen: 127.0.0.1:{}\n", database.config(), free_port());
    let checked = parsed(&check(&config, &[]).expect(0).stdout);
    assert_eq!((&checked["findings"], checked.get("connections")), (&json!([]), None), "{checked}");
    assert_eq!(checked["returners"][0]["returner"], "sqlite3", "{checked}");

    let away = format!("mysql.host: 127.0.0.1\nmysql.port: {}\nmysql.pass: s3cret\n", free_port());
    let run = check(&format!("return: [sqlite3, mysql]\n{config}{away}"), &["--connect"]);
    let checked = parsed(&run.expect(1).stdout);
    let answers = checked["connections"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of = |name: &str| answers.iter().find(|answer| answer["connection"] == name).cloned();
    let (sqlite, mysql) = (of("sqlite3").unwrap_or_default(), of("mysql").unwrap_or_default());
    assert!(sqlite["server"].is_string() && sqlite["error"].is_null(), "{checked}");
    assert!(mysql["server"].is_null() && mysql["error"].is_string(), "{checked}");
    assert_eq!((&checked["findings"][0]["error"], &checked["findings"][1]), (&json!(true), &Value::Null));
    assert!(!run.stdout.contains("s3cret"), "{}", run.stdout);

    // A bus that nobody has.
    let run = check(&format!("id: m\nhost.salt_events: /nowhere/bus.ipc\n{config}"), &["--connect"]);
    let checked = parsed(&run.expect(1).stdout);
    let message = checked["findings"][0]["message"].as_str().unwrap_or_default();
    assert!(message.contains("`host.salt_events`: `/nowhere/bus.ipc`: No such file"), "{checked}");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let directory = Directory::new("pipe");
    for arguments in [&["completions", "zsh"][..], &["schema", "mysql"], &["check", "--json"]] {
        let mut command = command(directory.path(), arguments);
        let spawned = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.expect("the program can be run");
        drop(child.stdout.take());
        let ended = child.wait_with_output().expect("a child can be waited for");
        assert!(ended.status.success() && ended.stderr.is_empty(), "{arguments:?}: {ended:?}");
    }
}

#[tokio::test]
async fn what_needs_no_host() {
    let directory = Directory::new("alone");
    let show = |arguments: &[&str]| {
        let run = returner(directory.path(), arguments);
        run.expect(0);
        run.stdout
    };
    let plugins = show(&["plugins"]);
    for name in crate::stores::NAMES {
        assert!(plugins.contains(name), "{plugins}");
    }
    assert!(show(&["plugins", "show", "mysql"]).contains("returns"));
    let nobody = returner(directory.path(), &["plugins", "show", "sqlite"]);
    assert!(nobody.expect(2).stderr.contains("`sqlite3`"), "{}", nobody.stderr);
    assert!(show(&["completions", "bash"]).contains("returner"));
    show(&["check"]);
    // The printed schemas are what the tables are made of.
    let sqlite = SqliteDatabase::new();
    sqlite.execute(&show(&["schema", "sqlite"])).await;
    assert_eq!(sqlite.count("salt_returns").await, 0);
    let mysql = returner_servers::Mariadb::shared().await.database().await;
    mysql.execute(&show(&["schema", "mysql"])).await;
    assert_eq!(mysql.count("salt_events").await, 0);
    let help = show(&["--help"]);
    assert!(help.contains("Exit codes"), "{help}");
}

#[test]
fn the_version_says_which_contracts_are_spoken() {
    let directory = Directory::new("version");
    let run = returner(directory.path(), &["--version"]);
    assert_eq!(run.expect(0).stdout, "returner 0.1.0\nsalt:returner 0.1.0\n");
    let shown = returner(directory.path(), &["plugins", "show", "mysql"]);
    assert!(
        shown.expect(0).stdout.contains("built    for the contract salt:returner 0.1.0\n"),
        "{}",
        shown.stdout
    );
}
