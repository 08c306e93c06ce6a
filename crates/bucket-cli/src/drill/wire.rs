//! What parent and child say to each other: orders and answers as JSON lines, the remote's requests and
//! replies as frames with a length in front. Nothing that arrives is believed beyond its bounds.

use std::io::{self, BufRead, Read, Write};
use std::ops::Range;
use std::time::Duration;

use bucket_core::OpId;
use bucket_remote::{
    Applied, Body, Digest, Key, ListRequest, Meta, Object, Page, Precondition, RemoteError,
    RemoteErrorKind, Version,
};
use serde::{Deserialize, Serialize};

/// The longest content that a drill stores.
pub(crate) const MAX_CONTENT: u64 = 16 << 20;
/// The longest frame: a content and what is said about it.
pub(crate) const MAX_FRAME: usize = MAX_CONTENT as usize + (1 << 20);
/// The longest line.
pub(crate) const MAX_LINE: u64 = 64 << 10;

/// Parent to child.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
#[serde(untagged, deny_unknown_fields)]
pub(crate) enum Order {
    Op {
        i: u64,
        op: OpName,
        key: String,
        len: u64,
        seed: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<String>,
    },
    Flush {
        flush: bool,
        timeout_ms: u64,
    },
    Status {
        status: bool,
    },
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OpName {
    Delete,
    Get,
    Put,
}

/// Child to parent.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
#[serde(untagged, deny_unknown_fields)]
pub(crate) enum Answer {
    Ack {
        i: u64,
        ack: bool,
        lsn: u64,
        #[serde(deserialize_with = "Option::deserialize")]
        sha256: Option<String>,
        op_id: String,
    },
    Error {
        i: u64,
        error: String,
        accepted: Accepted,
        message: String,
    },
    Flushed {
        flushed: bool,
        message: String,
    },
    Read {
        i: u64,
        // With a function of its own, a missing field is an error and not `None`.
        #[serde(deserialize_with = "Option::deserialize")]
        read: Option<String>,
    },
    Status {
        status: StatusLine,
    },
}

/// What an error says about the operation it ended.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Accepted {
    No,
    Unknown,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct StatusLine {
    pub(crate) pending_ops: u64,
    pub(crate) pending_bytes: u64,
    pub(crate) degraded: Option<String>,
    pub(crate) faulted: bool,
    pub(crate) parked: Option<String>,
    pub(crate) last_error: Option<String>,
}

/// A call of the child's remote.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) id: u64,
    /// When it was sent, in microseconds of the wall clock: the remote keeps its promise about how late
    /// a request may take effect also when this machine stalls.
    pub(crate) sent_us: u64,
    pub(crate) op_id: Option<OpId>,
    pub(crate) call: Call,
}

#[derive(Debug)]
pub(crate) enum Call {
    Delete { key: Key, precondition: Precondition },
    Get { key: Key, range: Option<Range<u64>> },
    Head { key: Key },
    List(ListRequest),
    Put { key: Key, precondition: Precondition, digest: Option<Digest>, body: Vec<u8> },
}

/// What came of a call.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) id: u64,
    pub(crate) result: Result<Reply, RemoteError>,
}

#[derive(Debug)]
pub(crate) enum Reply {
    Done,
    Meta(Meta),
    Object(Object),
    Page(Page),
    Version(Version),
}

impl Call {
    pub(crate) const fn is_mutation(&self) -> bool {
        matches!(self, Self::Delete { .. } | Self::Put { .. })
    }
}

/// Writes one frame.
pub(crate) fn write_frame(out: &mut impl Write, frame: &[u8]) -> io::Result<()> {
    let len = u32::try_from(frame.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    out.write_all(&len.to_le_bytes())?;
    out.write_all(frame)
}

/// The next frame; `None` at the end. What its length promises is not allocated before it arrives.
pub(crate) fn read_frame(input: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut len = [0; 4];
    let first = loop {
        match input.read(&mut len) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => break other?,
        }
    };
    if first == 0 {
        return Ok(None);
    }
    input.read_exact(&mut len[first..])?;
    let len = u32::from_le_bytes(len) as usize;
    if len > MAX_FRAME {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut frame = Vec::with_capacity(len.min(64 << 10));
    input.take(len as u64).read_to_end(&mut frame)?;
    if frame.len() < len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(frame))
}

