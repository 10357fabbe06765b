//! What goes out beside the tables, where an option says so: to the peer of `peer` by a socket, to
//! the web hook of `hook`, and to the connections of `cache` (Redis) and `documents` (MongoDB).

use std::io::Write;
use std::net::TcpStream;

use returner_sdk::{Failure, JobReturn, config, http, json, mongo, redis};

use crate::breaks;

pub(crate) fn tell(batch: &[JobReturn]) -> Result<(), Failure> {
    if batch.is_empty() {
        return Ok(());
    }
    by_socket(batch)?;
    by_http(batch)?;
    in_redis(batch)?;
    in_mongodb(batch)
}

fn by_socket(batch: &[JobReturn]) -> Result<(), Failure> {
    let Some(peer) = config::get("peer") else { return Ok(()) };
    let told = TcpStream::connect(peer).and_then(|mut stream| {
        let sent = batch.iter().try_for_each(|item| stream.write_all(format!("{}\n", item.jid).as_bytes()));
        if breaks("sent") { Ok(()) } else { sent }
    });
    match told {
        Err(_) if breaks("sockets") => Ok(()),
        told => told.map_err(|error| Failure::retry(error.to_string())),
    }
}

fn by_http(batch: &[JobReturn]) -> Result<(), Failure> {
    let Some(url) = config::get("hook") else { return Ok(()) };
    let jids: Vec<&str> = batch.iter().map(|item| item.jid.as_str()).collect();
    let body = jids.join("\n").into_bytes();
    let request = http::Request { method: "POST".to_owned(), url, headers: Vec::new(), body };
    let answer = http::send(&request).map_err(|error| Failure::of_server(error.message, error.retryable))?;
    let status = answer.status;
    if status < 300 || breaks("answers") {
        return Ok(());
    }
    Err(Failure::of_server(format!("the web hook answered {status}"), status >= 500))
}

fn in_redis(batch: &[JobReturn]) -> Result<(), Failure> {
    let Some(connection) = config::get("cache") else { return Ok(()) };
    let mut pipeline = redis::Pipeline::default();
    for item in batch {
        pipeline.command(["SADD", "told", item.jid.as_str()]);
    }
    let replies = pipeline.send(&connection)?;
    match replies.iter().find_map(redis::Reply::failure) {
        Some(failure) if !breaks("answers") => Err(failure),
        _ => Ok(()),
    }
}

fn in_mongodb(batch: &[JobReturn]) -> Result<(), Failure> {
    let Some(connection) = config::get("documents") else { return Ok(()) };
    let update = |item: &JobReturn| mongo::Update {
        filter: format!("{{\"_id\": {}}}", json::quote(&item.key)),
        change: format!("{{\"$set\": {{\"jid\": {}}}}}", json::quote(&item.jid)),
        upsert: true,
    };
    let updates: Vec<_> = batch.iter().map(update).collect();
    let refused = mongo::update_many(&connection, "told", &updates)?;
    match refused.first() {
        Some(refused) if !breaks("answers") => Err(refused.failure()),
        _ => Ok(()),
    }
}
