//! One record's payload taken apart into events.
//!
//! Owns the framing: where an event begins and ends, and where reading goes on after one that is broken. Every byte
//! that is no blank or separator belongs to exactly one event or reject, and every record yields at least one of
//! them. Each event is read by `event`, its fate settled by `settle`. A record whose wrappers held several messages is
//! read message by message: no event reaches over a message's end.

use std::ops::Range;

use super::envelope::Part;
use super::event::{MAX_DEPTH, Reader, Scratch};
use super::fault::{Fault, Reason};
use super::json::{Cursor, Stop, Syntax};
use super::plan::Plan;
use super::rows::Rows;
use super::settle::Untold;
use crate::batch::RawRecord;

/// An event takes some 200 bytes in the system columns alone, however few it has itself. Places beyond six digits
/// would not sort either.
pub(super) const MAX_EVENTS: u32 = 100_000;

/// What a record's rows may take in memory: room for as many rows of few columns, and for fewer of many.
pub(super) const MAX_RECORD_BYTES: usize = 24 << 20;

pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// What reading an event came to; in both cases the columns hold nothing of a refused one.
enum Attempt<'p> {
    /// Where it ends is known: the row waits in the columns, or the fault says why it does not.
    Whole { outcome: Result<(), Fault<'p>>, end: usize },
    /// The JSON breaks at `at`, so that nobody knows where it ends.
    Lost { fault: Fault<'p>, at: usize },
}

/// How far a too deeply nested event is followed in search of its end.
#[derive(Clone, Copy)]
enum Bound {
    Line,
    Payload,
}

/// The record being read.
pub(super) struct Payload<'a> {
    plan: &'a Plan,
    pub(super) scratch: &'a mut Scratch,
    pub(super) rows: &'a mut Rows,
    pub(super) record: &'a RawRecord,
    /// The record's index in its batch.
    pub(super) number: u32,
    /// The payload up to where the message being read ends.
    pub(super) bytes: &'a [u8],
    /// Events and rejects so far.
    pub(super) events: u32,
    /// The batch's rejects before this record.
    pub(super) refused_before: usize,
    /// The batch's rows before this record.
    rows_before: usize,
    /// What the batch's rows and rejects took before this record.
    pub(super) bytes_before: usize,
    /// The refused events that are not told one by one.
    pub(super) untold: Option<Untold>,
    pub(super) valid_utf8: bool,
    /// Whether all that was left has been refused at once.
    is_over: bool,
    /// The line looked up last, so that many events on one long line cost one search for its end.
    line: Range<usize>,
}

