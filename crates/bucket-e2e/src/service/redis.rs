//! [`Redis`]: a server that has on disk what it acknowledged.

use std::io::{BufRead, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use crate::missing::{Missing, find};
use crate::service::{Server, Service};

/// A Redis server that syncs its append-only file before it answers.
#[derive(Debug)]
pub struct Redis {
    service: Service,
}

impl Redis {
    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.service.port()
    }

    /// Sends one command and returns the answer as text: lines for arrays, `nil` for nothing.
    ///
    /// # Errors
    ///
    /// What the server complains about, and when it does not answer within 5 s.
    pub fn command(&self, words: &[&str]) -> Result<String, String> {
        self.command_within(LIMIT, words)
    }

    /// As [`Redis::command`], with another limit than 5 s.
    ///
    /// # Errors
    ///
    /// As [`Redis::command`].
    pub fn command_within(&self, limit: Duration, words: &[&str]) -> Result<String, String> {
        command(self.port(), limit, words)
    }
}

impl Server for Redis {
    fn availability() -> Result<(), Missing> {
        let found = find("redis-server").map(|_| ());
        found.ok_or_else(|| Missing::package("redis-server", "redis-server"))
    }

    fn start() -> Self {
        let service = Service::builder("redis", |place| {
            let mut command = Command::new(find("redis-server").unwrap_or_default());
            command.args(["--bind", "127.0.0.1", "--port", &place.ports[0].to_string()]);
            command.arg("--dir").arg(&place.data);
            command.args(["--appendonly", "yes", "--appendfsync", "always", "--save", ""]);
            command
        });
        let ready = |answer: String| {
            if answer == "PONG" { Ok(()) } else { Err(format!("PING was answered by {answer}")) }
        };
        let service = service
            .ports(1)
            .ready(move |place| command(place.ports[0], LIMIT, &["PING"]).and_then(ready))
            .start();
        Self { service }
    }

    fn processes(&mut self) -> Vec<&mut Service> {
        vec![&mut self.service]
    }
}

fn command(port: u16, limit: Duration, words: &[&str]) -> Result<String, String> {
    let exchange = || -> std::io::Result<Result<String, String>> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut stream = TcpStream::connect_timeout(&address, limit)?;
        stream.set_read_timeout(Some(limit))?;
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request += &format!("${}\r\n{word}\r\n", word.len());
        }
        stream.write_all(request.as_bytes())?;
        answer(&mut BufReader::new(stream))
    };
    exchange().map_err(|error| format!("redis: {error}"))?
}

/// Reads one answer of the [Redis protocol](https://redis.io/docs/latest/develop/reference/protocol-spec/).
fn answer(from: &mut impl BufRead) -> std::io::Result<Result<String, String>> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    let odd = || std::io::Error::other(format!("no answer of Redis: {line:?}"));
    let rest = line.get(1..).map(str::trim_end).ok_or_else(odd)?;
    match line.as_bytes()[0] {
        b'+' | b':' => Ok(Ok(rest.to_owned())),
        b'-' => Ok(Err(rest.to_owned())),
        b'$' | b'*' if rest == "-1" => Ok(Ok("nil".to_owned())),
        b'$' => {
            let mut content = vec![0; rest.parse::<usize>().map_err(|_| odd())? + 2];
            from.read_exact(&mut content)?;
            content.truncate(content.len() - 2);
            Ok(String::from_utf8(content).map_err(|error| error.to_string()))
        }
        b'*' => {
            let n = rest.parse::<usize>().map_err(|_| odd())?;
            let parts: Result<Vec<_>, _> = (0..n).map(|_| answer(from)).collect();
            Ok(parts?.into_iter().collect::<Result<Vec<_>, _>>().map(|parts| parts.join("\n")))
        }
        _ => Err(odd()),
    }
}

const LIMIT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_answer_is_read_whole() {
        let read = |mut bytes: &[u8]| answer(&mut bytes).map_err(|error| error.to_string());
        assert_eq!(read(b"+OK\r\n"), Ok(Ok("OK".into())));
        assert_eq!(read(b":42\r\n"), Ok(Ok("42".into())));
        assert_eq!(read(b"-ERR no\r\n"), Ok(Err("ERR no".into())));
        assert_eq!(read(b"$-1\r\n"), Ok(Ok("nil".into())));
        assert_eq!(read(b"$4\r\na\r\nb\r\n"), Ok(Ok("a\r\nb".into())));
        assert_eq!(read(b"*2\r\n$1\r\na\r\n:7\r\n"), Ok(Ok("a\n7".into())));
        assert!(
            read(b"").is_err() && read(b"HTTP/1.1 400\r\n").is_err() && read(b"$9\r\na").is_err()
        );
    }
}
