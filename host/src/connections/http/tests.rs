use super::*;

fn client(origins: &[&str]) -> HttpClient {
    client_within(origins, Duration::from_secs(5))
}

fn client_within(origins: &[&str], time: Duration) -> HttpClient {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let origins: Vec<String> = origins.iter().map(|origin| (*origin).to_owned()).collect();
    let answer = AnswerBounds { bytes: 1 << 20, rows: 1 };
    let bounds = HttpBounds { time, answer, requests: 2 };
    HttpClient::new("audit", &origins, &Headers::new(), bounds, &Names::new()).unwrap()
}

async fn get(client: &HttpClient, url: &str, headers: &[(&str, &str)]) -> Result<HttpResponse, HttpError> {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let request = HttpRequest { method: "GET".to_owned(), url: url.to_owned(), headers, body: Vec::new() };
    client.send(request).await
}

#[tokio::test]
async fn only_a_listed_origin_is_asked() {
    let client = client(&["https://hooks.example.com", "http://127.0.0.1:8080/"]);
    for url in [
        "http://hooks.example.com/",
        "https://hooks.example.com:8443/",
        "https://hooks.example.com.evil.example/",
        "https://hooks.example.com@evil.example/",
        "http://127.0.0.1/",
        "http://localhost:8080/",
        "http://[::1]:8080/",
        "file:///etc/passwd",
        "no url",
    ] {
        let error = get(&client, url, &[]).await.err().expect("it is refused");
        assert!(
            !error.retryable && (error.message.contains("not allowed") || error.message.contains("no URL")),
            "{url}: {error}"
        );
    }
}

#[tokio::test]
async fn no_more_requests_than_allowed_are_under_way_and_who_waited_for_that_is_told() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", silent.local_addr().expect("an address"));
    let client = client_within(&[&url], Duration::from_millis(500));
    let held = std::cell::RefCell::new(Vec::new());
    let server = async {
        // Held and never answered.
        while let Ok((stream, _)) = silent.accept().await {
            held.borrow_mut().push(stream);
        }
    };
    let late = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        get(&client, &url, &[]).await
    };
    let look = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        held.borrow().len()
    };
    let requests = async { tokio::join!(get(&client, &url, &[]), get(&client, &url, &[]), late, look) };
    let (one, two, three, under_way) = tokio::select! {
        () = server => unreachable!("it accepts for ever"),
        answers = requests => answers,
    };
    for (answer, limit) in [(one, false), (two, false), (three, true)] {
        let error = answer.err().expect("nobody answers");
        assert_eq!(error.message.contains("`limits.requests`"), limit, "{error}");
        assert!(error.retryable, "{error}");
    }
    assert_eq!(under_way, 2);
}

#[tokio::test]
async fn a_header_that_is_named_after_a_secret_does_not_come() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let added = BTreeMap::from([("authorization".to_owned(), "Bearer S3cret-Token".into())]);
    let origins = Headers::from([(url.clone(), added)]);
    let plain = client(&[&url]);
    let client = HttpClient::new("audit", std::slice::from_ref(&url), &origins, plain.bounds, &plain.names);
    let client = client.expect("good settings");
    let server = async {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut request).await.expect("a request"), 0);
        }
        let answer = b"HTTP/1.1 200 OK\r\nX-S3cret-Token: 1\r\nX-Own: 2\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(answer).await.expect("it is read");
    };
    let (answer, ()) = tokio::join!(get(&client, &url, &[]), server);
    let names: Vec<String> = answer.expect("an answer").headers.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["x-own", "content-length"]);
}

#[tokio::test]
async fn a_request_has_bounds() {
    let client = client(&["http://127.0.0.1:9"]);
    let url = "http://127.0.0.1:9/".to_owned();
    let many: Vec<(String, String)> =
        (0..40_000).map(|number| (format!("x-{number}"), String::new())).collect();
    let long = vec![("x".to_owned(), "x".repeat(MOST_HEADER_BYTES))];
    for (headers, url, said) in [
        (many, url.clone(), "40000 headers"),
        (long, url.clone(), "bytes of headers"),
        (Vec::new(), url + &"x".repeat(MOST_URL), "bytes of a URL"),
    ] {
        let request = HttpRequest { method: "GET".to_owned(), url, headers, body: Vec::new() };
        let error = client.send(request).await.err().expect("it is refused");
        assert!(!error.retryable && error.message.contains(said), "{error}");
    }
}

#[tokio::test]
async fn the_hosts_own_headers_are_its_own() {
    let client = client(&["http://127.0.0.1:9"]);
    for name in ["Host", "content-length", "Transfer-Encoding", "bad name"] {
        let error = get(&client, "http://127.0.0.1:9/", &[(name, "x")]).await.err().expect("it is refused");
        assert!(!error.retryable, "{name}: {error}");
    }
    for method in ["TRACE", "trace", "Track", "CONNECT", "no method"] {
        let (method, url) = (method.to_owned(), "http://127.0.0.1:9/".to_owned());
        let request = HttpRequest { method, url, headers: Vec::new(), body: Vec::new() };
        let error = client.send(request).await.err().expect("it is refused");
        assert!(!error.retryable && error.message.contains("no method that can be used"), "{error}");
    }
    let error = get(&client, "http://127.0.0.1:9/secret-token", &[]).await.err().expect("nobody listens");
    assert!(error.retryable && !error.message.contains("secret-token"), "{error}");
}
