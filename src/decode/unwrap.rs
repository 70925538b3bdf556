//! A payload out of its wrappers: gzip, zstd, and the envelopes of CloudWatch Logs.
//!
//! Owns how compression is recognised (by the payload's first bytes) and what unwrapping may cost: what one record and
//! what a batch may grow to, and how often a payload may be compressed over. Envelopes are `envelope`'s, events are
//! `payload`'s. A payload that is not wrapped stays where it is.

use std::io::{self, Read};

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use zstd::stream::read::Decoder;

use super::envelope::{Part, Parts};
use super::fault::Reason;

/// What a record's payload may grow to: what is larger, nobody meant as one record.
const MAX_RECORD: usize = 32 << 20;

/// What the texts of a batch may come to: 12 MiB of compressed JSON are 240 MiB of it. It takes any one record.
const MAX_TEXTS: usize = 36 << 20;

/// What a payload may grow to, by its own size: as many times, gzip's most, and as many bytes more. So what is sent
/// bounds the work that it makes.
const MAX_GROWTH: usize = 1024;
const GROWN_ANYWAY: usize = 64 << 10;

/// What may be decompressed for a batch, kept or not: some seconds of work.
const MAX_INFLATED: usize = 1 << 30;

/// Whoever compresses twice (the producer, then its library) is served; nobody means a third time.
const MAX_LAYERS: usize = 2;

/// What a zstd frame may ask a decoder to remember, as a power of two: zstd's own default, 128 MiB.
const MAX_WINDOW_LOG: u32 = 27;

const GZIP: &[u8] = b"\x1F\x8B\x08";
const ZSTD: &[u8] = b"\x28\xB5\x2F\xFD";

/// What unwrapping may still cost in this batch, in bytes.
#[derive(Clone, Copy)]
pub(super) struct Budget {
    /// A record's text.
    pub(super) record: usize,
    /// The batch's texts.
    pub(super) texts: usize,
    /// What is decompressed.
    pub(super) inflated: usize,
}

/// Why a payload was not unwrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// Its own fault.
    Payload(Reason),
    /// The batch has no room left for it: another may have.
    Budget,
}

impl From<Reason> for Obstacle {
    fn from(reason: Reason) -> Self {
        Self::Payload(reason)
    }
}

/// What was in the wrappers.
pub(super) struct Unwrapped {
    /// The text that events are read from.
    pub(super) payload: Bytes,
    /// The messages in it; none where it is one payload.
    pub(super) parts: Option<Vec<Part>>,
}

#[derive(Clone, Copy)]
enum Compression {
    Gzip,
    Zstd,
}

impl Default for Budget {
    fn default() -> Self {
        Self { record: MAX_RECORD, texts: MAX_TEXTS, inflated: MAX_INFLATED }
    }
}

impl Budget {
    /// Takes a payload out of its wrappers; none where it has none.
    #[inline]
    pub(super) fn unwrap(&mut self, payload: &Bytes) -> Result<Option<Unwrapped>, Obstacle> {
        let text = self.inflate(payload)?;
        let parts = Parts::of(text.as_ref().unwrap_or(payload));
        Ok(match (text, parts) {
            (None, None) => None,
            (Some(payload), None) => Some(Unwrapped { payload, parts: None }),
            (_, Some(Parts { text, parts })) => Some(Unwrapped { payload: text.into(), parts: Some(parts) }),
        })
    }

    /// Counts a text that the batch keeps, in bytes.
    pub(super) fn keep(&mut self, bytes: usize) {
        self.texts = self.texts.saturating_sub(bytes);
    }

    /// Whether nothing is left of it.
    #[inline]
    pub(super) fn is_spent(&self) -> bool {
        self.texts == 0 || self.inflated == 0
    }

    #[inline]
    fn inflate(&mut self, payload: &Bytes) -> Result<Option<Bytes>, Obstacle> {
        let mut text: Option<Bytes> = None;
        let most = payload.len().saturating_mul(MAX_GROWTH).saturating_add(GROWN_ANYWAY).min(self.record);
        for layer in 0.. {
            let outer = text.as_ref().unwrap_or(payload);
            let Some(compression) = Compression::of(outer) else { break };
            if layer == MAX_LAYERS {
                return Err(Reason::WrappedTooOften.into());
            }
            text = Some(self.inflate_once(compression, outer, most)?);
        }
        Ok(text)
    }

    fn inflate_once(&mut self, compression: Compression, bytes: &[u8], record: usize) -> Result<Bytes, Obstacle> {
        let most = record.min(self.texts).min(self.inflated);
        let too_large = if most == record { Reason::TooLargeUnwrapped.into() } else { Obstacle::Budget };
        let mut text = Vec::new();
        let outcome = compression.inflate(bytes, most, &mut text);
        self.inflated = self.inflated.saturating_sub(text.len());
        if text.len() > most {
            return Err(too_large);
        }
        outcome.map_err(|_| compression.damaged())?;
        // It may have grown to twice its length, and is kept as long as the batch.
        text.shrink_to_fit();
        Ok(text.into())
    }
}

