//! `bucket init`: a directory, its settings, and a name for it.

use std::fs;
use std::process::ExitCode;

use serde_json::json;

use crate::args::InitArgs;
use crate::exit::Failure;
use crate::output::Output;
use crate::profiles::{Profile, Profiles, Settings, parse_remote, parse_when_full};
use crate::session::Session;

pub(crate) fn run(args: &InitArgs, out: &Output) -> Result<ExitCode, Failure> {
    if args.profile.is_empty() || args.profile.contains([':', '/', '\n']) {
        return Err(Failure::Usage("a profile name has no \":\", \"/\" or line break".into()));
    }
    let mut profiles = Profiles::load()?;
    if let Some(profile) = profiles.profiles.get(&args.profile) {
        let dir = profile.dir.display();
        return Err(Failure::Usage(format!("the profile {:?} is {dir} already", args.profile)));
    }
    parse_when_full(&args.when_full)?;
    let root = parse_remote(&args.remote)?;
    fs::create_dir_all(&root)
        .map_err(|error| Failure::file(format!("cannot create {}", root.display()))(error))?;
    let root = fs::canonicalize(&root)
        .map_err(|error| Failure::file(format!("cannot open {}", root.display()))(error))?;
    create_private(&args.dir)?;
    let dir = fs::canonicalize(&args.dir)
        .map_err(|error| Failure::file(format!("cannot open {}", args.dir.display()))(error))?;
    if root.starts_with(&dir) || dir.starts_with(&root) {
        let why = "the remote and the directory must not lie inside one another";
        return Err(Failure::Usage(why.into()));
    }

    let remote = format!(
        "fs:{}",
        root.to_str()
            .ok_or_else(|| { Failure::Usage("the path of the remote must be UTF-8".into()) })?
    );
    let settings = Settings {
        remote: remote.clone(),
        max_pending: args.max_pending.to_string(),
        when_full: args.when_full.clone(),
    };
    let text = toml::to_string(&settings).map_err(|error| Failure::Usage(error.to_string()))?;
    let path = dir.join("bucket.toml");
    if !path.exists() {
        fs::write(&path, text)
            .map_err(|error| Failure::file(format!("cannot write {}", path.display()))(error))?;
    }
    Session::open_dir(&args.profile, &dir)?.close(out)?;
    profiles.profiles.insert(args.profile.clone(), Profile { dir: dir.clone() });
    profiles.save()?;
    let value = json!({ "type": "init", "profile": args.profile, "dir": dir, "remote": remote });
    out.result(&value, &format!("{}: {} over {remote}", args.profile, dir.display()))?;
    Ok(ExitCode::SUCCESS)
}

fn create_private(dir: &std::path::Path) -> Result<(), Failure> {
    let failure = |error| Failure::file(format!("cannot create {}", dir.display()))(error);
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent).map_err(failure)?;
    }
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(dir).map_err(failure)
}
