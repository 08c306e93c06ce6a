//! The kept corpus of the fuzz targets, as their plain twins read it.

use std::fs;
use std::path::PathBuf;

/// The folder of a target. A published crate comes without.
fn folder(target: &str) -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    folder.is_dir().then_some(folder)
}

/// Has every file of a target's corpus pass, and says how many there are; `None` without a corpus.
pub(super) fn each(target: &str, passes: impl Fn(&[u8])) -> Option<usize> {
    let files = fs::read_dir(folder(target)?).unwrap().map(|entry| entry.unwrap().path());
    let files = files.inspect(|path| {
        println!("{}", path.display());
        passes(&fs::read(path).unwrap());
    });
    Some(files.count())
}

/// The corpus has these seeds; makes them so with `BUCKET_BLESS` set.
pub(super) fn is_made_of(target: &str, seeds: impl IntoIterator<Item = (&'static str, Vec<u8>)>) {
    let Some(folder) = folder(target) else { return };
    for (name, bytes) in seeds {
        let path = folder.join(name);
        if std::env::var_os("BUCKET_BLESS").is_some() {
            fs::write(&path, &bytes).unwrap();
        }
        let kept = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(kept == bytes, "{} differs: run with BUCKET_BLESS=1", path.display());
    }
}
