//! A COPY that failed, told so that a person finds the value.
//!
//! Owns where Redshift keeps the errors of a COPY, and the sentence. Pure: questions and rows in, an error out. Two views
//! have them: `sys_load_error_detail` on serverless and new clusters, `stl_load_errors` on provisioned ones; only the
//! latter has the value itself. Errors of reading Parquet often stand in neither, but in the refusal's own detail.

use super::lake::Lake;
use crate::error::{Error, first_line};
use crate::load::plan::Copy;

/// A row of either view, as text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct LoadError {
    /// The file's whole address, cut after 256 characters.
    pub(super) file: String,
    /// Where the format has lines.
    pub(super) line: String,
    pub(super) column: String,
    /// The column's width, where it has one.
    pub(super) length: String,
    /// Empty in `sys_load_error_detail`.
    pub(super) value: String,
    pub(super) reason: String,
    pub(super) code: String,
}

/// The newest errors of the session with this process id, in seven columns as [`LoadError`] has them: from the view that
/// is asked first, then from the older one. A view that is not there, or empty, has no answer.
pub(super) fn questions(process: i64) -> [String; 2] {
    [
        format!(
            "SELECT trim(file_name), line_number, trim(column_name), trim(column_length), '', trim(error_message), \
             error_code FROM sys_load_error_detail WHERE session_id = {process} ORDER BY start_time DESC LIMIT 100"
        ),
        format!(
            "SELECT trim(filename), line_number, trim(colname), trim(col_length), trim(raw_field_value), trim(err_reason), \
             err_code FROM stl_load_errors WHERE session = {process} ORDER BY starttime DESC LIMIT 100"
        ),
    ]
}

/// The question for the process id of this session.
pub(super) const PROCESS: &str = "SELECT pg_backend_pid()";

impl LoadError {
    /// A row of an answer; none where it has other columns.
    pub(super) fn read(row: Vec<Option<String>>) -> Option<Self> {
        let row: [Option<String>; 7] = row.try_into().ok()?;
        let [file, line, column, length, value, reason, code] =
            row.map(|text| text.unwrap_or_default().trim().to_owned());
        Some(Self { file, line, column, length, value, reason, code })
    }

    /// The row, counted from one. Columnar files have no lines; it is -1 then, or 0.
    pub(super) fn row(&self) -> Option<u64> {
        self.line.parse().ok().filter(|row| *row > 0)
    }
}

/// The newest of these errors that is of this COPY: process ids return. What the first answer lacks of its value the
/// second one may have.
pub(super) fn newest(copy: &Copy, lake: &Lake, answers: [Vec<LoadError>; 2]) -> Option<LoadError> {
    let [first, second] = answers.map(|errors| errors.into_iter().filter(|error| is_of(error, copy, lake)).collect());
    let second: Vec<LoadError> = second;
    let Some(found) = Vec::into_iter(first).next() else { return second.into_iter().next() };
    let same = |other: &&LoadError| (&other.line, &other.column) == (&found.line, &found.column);
    let value = match found.value.is_empty() {
        true => second.iter().find(same).map_or_else(String::new, |other| other.value.clone()),
        false => found.value.clone(),
    };
    Some(LoadError { value, ..found })
}

fn is_of(error: &LoadError, copy: &Copy, lake: &Lake) -> bool {
    lake.file(copy, &error.file).is_some()
}

/// What a refusal says itself, where it names file, column and the column's width: `The length of the data column NAME is
/// longer than the length defined in the table. Table: 4, Data: 5, File name: …`.
pub(super) fn in_refusal(copy: &Copy, lake: &Lake, refusal: &str) -> Option<LoadError> {
    let file = lake.address(lake.file_in(copy, refusal)?);
    let after = |words: &str| {
        let (_, rest) = refusal.split_once(words)?;
        let end = rest.find(|letter: char| letter.is_whitespace() || letter == ',').unwrap_or(rest.len());
        Some(rest[..end].to_owned())
    };
    let (column, length) = (after("data column ")?, after("Table: ")?);
    Some(LoadError { file, column, length, reason: told_by(refusal), ..LoadError::default() })
}

/// The public error of a COPY that will fail again: from its row in a view, where there is one, or from what the refusal
/// itself says.
pub(super) fn told(copy: &Copy, lake: &Lake, row: Option<&LoadError>, refusal: &str) -> Error {
    let (place, reason) = match row {
        Some(row) => (place(copy, lake, row), reason(row)),
        None => {
            let file = lake.file_in(copy, refusal);
            let place = file.map(|staged| format!("file {} of entry {}", staged.file.path, staged.entry));
            (place.unwrap_or_else(|| files(copy)), told_by(refusal))
        }
    };
    Error::invalid(format!(
        "redshift refuses to copy rows into {}: {place}: {reason}; nothing of this load is in the warehouse; loading stops \
         here, reading goes on; compare the table's columns with the pipeline's (`millstream check` tells the \
         differences), correct the table, and start again: it goes on with this load",
        copy.table
    ))
}

fn place(copy: &Copy, lake: &Lake, row: &LoadError) -> String {
    let mut place = match lake.file(copy, &row.file) {
        Some(staged) => format!("file {} of entry {}", staged.file.path, staged.entry),
        None => files(copy),
    };
    if let Some(number) = row.row() {
        place.push_str(&format!(", row {number}"));
    }
    if !row.column.is_empty() {
        place.push_str(&format!(", column {}", row.column));
    }
    if !row.value.is_empty() {
        place.push_str(&format!(", value {:?}", first_line(&row.value)));
    }
    place
}

fn reason(row: &LoadError) -> String {
    match row.code.as_str() {
        "" | "0" => first_line(&row.reason),
        code => format!("{} (code {code})", first_line(&row.reason)),
    }
}

