//! Whose a connection is. On the machine's own network any process may connect to a sandbox's
//! endpoint; only the sandbox's own user may be heard.

use std::fs;
use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::os::fd::AsRawFd;

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};

// Layouts and numbers: linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h.
const HEADER_BYTES: usize = 16;
const REQUEST_BYTES: u32 = 16 + 56;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
/// Where the user is in an answer: after header, four bytes, the socket's id and three counts.
const USER_AT: usize = HEADER_BYTES + 4 + 48 + 12;

/// Whether the far end of a connection on this machine was opened by a user. `near` is our end.
pub(super) fn is_of_user(near: SocketAddr, far: SocketAddr, user: u32) -> bool {
    let (SocketAddr::V4(near), SocketAddr::V4(far)) = (near, far) else { return false };
    match ask(far, near) {
        Ok(found) => found == Some(user),
        // A kernel without this part of netlink has the table still.
        Err(_) => {
            owner(&fs::read_to_string("/proc/net/tcp").unwrap_or_default(), far) == Some(user)
        }
    }
}

/// The user of the socket with these addresses, asked of the kernel by netlink. Unlike the table,
/// which is read in pieces while others change it, this cannot miss a socket.
fn ask(source: SocketAddrV4, target: SocketAddrV4) -> io::Result<Option<u32>> {
    let kind = (AddressFamily::Netlink, SockType::Datagram, SockFlag::SOCK_CLOEXEC);
    let netlink = socket(kind.0, kind.1, kind.2, SockProtocol::NetlinkSockDiag)?;
    let request = request(source, target);
    send(netlink.as_raw_fd(), &request, MsgFlags::empty())?;
    let mut answer = [0; 1024];
    let length = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    let answer = &answer[..length];
    let word = |at: usize| answer.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    if kind == Some(SOCK_DIAG_BY_FAMILY) {
        return Ok(word(USER_AT));
    }
    let error = word(HEADER_BYTES).map_or(libc::EPROTO, |error| -error.cast_signed());
    // "No entry" is also what a kernel says that has no such part.
    Err(io::Error::from_raw_os_error(error))
}

fn request(source: SocketAddrV4, target: SocketAddrV4) -> Vec<u8> {
    const PROTOCOL: u8 = 6;
    let family = u8::try_from(libc::AF_INET).expect("two");
    let mut bytes = Vec::new();
    bytes.extend(REQUEST_BYTES.to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([family, PROTOCOL, 0, 0]);
    bytes.extend(u32::MAX.to_ne_bytes());
    bytes.extend(source.port().to_be_bytes());
    bytes.extend(target.port().to_be_bytes());
    for address in [source.ip(), target.ip()] {
        bytes.extend(address.octets());
        bytes.extend([0; 12]);
    }
    // Any interface, any cookie.
    bytes.extend([0; 4]);
    bytes.extend([0xff; 8]);
    bytes
}

/// The user of the socket with this local address, in the kernel's table.
fn owner(table: &str, local: SocketAddrV4) -> Option<u32> {
    let address = u32::from_ne_bytes(local.ip().octets());
    let wanted = format!("{address:08X}:{:04X}", local.port());
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let is_it = fields.next()? == wanted;
        is_it.then(|| fields.nth(5)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_the_user() {
        let table = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:2329 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1
   1: 0100007F:9C40 0100007F:2329 01 00000000:00000000 00:00000000 00000000 70001        0 2 1";
        let user = |text: &str| owner(table, text.parse().unwrap());
        assert_eq!(user("127.0.0.1:40000"), Some(70001));
        assert_eq!(user("127.0.0.1:9001"), Some(0));
        assert_eq!(user("127.0.0.1:1"), None);
    }

    #[test]
    fn a_real_connection_is_of_this_user() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (near, far) = (stream.peer_addr().unwrap(), stream.local_addr().unwrap());
        let user = nix::unistd::getuid().as_raw();
        assert!(is_of_user(near, far, user) && !is_of_user(near, far, user + 1));
        let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
        assert!(!is_of_user(near, nobody, user));
    }

    #[test]
    fn netlink_is_there_and_names_the_user() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (SocketAddr::V4(near), SocketAddr::V4(far)) =
            (stream.peer_addr().unwrap(), stream.local_addr().unwrap())
        else {
            panic!("asked for version 4");
        };
        assert_eq!(ask(far, near).unwrap(), Some(nix::unistd::getuid().as_raw()));
    }
}
