//! The keys that every returner has: `limits`, what its plugin may use, and `delivery`, how
//! its lane hands it items.

use std::time::Duration;

use super::error::Findings;
use super::host_keys::expect_map;
use super::section::Section;
use super::settings::{DeliverySettings, Limits};

pub(super) const LIMITS: &[&str] = &[
    "memory",
    "time",
    "cpu",
    "host_call",
    "answer",
    "rows",
    "statement",
    "requests",
    "log_lines",
    "instances",
];

pub(super) const DELIVERY: &[&str] = &["batch", "batch_bytes", "workers", "max_backoff"];

pub(super) fn read(section: &Section<'_>, findings: &mut Findings) -> (Limits, DeliverySettings) {
    let delivery = delivery(section, findings);
    let mut limits = limits(section, findings);
    check_instances(section, &mut limits, &delivery, findings);
    (limits, delivery)
}

/// The bounds of what a plugin may use; see [`Limits`] for the defaults.
fn limits(section: &Section<'_>, findings: &mut Findings) -> Limits {
    section.get("limits", expect_map, findings);
    let keys = section.under("limits");
    keys.only(LIMITS, findings);
    let default = Limits::default();
    let mut duration = |name, default| {
        let bounds = Duration::from_millis(10)..=Duration::from_secs(3600);
        keys.get(name, |found| found.duration(bounds), findings).unwrap_or(default)
    };
    let time = duration("time", default.time);
    let cpu = duration("cpu", default.cpu);
    let host_call = duration("host_call", default.host_call);
    // 32 bits address no more than 4 GiB.
    let mut size =
        |name, default| keys.get(name, |found| found.size(1 << 20..=4 << 30), findings).unwrap_or(default);
    let memory = size("memory", default.memory);
    let answer = size("answer", default.answer);
    let statement = size("statement", default.statement);
    let mut number =
        |name, bounds, default| keys.get(name, |found| found.number(bounds), findings).unwrap_or(default);
    Limits {
        memory,
        time,
        cpu,
        host_call,
        answer,
        statement,
        rows: number("rows", 1..=100_000_000, default.rows),
        requests: number("requests", 1..=1000, default.requests),
        log_lines: number("log_lines", 0..=100_000, default.log_lines),
        instances: number("instances", 2..=1000, default.instances),
    }
}

/// One instance for each worker, and at least one to answer questions.
fn check_instances(
    section: &Section<'_>,
    limits: &mut Limits,
    delivery: &DeliverySettings,
    findings: &mut Findings,
) {
    let needed = delivery.workers as u64 + 1;
    match section.under("limits").find("instances", &mut Findings::default()) {
        Some(found) if limits.instances < needed => {
            let workers = delivery.workers;
            let finding = found.wrong(format!(
                "is {}, fewer than `delivery.workers` ({workers}) and one for questions",
                limits.instances
            ));
            findings.error(finding.hint(format!("allow {needed}, or have fewer workers")));
        }
        // More workers are meant to be had.
        _ => limits.instances = limits.instances.max(needed),
    }
}

fn delivery(section: &Section<'_>, findings: &mut Findings) -> DeliverySettings {
    section.get("delivery", expect_map, findings);
    let keys = section.under("delivery");
    keys.only(DELIVERY, findings);
    let default = DeliverySettings::default();
    let count = |number: Option<u64>, default| {
        number.and_then(|number| usize::try_from(number).ok()).unwrap_or(default)
    };
    DeliverySettings {
        batch: count(keys.get("batch", |found| found.number(1..=100_000), findings), default.batch),
        batch_bytes: count(
            keys.get("batch_bytes", |found| found.size(1 << 10..=1 << 30), findings),
            default.batch_bytes,
        ),
        workers: count(keys.get("workers", |found| found.number(1..=64), findings), default.workers),
        max_backoff: keys
            .get(
                "max_backoff",
                |found| found.duration(Duration::from_secs(1)..=Duration::from_secs(86_400)),
                findings,
            )
            .unwrap_or(default.max_backoff),
    }
}
