//! `redis`: pipelines of commands on a granted connection.

use crate::connections::{Connection, RedisError, RedisReply, RedisScalar};
use crate::plugins::contract::salt::returner::redis::{Error, Host, Reply, Scalar};
use crate::plugins::narrow::Narrowed;
use crate::plugins::state::GuestState;

impl Host for GuestState {
    async fn pipeline(
        &mut self,
        connection: String,
        commands: Vec<Vec<Vec<u8>>>,
    ) -> wasmtime::Result<Result<Vec<Reply>, Error>> {
        let result = self
            .host_call(async |state| {
                let granted = state.connection(&connection).map_err(denied)?;
                let Connection::Redis(pool) = &*granted else {
                    return Err(denied(Self::wrong_kind(&connection, &granted, "redis")));
                };
                state.fits(commands.iter().flatten().map(Vec::len)).map_err(denied)?;
                let allows = |granted: &Narrowed| granted.allows_commands(&commands);
                state.narrowed(&connection, allows).map_err(denied)?;
                pool.pipeline(commands, state.grants.answer()).await.map_err(Error::from)
            })
            .await;
        Ok(result.map(|replies| replies.into_iter().map(Reply::from).collect()))
    }

    async fn scan(
        &mut self,
        connection: String,
        pattern: String,
    ) -> wasmtime::Result<Result<Vec<Vec<u8>>, Error>> {
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
        Ok(result)
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
