//! The configuration in a file: what is read, what is refused, and that what was written is read back.

use std::time::Duration;

use bucket_core::ByteCount;

use crate::{
    CheckpointPolicy, InvalidOptions, RecoveryPolicy, SyncMethod, SyncPolicy, VerifyOnOpen, Wal,
    WalConfig, WalOptions,
};

fn read(json: &str) -> Result<WalConfig, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
}

/// What the options are without those that are code.
fn seen(options: &WalOptions) -> String {
    let WalOptions { segment_bytes, recovery, recovery_threads, verify, backup, .. } = options;
    let WalOptions { sync_policy, sync_method, write_through, lifecycle, .. } = options;
    let WalOptions { checkpoint_policy, keep_checkpoints, housekeeping_by_hand, .. } = options;
    let WalOptions { spare_segments, fill_spares, reserve_files, .. } = options;
    format!(
        "{segment_bytes} {recovery:?} {recovery_threads} {verify:?} {backup:?} {sync_policy:?} \
         {sync_method:?} {write_through} {lifecycle} {checkpoint_policy:?} {keep_checkpoints} \
         {housekeeping_by_hand} {spare_segments} {fill_spares} {reserve_files}"
    )
}

#[test]
fn an_empty_configuration_is_the_default() {
    let config = read("{}").unwrap();
    assert_eq!(config, WalConfig::default());
    assert_eq!(seen(&WalOptions::from_config(&config).unwrap()), seen(&Wal::options()));
}

#[test]
fn options_that_are_written_and_read_are_the_same_options() {
    let hour = Duration::from_secs(3_600);
    let bytes = ByteCount::new(1_234_567);
    let policies = [
        SyncPolicy::Always,
        SyncPolicy::Batch { records: 7, bytes, delay: Duration::from_nanos(1_500) },
        SyncPolicy::Periodic { interval: hour, max_unsynced: ByteCount::mib(3) },
        SyncPolicy::None,
    ];
    for (policy, method) in
        policies.into_iter().zip(SyncMethod::ALL.map(Some).into_iter().chain([None]))
    {
        let checkpoints = CheckpointPolicy::never().records(9).unwrap().bytes(bytes).unwrap();
        let mut options = Wal::options()
            .segment_size(ByteCount::kib(100))
            .unwrap()
            .sync_policy(policy)
            .unwrap()
            .write_through(true)
            .recovery(RecoveryPolicy::PointInTime)
            .recovery_threads(64)
            .unwrap()
            .verify_on_open(VerifyOnOpen::TailOnly)
            .backup_before_repair("/backup")
            .lifecycle(true)
            .checkpoints(checkpoints.interval(Duration::from_millis(1_001)).unwrap())
            .keep_checkpoints(5)
            .unwrap()
            .housekeeping_by_hand(true)
            .spare_segments(7)
            .unwrap()
            .fill_spare_segments(true)
            .reserve_files(false);
        options.sync_method = method;
        let written = serde_json::to_string(&options.config()).unwrap();
        let back = WalOptions::from_config(&read(&written).unwrap()).unwrap();
        assert_eq!(seen(&back), seen(&options), "{written}");
    }
}

#[test]
fn sizes_and_spans_are_written_as_people_write_them_and_lose_nothing() {
    let delay = Duration::from_micros(250);
    let policy = SyncPolicy::Batch { records: 1, bytes: ByteCount::new(1_000_001), delay };
    let options = Wal::options().segment_size(ByteCount::mib(16)).unwrap();
    let written = serde_json::to_value(options.sync_policy(policy).unwrap().config()).unwrap();
    assert_eq!(written["segment_size"], "16 MiB");
    let batch = &written["sync_policy"]["batch"];
    assert_eq!((&batch["bytes"], &batch["delay"]), (&1_000_001.into(), &"250 us".into()));
    let hours = read(r#"{"checkpoints": {"interval": "2h"}}"#).unwrap();
    let two = CheckpointPolicy::never().interval(Duration::from_secs(7_200)).unwrap();
    assert_eq!(hours.checkpoints, Some(two));
    assert_eq!(read(r#"{"segment_size": 65536}"#).unwrap().segment_size, ByteCount::kib(64));
}

#[test]
fn what_does_not_exist_is_refused_by_name() {
    for (json, name) in [
        (r#"{"segment_bytes": 1}"#, "segment_bytes"),
        (r#"{"recovery": "lenient"}"#, "lenient"),
        (r#"{"sync_method": "fsync"}"#, "fsync"),
        (r#"{"verify_on_open": "Full"}"#, "Full"),
        (r#"{"checkpoints": {"seconds": 1}}"#, "seconds"),
        (r#"{"sync_policy": {"periodic": {"interval": "1 s", "max_unsynced": 1, "x": 1}}}"#, "`x`"),
        (r#"{"sync_policy": {"batch": {"records": 1, "bytes": 1}}}"#, "delay"),
        (r#"{"segment_size": "16 parsecs"}"#, "not a size"),
        (r#"{"segment_size": true}"#, "a size"),
        (r#"{"checkpoints": {"interval": "5"}}"#, "\"5\" is not a span of time"),
        (r#"{"checkpoints": {"interval": "5 fortnights"}}"#, "5 fortnights"),
        (r#"{"checkpoints": {"interval": "99999999999999999999999 h"}}"#, "not a span"),
    ] {
        let error = read(json).expect_err(json);
        assert!(error.contains(name), "{json}: {error}");
    }
}

#[test]
fn values_outside_their_bounds_are_refused_as_the_builder_does() {
    for (json, wanted) in [
        (r#"{"segment_size": 1}"#, InvalidOptions::SegmentSize { size: ByteCount::new(1) }),
        (r#"{"spare_segments": 65}"#, InvalidOptions::SpareSegments { n: 65 }),
        (r#"{"recovery_threads": 65}"#, InvalidOptions::RecoveryThreads { threads: 65 }),
        (
            r#"{"keep_checkpoints": 0}"#,
            InvalidOptions::Checkpoints { rule: "between 1 and 16 can be kept" },
        ),
        (
            r#"{"sync_policy": {"batch": {"records": 0, "bytes": 1, "delay": "1 s"}}}"#,
            InvalidOptions::SyncPolicy { rule: "records must be at least 1" },
        ),
    ] {
        let refused = WalOptions::from_config(&read(json).unwrap()).expect_err(json);
        assert_eq!(refused, wanted);
    }
    // A policy that does not hold cannot be made at all.
    let error = read(r#"{"checkpoints": {"records": 0}}"#).unwrap_err();
    assert!(error.contains("checkpoints: records must be at least 1"), "{error}");
}

#[test]
fn statistics_and_reports_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, recovery) = Wal::open(dir.path().join("log")).unwrap();
    wal.append(b"record").unwrap();
    let stats = serde_json::to_value(wal.stats()).unwrap();
    assert_eq!((&stats["records"], &stats["durable_lsn"]), (&1.into(), &1.into()));
    assert_eq!(stats["sync_method"], "fdatasync");
    assert!(stats["checkpoint_age_seconds"].is_null());
    wal.checkpoint(crate::Lsn::new(2), b"").unwrap();
    let stats = serde_json::to_value(wal.stats()).unwrap();
    assert!(stats["checkpoint_age_seconds"].as_f64().is_some_and(|age| age < 3_600.0));
    let report = serde_json::to_value(recovery.report()).unwrap();
    assert_eq!((&report["policy"], &report["tail"]), (&"strict".into(), &"clean".into()));
    assert!(report["damage"].as_array().unwrap().is_empty());
}
