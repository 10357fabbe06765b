//! Lanes that single returns ask for, by Salt's `ret_config` and `ret_kwargs`.
//!
//! # Invariants
//! - There are at most [`MOST_VARIANTS`] of them at once: each has connections of its own.
//!   One that is idle makes room for another.
//! - What is remembered of what returns ask for is small, whatever they say: a digest of it, and of
//!   a lane what made it.
//! - One that was ended has nothing left to deliver, or is begun again
//!   ([`Lanes::resume_where_ended`]).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::build::{Connections, Open, make};
use super::lane::Lane;
use super::lanes::{Lanes, RouteError, Snapshot, close};
use crate::config::{Options, ReturnerSettings, Variant};
use crate::items::Route;

/// The most lanes that returns may ask for beyond the declared ones.
pub(super) const MOST_VARIANTS: usize = 64;

/// The most routes whose lane is remembered.
const MOST_ROUTES: usize = 4096;

/// How long nobody asked for a lane that is ended to make room.
const IDLE: Duration = Duration::from_secs(10);

/// How long the calls of a lane that is ended may take.
const TO_END: Duration = Duration::from_secs(5);

/// What a lane is made of that returns asked for: with it another version of the configuration
/// makes it again.
#[derive(Clone)]
pub(super) struct Asked {
    /// The declared returner.
    pub(super) base: String,
    pub(super) options: Options,
}

/// Which lanes returns led to, by a digest of what they asked for: its text may be long.
#[derive(Default)]
pub(super) struct Routes(HashMap<blake3::Hash, Arc<Lane>>);

impl Routes {
    fn key(name: &str, route: &Route) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        let Route { profile, overrides } = route;
        for part in [Some(name), profile.as_deref(), overrides.as_deref()] {
            // None is another than an empty one, and no two sequences of parts run together.
            hasher.update(&part.map_or(u64::MAX, |part| part.len() as u64).to_le_bytes());
            hasher.update(part.unwrap_or_default().as_bytes());
        }
        hasher.finalize()
    }

    fn note(&mut self, key: blake3::Hash, lane: &Arc<Lane>) {
        // Whoever comes again is looked up again.
        if self.0.len() >= MOST_ROUTES {
            self.0.clear();
        }
        self.0.insert(key, Arc::clone(lane));
    }

    fn forget(&mut self, lane: &Lane) {
        self.0.retain(|_, known| known.id() != lane.id());
    }
}

impl Lanes {
    /// The lane of a returner under a return's `ret_config` and `ret_kwargs`.
    pub(super) async fn variant(&self, name: &str, route: &Route) -> Result<Arc<Lane>, RouteError> {
        let plain = self.get(name);
        if *route == Route::default() || plain.is_err() {
            return plain;
        }
        let key = Routes::key(name, route);
        if let Some(lane) = self.snapshot.load().routes.read().0.get(&key) {
            lane.used();
            return Ok(Arc::clone(lane));
        }
        let _making = self.making.lock().await;
        let snapshot = self.snapshot.load_full();
        let variant = snapshot.variant(name, route)?;
        let known = snapshot.lanes.read().get(&variant.settings.name).cloned();
        let lane = match known {
            Some(lane) => {
                lane.used();
                lane
            }
            None => self.add_asked(&snapshot, variant).await?,
        };
        snapshot.routes.write().note(key, &lane);
        Ok(lane)
    }

    async fn add_asked(&self, snapshot: &Snapshot, variant: Variant) -> Result<Arc<Lane>, RouteError> {
        let asked = Asked { base: variant.base.clone(), options: variant.options.clone() };
        let lane = self.add(snapshot, variant).await?;
        snapshot.asked.write().insert(lane.name().to_owned(), asked);
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
        let variant = snapshot.variant(base, route)?;
        let settings = ReturnerSettings { name: name.to_owned(), ..variant.settings };
        self.add(&snapshot, Variant { settings, ..variant }).await.map(drop)
    }

    async fn add(&self, snapshot: &Snapshot, variant: Variant) -> Result<Arc<Lane>, RouteError> {
        let Variant { settings, connections, base, .. } = variant;
        let is_full = snapshot.lanes.read().len() >= snapshot.settings.returners.len() + MOST_VARIANTS;
        if is_full && !self.make_room(snapshot).await {
            self.wanting.store(true, Ordering::Relaxed);
            return Err(RouteError::TooMany);
        }
        let build = |error| RouteError::Build(Box::new(error));
        let Some(plugin) = snapshot.plugins.get(&base) else {
            let known = snapshot.plugins.keys().cloned().collect();
            return Err(RouteError::Unknown { name: base, known });
        };
        let mut opened = snapshot.connections.clone();
        let returner = make(&settings, Arc::clone(plugin), &connections, &mut opened, &Connections::new());
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
        snapshot.routes.write().forget(lane);
        snapshot.asked.write().remove(lane.name());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_told_apart_by_what_each_part_says() {
        let route = |profile: Option<&str>, overrides: Option<&str>| Route {
            profile: profile.map(Arc::from),
            overrides: overrides.map(Arc::from),
        };
        let long = "x".repeat(1 << 20);
        let routes = [
            ("mysql", route(None, None)),
            ("mysql", route(Some(""), None)),
            ("mysql", route(None, Some(""))),
            ("mysql", route(Some("a"), None)),
            ("mysql", route(None, Some("a"))),
            ("mysqla", route(Some(""), Some(""))),
            ("mysql", route(Some("a"), Some(""))),
            ("mysql", route(Some(""), Some("a"))),
            ("mysql", route(None, Some(&long))),
            ("redis", route(None, Some(&long))),
        ];
        let keys: std::collections::HashSet<_> =
            routes.iter().map(|(name, route)| Routes::key(name, route)).collect();
        assert_eq!(keys.len(), routes.len());
        assert_eq!(Routes::key("redis", &route(None, Some(&long))), Routes::key("redis", &routes[9].1));
    }
}
