//! As little of an HTTP client as it takes: what the client costs is taken from the host,
//! because both share the machine's cores.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One connection that is kept.
pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.unwrap_or_else(|error| panic!("{address}: {error}"));
        stream.set_nodelay(true).unwrap_or_else(|error| panic!("{address}: {error}"));
        Self { stream, buffer: Vec::with_capacity(4096) }
    }

    /// Posts a body and waits until it is acknowledged.
    pub(crate) async fn post(&mut self, path: &str, body: &str) {
        let length = body.len();
        let request =
            format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n{body}");
        self.stream.write_all(request.as_bytes()).await.unwrap_or_else(|error| panic!("{path}: {error}"));
        self.buffer.clear();
        while !is_whole(&self.buffer) {
            let read = self.stream.read_buf(&mut self.buffer).await;
            assert!(read.unwrap_or_else(|error| panic!("{path}: {error}")) > 0, "{path}: the host hung up");
        }
        assert!(self.buffer.starts_with(b"HTTP/1.1 202"), "{}", String::from_utf8_lossy(&self.buffer));
    }
}

fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|part| part == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    answer.len() >= end + 4 + length.unwrap_or(0)
}
