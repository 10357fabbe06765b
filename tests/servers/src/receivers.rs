//! Servers that only take in, and show what they were sent: a web hook, a mail server, a syslog
//! receiver.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::TcpStream;

use crate::directory::{Directory, find, find_own};
use crate::error::StartError;
use crate::port::free_port;
use crate::process::Process;

const TO_START: Duration = Duration::from_secs(60);

/// One of them.
#[derive(Debug)]
pub struct Receiver {
    port: u16,
    /// Where it writes what it was sent; the rest of what it says is before that.
    written: PathBuf,
    _process: Process,
    _directory: Directory,
}

impl Receiver {
    /// A web hook that answers with these statuses first, 429 with `Retry-After: 1`, and then 204.
    /// What it was sent is lines of JSON with `status`, `key` (`Idempotency-Key`) and `body`.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub async fn web_hook(statuses: &[u16]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("receivers/hook.py").display().to_string();
        Self::start("hook", async |_, port| {
            let mut arguments = vec![script.clone(), port.to_string()];
            arguments.extend(statuses.iter().map(ToString::to_string));
            Ok((find("python3", "`apt-get install python3`")?, arguments))
        })
        .await
    }

    /// A mail server: aiosmtpd, which prints the mails.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub async fn mail() -> Self {
        Self::start("mail", async |_, port| {
            let program = find_own("aiosmtpd/bin/python", "put a virtual environment with aiosmtpd there")?;
            let handler = ["-n", "-c", "aiosmtpd.handlers.Debugging", "stdout"].map(str::to_owned);
            let mut arguments = ["-u", "-m", "aiosmtpd"].map(str::to_owned).to_vec();
            arguments.extend(["-l".to_owned(), format!("127.0.0.1:{port}")]);
            arguments.extend(handler);
            Ok((program, arguments))
        })
        .await
    }

    /// A syslog receiver, by TCP and UDP on one port: rsyslog, which writes for each message a
    /// line with the parts that it found in it.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub async fn syslog() -> Self {
        let parts =
            "%pri%|%timereported:::date-rfc3339%|%hostname%|%app-name%|%msgid%|%structured-data%|%msg%";
        let mut receiver = Self::start("syslog", async |directory, port| {
            let file = directory.path().join("messages");
            let config = format!(
                "global(maxMessageSize=\"64k\")\nmodule(load=\"imtcp\")\nmodule(load=\"imudp\")\n\
                 template(name=\"parts\" type=\"string\" string=\"{parts}\\n\")\n\
                 ruleset(name=\"all\") {{ action(type=\"omfile\" file=\"{}\" template=\"parts\") }}\n\
                 input(type=\"imtcp\" port=\"{port}\" address=\"127.0.0.1\" ruleset=\"all\")\n\
                 input(type=\"imudp\" port=\"{port}\" address=\"127.0.0.1\" ruleset=\"all\")\n",
                file.display()
            );
            let config = directory.write("rsyslog.conf", config).display().to_string();
            let pid = directory.path().join("pid").display().to_string();
            let arguments = ["-n", "-f", &config, "-i", &pid].map(str::to_owned).to_vec();
            Ok((find("rsyslogd", "`apt-get install rsyslog`")?, arguments))
        })
        .await;
        receiver.written = receiver.written.with_file_name("messages");
        receiver
    }

    async fn start(
        name: &str,
        program: impl AsyncFn(&Directory, u16) -> Result<(PathBuf, Vec<String>), StartError>,
    ) -> Self {
        let start = async {
            let (directory, port) = (Directory::create(name)?, free_port());
            let (program, arguments) = program(&directory, port).await?;
            let mut process = Process::spawn(name, &program, directory.path(), arguments)?;
            let address = format!("127.0.0.1:{port}");
            process.ready(TO_START, async || TcpStream::connect(&address).await.map(drop)).await?;
            let written = directory.path().join(format!("{name}.log"));
            Ok::<_, StartError>(Self { port, written, _process: process, _directory: directory })
        };
        start.await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Where it listens, on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it was sent until now.
    #[must_use]
    pub fn received(&self) -> String {
        std::fs::read_to_string(&self.written).unwrap_or_default()
    }
}
