//! What a terminal may be shown of a text that somebody else wrote.
//!
//! Values, field names, file names, names of workers and the words of servers are data. A terminal obeys some of their
//! characters: it changes colours, titles and the clipboard, moves the cursor over what was told before, or shows
//! letters in another order than they are read by a program. So whatever writes for a person (answers, errors, progress,
//! the prompt, log lines) passes its text through here at the last moment, and nobody escapes earlier: what is stored
//! and what other programs read is the data itself.
//!
//! | characters                                                                       | are shown as        |
//! |----------------------------------------------------------------------------------|---------------------|
//! | C0 controls, DEL, C1 controls (CSI, OSC, … in one character)                     | `\n`, `\t`, `\u{1b}` |
//! | marks, embeddings, overrides and isolates of direction (U+061C, 200E–F, 202A–E, 2066–9) | `\u{202e}`   |
//! | line and paragraph separators (U+2028–9)                                         | `\u{2028}`          |
//! | what shows nothing at all: zero-width space, word joiner, byte order mark, soft hyphen, fillers, tags, annotations | `\u{200b}` |
//! | joiners (U+200C–D) beside ASCII, where no script and no emoji needs them         | `\u{200d}`          |
//!
//! In JSON the same characters become JSON's own escapes, `\u202e`, which every reader turns into the same text. CSV has
//! no escapes, so it passes everything on.

use std::borrow::Cow;

/// A text on one line: of line feeds too, only their escape is left.
pub fn visible(text: &str) -> Cow<'_, str> {
    rewritten(text, deceives, |letter, shown| shown.extend(letter.escape_default()))
}

/// A text of several lines: its line feeds stay.
pub fn visible_lines(text: &str) -> Cow<'_, str> {
    rewritten(text, |letter| letter != '\n' && deceives(letter), |letter, shown| shown.extend(letter.escape_default()))
}

/// Serialized JSON, of which only strings hold other characters than ASCII: the same JSON.
pub fn visible_json(text: &str) -> Cow<'_, str> {
    rewritten(
        text,
        |letter| letter > '\u{1f}' && deceives(letter),
        |letter, shown| {
            for unit in letter.encode_utf16(&mut [0; 2]) {
                shown.push_str(&format!("\\u{unit:04x}"));
            }
        },
    )
}

/// Whether a character steers a terminal, or shows nothing where the reader expects something.
fn deceives(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            | '\u{2028}' | '\u{2029}'
            | '\u{ad}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}' | '\u{2060}'..='\u{2065}'
            | '\u{206a}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

fn joins(letter: char) -> bool {
    matches!(letter, '\u{200c}' | '\u{200d}')
}

fn rewritten(text: &str, hidden: impl Fn(char) -> bool, mut write: impl FnMut(char, &mut String)) -> Cow<'_, str> {
    if !text.chars().any(|letter| joins(letter) || hidden(letter)) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    let mut before = '\0';
    while let Some(letter) = letters.next() {
        let between = !before.is_ascii() && letters.peek().is_some_and(|next| !next.is_ascii());
        let strays = joins(letter) && !between;
        match strays || hidden(letter) {
            true => write(letter, &mut shown),
            false => shown.push(letter),
        }
        before = letter;
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_steers_a_terminal_is_shown_as_its_escape() {
        let cases = [
            ("plain", "plain"),
            ("Zürich 東京 مرحبا שלום", "Zürich 東京 مرحبا שלום"),
            ("a\u{1b}]0;owned\u{7}b", "a\\u{1b}]0;owned\\u{7}b"),
            ("a\u{9b}2Jb\u{9d}8;;x\u{9c}", "a\\u{9b}2Jb\\u{9d}8;;x\\u{9c}"),
            ("a\r\n\tb\0\u{7f}", "a\\r\\n\\tb\\u{0}\\u{7f}"),
            ("paid \u{202e}001\u{202c}", "paid \\u{202e}001\\u{202c}"),
            ("a\u{2066}b\u{2069}\u{200f}\u{61c}", "a\\u{2066}b\\u{2069}\\u{200f}\\u{61c}"),
            ("a\u{2028}b\u{200b}c\u{feff}\u{e0041}", "a\\u{2028}b\\u{200b}c\\u{feff}\\u{e0041}"),
        ];
        for (text, expected) in cases {
            assert_eq!(visible(text), expected, "{text:?}");
        }
        assert_eq!(visible_lines("a\nb\r\u{1b}"), "a\nb\\r\\u{1b}");
    }

    #[test]
    fn joiners_stay_where_scripts_and_emoji_need_them() {
        for text in ["👩\u{200d}🚀", "می\u{200c}خواهم", "क्\u{200d}ष"] {
            assert_eq!(visible(text), text);
        }
        assert_eq!(visible("pay\u{200d}pal"), "pay\\u{200d}pal");
        assert_eq!(visible("\u{200c}🚀\u{200d}"), "\\u{200c}🚀\\u{200d}");
    }

    proptest! {
        #[test]
        fn json_means_the_same_and_holds_nothing_that_deceives(text in "\\PC*|[\u{0}-\u{2fff}\u{e0000}-\u{e00ff}]*") {
            let json = serde_json::to_string(&text).expect("JSON");
            let shown = visible_json(&json);
            prop_assert!(!shown.chars().any(deceives));
            prop_assert_eq!(serde_json::from_str::<String>(&shown).expect("JSON"), text.clone());
            prop_assert!(!visible(&text).chars().any(deceives));
        }
    }
}
