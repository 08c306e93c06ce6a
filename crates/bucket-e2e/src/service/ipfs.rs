//! [`Ipfs`]: an IPFS node (js-ipfs) that answers the RPC of Kubo, and talks to nobody else.
//!
//! It runs offline, without bootstrap peers, without a swarm address, without discovery: nothing is
//! left that it could dial.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::missing::{Missing, find, tool};
use crate::service::{Place, Server, Service, client, http};

/// A node with an empty repository.
///
/// Its content ids are those of Kubo when asked for with `cid-version=1&cid-base=base32`.
#[derive(Debug)]
pub struct Ipfs {
    service: Service,
}

impl Ipfs {
    /// The port of the RPC on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.service.port()
    }

    /// The base of the RPC: `/api/v0` lies below.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port())
    }

    /// Calls `/api/v0/CALL`, with a file when there is one: the status and the body.
    ///
    /// # Errors
    ///
    /// When there is no answer within 10 s. A refusal is an answer.
    pub fn call(&self, call: &str, file: Option<&[u8]>) -> Result<(u16, Vec<u8>), String> {
        rpc(self.port(), call, file)
    }
}

impl Server for Ipfs {
    fn availability() -> Result<(), Missing> {
        if find("node").is_none() {
            return Err(Missing::heavy("no `node` to run the IPFS node with"));
        }
        if !program().is_file() {
            return Err(Missing::heavy("no IPFS node (300 MB)"));
        }
        Ok(())
    }

    fn start() -> Self {
        let service = Service::builder("ipfs", |place| {
            let mut command = jsipfs(place);
            command.args(["daemon", "--offline"]);
            command
        });
        let service = service
            .prepare(|place| {
                std::fs::create_dir(place.data.join("home")).map_err(|e| e.to_string())?;
                std::fs::write(place.data.join("polyfill.cjs"), POLYFILL)
                    .map_err(|error| error.to_string())?;
                let mut init = jsipfs(place);
                init.args(["init", "--empty-repo", "--profile", "test"]);
                client::run(&init, b"", 60).map(|_| ())
            })
            .ports(1)
            .ready_within(Duration::from_secs(60))
            .ready(|place| match rpc(place.ports[0], "version", None)? {
                (200, body) if serde_json::from_slice::<Value>(&body).is_ok() => Ok(()),
                (status, _) => Err(format!("{status} for its version")),
            })
            .start();
        Self { service }
    }

    fn processes(&mut self) -> Vec<&mut Service> {
        vec![&mut self.service]
    }
}

/// The program with its environment; its configuration says what it may do.
fn jsipfs(place: &Place) -> Command {
    if let Some(port) = place.ports.first() {
        configure(place, *port);
        // A node that was killed leaves its lock, which others respect for a while. Its owner is dead:
        // two never run on one directory here.
        let _ = std::fs::remove_dir_all(place.data.join("repo/repo.lock"));
    }
    let mut command = Command::new("node");
    command.arg("--require").arg(place.data.join("polyfill.cjs")).arg(program());
    command.env("IPFS_PATH", place.data.join("repo")).env("HOME", place.data.join("home"));
    command.env_remove("NODE_OPTIONS");
    command
}

/// Takes away everything that it could dial, and sets its port.
fn configure(place: &Place, port: u16) {
    let path = place.data.join("repo/config");
    let text = std::fs::read(&path).unwrap_or_default();
    let mut config: Value = serde_json::from_slice(&text).unwrap_or_default();
    config["Bootstrap"] = json!([]);
    config["Addresses"] = json!({
        "API": format!("/ip4/127.0.0.1/tcp/{port}"),
        "Delegates": [],
        "Gateway": "/ip4/127.0.0.1/tcp/0",
        "RPC": "/ip4/127.0.0.1/tcp/0",
        "Swarm": [],
    });
    config["Discovery"] = json!({
        "MDNS": { "Enabled": false, "Interval": 10 },
        "webRTCStar": { "Enabled": false },
    });
    std::fs::write(&path, config.to_string()).expect("the repository was initialised");
}

fn rpc(port: u16, call: &str, file: Option<&[u8]>) -> Result<(u16, Vec<u8>), String> {
    let mut headers = Vec::new();
    let mut body = Vec::new();
    if let Some(content) = file {
        let kind = format!("multipart/form-data; boundary={BOUNDARY}");
        headers.push(("content-type".to_owned(), kind));
        let head = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"file\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
    }
    http::request(port, "POST", &format!("/api/v0/{call}"), &headers, &body)
}

fn program() -> PathBuf {
    tool("ipfs").unwrap_or_default().join("node_modules/ipfs/src/cli.js")
}

const BOUNDARY: &str = "bucket-e2e-of-one-file";

/// The node uses a function that Node.js has only since version 22.
const POLYFILL: &str = "\
if (!Promise.withResolvers) Promise.withResolvers = function () {
  let settle
  const promise = new this((resolve, reject) => { settle = { resolve, reject } })
  return { promise, ...settle }
}
";
