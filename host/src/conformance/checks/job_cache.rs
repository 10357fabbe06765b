//! The job cache gives back what was stored, says so when it cannot, and cleans.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::desk::{Desk, told};
use super::super::items::{is_failed_run, jid, odd, plain};
use super::super::{Kit, Verdict};
use crate::items::{Item, Kind};
use crate::journal::now;
use crate::plugins::{CallError, Fault, Instance, Interface};

/// How many jobs there are.
const JOBS: usize = 5;

/// The most calls of the host of one question that are made to fail.
const MOST: usize = 10;

/// How often a job cache may be asked to clean on.
const CLEANED: usize = 10_000;

const FUN: &str = "test.echo";

const DAY: u64 = 86_400_000;

/// What can be asked.
#[derive(Debug, Clone, Copy)]
enum Question {
    Load,
    Jid,
    Fun,
    Jids,
    Minions,
}

impl Question {
    const ALL: [Question; 5] =
        [Question::Load, Question::Jid, Question::Fun, Question::Jids, Question::Minions];

    fn name(self) -> &'static str {
        match self {
            Question::Load => "get-load",
            Question::Jid => "get-jid",
            Question::Fun => "get-fun",
            Question::Jids => "get-jids",
            Question::Minions => "get-minions",
        }
    }

    /// The answer as text, the same for the same answer.
    async fn ask(self, instance: &mut Instance) -> Result<String, CallError> {
        let job = jid(1);
        let mut lines = match self {
            Question::Load => vec![format!("{:?}", instance.get_load(&job).await?)],
            Question::Jid => lines(instance.get_jid(&job).await?),
            Question::Fun => lines(instance.get_fun(FUN).await?),
            Question::Jids => lines(instance.get_jids(None).await?),
            Question::Minions => lines(instance.get_minions().await?),
        };
        lines.sort_unstable();
        Ok(lines.join("\n"))
    }
}

fn lines<T: std::fmt::Debug>(answers: Vec<T>) -> Vec<String> {
    answers.into_iter().map(|answer| format!("{answer:?}")).collect()
}

fn not_exported() -> Verdict {
    Verdict::NotTried("it does not export `job-cache`".to_owned())
}

pub(super) async fn run(kit: &Kit) -> Result<Verdict, String> {
    if !kit.plugin.exports.contains(&Interface::JobCache) {
        return Ok(not_exported());
    }
    let mut desk = Desk::new(kit).await?;
    let has_loads = desk.exports(Interface::Loads);
    let (loads, returns) = (plain(Kind::Load, 1, JOBS), plain(Kind::Return, 1, JOBS));
    if has_loads {
        desk.store(&loads).await?;
    }
    desk.store(&returns).await?;
    let mut wrong = Vec::new();
    for (number, item) in returns.iter().enumerate() {
        wrong.extend(job(&mut desk, &jid(number + 1), item, has_loads.then(|| &loads[number])).await?);
    }
    wrong.extend(lists(&mut desk, has_loads).await?);
    wrong.extend(odd_ones(kit).await?);
    wrong.extend(cleaned(&mut desk).await?);
    Ok(Verdict::of(wrong))
}

/// The load and the return of one job.
async fn job(
    desk: &mut Desk<'_>,
    jid: &str,
    item: &Item,
    load: Option<&Item>,
) -> Result<Vec<String>, String> {
    let mut wrong = Vec::new();
    let failed = |error: CallError| told(&error);
    let answers = desk.instance().get_jid(jid).await.map_err(failed)?;
    match &answers[..] {
        [answer] if is_same(&answer.full, item.text()) => {}
        [answer] => wrong.push(format!("`get-jid` of {jid} gives `{}` for `{}`", answer.full, item.text())),
        others => wrong.push(format!("`get-jid` of {jid} gives {} returns in place of one", others.len())),
    }
    if let Some(load) = load {
        match desk.instance().get_load(jid).await.map_err(failed)? {
            Some(answer) if is_same(&answer, load.text()) => {}
            answer => wrong.push(format!("`get-load` of {jid} gives {answer:?} for `{}`", load.text())),
        }
    }
    Ok(wrong)
}

