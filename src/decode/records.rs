//! A batch's records, each out of its wrappers and into rows and rejects.
//!
//! Owns what is refused before a payload is read at all, where a batch is cut that would become too large, and which
//! bytes the batch keeps of a record: its own, or the text that was in its wrappers, where rows point into that. Every
//! record counts as what it becomes: the text in its wrappers, its rows by their width and what they hold, its rejects.

use std::sync::Arc;

use bytes::Bytes;

use super::Declared;
use super::event::Scratch;
use super::fault::{Fault, Reason};
use super::payload::Payload;
use super::rows::Rows;
use super::unwrap::{Budget, Obstacle, Unwrapped};
use crate::batch::{Decoded, RawBatch, RawRecord, Reject};

/// No record of a default stream is larger: a refused text that is could not be put again, its wrapped form can.
const MAX_REFUSED_TEXT: usize = 1 << 20;

/// Decodes the records in their order.
pub(super) struct Records<'a> {
    declared: &'a Declared,
    scratch: Scratch,
    rows: Rows,
    budget: Budget,
    /// What the rows and rejects may take.
    room: usize,
    /// The texts that rows point into, by their records' places.
    texts: Vec<(usize, Bytes)>,
}

impl<'a> Records<'a> {
    /// Room for so many.
    pub(super) fn new(declared: &'a Declared, records: usize) -> Self {
        let Declared { fields, plan, batch_bytes, .. } = declared;
        let rows = Rows::new(fields, plan.width, (records, *batch_bytes));
        let (scratch, budget, room) = (Scratch::new(plan), Budget::default(), *batch_bytes);
        Self { declared, scratch, rows, budget, room, texts: Vec::new() }
    }

    /// Decodes them up to where the budget is used up, one at least, and gives what is left.
    pub(super) fn decode(mut self, raw: RawBatch) -> (Decoded, Option<RawBatch>) {
        let read = self.read(&raw.records);
        let (mut raw, rest) = if read < raw.records.len() {
            let (first, rest) = raw.split_at(read);
            (first, Some(rest))
        } else {
            (raw, None)
        };
        for (place, text) in self.texts {
            raw.records[place].payload = text;
        }
        (self.rows.finish(&self.declared.schema, Arc::new(raw)), rest)
    }

    /// Gives how many are read.
    fn read(&mut self, records: &[RawRecord]) -> usize {
        for (place, record) in records.iter().enumerate() {
            if place > 0 && self.budget.is_spent() {
                return place;
            }
            let (mark, texts) = (self.rows.mark(), self.texts.len());
            let reason = match self.record(place, record) {
                Ok(()) if place > 0 && self.rows.bytes() > self.room => {
                    self.rows.back_to(mark);
                    self.texts.truncate(texts);
                    return place;
                }
                Ok(()) => continue,
                Err(Obstacle::Budget) if place > 0 => return place,
                // What has no room in a batch of its own has none anywhere.
                Err(Obstacle::Budget) => Reason::TooLargeUnwrapped,
                Err(Obstacle::Payload(reason)) => reason,
            };
            let sentence = Fault::Plain(reason).message(&(0..record.payload.len()), |_| b"");
            self.rows.refuse_record(record, reason.as_str(), sentence);
        }
        records.len()
    }

    fn record(&mut self, place: usize, record: &RawRecord) -> Result<(), Obstacle> {
        if let Some(damage) = &record.damage {
            self.rows.refuse_record(record, damage.reason, damage.message.clone());
            return Ok(());
        }
        match self.budget.unwrap(&record.payload)? {
            Some(unwrapped) => self.unwrapped((place, record), unwrapped),
            None => self.payload((place, record)).read(),
        }
        Ok(())
    }

