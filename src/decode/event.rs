//! One event: a JSON object read along the plan straight into the columns.
//!
//! Owns the walk: keys, nesting, lists, nulls, what is missing. It appends to the columns as it goes and stops at the
//! first fault; taking back what it appended is the caller's. One pass; nothing is allocated per value.

use super::columns::{Column, Stored};
use super::fault::{Absence, Fault, Reason};
use super::json::{Cursor, RawText, unescape};
use super::nested::{Lists, Structs};
use super::plan::{Key, Kind, Plan, Shape, Target, Value};

/// So many objects and arrays may be open at once in an event, itself included.
pub(super) const MAX_DEPTH: usize = 64;

/// What an event may take in memory beyond the fixed width of a row, in bytes: three bytes of JSON can be an item of
/// hundreds in a list.
pub(super) const MAX_EVENT_BYTES: usize = 16 << 20;

/// The number of an object that is not there: none of its keys were seen.
const NO_OBJECT: u64 = u64::MAX;

/// What reading remembers from object to object.
pub(super) struct Scratch {
    /// Per slot: the object in which its key was last seen.
    seen: Vec<u64>,
    /// Per slot: the index of the key that came after it last time. Producers write their keys in one order.
    followers: Vec<usize>,
    /// The objects read so far.
    objects: u64,
    /// An unescaped string.
    text: Vec<u8>,
    /// The containers open while a value is skipped.
    pub(super) open: Vec<u8>,
    /// What the event takes beyond the fixed width of a row: its texts and the items of its lists, in bytes.
    pub(super) grown: usize,
}

impl Scratch {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            seen: vec![0; plan.slots],
            followers: vec![0; plan.slots],
            objects: 0,
            text: Vec::new(),
            open: Vec::new(),
            grown: 0,
        }
    }
}

/// Reads one event.
pub(super) struct Reader<'b, 's> {
    pub(super) cursor: Cursor<'b>,
    scratch: &'s mut Scratch,
}

impl<'b, 's> Reader<'b, 's> {
    pub(super) fn new(cursor: Cursor<'b>, scratch: &'s mut Scratch) -> Self {
        scratch.grown = 0;
        Self { cursor, scratch }
    }

    /// Counts what the event takes.
    #[inline]
    fn grow<'p>(&mut self, bytes: usize) -> Result<(), Fault<'p>> {
        self.scratch.grown += bytes;
        if self.scratch.grown > MAX_EVENT_BYTES {
            return Err(Fault::TooLarge { at: self.cursor.at });
        }
        Ok(())
    }

