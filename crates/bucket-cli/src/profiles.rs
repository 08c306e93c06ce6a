//! Profiles: which name means which bucket directory; and the settings in that directory.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bucket_core::ByteCount;
use bucket_remote::Key;
use bucket_store::WhenFull;
use serde::{Deserialize, Serialize};

use crate::exit::Failure;

/// The file that lists the profiles.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profiles {
    #[serde(default)]
    pub(crate) profiles: BTreeMap<String, Profile>,
}

/// One profile.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    pub(crate) dir: PathBuf,
}

/// The file `bucket.toml` in a bucket directory: the user's settings.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) remote: String,
    pub(crate) max_pending: String,
    pub(crate) when_full: String,
}

impl Profiles {
    /// `$BUCKET_PROFILES`, or `bucket/profiles.toml` in the user's configuration directory.
    pub(crate) fn path() -> Result<PathBuf, Failure> {
        if let Some(path) = std::env::var_os("BUCKET_PROFILES") {
            return Ok(path.into());
        }
        let base = std::env::var_os("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".config")));
        base.map(|base| base.join("bucket").join("profiles.toml")).ok_or_else(|| {
            Failure::Usage("no home directory: set BUCKET_PROFILES to the file of profiles".into())
        })
    }

    pub(crate) fn load() -> Result<Self, Failure> {
        let path = Self::path()?;
        match fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text)
                .map_err(|error| Failure::Usage(format!("{}: {error}", path.display()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(Failure::file(format!("cannot read {}", path.display()))(error)),
        }
    }

    pub(crate) fn save(&self) -> Result<(), Failure> {
        let path = Self::path()?;
        let failure = |error| Failure::file(format!("cannot write {}", path.display()))(error);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failure)?;
        }
        let text = toml::to_string(self).map_err(|error| Failure::Usage(error.to_string()))?;
        let temporary = path.with_extension("tmp");
        fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, &path)).map_err(failure)
    }

    /// The directory of a profile.
    pub(crate) fn dir(&self, profile: &str) -> Result<&Path, Failure> {
        self.profiles.get(profile).map(|profile| &*profile.dir).ok_or_else(|| {
            Failure::Usage(format!(
                "there is no profile {profile:?}; create one with \
                 `bucket init {profile} --dir DIR --remote fs:PATH`"
            ))
        })
    }
}

impl Settings {
    pub(crate) fn load(dir: &Path) -> Result<Self, Failure> {
        let path = dir.join("bucket.toml");
        let text = fs::read_to_string(&path)
            .map_err(|error| Failure::file(format!("cannot read {}", path.display()))(error))?;
        toml::from_str(&text)
            .map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))
    }

    pub(crate) fn max_pending(&self) -> Result<ByteCount, Failure> {
        self.max_pending
            .parse()
            .map_err(|error| Failure::Usage(format!("max_pending {:?}: {error}", self.max_pending)))
    }

    pub(crate) fn when_full(&self) -> Result<WhenFull, Failure> {
        parse_when_full(&self.when_full)
    }

    /// The directory of a `fs:` remote.
    pub(crate) fn fs_root(&self) -> Result<PathBuf, Failure> {
        parse_remote(&self.remote)
    }
}

pub(crate) fn parse_when_full(text: &str) -> Result<WhenFull, Failure> {
    let wrong = || Failure::Usage(format!("when_full {text:?}: write block=SECONDS or fail"));
    if text == "fail" {
        return Ok(WhenFull::Fail);
    }
    let seconds = text.strip_prefix("block=").ok_or_else(wrong)?.trim_end_matches('s');
    let timeout = Duration::from_secs(seconds.parse().map_err(|_| wrong())?);
    Ok(WhenFull::Block { timeout })
}

pub(crate) fn parse_remote(text: &str) -> Result<PathBuf, Failure> {
    match text.strip_prefix("fs:") {
        Some(path) if !path.is_empty() => Ok(path.into()),
        _ => Err(Failure::Usage(format!("remote {text:?}: write fs:PATH"))),
    }
}

/// Splits PROFILE:KEY; the key may be empty where a command takes a prefix.
pub(crate) fn split_address(text: &str) -> Result<(&str, &str), Failure> {
    text.split_once(':')
        .filter(|(profile, _)| !profile.is_empty())
        .ok_or_else(|| Failure::Usage(format!("{text:?} is no address: write PROFILE:KEY")))
}

pub(crate) fn key(text: &str) -> Result<Key, Failure> {
    Key::new(text).map_err(|source| Failure::Key { text: text.into(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_profile_and_may_have_colons_in_the_key() {
        assert_eq!(split_address("p:a:b").unwrap(), ("p", "a:b"));
        assert_eq!(split_address("p:").unwrap(), ("p", ""));
        assert_eq!(split_address("a/b").unwrap_err().code(), 2);
        assert_eq!(split_address(":a").unwrap_err().code(), 2);
    }

    #[test]
    fn when_full_is_block_or_fail_and_nothing_else() {
        assert_eq!(parse_when_full("fail").unwrap(), WhenFull::Fail);
        let timeout = Duration::from_secs(5);
        assert_eq!(parse_when_full("block=5s").unwrap(), WhenFull::Block { timeout });
        for text in ["", "block", "block=", "block=-1", "drop"] {
            assert_eq!(parse_when_full(text).unwrap_err().code(), 2, "{text}");
        }
    }
}
