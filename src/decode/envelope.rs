//! The envelopes of CloudWatch Logs (the subscription filter's form), opened: the messages that producers wrote.
//!
//! Owns what counts as an envelope and where its messages are: unescaped, one after another in one text, a line feed
//! between them. It reads no message: to `payload` each is a payload of its own. An object that is not an envelope to
//! the letter is an event like any other.

use std::ops::Range;

use super::event::MAX_DEPTH;
use super::fault::{Fault, Reason};
use super::json::{Cursor, RawText, unescape};
use super::payload::{BYTE_ORDER_MARK, MAX_EVENTS};

/// What an envelope must have, with the byte that each value begins with.
const KEYS: [(&str, u8); 5] =
    [("messageType", b'"'), ("owner", b'"'), ("logGroup", b'"'), ("logStream", b'"'), ("logEvents", b'[')];
const MESSAGE_TYPE: usize = 0;
const LOG_EVENTS: usize = 4;

/// What else an envelope may begin with.
const OTHER_KEYS: [&str; 2] = ["subscriptionFilters", "policyLevel"];

/// One message, or what stands in the place of one.
pub(super) struct Part {
    /// Its bytes in the text.
    pub(super) span: Range<usize>,
    /// Why it is no message.
    pub(super) fault: Option<Fault<'static>>,
}

/// All messages of a payload.
pub(super) struct Parts {
    pub(super) text: Vec<u8>,
    /// In their order; where they are more than a record may hold, the last one spans the rest.
    pub(super) parts: Vec<Part>,
}

impl Parts {
    /// The messages of a payload that begins with envelopes; what follows them is a part too. None for any other.
    #[inline]
    pub(super) fn of(payload: &[u8]) -> Option<Self> {
        let start = if payload.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        begins_like_an_envelope(payload, start).then(|| Self::open(payload, start)).flatten()
    }

    fn open(payload: &[u8], start: usize) -> Option<Self> {
        let mut scratch = Scratch::default();
        let mut envelope = Envelope::find(payload, start, &mut scratch)?;
        let mut opened = Self { text: Vec::with_capacity(payload.len()), parts: Vec::new() };
        let rest = loop {
            opened.envelope(payload, &envelope, &mut scratch);
            let end = envelope.span.end;
            match Envelope::find(payload, end, &mut scratch) {
                Some(next) => envelope = next,
                None => break payload[end..].trim_ascii(),
            }
        };
        if !rest.is_empty() {
            opened.push(rest, None);
        }
        opened.text.shrink_to_fit();
        Some(opened)
    }

    fn envelope(&mut self, payload: &[u8], envelope: &Envelope, scratch: &mut Scratch) {
        let whole = &payload[envelope.span.clone()];
        if let Some(key) = envelope.twice {
            return self.push(whole, Some(Fault::Duplicate { key }));
        }
        if envelope.is_control {
            return;
        }
        let mut cursor = Cursor::new(payload, envelope.log_events + 1);
        cursor.skip_blanks();
        if cursor.peek() == Some(b']') {
            return self.push(whole, Some(Fault::Plain(Reason::EmptyPayload)));
        }
        // The envelope was passed before: nothing in it can break off here.
        while self.log_event(payload, &mut cursor, scratch).is_some() {
            cursor.skip_blanks();
            if cursor.peek() != Some(b',') {
                break;
            }
            cursor.at += 1;
            cursor.skip_blanks();
        }
    }

    /// Takes the message out of the log event at the cursor, which is left after it.
    fn log_event(&mut self, payload: &[u8], cursor: &mut Cursor<'_>, scratch: &mut Scratch) -> Option<()> {
        let start = cursor.at;
        let mut message = Err(Reason::NoMessage);
        if cursor.peek() == Some(b'{') {
            let Scratch { open, text } = scratch;
            members(cursor, open, |key, value| {
                if means(key, "message", text) {
                    let is_first = !matches!(message, Ok(_) | Err(Reason::DuplicateKey));
                    message = if is_first { Ok(value.start) } else { Err(Reason::DuplicateKey) };
                }
                Some(())
            })?;
        } else {
            cursor.skip_value(&mut scratch.open, MAX_DEPTH).ok()?;
        }
        let whole = &payload[start..cursor.at];
        match message.map(|at| Cursor::new(payload, at).string()) {
            Ok(Ok(RawText { raw, escaped: false })) => self.push(raw, None),
            Ok(Ok(RawText { raw, .. })) => match unescape(raw, &mut scratch.text) {
                Ok(()) => self.push(&scratch.text, None),
                Err(_) => self.push(raw, Some(Fault::Plain(Reason::LoneSurrogate))),
            },
            Err(Reason::DuplicateKey) => self.push(whole, Some(Fault::Duplicate { key: "message" })),
            _ => self.push(whole, Some(Fault::Plain(Reason::NoMessage))),
        }
        Some(())
    }