fn files(copy: &Copy) -> String {
    let entries = copy.files.iter().map(|staged| staged.entry);
    match (entries.clone().min(), entries.max()) {
        (Some(first), Some(last)) => format!("one of {} files of entries {first} to {last}", copy.files.len()),
        _ => "no file".to_owned(),
    }
}

/// The message, and of the detail (a box of lines, `name: words`) what stands under `context`.
fn told_by(refusal: &str) -> String {
    let message = first_line(refusal);
    let mut lines = refusal.lines().map(str::trim);
    let context = lines.find_map(|line| line.strip_prefix("context:")).map(first_line);
    match context.filter(|context| !context.is_empty()) {
        Some(context) => format!("{message}: {context}"),
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::load::redshift::examples::{copy, lake};

    fn loaded() -> (Copy, Lake) {
        let copy = copy(&[(41, "staged/a.parquet", 3, 10), (42, "staged/b.parquet", 1, 10)]);
        (copy, Lake::new(lake(), "default", std::sync::Arc::new(crate::runtime::SystemClock)).expect("a bucket"))
    }

    fn row(file: &str, line: &str, value: &str) -> LoadError {
        let cells = [file, line, "order_value  ", "4", value, "String length exceeds DDL length", "1204"];
        LoadError::read(cells.iter().map(|cell| Some((*cell).to_owned())).collect()).expect("seven columns")
    }

    #[test]
    fn an_error_is_told_with_file_entry_row_column_value_and_reason() {
        let (copy, lake) = loaded();
        let found = row("s3://orders-lake/staged/b.parquet      ", "17", "abc");
        let error = told(&copy, &lake, Some(&found), "ERROR: Load into table 'x' failed");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let words = "into fact_orders: file staged/b.parquet of entry 42, row 17, column order_value, value \"abc\": \
                     String length exceeds DDL length (code 1204); nothing of this load is in the warehouse; loading \
                     stops here, reading goes on; ";
        assert!(error.to_string().contains(words), "{error}");
    }

    #[test]
    fn what_is_not_known_is_not_told() {
        let (copy, lake) = loaded();
        let error = told(&copy, &lake, Some(&row("", "-1", "")), "").to_string();
        assert!(error.contains(": one of 2 files of entries 41 to 42, column order_value: String"), "{error}");
    }

    #[test]
    fn without_a_row_the_refusals_detail_tells_the_file() {
        let (copy, lake) = loaded();
        let refusal = "Spectrum Scan Error\n  ------\n  error:  Spectrum Scan Error\n  code:      15007\n  context:   File \
                       'https://s3.eu-central-1.amazonaws.com/orders-lake/staged/a.parquet' has an incompatible Parquet \
                       schema for column 'order_id'\n  query:     1\n";
        let error = told(&copy, &lake, None, refusal).to_string();
        assert!(error.contains("file staged/a.parquet of entry 41: Spectrum Scan Error: File 'https://s3"), "{error}");
        let error = told(&copy, &lake, None, "ERROR: permission denied").to_string();
        assert!(error.contains("one of 2 files of entries 41 to 42: ERROR: permission denied;"), "{error}");
    }

    #[test]
    fn a_refusal_that_names_file_column_and_width_is_as_good_as_a_row() {
        let (copy, lake) = loaded();
        let refusal = "Spectrum Scan Error\n  error:  Spectrum Scan Error\n  context:   The length of the data column \
                       status is longer than the length defined in the table. Table: 95, Data: 120, File name: \
                       https://s3.eu-central-1.amazonaws.com/orders-lake/staged/b.parquet\n  query:     1\n";
        let found = in_refusal(&copy, &lake, refusal).expect("all of it");
        assert_eq!(found.file, "s3://orders-lake/staged/b.parquet");
        assert_eq!((found.column.as_str(), found.length.as_str()), ("status", "95"));
        assert!(found.reason.starts_with("Spectrum Scan Error: The length of"), "{found:?}");
        assert_eq!(in_refusal(&copy, &lake, "staged/b.parquet has an incompatible schema"), None);
        assert_eq!(in_refusal(&copy, &lake, &refusal.replace("b.parquet", "c.parquet")), None);
    }

    #[test]
    fn the_newest_error_is_of_this_copy_and_gets_its_value_where_it_stands() {
        let (copy, lake) = loaded();
        let (old, ours) =
            (row("s3://orders-lake/staged/old.parquet", "1", ""), row("s3://orders-lake/staged/a.parquet", "2", ""));
        let valued = row("s3://orders-lake/staged/a.parquet", "2", "abc");
        let cases = [
            ([vec![], vec![]], None),
            ([vec![old.clone()], vec![old.clone()]], None),
            ([vec![old.clone(), ours.clone()], vec![]], Some(ours.clone())),
            ([vec![ours], vec![old, valued.clone()]], Some(valued.clone())),
            ([vec![], vec![valued.clone()]], Some(valued)),
        ];
        for (answers, expected) in cases {
            assert_eq!(newest(&copy, &lake, answers), expected);
        }
    }

    #[test]
    fn a_row_of_other_columns_is_none() {
        assert_eq!(LoadError::read(vec![None; 6]), None);
        assert_eq!(LoadError::read(vec![None; 7]), Some(LoadError::default()));
    }

    #[test]
    fn each_view_is_asked_by_its_own_names() {
        let [new, old] = questions(4711);
        assert!(new.contains("trim(file_name)") && new.contains("session_id = 4711"), "{new}");
        assert!(old.contains("trim(raw_field_value)") && old.contains("session = 4711"), "{old}");
    }
}
