//! Another plugin is tried on a returner's last items: what it would do is told, and nothing
//! of it is done.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use returner_servers::{
    Directory, Host, Mariadb, Postgres, Redis, Run, another_build, guest, new_jid, ret, returner, until,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const TABLE: &str = "CREATE TABLE trapping (jid VARCHAR(255), id VARCHAR(255), value TEXT, KEY (jid, id))";

fn trial(host: &Host, name: &str, plugin: &std::path::Path, more: &[&str]) -> Run {
    let (file, url) = (plugin.display().to_string(), host.url(""));
    let words = [&["plugins", "trial", name, &file, "--url", &url], more].concat();
    returner(host.directory(), &words)
}

#[tokio::test]
async fn what_differs_is_told_and_nothing_is_written() {
    let database = Mariadb::shared().await.database().await;
    database.execute(TABLE).await;
    let present = guest("trapping").await;
    let grants = "audit.connections: {db: {connection: mysql, tables: {trapping: [insert, select]}}}\n";
    let config = format!("return: audit\naudit.plugin: {}\n{grants}{}", present.display(), database.config());
    let host = Host::start(&config).await;
    let nothing = trial(&host, "audit", &present, &[]);
    assert!(nothing.expect(4).stderr.contains("has settled nothing"), "{}", nothing.stderr);
    let items: Value =
        (0..20).map(|number| ret(&new_jid(), &format!("m{number}"), "test.arg", json!(number))).collect();
    host.store("/v1/returns", &items).await;

    let directory = Directory::new("trial");
    let same = directory.write("same.wasm", another_build(&present, "same"));
    let told = trial(&host, "audit", &same, &[]);
    assert!(told.expect(0).stdout.contains("on 20 items both did the same"), "{}", told.stdout);
    let few = trial(&host, "audit", &same, &["--last", "7", "--json"]);
    let few = few.expect(0).json();
    assert_eq!(
        (&few["items"], &few["present"]["stored"], &few["other"]["stored"]),
        (&json!(7), &json!(7), &json!(7))
    );
    assert!(few["other"]["memory"].as_u64() > Some(0), "{few}");

    let told = trial(&host, "audit", &guest("reaching").await, &[]);
    for words in [
        "something else came of 20 items",
        "runs now  stored",
        "tried     rejected: refused: nobody knows",
        "only the one that runs: sql.execute db: INSERT INTO trapping",
    ] {
        assert!(told.expect(0).stdout.contains(words), "nothing of `{words}`: {}", told.stdout);
    }
    assert_eq!(database.count("trapping").await, 20, "as before");
    assert_eq!(host.returner("audit").await["plugin"]["name"], "trapping");

    // One that makes it trap is told apart from those beside it.
    host.post("/v1/returns", &ret(&new_jid(), "p", "test.arg", json!("poison"))).await.expect(202);
    host.wait_drained("audit").await;
    let told = trial(&host, "audit", &same, &["--json"]);
    let told = told.expect(0).json();
    assert_eq!((&told["items"], &told["differing"]), (&json!(21), &json!(0)), "{told}");
    assert_eq!((&told["present"]["stored"], &told["other"]["stored"]), (&json!(20), &json!(20)), "{told}");

    let no_plugin = directory.write("no.wasm", "no plugin");
    assert!(trial(&host, "audit", &no_plugin, &[]).expect(4).stderr.contains("not WebAssembly"));
    assert!(trial(&host, "nobody", &same, &[]).expect(4).stderr.contains("`audit`"));
}

/// A table that takes each return once refuses what it has: both versions have it come again.
#[tokio::test]
async fn what_is_there_already_comes_again() {
    let database = Mariadb::shared().await.database().await;
    database.execute(&TABLE.replace("KEY (jid, id)", "PRIMARY KEY (jid, id)")).await;
    let present = guest("trapping").await;
    let config = format!(
        "return: audit\naudit.plugin: {}\naudit.connections: {{db: mysql}}\n{}",
        present.display(),
        database.config()
    );
    let host = Host::start(&config).await;
    let items: Value =
        (0..20).map(|number| ret(&new_jid(), &format!("m{number}"), "test.arg", json!(number))).collect();
    host.store("/v1/returns", &items).await;
    let directory = Directory::new("trial");
    let same = directory.write("same.wasm", another_build(&present, "same"));
    let told = trial(&host, "audit", &same, &[]);
    for words in ["both had them come again", "on 20 items both did the same"] {
        assert!(told.expect(0).stdout.contains(words), "nothing of `{words}`: {}", told.stdout);
    }
    let told = trial(&host, "audit", &guest("reaching").await, &["--json"]);
    let told = told.expect(0).json();
    assert_eq!((&told["present"]["stored"], &told["other"]["stored"]), (&json!(20), &json!(0)), "{told}");
    assert_eq!((&told["redelivered"], &told["differing"]), (&json!(true), &json!(20)), "{told}");
    assert_eq!(database.count("trapping").await, 20, "as before");
}

