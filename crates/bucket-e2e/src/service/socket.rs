//! [`Socket`]: what the processes of a service listen on and are connected to, as the kernel has it.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A TCP or UDP socket of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Socket {
    /// Where it is bound.
    pub local: SocketAddr,
    /// The peer; port 0 when there is none.
    pub remote: SocketAddr,
    /// True for TCP that waits for connections.
    pub listens: bool,
}

impl Socket {
    /// True when it can reach nobody, and be reached by nobody, but on this machine.
    pub fn stays_here(&self) -> bool {
        let here = |address: SocketAddr| address.ip().to_canonical().is_loopback();
        here(self.local) && (self.remote.port() == 0 || here(self.remote))
    }
}

/// The TCP and UDP sockets of these processes, by their ids.
///
/// Looks at the moment only; a connection that was closed before is not seen.
pub fn sockets(ids: &BTreeSet<u32>) -> HashSet<Socket> {
    let mut found = HashSet::new();
    for id in ids {
        let inodes: HashSet<String> = fs::read_dir(format!("/proc/{id}/fd"))
            .into_iter()
            .flatten()
            .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
            .filter_map(|link| {
                Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
            })
            .collect();
        for table in ["tcp", "tcp6", "udp", "udp6"] {
            let text = fs::read_to_string(format!("/proc/{id}/net/{table}")).unwrap_or_default();
            let rows = text.lines().skip(1).filter_map(|line| parse(table, line));
            found.extend(rows.filter(|(inode, _)| inodes.contains(*inode)).map(|(_, row)| row));
        }
    }
    found
}

fn parse<'a>(table: &str, line: &'a str) -> Option<(&'a str, Socket)> {
    let fields: Vec<_> = line.split_whitespace().collect();
    let socket = Socket {
        local: address(fields.get(1)?)?,
        remote: address(fields.get(2)?)?,
        listens: table.starts_with("tcp") && *fields.get(3)? == "0A",
    };
    Some((fields.get(9)?, socket))
}

/// Reads `0100007F:1F90`: words of the address as the machine has them in memory, the port plain.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::new();
    for at in (0..ip.len()).step_by(8) {
        let word = u32::from_str_radix(ip.get(at..at + 8)?, 16).ok()?;
        #[expect(clippy::host_endian_bytes, reason = "the kernel prints words of this machine")]
        bytes.extend(word.to_ne_bytes());
    }
    let ip = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(four) => IpAddr::V4(Ipv4Addr::from(four)),
        Err(_) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?)),
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    #[test]
    fn own_sockets_are_seen_with_both_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stream = TcpStream::connect(address).unwrap();
        let wide = UdpSocket::bind("[::]:0").unwrap();
        let seen = sockets(&BTreeSet::from([std::process::id()]));
        let by_local = |local| seen.iter().filter(move |socket| socket.local == local);
        assert!(by_local(address).any(|socket| socket.listens && socket.stays_here()), "{seen:?}");
        let connected = by_local(stream.local_addr().unwrap()).next().unwrap();
        assert!(connected.remote == address && !connected.listens && connected.stays_here());
        let wide = by_local(wide.local_addr().unwrap()).next().unwrap();
        assert!(!wide.stays_here(), "anybody may send to it");
    }

    #[test]
    fn a_peer_elsewhere_is_told_from_one_here() {
        let at = |local: &str, remote: &str| Socket {
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
            listens: false,
        };
        assert!(at("[::ffff:127.0.0.1]:1", "127.0.0.9:2").stays_here());
        assert!(!at("127.0.0.1:1", "192.0.2.1:2").stays_here());
        assert!(!at("192.0.2.7:1", "192.0.2.1:2").stays_here());
    }
}
