//! Where a remote comes from: one that all share, or a connection out of a pool.

use std::fmt;

use bucket_core::{Classified, Ctx};
use bucket_pool::{AcquireError, BlockingManager, Pool, Pooled};
use bucket_remote::Remote;

use crate::resilient::ResilientError;
use crate::sync::Arc;

/// Hands out a remote for the time of one operation.
pub(crate) trait Lend: fmt::Debug + Send + Sync {
    /// Calls `use_it` with a remote; what it returns says whether the connection is still good.
    fn lend(
        &self,
        ctx: &Ctx,
        use_it: &mut dyn FnMut(&dyn Remote) -> bool,
    ) -> Result<(), ResilientError>;
}

/// A remote that all callers share, because it pools inside or needs no connection.
#[derive(Debug)]
pub(crate) struct Shared(pub(crate) Arc<dyn Remote>);

impl Lend for Shared {
    fn lend(
        &self,
        _ctx: &Ctx,
        use_it: &mut dyn FnMut(&dyn Remote) -> bool,
    ) -> Result<(), ResilientError> {
        use_it(&*self.0);
        Ok(())
    }
}

/// Connections out of a pool, each of them a remote.
pub(crate) struct FromPool<M: BlockingManager>(pub(crate) Pool<M>);

impl<M: BlockingManager> fmt::Debug for FromPool<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FromPool").field(&self.0.name()).finish()
    }
}

impl<M> Lend for FromPool<M>
where
    M: BlockingManager<Connection: Remote>,
{
    fn lend(
        &self,
        ctx: &Ctx,
        use_it: &mut dyn FnMut(&dyn Remote) -> bool,
    ) -> Result<(), ResilientError> {
        let mut connection = self.0.acquire_with(ctx).map_err(|error| match error {
            AcquireError::Connect { source } => {
                ResilientError::Connect { source: Box::new(source) }
            }
            other => ResilientError::PoolExhausted { source: other.to_string().into() },
        })?;
        if !use_it(&*connection) {
            Pooled::poison(&mut connection);
        }
        Ok(())
    }
}

/// Whether a connection may be used again after an operation with this outcome.
pub(crate) fn keeps_connection<T, E: Classified>(result: &Result<T, E>) -> bool {
    !matches!(result, Err(error) if error.class().is_failure())
}