/// However a statement names a table whose rows stay, or what leads to it.
#[tokio::test]
async fn what_a_server_keeps_is_refused() {
    let database = Mariadb::shared().await.database().await;
    for statement in [
        "CREATE TABLE kept (a INT) ENGINE=MyISAM",
        "CREATE TABLE plain (a INT) ENGINE=InnoDB",
        "CREATE VIEW leads AS SELECT a FROM kept",
        "CREATE TABLE triggers (a INT) ENGINE=InnoDB",
        "CREATE TRIGGER leads BEFORE INSERT ON triggers FOR EACH ROW INSERT INTO kept VALUES (2)",
        "CREATE FUNCTION writes() RETURNS INT MODIFIES SQL DATA BEGIN INSERT INTO kept VALUES (3); RETURN 1; END",
        "CREATE VIEW looks AS SELECT writes() AS a",
    ] {
        database.execute(statement).await;
    }
    let plugin = guest("reaching").await;
    let config = format!(
        "return: audit\naudit.plugin: {}\naudit.connections: {{db: mysql}}\n{}",
        plugin.display(),
        database.config()
    );
    let host = Host::start(&config).await;
    for (number, statement) in [
        "INSERT INTO kept VALUES (1)",
        "INSERT INTO `kept` VALUES (1)",
        "INSERT INTO leads VALUES (1)",
        "INSERT INTO triggers VALUES (1)",
        // What is only read may write, too.
        "INSERT INTO plain SELECT a FROM looks",
    ]
    .iter()
    .enumerate()
    {
        let item = ret(&new_jid(), &format!("m{number}"), "test.arg", json!(format!("execute {statement}")));
        host.post("/v1/returns", &item).await.expect(202);
        host.wait_drained("audit").await;
    }
    let before = database.count("kept").await;
    assert!(before >= 5, "{before}");
    let directory = Directory::new("trial");
    let other = directory.write("other.wasm", another_build(&plugin, "other"));
    let told = trial(&host, "audit", &other, &["--json"]);
    let told = told.expect(0).json();
    assert_eq!((&told["items"], &told["differing"]), (&json!(5), &json!(0)), "{told}");
    assert_eq!(database.count("kept").await, before, "as before");
}

/// On PostgreSQL functions can do anything, and are called from everywhere. Their marks here are
/// what a rollback does not take back: a sequence that has moved.
#[tokio::test]
async fn functions_of_the_databases_own_are_not_called() {
    let database = Postgres::shared().await.database().await;
    let call = "LANGUAGE plpgsql AS 'BEGIN PERFORM nextval(''mark''); RETURN";
    for statement in [
        "CREATE SEQUENCE mark",
        "CREATE TABLE t (a INT)",
        "INSERT INTO t VALUES (1)",
        &format!("CREATE FUNCTION w() RETURNS INT {call} 1; END'"),
        &format!("CREATE FUNCTION w1(t) RETURNS INT {call} 1; END'"),
        &format!("CREATE FUNCTION abs(TEXT) RETURNS INT {call} 1; END'"),
        &format!("CREATE FUNCTION ok(INT) RETURNS BOOLEAN {call} true; END'"),
        "CREATE VIEW v AS SELECT w() AS a",
        "CREATE TABLE by_default (a INT DEFAULT w(), b INT)",
        "CREATE TABLE by_check (a INT CHECK (ok(a)))",
        "CREATE DOMAIN checked AS INT CHECK (ok(VALUE))",
        "CREATE TABLE by_domain (a checked)",
    ] {
        database.execute(statement).await;
    }
    let plugin = guest("reaching").await;
    let config = format!(
        "return: audit\naudit.plugin: {}\naudit.connections: {{db: pgjsonb}}\n{}",
        plugin.display(),
        database.config()
    );
    let host = Host::start(&config).await;
    let statements = [
        "SELECT a FROM v",
        "SELECT t.w1 FROM t",
        "SELECT abs('x'::text)",
        "INSERT INTO by_default (b) VALUES (1)",
        "INSERT INTO by_check VALUES (1)",
        "INSERT INTO by_domain VALUES (1)",
    ];
    for (number, statement) in statements.iter().enumerate() {
        let item = ret(&new_jid(), &format!("m{number}"), "test.arg", json!(format!("query {statement}")));
        host.post("/v1/returns", &item).await.expect(202);
        host.wait_drained("audit").await;
    }
    let mark = async || database.rows("SELECT last_value FROM mark").await;
    let before = mark().await;
    let directory = Directory::new("trial");
    let other = directory.write("other.wasm", another_build(&plugin, "other"));
    let told = trial(&host, "audit", &other, &["--json"]);
    let told = told.expect(0).json();
    assert_eq!((&told["items"], &told["differing"]), (&json!(statements.len()), &json!(0)), "{told}");
    assert_eq!(mark().await, before, "nothing was called");
}

