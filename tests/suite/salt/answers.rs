//! What a minion's module makes of the answers of a server that is no host, or a broken one.

use returner_servers::{Directory, SaltVersion};
use serde_json::{Value, json};

use super::of_both_versions;

/// Stands in for a server that answers everything alike. Two returns are stored by it, and flushed.
const SCRIPT: &str = r#"
import http.server, json, sys, threading
sys.path.append(sys.argv[1])
sys.dont_write_bytecode = True
import _returner_host

status, kind, text = json.loads(sys.argv[3])
bodies = []

class Server(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
opts = {"cachedir": sys.argv[2], "id": "m1", "returner.url": f"http://127.0.0.1:{server.server_port}",
        "returner.timeout": 10}
for number in range(2):
    ret = {"jid": "20260214093012345678", "id": "m1", "fun": "test.echo", "return": number}
    _returner_host.Returner("sqlite3", opts).returner(ret)
flushed = _returner_host.Returner("sqlite3", opts).flush()
print(json.dumps({"requests": len(bodies), **flushed}))
"#;

/// What `flush` says after two returns, and how many requests there were.
fn after(version: SaltVersion, status: u16, kind: &str, text: &str) -> Value {
    let shared = concat!(env!("CARGO_MANIFEST_DIR"), "/../../host/salt");
    let directory = Directory::new("answers");
    let cache = directory.path().join("cache").display().to_string();
    let answer = json!([status, kind, text]).to_string();
    let run = version.python(directory.path(), &["-c", SCRIPT, shared, &cache, &answer]);
    serde_json::from_str(&run.expect(0).stdout).expect("JSON")
}

of_both_versions!(only_a_hosts_own_words_take_a_return_out_of_the_spool);

async fn only_a_hosts_own_words_take_a_return_out_of_the_spool(version: SaltVersion) {
    const PAGE: &str = "<html>log in, please</html>";
    const JSON: &str = "application/json";
    const PROBLEM: &str = "application/problem+json";
    let deep = format!("{{\"items\":{}", "[".repeat(100_000));
    // What somebody else says acknowledges nothing, and refuses nothing for good.
    for (status, kind, text) in [
        (200, "text/html", PAGE),
        (202, JSON, "[]"),
        (202, JSON, r#"{"detail": "accepted"}"#),
        (204, JSON, ""),
        (302, "text/html", ""),
        (400, "text/html", PAGE),
        (413, "text/html", PAGE),
        (400, JSON, r#"{"detail": "no", "items": [{"index": 0, "reason": "bad"}]}"#),
        // As nobody writes them.
        (400, PROBLEM, "[]"),
        (400, PROBLEM, r#"{"detail": 5, "items": [{"index": 0}]}"#),
        (400, PROBLEM, deep.as_str()),
    ] {
        let told = after(version, status, kind, text);
        assert_eq!(
            (&told["waiting"], &told["refused"]),
            (&json!(2), &json!(0)),
            "{status} {text:.80}: {told}"
        );
        let error = told["error"].as_str().unwrap_or_default();
        let words = format!("answers {status} in other words than a returner host");
        assert!(error.contains(&words), "{told}");
    }
    let told = after(version, 202, JSON, r#"{"accepted": 1, "duplicates": 0}"#);
    assert_eq!(told, json!({"requests": 2, "sent": 0, "waiting": 0, "refused": 0}));
    // A host's refusal is one, also where the places in it are none.
    for items in
        [r#"[{"index": [1]}]"#, r#"[{"index": 0.5}, 7]"#, "null", r#"[{"index": 0, "reason": "bad"}]"#]
    {
        let told = after(version, 400, PROBLEM, &format!(r#"{{"detail": "no", "items": {items}}}"#));
        assert_eq!(told, json!({"requests": 2, "sent": 0, "waiting": 0, "refused": 2}), "{items}");
    }
}
