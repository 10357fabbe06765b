//! Lanes that single returns ask for, by Salt's `ret_config` and `ret_kwargs`.
//!
//! # Invariants
//! - There are at most [`MOST_VARIANTS`] of them at once: each has connections of its own.
//!   One that is idle makes room for another.
//! - One that was ended has nothing left to deliver, or is begun again
//!   ([`Lanes::resume_where_ended`]).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::build::{Connections, Open, make};
use super::lane::Lane;
use super::lanes::{Lanes, RouteError, Snapshot, close};
use crate::config::{ConnectionSettings, ReturnerSettings, Variant};
use crate::items::Route;

/// The most lanes that returns may ask for beyond the declared ones.
pub(super) const MOST_VARIANTS: usize = 64;

/// How long nobody asked for a lane that is ended to make room.
const IDLE: Duration = Duration::from_secs(10);

/// How long the calls of a lane that is ended may take.
const TO_END: Duration = Duration::from_secs(5);

impl Lanes {
    /// The lane of a returner under a return's `ret_config` and `ret_kwargs`.
    pub(super) async fn variant(&self, name: &str, route: &Route) -> Result<Arc<Lane>, RouteError> {
        {
            let snapshot = self.snapshot.load();
            let plain = snapshot.get(name);
            if *route == Route::default() || plain.is_err() {
                return plain;
            }
            if let Some(lane) = snapshot.routes.read().get(&(name.to_owned(), route.clone())) {
                lane.used();
                return Ok(Arc::clone(lane));
            }
        }
        let _making = self.making.lock().await;
        let snapshot = self.snapshot.load_full();
        let variant = snapshot.variant(name, route)?;
        let known = snapshot.lanes.read().get(&variant.settings.name).cloned();
        let lane = match known {
            Some(lane) => lane,
            None => self.add(&snapshot, name, variant.settings, &variant.connections).await?,
        };
        if snapshot.routes.read().len() < MOST_VARIANTS * MOST_VARIANTS {
            snapshot.routes.write().insert((name.to_owned(), route.clone()), Arc::clone(&lane));
        }
        Ok(lane)
    }

    /// Begins a lane of this name again, which returns with such a route asked for; says whether
    /// there is a returner for it.
    pub(super) async fn begin_variant(&self, name: &str, route: &Route) -> bool {
        // A returner may be a profile, and it may have been asked for by `ret_config`.
        let plain = name.split('{').next().unwrap_or(name);
        let bundled = plain.rsplit('.').next().unwrap_or(plain);
        let snapshot = self.snapshot.load_full();
        for base in [plain, bundled] {
            let Ok(variant) = snapshot.variant(base, route) else { continue };
            if variant.settings.name == name {
                let lane = self.variant(base, route).await;
                return lane.is_ok_and(|lane| lane.name() == name);
            }
            if variant.settings.name == plain && route.overrides.is_some() {
                return self.add_former(name, base, route).await.is_ok();
            }
        }
        false
    }

    /// A lane whose returns asked for what the configuration itself has now: their returner is
    /// the plain one, and what is left of the lane is delivered under its old name.
    async fn add_former(&self, name: &str, base: &str, route: &Route) -> Result<(), RouteError> {
        let _making = self.making.lock().await;
        let snapshot = self.snapshot.load_full();
        if snapshot.get(name).is_ok() {
            return Ok(());
        }
        let Variant { settings, connections } = snapshot.variant(base, route)?;
        let settings = ReturnerSettings { name: name.to_owned(), ..settings };
        self.add(&snapshot, base, settings, &connections).await.map(drop)
    }

    async fn add(
        &self,
        snapshot: &Snapshot,
        base: &str,
        settings: ReturnerSettings,
        connections: &BTreeMap<String, ConnectionSettings>,
    ) -> Result<Arc<Lane>, RouteError> {
        let is_full = snapshot.lanes.read().len() >= snapshot.settings.returners.len() + MOST_VARIANTS;
        if is_full && !self.make_room(snapshot).await {
            self.wanting.store(true, Ordering::Relaxed);
            return Err(RouteError::TooMany);
        }
        let build = |error| RouteError::Build(Box::new(error));
        let Some(plugin) = snapshot.plugins.get(base) else {
            return Err(RouteError::Unknown {
                name: base.to_owned(),
                known: snapshot.plugins.keys().cloned().collect(),
            });
        };
        let mut opened = snapshot.connections.clone();
        let returner = make(&settings, Arc::clone(plugin), connections, &mut opened, &Connections::new());
        let returner = returner.map_err(build)?;
        let lane = self.begin(Arc::new(returner)).await.map_err(|error| build(error.into()))?;
        snapshot.lanes.write().insert(settings.name, Arc::clone(&lane));
        Ok(lane)
    }

    /// Ends the lane that nobody has asked for the longest, if there is an idle one.
    async fn make_room(&self, snapshot: &Snapshot) -> bool {
        let is_idle = |lane: &&Arc<Lane>| {
            let declared = snapshot.settings.returners.contains_key(lane.name());
            !declared && lane.unused_for() >= IDLE && self.journal.depth(lane.id()) == 0
        };
        let idle =
            snapshot.lanes.read().values().filter(is_idle).max_by_key(|lane| lane.unused_for()).cloned();
        let Some(lane) = idle else { return false };
        self.end_variant(snapshot, &lane).await;
        true
    }

    /// Ends a lane that no returner of the configuration has.
    pub(super) async fn end_variant(&self, snapshot: &Snapshot, lane: &Arc<Lane>) {
        snapshot.routes.write().retain(|_, known| known.id() != lane.id());
        snapshot.lanes.write().remove(lane.name());
        self.end(std::slice::from_ref(lane), TO_END).await;
        self.metrics.forget_lane(lane.name());
        let returner = lane.returner();
        let is_own = |open: &&Open| !snapshot.connections.values().any(|declared| declared.is_same(open));
        close(returner.open.values().filter(is_own).map(|open| &open.connection)).await;
    }

    /// Begins, as others have nothing to do any more, the lanes that there was no place for.
    /// Without an end.
    pub(crate) async fn begin_wanting(&self) {
        loop {
            tokio::time::sleep(IDLE).await;
            if self.wanting.load(Ordering::Relaxed)
                && let Err(error) = self.resume().await
            {
                tracing::warn!(%error, "what waits for a lane was not looked for");
                self.wanting.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Items may have been taken in for a lane while it was ended: it is begun again.
    pub(crate) async fn resume_where_ended(&self, lanes: &[Arc<Lane>]) {
        let ended = lanes.iter().any(|lane| self.get(lane.name()).is_err());
        if ended && let Err(error) = self.resume().await {
            tracing::warn!(%error, "items that were taken in for a lane that ended wait for the next reload");
        }
    }
}
