//! `returner plugins new`: in each language and of each kind the folder builds as it is,
//! passes the conformance kit, and stores what a host gives it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::SystemTime;

use returner_servers::{
    Directory, Host, Mongodb, Redis, SqliteDatabase, guest, make, new_jid, ret, returner,
    returner_in_background, until,
};
use serde_json::json;

/// What a build leaves beside the folder's own files that the next folder can use.
const SHARED: [&str; 2] = [".venv", "node_modules"];

/// Of the check of memory, which is thorough without this, and takes a minute in JavaScript. With
/// fewer, one step of a collector looks like a leak.
const CALLS: &str = "ARGS=--calls 2000";

fn begin(directory: &Directory, name: &str, language: &str, kind: &str) {
    let run = returner(directory.path(), &["plugins", "new", name, "--lang", language, "--kind", kind]);
    let out = &run.expect(0).stdout;
    assert!(out.contains(&format!("cd {name} && make")), "{out}");
}

/// Builds what was begun. `first` is a folder of the same language that was built before.
fn build(directory: &Directory, name: &str, first: Option<&str>) {
    let folder = directory.path().join(name);
    for shared in SHARED {
        let built = first.map(|first| directory.path().join(first).join(shared)).filter(|path| path.exists());
        if let Some(built) = built {
            symlink(&built, folder.join(shared)).expect("a test's directory can be written to");
            // Made after what the new folder says that it needs.
            if let Ok(made) = fs::File::open(built.join("made")) {
                made.set_modified(SystemTime::now()).expect("a test's file can be touched");
            }
        }
    }
    let run = make(&folder, &[]);
    assert!(run.expect(0).stdout.contains(&format!("{name}.wasm: ")), "it says what it made: {}", run.stdout);
    let components = fs::read_dir(&folder).expect("a folder").flatten();
    let components = components.filter(|entry| entry.path().extension().is_some_and(|end| end == "wasm"));
    assert_eq!(components.count(), 1, "one component, and nothing that looks like one");
}

/// From nothing to rows in a running host, as the folder's README says.
async fn in_production(directory: &Directory, name: &str) {
    let folder = directory.path().join(name);
    let database = SqliteDatabase::new();
    let lines = fs::read_to_string(folder.join("returner.yaml")).expect("the lines of configuration");
    let plugin = folder.join(format!("{name}.wasm"));
    let lines = lines.replace(&format!("plugin: {name}.wasm"), &format!("plugin: {}", plugin.display()));
    let host = Host::start(&format!("return: sqlite3\n{}", database.config())).await;
    host.reload(&format!("return: [sqlite3, {name}]\n{lines}{}", database.config())).await.expect(200);
    let jid = new_jid();
    host.store("/v1/returns", &ret(&jid, "web1", "test.ping", json!(true))).await;
    let table = name.replace('-', "_");
    let rows: Vec<(String, String, String)> =
        database.rows(&format!("SELECT jid, minion, severity FROM {table}")).await;
    assert_eq!(rows, [(jid, "web1".to_owned(), "info".to_owned())]);
}

async fn of_language(language: &str) {
    let directory = Directory::new("authoring");
    let first = format!("{language}-sql");
    begin(&directory, &first, language, "sql");
    build(&directory, &first, None);
    // Go lets its memory grow for some thousand calls before it collects any.
    let calls = if language == "go" { "ARGS=" } else { CALLS };
    let passes = |name: &str, server: &str| {
        let run = make(&directory.path().join(name), &["test", calls, &format!("TEST_SERVER={server}")]);
        let out = &run.expect(0).stdout;
        assert!(out.contains("ok         faults") && !out.contains("FAILED"), "{out}");
    };
    passes(&first, "--connection db=sqlite::memory:");
    let run = make(&directory.path().join(&first), &["run"]);
    assert!(run.expect(0).stdout.contains("stored 3 of 3, in "), "{}", run.stdout);
    let component = format!("{first}.wasm");
    let folder = directory.path().join(&first);
    let options = ["plugins", "run", &component, "--returns", "sample.ndjson", "--option", "severity=notice"];
    let run = returner(&folder, &[&options[..], &["--connection", "db=sqlite::memory:"]].concat());
    let out = &run.expect(0).stdout;
    assert!(out.contains("stored 3 of 3, in ") && out.contains("notice"), "{out}");
    in_production(&directory, &first).await;
    let redis = Redis::shared().await.database().await;
    // The other one gives a boolean back as a number after the second time.
    let mongo = Mongodb::shared_ferretdb().await.database();
    for (kind, server) in [
        ("http", String::new()),
        ("redis", format!("--connection db={}", redis.url())),
        ("mongo", format!("--connection db={}", mongo.url())),
    ] {
        let name = format!("{language}-{kind}");
        begin(&directory, &name, language, kind);
        build(&directory, &name, Some(&first));
        passes(&name, &server);
    }
}

