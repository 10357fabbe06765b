//! Clients send while everything fails that can.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Options;
use crate::bed::{TestBed, default_targets, settle};
use crate::clients::{Clients, Mix};
use crate::inject::inject;
use crate::items::Content;
use crate::ledger::Ledger;
use crate::plan::Plan;
use crate::report::Summary;
use crate::targets::Target;

/// The longest pause between two requests of a client, in milliseconds: as much as the
/// slowest of the servers can store.
const PAUSE: u64 = 150;

/// The most returns of one request.
const MOST: usize = 40;

pub(super) async fn run(options: &Options) -> Summary {
    let bed = TestBed::start().await;
    let ledger = Arc::new(Ledger::default());
    let mix = Mix {
        among: Target::ALL.to_vec(),
        default: Some(default_targets()),
        pause: PAUSE,
        most: MOST,
        length: None,
    };
    let url = bed.host.url("/v1/returns");
    let clients = Clients::start(&url, &ledger, &mix, options.seed, options.clients);
    let plan = Plan::of(options.seed, &options.faults, options.duration);
    let (mut bed, faults) = inject(bed, plan).await;
    let counters = clients.finish().await;
    counters.faults.store(faults, Ordering::Relaxed);
    settle(&mut bed.host, &bed.stores, &ledger, &counters, is_poison).await
}

fn is_poison(content: Content, target: Target) -> bool {
    target == Target::Trapping && content.is_poison
}
