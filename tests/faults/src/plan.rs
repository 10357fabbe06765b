//! What goes wrong, and when: a list for each thing that can fail, made from a seed.
//!
//! The same seed, faults and duration give the same plan. Each thing has a list and
//! a source of random numbers of its own, so that faults of different things overlap,
//! and leaving one kind out changes nothing for the other parts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use clap::ValueEnum;
use fastrand::Rng;

/// One kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Fault {
    /// `kill -9` of the host, and a start.
    HostKill,
    /// SIGTERM to the host, and a start.
    HostStop,
    /// `kill -9` of MariaDB, and a start.
    MysqlKill,
    /// SIGSTOP for longer than every time limit of the host, and SIGCONT.
    MysqlHang,
    /// All connections are cut.
    MysqlCut,
    /// A connection is cut in the middle of a statement.
    MysqlCutStatement,
    /// A connection is cut at a COMMIT that the server does not get.
    MysqlCutCommit,
    /// A connection is cut at a COMMIT whose answer the host does not get.
    MysqlCutCommitted,
    /// Every word is late.
    MysqlLatency,
    /// Bytes trickle.
    MysqlTrickle,
    /// What is sent arrives after every time limit.
    MysqlStall,
    /// What is sent is lost, and nobody says so.
    MysqlSilence,
    /// Another session locks the table.
    MysqlLock,
    /// `kill -9` of Redis, and a start.
    RedisKill,
    /// SIGSTOP and SIGCONT.
    RedisHang,
    /// All connections are cut.
    RedisCut,
    /// What is sent is lost, and nobody says so.
    RedisSilence,
    /// Redis has no memory left and refuses what writes.
    RedisOom,
    /// `kill -9` of the server that speaks MongoDB's protocol, and a start.
    MongoKill,
    /// SIGSTOP and SIGCONT.
    MongoHang,
    /// All connections are cut.
    MongoCut,
    /// A connection is cut in the middle of a message.
    MongoCutStatement,
    /// Every word is late.
    MongoLatency,
}

/// What a fault happens to: a part of the test bed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Host,
    Mysql,
    Redis,
    Mongo,
}

/// One fault of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    /// The time that all is well before it.
    pub(crate) after: Duration,
    pub(crate) fault: Fault,
    /// How long it lasts, where it lasts.
    pub(crate) lasts: Duration,
}

/// The lists of all parts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan(BTreeMap<Part, Vec<Step>>);

impl Plan {
    pub(crate) fn of(seed: u64, faults: &BTreeSet<Fault>, duration: Duration) -> Self {
        let mut kinds: BTreeMap<Part, Vec<Fault>> = BTreeMap::new();
        for fault in faults {
            kinds.entry(fault.part()).or_default().push(*fault);
        }
        let list = |(part, kinds): (Part, Vec<Fault>)| (part, steps(part, &kinds, seed, duration));
        Self(kinds.into_iter().map(list).collect())
    }

    pub(crate) fn take(&mut self, part: Part) -> Vec<Step> {
        self.0.remove(&part).unwrap_or_default()
    }
}

/// Faults one after the other until the time is over, by what each takes at least.
fn steps(part: Part, kinds: &[Fault], seed: u64, duration: Duration) -> Vec<Step> {
    let mut rng = Rng::with_seed(seed ^ (0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(part as u64 + 1)));
    let mut steps = Vec::new();
    let mut spent = Duration::ZERO;
    // Each kind once, in any order, before any comes again: a short run has most of them.
    let mut round: Vec<Fault> = Vec::new();
    loop {
        if round.is_empty() {
            round = kinds.to_vec();
            rng.shuffle(&mut round);
        }
        let Some(fault) = round.pop() else { return steps };
        let after = Duration::from_millis(rng.u64(part.calm()));
        let lasts = Duration::from_millis(rng.u64(fault.lasts()));
        spent += after + lasts;
        if spent > duration {
            return steps;
        }
        steps.push(Step { after, fault, lasts });
    }
}

impl Part {
    /// The milliseconds between two faults of it. The host's come at any moment; a
    /// server must be up for long enough that something reaches it.
    fn calm(self) -> std::ops::Range<u64> {
        match self {
            Self::Host => 100..4000,
            Self::Mysql | Self::Redis | Self::Mongo => 500..2500,
        }
    }
}

impl Fault {
    fn part(self) -> Part {
        match self {
            Self::HostKill | Self::HostStop => Part::Host,
            Self::RedisKill | Self::RedisHang | Self::RedisCut | Self::RedisSilence | Self::RedisOom => {
                Part::Redis
            }
            Self::MongoKill
            | Self::MongoHang
            | Self::MongoCut
            | Self::MongoCutStatement
            | Self::MongoLatency => Part::Mongo,
            _ => Part::Mysql,
        }
    }

    /// The milliseconds that it lasts. What hangs does so for longer than the time of a
    /// host call, and sometimes for longer than that of a whole call.
    fn lasts(self) -> std::ops::Range<u64> {
        match self {
            Self::HostKill | Self::HostStop => 0..500,
            Self::MysqlKill | Self::RedisKill | Self::MongoKill => 0..2000,
            Self::MysqlCut | Self::RedisCut | Self::MongoCut => 0..1,
            Self::MysqlCutStatement
            | Self::MysqlCutCommit
            | Self::MysqlCutCommitted
            | Self::MongoCutStatement => 1000..1001,
            Self::MysqlLatency | Self::MysqlTrickle | Self::MongoLatency | Self::RedisOom => 1000..3000,
            Self::MysqlHang
            | Self::MysqlStall
            | Self::MysqlSilence
            | Self::MysqlLock
            | Self::RedisHang
            | Self::RedisSilence
            | Self::MongoHang => 1500..7000,
        }
    }

    /// All of them.
    #[must_use]
    pub fn all() -> BTreeSet<Self> {
        Self::value_variants().iter().copied().collect()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_possible_value() {
            Some(value) => f.write_str(value.get_name()),
            None => write!(f, "{self:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn the_same_seed_gives_the_same_plan() {
        let all = Fault::all();
        assert_eq!(Plan::of(7, &all, MINUTE), Plan::of(7, &all, MINUTE));
        assert_ne!(Plan::of(7, &all, MINUTE), Plan::of(8, &all, MINUTE));
    }

    #[test]
    fn the_other_parts_do_not_change_with_the_faults_of_one() {
        let mut some = Fault::all();
        some.remove(&Fault::RedisOom);
        let (mut all, mut some) = (Plan::of(7, &Fault::all(), MINUTE), Plan::of(7, &some, MINUTE));
        assert_eq!(all.take(Part::Mysql), some.take(Part::Mysql));
        assert_ne!(all.take(Part::Redis), some.take(Part::Redis));
    }

    #[test]
    fn a_plan_is_not_longer_than_asked_for() {
        let mut plan = Plan::of(7, &Fault::all(), MINUTE);
        let host = plan.take(Part::Host);
        assert!(host.len() > 10, "{host:?}");
        assert!(host.iter().map(|step| step.after + step.lasts).sum::<Duration>() <= MINUTE);
        assert!(Plan::of(7, &BTreeSet::new(), MINUTE).take(Part::Host).is_empty());
    }
}