    /// Reads the object at the cursor into the columns of its shape; `depth` counts it.
    pub(super) fn object<'p>(
        &mut self,
        shape: &'p Shape,
        columns: &mut [Column],
        depth: usize,
    ) -> Result<(), Fault<'p>> {
        if depth > MAX_DEPTH {
            return Err(Fault::TooDeep { at: self.cursor.at });
        }
        self.cursor.at += 1;
        self.scratch.objects += 1;
        let object = self.scratch.objects;
        let mut slot = shape.start;
        let mut found = 0;
        self.cursor.skip_blanks();
        if self.cursor.peek() == Some(b'}') {
            self.cursor.at += 1;
            return self.fill_absent(shape, columns, object, Absence::Missing);
        }
        loop {
            match self.key(shape, slot)? {
                None => self.skip(depth)?,
                Some(key) => {
                    slot = key.slot;
                    if std::mem::replace(&mut self.scratch.seen[slot], object) == object {
                        return Err(Fault::Duplicate { key: &key.name });
                    }
                    found += 1;
                    self.member(key, columns, depth)?;
                }
            }
            self.cursor.skip_blanks();
            match self.cursor.peek() {
                Some(b',') => {
                    self.cursor.at += 1;
                    self.cursor.skip_blanks();
                }
                Some(b'}') => break,
                _ => return Err(Fault::Syntax(self.cursor.broken("a comma or } after a value"))),
            }
        }
        self.cursor.at += 1;
        if found == shape.keys.len() {
            return Ok(());
        }
        self.fill_absent(shape, columns, object, Absence::Missing)
    }

    /// Reads a key and its colon; none where nobody declared it.
    #[inline]
    fn key<'p>(&mut self, shape: &'p Shape, slot: usize) -> Result<Option<&'p Key>, Fault<'p>> {
        if let Some(guess) = shape.keys.get(self.scratch.followers[slot])
            && guess.plain
            && let Some(rest) = self.cursor.rest().strip_prefix(b"\"")
            && let Some([b'"', ..]) = rest.strip_prefix(guess.name.as_bytes())
        {
            self.cursor.at += guess.name.len() + 2;
            self.cursor.colon().map_err(Fault::Syntax)?;
            return Ok(Some(guess));
        }
        if self.cursor.peek() != Some(b'"') {
            return Err(Fault::Syntax(self.cursor.broken("a key")));
        }
        let name = self.cursor.string().map_err(Fault::Syntax)?;
        self.cursor.colon().map_err(Fault::Syntax)?;
        // A name with half a surrogate pair is nobody's.
        let index = self.text(name).and_then(|name| shape.find(name));
        if let Some(index) = index {
            self.scratch.followers[slot] = index;
        }
        Ok(index.and_then(|index| shape.keys.get(index)))
    }

    /// What a string means; none for half a surrogate pair.
    #[inline]
    fn text<'t>(&'t mut self, string: RawText<'t>) -> Option<&'t [u8]> {
        if !string.escaped {
            return Some(string.raw);
        }
        unescape(string.raw, &mut self.scratch.text).ok()?;
        Some(&self.scratch.text)
    }

    fn skip<'p>(&mut self, depth: usize) -> Result<(), Fault<'p>> {
        Ok(self.cursor.skip_value(&mut self.scratch.open, MAX_DEPTH - depth)?)
    }

    /// Reads a declared key's value: into each field that ends here, and along the paths that go on.
    #[inline]
    fn member<'p>(&mut self, key: &'p Key, columns: &mut [Column], depth: usize) -> Result<(), Fault<'p>> {
        let start = self.cursor.at;
        for target in &key.targets {
            self.cursor.at = start;
            self.value(&target.value, target.required, &mut columns[target.column], depth)?;
        }
        let Some(inner) = &key.inner else { return Ok(()) };
        self.cursor.at = start;
        match self.cursor.peek() {
            Some(b'{') => self.object(inner, columns, depth + 1),
            Some(b'n') => {
                self.cursor.literal("null").map_err(Fault::Syntax)?;
                self.fill_absent(inner, columns, NO_OBJECT, Absence::Null)
            }
            _ => Err(Fault::Parent { key: &key.name, at: start }),
        }
    }

    /// Appends nulls for the keys that `object` did not have.
    fn fill_absent<'p>(
        &mut self,
        shape: &'p Shape,
        columns: &mut [Column],
        object: u64,
        absence: Absence,
    ) -> Result<(), Fault<'p>> {
        for key in &shape.keys {
            if self.scratch.seen[key.slot] == object {
                continue;
            }
            for Target { column, required, value } in &key.targets {
                null(value, *required, &mut columns[*column], absence)?;
            }
            if let Some(inner) = &key.inner {
                self.fill_absent(inner, columns, NO_OBJECT, absence)?;
            }
        }
        Ok(())
    }

    /// Reads one value into its column.
    #[inline]
    fn value<'p>(
        &mut self,
        value: &'p Value,
        required: bool,
        column: &mut Column,
        depth: usize,
    ) -> Result<(), Fault<'p>> {
        match (&value.kind, column, self.cursor.peek()) {
            (Kind::Struct(shape), Column::Struct(structs), Some(b'{')) => self.structure(shape, structs, depth),
            (Kind::List(item), Column::List(lists), Some(b'[')) => self.list(item, lists, depth),
            (_, column, _) => self.scalar(value, required, column),
        }
    }

    fn structure<'p>(&mut self, shape: &'p Shape, structs: &mut Structs, depth: usize) -> Result<(), Fault<'p>> {
        self.object(shape, &mut structs.columns, depth + 1)?;
        structs.close();
        Ok(())
    }

    fn list<'p>(&mut self, item: &'p Value, lists: &mut Lists, depth: usize) -> Result<(), Fault<'p>> {
        let at = self.cursor.at;
        if depth >= MAX_DEPTH {
            return Err(Fault::TooDeep { at });
        }
        self.cursor.at += 1;
        self.cursor.skip_blanks();
        let mut items = 0;
        if self.cursor.peek() == Some(b']') {
            self.cursor.at += 1;
        } else {
            loop {
                self.grow(item.width)?;
                self.value(item, false, &mut lists.items, depth + 1)?;
                items += 1;
                self.cursor.skip_blanks();
                let separator = self.cursor.peek();
                self.cursor.at += 1;
                match separator {
                    Some(b',') => self.cursor.skip_blanks(),
                    Some(b']') => break,
                    _ => {
                        self.cursor.at -= 1;
                        return Err(Fault::Syntax(self.cursor.broken("a comma or ] after a value")));
                    }
                }
            }
        }
        lists.close(items).map_err(|reason| Fault::Value { label: &item.label, reason, at })
    }

    /// Reads anything but the container that a struct or list expects.
    #[inline]
    fn scalar<'p>(&mut self, value: &'p Value, required: bool, column: &mut Column) -> Result<(), Fault<'p>> {
        let at = self.cursor.at;
        let fault = |reason| Fault::Value { label: &value.label, reason, at };
        match self.cursor.peek() {
            Some(b'"') => {
                let string = self.cursor.string().map_err(Fault::Syntax)?;
                let text = self.text(string).ok_or(fault(Reason::LoneSurrogate))?;
                let length = text.len();
                if column.push_text(text).map_err(fault)? == Stored::Blank {
                    return null(value, required, column, Absence::Blank);
                }
                if matches!(value.kind, Kind::Text) { self.grow(length) } else { Ok(()) }
            }
            Some(b'-' | b'0'..=b'9') => {
                let number = self.cursor.number().map_err(Fault::Syntax)?;
                column.push_number(&number).map_err(fault)?;
                if matches!(value.kind, Kind::Text) { self.grow(number.text().len()) } else { Ok(()) }
            }
            Some(b't') => {
                self.cursor.literal("true").map_err(Fault::Syntax)?;
                column.push_boolean(true).map_err(fault)
            }
            Some(b'f') => {
                self.cursor.literal("false").map_err(Fault::Syntax)?;
                column.push_boolean(false).map_err(fault)
            }
            Some(b'n') => {
                self.cursor.literal("null").map_err(Fault::Syntax)?;
                null(value, required, column, Absence::Null)
            }
            Some(b'{' | b'[') => Err(fault(Reason::WrongType)),
            _ => Err(Fault::Syntax(self.cursor.broken("a value"))),
        }
    }
}

fn null<'p>(value: &'p Value, required: bool, column: &mut Column, absence: Absence) -> Result<(), Fault<'p>> {
    if required {
        return Err(Fault::Absent { label: &value.label, absence });
    }
    column.push_null();
    Ok(())
}
