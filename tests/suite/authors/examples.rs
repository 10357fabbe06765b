//! The examples of `plugins/examples`, each built from source as its reader would, held to the
//! conformance kit, and stored through to the real thing.

use std::fs;
use std::path::{Path, PathBuf};

use returner_servers::{
    Directory, Host, OpenSearch, Postgres, PostgresDatabase, Receiver, Redis, SqliteDatabase, make, new_jid,
    ret, returner, until,
};
use serde_json::{Value, json};

/// Of the check of memory, which is thorough without this, and takes a minute in JavaScript.
const CALLS: &str = "ARGS=--calls 500";

/// An example in a folder of its own, where `make` has built it.
struct Example {
    name: &'static str,
    directory: Directory,
}

impl Example {
    /// What `returner plugins new` writes, with the example's files in place of its own.
    fn build(name: &'static str, language: &str, kind: &str) -> Self {
        let directory = Directory::new("examples");
        let run = returner(directory.path(), &["plugins", "new", name, "--lang", language, "--kind", kind]);
        run.expect(0);
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/examples").join(name);
        copy(&source, &directory.path().join(name));
        let example = Self { name, directory };
        make(&example.folder(), &[]).expect(0);
        example
    }

    fn folder(&self) -> PathBuf {
        self.directory.path().join(self.name)
    }

    /// Its lines of configuration, with `from` in the place of each text before it.
    fn lines(&self, replaced: &[(&str, &str)]) -> String {
        let lines = fs::read_to_string(self.folder().join("returner.yaml")).expect("its lines");
        let (file, path) = (format!("{}.wasm", self.name), self.folder());
        let plugin = format!("plugin: {}/{file}", path.display());
        let lines = lines.replace(&format!("plugin: {file}"), &plugin);
        replaced.iter().fold(lines, |lines, (from, to)| {
            assert!(lines.contains(from), "`{from}` is not in {lines}");
            lines.replace(from, to)
        })
    }

    /// The conformance kit, under the grants of its own lines.
    fn passes(&self, server: &str, arguments: &str) {
        let server = format!("TEST_SERVER={server}");
        let run = make(&self.folder(), &["test", arguments, &server]);
        let out = &run.expect(0).stdout;
        assert!(out.contains("ok         faults") && !out.contains("FAILED"), "{out}");
    }

    /// The same of one that has sockets of its own, into which the kit cannot look: what is
    /// granted leads to a receiver.
    fn passes_with_sockets(&self, replaced: &[(&str, &str)]) {
        let file = self.folder().join("returner.yaml");
        let lines = fs::read_to_string(&file).expect("its lines");
        let granted = replaced.iter().fold(lines.clone(), |lines, (from, to)| lines.replace(from, to));
        fs::write(&file, granted).expect("a test's directory can be written to");
        let run = make(&self.folder(), &["test", "TEST_SERVER=", "ARGS=--calls 300 --real-sockets"]);
        let out = &run.expect(0).stdout;
        assert!(out.contains("ok         faults") && !out.contains("FAILED"), "{out}");
        fs::write(&file, lines).expect("a test's directory can be written to");
    }

    async fn host(&self, replaced: &[(&str, &str)], more: &str) -> Host {
        Host::start(&format!("return: {}\n{more}{}", self.name, self.lines(replaced))).await
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a test's directory can be written to");
    for entry in fs::read_dir(from).expect("an example").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a test's directory can be written to");
        }
    }
}

fn failed(jid: &str, minion: &str, fun: &str, value: Value) -> Value {
    json!({"jid": jid, "id": minion, "fun": fun, "return": value, "retcode": 2, "success": false})
}

/// The hook is busy, then down, then wants another token, and is told once in the end.
#[tokio::test]
async fn webhook_tells_a_channel() {
    let example = Example::build("webhook", "python", "http");
    example.passes("", CALLS);
    let hook = Receiver::web_hook(&[429, 503, 401]).await;
    let address = format!("http://127.0.0.1:{}", hook.port());
    let host = example.host(&[("http://127.0.0.1:8080", &address)], "webhook.delivery: {workers: 1}\n").await;
    let jid = new_jid();
    let items = json!([
        ret(&jid, "web1", "test.ping", json!(true)),
        failed(&jid, "web2", "state.apply", json!("<!channel> `no`"))
    ]);
    host.store("/v1/returns", &items).await;
    let received = hook.received();
    let requests: Vec<Value> =
        received.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let statuses: Vec<&Value> = requests.iter().map(|request| &request["status"]).collect();
    assert_eq!(statuses, [429, 503, 401, 204], "{received}");
    assert!(requests.iter().all(|request| request["key"] == requests[0]["key"]), "{received}");
    let text = requests[3]["body"]["text"].as_str().unwrap_or_default();
    let expected = format!(
        ":white_check_mark: *web1* `test.ping` in job {jid}: true\n\
         :x: *web2* `state.apply` in job {jid}: \"&lt;!channel&gt; 'no'\""
    );
    assert_eq!(text, expected);
}

