//! Behaviour of the whole log, through its public interface and on damaged files.

#[cfg(not(bucket_loom))]
mod archive;
#[cfg(not(bucket_loom))]
mod backup;
#[cfg(not(bucket_loom))]
mod behaviour;
#[cfg(not(bucket_loom))]
mod checkpoints;
#[cfg(all(not(bucket_loom), feature = "serde"))]
mod config;
#[cfg(not(bucket_loom))]
mod corpus;
#[cfg(not(bucket_loom))]
mod crash;
#[cfg(not(bucket_loom))]
mod damage;
#[cfg(not(bucket_loom))]
mod damaging;
#[cfg(not(bucket_loom))]
mod decode_frame;
#[cfg(not(bucket_loom))]
mod draft;
#[cfg(not(bucket_loom))]
mod fault_vfs;
#[cfg(not(bucket_loom))]
mod format;
#[cfg(not(bucket_loom))]
mod full_disk;
#[cfg(not(bucket_loom))]
mod fuzz_manifest;
#[cfg(not(bucket_loom))]
mod fuzz_segment;
#[cfg(not(bucket_loom))]
mod inspect;
#[cfg(all(not(bucket_loom), feature = "legacy"))]
mod legacy;
#[cfg(not(bucket_loom))]
mod lifecycle;
#[cfg(bucket_loom)]
mod loom_commit;
#[cfg(bucket_loom)]
mod loom_rotation;
#[cfg(bucket_loom)]
mod loom_tail;
#[cfg(not(bucket_loom))]
mod lost_numbers;
#[cfg(not(bucket_loom))]
mod machine;
#[cfg(not(bucket_loom))]
mod open_log;
#[cfg(not(bucket_loom))]
mod panics;
#[cfg(not(bucket_loom))]
mod policies;
#[cfg(all(not(bucket_loom), unix))]
mod reading;
#[cfg(not(bucket_loom))]
mod reading_twin;
#[cfg(not(bucket_loom))]
mod recovery;
#[cfg(not(bucket_loom))]
mod recovery_report;
#[cfg(not(bucket_loom))]
pub(crate) mod refusing_vfs;
#[cfg(all(not(bucket_loom), unix))]
mod replaying;
#[cfg(not(bucket_loom))]
mod reserve;
#[cfg(not(bucket_loom))]
mod spares;
#[cfg(not(bucket_loom))]
mod stats;
#[cfg(not(bucket_loom))]
mod sync_method;
#[cfg(not(bucket_loom))]
mod tailing;
#[cfg(not(bucket_loom))]
mod taking_back;
#[cfg(all(not(bucket_loom), any(feature = "metrics", feature = "tracing")))]
mod telemetry;
#[cfg(not(bucket_loom))]
mod truncate_before;
#[cfg(not(bucket_loom))]
mod tuning;
#[cfg(not(bucket_loom))]
mod unreadable;
