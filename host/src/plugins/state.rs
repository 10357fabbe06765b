//! What the host keeps for one instance of a guest.

use std::cell::LazyCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::asked::Bench;
use super::capabilities::{HEADERS, LogBudget, Requests, sockets};
use super::limits::Usage;
use super::narrow::Narrowed;
use super::stderr::Stderr;
use super::trial::Notes;
use crate::config::{Limits, ReturnerSettings};
use crate::connections::{
    AnswerBounds, Connection, HttpBounds, HttpClient, Names, OpenError, Peers, Purpose, SqlTransaction,
};

/// How many of WASI's things (sockets, streams, requests, what it waits for) an instance may
/// hold at once: many of them are file descriptors of the host.
pub(super) const RESOURCES: usize = 1_000;

/// How many sockets of WASI's it may hold: the host needs file descriptors of its own, for what
/// comes in.
pub(super) const SOCKETS: usize = 64;

/// The most random bytes of one call: the host makes them while nothing else runs there.
const RANDOM: u64 = 64 << 10;

/// The most that a guest hands over in one call, in bytes, where nothing is granted that takes it:
/// the host copies it before it can ask what is granted.
const HANDED_OVER: u64 = 4 << 20;

/// What a returner is given: the whole of what its guest can reach.
pub(crate) struct Grants {
    /// The returner's name, under which its guest's log lines stand.
    pub(crate) returner: String,
    pub(crate) options: BTreeMap<String, String>,
    /// By the guest's name.
    pub(crate) connections: BTreeMap<String, Arc<Connection>>,
    /// What of them, by the same names; all where there is none.
    pub(crate) narrowed: BTreeMap<String, Arc<Narrowed>>,
    /// For the origins that are allowed; none where nothing is.
    pub(crate) http: Option<Arc<HttpClient>>,
    /// Those that are allowed; none where nothing is.
    pub(crate) peers: Option<Arc<Peers>>,
    pub(crate) log: LogBudget,
    pub(crate) limits: Limits,
    /// Nothing that is written stays: see [`trial`](super::trial).
    pub(crate) trial: bool,
    /// Where an author tries the plugin out, or a trial notes what it asks for.
    pub(crate) bench: Option<Arc<dyn Bench>>,
}

impl Grants {
    /// What its settings grant a returner, on connections that are open.
    ///
    /// # Errors
    /// There can be no client for HTTP.
    pub(crate) fn of(
        settings: &ReturnerSettings,
        connections: BTreeMap<String, Arc<Connection>>,
    ) -> Result<Self, OpenError> {
        let narrowed = settings.narrowed.iter().filter_map(|(guest, narrowing)| {
            let kind = connections.get(guest)?.kind();
            Some((guest.clone(), Arc::new(Narrowed::new(narrowing, kind))))
        });
        let names = LazyCell::new(Names::new);
        let client = || {
            let bounds = HttpBounds::of(&settings.limits);
            HttpClient::new(&settings.name, &settings.allow_http, &settings.http_headers, bounds, &names)
        };
        let http = (!settings.allow_http.is_empty()).then(client).transpose()?;
        let peers = || Arc::new(Peers::new(&settings.allow_connect, &names));
        Ok(Self {
            options: settings.options.clone(),
            narrowed: narrowed.collect(),
            connections,
            http: http.map(Arc::new),
            peers: (!settings.allow_connect.is_empty()).then(peers),
            log: LogBudget::new(settings.limits.log_lines),
            limits: settings.limits.clone(),
            ..Self::nothing(&settings.name)
        })
    }

    pub(crate) fn nothing(returner: &str) -> Self {
        Self {
            returner: returner.to_owned(),
            options: BTreeMap::new(),
            connections: BTreeMap::new(),
            narrowed: BTreeMap::new(),
            http: None,
            peers: None,
            log: LogBudget::new(Limits::default().log_lines),
            limits: Limits::default(),
            trial: false,
            bench: None,
        }
    }

    /// The same for a trial, which is noted and in silence.
    pub(crate) fn for_trial(&self, notes: Arc<Notes>) -> Self {
        Self {
            returner: self.returner.clone(),
            options: self.options.clone(),
            connections: self.connections.clone(),
            narrowed: self.narrowed.clone(),
            http: self.http.clone(),
            peers: self.peers.clone(),
            log: LogBudget::new(0),
            limits: self.limits.clone(),
            trial: true,
            bench: Some(notes),
        }
    }

    /// Whether a server is granted, which takes statements, commands or requests.
    pub(super) fn takes_statements(&self) -> bool {
        !self.connections.is_empty() || self.http.is_some() || self.peers.is_some()
    }

    /// The most that the guest may hand over in one call of the host, in bytes.
    pub(super) fn handed_over(&self) -> u64 {
        match self.takes_statements() {
            // What is a little too much reaches the capability, which names the limit.
            true => self.limits.statement.saturating_mul(2),
            false => HANDED_OVER.min(self.limits.statement),
        }
    }

    /// What one host call may answer.
    pub(super) fn answer(&self) -> AnswerBounds {
        AnswerBounds { bytes: self.limits.answer, rows: self.limits.rows }
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
    http: WasiHttpCtx,
    requests: Requests,
    table: ResourceTable,
    /// One of those that its returner may have at once; given back with the instance, also where
    /// nobody waits any more for what it does.
    pub(super) seat: Option<OwnedSemaphorePermit>,
}

impl GuestState {
    /// WASI with nothing behind it but the sockets and the HTTP that are granted: no files,
    /// arguments or environment; what the guest prints is kept for the report of a trap.
    pub(super) fn new(grants: Arc<Grants>) -> Self {
        let stderr = Stderr::default();
        let mut wasi = WasiCtx::builder();
        wasi.stdout(stderr.clone()).stderr(stderr.clone());
        wasi.max_random_size(RANDOM);
        sockets::allow(&mut wasi, &grants);
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(HEADERS);
        Self {
            usage: Usage::new(&grants.limits),
            http,
            requests: Requests::new(grants.http.clone(), grants.bench.clone()),
            grants,
            stderr,
            purpose: Purpose::Read,
            transactions: BTreeMap::new(),
            wasi: wasi.build(),
            table,
            seat: None,
        }
    }

    /// Whether the guest may be waiting for somebody by WASI: for a peer, which is not seen from
    /// here, or for the answer to a request.
    pub(super) fn waits_by_wasi(&self) -> bool {
        self.usage.is_idle() && (self.grants.peers.is_some() || self.requests.are_under_way())
    }

    /// Waits for the host's own work: the guest's processor time does not run.
    pub(super) async fn host_call<T>(&mut self, work: impl AsyncFnOnce(&mut Self) -> T) -> T {
        self.usage.host_call_begins();
        let result = work(self).await;
        self.usage.host_call_ends();
        result
    }
}

impl WasiHttpView for GuestState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.requests, table: &mut self.table, ctx: &mut self.http }
    }
}

impl WasiView for GuestState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}
