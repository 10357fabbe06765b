//! `wasi:sockets`: to the peers that the configuration allows.
//!
//! WASI's own implementation asks [`check`] about each address; names are looked up here,
//! because it would look up any.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use wasmtime::component::{HasData, Linker, Resource};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::p2::bindings::sockets::ip_name_lookup::{
    self, Host, HostResolveAddressStream, ResolveAddressStream,
};
use wasmtime_wasi::p2::bindings::sockets::network::{self, ErrorCode, IpAddress, Network};
use wasmtime_wasi::p2::{DynPollable, SocketError};
use wasmtime_wasi::sockets::{SocketAddrUse, WasiSocketsCtxView, WasiSocketsView};

use crate::connections::{Peers, Protocol};
use crate::plugins::state::GuestState;

/// What sockets may do; nothing without peers.
pub(in crate::plugins) fn allow(wasi: &mut WasiCtxBuilder, peers: Option<&Arc<Peers>>) {
    let uses = |protocol| peers.is_some_and(|peers| peers.uses(protocol));
    wasi.allow_tcp(uses(Protocol::Tcp)).allow_udp(uses(Protocol::Udp));
    wasi.allow_ip_name_lookup(peers.is_some());
    if let Some(peers) = peers {
        let peers = Arc::clone(peers);
        wasi.socket_addr_check(move |address, wanted| check(Arc::clone(&peers), address, wanted));
    }
}

type Checked = Pin<Box<dyn Future<Output = bool> + Send + Sync>>;

/// To and from peers only; nobody listens, and no port is chosen.
fn check(peers: Arc<Peers>, address: SocketAddr, wanted: SocketAddrUse) -> Checked {
    let protocol = match wanted {
        SocketAddrUse::TcpConnect => Protocol::Tcp,
        SocketAddrUse::UdpSend | SocketAddrUse::UdpReceive => Protocol::Udp,
        SocketAddrUse::TcpBind | SocketAddrUse::UdpBind => {
            return Box::pin(std::future::ready(address.port() == 0));
        }
        _ => return Box::pin(std::future::ready(false)),
    };
    Box::pin(async move { peers.allow(protocol, address).await })
}

/// Puts the look-up of names in the place of WASI's own.
pub(in crate::plugins) fn link_look_ups(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    ip_name_lookup::add_to_linker::<_, LookUps>(linker, |state| {
        let peers = state.grants.peers.clone();
        View { peers, sockets: state.sockets() }
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

struct LookUps;

impl HasData for LookUps {
    type Data<'a> = View<'a>;
}

struct View<'a> {
    peers: Option<Arc<Peers>>,
    sockets: WasiSocketsCtxView<'a>,
}

/// What the look-up of names needs of its errors.
impl network::Host for View<'_> {
    fn convert_error_code(&mut self, error: SocketError) -> wasmtime::Result<ErrorCode> {
        self.sockets.convert_error_code(error)
    }

    fn network_error_code(
        &mut self,
        error: Resource<wasmtime::Error>,
    ) -> wasmtime::Result<Option<ErrorCode>> {
        self.sockets.network_error_code(error)
    }
}

impl network::HostNetwork for View<'_> {
    fn drop(&mut self, network: Resource<Network>) -> wasmtime::Result<()> {
        network::HostNetwork::drop(&mut self.sockets, network)
    }
}

impl Host for View<'_> {
    fn resolve_addresses(
        &mut self,
        network: Resource<Network>,
        name: String,
    ) -> Result<Resource<ResolveAddressStream>, SocketError> {
        if !self.peers.as_ref().is_some_and(|peers| peers.names(&name)) {
            return Err(ErrorCode::AccessDenied.into());
        }
        self.sockets.resolve_addresses(network, name)
    }
}

impl HostResolveAddressStream for View<'_> {
    fn resolve_next_address(
        &mut self,
        stream: Resource<ResolveAddressStream>,
    ) -> Result<Option<IpAddress>, SocketError> {
        self.sockets.resolve_next_address(stream)
    }

    fn subscribe(
        &mut self,
        stream: Resource<ResolveAddressStream>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        self.sockets.subscribe(stream)
    }

    fn drop(&mut self, stream: Resource<ResolveAddressStream>) -> wasmtime::Result<()> {
        HostResolveAddressStream::drop(&mut self.sockets, stream)
    }
}
