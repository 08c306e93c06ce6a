//! Segments: the header that identifies a file of the log, and the names of the files.

use crc32fast::Hasher;

use crate::format::{self, Features};
use crate::frame::{self, le_u32, le_u64};
use crate::planted;

/// The header takes the first block of the file.
pub(crate) const HEADER_LEN: u64 = 4_096;

/// A record is acknowledged only while at least this many zeros follow it, unless it may use the
/// reserve. So a file that is shorter was cut.
pub(crate) const ROOM: u64 = 32 << 10;

const MAGIC: [u8; 8] = *b"\x89BWL\r\n\x1a\n";
const FORMAT_MINOR: u16 = 0;
const CRC_AT: usize = 4_092;
const KEEPS_EVIDENCE: u32 = 1;
const IS_REUSED: u32 = 2;
/// Numbers above are nobody's: the writer could not count on from there.
pub(crate) const MAX_ID: u64 = u64::MAX >> 1;
/// The same for the numbers of records.
pub(crate) const MAX_LSN: u64 = u64::MAX >> 1;

/// The identity of a segment and what it says of its predecessor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) log_id: u128,
    pub(crate) segment_id: u64,
    pub(crate) first_lsn: u64,
    /// Who writes: grows when records are taken back or another writer takes over.
    pub(crate) epoch: u64,
    /// The segment before this one; 0 when this is the first of the log.
    pub(crate) prev_segment_id: u64,
    /// How many bytes of the predecessor count. Whatever it holds beyond them is void.
    pub(crate) prev_data_len: u64,
    /// The number after the last record of the predecessor; 0 for the first of the log.
    pub(crate) prev_next_lsn: u64,
    /// The chain over all records before this segment.
    pub(crate) prev_chain: u32,
    /// Fresh for each file, so that a reused name never validates old content.
    pub(crate) salt: u32,
    /// How many bytes of this file were durable before it got its name.
    pub(crate) durable_len: u64,
    /// What this segment makes void is evidence of damage, and is kept.
    pub(crate) keeps_evidence: bool,
    /// The file was a segment before: behind the frames there may be old ones instead of zeros.
    pub(crate) is_reused: bool,
    /// Those that the log has turned on.
    pub(crate) features: Features,
}

/// Where a segment ends, as the header of the next states it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ending {
    /// 0 where no segment comes before.
    pub(crate) segment_id: u64,
    pub(crate) data_len: u64,
    /// The number after the last record.
    pub(crate) next_lsn: u64,
    /// The chain over all records of the log up to here: a CRC of their rows in the tables of the
    /// frames, one after the other. It depends on the records alone, so that it is the same however they
    /// are grouped and after they were copied.
    pub(crate) chain: u32,
}

/// Why a file has no usable header.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HeaderError {
    /// Not a segment, or damaged.
    Damaged,
    /// Written by a version that this one must not touch.
    Unsupported { major: u16, flags: u32 },
}

impl Header {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; HEADER_LEN as usize];
        out[0..8].copy_from_slice(&MAGIC);
        out[8..10].copy_from_slice(&format::MAJOR.to_le_bytes());
        out[10..12].copy_from_slice(&FORMAT_MINOR.to_le_bytes());
        out[12..16].copy_from_slice(&(HEADER_LEN as u32).to_le_bytes());
        out[16..20].copy_from_slice(&self.features.bits().to_le_bytes());
        let flag = |is_set: bool, flag: u32| if is_set { flag } else { 0 };
        let compatible =
            flag(self.keeps_evidence, KEEPS_EVIDENCE) | flag(self.is_reused, IS_REUSED);
        out[20..24].copy_from_slice(&compatible.to_le_bytes());
        out[24..40].copy_from_slice(&self.log_id.to_le_bytes());
        out[40..48].copy_from_slice(&self.segment_id.to_le_bytes());
        out[48..56].copy_from_slice(&self.first_lsn.to_le_bytes());
        out[56..64].copy_from_slice(&self.epoch.to_le_bytes());
        out[64..72].copy_from_slice(&self.prev_segment_id.to_le_bytes());
        out[72..80].copy_from_slice(&self.prev_data_len.to_le_bytes());
        out[80..88].copy_from_slice(&self.prev_next_lsn.to_le_bytes());
        out[88..92].copy_from_slice(&self.prev_chain.to_le_bytes());
        out[92..96].copy_from_slice(&self.salt.to_le_bytes());
        out[96..104].copy_from_slice(&self.durable_len.to_le_bytes());
        let crc = crc32fast::hash(&out[..CRC_AT]);
        out[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a header, of a log with no other features than these.
    pub(crate) fn decode(bytes: &[u8], known: Features) -> Result<Self, HeaderError> {
        let bytes: &[u8; HEADER_LEN as usize] = bytes.first_chunk().ok_or(HeaderError::Damaged)?;
        if bytes[..8] != MAGIC || crc32fast::hash(&bytes[..CRC_AT]) != le_u32(&bytes[CRC_AT..]) {
            return Err(HeaderError::Damaged);
        }
        let major = u16::from_le_bytes([bytes[8], bytes[9]]);
        let flags = le_u32(&bytes[16..20]);
        let features = Features::from_bits(flags);
        if major != format::MAJOR || !features.are_all_in(known) {
            return Err(HeaderError::Unsupported { major, flags });
        }
        let header = Self {
            log_id: u128::from(le_u64(&bytes[24..32])) | u128::from(le_u64(&bytes[32..40])) << 64,
            segment_id: le_u64(&bytes[40..48]),
            first_lsn: le_u64(&bytes[48..56]),
            epoch: le_u64(&bytes[56..64]),
            prev_segment_id: le_u64(&bytes[64..72]),
            prev_data_len: le_u64(&bytes[72..80]),
            prev_next_lsn: le_u64(&bytes[80..88]),
            prev_chain: le_u32(&bytes[88..92]),
            salt: le_u32(&bytes[92..96]),
            durable_len: le_u64(&bytes[96..104]),
            keeps_evidence: le_u32(&bytes[20..24]) & KEEPS_EVIDENCE != 0,
            is_reused: le_u32(&bytes[20..24]) & IS_REUSED != 0,
            features,
        };
        // No writer makes a header that says anything else, and the arithmetic relies on it.
        let is_sane = header.prev_segment_id < header.segment_id
            && header.segment_id < MAX_ID
            && header.prev_next_lsn <= header.first_lsn
            && header.first_lsn <= MAX_LSN;
        if is_sane { Ok(header) } else { Err(HeaderError::Damaged) }
    }

    /// How many bytes of the predecessor count, what follows its last record and the chain up to there.
    pub(crate) const fn prev(&self) -> Ending {
        Ending {
            segment_id: self.prev_segment_id,
            data_len: self.prev_data_len,
            next_lsn: self.prev_next_lsn,
            chain: self.prev_chain,
        }
    }

    /// The seed of every frame check of this segment.
    pub(crate) fn seed(&self) -> Hasher {
        let mut seed = Hasher::new();
        if planted::is_unseeded() {
            return seed;
        }
        seed.update(&self.log_id.to_le_bytes());
        seed.update(&self.segment_id.to_le_bytes());
        seed.update(&self.salt.to_le_bytes());
        seed
    }
}

