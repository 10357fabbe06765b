//! Where the items of one request go.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::delivery::{Lane, Lanes, RouteError};
use crate::items::{self, Item, Route};
use crate::journal::LaneId;

/// Items with the same route share the answer.
pub(super) struct Router<'a> {
    lanes: &'a Lanes,
    named: Option<&'a [String]>,
    known: HashMap<Route, Arc<[LaneId]>>,
    used: Vec<Arc<Lane>>,
    /// Once it was looked for.
    of_loads: Option<Option<Arc<[LaneId]>>>,
}

impl<'a> Router<'a> {
    pub(super) fn new(lanes: &'a Lanes, named: Option<&'a [String]>) -> Self {
        Self { lanes, named, known: HashMap::new(), used: Vec::new(), of_loads: None }
    }

    /// The lanes that got any of them.
    pub(super) fn into_used(self) -> Vec<Arc<Lane>> {
        self.used
    }

    pub(super) async fn route(&mut self, item: &Item) -> Result<Arc<[LaneId]>, RouteError> {
        let plain = Route::default();
        let route = match item {
            Item::Return(item) => &item.route,
            _ => &plain,
        };
        if let Some(known) = self.known.get(route) {
            return Ok(Arc::clone(known));
        }
        let lanes = self.lanes.route(item, self.named).await?;
        let ids: BTreeSet<LaneId> = lanes.iter().map(|lane| lane.id()).collect();
        for lane in lanes {
            if !self.used.iter().any(|known| known.id() == lane.id()) {
                self.used.push(lane);
            }
        }
        let ids: Arc<[LaneId]> = ids.into_iter().collect();
        self.known.insert(route.clone(), Arc::clone(&ids));
        Ok(ids)
    }

    /// Where a return goes as the load of its job: Salt's own returners save one for a return whose
    /// job id they made. None where no returner stores loads. It is the same for all of a request.
    pub(super) async fn lanes_of_loads(&mut self, load: &items::Load) -> Option<Arc<[LaneId]>> {
        if let Some(known) = &self.of_loads {
            return known.clone();
        }
        let item = Item::Load(load.clone());
        let mut lanes = Vec::new();
        match self.named {
            None => lanes.extend(self.lanes.route(&item, None).await.into_iter().flatten()),
            // One that stores no loads is no hindrance to the others.
            Some(names) => {
                for name in names {
                    let one = self.lanes.route(&item, Some(std::slice::from_ref(name))).await;
                    lanes.extend(one.into_iter().flatten());
                }
            }
        }
        let ids: BTreeSet<LaneId> = lanes.iter().map(|lane| lane.id()).collect();
        let found = (!ids.is_empty()).then(|| ids.into_iter().collect());
        self.of_loads.insert(found).clone()
    }
}
