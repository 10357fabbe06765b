//! What a guest sends by TCP, told at a bench, which can cut the connection in the middle of it.
//!
//! Only there: a returner that stores what comes in has WASI's own streams.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::p2::bindings::sockets::network::{self, ErrorCode};
use wasmtime_wasi::p2::bindings::sockets::tcp::HostTcpSocket;
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, InputStream, OutputStream, Pollable, SocketResult, StreamError,
    StreamResult, TcpSocket,
};
use wasmtime_wasi::sockets::{WasiSocketsCtxView, WasiSocketsView};

use crate::plugins::asked::Asked;
use crate::plugins::state::{Grants, GuestState};

/// The interface, with the version that wasmtime has; the kit's own tests fail with another.
const TCP: &str = "wasi:sockets/tcp@0.2.12";

type Streams = (Resource<DynInputStream>, Resource<DynOutputStream>);

/// Puts the end of connecting, where a guest is given its streams, in the place of WASI's own.
pub(super) fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    linker.instance(TCP)?.func_wrap(
        "[method]tcp-socket.finish-connect",
        |mut store: StoreContextMut<'_, GuestState>, (socket,): (Resource<TcpSocket>,)| {
            let state = store.data_mut();
            let bench = state.grants.bench.is_some().then(|| Arc::clone(&state.grants));
            let mut sockets = state.sockets();
            Ok((match finish(&mut sockets, socket, bench) {
                Ok(streams) => Ok(streams),
                Err(error) => Err(network::Host::convert_error_code(&mut sockets, error)?),
            },))
        },
    )
}

/// `bench` are the grants of a guest at one.
fn finish(
    sockets: &mut WasiSocketsCtxView<'_>,
    socket: Resource<TcpSocket>,
    bench: Option<Arc<Grants>>,
) -> SocketResult<Streams> {
    let socket = || Resource::new_borrow(socket.rep());
    let (input, output) = sockets.finish_connect(socket())?;
    let Some(grants) = bench else { return Ok((input, output)) };
    let peer = SocketAddr::from(sockets.remote_address(socket())?);
    let is_cut = Arc::new(AtomicBool::new(false));
    let received = Half { stream: sockets.table.delete(input)?, is_cut: Arc::clone(&is_cut) };
    let sent = Sent { half: Half { stream: sockets.table.delete(output)?, is_cut }, grants, peer };
    let input = sockets.table.push_child(Box::new(received) as DynInputStream, &socket())?;
    let output = sockets.table.push_child(Box::new(sent) as DynOutputStream, &socket())?;
    Ok((input, output))
}

/// One direction of a connection. Both end when it is cut.
struct Half<S> {
    stream: S,
    is_cut: Arc<AtomicBool>,
}

impl<S> Half<S> {
    fn whole(&mut self) -> StreamResult<&mut S> {
        match self.is_cut.load(Ordering::Relaxed) {
            true => Err(StreamError::Closed),
            false => Ok(&mut self.stream),
        }
    }
}

#[async_trait]
impl<S: Pollable> Pollable for Half<S> {
    async fn ready(&mut self) {
        if let Ok(stream) = self.whole() {
            stream.ready().await;
        }
    }
}

#[async_trait]
impl InputStream for Half<DynInputStream> {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        self.whole()?.read(size)
    }

    async fn cancel(&mut self) {
        self.stream.cancel().await;
    }
}

struct Sent {
    half: Half<DynOutputStream>,
    grants: Arc<Grants>,
    peer: SocketAddr,
}

#[async_trait]
impl OutputStream for Sent {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let stream = self.half.whole()?;
        let asked = Asked::sent(format!("write to tcp://{}", self.peer), &bytes);
        if self.grants.lets_fail(&asked) {
            self.half.is_cut.store(true, Ordering::Relaxed);
            return Err(StreamError::LastOperationFailed(ErrorCode::ConnectionReset.into()));
        }
        self.grants.has_answered(&asked, "sent");
        stream.write(bytes)
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.half.whole()?.flush()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.half.whole()?.check_write()
    }

    async fn cancel(&mut self) {
        self.half.stream.cancel().await;
    }
}

#[async_trait]
impl Pollable for Sent {
    async fn ready(&mut self) {
        self.half.ready().await;
    }
}
