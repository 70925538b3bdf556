//! A frame of the log: some records of one shard, as bytes.
//!
//! Owns the frame's format; whether a frame is whole, the log finds out. All numbers are little-endian:
//!
//! | part   | bytes |
//! |--------|-------|
//! | frame  | u32 length of the body, u32 CRC-32 of the body, u32 CRC-32 of these 8 bytes, body |
//! | body   | u32 stream number, u32 shard index, then records to the end, oldest first |
//! | record | u8 digits of the sequence number; the digits, two a byte, an odd one followed by a 0 |
//! |        | f64 arrival, seconds since 1970 UTC |
//! |        | u16 length of the partition key; the key, UTF-8 |
//! |        | u32 length of the data, the top bit set where it is not canonical base64; the data: decoded, or that text |

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ferrokinesis::types::StoredRecord;

/// Bytes before a frame's body.
pub(super) const FRAME_HEAD: usize = 12;
const VERBATIM: u32 = 1 << 31;

/// Adds a frame of records (key `shard/sequence` and record, in order) of one shard to `buffer`.
pub(super) fn write_frame(buffer: &mut Vec<u8>, stream: u32, shard: u32, records: &[(String, StoredRecord)]) {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; FRAME_HEAD]);
    buffer.extend_from_slice(&stream.to_le_bytes());
    buffer.extend_from_slice(&shard.to_le_bytes());
    for (key, record) in records {
        write_record(buffer, sequence_of(key), record);
    }
    let body = start + FRAME_HEAD;
    let head = frame_head(&buffer[body..]);
    buffer[start..body].copy_from_slice(&head);
}

/// A frame's head for this body.
pub(super) fn frame_head(body: &[u8]) -> [u8; FRAME_HEAD] {
    let mut head = [0; FRAME_HEAD];
    head[..4].copy_from_slice(&(body.len() as u32).to_le_bytes());
    head[4..8].copy_from_slice(&crc32fast::hash(body).to_le_bytes());
    let crc = crc32fast::hash(&head[..8]);
    head[8..].copy_from_slice(&crc.to_le_bytes());
    head
}

/// The sequence number in a key `shard/sequence`.
pub(super) fn sequence_of(key: &str) -> &str {
    key.rsplit_once('/').map_or("", |(_, sequence)| sequence)
}

fn write_record(buffer: &mut Vec<u8>, sequence: &str, record: &StoredRecord) {
    buffer.push(sequence.len() as u8);
    for pair in sequence.as_bytes().chunks(2) {
        let low = pair.get(1).map_or(0, |digit| digit & 15);
        buffer.push((pair[0] << 4) | low);
    }
    buffer.extend_from_slice(&record.approximate_arrival_timestamp.to_le_bytes());
    buffer.extend_from_slice(&(record.partition_key.len() as u16).to_le_bytes());
    buffer.extend_from_slice(record.partition_key.as_bytes());
    let at = buffer.len();
    buffer.extend_from_slice(&[0; 4]);
    // The engine refuses what is not canonical, so decoded bytes encode to the same text again.
    let verbatim = match BASE64.decode_vec(&record.data, buffer) {
        Ok(()) => 0,
        Err(_) => {
            buffer.truncate(at + 4);
            buffer.extend_from_slice(record.data.as_bytes());
            VERBATIM
        }
    };
    let length = (buffer.len() - at - 4) as u32 | verbatim;
    buffer[at..at + 4].copy_from_slice(&length.to_le_bytes());
}

/// A frame read back.
pub(super) struct Frame {
    /// The stream's number.
    pub(super) stream: u32,
    /// The shard's index.
    pub(super) shard: u32,
    /// Key `shard/sequence` and record, oldest first.
    pub(super) records: Vec<(String, StoredRecord)>,
}

/// Reads a body; none where it is none.
pub(super) fn parse(body: &[u8]) -> Option<Frame> {
    let mut rest = body;
    let stream = u32::from_le_bytes(take(&mut rest)?);
    let shard = u32::from_le_bytes(take(&mut rest)?);
    let shard_text = ferrokinesis::sequence::shard_ix_to_hex(i64::from(shard));
    let mut records = Vec::new();
    while !rest.is_empty() {
        records.push(parse_record(&mut rest, &shard_text)?);
    }
    Some(Frame { stream, shard, records })
}

fn parse_record(rest: &mut &[u8], shard: &str) -> Option<(String, StoredRecord)> {
    let [digits] = take::<1>(rest)?;
    let packed = take_slice(rest, usize::from(digits).div_ceil(2))?;
    let mut key = String::with_capacity(shard.len() + 1 + usize::from(digits));
    key.push_str(shard);
    key.push('/');
    key.extend((0..usize::from(digits)).map(|place| {
        let pair = packed[place / 2];
        char::from(b'0' + if place % 2 == 0 { pair >> 4 } else { pair & 15 })
    }));
    let approximate_arrival_timestamp = f64::from_le_bytes(take(rest)?);
    let key_length = usize::from(u16::from_le_bytes(take(rest)?));
    let partition_key = std::str::from_utf8(take_slice(rest, key_length)?).ok()?.to_owned();
    let length = u32::from_le_bytes(take(rest)?);
    let bytes = take_slice(rest, (length & !VERBATIM) as usize)?;
    let data = match length & VERBATIM {
        0 => BASE64.encode(bytes),
        _ => std::str::from_utf8(bytes).ok()?.to_owned(),
    };
    Some((key, StoredRecord { partition_key, data, approximate_arrival_timestamp }))
}

/// The next bytes.
pub(super) fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = rest.split_first_chunk::<N>()?;
    *rest = left;
    Some(*taken)
}

fn take_slice<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, data: &str, arrival: f64) -> StoredRecord {
        StoredRecord { partition_key: key.to_owned(), data: data.to_owned(), approximate_arrival_timestamp: arrival }
    }

    #[test]
    fn a_frame_has_exactly_these_bytes() {
        let mut buffer = Vec::new();
        let records =
            [("00000002/123".to_owned(), record("k", "aGk=", 2.0)), ("x/45".to_owned(), record("", "%", 0.5))];
        write_frame(&mut buffer, 7, 2, &records);
        let body: Vec<u8> = [
            &[7, 0, 0, 0, 2, 0, 0, 0][..],
            &[3, 0x12, 0x30],
            &[0, 0, 0, 0, 0, 0, 0, 0x40],
            &[1, 0, b'k'],
            &[2, 0, 0, 0, b'h', b'i'],
            &[2, 0x45],
            &[0, 0, 0, 0, 0, 0, 0xe0, 0x3f],
            &[0, 0],
            &[1, 0, 0, 0x80, b'%'],
        ]
        .concat();
        assert_eq!(buffer[..4], (body.len() as u32).to_le_bytes());
        assert_eq!(buffer[4..8], crc32fast::hash(&body).to_le_bytes());
        assert_eq!(buffer[8..12], crc32fast::hash(&buffer[..8]).to_le_bytes());
        assert_eq!(buffer[12..], body);
    }
}
