//! [`Group`]: the records that one commit writes, and how long they are at most once they are frames.

use crate::frame::{self, Entry, GROUP_LEN};

/// The records of one group.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) entries: Vec<Entry>,
    pub(crate) payloads: Vec<u8>,
    /// How the entries are cut into units, each of which is in one frame: it survives whole or not.
    pub(crate) units: Vec<Unit>,
    /// Every record of the group may use the reserve.
    pub(crate) reserved: bool,
}

/// Records that were appended together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unit {
    pub(crate) count: u32,
    pub(crate) bytes: u32,
}

impl Group {
    /// The group without its records, and without its memory if that is much.
    pub(crate) fn cleared(mut self) -> Self {
        if self.payloads.capacity() + self.entries.capacity() * size_of::<Entry>() > 4 * GROUP_LEN {
            return Self::default();
        }
        self.entries.clear();
        self.payloads.clear();
        self.units.clear();
        self.reserved = false;
        self
    }
}

/// No encoding of the group is longer.
pub(crate) fn encoded_bound(group: &Group) -> u64 {
    bound(group.entries.len(), group.payloads.len())
}

/// No encoding of this many records with this many bytes is longer.
pub(crate) fn bound(records: usize, bytes: usize) -> u64 {
    let frames = bytes / GROUP_LEN * 2 + 3;
    (bytes + records * 9 + frames * (frame::HEADER_LEN + frame::ALIGN)) as u64
}
