//! [`S3`]: the server `s3s-fs`, which keeps objects as files.

use std::process::Command;

use bucket_core::{Clock as _, SystemClock};

use crate::missing::{Missing, find};
use crate::service::signature::{self, Keys};
use crate::service::{Server, Service, http};

/// An S3 server that demands signatures.
#[derive(Debug)]
pub struct S3 {
    service: Service,
}

impl S3 {
    /// Whom it knows, and by what.
    pub const ACCESS_KEY: &'static str = "bucket-e2e";
    /// The secret of [`S3::ACCESS_KEY`].
    pub const SECRET_KEY: &'static str = "not-much-of-a-secret";
    /// It takes any; requests are signed for this one.
    pub const REGION: &'static str = "us-east-1";

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.service.port()
    }

    /// The endpoint; buckets are the first part of the path.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port())
    }

    /// Sends one signed request for `path`, `/BUCKET` or `/BUCKET/KEY`: the status and the body.
    ///
    /// # Errors
    ///
    /// When there is no answer within 10 s. A refusal is an answer.
    pub fn request(&self, method: &str, path: &str, body: &[u8]) -> Result<(u16, Vec<u8>), String> {
        request(self.port(), Self::SECRET_KEY, method, path, body)
    }

    /// The same request, signed with another secret.
    ///
    /// # Errors
    ///
    /// As [`S3::request`].
    pub fn request_of_a_stranger(&self, method: &str, path: &str) -> Result<u16, String> {
        request(self.port(), "guessed", method, path, b"").map(|(status, _)| status)
    }
}

impl Server for S3 {
    fn availability() -> Result<(), Missing> {
        find(PROGRAM).map(|_| ()).ok_or_else(|| Missing::tool("no S3 server `s3s-fs`"))
    }

    fn start() -> Self {
        let service = Service::builder("s3", |place| {
            let mut command = Command::new(find(PROGRAM).unwrap_or_default());
            command.args(["--host", "127.0.0.1", "--port", &place.ports[0].to_string()]);
            command.args(["--access-key", Self::ACCESS_KEY, "--secret-key", Self::SECRET_KEY]);
            command.arg(&place.data);
            command
        });
        let service = service
            .ports(1)
            .ready(|place| match request(place.ports[0], Self::SECRET_KEY, "GET", "/", b"")? {
                (200, _) => Ok(()),
                (status, body) => {
                    Err(format!("{status} for a list: {}", String::from_utf8_lossy(&body)))
                }
            })
            .start();
        Self { service }
    }

    fn processes(&mut self) -> Vec<&mut Service> {
        vec![&mut self.service]
    }
}

fn request(
    port: u16,
    secret: &str,
    method: &str,
    path: &str,
    body: &[u8],
) -> Result<(u16, Vec<u8>), String> {
    let keys = Keys { access: S3::ACCESS_KEY, secret, region: S3::REGION };
    let host = format!("127.0.0.1:{port}");
    let now = SystemClock::new().wall();
    let headers = signature::headers(keys, now, &host, method, path, body);
    http::request(port, method, path, &headers, body)
}

const PROGRAM: &str = "s3s-fs";
