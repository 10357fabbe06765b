//! Bad input: a clear error each, nothing half-accepted, nothing that was accepted lost,
//! and the process up.

use reqwest::Method;
use returner_servers::{Directory, Host, SqliteDatabase, new_jid, ret, returner};
use serde_json::{Value, json};

/// A host that stores in SQLite, with one return in it.
struct Fixture {
    host: Host,
    database: SqliteDatabase,
}

impl Fixture {
    async fn new(config: &str) -> Self {
        let database = SqliteDatabase::new();
        let host = Host::start(&format!("{}{config}", database.config())).await;
        let fixture = Self { host, database };
        fixture.store_one().await;
        fixture
    }

    async fn store_one(&self) {
        self.host.store("/v1/returns", &ret(&new_jid(), "web1", "test.ping", json!(true))).await;
    }

    async fn post(&self, body: impl Into<Vec<u8>>) -> returner_servers::Answer {
        self.host.send(Method::POST, "/v1/returns", body.into()).await
    }

    /// Claims that the host still works and has only what it accepted: the first return
    /// and one that is sent now.
    async fn unharmed(mut self) {
        self.store_one().await;
        assert_eq!(self.database.count("salt_returns").await, 2);
        assert!(self.host.is_running());
        let log = self.host.log();
        assert!(!log.contains("panicked"), "{log}");
    }
}

fn good() -> Value {
    ret(&new_jid(), "web1", "test.ping", json!(true))
}

#[tokio::test]
async fn what_is_not_json_is_malformed() {
    let fixture = Fixture::new("").await;
    let item = good().to_string();
    for body in [
        "{".to_owned(),
        "not json".to_owned(),
        String::new(),
        format!("[{item}"),
        format!("[{item}] {item}"),
        item.replace("true", "NaN"),
        item.replace("true", "Infinity"),
        item.replace("true", "'single'"),
    ] {
        let problem = fixture.post(body.as_bytes()).await.problem_saying(400, "line");
        assert!(problem["hint"].is_string(), "{body}: {problem}");
    }
    fixture.unharmed().await;
}

/// Of lines, each that is no JSON is named, like an item that is bad.
#[tokio::test]
async fn each_line_that_is_not_json_is_named() {
    let fixture = Fixture::new("").await;
    let item = good().to_string();
    let lines =
        [&item, &item.replace("true", "-NaN"), "{\"jid\": ", &item, "{\"jid\": \"1\"}", "{"].join("\n");
    fixture.post(lines.as_bytes()).await.refuses(&[
        (1, "it is not JSON: "),
        (2, "at line 5"),
        (4, "`id` is missing"),
        (5, "it is not JSON: "),
    ]);
    let minions = "\"web1\"\n7\n{\"minions\": [\"web2\", \"\"]}\n";
    let answer = fixture.host.send(Method::POST, "/v1/jobs/1/minions", minions).await;
    answer.refuses(&[(1, "expected a minion's id"), (2, "empty")]);
    for minions in
        ["\"web1\"", "[\"web1\"]", "\"web1\"\n{\"minions\": [\"web2\"]}", "{\"minions\": [\"web1\"]}"]
    {
        fixture.host.send(Method::POST, "/v1/jobs/1/minions", minions).await.expect(202);
    }
    fixture.unharmed().await;
}

/// Of an array, too, where its end can be told by its brackets.
#[tokio::test]
async fn each_item_of_an_array_that_is_not_json_is_named() {
    let fixture = Fixture::new("").await;
    let item = good().to_string();
    let deep = item.replace("true", &("[".repeat(1000) + &"]".repeat(1000)));
    let (nan, nobody) = (item.replace("true", "NaN"), item.replace("web1", ""));
    let body = format!("[{item},\n{nan},\n{item},\n{deep},\n{nobody}]");
    let named = [(1, "it is not JSON: "), (3, "at line 4"), (4, "empty")];
    fixture.post(body.as_bytes()).await.refuses(&named);
    assert_eq!(fixture.database.count("salt_returns").await, 1, "nothing of it is accepted");
    let file = fixture.host.directory().join("array.json");
    std::fs::write(&file, format!("\u{FEFF}{body}")).expect("a test's directory can be written to");
    let sent = returner(fixture.host.directory(), &["send", "array.json", "--url", &fixture.host.url("")]);
    // Two are the same one.
    assert_eq!(sent.expect(4).stdout.trim(), "1 accepted, 1 duplicates, 3 refused");
    for item in ["item 2", "item 4", "item 5"] {
        assert!(sent.stderr.contains(&format!("error: {item}: ")), "{sent:?}");
    }
}