#[tokio::test]
async fn a_returner_in_rust() {
    of_language("rust").await;
}

#[tokio::test]
async fn a_returner_in_python() {
    of_language("python").await;
}

#[tokio::test]
async fn a_returner_in_javascript() {
    of_language("javascript").await;
}

#[tokio::test]
async fn a_returner_in_go() {
    of_language("go").await;
}

#[tokio::test]
async fn a_returner_in_c() {
    of_language("c").await;
}

#[tokio::test]
async fn a_returner_in_cpp() {
    of_language("cpp").await;
}

/// What is saved is built and run again; what does not build is said, and waited on.
#[tokio::test]
async fn a_plugin_is_built_and_run_again_on_each_change() {
    let directory = Directory::new("watch");
    let plugins = [guest("nameless").await, guest("hostile").await].map(|path| path.display().to_string());
    // It builds by copying the component that a source names.
    directory.write("Makefile", "audit.wasm: source\n\tcp \"$$(cat source)\" $@\n");
    directory.write(".gitignore", "*.wasm\n*.log\n");
    directory.write("source", &plugins[0]);
    let watch = returner_in_background(directory.path(), &["plugins", "run", "audit.wasm", "--watch"]);
    let ran = async |words: &str, times: usize| {
        until(&format!("`{words}`, {times} times"), async || {
            let log = watch.log();
            let waits = log.matches("-- waiting for a change of 2 files").count() == times;
            if waits && log.contains(words) { Ok(()) } else { Err(log) }
        })
        .await;
    };
    // It says no name of its own, and goes by that of its file.
    ran("audit 0.1.0\n", 1).await;
    directory.write("source", &plugins[1]);
    ran("hostile 0.1.0\n", 2).await;
    directory.write("source", "nowhere.wasm");
    ran("error: `make` ended with exit status: 2", 3).await;
    directory.write("source", &plugins[1]);
    ran("stored 3 of 3", 4).await;
}

#[test]
fn a_name_that_is_none_changes_nothing() {
    let directory = Directory::new("authoring");
    let new = |name: &str, more: &[&str]| {
        returner(directory.path(), &[&["plugins", "new", name, "--lang", "python"], more].concat())
    };
    for (name, words) in [
        ("Audit", "`Audit` cannot be"),
        ("mysql", "the host's own"),
        ("a/b", "other signs"),
        ("cache", "a key of Salt's own"),
    ] {
        let run = new(name, &[]);
        assert!(run.expect(2).stderr.contains(words), "{}", run.stderr);
    }
    assert!(new("audit", &["--kind", "postgres"]).expect(2).stderr.contains("possible values: sql, http"));
    assert!(is_empty(directory.path()));
    new("audit", &[]).expect(0);
    directory.write("audit/app.py", "mine");
    assert!(new("audit", &[]).expect(2).stderr.contains("`audit` is there already"));
    assert_eq!(fs::read_to_string(directory.path().join("audit/app.py")).expect("it is there"), "mine");
}

/// But for what the commands printed.
fn is_empty(directory: &Path) -> bool {
    let mut entries = fs::read_dir(directory).expect("a directory").flatten();
    entries.all(|entry| entry.file_name().to_string_lossy().starts_with("command."))
}

#[test]
fn what_is_no_module_becomes_no_component() {
    let directory = Directory::new("authoring");
    directory.write("core.wasm", "no module");
    let made = |file: &str| returner(directory.path(), &["plugins", "componentize", file, "-o", "out.wasm"]);
    assert!(made("core.wasm").expect(1).stderr.contains("`core.wasm`: it is no WebAssembly module"));
    assert!(made("none.wasm").expect(2).stderr.contains("cannot read `none.wasm`"));
    assert!(!directory.path().join("out.wasm").exists());
}