#[tokio::test]
async fn elasticsearch_takes_item_by_item() {
    let example = Example::build("elasticsearch", "javascript", "http");
    example.passes("", CALLS);
    let server = OpenSearch::start().await;
    // It takes numbers of one byte only.
    let mapping = json!({"mappings": {"properties": {"retcode": {"type": "byte"}}}});
    server.put("salt-returns", &mapping).await;
    let host = example.host(&[("http://127.0.0.1:9200", server.url())], "").await;
    let jid = new_jid();
    host.store("/v1/returns", &ret(&jid, "web1", "test.ping", json!({"a": 1}))).await;
    // What does not fit a field is refused alone; the rest of its batch is there.
    let mut refused = ret(&jid, "web4", "cmd.run", json!(1));
    refused["retcode"] = json!(300);
    let items = json!([
        ret(&jid, "web2", "grains.items", json!({"a": {"b": [1]}})),
        refused,
        ret(&jid, "web3", "test.ping", json!("ü"))
    ]);
    host.post("/v1/returns", &items).await.expect(202);
    host.wait_drained("elasticsearch").await;
    let letters = host.get("/v1/dead-letters").await.expect(200).json();
    let letters = letters["dead_letters"].as_array().expect("a list");
    assert!(letters.len() == 1 && letters[0].to_string().contains("web4"), "{letters:?}");
    let documents = server.documents("salt-returns").await;
    let mut minions: Vec<&str> =
        documents.iter().filter_map(|(_, document)| document["minion"].as_str()).collect();
    minions.sort_unstable();
    assert_eq!(minions, ["web1", "web2", "web3"], "{documents:?}");
    let web1 = documents.iter().find(|(_, document)| document["minion"] == "web1");
    assert_eq!(web1.map(|(_, document)| &document["return"]), Some(&json!("{\"a\":1}")), "{documents:?}");
}

#[tokio::test]
async fn counters_count_each_run_once() {
    let example = Example::build("counters", "c", "redis");
    let database = Redis::shared().await.database().await;
    example.passes(&format!("--connection db={}", database.url()), CALLS);
    let database = Redis::shared().await.database().await;
    let host = example.host(&[("redis.host: 127.0.0.1\n", &database.config())], "").await;
    let jid = new_jid();
    let items = json!([
        ret(&jid, "web1", "test.ping", json!(true)),
        failed(&jid, "web1", "test.ping", json!(false)),
        failed(&jid, "web2", "state.apply", json!({}))
    ]);
    host.store("/v1/returns", &items).await;
    let count = async |set: &str| database.ask::<i64>(&["ZCARD", &format!("counters:{set}")]).await;
    assert_eq!((count("runs:web1:test.ping").await, count("failures:web1:test.ping").await), (2, 1));
    assert_eq!((count("runs:web2:state.apply").await, count("seen").await), (1, 2));
}

#[tokio::test]
async fn failures_are_rows_of_their_own() {
    let example = Example::build("failures", "go", "sql");
    // Go lets its memory grow for some thousand calls before it collects any.
    example.passes("--connection db=sqlite::memory:", "ARGS=");
    let database = SqliteDatabase::new();
    let host = example.host(&[], &database.config()).await;
    let sample = fs::read_to_string(example.folder().join("sample.ndjson")).expect("its sample");
    let items: Value =
        sample.lines().map(|line| serde_json::from_str::<Value>(line).expect("a return")).collect();
    host.store("/v1/returns", &items).await;
    let rows: Vec<(String, String, String)> =
        database.rows("SELECT minion, state, comment FROM failures ORDER BY minion").await;
    let expected = [
        ("web1", "nginx", "The named service nginx is not available"),
        ("web2", "", "Rendering SLS 'base:web' failed: mapping values are not allowed here"),
    ];
    assert_eq!(rows, expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned())));
}

/// Salt's own lines describe the connection.
fn in_place_of_salts(database: &PostgresDatabase) -> String {
    database.config().lines().map(|line| format!("{line}\n")).collect()
}

