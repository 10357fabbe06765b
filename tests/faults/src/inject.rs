//! Carries a plan out: each part of the test bed works through its list, beside the others.
//!
//! Whatever was stopped, slowed or locked is as before when this returns.

use std::time::Duration;

use returner_servers::{Cut, Host, Mariadb, Mongodb, Proxy, Redis, Server, Weather};
use tokio::time::sleep;

use crate::bed::{Behind, TestBed};
use crate::plan::{Fault, Part, Plan, Step};
use crate::stores::Stores;

/// The pause between two words of a network that is slow.
const LATE: Duration = Duration::from_millis(40);

/// The bytes that a network lets trickle in a millisecond.
const TRICKLE: usize = 64;

/// Lets all of a plan happen to a test bed; gives the test bed back, and how many faults
/// there were.
pub(crate) async fn inject(bed: TestBed, mut plan: Plan) -> (TestBed, usize) {
    let TestBed { host, mysql, redis, mongo, stores } = bed;
    let host_steps = plan.take(Part::Host);
    let (mysql_steps, redis_steps) = (plan.take(Part::Mysql), plan.take(Part::Redis));
    let mongo_steps = plan.take(Part::Mongo);
    let count = [&host_steps, &mysql_steps, &redis_steps, &mongo_steps].map(Vec::len).iter().sum();
    let (host, mysql, redis, mongo) = tokio::join!(
        host_faults(host, host_steps),
        mysql_faults(mysql, &stores, mysql_steps),
        redis_faults(redis, &stores, redis_steps),
        mongo_faults(mongo, mongo_steps),
    );
    (TestBed { host, mysql, redis, mongo, stores }, count)
}

async fn host_faults(mut host: Host, steps: Vec<Step>) -> Host {
    for step in steps {
        sleep(step.after).await;
        match step.fault {
            Fault::HostStop => {
                let status = host.stop().await;
                assert!(
                    status.success(),
                    "on SIGTERM the host ended with {status}; it wrote:\n{}",
                    host.log()
                );
            }
            _ => host.kill(),
        }
        sleep(step.lasts).await;
        host.restart().await;
    }
    host
}

async fn mysql_faults(mut mysql: Behind<Mariadb>, stores: &Stores, steps: Vec<Step>) -> Behind<Mariadb> {
    for step in steps {
        sleep(step.after).await;
        let proxy = &mysql.proxy;
        match step.fault {
            Fault::MysqlKill => {
                mysql.server.kill();
                sleep(step.lasts).await;
                mysql.server.restart().await;
            }
            Fault::MysqlHang => {
                mysql.server.pause();
                sleep(step.lasts).await;
                mysql.server.resume();
            }
            Fault::MysqlLock => lock(stores, step.lasts).await,
            Fault::MysqlCutStatement => cut_at(proxy, Cut::InStatement, step.lasts).await,
            Fault::MysqlCutCommit => cut_at(proxy, Cut::BeforeCommit, step.lasts).await,
            Fault::MysqlCutCommitted => cut_at(proxy, Cut::AfterCommit, step.lasts).await,
            Fault::MysqlLatency => weather(proxy, Weather::Late(LATE), step.lasts).await,
            Fault::MysqlTrickle => weather(proxy, Weather::Trickle(TRICKLE), step.lasts).await,
            Fault::MysqlStall => weather(proxy, Weather::Stalled, step.lasts).await,
            Fault::MysqlSilence => weather(proxy, Weather::Silent, step.lasts).await,
            _ => proxy.cut(),
        }
    }
    mysql
}

async fn redis_faults(mut redis: Behind<Redis>, stores: &Stores, steps: Vec<Step>) -> Behind<Redis> {
    for step in steps {
        sleep(step.after).await;
        match step.fault {
            Fault::RedisKill => {
                redis.server.kill();
                sleep(step.lasts).await;
                redis.server.restart().await;
            }
            Fault::RedisHang => {
                redis.server.pause();
                sleep(step.lasts).await;
                redis.server.resume();
            }
            Fault::RedisOom => {
                let _: () = stores.redis().ask(&["CONFIG", "SET", "maxmemory", "1"]).await;
                sleep(step.lasts).await;
                let _: () = stores.redis().ask(&["CONFIG", "SET", "maxmemory", "0"]).await;
            }
            Fault::RedisSilence => weather(&redis.proxy, Weather::Silent, step.lasts).await,
            _ => redis.proxy.cut(),
        }
    }
    redis
}

async fn mongo_faults(mut mongo: Behind<Mongodb>, steps: Vec<Step>) -> Behind<Mongodb> {
    for step in steps {
        sleep(step.after).await;
        match step.fault {
            Fault::MongoKill => {
                mongo.server.kill();
                sleep(step.lasts).await;
                mongo.server.restart().await;
            }
            Fault::MongoHang => {
                mongo.server.pause();
                sleep(step.lasts).await;
                mongo.server.resume();
            }
            Fault::MongoCutStatement => cut_at(&mongo.proxy, Cut::InStatement, step.lasts).await,
            Fault::MongoLatency => weather(&mongo.proxy, Weather::Late(LATE), step.lasts).await,
            _ => mongo.proxy.cut(),
        }
    }
    mongo
}

async fn weather(proxy: &Proxy, weather: Weather, lasts: Duration) {
    proxy.set(weather);
    sleep(lasts).await;
    proxy.set(Weather::Clear);
}

/// Cuts at the next chance that comes within a time.
async fn cut_at(proxy: &Proxy, cut: Cut, within: Duration) {
    proxy.arm(cut);
    sleep(within).await;
    proxy.disarm();
}

/// Another session locks the whole table, or all of its rows: one waits for a lock of the
/// table's definition, the other for one of InnoDB.
async fn lock(stores: &Stores, lasts: Duration) {
    let seconds = lasts.as_secs_f64();
    let statements = match lasts.as_millis() % 2 {
        0 => format!("LOCK TABLES salt_returns WRITE; SELECT SLEEP({seconds}); UNLOCK TABLES"),
        _ => {
            format!("BEGIN; SELECT COUNT(*) FROM salt_returns FOR UPDATE; SELECT SLEEP({seconds}); ROLLBACK")
        }
    };
    if let Err(error) = stores.mysql().try_execute(&statements).await {
        // It and the host waited for each other, and the server chose it; which of the two
        // is up to the server.
        assert!(error.to_string().contains("1213"), "{statements}: {error}");
    }
}
