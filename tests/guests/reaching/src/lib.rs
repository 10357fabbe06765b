//! Tries to reach what the text of a return names, and rejects the return with what came of
//! it: `reached: ...` or `refused: ...`. A `hook` that it cannot reach it asks to try again.

use std::io::Read;
use std::net::{TcpListener, TcpStream, UdpSocket};

use returner_sdk::http::{self, Request};
use returner_sdk::redis::{Reply, pipeline};
use returner_sdk::{Failure, JobReturn, Outcome, Refusal, Returner, mongo, sql};
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{Fields, Method, OutgoingRequest, Scheme};
use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::ip_name_lookup::resolve_addresses;

struct Reaching;

returner_sdk::export!(Reaching);

impl Returner for Reaching {
    fn store(batch: Vec<JobReturn>) -> Outcome {
        let hook = batch.iter().find_map(|item| item.value.trim_matches('"').strip_prefix("hook "));
        if let Some(url) = hook {
            return reach(&format!("http {url}")).map(|_| Vec::new()).map_err(Failure::retry);
        }
        let refusal = |(index, item): (usize, &JobReturn)| {
            let wanted = item.value.trim_matches('"');
            let reason = match reach(wanted) {
                Ok(found) => format!("reached: {found}"),
                Err(reason) => format!("refused: {reason}"),
            };
            Refusal::new(index, Failure::reject(reason))
        };
        Ok(batch.iter().enumerate().map(refusal).collect())
    }
}

fn reach(wanted: &str) -> Result<String, String> {
    let (kind, what) = wanted.split_once(' ').unwrap_or((wanted, ""));
    match kind {
        "query" => {
            sql::query("db", what, &[]).map(|rows| format!("{} rows", rows.rows.len())).map_err(|e| e.message)
        }
        "execute" => sql::execute("db", what, &[]).map(|rows| format!("{rows} rows")).map_err(|e| e.message),
        "other" => sql::query(what, "SELECT 1", &[]).map(|_| "it".to_owned()).map_err(|e| e.message),
        "redis" => redis(what),
        "redis-many" => {
            let (count, key) = what.split_once(' ').unwrap_or(("1", what));
            let get = ["GET", key].map(|word| word.as_bytes().to_vec()).to_vec();
            let commands = vec![get; count.parse().unwrap_or(1)];
            let replies = pipeline("cache", &commands).map_err(|error| error.message)?;
            Ok(format!("{} replies", replies.len()))
        }
        "mongo" => {
            let options = mongo::FindOptions { sort: None, projection: None, limit: None };
            mongo::find("docs", what, "{}", &options)
                .map(|found| format!("{} found", found.len()))
                .map_err(|e| e.message)
        }
        "mongo-update" | "mongo-upsert" => {
            let change = r#"{"$set":{"a":1}}"#.to_owned();
            let update =
                mongo::Update { filter: r#"{"_id":1}"#.to_owned(), change, upsert: kind == "mongo-upsert" };
            mongo::update_many("docs", what, &[update])
                .map(|errors| format!("{} errors", errors.len()))
                .map_err(|e| e.message)
        }
        "http" => {
            let request = Request { method: "GET".into(), url: what.into(), headers: vec![], body: vec![] };
            let answer = http::send(&request).map_err(|e| e.message)?;
            Ok(format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body)))
        }
        "wasi-http" => wasi_http(what),
        "hold" => hold(what.parse().unwrap_or(0)),
        "file" => std::fs::read_to_string(what).map_err(|error| error.to_string()),
        "write" => {
            std::fs::write(what, "x").map(|()| "written".to_owned()).map_err(|error| error.to_string())
        }
        "environment" => match std::env::vars().count() {
            0 => Err("nothing is there".to_owned()),
            count => Ok(format!("{count} variables")),
        },
        "arguments" => match std::env::args().count() {
            0 => Err("nothing is there".to_owned()),
            count => Ok(format!("{count} arguments")),
        },
        "stdin" => match std::io::stdin().read(&mut [0]) {
            Ok(0) => Err("nothing is there".to_owned()),
            Ok(_) => Ok("a byte".to_owned()),
            Err(error) => Err(error.to_string()),
        },
        "tcp" => TcpStream::connect(what).map(|_| "connected".to_owned()).map_err(|error| error.to_string()),
        "tcp-read" => {
            let read = TcpStream::connect(what).and_then(|mut stream| stream.read(&mut [0]));
            read.map(|bytes| format!("{bytes} bytes")).map_err(|error| error.to_string())
        }
        "listen" => {
            TcpListener::bind(what).map(|_| "listening".to_owned()).map_err(|error| error.to_string())
        }
        "udp" => UdpSocket::bind("0.0.0.0:0")
            .and_then(|socket| socket.send_to(b"x", what))
            .map(|_| "sent".to_owned())
            .map_err(|error| error.to_string()),
        // More than a table of headers takes.
        "headers" => {
            let headers = (0..40_000).map(|number| (format!("x-{number}"), "x".to_owned())).collect();
            let request = Request { method: "GET".into(), url: what.into(), headers, body: vec![] };
            http::send(&request).map(|answer| answer.status.to_string()).map_err(|error| error.message)
        }
        "random" => {
            let bytes = wasip2::random::random::get_random_bytes(what.parse().unwrap_or(0));
            Ok(format!("{} bytes", bytes.len()))
        }
        // Asks, and does not wait for what comes of it.
        "look-ups" => {
            let (count, name) = what.split_once(' ').unwrap_or(("0", what));
            let network = instance_network();
            for _ in 0..count.parse().unwrap_or(0) {
                drop(resolve_addresses(&network, name).map_err(|error| format!("{error:?}"))?);
            }
            Ok("asked".to_owned())
        }
        "sockets" => (0..what.parse().unwrap_or(0))
            .map(|_| UdpSocket::bind("0.0.0.0:0"))
            .collect::<Result<Vec<_>, _>>()
            .map(|opened| format!("{} at once", opened.len()))
            .map_err(|error| error.to_string()),
        other => Err(format!("nobody knows `{other}`")),
    }
}

