//! Keeps to the contract, but for the one thing that the option `break` names: the name of
//! the check of the conformance kit that is to find it. Others tell where batches go besides.
//! `break: sockets` makes nothing of a peer that cannot be reached, `break: sent` nothing of a
//! connection that breaks off, and `break: answers` nothing of an answer that says no.

mod elsewhere;
mod questions;

use std::cell::RefCell;

use returner_sdk::sql::{self, Value};
use returner_sdk::{
    Event, Events, Failure, JobLoad, JobMinions, JobReturn, Loads, Outcome, Refusal, Returner, config, json,
};

struct Broken;

returner_sdk::export!(Broken);

const DB: &str = "db";

thread_local! {
    /// What a call leaves for the next one, where it must not.
    static LEFT: RefCell<Vec<JobReturn>> = const { RefCell::new(Vec::new()) };
    static SET_UP: RefCell<bool> = const { RefCell::new(false) };
}

/// Whether the contract is to be broken in this way.
fn breaks(check: &str) -> bool {
    config::get("break").as_deref() == Some(check)
}

impl Returner for Broken {
    const OPTIONS: &'static [&'static str] = &["break", "peer", "hook", "cache", "documents"];

    fn setup() -> Result<(), Failure> {
        let again = SET_UP.with(|set_up| set_up.replace(true));
        for (table, columns) in [
            ("answers", "item_key TEXT PRIMARY KEY, jid TEXT, minion TEXT, fun TEXT, whole TEXT"),
            ("loads", "jid TEXT PRIMARY KEY, whole TEXT"),
            ("events", "item_key TEXT PRIMARY KEY, tag TEXT, whole TEXT"),
        ] {
            if breaks("setup-again") && again {
                sql::execute(DB, &format!("DROP TABLE {table}"), &[])?;
            }
            // Two of the breaks need a table that lets things stand twice.
            let loose = breaks("redelivery") || breaks("calls");
            let columns = if loose { columns.replace(" PRIMARY KEY", "") } else { columns.to_owned() };
            let created = sql::execute(DB, &format!("CREATE TABLE IF NOT EXISTS {table} ({columns})"), &[]);
            if !breaks("setup-faults") {
                created?;
            }
        }
        Ok(())
    }

    fn store(mut batch: Vec<JobReturn>) -> Outcome {
        if breaks("batches") {
            batch.truncate(100);
        }
        if breaks("empty") && batch.is_empty() {
            return Err(Failure::reject("there is nothing to store"));
        }
        if breaks("one") && batch.len() == 1 {
            return Ok(vec![Refusal::new(0, Failure::reject("one is too few"))]);
        }
        if breaks("huge") {
            assert!(batch.iter().all(|item| item.value.len() < 1_000_000), "this is too much");
        }
        let mut refusals = Vec::new();
        let mut kept = Vec::new();
        for (index, item) in batch.into_iter().enumerate() {
            let is_odd = item.value.contains("\\u0000");
            if breaks("odd") && is_odd {
                return Err(Failure::retry("this may be better tomorrow"));
            } else if breaks("refusals") && is_odd {
                // One beside it.
                refusals.push(Refusal::new(index + 1, Failure::reject("a null byte")));
            } else if breaks("many") && index >= 500 {
                refusals.push(Refusal::new(index, Failure::reject("this is too much")));
            } else {
                kept.push(item);
            }
        }
        elsewhere::tell(&kept)?;
        write(kept)?;
        Ok(refusals)
    }
}

fn write(batch: Vec<JobReturn>) -> Result<(), Failure> {
    let batch = if breaks("calls") {
        let before = LEFT.replace(batch.clone());
        [before, batch].concat()
    } else {
        batch
    };
    let verb = if breaks("redelivery") || breaks("calls") { "INSERT" } else { "INSERT OR REPLACE" };
    let head = format!("{verb} INTO answers (item_key, jid, minion, fun, whole) VALUES");
    let mut insert = sql::Insert::new(DB, &head);
    for item in batch.clone() {
        let row: [Value; 5] =
            [item.key.into(), item.jid.into(), item.minion.into(), item.fun.into(), item.full.into()];
        insert.row(row)?;
    }
    if breaks("memory") {
        // More than half of the memory in 10,000 calls.
        std::mem::forget(vec![batch; 10]);
    }
    match insert.finish() {
        Err(_) if breaks("faults") => Ok(()),
        finished => finished.map(drop).map_err(Failure::from),
    }
}

impl Loads for Broken {
    fn store(batch: Vec<JobLoad>) -> Outcome {
        for item in batch {
            let params = [item.jid.into(), json::with_minions(item.full, &item.minions).into()];
            sql::execute(DB, "INSERT OR IGNORE INTO loads (jid, whole) VALUES (?, ?)", &params)?;
        }
        Ok(vec![])
    }

    fn add_minions(batch: Vec<JobMinions>) -> Outcome {
        for item in batch {
            if let Some(load) = questions::load(&item.jid)? {
                let params = [json::with_minions(load, &item.minions).into(), item.jid.into()];
                sql::execute(DB, "UPDATE loads SET whole = ? WHERE jid = ?", &params)?;
            }
        }
        Ok(vec![])
    }
}

impl Events for Broken {
    fn store(batch: Vec<Event>) -> Outcome {
        let mut insert = sql::Insert::new(DB, "INSERT OR REPLACE INTO events (item_key, tag, whole) VALUES");
        for item in batch {
            insert.row([item.key.into(), item.tag.into(), item.data.into()])?;
        }
        insert.finish()?;
        Ok(vec![])
    }
}
