//! Decode: payloads and dimension files into Arrow columns by the declared fields, event by event.
//!
//! Owns what is read as what, and what is refused. It does no IO, knows no SQL, and never fails: whatever the bytes
//! are, each event becomes one row or one reject, in the payload's order, and a broken one leaves its neighbours as
//! they are; only beyond the bounds below do several refused events share a reject. The rules, by which `tests` is ordered:
//!
//! | Given | Becomes |
//! |---|---|
//! | **The wrappers** | |
//! | a payload that begins like gzip or zstd, its members or frames in a row | read as what it holds, up to twice over; origins and rejects hold that text |
//! | the same, cut off or damaged; a zstd frame that wants a dictionary or a window over 128 MiB | one reject, `damaged_gzip` or `damaged_zstd`, of the original bytes |
//! | compressed a third time | one reject, `wrapped_too_often`, of the original bytes |
//! | over 32 MiB decompressed, or over 64 KiB and 1,024 times its own size | one reject, `too_large_unwrapped`, of the original bytes |
//! | compressed, and one reject in all that is blank, no UTF-8 or over 1 MiB | that reject, of the original bytes |
//! | an envelope of CloudWatch Logs: `messageType` `DATA_MESSAGE`, `owner`, `logGroup`, `logStream` strings, `logEvents` an array, one of them or `subscriptionFilters` or `policyLevel` first; compressed or not | each log event's message is read as a payload of its own, `_index` counts on |
//! | several envelopes in a row | the messages of all; what follows the last is read as a payload of its own |
//! | `messageType` `CONTROL_MESSAGE` | no event and no reject: it is the service's probe, nobody wrote it |
//! | a log event without a string `message`; with two; with half a surrogate pair in it | `no_message`, `duplicate_key`: the log event alone; `lone_surrogate`: the message alone |
//! | an envelope with a key of its form twice; without log events | `duplicate_key`, `empty_payload`: the envelope |
//! | an object with another `messageType`, or not all of these keys | an event like any other |
//! | a record that the source could not take apart (a damaged aggregate) | one reject with the source's reason, of the whole payload |
//! | **The payload** | |
//! | one object; several, with blanks, line feeds or nothing between; an array of objects | one event each, `_index` counts them |
//! | empty, blank or `[]` | one reject, `empty_payload` |
//! | a byte order mark at the start | passed over |
//! | bytes that are not JSON by RFC 8259 (`NaN`, `+1`, `01`, `1.`, `'a'`, a comma too many, a raw control character) | `not_json`: the event's line |
//! | anything after an object on its line that opens no other | `not_json`: the whole line, the object with it |
//! | an event broken in a payload of lines | its reject reaches to the next line that is indented no deeper and closes nothing; if the event had gone on over several lines, to the next such line that opens an object |
//! | an array whose syntax breaks | what stands before is kept; the rest of the record is one reject |
//! | JSON that is no object, also inside of an array | `not_an_object` |
//! | bytes that are not UTF-8, anywhere in the event | `invalid_utf8` |
//! | a payload that is not UTF-8 and holds no good event (encrypted) | one reject, of all its bytes |
//! | over 64 objects and arrays open at once, the event included, the payload's array not | `too_deep` |
//! | an event whose texts and list items take over 16 MiB (an item its type's width: 8 bytes for a bigint, 16 for a decimal, a struct all its fields) | `too_large_decoded`, with its bytes |
//! | over 100,000 events in a record, or over 24 MiB of rows | the rest is one reject, `too_many_events` |
//! | over 1,000 refused events in a record | the further ones are one reject, `too_many_rejects`, their bytes in lines; the good ones among them are rows |
//! | **Keys** | |
//! | a key that no field names | passed over; its value must be JSON |
//! | keys that differ in case | are different; an escaped key is the same as a plain one |
//! | a declared key twice in one object | `duplicate_key`: which one was meant cannot be told |
//! | a key along a path that holds no object | `wrong_type`; null there is null for all beneath |
//! | a required field missing, null or blank | `missing_field`; inside a struct only where the struct is there |
//! | another field missing | null |
//! | **Numbers** (smallint, integer, bigint, real, double, decimal) | |
//! | a number as a string | read as the number, blanks around it dropped; other text is `wrong_type` |
//! | an empty or blank string for anything but string, struct and list | null |
//! | `3.0`, `30e-1`, `1e3` for a whole-number type | the whole number that they are |
//! | `3.5` for a whole-number type; digits beyond a decimal's scale that are not zero | `fraction` |
//! | beyond the type (decimal: over precision digits; real and double: would be infinite) | `overflow` |
//! | a decimal | read from its digits, with its exponent, never through a float |
//! | a real or double | the nearest there is; too small becomes 0 |
//! | `-0` | 0, and -0.0 for real and double |
//! | true or false for a number | `wrong_type` |
//! | **Booleans** | |
//! | `true`, `false`, the numbers `1`, `0`, and any of them as a string, in any case | the boolean; anything else is `wrong_type` |
//! | **Strings** | |
//! | a number, true or false | its text as written |
//! | more bytes than declared, escapes resolved | `too_long` |
//! | an escaped NUL | `nul_byte`: a COPY refuses it |
//! | half a surrogate pair | `lone_surrogate` |
//! | an empty string | an empty string, not null |
//! | **Days and instants** | |
//! | `2024-05-01` for a date | the day; a text with a time of day, or a number, is `wrong_type` |
//! | `2024-05-01T12:34:56.789Z`, a space for the `T`, no seconds, `+02`, `+0200`, `+02:00` | the instant in µs; digits after the sixth are dropped |
//! | a text without a zone for timestamptz | `wrong_type` |
//! | a text with a zone for timestamp | its wall clock in UTC, as for a number |
//! | a date alone for timestamp | its midnight |
//! | a number for timestamp or timestamptz | since 1970 UTC: seconds where its magnitude is below 100,000,000,000 (the year 5138), else milliseconds (1973 and later; microseconds fall out of range) |
//! | a number as a string for them | `wrong_type`: `20240501` could be either |
//! | a day or time that does not exist (also 24:00 and second 60), or outside the years 0001 to 9999 in UTC | `out_of_range` |
//! | **Structs and lists** | |
//! | an object, an array | by the same rules; a null or blank item of a list is null |
//! | anything else but null | `wrong_type` |
//! | **Files** (CSV) | |
//! | a cell | read as a JSON string of its text is |
//! | the same key in two files that hold from the same time | the file that was staged later is newer, whatever the lines |
//! | an empty cell | null; a quoted empty one is an empty string |
//! | more or fewer cells than the heading | `wrong_cell_count` |
//! | text after a closing quote, a quote that is never closed | `not_csv`: that line alone |
//! | **The batch** | |
//! | a batch whose rows and rejects would take more than twice `[batch] max_bytes` (24 MiB at least), its unwrapped texts more than 36 MiB, its decompressing more than 1 GiB | cut before the record that goes beyond; the rest is a batch of its own, and nothing is refused |
//! | a column beyond 2 GiB of text or 2^31 list items | `batch_full` |

