//! Something between a command and its host that cuts an answer off.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The URL of something in front of a host that keeps its first answer about returns to itself, and
/// whether it has.
pub(super) fn in_front_of(url: &str) -> (String, Arc<AtomicBool>) {
    let address = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let place = listener.local_addr().expect("a port");
    let cut = Arc::new(AtomicBool::new(false));
    let done = Arc::clone(&cut);
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let host = TcpStream::connect(&address).expect("the host listens");
            let cut = Arc::clone(&done);
            std::thread::spawn(move || pass(client, host, &cut));
        }
    });
    (format!("http://{place}"), cut)
}

/// Each request of these tests is one that a connection has read whole before its answer comes.
fn pass(mut client: TcpStream, mut host: TcpStream, cut: &AtomicBool) {
    let about_returns = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&about_returns);
    let (mut from, mut to) = (client.try_clone().expect("a socket"), host.try_clone().expect("a socket"));
    std::thread::spawn(move || {
        let mut bytes = [0; 64 << 10];
        while let Ok(read @ 1..) = from.read(&mut bytes) {
            if bytes[..read].starts_with(b"POST /v1/returns") {
                asked.store(true, Ordering::SeqCst);
            }
            if to.write_all(&bytes[..read]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
    let mut bytes = [0; 64 << 10];
    while let Ok(read @ 1..) = host.read(&mut bytes) {
        let is_kept = about_returns.load(Ordering::SeqCst) && !cut.swap(true, Ordering::SeqCst);
        if is_kept || client.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
    for stream in [client, host] {
        let _ = stream.shutdown(Shutdown::Both);
    }
}
