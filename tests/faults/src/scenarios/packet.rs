//! `max_allowed_packet` is too small for some returns: those alone are dead letters.

use returner_servers::{Host, Mariadb};

use super::Sender;
use crate::bed::{mysql_only, settle};
use crate::items::Content;
use crate::report::Summary;
use crate::stores::Stores;
use crate::targets::{Target, Targets};

/// What the server takes in one packet. A row has a return twice: as it is, and in the
/// whole that the minion sent.
const PACKET: usize = 64 << 10;

/// Longer than a packet; far longer, so that the server closes before all of it is sent.
const TOO_LONG: [usize; 3] = [70_000, 200_000, 5_000_000];

const SHORT: usize = 2_000;

pub(super) async fn run() -> Summary {
    let mariadb = Mariadb::start().await;
    let stores = Stores { mysql: Some(mariadb.database().await), ..Stores::default() };
    // For sessions that begin from now on.
    stores.mysql().execute(&format!("SET GLOBAL max_allowed_packet = {PACKET}")).await;
    let mut host = Host::start(&mysql_only(stores.mysql())).await;
    let sender = Sender::default();
    for length in TOO_LONG {
        let mut lengths = vec![SHORT; 60];
        lengths[30] = length;
        sender.must_send(&host, &Sender::items(lengths), Targets::of(&[Target::Mysql])).await;
    }
    let summary = settle(&mut host, &stores, &sender.ledger, &sender.counters, is_too_long).await;
    assert_eq!(summary.dead_letters, TOO_LONG.len(), "each that is too long is a dead letter: {summary}");
    summary
}

fn is_too_long(content: Content, _: Target) -> bool {
    content.length > PACKET
}
