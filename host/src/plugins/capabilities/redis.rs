//! `redis`: pipelines of commands on a granted connection.

use crate::connections::{Connection, RedisError, RedisPool, RedisReply, RedisScalar};
use crate::plugins::contract::salt::returner::redis::{Error, Host, Reply, Scalar};
use crate::plugins::narrow::Narrowed;
use crate::plugins::state::GuestState;
use crate::plugins::trial::only_looks;

impl Host for GuestState {
    async fn pipeline(
        &mut self,
        connection: String,
        commands: Vec<Vec<Vec<u8>>>,
    ) -> wasmtime::Result<Result<Vec<Reply>, Error>> {
        let told = self.traced(|| {
            let commands: Vec<String> = commands.iter().map(|command| shown(command)).collect();
            format!("redis.pipeline {connection}: {}", commands.join("; "))
        });
        let result = self
            .host_call(async |state| {
                let granted = state.connection(&connection).map_err(denied)?;
                let Connection::Redis(pool) = &*granted else {
                    return Err(denied(Self::wrong_kind(&connection, &granted, "redis")));
                };
                state.fits(commands.iter().flatten().map(Vec::len)).map_err(denied)?;
                let allows = |granted: &Narrowed| granted.allows_commands(&commands);
                state.narrowed(&connection, allows).map_err(denied)?;
                match state.is_trial() {
                    true => state.try_out(pool, &connection, commands).await,
                    false => pool.pipeline(commands, state.grants.answer()).await.map_err(Error::from),
                }
            })
            .await;
        self.tell(told, || match &result {
            Ok(replies) => format!("{} replies {replies:?}", replies.len()),
            Err(error) => format!("error: {}", error.message),
        });
        Ok(result.map(|replies| replies.into_iter().map(Reply::from).collect()))
    }

    async fn scan(
        &mut self,
        connection: String,
        pattern: String,
    ) -> wasmtime::Result<Result<Vec<Vec<u8>>, Error>> {
        let told = self.traced(|| format!("redis.scan {connection}: {pattern}"));
        let result = self
            .host_call(async |state| {
                let granted = state.connection(&connection).map_err(denied)?;
                let Connection::Redis(pool) = &*granted else {
                    return Err(denied(Self::wrong_kind(&connection, &granted, "redis")));
                };
                state.narrowed(&connection, |granted| granted.allows_scan(&pattern)).map_err(denied)?;
                pool.scan(&pattern, state.grants.answer()).await.map_err(Error::from)
            })
            .await;
        self.tell(told, || match &result {
            Ok(keys) => format!("{} keys {}", keys.len(), shown(keys)),
            Err(error) => format!("error: {}", error.message),
        });
        Ok(result)
    }
}

impl GuestState {
    /// A pipeline of a trial: what only looks is sent, and the rest answered as if it was.
    async fn try_out(
        &mut self,
        pool: &RedisPool,
        name: &str,
        commands: Vec<Vec<Vec<u8>>>,
    ) -> Result<Vec<RedisReply>, Error> {
        for command in &commands {
            let word = |word: &Vec<u8>| String::from_utf8_lossy(word).into_owned();
            let shown = || command.iter().take(2).map(word).collect::<Vec<_>>().join(" ");
            self.note(|| format!("redis {name}: {}", shown()), command);
        }
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

/// Words for people.
fn shown(words: &[Vec<u8>]) -> String {
    words.iter().map(|word| String::from_utf8_lossy(word)).collect::<Vec<_>>().join(" ")
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