    fn payload<'s>(&'s mut self, (place, record): (usize, &'s RawRecord)) -> Payload<'s> {
        let number = u32::try_from(place).unwrap_or(u32::MAX);
        Payload::new(&self.declared.plan, &mut self.scratch, &mut self.rows, (number, record))
    }

    /// Reads what was in a record's wrappers, and keeps it where rows or rejects point into it.
    fn unwrapped(&mut self, (place, original): (usize, &RawRecord), unwrapped: Unwrapped) {
        let Unwrapped { payload, parts } = unwrapped;
        let record = RawRecord { payload, ..original.clone() };
        let (rows, rejects) = (self.rows.len(), self.rows.rejects.len());
        let reader = self.payload((place, &record));
        match &parts {
            None => reader.read(),
            Some(parts) => reader.read_parts(parts),
        }
        let rows = self.rows.len() - rows;
        let told = &mut self.rows.rejects[rejects..];
        if let ([reject], None, 0) = (&mut *told, &parts, rows)
            && !is_legible(reject)
        {
            reject.payload = original.payload.clone();
            return;
        }
        self.budget.keep(record.payload.len());
        if rows > 0 {
            self.texts.push((place, record.payload));
        }
    }
}

/// Whether the text of a record of which nothing else is left says more than its wrapped form.
fn is_legible(reject: &Reject) -> bool {
    let is_text = ![Reason::EmptyPayload, Reason::InvalidUtf8].iter().any(|reason| reason.as_str() == reject.reason);
    is_text && reject.payload.len() <= MAX_REFUSED_TEXT
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Write;

    use arrow::array::{Array, AsArray};
    use arrow::datatypes::Int64Type;
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::batch::{Position, Range, Ranges, SequenceNumber, ShardId};
    use crate::decode::Decoder;
    use crate::schema::{Field, FieldType};

    fn field(name: &str, field_type: &str) -> Field {
        let field_type = field_type.parse().expect("a type");
        Field { name: name.to_owned(), path: vec![name.to_owned()], field_type, required: false }
    }

    /// Records of these payloads, in turns on two shards.
    fn batch(payloads: Vec<Vec<u8>>) -> RawBatch {
        let mut batch = RawBatch::default();
        for (number, payload) in (1_u64..).zip(payloads) {
            let shard = ShardId::new(format!("shardId-{}", number % 2));
            let position = Position::new(SequenceNumber::from(number), 0);
            let after = batch.ranges.get(&shard).map(|range| range.through.clone());
            batch.ranges.extend(&shard, Range::new(after, position.clone())).expect("joins");
            batch.records.push(RawRecord { shard, position, arrived_at: 0, payload: payload.into(), damage: None });
        }
        batch
    }

    /// All parts of a batch, each read with this budget; their ranges join to the batch's.
    fn parts(decoder: &Decoder, (room, budget): (usize, Budget), raw: RawBatch) -> Vec<Decoded> {
        let (whole, mut joined, mut positions) = (raw.ranges.clone(), Ranges::new(), BTreeMap::new());
        let (mut parts, mut rest) = (Vec::new(), Some(raw));
        while let Some(raw) = rest {
            let mut reading = Records::new(&decoder.declared, raw.records.len());
            (reading.room, reading.budget) = (room, budget);
            let (part, left) = reading.decode(raw);
            part.raw.ranges.follow(&positions).expect("follows the part before");
            part.raw.ranges.advance(&mut positions);
            for (shard, range) in part.raw.ranges.iter() {
                joined.extend(shard, range.clone()).expect("joins");
            }
            parts.push(part);
            rest = left;
        }
        assert_eq!(joined, whole);
        parts
    }

    fn ids(parts: &[Decoded]) -> Vec<i64> {
        parts.iter().flat_map(|part| part.events["id"].as_primitive::<Int64Type>().values().to_vec()).collect()
    }

    #[test]
    fn a_batch_of_gzip_that_grows_twenty_times_is_decoded_whole_in_parts() {
        // A thousandth of 32 MiB of gzip that hold 640 MiB, and of what a batch may become.
        let line = |id: usize| format!("{{\"id\":{id},\"note\":\"{}\"}}\n", "the same words again; ".repeat(12));
        let pack = |from: usize| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            (from..from + 40).for_each(|id| encoder.write_all(line(id).as_bytes()).expect("compressed"));
            encoder.finish().expect("compressed")
        };
        let payloads: Vec<Vec<u8>> = (0..60).map(|pack_number| pack(pack_number * 40)).collect();
        let text: usize = (0..60 * 40).map(|id| line(id).len()).sum();
        let raw = batch(payloads);
        assert!(text > 20 * raw.bytes() && raw.bytes() < 32 << 10, "{text} of {}", raw.bytes());
        let budget = Budget { record: 64 << 10, texts: 96 << 10, inflated: 4 << 20 };
        let decoder = Decoder::new(&[field("id", "bigint"), field("note", "string(1000)")]);
        let parts = parts(&decoder, (1 << 20, budget), raw);
        assert!(parts.len() > 6, "{}", parts.len());
        assert_eq!(ids(&parts), (0..60 * 40).collect::<Vec<i64>>());
        assert!(parts.iter().all(|part| part.rejects.is_empty()), "nothing healthy is refused");
        for part in &parts {
            let texts = part.raw.bytes();
            assert!(texts <= budget.texts, "{texts} bytes of text");
            assert!(part.origins.iter().all(|origin| (origin.record as usize) < part.raw.records.len()));
        }
    }

