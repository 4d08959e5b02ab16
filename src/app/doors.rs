//! The two sockets that clients and operators come in by: taken at the beginning, so that nobody else takes them, and listened on when all below
//! them is recovered. Until then a connection is refused, which a balancer's check of the port understands.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::StartError;
use crate::support::config::Server;

/// A client that takes nothing for so long while something waits for it is gone, and the kernel cuts its connection.
const UNREAD_MAX: Duration = Duration::from_secs(20);
/// What the kernel holds for a client that does not read (it doubles this); left to itself it grows to megabytes.
const KERNEL_SEND_BYTES: usize = 128 * 1024;
/// Connections that wait to be accepted; what comes beyond them tries again after a second. The kernel may allow fewer
/// (`net.core.somaxconn`).
const UNACCEPTED_MAX: i32 = 4096;

/// Bound, and not listened on.
#[derive(Debug)]
pub(super) struct Doors {
    public: TcpListener,
    admin: TcpListener,
}

impl Doors {
    /// Takes both addresses. Fails where one is taken, with the key that names it.
    pub(super) fn bind(server: &Server) -> Result<Self, StartError> {
        let bind = |key: &str, address| {
            bound(address).map_err(StartError::while_doing(&format!("take {address}; another address goes into {key}")))
        };
        let (public, admin) = (bind("server.bind", server.bind)?, bind("server.admin_bind", server.admin_bind)?);
        // Connections take these from the socket that accepts them (tcp(7)).
        // A frame that follows another does not wait for the first one's acknowledgement, which a client may put off for 40 ms.
        sockopt::set_tcp_nodelay(&public, true).map_err(StartError::while_doing("send at once"))?;
        let set = || StartError::while_doing("bound what a client that reads nothing can hold");
        sockopt::set_tcp_user_timeout(&public, UNREAD_MAX.as_millis() as u32).map_err(set())?;
        sockopt::set_socket_send_buffer_size(&public, KERNEL_SEND_BYTES).map_err(set())?;
        Ok(Self { public, admin })
    }

    /// Listens on both: the public one, and that of operators.
    pub(super) fn open(self) -> Result<(TcpListener, TcpListener), StartError> {
        for door in [&self.public, &self.admin] {
            rustix::net::listen(door, UNACCEPTED_MAX).map_err(StartError::while_doing("listen"))?;
        }
        Ok((self.public, self.admin))
    }
}

fn bound(address: SocketAddr) -> rustix::io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // The connections of a process that was here before may still be on their way out.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    Ok(TcpListener::from(socket))
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
        let (public, _admin) = Doors::bind(&anywhere()).expect("binds").open().expect("listens");

        let client = TcpStream::connect(public.local_addr().expect("an address")).expect("connects");
        let (connection, _) = public.accept().expect("accepts");

        assert!(connection.nodelay().expect("an option"));
        drop(client);
    }

    #[test]
    fn nobody_is_let_in_before_the_doors_open() {
        let doors = Doors::bind(&anywhere()).expect("binds");
        let address = doors.public.local_addr().expect("an address");

        assert_eq!(TcpStream::connect(address).expect_err("closed").kind(), std::io::ErrorKind::ConnectionRefused);
        let _open = doors.open().expect("listens");
        TcpStream::connect(address).expect("open");
    }

    #[test]
    fn an_address_that_is_taken_is_named_with_its_key() {
        let (_public, admin) = Doors::bind(&anywhere()).expect("binds").open().expect("listens");
        let taken = admin.local_addr().expect("an address");

        let refused = Doors::bind(&Server { admin_bind: taken, ..anywhere() }).expect_err("it is taken").to_string();

        assert!(refused.contains(&taken.to_string()) && refused.contains("server.admin_bind"), "{refused}");
    }
}
