#![doc = include_str!("../README.md")]
#![cfg_attr(bucket_docsrs, feature(doc_cfg))]
// The vocabulary needs no unsafe, and never will.
#![forbid(unsafe_code)]

mod byte_count;
mod cancel;
mod class;
mod clock;
mod credential;
mod ctx;
mod durability;
mod gate;
mod op;
mod registry;
#[cfg(feature = "testing")]
#[cfg_attr(bucket_docsrs, doc(cfg(feature = "testing")))]
pub mod testing;

// The public interface is:
pub use byte_count::{ByteCount, ParseByteCountError};
pub use cancel::Cancel;
pub use class::{ByClass, Class, Classified, Classify};
pub use clock::{Clock, SystemClock, Tick};
pub use credential::{Credential, CredentialError, CredentialErrorKind, CredentialSource};
pub use ctx::Ctx;
pub use durability::Durability;
pub use gate::{Blocked, Gate};
pub use op::{OpId, OpKind, ParseOpIdError};
pub use registry::Registry;
