//! [`BlockingManager`]: how the pool opens, checks and closes connections.

use bucket_core::Ctx;

/// Opens, checks and closes the connections of a pool.
///
/// The pool never calls a manager while it holds a lock, so a manager may be slow and may use the
/// pool itself. A panic in any of these methods passes on to whoever called the pool; the connection
/// it concerned is dropped and its slot becomes free.
pub trait BlockingManager: Send + Sync + 'static {
    /// What the pool holds.
    type Connection: Send + 'static;
    /// Why a connection could not be opened, or is no longer good.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Opens a connection.
    ///
    /// `ctx.deadline` is when the caller of the pool stops waiting; the manager has to keep it.
    ///
    /// # Errors
    ///
    /// The error goes to the caller who wanted the connection, as
    /// [`AcquireError::Connect`](crate::AcquireError::Connect).
    fn connect(&self, ctx: &Ctx) -> Result<Self::Connection, Self::Error>;

    /// Proves that a connection still works, before it is handed out.
    ///
    /// Called only for connections that nothing proved within `check_after`. The default says yes.
    ///
    /// # Errors
    ///
    /// A connection that fails is closed and replaced; the caller of the pool does not see the error
    /// unless its deadline passes, and then as `last_error`.
    fn check(&self, _ctx: &Ctx, _connection: &mut Self::Connection) -> Result<(), Self::Error> {
        Ok(())
    }

    /// True when a returned connection must not be used again. Quick, without I/O; the default says
    /// no.
    fn is_broken(&self, _connection: &mut Self::Connection) -> bool {
        false
    }

    /// Closes a connection. The default drops it.
    ///
    /// The connection counts against `max_size` until this returns.
    fn close(&self, connection: Self::Connection) {
        drop(connection);
    }
}
