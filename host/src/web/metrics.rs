//! `GET /metrics`, in Prometheus' text format.
//!
//! What happened since the start is in [`Metrics`]; what is so at this moment is read
//! from the lanes and the journal here, at each scrape, without a scan of anything.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{App, age, journal};
use crate::delivery::{self, Backlog};
use crate::telemetry::{LaneLabels, Metrics};

pub(super) async fn metrics(State(app): State<Arc<App>>) -> impl IntoResponse {
    let moment = Moment::new();
    for lane in app.lanes.all() {
        moment.show(lane.name(), &lane.backlog().await);
    }
    match app.lanes.orphans().await {
        Ok(orphans) => orphans.iter().for_each(|orphan| {
            set(&moment.depth, &orphan.name, orphan.depth);
            set(&moment.dead, &orphan.name, orphan.dead);
        }),
        Err(error) => tracing::warn!(%error, "which lanes have no returner is not known"),
    }
    moment.configuration.set(app.configuration.look().error.is_none().into());
    moment.taking_in.set(journal::refusal(&app.journal).await.is_none().into());
    ([(CONTENT_TYPE, Metrics::CONTENT_TYPE)], app.metrics.text(&moment.registry))
}

type ByLane<G> = Family<LaneLabels, G>;
type Seconds = Gauge<f64, AtomicU64>;

/// What is so when it is read.
struct Moment {
    registry: Registry,
    depth: ByLane<Gauge>,
    held: ByLane<Gauge>,
    dead: ByLane<Gauge>,
    oldest: ByLane<Seconds>,
    failing: ByLane<Seconds>,
    state: Family<StateLabels, Gauge>,
    taking_in: Gauge,
    configuration: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    returner: Arc<str>,
    state: &'static str,
}

impl Moment {
    fn new() -> Self {
        let mut moment = Self {
            registry: Registry::default(),
            depth: Family::default(),
            held: Family::default(),
            dead: Family::default(),
            oldest: Family::default(),
            failing: Family::default(),
            state: Family::default(),
            taking_in: Gauge::default(),
            configuration: Gauge::default(),
        };
        let registry = &mut moment.registry;
        registry.register(
            "returner_lane_depth",
            "Items that were acknowledged and that the returner has not stored yet",
            moment.depth.clone(),
        );
        registry.register(
            "returner_lane_held",
            "Those of them that the returner refused for now and that wait to be tried again, each on its own",
            moment.held.clone(),
        );
        registry.register(
            "returner_lane_oldest_age_seconds",
            "How long ago the oldest item was acknowledged that is not stored yet; 0 where there is none",
            moment.oldest.clone(),
        );
        registry.register(
            "returner_lane_failing_seconds",
            "How long the returner has been failing without a success in between; 0 where the last try went well",
            moment.failing.clone(),
        );
        registry.register(
            "returner_lane_dead_letters",
            "Items that the returner rejected for good and that are kept with the reason",
            moment.dead.clone(),
        );
        registry.register(
            "returner_lane_state",
            "1 for the state that the returner is in, 0 for the others",
            moment.state.clone(),
        );
        registry.register(
            "returner_journal_taking_in",
            "1 while items are taken in, 0 while all are refused: the journal is full, or cannot be written",
            moment.taking_in.clone(),
        );
        registry.register(
            "returner_configuration_good",
            "1 if the last reload took the configuration, or found it as it was; 0 if it was refused and an earlier one \
             runs",
            moment.configuration.clone(),
        );
        moment
    }

    fn show(&self, returner: &str, backlog: &Backlog) {
        let status = &backlog.status;
        set(&self.depth, returner, backlog.depth);
        set(&self.held, returner, status.held.as_ref().map_or(0, |held| held.count as u64));
        set(&self.dead, returner, status.dead);
        let labels = LaneLabels { returner: returner.into() };
        let oldest = backlog.oldest.map(age);
        self.oldest.get_or_create(&labels).set(oldest.unwrap_or_default().as_secs_f64());
        let failing = status.failing.as_ref().map(|failing| failing.lasted);
        self.failing.get_or_create(&labels).set(failing.unwrap_or_default().as_secs_f64());
        for state in delivery::State::ALL {
            let labels = StateLabels { returner: Arc::clone(&labels.returner), state: state.name() };
            self.state.get_or_create(&labels).set((state == status.state).into());
        }
    }
}

fn set(gauges: &ByLane<Gauge>, returner: &str, value: u64) {
    let labels = LaneLabels { returner: returner.into() };
    gauges.get_or_create(&labels).set(value.try_into().unwrap_or(i64::MAX));
}
