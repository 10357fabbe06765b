//! `redis`: pipelines of commands on a granted connection.

use crate::connections::{Connection, RedisError, RedisPool, RedisReply, RedisScalar};
use crate::plugins::asked::{Asked, CallFailure, Fault};
use crate::plugins::contract::v0_1::salt::returner::redis::{Error, Host, Reply, Scalar};
use crate::plugins::narrow::{Narrowed, of_the_server};
use crate::plugins::state::GuestState;
use crate::plugins::trial::only_looks;

impl Host for GuestState {
    async fn pipeline(
        &mut self,
        connection: String,
        commands: Vec<Vec<Vec<u8>>>,
    ) -> wasmtime::Result<Result<Vec<Reply>, Error>> {
        let parts = || commands.iter().map(|command| part(&connection, command));
        let asked = self.asked(|| Asked::all(parts()).one_by_one());
        let work = async |state: &mut Self, within: Option<Fault>| {
            let granted = state.connection(&connection).map_err(denied)?;
            let Connection::Redis(pool) = &*granted else {
                return Err(denied(Self::wrong_kind(&connection, &granted, "redis")));
            };
            state.fits(commands.iter().flatten().map(Vec::len)).map_err(denied)?;
            if let Some(name) = of_the_server(&commands) {
                let message =
                    format!("the command `{name}` is not for plugins: it is about the server itself");
                return Err(denied(message));
            }
            let allows = |granted: &Narrowed| granted.allows_commands(&commands);
            state.narrowed(&connection, allows).map_err(denied)?;
            match (within, state.is_trial()) {
                (Some(fault), _) => state.all_but_one(pool, commands, fault).await,
                (None, true) => state.try_out(pool, commands).await,
                (None, false) => pool.pipeline(commands, state.grants.answer()).await.map_err(Error::from),
            }
        };
        let told = |replies: &Vec<RedisReply>| replies.iter().map(shown).collect::<Vec<_>>().join("; ");
        let result = self.answer_with(asked, work, told).await;
        Ok(result.map(|replies| replies.into_iter().map(Reply::from).collect()))
    }

    async fn scan(
        &mut self,
        connection: String,
        pattern: String,
    ) -> wasmtime::Result<Result<Vec<Vec<u8>>, Error>> {
        let asked = self.asked(|| Asked::one(format!("redis.scan {connection}:"), [pattern.as_bytes()]));
        let work = async |state: &mut Self| {
            let granted = state.connection(&connection).map_err(denied)?;
            let Connection::Redis(pool) = &*granted else {
                return Err(denied(Self::wrong_kind(&connection, &granted, "redis")));
            };
            state.narrowed(&connection, |granted| granted.allows_scan(&pattern)).map_err(denied)?;
            pool.scan(&pattern, state.grants.answer()).await.map_err(Error::from)
        };
        let told = |keys: &Vec<Vec<u8>>| {
            let keys: Vec<_> = keys.iter().map(|key| String::from_utf8_lossy(key)).collect();
            format!("{} keys {}", keys.len(), keys.join(" "))
        };
        Ok(self.answer(asked, work, told).await)
    }
}

impl GuestState {
    /// A pipeline of which the server does all but the first command, which it cannot do now, or
    /// the last, which it never will.
    async fn all_but_one(
        &mut self,
        pool: &RedisPool,
        mut commands: Vec<Vec<Vec<u8>>>,
        fault: Fault,
    ) -> Result<Vec<RedisReply>, Error> {
        let last = commands.len().saturating_sub(1);
        let place = if fault.is_retryable() { 0 } else { last };
        if place < commands.len() {
            commands.remove(place);
        }
        let mut replies = match commands.is_empty() {
            true => Vec::new(),
            false => pool.pipeline(commands, self.grants.answer()).await?,
        };
        let Error { message, retryable } = Error::of(fault);
        replies.insert(place, RedisReply::Scalar(RedisScalar::Error(RedisError { message, retryable })));
        Ok(replies)
    }

    /// A pipeline of a trial: what only looks is sent, and the rest answered as if it was.
    async fn try_out(
        &mut self,
        pool: &RedisPool,
        commands: Vec<Vec<Vec<u8>>>,
    ) -> Result<Vec<RedisReply>, Error> {
        let looking = commands.iter().filter(|command| only_looks(command)).cloned().collect();
        let found = pool.pipeline(looking, self.grants.answer()).await?;
        let mut found = found.into_iter();
        let reply = |command: &Vec<Vec<u8>>| match only_looks(command) {
            true => found.next().unwrap_or(RedisReply::Scalar(RedisScalar::Nil)),
            false => RedisReply::Scalar(held_back(command)),
        };
        Ok(commands.iter().map(reply).collect())
    }
}

/// A command of a pipeline: its name and key, and all of its words.
fn part(connection: &str, command: &[Vec<u8>]) -> (String, Vec<Vec<u8>>) {
    let (head, rest) = command.split_at(command.len().min(2));
    let head: Vec<_> = head.iter().map(|word| String::from_utf8_lossy(word)).collect();
    (format!("redis {connection}: {}", head.join(" ")), rest.to_vec())
}

/// A reply for people.
fn shown(reply: &RedisReply) -> String {
    let scalar = |scalar: &RedisScalar| match scalar {
        RedisScalar::Nil => "nil".to_owned(),
        RedisScalar::Integer(value) => value.to_string(),
        RedisScalar::Status(value) => value.clone(),
        RedisScalar::Bulk(value) => format!("{:?}", String::from_utf8_lossy(value)),
        RedisScalar::Error(error) => format!("error: {}", error.message),
    };
    match reply {
        RedisReply::Scalar(value) => scalar(value),
        RedisReply::Many(values) => format!("[{}]", values.iter().map(scalar).collect::<Vec<_>>().join(", ")),
    }
}

/// What a server answers to most commands of this name.
fn held_back(command: &[Vec<u8>]) -> RedisScalar {
    let name = command.first().map(|name| name.to_ascii_uppercase()).unwrap_or_default();
    match name.as_slice() {
        b"SET" | b"SETEX" | b"PSETEX" | b"MSET" | b"HMSET" | b"LSET" | b"LTRIM" | b"RENAME" => {
            RedisScalar::Status("OK".to_owned())
        }
        _ => RedisScalar::Integer(1),
    }
}

fn denied(message: String) -> Error {
    Error { message, retryable: false }
}

impl CallFailure for Error {
    fn of(fault: Fault) -> Self {
        Self { message: fault.message().to_owned(), retryable: fault.is_retryable() }
    }

    fn message(&self) -> &str {
        &self.message
    }
}

impl From<RedisError> for Error {
    fn from(error: RedisError) -> Self {
        Self { message: error.message, retryable: error.retryable }
    }
}

impl From<RedisReply> for Reply {
    fn from(reply: RedisReply) -> Self {
        match reply {
            RedisReply::Scalar(scalar) => Self::Scalar(scalar.into()),
            RedisReply::Many(scalars) => Self::Many(scalars.into_iter().map(Scalar::from).collect()),
        }
    }
}

impl From<RedisScalar> for Scalar {
    fn from(scalar: RedisScalar) -> Self {
        match scalar {
            RedisScalar::Nil => Self::Nil,
            RedisScalar::Integer(value) => Self::Integer(value),
            RedisScalar::Status(value) => Self::Status(value),
            RedisScalar::Bulk(value) => Self::Bulk(value),
            RedisScalar::Error(error) => Self::Error(error.into()),
        }
    }
}
