//! COPY of Parquet: from a bucket's objects into a table, by position, all or nothing.
//!
//! Owns the order of the checks. What is wrong with a value stands in the error view afterwards, also when the transaction
//! is rolled back.

mod columns;
mod grammar;
mod manifest;
mod rows;

use bytes::Bytes;
use futures::SinkExt;
use object_store::ObjectStoreExt;
use object_store::path::Path;

pub(super) use grammar::CopyCommand;

use self::columns::Target;
use super::backend;
use super::refusal::Refusal;
use super::session::Session;
use super::tokens::quoted;

/// What stands for the line of a columnar file.
const NO_LINE: i32 = -1;

/// A fault in a file, for the error view and for the answer.
#[derive(Debug, Default)]
struct FileFault {
    file: String,
    column: String,
    kind: String,
    length: String,
    value: String,
    code: u32,
    reason: String,
}

/// A COPY that fails.
enum Failed {
    /// Said at once.
    Refused(Refusal),
    /// Said in the error view, too.
    Fault(Box<FileFault>),
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Runs a COPY in the session's transaction and returns how many rows it brought.
pub(super) async fn run(session: &Session, wanted: &CopyCommand) -> Result<usize, Refusal> {
    let outcome = load(session, wanted).await;
    let copied = *outcome.as_ref().unwrap_or(&0);
    match outcome {
        Ok(rows) => {
            let remember = format!("SELECT set_config('standin.copied', '{copied}', false)");
            session.client.batch_execute(&remember).await?;
            Ok(rows)
        }
        Err(Failed::Refused(refusal)) => Err(refusal),
        Err(Failed::Fault(fault)) => {
            record(session, &fault).await?;
            Err(fault.refusal())
        }
    }
}

async fn load(session: &Session, wanted: &CopyCommand) -> Result<usize, Failed> {
    let mut target = Target::find(&session.client, wanted).await?;
    target.fixed_length_decimals = session.shared.options.fixed_length_decimals;
    let (bucket, key) = address(&wanted.from)?;
    let mut objects = Vec::new();
    if wanted.manifest {
        for entry in manifest::read(&object(session, bucket, key).await?)? {
            let (bucket, key) = address(&entry.url)?;
            match object(session, bucket, key).await {
                Ok(bytes) => objects.push((entry.checked(bytes)?, entry.url)),
                Err(_) if !entry.mandatory => {}
                Err(refusal) => return Err(refusal.into()),
            }
        }
    } else {
        objects.push((object(session, bucket, key).await?, wanted.from.clone()));
    }
    let (mut texts, mut rows) = (Vec::new(), 0);
    for (bytes, url) in objects {
        let text = rows::read(&target, wanted, &url, bytes)?;
        rows += text.rows;
        texts.push(text.csv);
    }
    let names: Vec<_> = target.columns.iter().map(|column| column.name.as_str()).collect();
    let names = names.iter().map(|name| quoted(&[name])).collect::<Vec<_>>().join(", ");
    let sink = session.client.copy_in(&format!("COPY {} ({names}) FROM STDIN (FORMAT csv)", target.table)).await;
    let mut sink = Box::pin(sink.map_err(Refusal::from)?);
    for text in texts {
        sink.send(Bytes::from(text)).await.map_err(Refusal::from)?;
    }
    sink.as_mut().finish().await.map_err(Refusal::from)?;
    Ok(rows)
}

/// Bucket and key of an `s3://` address.
fn address(url: &str) -> Result<(&str, &str), Refusal> {
    let parts = url.strip_prefix("s3://").and_then(|rest| rest.split_once('/'));
    parts.filter(|(bucket, key)| !bucket.is_empty() && !key.is_empty()).ok_or_else(|| {
        Refusal::new("XX000", format!("The specified S3 prefix '{url}' does not exist: an address is s3://bucket/key"))
    })
}

async fn object(session: &Session, bucket: &str, key: &str) -> Result<Bytes, Refusal> {
    let missing = |what: &str| {
        let words = format!("S3ServiceException:{what},Status 404,Error NoSuchKey,Rid STANDIN");
        Refusal::in_a_box(&words, 8_001, &format!("s3://{bucket}/{key}"))
    };
    let Some(store) = session.shared.options.buckets.get(bucket) else {
        return Err(missing("The specified bucket does not exist"));
    };
    let path = Path::parse(key).map_err(|_| missing("The specified key does not exist."))?;
    let got = store.get(&path).await.map_err(|_| missing("The specified key does not exist."))?;
    got.bytes().await.map_err(|_| missing("The specified key does not exist."))
}

/// Writes the fault where it outlives the transaction.
async fn record(session: &Session, fault: &FileFault) -> Result<(), Refusal> {
    let process = session.client.query_one("SELECT pg_backend_pid()", &[]).await?;
    let process: i32 = process.get(0);
    let apart = backend::connect(session.shared.postgres_port, &session.database).await?;
    let text = |value: &str| format!("'{}'", value.replace('\0', "\\0").replace('\'', "''"));
    let sql = format!(
        "INSERT INTO pg_catalog.standin_load_errors
         (session_id, file_name, line_number, column_name, column_type, column_length, error_code, error_message, raw_value)
         VALUES ({process}, {}, {}, {}, {}, {}, {}, {}, {})",
        text(&fault.file),
        NO_LINE,
        text(&fault.column),
        text(&fault.kind),
        text(&fault.length),
        fault.code,
        text(&fault.reason),
        text(&fault.value),
    );
    Ok(apart.batch_execute(&sql).await?)
}

impl FileFault {
    fn refusal(&self) -> Refusal {
        Refusal::in_a_box("Spectrum Scan Error", self.code, &format!("{} File name: {}", self.reason, self.file))
    }
}
