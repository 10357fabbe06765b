//! The body of an answer, of a host or of whoever listens there instead.
//!
//! Promises: it takes no more memory than a bound, and no longer than a while.

use std::time::Duration;

use bytesize::ByteSize;
use reqwest::Response;

/// The longest answer: a host lets no more wait for its readers at once.
pub(super) const MOST: u64 = 512 << 20;

/// The longest one that is a problem: it names a bounded number of items.
pub(super) const MOST_OF_A_PROBLEM: u64 = 8 << 20;

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    #[error("{0}")]
    Broken(#[from] reqwest::Error),
    #[error("the answer is longer than {}\n  hint: if that is a host, ask for less at once", ByteSize(*.0))]
    TooLong(u64),
    #[error("the answer did not end within {0:?}")]
    TooSlow(Duration),
}

/// Reads all of it, or an error.
pub(super) async fn read(response: Response, most: u64, within: Duration) -> Result<Vec<u8>, Unread> {
    let read = tokio::time::timeout(within, bounded(response, most)).await;
    read.unwrap_or(Err(Unread::TooSlow(within)))
}

async fn bounded(mut response: Response, most: u64) -> Result<Vec<u8>, Unread> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if (body.len() + chunk.len()) as u64 > most {
            return Err(Unread::TooLong(most));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// What is answered with this head, and then with this chunk again and again, or with nothing.
    async fn answered(head: &'static str, chunk: &'static [u8]) -> Response {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.expect("a client");
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                asked.push(socket.read_u8().await.expect("a request"));
            }
            socket.write_all(head.as_bytes()).await.expect("the client reads the head");
            // Until the client leaves.
            while !chunk.is_empty() && socket.write_all(chunk).await.is_ok() {}
            let _ = socket.read_u8().await;
        });
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        client.get(url).send().await.expect("an answer")
    }

    const ENDLESS: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn an_answer_without_end_is_given_up() {
        let error = read(answered(ENDLESS, b"8\r\n        \r\n").await, 1 << 20, LONG).await;
        assert!(matches!(error, Err(Unread::TooLong(1_048_576))), "{error:?}");
        let error = read(answered(ENDLESS, b"").await, 1 << 20, Duration::from_millis(50)).await;
        assert!(matches!(error, Err(Unread::TooSlow(_))), "{error:?}");
    }

    #[tokio::test]
    async fn an_answer_of_the_bound_is_read() {
        let response = answered("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfour", b"").await;
        assert_eq!(read(response, 4, LONG).await.expect("a body"), b"four");
    }
}
