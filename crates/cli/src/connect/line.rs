//! The line to a server over TCP: plain or TLS, agreed on as PostgreSQL does it, and with an end to all waiting until the session is open.
//!
//! The client library can negotiate TLS too, but knows neither `allow` nor certificates that only have to be right when there is a file to
//! compare with, and waits without end for a server that accepts a connection and says nothing. So it is told that TLS begins at once, which
//! hands the bare socket to this module.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use postgres::Socket;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::Sleep;

use super::guard::Guard;
use super::reason::Trouble;
use super::tls::Tls;
use crate::conninfo::Methods;

/// What a client says to ask for TLS: length and code.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// What the line should be.
#[derive(Clone)]
pub enum Wish {
    /// In plain.
    Plain,
    /// Encrypted.
    Tls {
        /// Whom to trust and what to show.
        tls: Tls,
        /// TLS begins without asking (`sslnegotiation=direct`).
        direct: bool,
        /// A server that has no TLS is spoken to in plain.
        or_plain: bool,
    },
}

/// Makes lines, for the client library.
#[derive(Clone)]
pub struct Connector {
    wish: Wish,
    /// When the session has to be open.
    pub deadline: Option<Instant>,
    open: Arc<AtomicBool>,
    methods: Option<Methods>,
}

impl Connector {
    /// A connector without a deadline, to a server that may authenticate by these methods.
    pub fn new(wish: Wish, methods: Option<Methods>) -> Connector {
        Connector { wish, deadline: None, open: Arc::default(), methods }
    }

    /// The session is open: from now on it may take the time it takes.
    pub fn opened(&self) {
        self.open.store(true, Ordering::Release);
    }

    async fn negotiate(&self, mut socket: Socket) -> Result<Inner, Trouble> {
        let Wish::Tls { tls, direct, or_plain } = &self.wish else { return Ok(Inner::Plain(socket)) };
        if !direct {
            socket.write_all(&SSL_REQUEST).await.map_err(Trouble::Io)?;
            let mut answer = [0];
            socket.read_exact(&mut answer).await.map_err(Trouble::Io)?;
            match &answer {
                b"S" => {}
                b"N" if *or_plain => return Ok(Inner::Plain(socket)),
                b"N" => return Err(Trouble::NoTls),
                b"E" => return Err(Trouble::Odd("the server answered the request for TLS with an error")),
                _ => return Err(Trouble::Odd("what answers there is no PostgreSQL server")),
            }
        }
        tls.handshake(socket).await.map(|stream| Inner::Tls(Box::new(stream)))
    }
}

impl MakeTlsConnect<Socket> for Connector {
    type Stream = Line;
    type TlsConnect = Connector;
    type Error = io::Error;

    fn make_tls_connect(&mut self, _: &str) -> Result<Connector, io::Error> {
        Ok(self.clone())
    }
}

impl TlsConnect<Socket> for Connector {
    type Stream = Line;
    type Error = Trouble;
    type Future = Pin<Box<dyn Future<Output = Result<Line, Trouble>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(async move {
            let deadline = self.deadline.map(tokio::time::Instant::from_std);
            let inner = match deadline {
                None => self.negotiate(socket).await?,
                Some(at) => {
                    tokio::time::timeout_at(at, self.negotiate(socket)).await.map_err(|_| Trouble::TimedOut)??
                }
            };
            let limit = deadline.map(|at| Box::pin(tokio::time::sleep_until(at)));
            Ok(Line { inner, limit, open: self.open, guard: self.methods.map(Guard::new) })
        })
    }
}

enum Inner {
    Plain(Socket),
    Tls(Box<postgres_openssl::TlsStream<Socket>>),
}

/// A line to a server.
pub struct Line {
    inner: Inner,
    limit: Option<Pin<Box<Sleep>>>,
    open: Arc<AtomicBool>,
    guard: Option<Guard>,
}

impl AsyncRead for Line {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let line = &mut *self;
        if line.open.load(Ordering::Acquire) {
            line.limit = None;
        }
        let before = buf.filled().len();
        let read = match &mut line.inner {
            Inner::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Inner::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        if let Some(guard) = line.guard.take() {
            line.guard = guard.watch(buf.filled().get(before..).unwrap_or_default()).map_err(io::Error::other)?;
        }
        match (read, &mut line.limit) {
            (Poll::Pending, Some(limit)) => match limit.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                Poll::Pending => Poll::Pending,
            },
            (read, _) => read,
        }
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.inner {
            Inner::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Inner::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Inner::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Inner::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl TlsStream for Line {
    fn channel_binding(&self) -> ChannelBinding {
        match &self.inner {
            Inner::Plain(_) => ChannelBinding::none(),
            Inner::Tls(stream) => stream.channel_binding(),
        }
    }
}
