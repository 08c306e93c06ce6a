//! A session: a command's ownership of a bucket, from opening to closing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bucket_store::{Bucket, LazyFsRemote, StoreError};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::exit::Failure;
use crate::output::Output;
use crate::profiles::{Profiles, Settings};

/// An open bucket and how to refer to it.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) bucket: Bucket,
    pub(crate) profile: String,
}

/// The directory of a profile.
pub(crate) fn dir_of(profile: &str) -> Result<PathBuf, Failure> {
    Ok(Profiles::load()?.dir(profile)?.to_owned())
}

impl Session {
    pub(crate) fn open(profile: &str) -> Result<Self, Failure> {
        Self::open_dir(profile, &dir_of(profile)?)
    }

    pub(crate) fn open_dir(profile: &str, dir: &Path) -> Result<Self, Failure> {
        let settings = Settings::load(dir)?;
        let remote = Arc::new(LazyFsRemote::new(settings.fs_root()?));
        let bucket = Bucket::builder(remote)
            .max_pending_bytes(settings.max_pending()?)
            .when_full(settings.when_full()?)
            .open(dir)?;
        Ok(Self { bucket, profile: profile.into() })
    }

    /// Waits until the remote has everything, with a bar for those who watch.
    pub(crate) fn drain(&self, timeout: Option<Duration>, out: &Output) -> Result<(), Failure> {
        let start = self.bucket.status().pending_ops;
        let bar = bar(out, start, "draining");
        let step = Duration::from_millis(250);
        let mut left = timeout;
        let result = loop {
            let wait = left.map_or(step, |left| left.min(step));
            match self.bucket.flush(Some(wait)) {
                Err(StoreError::FlushTimeout { .. }) if left.is_none_or(|left| left > step) => {
                    let status = self.bucket.status();
                    bar.set_position(start.saturating_sub(status.pending_ops));
                    if let Some(reason) = status.parked {
                        bar.set_message(reason.to_string());
                    }
                    left = left.map(|left| left - step);
                }
                result => break result,
            }
        };
        bar.finish_and_clear();
        Ok(result?)
    }

    /// Closes the bucket; warns of a damaged log.
    pub(crate) fn close(self, out: &Output) -> Result<u64, Failure> {
        let degraded = self.bucket.status().degraded;
        let report = self.bucket.close()?;
        if let Some(damage) = degraded {
            out.note(&format!(
                "warning: the log of this bucket is damaged and draining is held; see \
                 `bucket doctor {}`\n{damage}",
                self.profile
            ));
        }
        Ok(report.pending_ops)
    }

    /// Closes the bucket after changes, and says what nobody is left to do.
    pub(crate) fn summary(self, out: &Output, fields: &serde_json::Value) -> Result<(), Failure> {
        let profile = self.profile.clone();
        let pending = self.close(out)?;
        if pending > 0 {
            out.note(&format!(
                "acknowledged and still on their way to the remote: {pending}; nobody drains now: run \
                 `bucket flush {profile}`"
            ));
        }
        let mut value = fields.clone();
        if let serde_json::Value::Object(fields) = &mut value {
            fields.insert("type".into(), json!("summary"));
            fields.insert("pending".into(), json!(pending));
        }
        out.result(&value, "")
    }
}

/// A progress bar on stderr, for those who watch and do not parse.
pub(crate) fn bar(out: &Output, len: u64, what: &str) -> ProgressBar {
    if out.is_json() || !out.is_watched() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(len).with_prefix(what.to_owned());
    match ProgressStyle::with_template("{prefix} {bar:30} {pos}/{len} {eta} {msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
