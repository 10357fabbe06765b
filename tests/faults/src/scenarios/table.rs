//! A table is dropped, and created again: what was accepted meanwhile arrives.

use returner_servers::{Host, Mariadb, returner, until};

use super::Sender;
use crate::bed::{data, drain, mysql_only};
use crate::oracle::{Findings, none_may_die};
use crate::report::Summary;
use crate::stores::{Stores, dead_letters};
use crate::targets::{Target, Targets};

const RETURNS: usize = 200;

pub(super) async fn run() -> Summary {
    let stores = Stores { mysql: Some(Mariadb::shared().await.database().await), ..Stores::default() };
    let mut host = Host::start(&mysql_only(stores.mysql())).await;
    let (before, after) = (Sender::default(), Sender::default());
    let targets = Targets::of(&[Target::Mysql]);
    before.must_send(&host, &Sender::items([300; RETURNS]), targets).await;
    drain(&host).await;
    stores.mysql().execute("DROP TABLE salt_returns").await;
    for _ in 0..5 {
        after.must_send(&host, &Sender::items([300; RETURNS]), targets).await;
    }
    // First a statement fails, and then the plugin sees that there are no such columns: what it
    // remembers of them must not outlive the table's return.
    until("the plugin to notice that the table is gone", async || {
        let entry = host.returner("mysql").await;
        let notices = entry["held"]["reason"].as_str().is_some_and(|reason| reason.contains("no column"));
        if notices && entry["last_error"].is_object() { Ok(()) } else { Err(entry.to_string()) }
    })
    .await;
    let schema = returner(host.directory(), &["schema", "mysql"]);
    stores.mysql().execute(&schema.expect(0).stdout).await;
    drain(&host).await;
    let status = host.stop().await;
    assert!(status.success(), "{status}");
    // Those from before went with the table, by the operator's hand.
    let dead = dead_letters(&data(&host)).await;
    let findings = Findings::of(&after.ledger, &stores, &dead, none_may_die).await;
    assert!(findings.are_none(), "{findings}");
    Summary::of(&after.ledger, &after.counters, &findings)
}
