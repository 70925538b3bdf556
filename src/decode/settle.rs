//! The fate of each event of a payload: a row, or a reject.
//!
//! Owns what a reject holds, and how many refused events are told one by one: what one record may make of itself in
//! memory is bounded here and by `payload`'s bounds. Where events begin and end is `payload`'s.

use std::ops::Range;

use super::event::MAX_DEPTH;
use super::fault::{Fault, Reason};
use super::json::Cursor;
use super::payload::{MAX_RECORD_BYTES, Payload};
use crate::batch::{Origin, Reject};

/// So many refused events of a record are told one by one; a reject takes some 300 bytes.
pub(super) const MAX_REJECTS: usize = 1_000;

/// Refused events that are one reject together.
pub(super) struct Untold {
    /// That reject among the batch's.
    reject: usize,
    /// The events' bytes, a line feed between them.
    bytes: Vec<u8>,
}

impl<'a> Payload<'a> {
    /// Makes the event a row or a reject, and gives where to go on: at its end, or nowhere where it has no room.
    pub(super) fn settle(&mut self, span: Range<usize>, outcome: Result<(), Fault<'a>>) -> usize {
        if outcome.is_ok() && !self.has_room() {
            self.rows.take_back();
            return self.refuse_all_from(span.start);
        }
        let end = span.end;
        let outcome = if self.is_utf8(&span) { outcome } else { Err(Fault::Plain(Reason::InvalidUtf8)) };
        let origin = Origin {
            record: self.number,
            index: self.events,
            start: u32::try_from(span.start).unwrap_or(u32::MAX),
            end: u32::try_from(span.end).unwrap_or(u32::MAX),
        };
        let grown = self.scratch.grown;
        match outcome.and_then(|()| self.rows.accept(self.record, origin, grown).map_err(Fault::Plain)) {
            Ok(()) => self.events += 1,
            Err(fault) => {
                self.rows.take_back();
                self.refuse(span, &fault);
            }
        }
        end
    }

    /// Whether the record's rows stay within their bound with the one that waits in the columns.
    fn has_room(&self) -> bool {
        let rows = self.rows.bytes() - self.bytes_before;
        rows + self.rows.width() + self.scratch.grown <= MAX_RECORD_BYTES
    }

    /// Makes what stands at `span` a reject, or a part of the one that holds all beyond the bounds.
    pub(super) fn refuse(&mut self, span: Range<usize>, fault: &Fault<'_>) {
        let rest = matches!(fault, Fault::Plain(Reason::TooManyEvents));
        let full = self.rows.rejects.len() - self.refused_before >= MAX_REJECTS;
        match &mut self.untold {
            _ if rest => self.push_reject(span, fault),
            Some(untold) => {
                untold.bytes.push(b'\n');
                untold.bytes.extend_from_slice(&self.bytes[span]);
            }
            None if full => {
                self.untold =
                    Some(Untold { reject: self.rows.rejects.len(), bytes: self.bytes[span.clone()].to_vec() });
                self.push_reject(span, &Fault::Plain(Reason::TooManyRejects));
            }
            None => self.push_reject(span, fault),
        }
        self.events += 1;
    }

    /// Gives the refused events that are one reject to it; the last to be done.
    pub(super) fn keep_untold(&mut self) {
        if let Some(untold) = self.untold.take()
            && let Some(reject) = self.rows.rejects.get_mut(untold.reject)
        {
            reject.payload = untold.bytes.into();
        }
    }

    fn push_reject(&mut self, span: Range<usize>, fault: &Fault<'_>) {
        let bound = matches!(fault.reason(), Reason::TooManyEvents | Reason::TooManyRejects);
        let fault = if bound || self.is_utf8(&span) { fault } else { &Fault::Plain(Reason::InvalidUtf8) };
        let bytes = self.bytes;
        let value = |at: usize| {
            let mut cursor = Cursor::new(bytes, at);
            // The value was read before, or is cut off where it breaks.
            let end = cursor.skip_value(&mut Vec::new(), MAX_DEPTH).map_or(bytes.len(), |()| cursor.at);
            bytes.get(at..end).unwrap_or_default()
        };
        self.rows.refuse(Reject {
            reason: fault.reason().as_str().to_owned(),
            message: fault.message(&span, value),
            shard: self.record.shard.clone(),
            position: self.record.position.clone(),
            index: self.events,
            arrived_at: self.record.arrived_at,
            payload: self.record.payload.slice(span),
        });
    }

    fn is_utf8(&self, span: &Range<usize>) -> bool {
        self.valid_utf8 || std::str::from_utf8(&self.bytes[span.clone()]).is_ok()
    }
}
