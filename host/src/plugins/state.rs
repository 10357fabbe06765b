//! What the host keeps for one instance of a guest.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::limits::Usage;
use super::narrow::Narrowed;
use super::stderr::Stderr;
use crate::config::Limits;
use crate::connections::{Connection, HttpClient, Purpose, SqlTransaction};

/// What a returner is given: the whole of what its guest can reach.
pub(crate) struct Grants {
    /// The returner's name, under which its guest's log lines stand.
    pub(crate) returner: String,
    pub(crate) options: BTreeMap<String, String>,
    /// By the guest's name.
    pub(crate) connections: BTreeMap<String, Arc<Connection>>,
    /// What of them, by the same names; all where there is none.
    pub(crate) narrowed: BTreeMap<String, Narrowed>,
    /// For the origins that are allowed; none where nothing is.
    pub(crate) http: Option<HttpClient>,
    pub(crate) limits: Limits,
}

impl Grants {
    pub(crate) fn nothing(returner: &str) -> Self {
        Self {
            returner: returner.to_owned(),
            options: BTreeMap::new(),
            connections: BTreeMap::new(),
            narrowed: BTreeMap::new(),
            http: None,
            limits: Limits::default(),
        }
    }
}

/// The state behind a guest's imports.
pub(crate) struct GuestState {
    pub(super) grants: Arc<Grants>,
    pub(super) usage: Usage,
    pub(super) stderr: Stderr,
    /// What the call that is under way is for.
    pub(super) purpose: Purpose,
    /// Transactions of the call that is under way, by the guest's name of the
    /// connection.
    pub(super) transactions: BTreeMap<String, SqlTransaction>,
    wasi: WasiCtx,
    table: ResourceTable,
}

impl GuestState {
    /// WASI with nothing behind it: no files, arguments, environment, sockets or name
    /// look-ups; what the guest prints is kept for the report of a trap.
    pub(super) fn new(grants: Arc<Grants>) -> Self {
        let stderr = Stderr::default();
        let mut wasi = WasiCtx::builder();
        wasi.stdout(stderr.clone()).stderr(stderr.clone());
        wasi.allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false);
        Self {
            usage: Usage::new(&grants.limits),
            grants,
            stderr,
            purpose: Purpose::Read,
            transactions: BTreeMap::new(),
            wasi: wasi.build(),
            table: ResourceTable::new(),
        }
    }

    /// Waits for the host's own work: the guest's processor time does not run.
    pub(super) async fn host_call<T>(&mut self, work: impl AsyncFnOnce(&mut Self) -> T) -> T {
        let begun = Instant::now();
        self.usage.in_host_call = true;
        let result = work(self).await;
        self.usage.in_host_call = false;
        self.usage.host_time += begun.elapsed();
        result
    }
}

impl WasiView for GuestState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}
