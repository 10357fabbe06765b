//! The limit: the same rows, natively, with the same driver in the same batches.

use std::time::Instant;

use mongodb::bson::{Document, doc, serialize_to_bson};
use returner_servers::Directory;
use sqlx::{AssertSqlSafe, Connection};

use crate::sample::{FUN, Sample, next_round, sample};
use crate::store::Store;

/// The rows of a statement, and the returns of a batch.
const ROWS: usize = 512;

/// The most bytes of a statement, as of the plugins.
const BYTES: usize = 1_000_000;

/// How long Salt keeps jobs, in seconds: `keep_jobs_seconds`.
const KEPT: i64 = 86_400;

/// The workers that a lane has.
const WORKERS: usize = 2;

/// Returns per second.
pub(crate) async fn measure(store: &Store, count: usize, size: usize) -> f64 {
    let round = next_round();
    let samples: Vec<Sample> = (0..count).map(|number| sample(round, number, size)).collect();
    store.clear().await;
    match store {
        Store::Mysql(database) => {
            let url = format!(
                "mysql://{}:{}@{}:{}/{}",
                store.option("user"),
                store.option("pass"),
                store.option("host"),
                store.option("port"),
                database.name()
            );
            workers(samples, async move |part| mysql(&url, part).await).await
        }
        Store::Redis(_) => {
            let url =
                format!("redis://{}:{}/{}", store.option("host"), store.option("port"), store.option("db"));
            workers(samples, async move |part| redis(&url, part).await).await
        }
        Store::Mongo(_) => {
            let url = format!("mongodb://{}:{}", store.option("host"), store.option("port"));
            let name = store.option("db");
            workers(samples, async move |part| mongo(&url, &name, part).await).await
        }
        Store::Sqlite => {
            let directory = Directory::new("bench-sqlite");
            let path = directory.path().join("limit.db");
            let begun = Instant::now();
            let count = samples.len();
            sqlite(&path.display().to_string(), samples).await;
            count as f64 / begun.elapsed().as_secs_f64()
        }
    }
}

/// Parts of so many rows, and of no more bytes than a server takes at once.
fn batches(samples: &[Sample]) -> impl Iterator<Item = &[Sample]> {
    let largest = samples.iter().map(|sample| sample.value.len() + sample.full.len()).max().unwrap_or(1);
    samples.chunks((BYTES / largest).clamp(1, ROWS))
}

/// Deals the samples out to the workers; gives returns per second.
async fn workers<W>(samples: Vec<Sample>, work: W) -> f64
where
    W: AsyncFn(Vec<Sample>),
{
    let count = samples.len();
    let mut parts: Vec<Vec<Sample>> = (0..WORKERS).map(|_| Vec::new()).collect();
    for (at, sample) in samples.into_iter().enumerate() {
        parts[at % WORKERS].push(sample);
    }
    let begun = Instant::now();
    let [first, second] = [parts.pop().unwrap_or_default(), parts.pop().unwrap_or_default()];
    tokio::join!(work(first), work(second));
    count as f64 / begun.elapsed().as_secs_f64()
}

async fn mysql(url: &str, samples: Vec<Sample>) {
    let mut connection = sqlx::MySqlConnection::connect(url).await.unwrap_or_else(|error| panic!("{error}"));
    for part in batches(&samples) {
        let rows = vec!["(?,?,?,?,?,?)"; part.len()].join(",");
        let statement =
            format!("INSERT INTO salt_returns (fun, jid, `return`, id, success, full_ret) VALUES {rows}");
        let mut query = sqlx::query(AssertSqlSafe(statement));
        for sample in part {
            query = query
                .bind(FUN)
                .bind(&sample.jid)
                .bind(&sample.value)
                .bind(&sample.minion)
                .bind("True")
                .bind(&sample.full);
        }
        query.execute(&mut connection).await.unwrap_or_else(|error| panic!("{error}"));
    }
}

async fn sqlite(path: &str, samples: Vec<Sample>) {
    let failed = |error: sqlx::Error| -> ! { panic!("{error}") };
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal)
        .synchronous(sqlx::sqlite::SqliteSynchronous::Full);
    let mut connection =
        sqlx::SqliteConnection::connect_with(&options).await.unwrap_or_else(|error| failed(error));
    for statement in include_str!("../../../plugins/sqlite/schema.sql").split(";\n") {
        if !statement.trim().is_empty() {
            sqlx::raw_sql(AssertSqlSafe(statement))
                .execute(&mut connection)
                .await
                .unwrap_or_else(|error| failed(error));
        }
    }
    for part in batches(&samples) {
        let rows = vec!["(?,?,?,NULL,datetime('now'),?,?,?)"; part.len()].join(",");
        let statement = format!(
            "INSERT INTO salt_returns (fun, jid, id, fun_args, date, full_ret, success, ret) VALUES {rows}"
        );
        let mut query = sqlx::query(AssertSqlSafe(statement));
        for sample in part {
            query = query
                .bind(FUN)
                .bind(&sample.jid)
                .bind(&sample.minion)
                .bind(&sample.value)
                .bind("True")
                .bind(&sample.full);
        }
        query.execute(&mut connection).await.unwrap_or_else(|error| failed(error));
    }
}

async fn redis(url: &str, samples: Vec<Sample>) {
    let client = ::redis::Client::open(url).unwrap_or_else(|error| panic!("{error}"));
    let mut connection =
        client.get_multiplexed_async_connection().await.unwrap_or_else(|error| panic!("{error}"));
    for part in batches(&samples) {
        let mut pipe = ::redis::pipe();
        for sample in part {
            let job = format!("ret:{}", sample.jid);
            pipe.hset(&job, &sample.minion, &sample.full).ignore();
            pipe.expire(&job, KEPT).ignore();
            pipe.set_ex(format!("{}:{FUN}", sample.minion), &sample.jid, KEPT as u64).ignore();
            pipe.sadd("minions", &sample.minion).ignore();
        }
        let () = pipe.query_async(&mut connection).await.unwrap_or_else(|error| panic!("{error}"));
    }
}

async fn mongo(url: &str, name: &str, samples: Vec<Sample>) {
    let client = mongodb::Client::with_uri_str(url).await.unwrap_or_else(|error| panic!("{error}"));
    let collection = client.database(name).collection::<Document>("saltReturns");
    let json = |text: &str| {
        let value: serde_json::Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}"));
        serialize_to_bson(&value).unwrap_or_else(|error| panic!("{error}"))
    };
    for part in batches(&samples) {
        let documents = part.iter().map(|sample| {
            doc! {
                "_id": format!("{}{}", sample.jid, sample.minion), "minion": &sample.minion, "jid": &sample.jid,
                "fun": FUN, "return": json(&sample.value), "full_ret": json(&sample.full),
            }
        });
        collection.insert_many(documents).ordered(false).await.unwrap_or_else(|error| panic!("{error}"));
    }
}
