//! Real servers for tests: MariaDB, PostgreSQL, Redis, two that speak MongoDB's protocol, NATS, Salt's
//! masters, minions and own returner modules, the receivers of the examples, and the host itself as a
//! process; and a network that fails.
//!
//! What it promises:
//!
//! - A server listens on loopback, on a free port, with data of its own, and ends when
//!   its value is dropped or the test process ends, however that ends.
//! - A test that cannot get its server fails, and the message says how to get it.
//!   `MYSQL_URL`, `POSTGRES_URL`, `REDIS_URL` and `MONGODB_URL` name servers to use instead.
//! - Whoever waits, waits for a condition with a deadline ([`until`]).
//!
//! Starting takes seconds, so tests share one server of a kind in a process
//! ([`Mariadb::shared`] and its like) and each takes a database of its own there. A
//! test that stops or kills its server starts its own ([`Mariadb::start`]).
//!
//! It knows nothing of what the host does with what it is sent. Everything here panics
//! where a test could not go on.

mod answer;
mod certificates;
mod directory;
mod error;
mod host;
mod items;
mod mariadb;
mod master;
mod mongodb;
mod nats;
mod opensearch;
mod plugin;
mod port;
mod postgres;
mod process;
mod proxy;
mod receivers;
mod redis;
mod run;
mod salt;
mod server;
mod sqlite;
mod system;
mod wait;

pub use answer::Answer;
pub use certificates::{Authority, Issued};
pub use directory::{Directory, program};
pub use error::StartError;
pub use host::{Host, returner, returner_in_background};
pub use items::{event, load, new_jid, ret};
pub use mariadb::{Mariadb, MysqlDatabase};
pub use master::{Master, Minion, SaltVersion};
pub use mongodb::{Flavour, MongoDatabase, Mongodb, bson_as_json};
pub use nats::Nats;
pub use opensearch::OpenSearch;
pub use plugin::{another_build, build_plugin, build_python_plugin, compile_bomb, guest, make};
pub use port::free_port;
pub use postgres::{Postgres, PostgresDatabase};
pub use process::Process;
pub use proxy::{Cut, Proxy, Weather};
pub use receivers::Receiver;
pub use redis::{Redis, RedisDatabase};
pub use run::Run;
pub use salt::Salt;
pub use server::Server;
pub use sqlite::SqliteDatabase;
pub use system::System;
pub use wait::{PATIENCE, until, until_within};