/// A client that compresses is told so, and not that its bytes are no text.
#[tokio::test]
async fn an_encoded_body_is_refused_as_one() {
    let fixture = Fixture::new("").await;
    for (encoding, status) in [("gzip", 415), ("zstd, gzip", 415), ("identity", 202), ("Identity", 202)] {
        let request =
            reqwest::Client::new().post(fixture.host.url("/v1/returns")).header("Content-Encoding", encoding);
        let answer = request.body(good().to_string()).send().await.expect("an answer");
        assert_eq!(answer.status(), status, "{encoding}");
        let text = answer.text().await.expect("a body");
        assert_eq!(text.contains("send the JSON as it is"), status == 415, "{text}");
    }
}

/// What a return asks for is told with its place, too.
#[tokio::test]
async fn what_a_return_may_not_ask_for_is_named_by_its_place() {
    let fixture = Fixture::new("").await;
    let mut greedy = good();
    greedy["ret_kwargs"] = json!({"database": "/etc/passwd"});
    let answer = fixture.host.post("/v1/returns", &json!([good(), greedy])).await;
    answer.refuses(&[(1, "`database` cannot be set by a return")]);
    let problem = answer.problem(400);
    assert!(
        problem["items"][0]["hint"].as_str().is_some_and(|hint| hint.contains("ret_config")),
        "{problem}"
    );
    fixture.unharmed().await;
}

#[tokio::test]
async fn bytes_that_are_no_text_are_refused() {
    let fixture = Fixture::new("").await;
    let item = good().to_string();
    fixture.post(item.replace("web1", "web\0")).await.problem(400);
    fixture.post(item.replace("web1", "web\\u0000")).await.refuses(&[(0, "`id` has a control character")]);
    let mut invalid = item.into_bytes();
    let place = invalid.windows(4).position(|part| part == b"web1").expect("the minion is in it");
    invalid[place] = 0xff;
    fixture.post(invalid).await.problem_saying(400, &format!("not UTF-8 at byte {place}"));
    let lone = good().to_string().replace("web1", "\\ud83d");
    fixture.post(lone).await.problem(400);
    fixture.unharmed().await;
}

#[tokio::test]
async fn each_bad_item_is_named_and_none_is_taken() {
    let fixture = Fixture::new("").await;
    let without = |key: &str| {
        let mut item = good();
        item.as_object_mut().expect("a return is an object").remove(key);
        item
    };
    let with = |key: &str, value: Value| {
        let mut item = good();
        item[key] = value;
        item
    };
    let items = json!([
        good(),
        without("jid"),
        without("id"),
        without("fun"),
        with("jid", json!(20260214)),
        with("id", json!(["web1"])),
        with("fun", json!({"a": 1})),
        with("fun", json!(["test.ping", 1])),
        with("id", json!("")),
        good(),
        "text",
    ]);
    fixture.host.post("/v1/returns", &items).await.refuses(&[
        (1, "`jid` is missing"),
        (2, "`id` is missing"),
        (3, "`fun` is missing"),
        (4, "`jid` is a number"),
        (5, "`id` is a list"),
        (6, "`fun` is an object"),
        (7, "`fun` is a list"),
        (8, "`id` is empty"),
        (10, "expected an object"),
    ]);
    fixture.unharmed().await;
}

/// Of more bad items than can be named, it says how many there are.
#[tokio::test]
async fn very_many_items_are_too_many() {
    let fixture = Fixture::new("").await;
    let ones = |count: usize| format!("[{}]", vec!["1"; count].join(","));
    fixture.post(ones(100_000)).await.problem_saying(400, "100000 of 100000 items");
    fixture.post(ones(100_001)).await.problem_saying(413, "more than 100000");
    fixture.unharmed().await;
}

