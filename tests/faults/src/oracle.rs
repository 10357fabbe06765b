//! Compares what is owed with what stands in the stores.
//!
//! Every return that was acknowledged stands in each store it was meant for, with the
//! text that was sent, and once; or it is a dead letter that may be one. Nothing stands
//! where it was not sent. What was never acknowledged may be there, but not twice.

use std::fmt;

use crate::items::Content;
use crate::ledger::{Job, Ledger, Obligation};
use crate::stores::{Dead, Found, Stores};
use crate::targets::Target;

/// How many jobs are compared at once.
const AT_ONCE: usize = 200;

/// How many findings of a kind a message names.
const NAMED: usize = 20;

/// Whether a return may be a dead letter of a returner.
pub(crate) type MayDie = fn(Content, Target) -> bool;

/// For test beds where nothing may.
pub(crate) fn none_may_die(_: Content, _: Target) -> bool {
    false
}

/// What is not as it must be; each is a line for people.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    missing: Vec<String>,
    doubled: Vec<String>,
    damaged: Vec<String>,
    stray: Vec<String>,
    dead: Vec<String>,
    /// Copies that stand where they are owed, and those that are rightly dead letters.
    pub(crate) stored: usize,
    pub(crate) dead_letters: usize,
}

impl Findings {
    pub(crate) async fn of(ledger: &Ledger, stores: &Stores, dead: &Dead, may_die: MayDie) -> Self {
        let mut findings = Self::default();
        let mut last = String::new();
        loop {
            let jobs = ledger.after(&last, AT_ONCE);
            let Some((jid, _)) = jobs.last() else { return findings };
            last.clone_from(jid);
            let jids: Vec<String> = jobs.iter().map(|(jid, _)| jid.clone()).collect();
            for target in Target::ALL {
                let sent = |job: &Job| job.values().any(|obligation| obligation.sent.has(target));
                if jobs.iter().any(|(_, job)| sent(job)) {
                    let found = stores.read(target, &jids).await;
                    findings.compare(&jobs, target, found, dead, may_die);
                }
            }
        }
    }

    /// Compares some jobs with what a store has of them.
    fn compare(
        &mut self,
        jobs: &[(String, Job)],
        target: Target,
        mut found: Found,
        dead: &Dead,
        may_die: MayDie,
    ) {
        for (jid, job) in jobs {
            for (minion, obligation) in job {
                let texts = found.remove(&(jid.clone(), minion.clone())).unwrap_or_default();
                let reason = dead.get(&(target, jid.clone(), minion.clone())).map(String::as_str);
                let may_die = may_die(obligation.content, target);
                self.judge(
                    &format!("{} {jid} {minion}", target.name()),
                    target,
                    obligation,
                    &texts,
                    reason,
                    may_die,
                );
            }
        }
        for (jid, minion) in found.into_keys() {
            self.stray.push(format!("{} {jid} {minion}: nobody sent it", target.name()));
        }
    }

    fn judge(
        &mut self,
        name: &str,
        target: Target,
        obligation: &Obligation,
        texts: &[String],
        reason: Option<&str>,
        may_die: bool,
    ) {
        let (length, owed) = (obligation.content.length, obligation.owed.has(target));
        match (texts, reason) {
            ([], None) if owed => self.missing.push(format!("{name} ({length} bytes)")),
            ([], Some(reason)) if !may_die => self.dead.push(format!("{name} ({length} bytes): {reason}")),
            ([_, ..], Some(reason)) => self.dead.push(format!("{name} is also stored: {reason}")),
            ([], Some(_)) => self.dead_letters += 1,
            ([], None) => {}
            ([_], None) => self.stored += 1,
            _ => self.doubled.push(format!("{name}: {} times", texts.len())),
        }
        if texts.iter().any(|text| *text != obligation.content.text()) {
            self.damaged.push(format!("{name}: not the text that was sent"));
        }
        if !texts.is_empty() && !obligation.sent.has(target) {
            self.stray.push(format!("{name}: it was sent to {} only", obligation.sent));
        }
    }

    pub(crate) fn are_none(&self) -> bool {
        self.lists().iter().all(|(_, list)| list.is_empty())
    }

    fn lists(&self) -> [(&'static str, &Vec<String>); 5] {
        [
            ("missing", &self.missing),
            ("doubled", &self.doubled),
            ("damaged", &self.damaged),
            ("where they do not belong", &self.stray),
            ("dead letters without a cause", &self.dead),
        ]
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, list) in self.lists() {
            if !list.is_empty() {
                writeln!(f, "{} {kind}:", list.len())?;
            }
            for line in list.iter().take(NAMED) {
                writeln!(f, "  {line}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::Targets;

    const CONTENT: Content = Content { number: 1, length: 50, is_poison: false };

    /// What is found of a return that is owed to MySQL, or was only sent there.
    fn findings(is_owed: bool, texts: &[String], reason: Option<&str>, may_die: bool) -> Findings {
        let sent = Targets::of(&[Target::Mysql]);
        let owed = if is_owed { sent } else { Targets::default() };
        let mut findings = Findings::default();
        let obligation = Obligation { content: CONTENT, sent, owed };
        findings.judge("item", Target::Mysql, &obligation, texts, reason, may_die);
        findings
    }

    #[test]
    fn what_is_owed_is_stored_once_or_rightly_dead() {
        let text = CONTENT.text();
        assert!(findings(true, std::slice::from_ref(&text), None, false).are_none());
        assert!(findings(true, &[], Some("poison"), true).are_none());
        assert!(findings(false, &[], None, false).are_none());
        assert_eq!(findings(true, &[], None, false).missing.len(), 1);
        assert_eq!(findings(true, &[], Some("down"), false).dead.len(), 1);
        assert_eq!(findings(true, std::slice::from_ref(&text), Some("poison"), true).dead.len(), 1);
        assert_eq!(findings(false, &[text.clone(), text], None, false).doubled.len(), 1);
        assert_eq!(findings(true, &["other".to_owned()], None, false).damaged.len(), 1);
    }
}