impl<'a> Payload<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        scratch: &'a mut Scratch,
        rows: &'a mut Rows,
        (number, record): (u32, &'a RawRecord),
    ) -> Self {
        let bytes: &[u8] = &record.payload;
        let valid_utf8 = std::str::from_utf8(bytes).is_ok();
        let (refused_before, rows_before, bytes_before) = (rows.rejects.len(), rows.len(), rows.bytes());
        Self {
            plan,
            scratch,
            rows,
            record,
            number,
            bytes,
            events: 0,
            refused_before,
            rows_before,
            bytes_before,
            untold: None,
            valid_utf8,
            is_over: false,
            line: 0..0,
        }
    }

    /// Reads all of it into the rows and rejects.
    pub(super) fn read(mut self) {
        self.message(0..self.bytes.len());
        // What is no text at all (encrypted) has no lines: taken apart, it could not be put together again.
        let is_binary = !self.valid_utf8 && self.rows.len() == self.rows_before;
        if is_binary {
            self.rows.forget_rejects(self.rows.rejects.len().min(self.refused_before + 1));
            self.untold = None;
        }
        if let (true, Some(reject)) = (is_binary || self.events == 1, self.rows.rejects.get_mut(self.refused_before)) {
            reject.payload = self.record.payload.clone();
        }
        self.keep_untold();
    }

    /// Reads these parts of it, each a payload of its own.
    pub(super) fn read_parts(mut self, parts: &[Part]) {
        for Part { span, fault } in parts {
            if self.events >= MAX_EVENTS && !self.is_over {
                self.refuse_all_from(span.start);
            }
            if self.is_over {
                break;
            }
            self.bytes = &self.record.payload[..span.end];
            match fault {
                Some(fault) => self.refuse(span.clone(), fault),
                None => self.part(span),
            }
        }
        self.keep_untold();
    }

    fn part(&mut self, span: &Range<usize>) {
        let (events, rejects) = (self.events, self.rows.rejects.len());
        self.message(span.clone());
        if let (true, None, Some(reject)) =
            (self.events == events + 1, &self.untold, self.rows.rejects.get_mut(rejects))
        {
            reject.payload = self.record.payload.slice(span.clone());
        }
    }

    /// Reads what stands at `span`, which ends where the bytes do.
    fn message(&mut self, span: Range<usize>) {
        let before = self.events;
        let mark = if self.bytes[span.clone()].starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        let mut at = span.start + mark;
        loop {
            at = self.after_blanks(at);
            if at >= span.end {
                break;
            }
            if self.events >= MAX_EVENTS {
                self.refuse_all_from(at);
                break;
            }
            at = if self.bytes[at] == b'[' { self.array(at) } else { self.single(at) };
        }
        if self.events == before {
            self.refuse(span, &Fault::Plain(Reason::EmptyPayload));
        }
    }

    /// Refuses all that is left of the record, unread; gives where the bytes end.
    pub(super) fn refuse_all_from(&mut self, at: usize) -> usize {
        self.is_over = true;
        self.refuse(at..self.record.payload.len(), &Fault::Plain(Reason::TooManyEvents));
        self.bytes.len()
    }

    /// An event outside of an array; gives where to go on.
    fn single(&mut self, start: usize) -> usize {
        match self.attempt(start, Bound::Line) {
            Attempt::Whole { outcome, end } => match self.garbage(end) {
                None => self.settle(start..end, outcome),
                Some(at) => {
                    self.rows.take_back();
                    self.refuse_line(start, at)
                }
            },
            Attempt::Lost { fault, at } => {
                let next = self.recover(start, at);
                self.refuse(start..self.before_blanks(start, next), &fault);
                next
            }
        }
    }

    /// An array of events; gives where to go on. Where its syntax breaks, the rest of the record is one reject.
    fn array(&mut self, start: usize) -> usize {
        let length = self.bytes.len();
        let mut at = self.after_blanks(start + 1);
        if self.bytes.get(at) == Some(&b']') {
            return self.after_array(at + 1);
        }
        loop {
            if at >= length {
                return self.refuse_rest(at, "an event");
            }
            if self.events >= MAX_EVENTS {
                return self.refuse_all_from(at);
            }
            match self.attempt(at, Bound::Payload) {
                Attempt::Lost { fault, .. } => {
                    self.refuse(at..length, &fault);
                    return length;
                }
                Attempt::Whole { outcome, end } => {
                    at = self.settle(at..end, outcome);
                    if self.is_over {
                        return at;
                    }
                    at = self.after_blanks(at);
                }
            }
            match self.bytes.get(at) {
                Some(b',') => at = self.after_blanks(at + 1),
                Some(b']') => return self.after_array(at + 1),
                _ => return self.refuse_rest(at, "a comma or ] after an event"),
            }
        }
    }

    fn after_array(&mut self, end: usize) -> usize {
        match self.garbage(end) {
            None => end,
            Some(at) => self.refuse_line(at, at),
        }
    }

    fn refuse_rest(&mut self, at: usize, expected: &'static str) -> usize {
        self.refuse(at..self.bytes.len(), &Fault::Syntax(Syntax { at, expected }));
        self.bytes.len()
    }

    /// Refuses from `start` to the end of the line on which something unwanted stands at `at`.
    fn refuse_line(&mut self, start: usize, at: usize) -> usize {
        let end = self.line_end(at);
        let fault = Fault::Syntax(Syntax { at, expected: "the end of the line, or another object" });
        self.refuse(start..self.before_blanks(start, end), &fault);
        end
    }

    /// Reads the value at `start`; a too deeply nested one is followed no further than `bound`.
    fn attempt(&mut self, start: usize, bound: Bound) -> Attempt<'a> {
        let mut reader = Reader::new(Cursor::new(self.bytes, start), self.scratch);
        let outcome = if self.bytes[start] == b'{' {
            reader.object(&self.plan.shape, &mut self.rows.columns, 1)
        } else {
            Err(Fault::Plain(Reason::NotAnObject))
        };
        let end = reader.cursor.at;
        let Err(fault) = outcome else { return Attempt::Whole { outcome, end } };
        self.rows.take_back();
        match fault {
            Fault::Syntax(Syntax { at, .. }) => Attempt::Lost { fault, at },
            Fault::TooDeep { at } => self.pass_deep(start, bound, at),
            _ => self.pass(start, bound, fault),
        }
    }

    /// Finds the end of an event that a value of its own condemns; broken JSON weighs more than the value.
    fn pass(&mut self, start: usize, bound: Bound, fault: Fault<'a>) -> Attempt<'a> {
        let mut cursor = Cursor::new(self.bytes, start);
        match cursor.skip_value(&mut self.scratch.open, MAX_DEPTH) {
            Ok(()) => Attempt::Whole { outcome: Err(fault), end: cursor.at },
            Err(Stop::Syntax(syntax)) => Attempt::Lost { fault: Fault::Syntax(syntax), at: syntax.at },
            Err(Stop::TooDeep { at }) => self.pass_deep(start, bound, at),
        }
    }

    /// Finds the end of an event that is too deep at `at`.
    ///
    /// The bound keeps reading linear: lines that each open an object would else each be followed to the end.
    fn pass_deep(&mut self, start: usize, bound: Bound, at: usize) -> Attempt<'a> {
        let fault = Fault::TooDeep { at };
        let end = match bound {
            Bound::Line => self.line_end(start),
            Bound::Payload => self.bytes.len(),
        };
        let mut cursor = Cursor::new(&self.bytes[..end], start);
        match cursor.skip_value(&mut self.scratch.open, usize::MAX) {
            Ok(()) => Attempt::Whole { outcome: Err(fault), end: cursor.at },
            Err(_) => Attempt::Lost { fault, at },
        }
    }

    /// Where reading goes on after an event from `start` whose JSON breaks at `at`: the next line that begins like an
    /// event, not like the inside of one.
    ///
    /// Such a line is indented no deeper than the broken event's and closes nothing. Where the event had gone on
    /// over several lines, only one that opens an object counts.
    fn recover(&self, start: usize, at: usize) -> usize {
        let line_start = memchr::memrchr(b'\n', &self.bytes[..start]).map_or(0, |newline| newline + 1);
        let indent = self.indent(line_start);
        let over_lines = memchr::memchr(b'\n', &self.bytes[start..at]).is_some();
        let mut line = start;
        while let Some(newline) = memchr::memchr(b'\n', &self.bytes[line..]) {
            line += newline + 1;
            let line_indent = self.indent(line);
            match self.bytes.get(line + line_indent) {
                Some(b'\n' | b'\r' | b'}' | b']') => {}
                Some(b'{') if line_indent <= indent => return line,
                Some(_) if line_indent <= indent && !over_lines => return line,
                _ => {}
            }
        }
        self.bytes.len()
    }

    /// The blanks that a line begins with.
    fn indent(&self, line: usize) -> usize {
        self.bytes[line..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count()
    }

    /// What stands between an event's end and the end of its line, unless it opens another event.
    fn garbage(&self, end: usize) -> Option<usize> {
        let blanks = self.bytes[end..].iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r')).count();
        let at = end + blanks;
        match self.bytes.get(at) {
            None | Some(b'\n' | b'{' | b'[') => None,
            Some(_) => Some(at),
        }
    }

    fn line_end(&mut self, at: usize) -> usize {
        if !self.line.contains(&at) {
            self.line = at..memchr::memchr(b'\n', &self.bytes[at..]).map_or(self.bytes.len(), |newline| at + newline);
        }
        self.line.end
    }

    fn after_blanks(&self, at: usize) -> usize {
        let mut cursor = Cursor::new(self.bytes, at);
        cursor.skip_blanks();
        cursor.at
    }

    /// `end`, without the blanks before it.
    fn before_blanks(&self, start: usize, end: usize) -> usize {
        start + self.bytes[start..end].trim_ascii_end().len()
    }
}