    #[test]
    fn what_is_read_from_small_bombs_counts_as_kept_too_compressed_or_not() {
        // A few bytes that make a thousand rows of 650 bytes and more: were only texts counted, a batch of them would
        // fill the memory.
        let wide: Vec<Field> = (0..40).map(|number| field(&format!("d{number}"), "decimal(38,0)")).collect();
        let decoder = Decoder::new(&wide);
        let text = "{}".repeat(1000).into_bytes();
        let bomb = zstd::encode_all(&text[..], 1).expect("compressed");
        for payload in [bomb, text] {
            let mut payloads = vec![payload; 6];
            payloads.push(b"{}".to_vec());
            let parts = parts(&decoder, (2 << 20, Budget::default()), batch(payloads));
            let rows: Vec<usize> = parts.iter().map(|part| part.events.num_rows()).collect();
            assert_eq!(rows, [2000, 2000, 2001]);
            assert!(parts.iter().all(|part| part.rejects.is_empty()));
        }
    }

    #[test]
    fn plain_records_of_one_event_count_as_the_rows_and_rejects_that_they_become() {
        let decoder = Decoder::new(&[field("id", "bigint"), field("note", "string(1000)")]);
        let payload = |id: usize| match id % 3 {
            0 => format!("{{\"id\":{id},\"note\":\"{}\"}}", "n".repeat(400)),
            1 => format!("{{\"id\":{id}}}"),
            _ => "no".to_owned(),
        };
        let parts = parts(
            &decoder,
            (32 << 10, Budget::default()),
            batch((0..600).map(|id| payload(id).into_bytes()).collect()),
        );
        assert_eq!(ids(&parts), (0..600).filter(|id| id % 3 < 2).collect::<Vec<i64>>());
        assert_eq!(parts.iter().map(|part| part.rejects.len()).sum::<usize>(), 200);
        assert!((4..20).contains(&parts.len()), "{}", parts.len());
    }

