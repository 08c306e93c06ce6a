//! The umbrella leads to each crate by the name of its feature, and its README lists every feature.

#[test]
fn the_vocabulary_is_always_there() {
    use bucket_kit::core::{Clock, SystemClock, Tick};
    assert!(SystemClock::new().now() >= Tick::ZERO);
}

#[cfg(all(feature = "breaker", feature = "retry"))]
#[test]
fn the_blocks_share_one_vocabulary() {
    // The breaker of one crate is the gate of another, because both mean the trait of core.
    let breaker = bucket_kit::breaker::Breaker::builder("s3").build().unwrap();
    let gate: &dyn bucket_kit::core::Gate = &breaker;
    assert!(gate.may_try(bucket_kit::core::Tick::ZERO).is_ok());
    assert!(bucket_kit::retry::RetryPolicy::builder().build().is_ok());
}

#[cfg(feature = "pool")]
#[test]
fn pool_is_there() {
    fn is_error<T: std::error::Error>() {}
    is_error::<bucket_kit::pool::ConfigError>();
}

#[cfg(feature = "remote")]
#[test]
fn remote_is_there() {
    assert!(bucket_kit::remote::Key::new("photos/a.jpg").is_ok());
}

#[cfg(all(feature = "remote", feature = "testing"))]
#[test]
fn testing_reaches_what_is_on() {
    let clock = bucket_kit::core::testing::ManualClock::new();
    assert_eq!(bucket_kit::core::Clock::now(&clock), bucket_kit::core::Tick::ZERO);
    let _remote = bucket_kit::remote::testing::MemoryRemote::new();
}

#[cfg(feature = "sim")]
#[test]
fn sim_is_there() {
    assert!(bucket_kit::sim::scenarios::hard_outage(std::time::Duration::from_secs(20)).is_ok());
}

#[cfg(feature = "store")]
#[test]
fn store_is_there() {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<bucket_kit::store::Bucket>();
    is_shared::<bucket_kit::store::ResilientRemote>();
}

#[cfg(feature = "vfs")]
#[test]
fn vfs_is_there() {
    use bucket_kit::vfs::{StdVfs, Vfs};
    let _: std::sync::Arc<dyn Vfs> = std::sync::Arc::new(StdVfs::new());
}

#[cfg(feature = "wal")]
#[test]
fn wal_is_there() {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<bucket_kit::wal::Wal>();
}

#[test]
fn the_readme_lists_every_feature_and_no_other() {
    let features = include_str!("../Cargo.toml")
        .lines()
        .skip_while(|line| *line != "[features]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once(" = ").map(|(name, _)| name))
        .filter(|name| *name != "default")
        .collect::<std::collections::BTreeSet<_>>();
    let listed = include_str!("../README.md")
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(features, listed);
}
