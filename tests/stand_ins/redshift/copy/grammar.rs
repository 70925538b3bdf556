//! The words of a COPY, and those that do not go with Parquet.

use sqlparser::tokenizer::Token;

use super::super::refusal::Refusal;
use super::super::tokens::{Words, quoted};

/// A COPY that Redshift takes.
#[derive(Debug, Default)]
pub(in super::super) struct CopyCommand {
    /// As SQL writes it.
    pub(super) table: String,
    /// None: the table's order.
    pub(super) columns: Option<Vec<String>>,
    pub(super) from: String,
    pub(super) manifest: bool,
    pub(super) fill_record: bool,
    pub(super) serialize_to_json: bool,
}

/// Words of COPY that other formats know.
const NOT_FOR_PARQUET: &[&str] = &[
    "acceptanydate",
    "blanksasnull",
    "compupdate",
    "comprows",
    "dateformat",
    "delimiter",
    "emptyasnull",
    "encoding",
    "encrypted",
    "escape",
    "fixedwidth",
    "gzip",
    "bzip2",
    "lzop",
    "zstd",
    "ignoreallerrors",
    "ignoreblanklines",
    "ignoreheader",
    "json",
    "maxerror",
    "noload",
    "null",
    "quote",
    "region",
    "removequotes",
    "readratio",
    "roundec",
    "ssh",
    "timeformat",
    "trimblanks",
    "truncatecolumns",
];

impl CopyCommand {
    pub(in super::super) fn read(tokens: &[Token]) -> Result<Self, Refusal> {
        let mut words = Words::new(tokens);
        words.expect("copy")?;
        let mut wanted = Self { table: quoted(&words.table()?), ..Self::default() };
        if words.peek() == Some(&Token::LParen) {
            wanted.columns = Some(words.names()?.into_iter().map(str::to_owned).collect());
        }
        words.expect("from")?;
        wanted.from = words.string()?.to_owned();
        let (mut parquet, mut authorised) = (false, false);
        while words.peek().is_some() {
            if words.takes("iam_role") {
                role(&mut words)?;
                authorised = true;
            } else if words.takes("format") {
                words.takes("as");
                words.expect("parquet")?;
                parquet = true;
            } else {
                wanted.option(&mut words)?;
            }
        }
        if !wanted.from.starts_with("s3://") {
            return Err(Refusal::new("XX000", format!("'{}' is no s3:// address", wanted.from)));
        }
        if !authorised {
            return Err(Refusal::new("XX000", "Must specify credentials parameters with the COPY command"));
        }
        if parquet { Ok(wanted) } else { Err(Refusal::stand_in_cannot("COPY of another format than Parquet")) }
    }

    fn option(&mut self, words: &mut Words<'_>) -> Result<(), Refusal> {
        if words.takes("manifest") {
            self.manifest = true;
        } else if words.takes("fillrecord") {
            self.fill_record = true;
        } else if words.takes("serializetojson") {
            self.serialize_to_json = true;
        } else if words.takes("acceptinvchars") {
            words.takes("as");
            if matches!(words.peek(), Some(Token::SingleQuotedString(_))) {
                words.string()?;
            }
        } else if words.takes("statupdate") {
            let _ = words.takes("on") || words.takes("off") || words.takes("true") || words.takes("false");
        } else if !words.takes("explicit_ids") {
            return Err(refused(words));
        }
        Ok(())
    }
}

fn refused(words: &Words<'_>) -> Refusal {
    let Some(Token::Word(word)) = words.peek() else { return words.unexpected() };
    let name = word.value.to_ascii_lowercase();
    if NOT_FOR_PARQUET.contains(&name.as_str()) {
        return Refusal::new(
            "0A000",
            format!("{} argument is not supported for PARQUET based COPY", name.to_uppercase()),
        );
    }
    if ["credentials", "with", "access_key_id", "secret_access_key", "session_token"].contains(&name.as_str()) {
        return Refusal::new("0A000", "the stand-in takes no keys in a statement: authorise COPY by IAM_ROLE");
    }
    words.unexpected()
}

/// `default`, or one or more roles in one string.
fn role(words: &mut Words<'_>) -> Result<(), Refusal> {
    if words.takes("default") {
        return Ok(());
    }
    let role = words.string()?;
    let known =
        role.split(',').all(|arn| arn.starts_with("arn:aws") && arn.contains(":iam::") && arn.contains(":role/"));
    if known { Ok(()) } else { Err(Refusal::new("XX000", format!("Invalid IAM role '{role}'"))) }
}