mod calendar;
mod columns;
mod csv;
mod envelope;
mod event;
mod fault;
mod file;
mod json;
mod nested;
mod number;
mod payload;
mod plan;
mod records;
mod rows;
mod settle;
#[cfg(test)]
mod tests;
mod unwrap;

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;

pub use fault::Reason;
pub use file::{FileFault, FileInfo, decode_file, missing_headings};

use crate::batch::{Decoded, RawBatch};
use crate::schema::{Field, input_schema};

/// Decodes payloads by the declared fields; a clone costs a counter.
#[derive(Clone)]
pub struct Decoder {
    declared: Arc<Declared>,
}

/// How many times its payloads' bytes the rows of a batch may take; any record's rows fit.
const BATCH_GROWTH: u64 = 2;

struct Declared {
    fields: Vec<Field>,
    plan: plan::Plan,
    schema: SchemaRef,
    /// What a batch's rows and rejects may take in memory.
    batch_bytes: usize,
}

impl Decoder {
    /// A decoder for events of these fields; a struct's own paths begin at the struct.
    pub fn new(fields: &[Field]) -> Self {
        Self::in_batches_of(fields, 0)
    }

    /// The same, for batches that close at so many bytes of payloads.
    pub fn in_batches_of(fields: &[Field], max_bytes: u64) -> Self {
        let (plan, schema) = (plan::Plan::new(fields), input_schema(fields));
        let bytes = usize::try_from(max_bytes.saturating_mul(BATCH_GROWTH)).unwrap_or(usize::MAX);
        let batch_bytes = bytes.max(payload::MAX_RECORD_BYTES);
        Self { declared: Arc::new(Declared { fields: fields.to_vec(), plan, schema, batch_bytes }) }
    }

    /// The declared fields, then the system columns: `schema::input_schema`.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.declared.schema)
    }

    /// Decodes a batch: each event of each record becomes one row or one reject, in order. Where it would become too
    /// large in memory it is cut, and the rest, still to be decoded, comes second; each part has one record at least.
    ///
    /// `Decoded::raw` is `raw` up to the cut, but for records whose events were in wrappers: there it holds what was in
    /// them.
    pub fn decode(&self, raw: RawBatch) -> (Decoded, Option<RawBatch>) {
        records::Records::new(&self.declared, raw.records.len()).decode(raw)
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Decoder({} fields)", self.declared.fields.len())
    }
}
