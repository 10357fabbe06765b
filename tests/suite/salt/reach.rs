//! The ways by which a minion's module reaches the host, and what it shows there.

use returner_servers::{Authority, Directory, Host, SaltVersion, SqliteDatabase, returner, until};
use serde_json::{Value, json};

/// A return by the module itself, with these options of a minion.
const SCRIPT: &str = r#"
import json, logging, sys
sys.path.append(sys.argv[1])
sys.dont_write_bytecode = True
logging.basicConfig(level="WARNING")
import _returner_host
host = _returner_host.Returner("sqlite3", json.loads(sys.argv[2]))
host.returner({"jid": sys.argv[3], "id": "m1", "fun": "test.ping", "return": True})
print(host.spool.count())
"#;

/// What it said; and how many returns it had to keep.
fn send(version: SaltVersion, directory: &Directory, jid: &str, options: &Value) -> (String, String) {
    let shared = concat!(env!("CARGO_MANIFEST_DIR"), "/../../host/salt");
    let mut all = json!({"cachedir": directory.path().join(jid), "id": "m1", "returner.timeout": 10});
    all.as_object_mut().expect("an object").extend(options.as_object().expect("an object").clone());
    let run = version.python(directory.path(), &["-c", SCRIPT, shared, &all.to_string(), jid]);
    run.expect(0);
    (run.stdout.trim().to_owned(), run.stderr)
}

#[tokio::test]
async fn by_tls_with_a_token_or_a_certificate_and_by_a_socket() {
    let (authority, database, directory) = (Authority::new(), SqliteDatabase::new(), Directory::new("reach"));
    let (server, client) = (authority.issue("server"), authority.issue("client"));
    let made: Value = returner(directory.path(), &["token", "minions", "--role", "write", "--json"]).json();
    let token = made["token"].as_str().expect("a token");
    let plain = format!("return: sqlite3\nhost.socket: host.sock\n{}", database.config());
    let host = Host::start(&plain).await;
    let (ca, socket) = (authority.ca(), host.directory().join("host.sock"));
    host.rewrite(&format!(
        "{plain}host.tls: {{certificate: {}, key: {}, client_ca: {}}}\n\
         host.tokens.minions: {{sha256: {}, role: write}}\n",
        server.certificate.display(),
        server.key.display(),
        ca.display(),
        made["sha256"].as_str().expect("a digest"),
    ));
    let unix = format!("unix:{}", socket.display());
    returner(host.directory(), &["reload", "--url", &unix]).expect(0);
    directory.write("token", format!("{token}\n"));
    let url = host.url("").replace("http://", "https://");
    let ways = [
        json!({"returner.url": url, "returner.ca": ca, "returner.token": token}),
        // Nested, as Salt's files may have it; the file is read each time.
        json!({"returner": {"url": url, "ca": ca, "token_file": directory.path().join("token")}}),
        json!({
            "returner.url": url, "returner.ca": ca, "returner.certificate": client.certificate,
            "returner.key": client.key,
        }),
        json!({"returner.url": unix}),
    ];
    let mut sent = Vec::new();
    for version in [SaltVersion::V3007, SaltVersion::V3008] {
        for way in &ways {
            let jid = format!("2026021409301234567{}", sent.len());
            let (kept, said) = send(version, &directory, &jid, way);
            assert_eq!(kept, "0", "{way}: {said}");
            sent.push(jid);
        }
    }
    until("all of it to be stored", async || {
        let rows: Vec<(String,)> = database.rows("SELECT jid FROM salt_returns ORDER BY jid").await;
        if rows.iter().map(|(jid,)| jid).eq(&sent) { Ok(()) } else { Err(format!("{rows:?}")) }
    })
    .await;

    // Whom the host does not know keeps what it has, and hears why.
    for (way, why) in [
        (json!({"returner.url": url, "returner.ca": ca, "returner.token": "guessed"}), "401"),
        (json!({"returner.url": url, "returner.token": token}), "CERTIFICATE_VERIFY_FAILED"),
        (json!({"returner.url": "gopher://host"}), "is no http://, https:// or unix: URL"),
    ] {
        let (kept, said) = send(SaltVersion::V3008, &directory, "20260214093012345699", &way);
        assert!(kept == "1" && said.contains(why), "{way}: {said}");
        std::fs::remove_dir_all(directory.path().join("20260214093012345699")).expect("the spool");
    }
}
