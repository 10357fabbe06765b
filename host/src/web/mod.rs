//! HTTP: taking items in, answering questions, and telling how the lanes are doing.
//!
//! One router serves the TCP and the Unix socket. Errors are
//! `application/problem+json` ([`problem`]). Nothing here decides anything: a handler
//! reads a request, asks a part of the host, and writes down the answer.

mod access;
mod answers;
mod configuration;
mod crashes;
mod dead_letters;
mod items;
mod jobs;
mod journal;
mod lanes;
mod listener;
mod metrics;
mod moments;
mod problem;
mod receiving;
mod returners;
mod salt_events;
mod seats;
mod serve;
mod stalled;
mod tls;
mod trial;
mod unix;
mod unread;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::StatusCode;
use axum::routing::{delete, get, post};
use axum::{Router, middleware};

use crate::config::Role;
use crate::delivery::{DeadLetters, Lanes};
use crate::intake::{Intake, SaltEvents};
use crate::job_cache::JobCache;
use crate::journal::Journal;
use crate::telemetry::Metrics;

use problem::Problem;

pub(crate) use access::{Access, Gate};
pub(crate) use configuration::{Order, Reloads, Reread};
pub(crate) use listener::{Listener, Port, Reserved, ServeError};
pub(crate) use problem::{PROBLEM, hinted};
pub(crate) use receiving::Receiving;
pub(crate) use serve::{Ends, serve};
pub(crate) use tls::ServerTlsError;
pub(crate) use unix::UnixSocket;

/// The parts of the host that handlers ask.
pub(crate) struct App {
    pub(crate) intake: Arc<Intake>,
    pub(crate) salt_events: Arc<SaltEvents>,
    pub(crate) job_cache: JobCache,
    pub(crate) dead_letters: DeadLetters,
    pub(crate) lanes: Arc<Lanes>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) configuration: Arc<Reloads>,
    pub(crate) receiving: Receiving,
    pub(crate) gate: Arc<Gate>,
}

pub(crate) fn router(app: Arc<App>) -> Router {
    let takes = Router::new()
        .route("/v1/returns", post(items::returns))
        .route("/v1/loads", post(items::loads))
        .route("/v1/events", post(items::events))
        .route("/v1/jobs/{jid}/minions", post(items::minions));
    let tells = Router::new()
        .route("/v1/jobs", get(jobs::jobs))
        .route("/v1/jobs/{jid}", get(jobs::load))
        .route("/v1/jobs/{jid}/returns", get(jobs::returns))
        .route("/v1/functions/{fun}/returns", get(jobs::function))
        .route("/v1/minions", get(jobs::minions))
        .route("/v1/returners", get(returners::list))
        .route("/v1/dead-letters", get(dead_letters::list))
        .route("/v1/dead-letters/{id}", get(dead_letters::show))
        .route("/v1/salt-events", get(salt_events::show))
        .route("/v1/crashes", get(crashes::list))
        .route("/v1/crashes/{id}", get(crashes::show))
        .route("/metrics", get(metrics::metrics));
    let purges = Router::new().route("/v1/jobs", delete(jobs::clean));
    let changes = Router::new()
        .route("/v1/dead-letters", delete(dead_letters::remove))
        .route("/v1/dead-letters/replay", post(dead_letters::replay))
        .route("/v1/lanes/{name}", delete(lanes::remove))
        .route("/v1/salt-events/gaps", delete(salt_events::filled))
        .route("/v1/reload", post(configuration::reload))
        .route("/v1/trials", post(trial::run));
    let of = |role, paths: Router<Arc<App>>| {
        paths.route_layer(middleware::from_fn_with_state((Arc::clone(&app), role), access::require))
    };
    of(Role::Write, takes)
        .merge(of(Role::Read, tells))
        .merge(of(Role::Master, purges))
        .merge(of(Role::Admin, changes))
        // Who watches over the host has no token.
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(journal::ready))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(middleware::map_response_with_state(answers::Answering::default(), answers::bound))
        .with_state(app)
}

/// How long ago an item was accepted, at a moment of the wall clock in milliseconds since
/// 1970-01-01 UTC.
fn age(accepted: u64) -> Duration {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    age_by([wall.as_millis() as u64, crate::journal::now()], accepted)
}

/// By the wall clock, and by one that runs as that did when the host started: where the wall clock
/// was set since, one of them is right for what came before, and the other for what came after.
/// The wrong one mostly says more, or that it is yet to come.
fn age_by(clocks: [u64; 2], accepted: u64) -> Duration {
    let ages = clocks.into_iter().filter_map(|now| now.checked_sub(accepted));
    Duration::from_millis(ages.min().unwrap_or_default())
}

async fn no_such_path(uri: axum::http::Uri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is nothing at `{}`", uri.path()))
        .hint("the paths are in the README, for example `/v1/returns` and `/v1/jobs`")
}

async fn no_such_method(method: axum::http::Method, uri: axum::http::Uri) -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("`{}` does not take {method}", uri.path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The wall clock was set a day on, or an hour back, since the host started.
    #[test]
    fn an_item_is_as_old_as_it_is_whatever_the_wall_clock_says() {
        const START: u64 = 1_771_061_412_000;
        const DAY: u64 = 86_400_000;
        const HOUR: u64 = 3_600_000;
        let age = |wall, accepted| age_by([wall, START + 5000], accepted).as_millis();
        assert_eq!(age(START + 5000, START), 5000);
        for wall in [START + 5000 + DAY, START + 5000 - HOUR] {
            assert_eq!(age(wall, START), 5000, "it came before");
            assert_eq!(age(wall, wall - 2000), 2000, "it came since");
        }
        assert_eq!(age(START, START + DAY), 0);
    }
}
