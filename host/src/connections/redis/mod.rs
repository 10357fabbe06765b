//! Redis: pipelines of commands, each on a connection of its own while it lasts.
//!
//! A pipeline ends within the connection's bound of time, also when the server
//! hangs. That one command failed is a reply to it, not an error of the pipeline.
//! Knows nothing of what Salt keeps in Redis.

mod reply;
mod wire;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, RedisConnectionInfo, Value};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

pub(crate) use self::reply::{RedisError, RedisReply, RedisScalar};
use self::reply::{reply, step};
use self::wire::{Allowance, Wire};
use super::answer::{AnswerBounds, AnswerSize};
use super::pool::{CONNECTIONS, FRESH, Lease, LeaseError, PING, Pool, Server};
use super::tls::{self, Verify};
use super::{CheckError, OpenError, connect_bound};
use crate::config::{Address, RedisSettings};

/// How many keys the server looks at in one step of a scan.
const SCAN_COUNT: usize = 1000;

/// Commands that leave their mark on the connection, which the next user of it must
/// not see.
const STATEFUL: [&str; 18] = [
    "ASKING",
    "AUTH",
    "CLIENT",
    "HELLO",
    "MONITOR",
    "MULTI",
    "PSUBSCRIBE",
    "PSYNC",
    "QUIT",
    "READONLY",
    "READWRITE",
    "RESET",
    "SELECT",
    "SSUBSCRIBE",
    "SUBSCRIBE",
    "SYNC",
    "UNWATCH",
    "WATCH",
];

pub(crate) struct RedisPool {
    pool: Pool<Redis>,
    bound: Duration,
}

pub(crate) struct Redis {
    server: Address,
    login: RedisConnectionInfo,
    tls: Option<TlsConnector>,
    /// For messages: `redis.example:6379`.
    address: String,
    bound: Duration,
}

pub(crate) struct Session {
    connection: MultiplexedConnection,
    /// Of the next replies.
    allowance: Allowance,
    /// What reads and writes; ends with the session.
    _driver: AbortOnDropHandle<()>,
}

/// The bytes that stand around a reply.
const AROUND: u64 = 64;

impl RedisPool {
    pub(super) fn open(name: &str, settings: &RedisSettings, bound: Duration) -> Result<Self, OpenError> {
        Ok(Self { pool: Pool::new(Redis::new(name, settings, bound)?, CONNECTIONS), bound })
    }

    /// Sends all commands at once and gives a reply to each. The replies are bounded
    /// together: roughly while they are read, and once more by what they are in memory.
    pub(crate) async fn pipeline(
        &self,
        commands: Vec<Vec<Vec<u8>>>,
        bounds: AnswerBounds,
    ) -> Result<Vec<RedisReply>, RedisError> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        if let Some(index) = commands.iter().position(Vec::is_empty) {
            let message = format!("the command {index} of the pipeline is empty");
            return Err(RedisError { message, retryable: false });
        }
        let stateful = commands.iter().any(|command| is_stateful(command));
        let mut lease = self.lease().await?;
        let replies = self.send(&mut lease, &commands, bounds).await;
        self.end(lease, &replies, stateful);
        let replies: Vec<RedisReply> = replies?.into_iter().map(reply).collect();
        let mut held = AnswerSize::within(bounds);
        replies.iter().try_for_each(|reply| reply.count(&mut held))?;
        Ok(replies)
    }

    /// The keys that match a pattern, each once.
    pub(crate) async fn scan(&self, pattern: &str, bounds: AnswerBounds) -> Result<Vec<Vec<u8>>, RedisError> {
        let mut lease = self.lease().await?;
        let keys = match timeout(self.bound, self.scan_all(&mut lease, pattern, bounds)).await {
            Ok(keys) => keys,
            Err(_) => Err(self.slow()),
        };
        self.end(lease, &keys, false);
        keys
    }

    pub(super) async fn check(&self) -> Result<String, CheckError> {
        let bounds = AnswerBounds { bytes: 1 << 20, rows: 1 };
        let info = self.pipeline(vec![vec![b"INFO".to_vec(), b"server".to_vec()]], bounds).await;
        match info.map_err(|error| CheckError(error.to_string()))?.pop() {
            Some(RedisReply::Scalar(RedisScalar::Bulk(info))) => Ok(version(&String::from_utf8_lossy(&info))),
            // A user who may not ask this has been answered, too.
            Some(RedisReply::Scalar(RedisScalar::Error(error))) if !error.message.starts_with("NOPERM") => {
                Err(CheckError(error.message))
            }
            _ => Ok("unknown".to_owned()),
        }
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }

    async fn scan_all(
        &self,
        lease: &mut Lease<Redis>,
        pattern: &str,
        bounds: AnswerBounds,
    ) -> Result<Vec<Vec<u8>>, RedisError> {
        let mut found = HashSet::new();
        let mut held = AnswerSize::within(bounds);
        let mut cursor = b"0".to_vec();
        loop {
            let count = SCAN_COUNT.to_string();
            let words: [&[u8]; 6] =
                [b"SCAN", &cursor, b"MATCH", pattern.as_bytes(), b"COUNT", count.as_bytes()];
            let command = words.map(<[u8]>::to_vec).to_vec();
            let replies = self.send(lease, &[command], bounds).await?;
            let (next, keys) = step(replies)?;
            for key in keys {
                let bytes = key.len() + size_of::<Vec<u8>>();
                if found.insert(key) {
                    held.add(bytes)?;
                }
            }
            if next == b"0" {
                return Ok(found.into_iter().collect());
            }
            cursor = next;
        }
    }

    async fn lease(&self) -> Result<Lease<Redis>, RedisError> {
        self.pool.lease(self.bound).await.map_err(|error| {
            let address = &self.pool.server().address;
            let message = match error {
                LeaseError::Server(message) => message,
                LeaseError::Slow => return self.slow(),
                LeaseError::Closed => format!("the connections to {address} were closed"),
                LeaseError::Busy(size) => {
                    format!("all {size} connections to {address} were in use for {:?}", self.bound)
                }
            };
            RedisError { message, retryable: true }
        })
    }

    async fn send(
        &self,
        lease: &mut Lease<Redis>,
        commands: &[Vec<Vec<u8>>],
        bounds: AnswerBounds,
    ) -> Result<Vec<Value>, RedisError> {
        let mut pipeline = redis::Pipeline::with_capacity(commands.len());
        for command in commands {
            let mut packed = redis::Cmd::with_capacity(command.len(), command.iter().map(Vec::len).sum());
            for argument in command {
                packed.arg(argument.as_slice());
            }
            pipeline.add_command(packed);
        }
        let Session { connection, allowance, .. } = &mut lease.connection;
        allowance.set(bounds.bytes.saturating_add(AROUND * commands.len() as u64));
        let sent = timeout(self.bound, connection.send_packed_commands(&pipeline, 0, commands.len())).await;
        match sent {
            _ if allowance.is_exceeded() => Err(bounds.too_many_bytes().into()),
            Ok(Ok(values)) if values.len() == commands.len() => Ok(values),
            Ok(Ok(values)) => {
                let message = format!("{} replies to {} commands", values.len(), commands.len());
                Err(RedisError { message, retryable: false })
            }
            Ok(Err(error)) => {
                let message = format!("{}: {error}", self.pool.server().address);
                Err(RedisError { message, retryable: true })
            }
            Err(_) => Err(self.slow()),
        }
    }

    /// Keeps the connection only if nothing is on its way and nothing sticks to it.
    fn end<T>(&self, lease: Lease<Redis>, result: &Result<T, RedisError>, stateful: bool) {
        match result {
            Ok(_) if !stateful => lease.give_back(),
            Ok(_) => drop(lease),
            Err(_) => lease.broken(),
        }
    }

    fn slow(&self) -> RedisError {
        let message = format!("{} did not answer within {:?}", self.pool.server().address, self.bound);
        RedisError { message, retryable: true }
    }
}