/// The next JSON line; `None` at the end. A last line without its end is not one.
pub(crate) fn read_line<T: for<'a> Deserialize<'a>>(
    input: &mut impl BufRead,
) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    input.take(MAX_LINE).read_until(b'\n', &mut line)?;
    if line.last() != Some(&b'\n') {
        let too_long = line.len() as u64 == MAX_LINE;
        return if too_long { Err(io::ErrorKind::InvalidData.into()) } else { Ok(None) };
    }
    Ok(Some(serde_json::from_slice(&line)?))
}

/// One value as a line.
pub(crate) fn line(value: &impl Serialize) -> Vec<u8> {
    // Our own types have string keys and no failing serializer.
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line
}

impl Request {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Out::default();
        out.u64(self.id);
        out.u64(self.sent_us);
        out.option(self.op_id.as_ref(), |out, id| out.0.extend(id.get().to_le_bytes()));
        match &self.call {
            Call::Delete { key, precondition } => {
                out.tag(0);
                out.text(key.as_str());
                out.precondition(precondition);
            }
            Call::Get { key, range } => {
                out.tag(1);
                out.text(key.as_str());
                out.option(range.as_ref(), |out, range| {
                    out.u64(range.start);
                    out.u64(range.end);
                });
            }
            Call::Head { key } => {
                out.tag(2);
                out.text(key.as_str());
            }
            Call::List(request) => {
                out.tag(3);
                out.text(&request.prefix);
                out.option(request.after.as_ref(), |out, after| out.text(after.as_str()));
                out.u64(request.limit as u64);
            }
            Call::Put { key, precondition, digest, body } => {
                out.tag(4);
                out.text(key.as_str());
                out.precondition(precondition);
                out.option(digest.as_ref(), |out, digest| out.0.extend(digest.as_bytes()));
                out.bytes(body);
            }
        }
        out.0
    }

    pub(crate) fn decode(frame: &[u8]) -> Option<Self> {
        let mut input = In(frame);
        let (id, sent_us) = (input.u64()?, input.u64()?);
        let op_id = input.option(In::op_id)?;
        let call = match input.tag()? {
            0 => Call::Delete { key: input.key()?, precondition: input.precondition()? },
            1 => Call::Get {
                key: input.key()?,
                range: input.option(|input| Some(input.u64()?..input.u64()?))?,
            },
            2 => Call::Head { key: input.key()? },
            3 => {
                let request = ListRequest::new(input.text()?).after(input.option(In::key)?);
                Call::List(request.limit(usize::try_from(input.u64()?).ok()?))
            }
            4 => Call::Put {
                key: input.key()?,
                precondition: input.precondition()?,
                digest: input.option(In::digest)?,
                body: input.bytes()?.to_vec(),
            },
            _ => return None,
        };
        input.end(Self { id, sent_us, op_id, call })
    }
}

impl Response {
    /// `None` when a body cannot be read, which bodies in memory always can.
    pub(crate) fn encode(&self) -> Option<Vec<u8>> {
        let mut out = Out::default();
        out.u64(self.id);
        match &self.result {
            Ok(Reply::Done) => out.tag(0),
            Ok(Reply::Meta(meta)) => {
                out.tag(1);
                out.meta(meta);
            }
            Ok(Reply::Object(object)) => {
                out.tag(2);
                out.meta(&object.meta);
                out.bytes(&object.body.to_bytes().ok()?);
            }
            Ok(Reply::Page(page)) => {
                out.tag(3);
                out.tag(u8::from(page.more));
                out.u64(page.entries.len() as u64);
                page.entries.iter().for_each(|meta| out.meta(meta));
            }
            Ok(Reply::Version(version)) => {
                out.tag(4);
                out.text(version.as_str());
            }
            Err(error) => {
                out.tag(5);
                let kind = KINDS.iter().position(|kind| *kind == error.kind);
                out.tag(kind.map_or(u8::MAX, |kind| kind as u8));
                out.tag(u8::from(error.is_ambiguous()));
                out.option(error.retry_after.as_ref(), |out, after| {
                    out.u64(u64::try_from(after.as_micros()).unwrap_or(u64::MAX));
                });
            }
        }
        Some(out.0)
    }

