//! A disk that is full, and one that can only be read: intake refuses and says when to
//! come again, nothing that was acknowledged is lost, and it goes on by itself.

use std::fmt::Display;

use returner_servers::{Directory, Host, Mariadb, Server, System, returner, until};

use super::Sender;
use crate::bed::{drain, mysql_only, settle};
use crate::oracle::none_may_die;
use crate::report::Summary;
use crate::stores::Stores;
use crate::targets::{Target, Targets};
use crate::tmpfs::Tmpfs;

/// The size of the disk.
const DISK: u64 = 24 << 20;

/// More requests than the disk has room for.
const REQUESTS: usize = 200;

/// Requests of 200 kB each whose journal fits on the disk twice, and not into the reserve.
const BACKLOG: usize = 30;

/// The lengths of one request's returns.
const LENGTHS: [usize; 10] = [20_000; 10];

/// A host with MySQL alone, whose data is on a small disk.
struct Bed {
    // Stopped before its disk goes: fields are dropped in their order.
    host: Host,
    disk: Tmpfs,
    mariadb: Mariadb,
    stores: Stores,
    sender: Sender,
    refused: u64,
}

/// Full of what somebody else has written.
pub(super) async fn full() -> Summary {
    let mut bed = Bed::start().await;
    bed.sent().await;
    drain(&bed.host).await;
    for _ in 0..3 {
        let ballast = bed.disk.fill();
        bed.send_until_refused().await;
        drop(ballast);
        bed.until_taken("there is room").await;
    }
    drain(&bed.host).await;

    // The database is away, the disk full, and the host is killed.
    bed.mariadb.kill();
    bed.sent().await;
    let ballast = bed.disk.fill();
    bed.send_until_refused().await;
    bed.host.kill();
    drop(ballast);
    bed.mariadb.restart().await;
    bed.host.restart().await;
    bed.end().await
}

/// Full of what waits for a database: delivering it makes room.
pub(super) async fn backlog() -> Summary {
    let mut bed = Bed::start().await;
    bed.sent().await;
    drain(&bed.host).await;
    bed.mariadb.kill();
    bed.send_until_refused().await;
    bed.host.get("/healthz").await.expect(200);
    assert_eq!(bed.host.returner("mysql").await["state"], "retrying");
    bed.mariadb.restart().await;
    bed.until_taken("the database is back").await;
    drain(&bed.host).await;

    // The same, and the host is killed: it starts, and delivers.
    bed.mariadb.kill();
    bed.send_until_refused().await;
    bed.host.kill();
    bed.mariadb.restart().await;
    bed.host.restart().await;
    bed.until_taken("the host was started on a full disk").await;
    bed.end().await
}

pub(super) async fn read_only() -> Summary {
    let mut bed = Bed::start().await;
    bed.mariadb.kill();
    for _ in 0..5 {
        bed.sent().await;
    }
    bed.host.kill();
    bed.disk.read_only();
    let run = returner(bed.host.directory(), &["serve", "--config", "returner.yaml"]);
    assert!(
        run.code.is_some_and(|code| code != 0)
            && run.stderr.contains("journal")
            && run.stderr.contains("Read-only"),
        "a host on a disk that can only be read says so, and ends: {run:?}"
    );
    bed.disk.writable();
    bed.host.restart().await;
    bed.sent().await;
    bed.mariadb.restart().await;
    bed.end().await
}

/// What a failed flush left is not trusted, and cannot be written anew: nothing is taken in
/// until there is room.
pub(super) async fn failed_flush() -> Summary {
    let system = System::new();
    let mut bed = Bed::start_on(&system).await;
    bed.mariadb.kill();
    // More than the reserve gives back.
    for _ in 0..BACKLOG {
        bed.sent().await;
    }
    for round in 0..3 {
        system.fail_flushes(true);
        bed.send_until_refused().await;
        let ballast = bed.disk.fill();
        system.fail_flushes(false);
        until("the copy to find no room", async || {
            let log = bed.host.log();
            let tried = log.matches("after a flush that failed: No space left").count();
            if tried > round { Ok(()) } else { Err(log) }
        })
        .await;
        bed.send_until_refused().await;
        drop(ballast);
        bed.until_taken("there is room for a copy").await;
        bed.host.kill();
        bed.host.restart().await;
    }
    bed.mariadb.restart().await;
    bed.end().await
}

impl Bed {
    async fn start_on(system: &System) -> Self {
        Self::with(async |directory, config| Host::start_on(system, directory, config).await).await
    }

    async fn start() -> Self {
        Self::with(async |directory, config| Host::start_in(directory, config).await).await
    }

    async fn with(start: impl AsyncFnOnce(Directory, &str) -> Host) -> Self {
        let mariadb = Mariadb::start().await;
        let stores = Stores { mysql: Some(mariadb.database().await), ..Stores::default() };
        let directory = Directory::new("host");
        let disk = Tmpfs::mount(&directory.path().join("data"), DISK);
        let host = start(directory, &mysql_only(stores.mysql())).await;
        Self { host, disk, mariadb, stores, sender: Sender::default(), refused: 0 }
    }

    async fn sent(&self) {
        self.sender.must_send(&self.host, &Sender::items(LENGTHS), targets()).await;
    }

    /// Sends until the host refuses, and once more.
    async fn send_until_refused(&mut self) {
        for _ in 0..REQUESTS {
            if self.sender.send(&self.host, &Sender::items(LENGTHS), targets()).await == 503 {
                self.host.get("/readyz").await.expect(503);
                let again = self.sender.send(&self.host, &Sender::items(LENGTHS), targets()).await;
                assert_eq!(again, 503, "as long as there is no room, it refuses");
                self.refused += 2;
                return;
            }
        }
        panic!("the host took {REQUESTS} requests on a disk of {DISK} bytes");
    }

    /// Waits until the host takes returns by itself.
    async fn until_taken(&self, since: impl Display) {
        until(&format!("intake to go on since {since}"), async || {
            match self.sender.send(&self.host, &Sender::items(LENGTHS), targets()).await {
                202 => Ok(()),
                status => Err(format!("it answers {status}; {}", self.host.returner("mysql").await)),
            }
        })
        .await;
    }

    async fn end(mut self) -> Summary {
        let summary =
            settle(&mut self.host, &self.stores, &self.sender.ledger, &self.sender.counters, none_may_die)
                .await;
        Summary { refused: self.refused, ..summary }
    }
}

fn targets() -> Targets {
    Targets::of(&[Target::Mysql])
}