fn redis(command: &str) -> Result<String, String> {
    let words = command.split(' ').map(|word| word.as_bytes().to_vec()).collect();
    let replies = pipeline("cache", &[words]).map_err(|error| error.message)?;
    match replies.first().and_then(Reply::failure) {
        Some(Failure::Reject(reason)) => Err(reason),
        Some(Failure::Retry(retry)) => Err(retry.message),
        None => Ok("a reply".to_owned()),
    }
}

/// Holds requests that it does not send, with as much in them as they take.
fn hold(requests: usize) -> Result<String, String> {
    let (mut held, mut bytes, mut words) = (Vec::new(), 0, 0);
    let long = "X".repeat(1 << 20);
    for _ in 0..requests {
        let request = OutgoingRequest::new(Fields::new());
        words += usize::from(request.set_method(&Method::Other(long.clone())).is_ok());
        words += usize::from(request.set_authority(Some(&long)).is_ok());
        let body = request.body().map_err(|()| "no body".to_owned())?;
        let stream = body.write().map_err(|()| "no stream".to_owned())?;
        while let Ok(room @ 1..) = stream.check_write() {
            let room = usize::try_from(room).unwrap_or(usize::MAX).min(long.len());
            stream.write(&long.as_bytes()[..room]).map_err(|error| format!("{error:?}"))?;
            bytes += room;
        }
        held.push((stream, body, request));
    }
    Ok(format!("{} KiB and {words} long words", bytes >> 10))
}

/// As a library does that makes requests of its own.
fn wasi_http(url: &str) -> Result<String, String> {
    let rest = url.strip_prefix("http://").ok_or("only http")?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let request = OutgoingRequest::new(Fields::new());
    let wrong = |()| "it is not taken".to_owned();
    request.set_scheme(Some(&Scheme::Http)).map_err(wrong)?;
    request.set_authority(Some(authority)).map_err(wrong)?;
    request.set_path_with_query(Some(&format!("/{path}"))).map_err(wrong)?;
    let answer = handle(request, None).map_err(|error| format!("{error:?}"))?;
    answer.subscribe().block();
    let answer = answer.get().ok_or("no answer")?.map_err(wrong)?.map_err(|error| format!("{error:?}"))?;
    let body = answer.consume().map_err(wrong)?;
    let stream = body.stream().map_err(wrong)?;
    let text = stream.blocking_read(1000).map_err(|error| format!("{error:?}"))?;
    Ok(format!("{} {}", answer.status(), String::from_utf8_lossy(&text)))
}
