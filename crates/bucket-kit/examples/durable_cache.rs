//! Writes that survive a crash before the backend has them: what the original calls DurableCache.
//! Its log held only the keys; here the content is in the log, so that recovery has what to send.

use std::{env, error::Error, fs, sync::Arc, time::Duration};

use bucket_kit::remote::Key;
use bucket_kit::store::{Bucket, LazyFsRemote};

fn main() -> Result<(), Box<dyn Error>> {
    let base = env::temp_dir().join(format!("durable-cache-{}", std::process::id()));
    let (dir, backend) = (base.join("local"), base.join("backend"));
    fs::create_dir(&base)?;
    let open = || Bucket::open(&dir, Arc::new(LazyFsRemote::new(&backend)));

    // The backend is not there: the put is acknowledged all the same.
    let key = Key::new("answer")?;
    let cache = open()?;
    let receipt = cache.put(&key, "42")?;
    println!("acknowledged as operation {}", receipt.lsn);
    cache.close()?;

    // After a restart it is still there, and drains by itself once the backend is back.
    let cache = open()?;
    println!("recovered {:?}", cache.get(&key)?.to_bytes()?);
    fs::create_dir(&backend)?;
    cache.flush(Some(Duration::from_secs(60)))?;
    println!("the backend has {:?}", fs::read_to_string(backend.join("answer"))?);
    cache.close()?;
    fs::remove_dir_all(base)?;
    Ok(())
}