impl Redis {
    fn new(name: &str, settings: &RedisSettings, bound: Duration) -> Result<Self, OpenError> {
        let text = match &settings.address {
            Address::Tcp { host, port } => format!("{host}:{port}"),
            Address::Unix(path) => path.display().to_string(),
        };
        let mut login = RedisConnectionInfo::default().set_db(settings.database);
        if let Some(user) = &settings.user {
            login = login.set_username(user);
        }
        if let Some(password) = &settings.password {
            login = login.set_password(password.expose());
        }
        let tls = match (&settings.tls, &settings.address) {
            (Some(wanted), Address::Tcp { .. }) => {
                let pem = tls::read(wanted).map_err(|error| OpenError::new(name, error))?;
                let config = tls::client(pem, Verify::Name).map_err(|error| OpenError::new(name, error))?;
                Some(TlsConnector::from(Arc::new(config)))
            }
            _ => None,
        };
        Ok(Self { server: settings.address.clone(), login, tls, address: text, bound })
    }

    async fn session(&self) -> Result<Session, redis::RedisError> {
        let wire = Wire::connect(&self.server, self.tls.as_ref()).await?;
        let allowance = wire.allowance();
        // The bounds are ours; the library's own would be half a second.
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let (connection, driver) = MultiplexedConnection::new_with_config(&self.login, wire, config).await?;
        let driver = AbortOnDropHandle::new(tokio::spawn(driver));
        Ok(Session { connection, allowance, _driver: driver })
    }
}

impl Server for Redis {
    type Connection = Session;
    /// What to tell the operator; a later call can always succeed.
    type Error = String;

    async fn connect(&self) -> Result<Session, String> {
        let bound = connect_bound(self.bound);
        match timeout(bound, self.session()).await {
            Ok(Ok(session)) => Ok(session),
            Ok(Err(error)) if error.kind() == ErrorKind::AuthenticationFailed => Err(format!(
                "cannot connect to {}: the server refuses the user or the password",
                self.address
            )),
            Ok(Err(error)) => Err(format!("cannot connect to {}: {error}", self.address)),
            Err(_) => Err(format!("cannot connect to {}: no answer within {bound:?}", self.address)),
        }
    }

    async fn is_alive(&self, session: &mut Session, idle: Duration) -> bool {
        let ping = redis::cmd("PING");
        session.allowance.set(u64::MAX);
        idle < FRESH
            || matches!(timeout(PING, session.connection.send_packed_command(&ping)).await, Ok(Ok(_)))
    }

    async fn disconnect(&self, session: Session) {
        drop(session);
    }
}

fn is_stateful(command: &[Vec<u8>]) -> bool {
    let name = command.first().map(Vec::as_slice).unwrap_or_default();
    STATEFUL.iter().any(|stateful| name.eq_ignore_ascii_case(stateful.as_bytes()))
}

fn version(info: &str) -> String {
    let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    field("valkey_version").or(field("redis_version")).unwrap_or("unknown").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_was_changed_is_known() {
        assert!(is_stateful(&[b"select".to_vec(), b"3".to_vec()]));
        assert!(!is_stateful(&[b"SET".to_vec(), b"select".to_vec(), b"1".to_vec()]));
        assert!(!is_stateful(&[]));
    }

    #[test]
    fn the_version_is_found() {
        assert_eq!(version("# Server\r\nredis_version:7.0.15\r\nos:Linux\r\n"), "7.0.15");
        assert_eq!(version("redis_version:7.2.4\r\nvalkey_version:8.1.0\r\n"), "8.1.0");
    }
}