async fn lists(desk: &mut Desk<'_>, has_loads: bool) -> Result<Vec<String>, String> {
    let mut wrong = Vec::new();
    let failed = |error: CallError| told(&error);
    let minions = |numbers: &dyn Fn(usize) -> bool| -> BTreeSet<String> {
        (1..=JOBS).filter(|number| numbers(*number)).map(|number| format!("minion{number}")).collect()
    };
    let expected = minions(&|_| true);
    let known: BTreeSet<String> = desk.instance().get_minions().await.map_err(failed)?.into_iter().collect();
    if known != expected {
        wrong.push(format!("`get-minions` gives {known:?} in place of {expected:?}"));
    }
    let newest = desk.instance().get_fun(FUN).await.map_err(failed)?;
    let newest: BTreeSet<String> = newest.into_iter().map(|answer| answer.minion).collect();
    let expected = minions(&|number| !is_failed_run(number));
    if newest != expected {
        wrong.push(format!("`get-fun` has answers of {newest:?} in place of {expected:?}"));
    }
    if desk.instance().get_load("20990101000000000000").await.map_err(failed)?.is_some() {
        wrong.push("`get-load` knows a job that there is not".to_owned());
    }
    if has_loads {
        for limit in [None, Some(2)] {
            let jobs = desk.instance().get_jids(limit).await.map_err(failed)?;
            let jobs: Vec<String> = jobs.into_iter().map(|job| job.jid).collect();
            let first = JOBS + 1 - limit.map_or(JOBS, |limit| limit as usize);
            let expected: Vec<String> = (first..=JOBS).map(jid).collect();
            if jobs != expected {
                wrong.push(format!(
                    "`get-jids` with the limit {limit:?} gives {jobs:?} in place of {expected:?}"
                ));
            }
        }
    }
    Ok(wrong)
}

/// What is unusual is given back as it came, where it was stored.
async fn odd_ones(kit: &Kit) -> Result<Vec<String>, String> {
    let mut wrong = Vec::new();
    let mut desk = Desk::new(kit).await?;
    for (name, item) in odd() {
        let Item::Return(sent) = &item else { continue };
        if !desk.store(std::slice::from_ref(&item)).await?.rejected.is_empty() {
            continue;
        }
        let answers = desk.instance().get_jid(&sent.jid).await.map_err(|error| told(&error))?;
        if !matches!(&answers[..], [answer] if is_same(&answer.full, &sent.full)) {
            wrong.push(format!("{name} does not come back as it was stored"));
        }
    }
    Ok(wrong)
}

async fn cleaned(desk: &mut Desk<'_>) -> Result<Option<String>, String> {
    let failed = |error: CallError| format!("`clean`: {}", told(&error));
    let mut asked = 0;
    while desk.instance().clean(now() + DAY).await.map_err(failed)? > 0 {
        asked += 1;
        if asked > CLEANED {
            return Ok(Some("`clean` never comes to its end".to_owned()));
        }
    }
    for number in 1..=JOBS {
        let job = jid(number);
        let left = desk.instance().get_jid(&job).await.map_err(failed)?;
        if !left.is_empty() || desk.instance().get_load(&job).await.map_err(failed)?.is_some() {
            return Ok(Some(format!("the job {job} is there after `clean`")));
        }
    }
    Ok(None)
}

/// The same JSON, whatever its spaces and the order of its keys.
fn is_same(one: &str, other: &str) -> bool {
    let [one, other] = [one, other].map(serde_json::from_str::<Value>);
    matches!((one, other), (Ok(one), Ok(other)) if one == other)
}

/// A question whose host call fails is answered as without, or not at all.
pub(super) async fn faults(kit: &Kit) -> Result<Verdict, String> {
    if !kit.plugin.exports.contains(&Interface::JobCache) {
        return Ok(not_exported());
    }
    let mut wrong = Vec::new();
    let mut desk = Desk::new(kit).await?;
    if desk.exports(Interface::Loads) {
        desk.store(&plain(Kind::Load, 1, 3)).await?;
    }
    desk.store(&plain(Kind::Return, 1, 3)).await?;
    for question in Question::ALL {
        let name = question.name();
        desk.script.begin(None);
        let expected = question.ask(desk.instance()).await.map_err(|error| told(&error))?;
        let calls = desk.script.calls().min(MOST);
        for (call, fault) in (0..calls).flat_map(|call| Fault::ALL.map(|fault| (call, fault))) {
            desk.script.begin(Some((call, fault)));
            let answer = question.ask(desk.instance()).await;
            desk.script.disarm();
            match answer {
                Ok(answer) if answer != expected => {
                    let asked = desk.script.failed().map(|failed| failed.call).unwrap_or_default();
                    wrong.push(format!("`{name}` is answered wrongly when `{asked}` fails"));
                }
                Err(error @ CallError::Stopped(_)) => {
                    wrong.push(format!("`{name}`: {}", told(&error)));
                    desk.begin_anew().await?;
                }
                _ => {}
            }
        }
    }
    Ok(Verdict::of(wrong))
}