#[tokio::test]
async fn what_cannot_be_undone_is_held_back() {
    let database = Redis::shared().await.database().await;
    let plugin = guest("reaching").await;
    let config = format!(
        "return: audit\naudit.plugin: {}\naudit.connections: {{cache: redis}}\n{}",
        plugin.display(),
        database.config()
    );
    let host = Host::start(&config).await;
    host.post("/v1/returns", &ret(&new_jid(), "m", "test.arg", json!("redis SET held x"))).await.expect(202);
    until("the key", async || match database.keys().await {
        keys if keys == ["held"] => Ok(()),
        keys => Err(format!("{keys:?}")),
    })
    .await;
    host.wait_drained("audit").await;
    database.ask::<i64>(&["DEL", "held"]).await;
    let directory = Directory::new("trial");
    let other = directory.write("other.wasm", another_build(&plugin, "other"));
    let told = trial(&host, "audit", &other, &["--json"]);
    let told = told.expect(0).json();
    assert_eq!((&told["differing"], &told["other"]["calls"]), (&json!(0), &json!(1)), "{told}");
    assert_eq!(database.keys().await, Vec::<String>::new(), "it was held back");
}

/// A plugin with a library of its own for HTTP, or with sockets, reaches nobody in a trial either.
#[tokio::test]
async fn what_goes_out_by_wasi_is_held_back() {
    let peer = Counting::start().await;
    let (plugin, port) = (guest("reaching").await, peer.port);
    let config = format!(
        "return: audit\naudit.plugin: {}\naudit.allow_http: ['http://127.0.0.1:{port}']\n\
         audit.allow_connect: ['tcp://127.0.0.1:{port}']\n",
        plugin.display()
    );
    let host = Host::start(&config).await;
    for wanted in [format!("wasi-http http://127.0.0.1:{port}/"), format!("tcp 127.0.0.1:{port}")] {
        host.post("/v1/returns", &ret(&new_jid(), "m", "test.arg", json!(wanted))).await.expect(202);
        host.wait_drained("audit").await;
    }
    let letters = host.get("/v1/dead-letters").await.expect(200).json().to_string();
    assert_eq!((letters.matches("reached: ").count(), peer.count()), (2, 2), "{letters}");
    let directory = Directory::new("trial");
    let other = directory.write("other.wasm", another_build(&plugin, "other"));
    let told = trial(&host, "audit", &other, &["--json"]);
    let told = told.expect(0).json();
    assert_eq!((&told["differing"], &told["other"]["calls"]), (&json!(0), &json!(2)), "{told}");
    // Our own connection comes after any of theirs.
    peer.knock().await;
    assert_eq!(peer.count(), 3, "nothing more went out");
}

/// A web server that counts its connections.
struct Counting {
    port: u16,
    connections: Arc<AtomicUsize>,
}

impl Counting {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::Relaxed);
                let _ = stream.read(&mut [0; 4096]).await;
                let head = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nthere";
                let _ = stream.write_all(head.as_bytes()).await;
            }
        });
        Self { port, connections }
    }

    /// Returns when the connection was served.
    async fn knock(&self) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.expect("it listens");
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("it reads");
        stream.read_to_end(&mut Vec::new()).await.expect("it answers");
    }

    fn count(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}
