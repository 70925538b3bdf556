//! The text of a COPY.
//!
//! Owns its words: of those that Redshift knows, only these few go with Parquet. Pure. The columns are always listed, in
//! the files' order, because Redshift matches columns by their place and never by their name.

use arrow::datatypes::DataType;

use crate::load::plan::Copy;
use crate::load::tables::quoted;

/// The word, not the name of a role: the one that the cluster has as its default.
const DEFAULT_ROLE: &str = "default";

/// The statement that brings the files of a manifest into a table; `into` and the role as the settings have it.
pub(super) fn text(copy: &Copy, into: &str, manifest_url: &str, iam_role: &str) -> String {
    let columns: Vec<String> = copy.columns.fields().iter().map(|field| quoted(field.name())).collect();
    let role = match iam_role {
        DEFAULT_ROLE => DEFAULT_ROLE.to_owned(),
        arn => quoted_text(arn),
    };
    let nested =
        if copy.columns.fields().iter().any(|field| is_nested(field.data_type())) { "SERIALIZETOJSON " } else { "" };
    format!(
        "COPY {into} ({}) FROM {} IAM_ROLE {role} FORMAT AS PARQUET {nested}MANIFEST",
        columns.join(", "),
        quoted_text(manifest_url),
    )
}

/// The rows that the last COPY of this session brought.
pub(super) const COUNT: &str = "SELECT pg_last_copy_count()";

/// A text as SQL writes it. Redshift takes a backslash for an escape.
pub(super) fn quoted_text(text: &str) -> String {
    format!("'{}'", text.replace('\\', r"\\").replace('\'', "''"))
}

/// Whether it becomes a SUPER.
fn is_nested(data_type: &DataType) -> bool {
    use DataType::{FixedSizeList, LargeList, List, Map, Struct};
    matches!(data_type, Struct(_) | List(_) | LargeList(_) | FixedSizeList(..) | Map(..))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{Field, Schema};

    use super::*;
    use crate::load::redshift::examples::copy;

    const ROLE: &str = "arn:aws:iam::123456789012:role/load";

    #[test]
    fn a_copy_lists_its_columns_and_says_no_word_more_than_parquet_allows() {
        let text = text(&copy(&[]), r#""food"."fact_orders""#, "s3://orders-lake/manifests/l-0-fact_orders.json", ROLE);
        assert_eq!(
            text,
            "COPY \"food\".\"fact_orders\" (\"order_id\", \"_position\") \
             FROM 's3://orders-lake/manifests/l-0-fact_orders.json' \
             IAM_ROLE 'arn:aws:iam::123456789012:role/load' FORMAT AS PARQUET MANIFEST"
        );
    }

    #[test]
    fn the_default_role_is_a_word() {
        let text = text(&copy(&[]), "\"staged_1\"", "s3://b/m", "default");
        assert!(text.contains(" IAM_ROLE default FORMAT"), "{text}");
    }

    #[test]
    fn only_nested_columns_are_serialized() {
        let item = Field::new("item", DataType::Int32, true);
        let nested = Field::new("lines", DataType::List(Arc::new(item)), true);
        let copy = Copy { columns: Arc::new(Schema::new(vec![nested])), ..copy(&[]) };
        let text = text(&copy, "\"staged_1\"", "s3://b/m", ROLE);
        assert!(text.ends_with("FORMAT AS PARQUET SERIALIZETOJSON MANIFEST"), "{text}");
    }

    #[test]
    fn nothing_breaks_out_of_its_quotes() {
        assert_eq!(quoted_text(r"it's \' "), r"'it''s \\'' '");
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
        let column = Field::new("x\") FROM", DataType::Int32, true);
        let copy = Copy { columns: Arc::new(Schema::new(vec![column])), ..copy(&[]) };
        let text = text(&copy, "\"t\"", "s3://it's/m", "arn:'; DROP");
        assert!(text.starts_with(r#"COPY "t" ("x"") FROM") FROM 's3://it''s/m' IAM_ROLE 'arn:''; DROP' "#), "{text}");
    }
}
