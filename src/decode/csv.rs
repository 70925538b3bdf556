//! Lines of a CSV file: cells with their quotes remembered.
//!
//! Owns the grammar: RFC 4180 with commas, LF or CRLF. A quote inside an unquoted cell is a letter; blank lines are
//! passed over. It remembers which cells were quoted, because an empty cell is null and a quoted empty one is not:
//! that is why no CSV crate reads them.

/// One data line, which may span several where a quoted cell does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line {
    /// The number of the line it starts on, from 1.
    pub(super) number: u64,
    /// Its bytes in the file, without the line's end: `start..end`.
    pub(super) start: usize,
    /// One past its last byte.
    pub(super) end: usize,
    /// Whether its quotes are sound; else it ends where its first line does, and the cells mean nothing.
    pub(super) sound: bool,
}

/// The cells of a line, reused from line to line.
#[derive(Debug, Default)]
pub(super) struct Cells {
    bytes: Vec<u8>,
    /// Per cell: one past its last byte, and whether it was quoted.
    ends: Vec<(usize, bool)>,
}

impl Cells {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// A cell's meaning; none for an empty one without quotes, and for one that is not there.
    pub(super) fn get(&self, index: usize) -> Option<&[u8]> {
        let (end, quoted) = *self.ends.get(index)?;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before].0);
        (quoted || end > start).then(|| &self.bytes[start..end])
    }
}

/// A place between the lines of a file.
pub(super) struct Lines<'b> {
    bytes: &'b [u8],
    at: usize,
    number: u64,
}

impl<'b> Lines<'b> {
    /// At the first line; a byte order mark is passed over.
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        let at = if bytes.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
        Self { bytes, at, number: 1 }
    }

    /// The next line that is not blank, its cells into `cells`.
    pub(super) fn next(&mut self, cells: &mut Cells) -> Option<Line> {
        loop {
            let start = self.at;
            let first_end = self.line_end(start);
            if start >= self.bytes.len() {
                return None;
            }
            let content = trim_end(&self.bytes[start..first_end]);
            let number = self.number;
            if content.is_empty() {
                self.go_on_after(first_end);
                continue;
            }
            return Some(match self.read_cells(start, cells) {
                Some(end) => {
                    self.go_on_after(end);
                    Line { number, start, end: start + trim_end(&self.bytes[start..end]).len(), sound: true }
                }
                None => {
                    self.go_on_after(first_end);
                    Line { number, start, end: start + content.len(), sound: false }
                }
            });
        }
    }

    fn line_end(&self, at: usize) -> usize {
        memchr::memchr(b'\n', &self.bytes[at..]).map_or(self.bytes.len(), |newline| at + newline)
    }

    /// Moves past the line feed at `end`, counting those before it.
    fn go_on_after(&mut self, end: usize) {
        let next = self.bytes.len().min(end + 1);
        self.number += memchr::memchr_iter(b'\n', &self.bytes[self.at..next]).count() as u64;
        self.at = next;
    }

    /// Reads cells up to the line's end, which it gives: the line feed or the end of the file. None for broken quotes.
    fn read_cells(&self, start: usize, cells: &mut Cells) -> Option<usize> {
        cells.bytes.clear();
        cells.ends.clear();
        let mut at = start;
        loop {
            let quoted = self.bytes.get(at) == Some(&b'"');
            at = if quoted {
                self.quoted_cell(at + 1, &mut cells.bytes)?
            } else {
                self.plain_cell(at, &mut cells.bytes)
            };
            cells.ends.push((cells.bytes.len(), quoted));
            match self.bytes.get(at) {
                Some(b',') => at += 1,
                _ => return Some(at),
            }
        }
    }

    fn plain_cell(&self, start: usize, cell: &mut Vec<u8>) -> usize {
        let rest = &self.bytes[start..];
        let end = start + memchr::memchr2(b',', b'\n', rest).unwrap_or(rest.len());
        let content = &self.bytes[start..end];
        let at_line_end = self.bytes.get(end) != Some(&b',');
        cell.extend_from_slice(if at_line_end { trim_end(content) } else { content });
        end
    }

    /// A cell from after its quote on; gives the comma or line end after it, none where something else follows.
    fn quoted_cell(&self, start: usize, cell: &mut Vec<u8>) -> Option<usize> {
        let mut at = start;
        loop {
            let quote = at + memchr::memchr(b'"', &self.bytes[at..])?;
            cell.extend_from_slice(&self.bytes[at..quote]);
            at = quote + 1;
            match self.bytes.get(at) {
                Some(b'"') => {
                    cell.push(b'"');
                    at += 1;
                }
                None | Some(b',' | b'\n') => return Some(at),
                Some(b'\r') if matches!(self.bytes.get(at + 1), None | Some(b'\n')) => return Some(at + 1),
                Some(_) => return None,
            }
        }
    }
}