    pub(crate) fn decode(frame: &[u8]) -> Option<Self> {
        let mut input = In(frame);
        let id = input.u64()?;
        let result = match input.tag()? {
            0 => Ok(Reply::Done),
            1 => Ok(Reply::Meta(input.meta()?)),
            2 => {
                let (meta, body) = (input.meta()?, input.bytes()?.to_vec());
                Ok(Reply::Object(Object::new(meta, Body::from(body))))
            }
            3 => {
                let more = input.tag()? == 1;
                let n = input.u64()?;
                // Collects as long as there is input, so that a number alone allocates nothing.
                let entries: Option<Vec<_>> = (0..n).map(|_| input.meta()).collect();
                Ok(Reply::Page(Page::new(entries?, more)))
            }
            4 => Ok(Reply::Version(Version::new(input.text()?))),
            5 => {
                let kind = KINDS.get(usize::from(input.tag()?));
                let kind = kind.copied().unwrap_or(RemoteErrorKind::Transient);
                let mut error = RemoteError::refused(kind);
                if input.tag()? != 0 {
                    error.applied = Applied::Unknown;
                }
                error.retry_after = input.option(In::u64)?.map(Duration::from_micros);
                Err(error)
            }
            _ => return None,
        };
        input.end(Self { id, result })
    }
}

#[derive(Default)]
struct Out(Vec<u8>);

impl Out {
    fn tag(&mut self, tag: u8) {
        self.0.push(tag);
    }

    fn u64(&mut self, n: u64) {
        self.0.extend(n.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.u64(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn option<T>(&mut self, value: Option<&T>, write: impl FnOnce(&mut Self, &T)) {
        self.tag(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }

    fn precondition(&mut self, precondition: &Precondition) {
        match precondition {
            Precondition::IfAbsent => self.tag(1),
            Precondition::IfMatch(version) => {
                self.tag(2);
                self.text(version.as_str());
            }
            _ => self.tag(0),
        }
    }

    fn meta(&mut self, meta: &Meta) {
        self.text(meta.key.as_str());
        self.text(meta.version.as_str());
        self.u64(meta.len);
        self.option(meta.op_id.as_ref(), |out, id| out.0.extend(id.get().to_le_bytes()));
        self.option(meta.digest.as_ref(), |out, digest| out.0.extend(digest.as_bytes()));
    }
}

struct In<'a>(&'a [u8]);

impl<'a> In<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn tag(&mut self) -> Option<u8> {
        Some(self.array::<1>()?[0])
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.u64()?).ok()?;
        self.take(len)
    }

    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    fn key(&mut self) -> Option<Key> {
        Key::new(self.text()?).ok()
    }

    fn op_id(&mut self) -> Option<OpId> {
        self.array().map(|bytes| OpId::new(u128::from_le_bytes(bytes)))
    }

    fn digest(&mut self) -> Option<Digest> {
        self.array().map(Digest::new)
    }

    fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.tag()? {
            0 => Some(None),
            1 => read(self).map(Some),
            _ => None,
        }
    }

    fn precondition(&mut self) -> Option<Precondition> {
        Some(match self.tag()? {
            0 => Precondition::None,
            1 => Precondition::IfAbsent,
            2 => Precondition::IfMatch(Version::new(self.text()?)),
            _ => return None,
        })
    }

    fn meta(&mut self) -> Option<Meta> {
        let (key, version) = (self.key()?, Version::new(self.text()?));
        let mut meta = Meta::new(key, version, self.u64()?);
        meta.op_id = self.option(Self::op_id)?;
        meta.digest = self.option(Self::digest)?;
        Some(meta)
    }

    fn end<T>(&self, value: T) -> Option<T> {
        self.0.is_empty().then_some(value)
    }
}

