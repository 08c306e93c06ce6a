//! Behaviour of the whole log, through its public interface and on damaged files.

mod behaviour;
mod crash;
mod damage;
mod fault_vfs;
