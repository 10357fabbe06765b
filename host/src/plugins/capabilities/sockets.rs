//! `wasi:sockets`: to the peers that the configuration allows.
//!
//! WASI's own implementation asks [`check`] about each address; names are looked up here,
//! because it would look up any, on threads that the host needs.

use std::any::Any;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use wasmtime::component::{HasData, Linker, Resource};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::p2::bindings::sockets::ip_name_lookup::{
    self, HostResolveAddressStream, ResolveAddressStream,
};
use wasmtime_wasi::p2::bindings::sockets::network::{self, ErrorCode, IpAddress, IpAddressFamily, Network};
use wasmtime_wasi::p2::bindings::sockets::{tcp_create_socket, udp_create_socket};
use wasmtime_wasi::p2::{DynPollable, Pollable, SocketError, SocketResult, TcpSocket, UdpSocket, subscribe};
use wasmtime_wasi::sockets::{SocketAddrUse, WasiSocketsCtxView, WasiSocketsView};

use super::sent;
use crate::connections::Protocol;
use crate::plugins::asked::Asked;
use crate::plugins::state::{Grants, GuestState, SOCKETS};
use crate::plugins::words;

/// What sockets may do. Without peers there are none: each is a file descriptor of the host.
pub(in crate::plugins) fn allow(wasi: &mut WasiCtxBuilder, grants: &Arc<Grants>) {
    wasi.allow_tcp(grants.uses(Protocol::Tcp)).allow_udp(grants.uses(Protocol::Udp));
    wasi.allow_ip_name_lookup(grants.peers.is_some());
    let grants = Arc::clone(grants);
    wasi.socket_addr_check(move |address, wanted| check(Arc::clone(&grants), address, wanted));
}

type Checked = Pin<Box<dyn Future<Output = bool> + Send + Sync>>;

/// To and from peers only; nobody listens, and no port is chosen. What is refused is said
/// here, because a guest is told no more than that it may not.
fn check(grants: Arc<Grants>, address: SocketAddr, wanted: SocketAddrUse) -> Checked {
    let (act, protocol) = match wanted {
        SocketAddrUse::TcpConnect => ("connect to", Protocol::Tcp),
        SocketAddrUse::UdpSend => ("send to", Protocol::Udp),
        SocketAddrUse::UdpReceive => ("hear from", Protocol::Udp),
        SocketAddrUse::TcpBind | SocketAddrUse::UdpBind if address.port() == 0 => {
            return Box::pin(std::future::ready(true));
        }
        _ => {
            grants.asked_to("be reached at", &address.to_string(), Some("no plugin may".to_owned()));
            return Box::pin(std::future::ready(false));
        }
    };
    Box::pin(async move {
        let allowed = match &grants.peers {
            Some(peers) => peers.allow(protocol, address).await,
            None => false,
        };
        let address = format!("{protocol}://{address}");
        let goes_out = !matches!(wanted, SocketAddrUse::UdpReceive);
        if allowed && goes_out && grants.lets_fail(&Asked::by_socket(format!("{act} {address}"))) {
            return false;
        }
        let missing = (!allowed).then(|| grants.not_listed());
        grants.asked_to(act, &address, missing);
        allowed
    })
}

impl Grants {
    fn uses(&self, protocol: Protocol) -> bool {
        self.peers.as_ref().is_some_and(|peers| peers.uses(protocol))
    }

    fn not_listed(&self) -> String {
        format!("it is not in `{}.allow_connect`", self.returner)
    }

    /// A guest wants a socket, and does not say for whom.
    fn asked_for_socket(&self, protocol: Protocol) {
        if !self.uses(protocol) {
            let missing = format!("`{}.allow_connect` names no such peer", self.returner);
            self.asked_to("use", &format!("{protocol}://"), Some(missing));
        }
    }

    /// Whether a bench lets this fail.
    pub(super) fn lets_fail(&self, asked: &Asked) -> bool {
        let Some(bench) = &self.bench else { return false };
        let fault = bench.fault(asked);
        if let Some(fault) = fault {
            bench.answered(asked, fault.message());
        }
        fault.is_some()
    }

    pub(super) fn has_answered(&self, asked: &Asked, answer: &str) {
        if let Some(bench) = &self.bench {
            bench.answered(asked, answer);
        }
    }

    /// A guest wants something of an address or a name; `missing` is why it may not.
    fn asked_to(&self, act: &str, address: &str, missing: Option<String>) {
        let answer = missing.as_deref().unwrap_or("allowed");
        self.has_answered(&Asked::by_socket(format!("{act} {address}")), answer);
        if let Some(missing) = missing {
            self.log.warn(&self.returner, format!("its plugin wants to {act} `{address}`: {missing}"));
        }
    }
}

