//! The commands, a file each.

pub(crate) mod doctor;
pub(crate) mod flush;
pub(crate) mod get;
pub(crate) mod init;
pub(crate) mod ls;
pub(crate) mod put;
pub(crate) mod rm;
pub(crate) mod stat;
pub(crate) mod status;
pub(crate) mod wal;
mod walk;