    #[test]
    fn what_is_counted_is_what_arrow_holds() {
        let object = FieldType::Struct(vec![field("a", "bigint"), field("b", "string(500)"), field("c", "boolean")]);
        let list = Field { field_type: FieldType::List(Box::new(object)), ..field("items", "date") };
        let fields = [field("id", "bigint"), field("note", "string(5000)"), field("price", "decimal(9,2)"), list];
        let decoder = Decoder::new(&fields);
        let event = |size: usize| {
            let item = format!("{{\"a\":1,\"b\":\"\\u00e9{}\"}}", "b".repeat(size % 97));
            let items = vec![item + ","; size % 50].concat();
            format!("{{\"id\":{size},\"note\":\"{}\",\"items\":[{items}null,{{}}]}}", "n".repeat(size))
        };
        let lines: Vec<String> = (0..400).map(event).chain((0..50).map(|_| "{}".to_owned())).collect();
        let raw = batch(lines.chunks(9).map(|lines| lines.join("\n").into_bytes()).collect());
        let mut reading = Records::new(&decoder.declared, raw.records.len());
        assert_eq!(reading.read(&raw.records), raw.records.len());
        let counted = reading.rows.bytes();
        let decoded = reading.rows.finish(&decoder.declared.schema, Arc::new(raw));
        assert_eq!((decoded.events.num_rows(), decoded.rejects.len()), (450, 0));
        let arrays =
            decoded.events.columns().iter().map(|array| array.to_data().get_slice_memory_size().expect("sound"));
        let held = arrays.sum::<usize>() + size_of_val(decoded.origins.as_slice());
        // What Arrow holds in bits, whether a value is null and a boolean, counts nothing or a byte.
        assert!(counted.abs_diff(held) < held / 20, "{counted} of {held}");
    }

    #[test]
    fn a_record_that_is_taken_back_leaves_no_trace_in_the_part_before() {
        let decoder = Decoder::new(&[field("id", "bigint"), field("note", "string(1000)")]);
        let lines = |from: usize| (from..from + 3).map(|id| format!("{{\"id\":{id}}}\n{{\n")).collect::<String>();
        let payloads: Vec<Vec<u8>> = (0..40).map(|record| lines(record * 3).into_bytes()).collect();
        let alone =
            |payload: &Vec<u8>| parts(&decoder, (1 << 20, Budget::default()), batch(vec![payload.clone()])).remove(0);
        let expected: Vec<(usize, usize)> =
            payloads.iter().map(alone).map(|part| (part.events.num_rows(), part.rejects.len())).collect();
        let parts = parts(&decoder, (7000, Budget::default()), batch(payloads));
        assert!(parts.len() > 5, "{}", parts.len());
        assert_eq!(ids(&parts), (0..120).collect::<Vec<i64>>());
        let mut records = expected.into_iter();
        for part in &parts {
            let (rows, rejects) =
                records.by_ref().take(part.raw.records.len()).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
            assert_eq!((part.events.num_rows(), part.origins.len(), part.rejects.len()), (rows, rows, rejects));
        }
    }

    #[test]
    fn work_that_is_used_up_cuts_a_batch_too() {
        let bomb = zstd::encode_all(&[b' '; 9000][..], 1).expect("compressed");
        let decoder = Decoder::new(&[field("id", "bigint")]);
        let budget = Budget { record: 1000, texts: 1 << 20, inflated: 2500 };
        let payloads = vec![bomb.clone(), bomb.clone(), bomb.clone(), b"{\"id\":1}".to_vec(), bomb];
        let parts = parts(&decoder, (1 << 20, budget), batch(payloads));
        let records: Vec<usize> = parts.iter().map(|part| part.raw.records.len()).collect();
        assert_eq!((records, ids(&parts)), (vec![2, 3], vec![1]));
        let reasons: Vec<&str> =
            parts.iter().flat_map(|part| &part.rejects).map(|reject| reject.reason.as_str()).collect();
        assert_eq!(reasons, ["too_large_unwrapped"; 4]);
    }

    #[test]
    fn a_record_that_no_batch_has_room_for_is_refused_and_reading_goes_on() {
        let large = zstd::encode_all(&[b' '; 5000][..], 1).expect("compressed");
        let decoder = Decoder::new(&[field("id", "bigint")]);
        let payloads = vec![b"{\"id\":1}".to_vec(), large.clone(), b"{\"id\":2}".to_vec()];
        let parts = parts(&decoder, (1 << 20, Budget { texts: 1000, ..Budget::default() }), batch(payloads));
        assert_eq!((parts.len(), ids(&parts)), (2, vec![1, 2]));
        let [reject] = &parts[1].rejects[..] else { panic!("one: {:?}", parts[1].rejects) };
        assert_eq!((reject.reason.as_str(), &reject.payload[..]), ("too_large_unwrapped", &large[..]));
    }
}
