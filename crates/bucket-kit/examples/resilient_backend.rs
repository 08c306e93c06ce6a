//! A backend behind a pool, a breaker and retries: what the original calls ResilientBackend.

use std::{env, error::Error, fs, path::PathBuf, time::Duration};

use bucket_kit::core::{Ctx, OpKind};
use bucket_kit::pool::{BlockingManager, Pool};
use bucket_kit::remote::{Body, Caps, GetOptions, Key, PutOptions, RemoteError};
use bucket_kit::retry::Policies;
use bucket_kit::store::{FsRemote, ResilientRemote};

struct Connect(PathBuf);

impl BlockingManager for Connect {
    type Connection = FsRemote;
    type Error = RemoteError;

    fn connect(&self, _: &Ctx) -> Result<FsRemote, RemoteError> {
        FsRemote::open(&self.0)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let root = env::temp_dir().join(format!("resilient-backend-{}", std::process::id()));
    let pool = Pool::builder(Connect(root.clone())).max_size(10);
    let pool = pool.acquire_timeout(Duration::from_secs(5)).build()?;
    let backend = ResilientRemote::pooled("disk", pool, Caps::none().conditional());
    let backend = backend.policies(Policies::storage()).build()?;

    let key = Key::new("greeting")?;
    let content = Body::from("hello");
    backend.put(&Ctx::new(OpKind::Write), &key, &content, &PutOptions::new())?;
    let object = backend.get(&Ctx::new(OpKind::Read), &key, &GetOptions::new())?;
    println!("{} bytes, version {}", object.body.len(), object.meta.version);
    fs::remove_dir_all(root)?;
    Ok(())
}
