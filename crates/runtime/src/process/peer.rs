//! Whose a connection is. On the machine's own network any process may connect to a sandbox's
//! endpoint; only the sandbox's own user may be heard.

use std::fs;
use std::net::SocketAddr;

/// Whether the far end of a connection, on this machine, was opened by a user.
pub(super) fn is_of_user(peer: SocketAddr, user: u32) -> bool {
    let SocketAddr::V4(peer) = peer else { return false };
    let address = u32::from_ne_bytes(peer.ip().octets());
    let wanted = format!("{address:08X}:{:04X}", peer.port());
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    owner(&table, &wanted) == Some(user)
}

/// The user of the socket with this local address.
fn owner(table: &str, wanted: &str) -> Option<u32> {
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
        assert_eq!(owner(table, "0100007F:9C40"), Some(70001));
        assert_eq!(owner(table, "0100007F:2329"), Some(0));
        assert_eq!(owner(table, "0100007F:0001"), None);
    }

    #[test]
    fn a_real_connection_is_of_this_user() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let _stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (_, peer) = listener.accept().unwrap();
        let user = nix::unistd::getuid().as_raw();
        assert!(is_of_user(peer, user) && !is_of_user(peer, user + 1));
    }
}