/// Puts the look-up of names, and what tells of sockets, in the place of WASI's own.
pub(in crate::plugins) fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    fn view(state: &mut GuestState) -> View<'_> {
        let grants = Arc::clone(&state.grants);
        View { grants, sockets: state.sockets() }
    }
    linker.allow_shadowing(true);
    ip_name_lookup::add_to_linker::<_, Sockets>(linker, view)?;
    tcp_create_socket::add_to_linker::<_, Sockets>(linker, view)?;
    udp_create_socket::add_to_linker::<_, Sockets>(linker, view)?;
    sent::link(linker)?;
    linker.allow_shadowing(false);
    Ok(())
}

struct Sockets;

impl HasData for Sockets {
    type Data<'a> = View<'a>;
}

struct View<'a> {
    grants: Arc<Grants>,
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

impl View<'_> {
    /// Whether the guest may have another socket.
    fn has_room(&mut self) -> SocketResult<()> {
        let is_socket = |entry: &&mut (dyn Any + Send)| entry.is::<TcpSocket>() || entry.is::<UdpSocket>();
        match self.sockets.table.iter_mut().filter(is_socket).count() {
            ..SOCKETS => Ok(()),
            _ => Err(ErrorCode::NewSocketLimit.into()),
        }
    }
}

impl tcp_create_socket::Host for View<'_> {
    fn create_tcp_socket(&mut self, family: IpAddressFamily) -> SocketResult<Resource<TcpSocket>> {
        self.grants.asked_for_socket(Protocol::Tcp);
        self.has_room()?;
        tcp_create_socket::Host::create_tcp_socket(&mut self.sockets, family)
    }
}

impl udp_create_socket::Host for View<'_> {
    async fn create_udp_socket(&mut self, family: IpAddressFamily) -> SocketResult<Resource<UdpSocket>> {
        self.grants.asked_for_socket(Protocol::Udp);
        self.has_room()?;
        udp_create_socket::Host::create_udp_socket(&mut self.sockets, family).await
    }
}

type Answer = dyn Future<Output = io::Result<Arc<[IpAddr]>>> + Send + Sync;

/// A look-up under way, or what is left to be read of it. WASI's bindings have a type of their own
/// for it, which nobody else can make: the guest's handle says that it is one, and only what
/// follows here reads it.
struct LookUp {
    answer: Pin<Box<Answer>>,
    found: Option<Result<std::vec::IntoIter<IpAddr>, ErrorCode>>,
}

impl LookUp {
    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<&mut Result<std::vec::IntoIter<IpAddr>, ErrorCode>> {
        if self.found.is_none() {
            let Poll::Ready(answer) = self.answer.as_mut().poll(context) else { return Poll::Pending };
            self.found = Some(match answer {
                Ok(found) => Ok(found.iter().map(IpAddr::to_canonical).collect::<Vec<_>>().into_iter()),
                Err(_) => Err(ErrorCode::NameUnresolvable),
            });
        }
        match &mut self.found {
            Some(found) => Poll::Ready(found),
            None => Poll::Pending,
        }
    }
}

#[async_trait::async_trait]
impl Pollable for LookUp {
    async fn ready(&mut self) {
        std::future::poll_fn(|context| self.poll(context).map(drop)).await
    }
}

/// The same handle, as that of what it is.
fn look_up(stream: &Resource<ResolveAddressStream>) -> Resource<LookUp> {
    match stream.owned() {
        true => Resource::new_own(stream.rep()),
        false => Resource::new_borrow(stream.rep()),
    }
}

impl ip_name_lookup::Host for View<'_> {
    fn resolve_addresses(
        &mut self,
        network: Resource<Network>,
        name: String,
    ) -> Result<Resource<ResolveAddressStream>, SocketError> {
        self.sockets.table.get(&network)?;
        let Some(peers) = self.grants.peers.as_ref().filter(|peers| peers.names(&name)) else {
            self.grants.asked_to("look up", &words::line(&name), Some(self.grants.not_listed()));
            return Err(ErrorCode::AccessDenied.into());
        };
        let look_up = LookUp { answer: Box::pin(peers.look_up(&name)), found: None };
        let stream = self.sockets.table.push(look_up)?;
        Ok(Resource::new_own(stream.rep()))
    }
}

impl HostResolveAddressStream for View<'_> {
    fn resolve_next_address(
        &mut self,
        stream: Resource<ResolveAddressStream>,
    ) -> Result<Option<IpAddress>, SocketError> {
        let look_up: &mut LookUp = self.sockets.table.get_mut(&look_up(&stream))?;
        match look_up.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => Err(ErrorCode::WouldBlock.into()),
            Poll::Ready(Ok(found)) => Ok(found.next().map(IpAddress::from)),
            Poll::Ready(Err(error)) => Err((*error).into()),
        }
    }

    fn subscribe(
        &mut self,
        stream: Resource<ResolveAddressStream>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.sockets.table, look_up(&stream))
    }

    fn drop(&mut self, stream: Resource<ResolveAddressStream>) -> wasmtime::Result<()> {
        self.sockets.table.delete(look_up(&stream))?;
        Ok(())
    }
}
