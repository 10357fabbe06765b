//! NATS with JetStream, for a comparison: it flushes before it acknowledges.

use std::time::Duration;

use tokio::net::TcpStream;

use crate::directory::{Directory, find_own};
use crate::error::StartError;
use crate::port::free_port;
use crate::process::Process;

const INSTEAD: &str = "`tests/run --prepare` installs it";

const TO_START: Duration = Duration::from_secs(30);

/// A NATS server.
#[derive(Debug)]
pub struct Nats {
    url: String,
    _process: Process,
    _directory: Directory,
}

impl Nats {
    /// Starts one with JetStream on files, `sync_interval: always`.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub async fn start() -> Self {
        match Self::try_start().await {
            Ok(server) => server,
            Err(error) => panic!("{error}"),
        }
    }

    async fn try_start() -> Result<Self, StartError> {
        let directory = Directory::create("nats")?;
        let port = free_port();
        let store = directory.path().join("store").display().to_string();
        let config = format!(
            "listen: 127.0.0.1:{port}\njetstream {{ store_dir: \"{store}\", sync_interval: always }}\n"
        );
        let file = directory.write("nats.conf", config);
        let program = find_own("nats/bin/nats-server", INSTEAD)?;
        let mut process =
            Process::spawn("nats", &program, directory.path(), ["-c".as_ref(), file.as_os_str()])?;
        let address = format!("127.0.0.1:{port}");
        process.ready(TO_START, async || TcpStream::connect(&address).await.map(drop)).await?;
        Ok(Self { url: format!("nats://{address}"), _process: process, _directory: directory })
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}
