//! Who may talk to the host: tokens with roles, client certificates, the Unix socket's mode,
//! and clients that hold a connection.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use reqwest::{Certificate, Client, Identity};
use returner_servers::{Authority, Host, Issued, new_jid, ret, returner, until};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A token as `returner token` makes it, and the line for the configuration.
fn token(host: &Host, name: &str, role: &str) -> (String, String) {
    let made = returner(host.directory(), &["token", name, "--role", role, "--json"]);
    let made: Value = serde_json::from_str(&made.expect(0).stdout).expect("JSON");
    let line = format!(
        "host.tokens.{name}: {{sha256: {}, role: {role}}}\n",
        made["sha256"].as_str().expect("a digest")
    );
    (made["token"].as_str().expect("a token").to_owned(), line)
}

/// The status of a request with this token.
async fn status(host: &Host, method: reqwest::Method, path: &str, token: Option<&str>) -> u16 {
    let mut request = Client::new().request(method, host.url(path));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let item = ret(&new_jid(), "a", "test.ping", json!(true));
    let answer = request.header("Content-Type", "application/json").body(item.to_string()).send().await;
    answer.expect("an answer").status().as_u16()
}

#[tokio::test]
async fn a_token_lets_its_role_in_and_no_other() {
    use reqwest::Method;
    let host = Host::start("host.socket: host.sock\n").await;
    let (write, line_write) = token(&host, "minions", "write");
    let (read, line_read) = token(&host, "grafana", "read");
    let (master, line_master) = token(&host, "salt", "master");
    let (admin, line_admin) = token(&host, "ops", "admin");
    let tokens = format!("{line_write}{line_read}{line_master}{line_admin}");
    host.reload(&format!("host.socket: host.sock\n{tokens}")).await.expect(200);
    for (method, path, allowed) in [
        (Method::POST, "/v1/returns", vec![&write, &master, &admin]),
        (Method::GET, "/v1/jobs", vec![&read, &master, &admin]),
        (Method::GET, "/v1/returners", vec![&read, &master, &admin]),
        (Method::GET, "/metrics", vec![&read, &master, &admin]),
        (Method::GET, "/v1/dead-letters", vec![&read, &master, &admin]),
        (Method::DELETE, "/v1/jobs?older_than=30d", vec![&master, &admin]),
        (Method::DELETE, "/v1/dead-letters?all=true", vec![&admin]),
        (Method::POST, "/v1/dead-letters/replay?all=true", vec![&admin]),
        (Method::POST, "/v1/reload?dry_run=true", vec![&admin]),
        (Method::DELETE, "/v1/lanes/nobody", vec![&admin]),
    ] {
        for token in [&write, &read, &master, &admin] {
            let found = status(&host, method.clone(), path, Some(token)).await;
            assert_eq!(found == 403, !allowed.contains(&token), "{method} {path}: {found}");
            assert_ne!(found, 401, "{method} {path}");
        }
        for token in [None, Some("returner_0000"), Some("")] {
            assert_eq!(status(&host, method.clone(), path, token).await, 401, "{method} {path}");
        }
    }
    let refused = host.get("/v1/jobs").await;
    refused.problem_saying(401, "no token");
    assert_eq!(refused.headers["www-authenticate"], "Bearer");
    host.get("/healthz").await.expect(200);
    host.get("/readyz").await.expect(200);
    // Neither the token nor its digest is in what the host says.
    assert!(![&write, &read, &master, &admin].iter().any(|token| host.log().contains(*token)));

    // The socket needs none, and commands take it.
    let socket = format!("unix:{}/host.sock", host.directory().display());
    returner(host.directory(), &["status", "--url", &socket]).expect(0);
    returner(host.directory(), &["status", "--config", "returner.yaml"]).expect(0);
    returner(host.directory(), &["status", "--url", &host.url("")]).expect(4);
    fs::write(host.directory().join("token"), format!("{read}\n")).expect("a file");
    returner(host.directory(), &["status", "--url", &host.url(""), "--token-file", "token"]).expect(0);
    let run = returner(host.directory(), &["reload", "--url", &host.url(""), "--token-file", "token"]);
    assert!(run.expect(4).stderr.contains("needs the role `admin`"), "{}", run.stderr);

    // A token that is taken out is worth nothing from then on.
    host.rewrite(&format!("host.socket: host.sock\n{line_write}{line_admin}"));
    let run = returner(host.directory(), &["reload", "--url", &socket]);
    assert!(run.expect(0).stdout.contains("`host.tokens`: was "), "{}", run.stdout);
    assert_eq!(status(&host, Method::GET, "/v1/jobs", Some(&read)).await, 401);
    assert_eq!(status(&host, Method::GET, "/v1/jobs", Some(&admin)).await, 200);
}

