//! All four stores at once, each with a database of one test.

use returner_servers::{
    Mariadb, MongoDatabase, Mongodb, MysqlDatabase, Redis, RedisDatabase, SqliteDatabase,
};

/// The returners of the stores.
pub(crate) const NAMES: [&str; 4] = ["mysql", "mongo", "redis", "sqlite3"];

/// The schema of Salt's manual.
pub(crate) const TUTORIAL: &str = include_str!("tutorial.sql");

pub(crate) struct Stores {
    pub(crate) mysql: MysqlDatabase,
    pub(crate) mongo: MongoDatabase,
    pub(crate) redis: RedisDatabase,
    pub(crate) sqlite: SqliteDatabase,
}

impl Stores {
    pub(crate) async fn new() -> Self {
        Self::with_mongo(Mongodb::shared().await.database()).await
    }

    /// With the server that refuses keys with dots and dollars.
    pub(crate) async fn with_ferretdb() -> Self {
        Self::with_mongo(Mongodb::shared_ferretdb().await.database()).await
    }

    async fn with_mongo(mongo: MongoDatabase) -> Self {
        Self {
            mysql: Mariadb::shared().await.database().await,
            mongo,
            redis: Redis::shared().await.database().await,
            sqlite: SqliteDatabase::new(),
        }
    }

    /// Everything goes to all of them.
    pub(crate) fn config(&self) -> String {
        let all = NAMES.join(", ");
        format!(
            "return: [{all}]\nevent_return: [{all}]\nmaster_job_cache: mysql\nid: master1\n{}",
            self.connections()
        )
    }

    /// Salt's lines for the four, without where anything goes.
    pub(crate) fn connections(&self) -> String {
        [self.mysql.config(), self.mongo.config(), self.redis.config(), self.sqlite.config()].concat()
    }
}
