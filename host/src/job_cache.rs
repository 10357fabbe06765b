//! Questions about what was stored, behind a barrier.
//!
//! Invariant: an answer reflects everything that was accepted before the question,
//! but what waits on its own to be tried again, and dead letters. Where a lane does
//! not get there in time the answer is an error that says so, never an old answer.
//! A load that the store cannot give is answered as it was accepted, where the host still
//! has it: `salt` asks for it after each publishing, and gives up without one.

use std::sync::Arc;
use std::time::Duration;

use crate::delivery::{Lane, Lanes, RouteError, State, Status};
use crate::journal::Journal;
use crate::plugins::{CallError, Instance, Interface, Job, MinionReturn};

/// The most calls by which a plugin deletes what is old.
const MOST_PARTS: usize = 10_000;

/// How long a question waits for a lane that has failed for longer than this: one whose server
/// is back goes on by then.
const BACK: Duration = Duration::from_secs(2);

/// How long a question waits for a store whose answer is known here. Salt's master and `salt` make
/// seconds of what is longer.
const KNOWN: Duration = Duration::from_millis(300);

pub(crate) struct JobCache {
    lanes: Arc<Lanes>,
    journal: Arc<Journal>,
}

/// Why a question is not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error(transparent)]
    Route(#[from] RouteError),
    #[error(
        "the returner `{returner}` answers no questions: its plugin does not export `{}`",
        Interface::JobCache
    )]
    NoJobCache { returner: String },
    #[error("`{returner}` has not stored yet what was accepted before the question, after {}{why}", humantime::format_duration(*.waited))]
    Behind { returner: String, waited: Duration, why: String },
    #[error("`{returner}` cannot answer: {error}")]
    Call { returner: String, error: CallError },
}

impl JobCache {
    pub(crate) fn new(lanes: Arc<Lanes>, journal: Arc<Journal>) -> Self {
        Self { lanes, journal }
    }

    /// The load of a job as JSON text.
    pub(crate) async fn load(&self, returner: Option<&str>, jid: &str) -> Result<Option<String>, AskError> {
        let lane = self.lane(returner)?;
        let stored = async {
            self.caught_up(&lane).await?;
            self.ask(&lane, async |instance| instance.get_load(jid).await).await
        };
        let Some(known) = self.lanes.loads.get(jid, lane.id()) else { return stored.await };
        let patience = if lane.status().failing.is_some() { Duration::ZERO } else { KNOWN };
        match tokio::time::timeout(patience, stored).await {
            Ok(Ok(stored)) => Ok(stored),
            Ok(Err(_)) | Err(_) => Ok(Some(known.to_string())),
        }
    }

    pub(crate) async fn returns(
        &self,
        returner: Option<&str>,
        jid: &str,
    ) -> Result<Vec<MinionReturn>, AskError> {
        let lane = self.ready(returner).await?;
        self.ask(&lane, async |instance| instance.get_jid(jid).await).await
    }

    /// The newest return of a function from each minion.
    pub(crate) async fn function(
        &self,
        returner: Option<&str>,
        fun: &str,
    ) -> Result<Vec<MinionReturn>, AskError> {
        let lane = self.ready(returner).await?;
        self.ask(&lane, async |instance| instance.get_fun(fun).await).await
    }

    /// The newest jobs, newest last.
    pub(crate) async fn jobs(
        &self,
        returner: Option<&str>,
        limit: Option<u32>,
    ) -> Result<Vec<Job>, AskError> {
        let lane = self.ready(returner).await?;
        self.ask(&lane, async |instance| instance.get_jids(limit).await).await
    }

    pub(crate) async fn minions(&self, returner: Option<&str>) -> Result<Vec<String>, AskError> {
        let lane = self.ready(returner).await?;
        self.ask(&lane, async |instance| instance.get_minions().await).await
    }

    /// Deletes what is older than a moment in milliseconds since 1970-01-01 UTC. A plugin
    /// may stop in between, so that no transaction grows without end: it is asked until
    /// nothing is left.
    pub(crate) async fn clean(&self, returner: Option<&str>, before: u64) -> Result<u64, AskError> {
        let lane = self.ready(returner).await?;
        let mut deleted: u64 = 0;
        // One that says each time that something went would be asked for ever.
        for _ in 0..MOST_PARTS {
            match self.ask(&lane, async |instance| instance.clean(before).await).await? {
                0 => break,
                some => deleted = deleted.saturating_add(some),
            }
        }
        Ok(deleted)
    }

    /// Asks the returner that the lane has now; it may have another before there is an answer.
    async fn ask<T>(
        &self,
        lane: &Lane,
        question: impl AsyncFnOnce(&mut Instance) -> Result<T, CallError>,
    ) -> Result<T, AskError> {
        let returner = lane.returner();
        returner.ask(question).await.map_err(|error| {
            if let CallError::Stopped(trap) = &error {
                self.lanes.crashes.note_question(&returner, "job-cache", trap);
            }
            AskError::Call { returner: lane.name().to_owned(), error }
        })
    }

    /// The lane to ask, once it has delivered what was accepted until now.
    async fn ready(&self, returner: Option<&str>) -> Result<Arc<Lane>, AskError> {
        let lane = self.lane(returner)?;
        self.caught_up(&lane).await?;
        Ok(lane)
    }

    fn lane(&self, returner: Option<&str>) -> Result<Arc<Lane>, AskError> {
        let settings = self.lanes.settings();
        let lane = match returner {
            Some(returner) => self.lanes.get(returner)?,
            None => self.lanes.get(self.lanes.job_cache(&settings))?,
        };
        match lane.returner().plugin.exports.contains(&Interface::JobCache) {
            true => Ok(lane),
            false => Err(AskError::NoJobCache { returner: lane.name().to_owned() }),
        }
    }

    /// How long a question waits for a lane to deliver.
    fn patience(&self, lane: &Lane) -> Duration {
        let barrier = self.lanes.settings().host.barrier;
        match lane.status().failing {
            Some(failing) if failing.lasted > BACK => barrier.min(BACK),
            _ => barrier,
        }
    }

    async fn caught_up(&self, lane: &Lane) -> Result<(), AskError> {
        let (head, patience) = (*self.journal.head().borrow(), self.patience(lane));
        let ready = async {
            // What it reads may not have been made before.
            lane.begun().await;
            lane.passed(head).await;
        };
        tokio::time::timeout(patience, ready).await.map_err(|_| {
            let why = match lane.status() {
                Status { last_error: Some(error), .. } => format!("; its last error: {}", error.message),
                Status { state: State::SettingUp, .. } => "; its `setup` has not ended".to_owned(),
                _ => String::new(),
            };
            AskError::Behind { returner: lane.name().to_owned(), waited: patience, why }
        })
    }
}