#[tokio::test]
async fn postgres_has_salts_tables() {
    let example = Example::build("postgres", "rust", "sql");
    let database = Postgres::shared().await.database().await;
    example.passes(&format!("--connection db={}", database.url()), CALLS);
    let database = Postgres::shared().await.database().await;
    let salts = "returner.pgjsonb.host: 127.0.0.1\nreturner.pgjsonb.user: salt\nreturner.pgjsonb.pass: salt\n\
                 returner.pgjsonb.db: salt\n";
    let lines = example.lines(&[(salts, &in_place_of_salts(&database))]);
    let host = Host::start(&format!("return: pgjsonb\n{lines}")).await;
    let jid = new_jid();
    let odd = json!({"nul": "a\u{0}b", "text": "läuft", "number": 1});
    host.store(
        "/v1/returns",
        &json!([ret(&jid, "web1", "test.arg", odd), ret(&jid, "web2", "test.ping", json!(true))]),
    )
    .await;
    host.store("/v1/loads", &json!({"jid": jid, "fun": "test.arg", "tgt": "*", "minions": ["web1", "web2"]}))
        .await;
    let rows = database
        .rows(
            "SELECT id, fun, success, \"return\"->>'text', \"return\"->>'nul' FROM salt_returns ORDER BY id",
        )
        .await;
    assert_eq!(rows[0], ["web1", "test.arg", "True", "läuft", "a␀0000b"]);
    assert_eq!(rows[1][..3], ["web2", "test.ping", "True"]);
    let answers = host.get(&format!("/v1/jobs/{jid}/returns")).await.expect(200).json();
    assert_eq!(answers["returns"].as_array().map(Vec::len), Some(2), "{answers}");
    let job = host.get(&format!("/v1/jobs/{jid}")).await.expect(200).json();
    assert_eq!(job["load"]["fun"], "test.arg", "{job}");
}

#[tokio::test]
async fn syslog_over_tcp_and_udp() {
    let example = Example::build("syslog", "rust", "http");
    let receiver = Receiver::syslog().await;
    for protocol in ["tcp", "udp"] {
        let to = format!("{protocol}://127.0.0.1:{}", receiver.port());
        example.passes_with_sockets(&[("tcp://127.0.0.1:514", &to)]);
        let host = example.host(&[("tcp://127.0.0.1:514", &to)], "").await;
        let jid = new_jid();
        let items =
            json!([ret(&jid, "web1", "test.ping", json!("läuft")), failed(&jid, "web 2", "x\"]", json!(1))]);
        host.store("/v1/returns", &items).await;
        let received = until("the messages", async || {
            let received = receiver.received();
            let mut ours: Vec<String> =
                received.lines().filter(|line| line.contains(&jid)).map(str::to_owned).collect();
            ours.sort_unstable();
            if ours.len() == 2 { Ok(ours) } else { Err(received) }
        })
        .await;
        // local0, error and informational.
        assert!(received[0].starts_with("131|") && received[0].contains("|web_2|salt|x\"]|"), "{received:?}");
        assert!(received[0].contains("fun=\"x\\\"\\]\""), "{received:?}");
        assert!(received[1].starts_with("134|") && received[1].ends_with("|\"läuft\""), "{received:?}");
        assert!(received[1].contains("|web1|salt|test.ping|[salt@32473 jid="), "{received:?}");
    }
}

/// A mail for each job that failed.
#[tokio::test]
async fn smtp_sends_a_mail_for_each_failed_job() {
    let example = Example::build("smtp", "python", "http");
    let server = Receiver::mail().await;
    let address = format!("127.0.0.1:{}", server.port());
    example.passes_with_sockets(&[("127.0.0.1:25", &address)]);
    let before = server.received().matches("MESSAGE FOLLOWS").count();
    let host = example.host(&[("127.0.0.1:25", &address)], "smtp.delivery: {workers: 1}\n").await;
    let (first, second) = (new_jid(), new_jid());
    let items = json!([
        failed(&first, "web1", "state.apply", json!("no nginx: läuft nicht")),
        failed(&first, "web2", "state.apply", json!("no nginx")),
        ret(&first, "web3", "state.apply", json!("fine")),
        failed(&second, "db1", "cmd.run", json!("oh"))
    ]);
    host.store("/v1/returns", &items).await;
    let received = until("the mails", async || {
        let received = server.received();
        let count = received.matches("MESSAGE FOLLOWS").count();
        if count >= before + 2 { Ok(received) } else { Err(received) }
    })
    .await;
    let ours: Vec<&str> = received.split("MESSAGE FOLLOWS").skip(before + 1).collect();
    assert_eq!(ours.len(), 2, "{received}");
    let received = ours.concat();
    for words in [
        "From: salt@example.com",
        "To: operators@example.com",
        "Subject: Salt: state.apply failed on web1, web2",
        "Subject: Salt: cmd.run failed on db1",
    ] {
        assert!(received.contains(words), "nothing of `{words}` in {received}");
    }
    assert!(!received.contains("web3"), "{received}");
}
