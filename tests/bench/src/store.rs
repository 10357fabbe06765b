//! The stores: a real server each, with a database of the benchmark's own.

use mongodb::IndexModel;
use mongodb::bson::{Document, doc};
use returner_servers::{Mariadb, MongoDatabase, Mongodb, MysqlDatabase, Redis, RedisDatabase};

pub(crate) enum Store {
    Mysql(MysqlDatabase),
    Redis(RedisDatabase),
    Mongo(MongoDatabase),
    Sqlite,
}

impl Store {
    pub(crate) async fn start(name: &str) -> Self {
        match name {
            "mysql" => {
                let database = Mariadb::shared().await.database().await;
                for statement in include_str!("../../../plugins/mysql/schema.sql").split(";\n") {
                    if !statement.trim().is_empty() {
                        database.execute(statement).await;
                    }
                }
                Self::Mysql(database)
            }
            "redis" => Self::Redis(Redis::shared().await.database().await),
            "mongo" => Self::Mongo(Mongodb::shared().await.database()),
            "sqlite3" => Self::Sqlite,
            other => panic!("no store `{other}`; there are mysql, redis, mongo and sqlite3"),
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Mysql(_) => "mysql",
            Self::Redis(_) => "redis",
            Self::Mongo(_) => "mongo",
            Self::Sqlite => "sqlite3",
        }
    }

    /// The host's configuration for it.
    pub(crate) fn config(&self) -> String {
        let own = match self {
            Self::Mysql(database) => database.config(),
            Self::Redis(database) => database.config(),
            Self::Mongo(database) => database.config(),
            Self::Sqlite => String::new(),
        };
        format!("return: {}\n{own}", self.name())
    }

    pub(crate) fn options(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Mysql(database) => database.options(),
            Self::Redis(database) => database.options(),
            Self::Mongo(database) => database.options(),
            Self::Sqlite => Vec::new(),
        }
    }

    pub(crate) fn option(&self, name: &str) -> String {
        let found = self.options().into_iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| value).unwrap_or_default()
    }

    /// Leaves nothing of the last measurement.
    pub(crate) async fn clear(&self) {
        match self {
            Self::Mysql(database) => database.execute("TRUNCATE salt_returns").await,
            Self::Redis(database) => database.ask(&["FLUSHDB", "ASYNC"]).await,
            Self::Mongo(_) => self.clear_mongo().await.unwrap_or_else(|error| panic!("MongoDB: {error}")),
            Self::Sqlite => {}
        }
    }

    /// With the index that the plugin makes.
    async fn clear_mongo(&self) -> mongodb::error::Result<()> {
        let url = format!("mongodb://{}:{}", self.option("host"), self.option("port"));
        let database = mongodb::Client::with_uri_str(url).await?.database(&self.option("db"));
        let returns = database.collection::<Document>("saltReturns");
        returns.drop().await?;
        returns.create_index(IndexModel::builder().keys(doc! {"jid": 1}).build()).await?;
        Ok(())
    }
}
