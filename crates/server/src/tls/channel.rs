//! The octets of a connection, in the clear or inside TLS.
//!
//! TLS is rustls' state machine, fed with slices of what the socket gave and asked for slices to write: no second event loop, no copy but
//! rustls' own. A connection in the clear pays one comparison.

use std::io::{self, Read as _, Write as _};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use mx6_runtime::Stream;
use rustls::pki_types::CertificateDer;
use rustls::{ProtocolVersion, ServerConfig, ServerConnection};

/// One connection's octets.
pub(crate) struct Channel {
    stream: Stream,
    /// Boxed: most connections have none, and every one would be as large.
    tls: Option<Box<ServerConnection>>,
}

impl Channel {
    /// A connection in the clear.
    pub(crate) fn plain(stream: Stream) -> Channel {
        Channel { stream, tls: None }
    }

    /// The server's part of a handshake. Octets that were read before are the caller's to throw away (RFC 3207 §4.2).
    ///
    /// # Errors
    /// The network's, or the handshake's, whose alert was sent: the connection is of no more use.
    pub(crate) async fn handshake(&mut self, config: Arc<ServerConfig>) -> io::Result<()> {
        let mut connection = Box::new(ServerConnection::new(config).map_err(io::Error::other)?);
        connection.set_buffer_limit(None);
        let mut buffer = [0; HANDSHAKE_BUFFER_OCTETS];
        while connection.is_handshaking() {
            let octets = self.stream.read(&mut buffer).await?;
            if octets == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let taken = take(&mut connection, &buffer[..octets]);
            write_waiting(&mut self.stream, &mut connection).await?;
            taken?;
        }
        self.tls = Some(connection);
        Ok(())
    }

    /// What the handshake agreed on; none in the clear.
    pub(crate) fn agreed(&self) -> Option<Agreed<'_>> {
        let tls = self.tls.as_ref()?;
        let suite = tls.negotiated_cipher_suite()?.suite().as_str()?;
        Some(Agreed {
            version: match tls.protocol_version()? {
                ProtocolVersion::TLSv1_3 => "TLSv1.3",
                _ => "TLSv1.2",
            },
            cipher: suite.replacen("TLS13_", "TLS_", 1),
            client_certificates: tls.peer_certificates().unwrap_or_default(),
        })
    }

    /// As [`Stream::poll_read`].
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let Some(tls) = &mut self.tls else { return self.stream.poll_read(cx, buffer) };
        loop {
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Without its close_notify an end is as good as any: SMTP says by itself where a message ends.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Poll::Ready(Ok(0)),
                read => return Poll::Ready(read),
            }
            if buffer.len() < WHOLE_READ_OCTETS {
                // Not in pieces of what room there is for a command: as much as rustls takes at once.
                match tls.read_tls(&mut Socket { stream: &mut self.stream, cx }) {
                    Ok(0) => return Poll::Ready(Ok(0)),
                    Ok(_) => tls.process_new_packets().map_err(io::Error::other)?,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                    Err(error) => return Poll::Ready(Err(error)),
                };
                continue;
            }
            // Not more than the buffer holds: what is decrypted of it has room there, but for one record, which rustls keeps.
            match ready!(self.stream.poll_read(cx, buffer)) {
                Ok(0) => return Poll::Ready(Ok(0)),
                Ok(octets) => match take_into(tls, buffer, octets) {
                    Ok(0) => {}
                    done => return Poll::Ready(done),
                },
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// As [`Stream::write_all`].
    pub(crate) async fn write_all(&mut self, octets: &[u8]) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return self.stream.write_all(octets).await };
        tls.writer().write_all(octets)?;
        write_waiting(&mut self.stream, tls).await
    }

    /// Says inside TLS that nothing more will be written; nothing in the clear.
    pub(crate) async fn close_notify(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        tls.send_close_notify();
        write_waiting(&mut self.stream, tls).await
    }

    /// The socket, for what is below TLS.
    pub(crate) fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }
}

/// The socket as rustls reads it; the task is woken when there is more.
struct Socket<'s, 'c, 'w> {
    stream: &'s mut Stream,
    cx: &'c mut Context<'w>,
}

impl io::Read for Socket<'_, '_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.stream.poll_read(self.cx, buffer) {
            Poll::Ready(read) => read,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

/// What a handshake agreed on.
pub(crate) struct Agreed<'a> {
    /// `TLSv1.2` or `TLSv1.3`.
    pub(crate) version: &'static str,
    /// By IANA's name.
    pub(crate) cipher: String,
    /// The client's, its own first; empty if it has shown none.
    pub(crate) client_certificates: &'a [CertificateDer<'static>],
}

/// Hands the first `octets` of `buffer` to rustls and puts what it makes of them in their place. Returns how many octets that are; what
/// has no room stays inside, which is less than one record.
fn take_into(tls: &mut ServerConnection, buffer: &mut [u8], octets: usize) -> io::Result<usize> {
    let (mut taken, mut filled) = (0, 0);
    while taken < octets {
        match tls.read_tls(&mut &buffer[taken..octets])? {
            // Behind its close_notify: nothing that a peer may still say.
            0 => break,
            more => taken += more,
        }
        tls.process_new_packets().map_err(io::Error::other)?;
        filled += decrypted(tls, &mut buffer[filled..taken])?;
    }
    Ok(filled + decrypted(tls, &mut buffer[filled..])?)
}

/// What is decrypted already, as far as it has room.
fn decrypted(tls: &mut ServerConnection, mut room: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while !room.is_empty() {
        match tls.reader().read(room) {
            Ok(0) => break,
            Ok(octets) => {
                filled += octets;
                room = &mut room[octets..];
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Hands all of `octets` to a handshake.
fn take(tls: &mut ServerConnection, mut octets: &[u8]) -> io::Result<()> {
    while !octets.is_empty() {
        if tls.read_tls(&mut octets)? == 0 {
            break;
        }
        tls.process_new_packets().map_err(io::Error::other)?;
    }
    Ok(())
}

/// Sends what rustls has to send: records, answers of the handshake, alerts.
async fn write_waiting(stream: &mut Stream, tls: &mut ServerConnection) -> io::Result<()> {
    let mut records = Vec::new();
    while tls.wants_write() {
        // Into memory it cannot fail.
        tls.write_tls(&mut records)?;
    }
    if records.is_empty() { Ok(()) } else { stream.write_all(&records).await }
}

/// Buffers of less are for commands; what rustls reads at once.
const WHOLE_READ_OCTETS: usize = 4 << 10;
/// Holds a usual ClientHello; a long chain of certificates comes in several.
const HANDSHAKE_BUFFER_OCTETS: usize = 4 << 10;
