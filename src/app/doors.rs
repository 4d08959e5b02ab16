//! The two sockets that clients and operators come in by. They are listened on from the beginning, so that nobody else takes the addresses, and
//! nobody is turned away by a start: whoever connects before all below is recovered waits in the kernel for his answer.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use rustix::net::sockopt;

use super::StartError;
use crate::support::config::Server;

/// A client that takes nothing for so long while something waits for it is gone, and the kernel cuts its connection.
const UNREAD_MAX: Duration = Duration::from_secs(20);
/// What the kernel holds for a client that does not read (it doubles this); left to itself it grows to megabytes.
const KERNEL_SEND_BYTES: usize = 128 * 1024;
/// Connections that wait to be accepted; what comes beyond them tries again after a second. The kernel may allow fewer
/// (`net.core.somaxconn`).
const UNACCEPTED_MAX: i32 = 4096;

/// Listens where clients connect, and where operators do. Fails where an address is taken, with the key that names it.
pub(super) fn listen(server: &Server) -> Result<(TcpListener, TcpListener), StartError> {
    let listen = |key: &str, address: SocketAddr| {
        let doing = format!("listen on {address}; another address goes into {key}");
        TcpListener::bind(address).map_err(StartError::while_doing(&doing))
    };
    let (public, admin) = (listen("server.bind", server.bind)?, listen("server.admin_bind", server.admin_bind)?);
    // Connections take these from the socket that accepts them (tcp(7)).
    // A frame that follows another does not wait for the first one's acknowledgement, which a client may put off for 40 ms.
    sockopt::set_tcp_nodelay(&public, true).map_err(StartError::while_doing("send at once"))?;
    let set = || StartError::while_doing("bound what a client that reads nothing can hold");
    sockopt::set_tcp_user_timeout(&public, UNREAD_MAX.as_millis() as u32).map_err(set())?;
    sockopt::set_socket_send_buffer_size(&public, KERNEL_SEND_BYTES).map_err(set())?;
    // It listens already, for 128: a crowd that comes back at once is more.
    rustix::net::listen(&public, UNACCEPTED_MAX).map_err(StartError::while_doing("listen for a crowd"))?;
    Ok((public, admin))
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    fn anywhere() -> Server {
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        Server { bind: local, admin_bind: local, ..Server::default() }
    }

    #[test]
    fn a_connection_sends_at_once_what_it_is_given() {
        let (public, _admin) = listen(&anywhere()).expect("listens");

        let client = TcpStream::connect(public.local_addr().expect("an address")).expect("connects");
        let (connection, _) = public.accept().expect("accepts");

        assert!(connection.nodelay().expect("an option"));
        drop(client);
    }

    #[test]
    fn an_address_that_is_taken_is_named_with_its_key() {
        let (_public, admin) = listen(&anywhere()).expect("listens");
        let taken = admin.local_addr().expect("an address");

        let refused = listen(&Server { admin_bind: taken, ..anywhere() }).expect_err("it is taken").to_string();

        assert!(refused.contains(&taken.to_string()) && refused.contains("server.admin_bind"), "{refused}");
    }
}
