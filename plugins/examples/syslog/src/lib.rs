//! syslog: a message of RFC 5424 for each return, over TCP or UDP, by WASI's own sockets.
//!
//! Options: `to`, such as `tcp://127.0.0.1:514` or `udp://127.0.0.1:514`, which `allow_connect`
//! must have too, and `facility`, a number (16, which is local0).

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::time::Duration;

use returner_sdk::{Failure, JobReturn, Outcome, Returner, config, jid};

/// The bytes of a value that are sent: receivers cut longer messages, many at 8 KiB.
const VALUE: usize = 4096;

/// The bytes of one over UDP (RFC 5426, 3.2).
const DATAGRAM: usize = 2048;

const FACILITY: u8 = 16;

struct Syslog;

returner_sdk::export!(Syslog);

impl Returner for Syslog {
    const OPTIONS: &'static [&'static str] = &["to", "facility"];

    fn setup() -> Result<(), Failure> {
        receiver()?;
        facility().map(drop)
    }

    fn store(batch: Vec<JobReturn>) -> Outcome {
        let facility = facility()?;
        let messages = batch.iter().map(|item| message(item, facility));
        let sent = match receiver()? {
            Receiver::Tcp(address) => over_tcp(&address, messages),
            Receiver::Udp(address) => over_udp(&address, messages),
        };
        sent.map_err(|error| match error.kind() {
            // Not granted: it stays so until an operator has changed that.
            ErrorKind::PermissionDenied => {
                Failure::retry(format!("`allow_connect` has no such peer: {error}"))
            }
            _ => Failure::retry(format!("the receiver: {error}")),
        })?;
        Ok(vec![])
    }
}

/// Each message with its length in front (RFC 6587, 3.4.1). Syslog confirms nothing; that the
/// receiver ends the connection after us says at least that it has read all of it.
fn over_tcp(address: &str, messages: impl Iterator<Item = String>) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    let frames: String = messages.map(|message| format!("{} {message}", message.len())).collect();
    stream.write_all(frames.as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    match stream.read(&mut [0; 64]) {
        Ok(0) => Ok(()),
        Ok(_) => Err(std::io::Error::other("it answered, which no syslog receiver does")),
        Err(error) => Err(error),
    }
}

/// A datagram each, which nobody confirms.
fn over_udp(address: &str, messages: impl Iterator<Item = String>) -> std::io::Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    for message in messages {
        socket.send_to(cut(&message, DATAGRAM).as_bytes(), address)?;
    }
    Ok(())
}

/// `<PRI>1 TIMESTAMP HOSTNAME APP-NAME PROCID MSGID [structured data] MSG`.
fn message(item: &JobReturn, facility: u8) -> String {
    // Error, or informational.
    let severity = if item.success { 6 } else { 3 };
    let at = jid::timestamp(item.accepted).replace(' ', "T");
    let data = [("jid", item.jid.as_str()), ("fun", &item.fun), ("key", &item.key)];
    let data: String = data.map(|(name, value)| format!(" {name}=\"{}\"", escaped(value))).concat();
    format!(
        "<{}>1 {at}Z {} salt - {} [salt@32473{data} success=\"{}\" retcode=\"{}\"] {}",
        facility * 8 + severity,
        word(&item.minion, 255),
        word(&item.fun, 32),
        item.success,
        item.retcode,
        cut(&item.value, VALUE)
    )
}

/// A name of printable ASCII without spaces, of bounded length; `-` is none.
fn word(text: &str, longest: usize) -> String {
    let plain = |sign: char| if sign.is_ascii_graphic() { sign } else { '_' };
    let word: String = text.chars().take(longest).map(plain).collect();
    if word.is_empty() { "-".to_owned() } else { word }
}

/// The value of a parameter (RFC 5424, 6.3.3); a line is one line.
fn escaped(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace(']', "\\]");
    escaped.chars().map(|sign| if sign.is_control() { ' ' } else { sign }).collect()
}

fn cut(text: &str, longest: usize) -> &str {
    let mut end = longest.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

enum Receiver {
    Tcp(String),
    Udp(String),
}

fn receiver() -> Result<Receiver, Failure> {
    let to = config::get("to").unwrap_or_default();
    let wrong = "the option `to` is an address such as `tcp://127.0.0.1:514` or `udp://127.0.0.1:514`";
    match to.split_once("://") {
        Some(("tcp", address)) if address.contains(':') => Ok(Receiver::Tcp(address.to_owned())),
        Some(("udp", address)) if address.contains(':') => Ok(Receiver::Udp(address.to_owned())),
        _ => Err(Failure::reject(wrong)),
    }
}

fn facility() -> Result<u8, Failure> {
    match config::get("facility") {
        None => Ok(FACILITY),
        Some(number) => match number.parse() {
            Ok(number @ 0..24) => Ok(number),
            _ => Err(Failure::reject("the option `facility` is a number from 0 to 23 (RFC 5424, table 1)")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_minions_say_stays_in_its_place() {
        assert_eq!(escaped("a\"] \\\n"), "a\\\"\\] \\\\ ");
        assert_eq!((word("", 8), word("wéb 1", 4)), ("-".to_owned(), "w_b_".to_owned()));
        assert_eq!(cut("aé", 2), "a");
    }
}