/// Without the carriage return of a CRLF.
fn trim_end(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Read = (u64, String, Option<Vec<Option<String>>>);

    fn read(text: &str) -> Vec<Read> {
        let (mut lines, mut cells) = (Lines::new(text.as_bytes()), Cells::default());
        let mut all = Vec::new();
        while let Some(line) = lines.next(&mut cells) {
            let text_of = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("utf-8");
            let values = (0..cells.len()).map(|index| cells.get(index).map(text_of)).collect();
            all.push((line.number, text[line.start..line.end].to_owned(), line.sound.then_some(values)));
        }
        all
    }

    fn sound(number: u64, line: &str, cells: &[Option<&str>]) -> Read {
        (number, line.to_owned(), Some(cells.iter().map(|cell| cell.map(str::to_owned)).collect()))
    }

    #[test]
    fn quotes_make_the_difference_between_null_and_empty() {
        assert_eq!(read("a,,\"\"\n"), [sound(1, "a,,\"\"", &[Some("a"), None, Some("")])]);
        assert_eq!(read(",\n"), [sound(1, ",", &[None, None])]);
        assert_eq!(read("\"\""), [sound(1, "\"\"", &[Some("")])]);
    }

    #[test]
    fn line_numbers_are_those_of_an_editor() {
        let text = "\u{feff}h\r\n\r\n\"a\nb\",\"say \"\"hi\"\"\"\r\n\nlast,in\"ch\"";
        assert_eq!(
            read(text),
            [
                sound(1, "h", &[Some("h")]),
                sound(3, "\"a\nb\",\"say \"\"hi\"\"\"", &[Some("a\nb"), Some("say \"hi\"")]),
                sound(6, "last,in\"ch\"", &[Some("last"), Some("in\"ch\"")]),
            ]
        );
    }

    #[test]
    fn a_line_of_broken_quotes_costs_only_itself() {
        assert_eq!(read("\"a\"b,c\nd"), [(1, "\"a\"b,c".to_owned(), None), sound(2, "d", &[Some("d")])]);
        assert_eq!(read("\"a,b\nc,d\n"), [(1, "\"a,b".to_owned(), None), sound(2, "c,d", &[Some("c"), Some("d")])]);
        assert_eq!(read("\""), [(1, "\"".to_owned(), None)]);
    }

    proptest! {
        #[test]
        fn any_cells_survive_their_quoting(rows in prop::collection::vec(prop::collection::vec("[ab,\"\n\r é]{0,6}", 1..5), 1..6)) {
            let quote = |cell: &String| format!("\"{}\"", cell.replace('"', "\"\""));
            let line = |row: &Vec<String>| row.iter().map(quote).collect::<Vec<_>>().join(",");
            let text = rows.iter().map(line).collect::<Vec<_>>().join("\r\n");
            let cells: Vec<_> = read(&text).into_iter().map(|(_, _, cells)| cells.expect("sound")).collect();
            let expected: Vec<Vec<_>> = rows.into_iter().map(|row| row.into_iter().map(Some).collect()).collect();
            prop_assert_eq!(cells, expected);
        }

        #[test]
        fn no_text_breaks_it(text in "[a,\"\n\r]{0,40}") {
            let lines = read(&text);
            prop_assert!(lines.windows(2).all(|pair| pair[0].0 < pair[1].0));
            let kept: usize = lines.iter().map(|(_, line, _)| line.len()).sum();
            let blanks = text.bytes().filter(|byte| b"\r\n".contains(byte)).count();
            prop_assert!(kept <= text.len() && kept + blanks >= text.len());
        }
    }
}