/// The chain behind records with these rows, which followed records with that chain.
pub(crate) fn extend_chain(chain: u32, rows: &[u8]) -> u32 {
    if rows.len() < frame::FEW {
        return frame::crc_of_few(chain, rows);
    }
    let mut hasher = Hasher::new_with_initial(chain);
    hasher.update(rows);
    hasher.finalize()
}

/// The file name of a segment.
pub(crate) fn file_name(segment_id: u64) -> String {
    format!("seg-{segment_id:016x}.wal")
}

/// The name of a file that is kept to become a segment.
pub(crate) fn spare_name(id: u64) -> String {
    format!("spare-{id:016x}.wal")
}

/// Whether this is a name that [`spare_name`] gives.
pub(crate) fn is_spare_name(name: &str) -> bool {
    number_in(name, "spare-", ".wal").is_some()
}

/// The number in a file name of the form `PREFIXnumberSUFFIX`, sixteen hexadecimal digits.
pub(crate) fn number_in(name: &str, prefix: &str, suffix: &str) -> Option<u64> {
    let digits = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
    if digits.len() != 16 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            log_id: 1 << 100 | 5,
            segment_id: 3,
            first_lsn: 77,
            epoch: 6,
            prev_segment_id: 2,
            prev_data_len: 9_000,
            prev_next_lsn: 76,
            prev_chain: 0xfeed_f00d,
            salt: 0xdead_beef,
            durable_len: 4_096,
            keeps_evidence: true,
            is_reused: true,
            features: FEATURE,
        }
    }

    const FEATURE: Features = Features::from_bits(4);

    fn decode(bytes: &[u8]) -> Result<Header, HeaderError> {
        Header::decode(bytes, FEATURE)
    }

    #[test]
    fn a_header_decodes_and_any_flipped_bit_is_noticed() {
        let bytes = header().encode();
        assert_eq!(decode(&bytes), Ok(header()));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert_eq!(decode(&damaged), Err(HeaderError::Damaged), "byte {at}");
        }
        assert_eq!(decode(&bytes[..4_095]), Err(HeaderError::Damaged));
        assert_eq!(decode(&[]), Err(HeaderError::Damaged));
    }

    #[test]
    fn a_newer_format_or_an_unknown_feature_is_refused_and_not_called_damage() {
        for (at, major, flags) in [(8, 3, 4), (16, 1, 6)] {
            let mut bytes = header().encode();
            bytes[at] ^= 2;
            resum(&mut bytes);
            assert_eq!(decode(&bytes), Err(HeaderError::Unsupported { major, flags }));
        }
    }

    #[test]
    fn an_unknown_flag_that_is_compatible_changes_nothing() {
        let mut bytes = header().encode();
        bytes[20] |= 0x80;
        resum(&mut bytes);
        assert_eq!(decode(&bytes), Ok(header()));
    }

    fn resum(bytes: &mut [u8]) {
        let crc = crc32fast::hash(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    }

    #[test]
    fn only_our_own_file_names_are_read_as_numbers() {
        assert_eq!(number_in(&file_name(0xabc), "seg-", ".wal"), Some(0xabc));
        for name in ["seg-1.wal", "seg-000000000000000g.wal", "seg-+00000000000000a.wal", "x"] {
            assert_eq!(number_in(name, "seg-", ".wal"), None, "{name}");
        }
    }
}
