//! [`SecretService`]: GNOME's keyring on a private bus, unlocked, in a home of its own.
//!
//! The bus starts no programs by itself, so that what was killed stays away.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::missing::{Missing, find};
use crate::service::{Place, Server, Service, client};

/// A Secret Service as desktops have it, without a desktop.
#[derive(Debug)]
pub struct SecretService {
    // Dropped in this order: the keyring before the bus that it hangs on.
    keyring: Service,
    bus: Service,
}

impl SecretService {
    /// What a client needs in its environment to find this service and no other.
    pub fn environment(&self) -> [(&'static str, String); 3] {
        environment(&self.keyring.place().data, &address(self.bus.place()))
    }

    /// The private bus.
    pub const fn bus(&mut self) -> &mut Service {
        &mut self.bus
    }

    /// The keyring.
    pub const fn keyring(&mut self) -> &mut Service {
        &mut self.keyring
    }

    /// Stores `secret` under `name`, through `secret-tool`.
    ///
    /// # Errors
    ///
    /// What the service complains about, and when it does not answer within 5 s.
    pub fn store(&self, name: &str, secret: &str) -> Result<(), String> {
        store(&self.environment(), name, secret)
    }

    /// The secret that is stored under `name`, through `secret-tool`.
    ///
    /// # Errors
    ///
    /// When there is none, and as [`SecretService::store`].
    pub fn lookup(&self, name: &str) -> Result<String, String> {
        lookup(&self.environment(), name)
    }
}

impl Server for SecretService {
    fn availability() -> Result<(), Missing> {
        let needed = [
            ("dbus-daemon", "dbus"),
            ("gnome-keyring-daemon", "gnome-keyring"),
            ("secret-tool", "libsecret-tools"),
        ];
        match needed.into_iter().find(|(program, _)| find(program).is_none()) {
            Some((program, package)) => Err(Missing::package(program, package)),
            None => Ok(()),
        }
    }

    fn start() -> Self {
        let bus = Service::builder("dbus", |place| {
            let mut command = Command::new("dbus-daemon");
            command.args(["--nofork", "--nopidfile", "--config-file"]);
            command.arg(place.data.join("bus.conf"));
            command
        });
        let bus = bus
            .prepare(|place| {
                let config = BUS_CONFIG.replace("ADDRESS", &address(place));
                std::fs::write(place.data.join("bus.conf"), config).map_err(|e| e.to_string())
            })
            .ready(|place| greet(&bus_path(place)))
            .start();

        let bus_address = address(bus.place());
        let of_client = bus_address.clone();
        let keyring = Service::builder("gnome-keyring", move |place| {
            let mut command = Command::new("gnome-keyring-daemon");
            command.args(["--foreground", "--unlock", "--components=secrets"]);
            command.envs(environment(&place.data, &bus_address));
            command.env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY");
            command
        });
        let keyring = keyring
            // Creates the keyring at the first start and opens it at the others.
            .stdin("the password of the keyring")
            .prepare(|place| {
                for folder in ["home", "run"] {
                    client::create_folder(&place.data, &place.data.join(folder), None)?;
                }
                Ok(())
            })
            .ready(move |place| {
                let environment = environment(&place.data, &of_client);
                store(&environment, "ready", "yes")?;
                match lookup(&environment, "ready")?.as_str() {
                    "yes" => Ok(()),
                    other => Err(format!("stored yes and found {other}")),
                }
            })
            .start();
        Self { keyring, bus }
    }

    fn processes(&mut self) -> Vec<&mut Service> {
        vec![&mut self.bus, &mut self.keyring]
    }
}

fn bus_path(place: &Place) -> PathBuf {
    place.data.join("bus")
}

fn address(bus: &Place) -> String {
    format!("unix:path={}", bus_path(bus).display())
}

fn environment(data: &Path, bus: &str) -> [(&'static str, String); 3] {
    [
        ("DBUS_SESSION_BUS_ADDRESS", bus.to_owned()),
        ("HOME", data.join("home").display().to_string()),
        ("XDG_RUNTIME_DIR", data.join("run").display().to_string()),
    ]
}

/// Says hello as every client does, and checks that it is a bus that answers.
fn greet(path: &Path) -> Result<(), String> {
    let talk = || -> std::io::Result<String> {
        let mut stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let us = std::fs::metadata("/proc/self")?.uid().to_string();
        let us: String = us.bytes().map(|digit| format!("{digit:02x}")).collect();
        stream.write_all(format!("\0AUTH EXTERNAL {us}\r\n").as_bytes())?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(line)
    };
    match talk() {
        Ok(line) if line.starts_with("OK ") => Ok(()),
        Ok(line) => Err(format!("the bus says {line:?}")),
        Err(error) => Err(format!("the bus does not answer: {error}")),
    }
}

fn store(environment: &[(&str, String)], name: &str, secret: &str) -> Result<(), String> {
    let mut command = Command::new("secret-tool");
    command.args(["store", "--label", name, ATTRIBUTE, name]);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    client::run(&command, secret.as_bytes(), 5).map(|_| ())
}

fn lookup(environment: &[(&str, String)], name: &str) -> Result<String, String> {
    let mut command = Command::new("secret-tool");
    command.args(["lookup", ATTRIBUTE, name]);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    client::run(&command, b"", 5)
}

const ATTRIBUTE: &str = "bucket-e2e";

/// A bus on which everybody may say everything, without folders of programs to start.
const BUS_CONFIG: &str = "\
<!DOCTYPE busconfig PUBLIC '-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN'
 'http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd'>
<busconfig>
  <type>session</type>
  <listen>ADDRESS</listen>
  <auth>EXTERNAL</auth>
  <policy context='default'>
    <allow send_destination='*' eavesdrop='true'/>
    <allow eavesdrop='true'/>
    <allow own='*'/>
  </policy>
</busconfig>
";
