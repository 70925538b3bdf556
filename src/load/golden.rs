//! Texts that tests compare, whole, with files of `src/load/golden`.
//!
//! Owns the comparison. With `MILLSTREAM_GOLDEN=write` in the environment the files are written instead.

use std::path::Path;

/// Compares a text with the golden file of this name.
pub(super) fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/load/golden").join(name);
    if std::env::var("MILLSTREAM_GOLDEN").is_ok_and(|word| word == "write") {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(&path, text).expect("written");
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == text,
        "{name} differs in line {}; look at it, and if it is meant: MILLSTREAM_GOLDEN=write\n{text}",
        1 + expected.lines().zip(text.lines()).take_while(|(old, new)| old == new).count()
    );
}

#[test]
#[should_panic(expected = "there_is_no_such.sql differs in line 1")]
fn a_text_without_its_file_fails() {
    golden("there_is_no_such.sql", "SELECT 1;\n");
}
