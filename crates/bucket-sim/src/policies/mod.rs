//! The policies that come with the crate: ours, the one of `ipfs_kit`, and none.

mod guarded;
mod ipfs_kit;

pub use self::guarded::Guarded;
pub use self::ipfs_kit::IpfsKit;

use bucket_core::Class;

use crate::{Policy, Request};

/// No policy at all: a request is one call. What the others are to be compared with.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct NoPolicy;

impl NoPolicy {
    /// One call a request.
    pub const fn new() -> Self {
        Self
    }
}

impl Policy for NoPolicy {
    async fn request(&self, mut request: Request<'_>) -> Class {
        request.call().await
    }
}