const KINDS: [RemoteErrorKind; 14] = [
    RemoteErrorKind::Auth,
    RemoteErrorKind::Cancelled,
    RemoteErrorKind::ConditionFalse,
    RemoteErrorKind::Conflict,
    RemoteErrorKind::Corrupt,
    RemoteErrorKind::Invalid,
    RemoteErrorKind::NotFound,
    RemoteErrorKind::Quota,
    RemoteErrorKind::Throttled,
    RemoteErrorKind::Timeout,
    RemoteErrorKind::TooLarge,
    RemoteErrorKind::Transient,
    RemoteErrorKind::Unavailable,
    RemoteErrorKind::Unsupported,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key::new(text).unwrap()
    }

    fn requests() -> Vec<Request> {
        let if_match = Precondition::IfMatch(Version::new("m7"));
        let digest = Some(Digest::new([9; 32]));
        let precondition = Precondition::IfAbsent;
        let calls = [
            Call::Delete { key: key("a"), precondition: if_match },
            Call::Delete { key: key("a"), precondition: Precondition::None },
            Call::Get { key: key("a/é"), range: None },
            Call::Get { key: key("a"), range: Some(3..9) },
            Call::Head { key: key("a") },
            Call::List(ListRequest::new("p/").after(Some(key("p/x"))).limit(7)),
            Call::Put { key: key("a"), precondition, digest, body: b"content".to_vec() },
        ];
        let op_id = Some(OpId::new(u128::MAX - 5));
        calls.map(|call| Request { id: 3, sent_us: 77, op_id, call }).into()
    }

    fn responses() -> Vec<Response> {
        let mut meta = Meta::new(key("a"), Version::new("m1"), 3);
        (meta.op_id, meta.digest) = (Some(OpId::new(4)), Some(Digest::new([1; 32])));
        let mut error = RemoteError::ambiguous(RemoteErrorKind::Throttled);
        error.retry_after = Some(Duration::from_millis(70));
        let results = [
            Ok(Reply::Done),
            Ok(Reply::Meta(meta.clone())),
            Ok(Reply::Object(Object::new(meta.clone(), "abc".into()))),
            Ok(Reply::Page(Page::new(vec![meta.clone(), meta], true))),
            Ok(Reply::Version(Version::new("m2"))),
            Err(error),
        ];
        results.map(|result| Response { id: u64::MAX, result }).into()
    }

    #[test]
    fn requests_and_responses_come_back_as_they_were() {
        for request in requests() {
            let decoded = Request::decode(&request.encode()).unwrap();
            assert_eq!(format!("{decoded:?}"), format!("{request:?}"));
        }
        for response in responses() {
            let frame = response.encode().unwrap();
            let decoded = Response::decode(&frame).unwrap();
            assert_eq!(format!("{decoded:?}"), format!("{response:?}"));
            assert_eq!(decoded.encode().unwrap(), frame);
        }
    }

    #[test]
    fn a_frame_that_is_cut_extended_or_changed_never_panics() {
        let frames = requests().iter().map(Request::encode).collect::<Vec<_>>();
        let more = responses().iter().filter_map(Response::encode).collect::<Vec<_>>();
        for frame in frames.iter().chain(&more) {
            for cut in 0..frame.len() {
                assert!(Request::decode(&frame[..cut]).is_none() || more.contains(frame));
                let _ = Response::decode(&frame[..cut]);
                for value in [0, 1, 2, 0x7f, 0xff] {
                    let mut changed = frame.clone();
                    changed[cut] = value;
                    let _ = (Request::decode(&changed), Response::decode(&changed));
                }
            }
            let longer = [frame.as_slice(), &[0]].concat();
            assert!(Request::decode(&longer).is_none());
        }
    }

    #[test]
    fn a_hostile_length_is_refused_before_anything_is_allocated() {
        let mut huge = &[0xff, 0xff, 0xff, 0xff, 1, 2][..];
        assert_eq!(read_frame(&mut huge).unwrap_err().kind(), io::ErrorKind::InvalidData);
        let promised = (MAX_FRAME as u32).to_le_bytes();
        let mut short = &promised[..];
        assert_eq!(read_frame(&mut short).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        let mut nothing = &[][..];
        assert!(read_frame(&mut nothing).unwrap().is_none());
    }

    #[test]
    fn frames_follow_each_other() {
        let mut stream = Vec::new();
        write_frame(&mut stream, b"one").unwrap();
        write_frame(&mut stream, b"").unwrap();
        let mut input = stream.as_slice();
        assert_eq!(read_frame(&mut input).unwrap().unwrap(), b"one");
        assert_eq!(read_frame(&mut input).unwrap().unwrap(), b"");
        assert!(read_frame(&mut input).unwrap().is_none());
    }

    #[test]
    fn orders_and_answers_are_the_lines_of_the_protocol() {
        let order: Order =
            serde_json::from_str(r#"{"i":1,"op":"put","key":"k","len":3,"seed":9}"#).unwrap();
        assert!(matches!(&order, Order::Op { i: 1, op: OpName::Put, path: None, .. }));
        for order in [order, Order::Status { status: true }] {
            let mut input = &line(&order)[..];
            assert_eq!(read_line::<Order>(&mut input).unwrap().unwrap(), order);
        }
        let read: Answer = serde_json::from_str(r#"{"i":1,"read":null}"#).unwrap();
        assert_eq!(read, Answer::Read { i: 1, read: None });
        for nonsense in [r#"{"i":1}"#, r#"{"i":1,"x":2}"#, r#"{"i":1,"ack":true}"#] {
            assert!(serde_json::from_str::<Answer>(nonsense).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn a_line_that_was_torn_by_a_kill_is_no_line_and_an_endless_one_is_an_error() {
        assert!(read_line::<Answer>(&mut &br#"{"i":1,"read":nu"#[..]).unwrap().is_none());
        let endless = vec![b' '; MAX_LINE as usize + 1];
        assert!(read_line::<Answer>(&mut &endless[..]).is_err());
    }
}