impl Compression {
    #[inline]
    fn of(payload: &Bytes) -> Option<Self> {
        match payload.first()? {
            0x1F if payload.starts_with(GZIP) => Some(Self::Gzip),
            0x28 if payload.starts_with(ZSTD) => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Appends what all members or frames hold to `text`; it stops one byte beyond `most`.
    fn inflate(self, bytes: &[u8], most: usize, text: &mut Vec<u8>) -> io::Result<usize> {
        let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
        match self {
            Self::Gzip => MultiGzDecoder::new(bytes).take(limit).read_to_end(text),
            Self::Zstd => {
                let mut decoder = Decoder::with_buffer(bytes)?;
                decoder.window_log_max(MAX_WINDOW_LOG)?;
                decoder.take(limit).read_to_end(text)
            }
        }
    }

    fn damaged(self) -> Reason {
        match self {
            Self::Gzip => Reason::DamagedGzip,
            Self::Zstd => Reason::DamagedZstd,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zstd(bytes: &[u8]) -> Bytes {
        zstd::encode_all(bytes, 1).expect("compressed").into()
    }

    #[test]
    fn the_bounds_of_a_batch_take_any_one_record() {
        const { assert!(MAX_RECORD < MAX_TEXTS && MAX_RECORD * MAX_LAYERS < MAX_INFLATED) }
    }

    const TOO_LARGE: Obstacle = Obstacle::Payload(Reason::TooLargeUnwrapped);

    fn text_of(outcome: Result<Option<Unwrapped>, Obstacle>) -> Result<usize, Obstacle> {
        outcome.map(|unwrapped| unwrapped.expect("wrapped").payload.len())
    }

    #[test]
    fn a_record_may_grow_to_its_bound_and_no_further() {
        let mut budget = Budget { record: 1000, texts: 1 << 20, inflated: 1 << 20 };
        assert_eq!(text_of(budget.unwrap(&zstd(&[b' '; 1000]))), Ok(1000));
        assert_eq!(text_of(budget.unwrap(&zstd(&[b' '; 1001]))), Err(TOO_LARGE));
        let before = budget.inflated;
        assert_eq!(text_of(budget.unwrap(&zstd(&[b' '; 500_000]))), Err(TOO_LARGE));
        assert_eq!(before - budget.inflated, 1001, "it is decompressed to one byte beyond the bound");
    }

    #[test]
    fn a_record_may_grow_by_its_own_size_however_often_it_is_compressed() {
        let mut budget = Budget::default();
        let small = zstd(&[b' '; GROWN_ANYWAY]);
        assert_eq!(text_of(budget.unwrap(&small)), Ok(GROWN_ANYWAY));
        let bomb = zstd(&vec![b' '; 8 << 20]);
        assert!(bomb.len() * 4 * MAX_GROWTH < 8 << 20, "{} bytes", bomb.len());
        let before = budget.inflated;
        for payload in [bomb.clone(), zstd(&bomb)] {
            assert_eq!(text_of(budget.unwrap(&payload)), Err(TOO_LARGE));
        }
        let most = 2 * (bomb.len() * MAX_GROWTH + GROWN_ANYWAY);
        assert!(before - budget.inflated < most, "the work is bounded by what was sent");
        // Gzip never makes more than 1,032 times its bytes.
        let mut gzipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut gzipped, &vec![b'x'; 8 << 20]).expect("compressed");
        assert_eq!(text_of(budget.unwrap(&gzipped.finish().expect("compressed").into())), Ok(8 << 20));
    }

    #[test]
    fn what_a_batch_keeps_and_what_it_decompresses_are_bounded() {
        let mut budget = Budget { record: 1000, texts: 1500, inflated: 1 << 20 };
        assert_eq!(text_of(budget.unwrap(&zstd(&[b' '; 1000]))), Ok(1000));
        budget.keep(1000);
        assert_eq!(text_of(budget.unwrap(&zstd(&[b' '; 501]))), Err(Obstacle::Budget));
        assert_eq!(text_of(budget.unwrap(&zstd(&[b' '; 500]))), Ok(500), "a smaller one still has room");
        assert!(!budget.is_spent());
        budget.keep(usize::MAX);
        assert_eq!(text_of(budget.unwrap(&zstd(b" "))), Err(Obstacle::Budget));
        assert!(budget.is_spent());

        let mut budget = Budget { record: 1000, texts: 1 << 20, inflated: 2500 };
        for _ in 0..2 {
            assert_eq!(text_of(budget.unwrap(&zstd(&[b' '; 9000]))), Err(TOO_LARGE));
        }
        assert_eq!(text_of(budget.unwrap(&zstd(&[b' '; 9000]))), Err(Obstacle::Budget));
        assert_eq!(text_of(budget.unwrap(&zstd(b" "))), Err(Obstacle::Budget), "the work is used up");
        assert!(budget.is_spent());
        assert!(matches!(budget.unwrap(&Bytes::from_static(b"{}")), Ok(None)), "and plain records cost nothing");
    }

    #[test]
    fn the_inner_layers_count_as_work_too() {
        let mut budget = Budget { record: 1 << 20, texts: 1 << 20, inflated: 1 << 20 };
        let once = zstd(&[b'x'; 5000]);
        assert_eq!(text_of(budget.unwrap(&zstd(&once))), Ok(5000));
        assert_eq!((1 << 20) - budget.inflated, 5000 + once.len());
    }
}
