//! What was pending when the log was last used: read from the records, from the place on that the newest
//! checkpoint names.

use super::{Lifecycle, Marker, Moved, Op, SUBJECT_LEN};
use crate::commit::Shared;
use crate::error::WalError;
use crate::frame::{RecordKind, le_u64};
use crate::lsn::Lsn;
use crate::planted::Planted;
use crate::reader::{Reader, Record};
use crate::sync::Arc;

impl Lifecycle {
    /// Takes in a durable record, in the order of the log.
    fn restore(&mut self, record: &Record) {
        let lsn = record.lsn.get();
        let len = record.payload.len();
        match record.kind {
            RecordKind::Op => {
                self.here.insert(lsn, Op { len: len as u32, settling: false });
                self.weigh(len as u32, 1);
            }
            RecordKind::Complete | RecordKind::Abort => self.remove(le_u64(&record.payload)),
            RecordKind::Survivor => {
                let subject = le_u64(&record.payload);
                if self.op(subject).is_some() {
                    self.apply(Marker { lsn, subject, kind: record.kind });
                } else {
                    // Its own record lies before what is needed, and may be gone.
                    let op = Op { len: len.saturating_sub(SUBJECT_LEN) as u32, settling: false };
                    self.weigh(op.len, 1);
                    self.moved.insert(subject, Moved { at: lsn, op });
                    self.moved_at.insert((lsn, subject));
                }
            }
        }
    }
}

impl Shared {
    /// Finds out what is pending and begins to keep account of it. Records that cannot be read are left
    /// out when `salvage` says so: the report of the recovery names them.
    pub(crate) fn restore_lifecycle(
        self: &Arc<Self>,
        from: u64,
        salvage: bool,
        planted: Planted,
    ) -> Result<Vec<Lsn>, WalError> {
        let mut lifecycle = Lifecycle::new(planted);
        for record in Reader::new(Arc::clone(self), Lsn::new(from)) {
            match record {
                Ok(record) => lifecycle.restore(&record),
                Err(error) if salvage && error.is_damage() => {}
                Err(error) => return Err(error),
            }
        }
        let pending = lifecycle.pending().into_iter().map(Lsn::new).collect();
        self.state.lock().lifecycle = Some(lifecycle);
        Ok(pending)
    }
}