/// A job that the minion itself began is its own load; a member that is none of a load's
/// makes nothing that cannot be read back.
#[tokio::test]
async fn a_return_that_is_no_load_leaves_nothing_behind_that_cannot_be_read() {
    let mut fixture = Fixture::new("sqlite3.delivery: {max_backoff: 1s}\n").await;
    let mut item = ret("req", "web1", "test.ping", json!(1));
    item["minions"] = json!("x");
    fixture.host.post("/v1/returns", &item).await.expect(202);
    fixture.host.kill();
    fixture.host.restart().await;
    fixture.host.wait_drained("sqlite3").await;
    let bad = fixture.host.send(Method::POST, "/v1/jobs/1/minions", r#"["a"],"extra":{"x":1}"#).await;
    bad.problem(400);
    fixture.host.get("/v1/jobs/%FF").await.problem(400);
    let mut host = fixture.host;
    host.store("/v1/returns", &good()).await;
    assert_eq!(fixture.database.count("salt_returns").await, 3);
    assert!(host.is_running());
}

#[tokio::test]
async fn json_that_no_store_can_keep_is_refused() {
    let fixture = Fixture::new("").await;
    let item = good().to_string();
    for (value, reason) in [
        ("18446744073709551616", "does not fit 64 bits"),
        ("[-9223372036854775809]", "does not fit 64 bits"),
        ("1e999", "64-bit float"),
        (r#"{"a": {"k": 1, "k": 2}}"#, "the key \"k\" twice"),
    ] {
        fixture.post(item.replace("true", value)).await.refuses(&[(0, reason)]);
    }
    let twice = item.replace(r#""retcode":0"#, r#""retcode":0,"id":"web2""#);
    fixture.post(twice).await.refuses(&[(0, "the key \"id\" twice")]);
    fixture.unharmed().await;
}

#[tokio::test]
async fn a_million_levels_do_no_harm() {
    let fixture = Fixture::new("").await;
    let levels = 1_000_000;
    let nested = |open: &str, close: &str| format!("{}1{}", open.repeat(levels), close.repeat(levels));
    let item = ret("1", "web1", "test.ping", json!("HERE")).to_string();
    for deep in [nested("[", "]"), nested(r#"{"a":"#, "}")] {
        let answer = fixture.post(item.replace("\"HERE\"", &deep)).await;
        assert!(answer.text.contains("levels"), "{}", answer.text);
        answer.problem(400);
        fixture.post(deep).await.problem_saying(400, "levels");
    }
    fixture.post("[".repeat(levels)).await.problem(400);
    fixture.unharmed().await;
}

#[tokio::test]
async fn a_body_has_a_limit() {
    let fixture = Fixture::new("host.max_body: 10KiB\n").await;
    let long = ret(&new_jid(), "web1", "test.ping", json!("x".repeat(20_000)));
    fixture.host.post("/v1/returns", &long).await.problem_saying(413, "host.max_body");
    let fits = ret(&new_jid(), "web1", "test.ping", json!("x".repeat(9_000)));
    fixture.host.post("/v1/returns?returner=sqlite3", &fits).await.expect(202);
    fixture.host.wait_drained("sqlite3").await;
    fixture.database.execute("DELETE FROM salt_returns WHERE length(full_ret) > 8000").await;
    fixture.unharmed().await;
}

/// What is taken is stored, up to the last byte that is.
#[tokio::test]
async fn the_largest_return_that_is_taken_is_stored() {
    let mut fixture = Fixture::new("").await;
    let most = 64 << 20;
    let mut item = ret(&new_jid(), "web1", "test.ping", json!(""));
    item["return"] = json!("x".repeat(most - item.to_string().len()));
    let item = item.to_string();
    assert_eq!(item.len(), most);
    fixture.post(item.as_bytes()).await.expect(202);
    fixture.host.wait_drained("sqlite3").await;
    let rows: Vec<(i64,)> = fixture.database.rows("SELECT max(length(full_ret)) FROM salt_returns").await;
    // Salt's returner keeps all but the time of it.
    assert!(rows[0].0 > most as i64 - 1000, "{rows:?}");
    fixture.database.execute("DELETE FROM salt_returns").await;
    fixture.post(format!("{item} ")).await.problem_saying(413, "host.max_body");
    let answer = fixture.host.get("/v1/dead-letters").await.expect(200).json();
    assert_eq!(answer["dead_letters"], json!([]));
    assert!(fixture.host.is_running());
}

#[tokio::test]
async fn requests_that_make_no_sense_are_told_so() {
    let fixture = Fixture::new("").await;
    fixture.post("[]").await.problem_saying(400, "no item");
    fixture.host.get("/v1/retruns").await.problem_saying(404, "/v1/retruns");
    fixture.host.get("/v1/returns").await.problem(405);
    fixture.host.post("/v1/returns?wait=never", &good()).await.problem(400);
    fixture.host.post("/v1/returns?retuner=mysql", &good()).await.problem(400);
    let problem = fixture.host.post("/v1/returns?returner=nobody", &good()).await.problem(404);
    assert_eq!(problem["known"], json!(["sqlite3"]));
    fixture.host.get("/v1/jobs?returner=nobody").await.problem(404);
    fixture.host.get("/v1/jobs?limit=many").await.problem(400);
    fixture.host.send(Method::DELETE, "/v1/jobs", "").await.problem_saying(400, "older_than");
    fixture.host.send(Method::DELETE, "/v1/jobs?older_than=soon", "").await.problem_saying(400, "older_than");
    fixture.host.post("/v1/loads", &json!({"jid": "req", "fun": "test.ping"})).await.refuses(&[(0, "`req`")]);
    fixture.host.post("/v1/events", &json!({"tag": "a", "data": 1})).await.refuses(&[(0, "`data`")]);
    fixture.host.post("/v1/events", &json!({"data": {}})).await.refuses(&[(0, "`tag` is missing")]);
    fixture.host.post("/v1/jobs/1/minions", &json!({"a": 1})).await.problem(400);
    fixture.unharmed().await;
}

#[test]
fn all_mistakes_of_a_configuration_are_named() {
    let directory = Directory::new("mistakes");
    let config = "\
return: [msyql, sqlite3]
mysql.hots: db.example
mysql.port: 99999
host.lisen: 127.0.0.1:4510
host.max_body: plenty
mysql.pass: s3cret-that-nobody-sees
";
    directory.write("returner.yaml", config);
    let run = returner(directory.path(), &["check", "--config", "returner.yaml"]);
    run.expect(2);
    for (line, words) in
        [(1, "msyql"), (2, "mysql.hots"), (3, "99999"), (4, "host.lisen"), (5, "host.max_body")]
    {
        let place = format!("returner.yaml:{line}: ");
        let message = run.stderr.lines().find(|text| text.contains(&place));
        assert!(message.is_some_and(|text| text.contains(words)), "line {line}, `{words}`:\n{}", run.stderr);
    }
    for hint in ["`mysql`", "`mysql.host`", "`host.listen`"] {
        let hinted =
            run.stderr.lines().any(|text| text.trim_start().starts_with("hint:") && text.contains(hint));
        assert!(hinted, "no hint at {hint}:\n{}", run.stderr);
    }
    // Each says what to do: by a hint, or by what is expected.
    let says = run.stderr.matches("\n  hint: ").count() + run.stderr.matches(", expected ").count();
    assert_eq!((run.stderr.matches("error: ").count(), says), (5, 5), "{}", run.stderr);
    assert!(!run.stderr.contains("s3cret"), "{}", run.stderr);
    returner(directory.path(), &["serve", "--config", "returner.yaml"]).expect(2);
}

#[test]
fn a_configuration_that_cannot_be_read_is_named() {
    let directory = Directory::new("unreadable");
    for (content, words) in
        [("return: [mysql\n", "returner.yaml:"), ("return: a\nreturn: b\n", "returner.yaml:2")]
    {
        directory.write("returner.yaml", content);
        let run = returner(directory.path(), &["check", "--config", "returner.yaml"]);
        assert!(run.expect(2).stderr.contains(words), "{}", run.stderr);
    }
    let run = returner(directory.path(), &["check", "--config", "nowhere.yaml"]);
    assert!(run.expect(2).stderr.contains("nowhere.yaml"), "{}", run.stderr);
}