    fn push(&mut self, bytes: &[u8], fault: Option<Fault<'static>>) {
        // The line feed ends a line for whoever looks back from the next part, and in a reject of several.
        if !self.parts.is_empty() {
            self.text.push(b'\n');
        }
        let start = self.text.len();
        self.text.extend_from_slice(bytes);
        let end = self.text.len();
        let is_full = u32::try_from(self.parts.len()).is_ok_and(|parts| parts > MAX_EVENTS);
        match self.parts.last_mut() {
            Some(last) if is_full => last.span.end = end,
            _ => self.parts.push(Part { span: start..end, fault }),
        }
    }
}

/// What reading envelopes reuses.
#[derive(Default)]
struct Scratch {
    open: Vec<u8>,
    text: Vec<u8>,
}

/// An object that is one.
struct Envelope {
    span: Range<usize>,
    /// The service asks whether somebody is there: nobody wrote its messages.
    is_control: bool,
    /// Where the array stands.
    log_events: usize,
    /// A key that stands twice.
    twice: Option<&'static str>,
}

impl Envelope {
    /// The envelope that the payload goes on with at `at`.
    fn find(payload: &[u8], at: usize, scratch: &mut Scratch) -> Option<Self> {
        if !begins_like_an_envelope(payload, at) {
            return None;
        }
        let mut cursor = Cursor::new(payload, at);
        cursor.skip_blanks();
        let start = cursor.at;
        let mut found: [Option<usize>; KEYS.len()] = [None; KEYS.len()];
        let mut twice = None;
        let Scratch { open, text } = scratch;
        members(&mut cursor, open, |key, value| {
            let Some(index) = KEYS.iter().position(|(name, _)| means(key, name, text)) else { return Some(()) };
            let (name, begins_with) = KEYS[index];
            if found[index].replace(value.start).is_some() {
                twice = Some(name);
            }
            (payload[value.start] == begins_with).then_some(())
        })?;
        if found.contains(&None) {
            return None;
        }
        let message_type = Cursor::new(payload, found[MESSAGE_TYPE]?).string().ok()?;
        let is_control = means(message_type, "CONTROL_MESSAGE", text);
        if !is_control && !means(message_type, "DATA_MESSAGE", text) {
            return None;
        }
        Some(Self { span: start..cursor.at, is_control, log_events: found[LOG_EVENTS]?, twice })
    }
}

/// Whether an object opens at `at` (blanks aside) whose first key is an envelope's: all that other payloads cost.
#[inline]
fn begins_like_an_envelope(payload: &[u8], at: usize) -> bool {
    let mut cursor = Cursor::new(payload, at);
    cursor.skip_blanks();
    if cursor.peek() != Some(b'{') {
        return false;
    }
    cursor.at += 1;
    cursor.skip_blanks();
    let Some(rest) = cursor.rest().strip_prefix(b"\"") else { return false };
    let is_first = |name: &str| rest.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b"\""));
    matches!(rest.first(), Some(b'l' | b'm' | b'o' | b'p' | b's'))
        && (KEYS.iter().any(|(name, _)| is_first(name)) || OTHER_KEYS.into_iter().any(is_first))
}

/// Passes the object at the cursor and shows each key and its value; none where the JSON breaks or `each` gives none.
fn members<'b>(
    cursor: &mut Cursor<'b>,
    open: &mut Vec<u8>,
    mut each: impl FnMut(RawText<'b>, Range<usize>) -> Option<()>,
) -> Option<()> {
    cursor.at += 1;
    cursor.skip_blanks();
    if cursor.peek() == Some(b'}') {
        cursor.at += 1;
        return Some(());
    }
    loop {
        cursor.skip_blanks();
        let key = cursor.string().ok()?;
        cursor.colon().ok()?;
        let start = cursor.at;
        cursor.skip_value(open, MAX_DEPTH - 1).ok()?;
        each(key, start..cursor.at)?;
        cursor.skip_blanks();
        let separator = cursor.peek();
        cursor.at += 1;
        match separator {
            Some(b',') => {}
            Some(b'}') => return Some(()),
            _ => return None,
        }
    }
}

/// Whether a string is `wanted`, its escapes resolved.
fn means(string: RawText<'_>, wanted: &str, scratch: &mut Vec<u8>) -> bool {
    match string.escaped {
        false => string.raw == wanted.as_bytes(),
        true => unescape(string.raw, scratch).is_ok() && *scratch == wanted.as_bytes(),
    }
}
