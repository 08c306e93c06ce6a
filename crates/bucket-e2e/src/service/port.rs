//! [`Port`]: a free loopback port, kept for one service as long as that lives.
//!
//! Taken outside of the range from which the kernel serves outgoing connections, so that only who
//! asks for this very number can be in the way; all harnesses on a machine keep out of each other's.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// The number, and the mark that keeps it ours across restarts of the server.
#[derive(Debug)]
pub(super) struct Port {
    number: u16,
    _mark: UnixListener,
}

impl Port {
    /// A port that nobody listens on and that no other harness has.
    pub(super) fn take() -> io::Result<Self> {
        for _ in 0..COUNT {
            let number = next_number();
            // A name outside of the file system is free again when whoever bound it dies.
            let name = SocketAddr::from_abstract_name(format!("bucket-e2e-port-{number}"))?;
            let Ok(mark) = UnixListener::bind_addr(&name) else { continue };
            if TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Ok(Self { number, _mark: mark });
            }
        }
        Err(io::Error::new(io::ErrorKind::AddrInUse, "no loopback port is free"))
    }

    pub(super) const fn number(&self) -> u16 {
        self.number
    }
}

/// Where to look next: processes start at different places, so that they seldom meet.
fn next_number() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let step = NEXT.fetch_add(1, Ordering::Relaxed);
    let offset = (std::process::id().wrapping_mul(31).wrapping_add(step)) % u32::from(COUNT);
    FIRST + u16::try_from(offset).unwrap_or(0)
}

/// Below Linux's default for outgoing connections, which starts at 32,768.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_given_to_one_only_until_it_is_dropped() {
        let ports: Vec<_> = (0..50).map(|_| Port::take().unwrap()).collect();
        let mut numbers: Vec<_> = ports.iter().map(Port::number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 50);
        let name = format!("bucket-e2e-port-{}", numbers[0]);
        let name = SocketAddr::from_abstract_name(name).unwrap();
        assert!(UnixListener::bind_addr(&name).is_err());
        drop(ports);
        assert!(UnixListener::bind_addr(&name).is_ok());
    }
}
