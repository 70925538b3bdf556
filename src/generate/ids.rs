//! The ids of a dimension file.

use std::io::Cursor;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::csv::ReaderBuilder;
use arrow::csv::reader::Format;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;

use crate::error::{Error, Result};

/// The whole numbers in the column under this heading of a CSV file with a line of headings, in the file's order.
///
/// # Errors
/// Invalid where it is no CSV, has no such heading, a value is no whole number, or there is no row; the caller adds the
/// file's name.
pub fn ids(csv: &[u8], heading: &str) -> Result<Vec<i64>> {
    let malformed = |error: ArrowError| Error::invalid("not a CSV file with a line of headings").with_source(error);
    let format = Format::default().with_header(true);
    let (found, _) = format.infer_schema(Cursor::new(csv), Some(0)).map_err(malformed)?;
    let Ok(column) = found.index_of(heading) else {
        let names: Vec<&str> = found.fields().iter().map(|field| field.name().as_str()).collect();
        return Err(Error::invalid(format!("no column {heading:?}; the headings are {}", names.join(", "))));
    };
    let texts = found.fields().iter().map(|field| Field::new(field.name(), DataType::Utf8, true));
    let schema = Arc::new(Schema::new(texts.collect::<Vec<_>>()));
    let reader = ReaderBuilder::new(schema).with_format(format).with_projection(vec![column]);
    let mut ids = Vec::new();
    for batch in reader.build(Cursor::new(csv)).map_err(malformed)? {
        for text in batch.map_err(malformed)?.column(0).as_string::<i32>() {
            let text = text.unwrap_or_default();
            let wrong = || format!("row {}: {heading} is {text:?}, which is no whole number", ids.len() + 1);
            ids.push(text.trim().parse().map_err(|_| Error::invalid(wrong()))?);
        }
    }
    match ids.is_empty() {
        true => Err(Error::invalid(format!("no row, so there is no {heading} to draw from"))),
        false => Ok(ids),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn ids_are_read_past_quotes_commas_and_lines() {
        let csv = b"RiderID,RiderName,VehicleID\n3,\"Ayers, Diane\",A\n1,\"two\nlines\",B\n 22 ,,C\n";
        assert_eq!(ids(csv, "RiderID").expect("ids"), [3, 1, 22]);
    }

    #[test]
    fn what_holds_no_ids_is_told() {
        let cases = [
            ("A,B\n1,2\n", "no column \"RiderID\"; the headings are A, B"),
            ("RiderID\n1\nx\n", "row 2: RiderID is \"x\""),
            ("A,RiderID\n1,\n", "row 1: RiderID is \"\""),
            ("RiderID\n", "no row"),
            ("", "no column \"RiderID\""),
            ("A,RiderID\n1\n", "not a CSV file"),
        ];
        for (csv, expected) in cases {
            let error = ids(csv.as_bytes(), "RiderID").expect_err(csv);
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().contains(expected), "{csv:?}: {error}");
        }
    }
}