/// A client that trusts the authority, and shows a certificate if it has one.
fn client(authority: &Authority, shown: Option<&Issued>) -> Client {
    let pem = |path| fs::read(path).expect("a test's file");
    let ca = Certificate::from_pem(&pem(authority.ca())).expect("a certificate");
    let mut builder = Client::builder().tls_certs_only([ca]).timeout(Duration::from_secs(20));
    if let Some(shown) = shown {
        builder = builder.identity(Identity::from_pem(&pem(shown.both.clone())).expect("an identity"));
    }
    builder.build().expect("a client")
}

#[tokio::test]
async fn tls_and_client_certificates_come_and_change_while_it_runs() {
    let (authority, others) = (Authority::new(), Authority::new());
    let (server, minion, stranger) =
        (authority.issue("server"), authority.issue("minion"), others.issue("minion"));
    let host = Host::start("host.socket: host.sock\n").await;
    let socket = format!("unix:{}/host.sock", host.directory().display());
    let reload = |config: String| {
        host.rewrite(&format!("host.socket: host.sock\n{config}"));
        returner(host.directory(), &["reload", "--url", &socket])
    };
    let tls = |more: String| {
        let (certificate, key) = (server.certificate.display(), server.key.display());
        format!("host.tls: {{certificate: {certificate}, key: {key}{more}}}\n")
    };
    let url = host.url("/v1/jobs").replace("http:", "https:");
    let get = async |client: Client| client.get(&url).send().await.map(|answer| answer.status().as_u16());

    // On loopback TLS alone asks nobody.
    reload(tls(String::new())).expect(0);
    assert_eq!(get(client(&authority, None)).await.ok(), Some(200));
    assert!(get(client(&others, None)).await.is_err(), "the client does not know the authority");
    assert!(host.try_send(reqwest::Method::GET, "/healthz", "").await.is_err(), "plain HTTP");
    let ca = authority.ca().display().to_string();
    let https = host.url("").replace("http:", "https:");
    returner(host.directory(), &["status", "--url", &https, "--ca", &ca]).expect(0);

    let clients = |role: &str| tls(format!(", client_ca: {ca}, client_role: {role}"));
    reload(clients("read")).expect(0);
    assert_eq!(get(client(&authority, Some(&minion))).await.ok(), Some(200));
    assert!(get(client(&authority, None)).await.is_err(), "no certificate");
    assert!(get(client(&authority, Some(&stranger))).await.is_err(), "of another authority");
    let identity = minion.both.display().to_string();
    returner(host.directory(), &["status", "--url", &https, "--ca", &ca, "--identity", &identity]).expect(0);

    // A token is as good as a certificate.
    let (admin, line) = token(&host, "ops", "admin");
    reload(format!("{}{line}", clients("write"))).expect(0);
    assert_eq!(get(client(&authority, Some(&minion))).await.ok(), Some(403));
    assert_eq!(get(client(&authority, None)).await.ok(), Some(401));
    let by_token = client(&authority, None).get(&url).bearer_auth(&admin).send().await;
    assert_eq!(by_token.expect("an answer").status().as_u16(), 200);

    // A certificate that is renewed under its name is taken by itself.
    let new = others.issue("server");
    fs::copy(&new.key, &server.key).expect("a file");
    fs::copy(&new.certificate, &server.certificate).expect("a file");
    until("the new certificate", async || match get(client(&others, None)).await {
        Ok(401) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    // One that does not fit its key is refused, and the one before it serves.
    fs::copy(&minion.key, &server.key).expect("a file");
    let refused = returner(host.directory(), &["reload", "--url", &socket]);
    assert!(refused.expect(4).stderr.contains("cannot be used together"), "{}", refused.stderr);
    let check = returner(host.directory(), &["check", "--config", "returner.yaml"]);
    assert!(check.expect(2).stderr.contains("is it the key of that certificate?"), "{}", check.stderr);
    assert_eq!(get(client(&others, None)).await.ok(), Some(401));
}

#[tokio::test]
async fn the_sockets_mode_is_the_configurations_and_changes() {
    let host = Host::start("host.socket: host.sock\n").await;
    let path = host.directory().join("host.sock");
    let mode = || fs::metadata(&path).map(|metadata| metadata.permissions().mode() & 0o777).ok();
    assert_eq!(mode(), Some(0o600));
    host.reload("host.socket: host.sock\nhost.socket_mode: 0660\nhost.socket_group: 0\n").await.expect(200);
    until("the mode", async || if mode() == Some(0o660) { Ok(()) } else { Err(format!("{:?}", mode())) })
        .await;
    returner(host.directory(), &["status", "--config", "returner.yaml"]).expect(0);
    host.reload("host.socket: host.sock\nhost.socket_owner: nobody-has-this-name\n")
        .await
        .problem_saying(422, "does not have that name");
    assert_eq!(mode(), Some(0o660), "the one before it serves");
    // Nothing but a socket is ever replaced.
    fs::write(host.directory().join("mine"), "text").expect("a file");
    host.reload("host.socket: mine\n").await.problem_saying(422, "no socket");
    assert_eq!(fs::read_to_string(host.directory().join("mine")).expect("a file"), "text");
    returner(host.directory(), &["status", "--url", &format!("unix:{}", path.display())]).expect(0);
}

/// Whoever may not connect any more gets nothing by what it began when it might.
#[tokio::test]
async fn a_head_that_was_begun_before_the_sockets_mode_changed_is_not_served() {
    use tokio::net::UnixStream;
    let host = Host::start("host.socket: host.sock\nhost.socket_mode: 0666\n").await;
    let path = host.directory().join("host.sock");
    let mut slow = Vec::new();
    for _ in 0..4 {
        let mut stream = UnixStream::connect(&path).await.expect("a connection");
        stream.write_all(b"GET /v1/returners HTTP/1.1\r\nHost: x\r\n").await.expect("a write");
        slow.push(stream);
    }
    // Who comes after them is served: they were let in.
    let unix = format!("unix:{}", path.display());
    returner(host.directory(), &["status", "--url", &unix]).expect(0);
    host.reload("host.socket: host.sock\nhost.socket_mode: 0600\n").await.expect(200);
    for mut stream in slow {
        // Where the host had read nothing of it yet, the connection is closed.
        let _ = stream.write_all(b"\r\n").await;
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 503 "), "{answer}");
    }
}

/// A browser on this machine needs no token, and runs what others wrote.
#[tokio::test]
async fn a_web_page_has_no_business_here() {
    let host = Host::start("").await;
    let send = async |headers: &[(&str, &str)]| {
        let mut request = Client::new().post(host.url("/v1/reload?dry_run=true"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        (status, answer.text().await.expect("a text"))
    };
    assert_eq!(send(&[]).await.0, 200);
    let (status, said) = send(&[("Origin", "https://evil.example")]).await;
    assert!(status == 403 && said.contains("a web page of `https://evil.example`"), "{said}");
    // The page's own name leads here now.
    let (status, said) = send(&[("Host", "evil.example")]).await;
    assert!(status == 403 && said.contains("`evil.example` is no name of this machine's"), "{said}");
    assert_eq!(send(&[("Host", "localhost")]).await.0, 200);
}

/// Clients that send a byte now and then hold nobody up.
#[tokio::test]
async fn slow_clients_hold_nothing_up() {
    let host = Host::start("").await;
    let address = host.url("").replace("http://", "");
    let mut slow = Vec::new();
    for number in 0..200 {
        let mut stream = TcpStream::connect(&address).await.expect("a connection");
        let head = "POST /v1/returns HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n";
        // Half of them stop in the head, half in the body.
        let more = if number % 2 == 0 { "X-Slow: " } else { "\r\n{" };
        stream.write_all(format!("{head}{more}").as_bytes()).await.expect("a write");
        slow.push(stream);
    }
    let begun = Instant::now();
    for _ in 0..20 {
        host.store("/v1/returns", &ret(&new_jid(), "a", "test.ping", json!(true))).await;
        for stream in &mut slow {
            // The host may have closed it.
            let _ = stream.write_all(b" ").await;
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    // Who does not end the head of a request is cut off.
    let mut rest = Vec::new();
    let cut = tokio::time::timeout(Duration::from_secs(30), slow[0].read_to_end(&mut rest)).await;
    assert!(cut.is_ok(), "it is still open");
}
