//! A manifest: which files, how long each.

use bytes::Bytes;
use serde_json::Value;

use super::super::refusal::Refusal;

/// A file that a manifest names.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) url: String,
    pub(super) mandatory: bool,
    length: u64,
}

/// The files of a manifest, in its order.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<Entry>, Refusal> {
    let refused = |words: &str| Refusal::in_a_box(words, 15_003, "the manifest");
    let manifest: Value = serde_json::from_slice(bytes)
        .map_err(|error| refused(&format!("The manifest file is not valid JSON: {error}")))?;
    let entries = manifest["entries"].as_array().filter(|entries| !entries.is_empty());
    let entries = entries.ok_or_else(|| refused("The manifest file contains no entries."))?;
    entries.iter().map(entry).collect()
}

fn entry(entry: &Value) -> Result<Entry, Refusal> {
    let refused = |words: &str| Refusal::in_a_box(words, 15_003, &entry.to_string());
    let url = entry["url"].as_str().ok_or_else(|| refused("File entry does not have 'url' key."))?;
    if entry.get("meta").is_none() {
        return Err(refused("File entry does not have 'meta' key."));
    }
    let length = entry["meta"]["content_length"].as_u64();
    let length = length.ok_or_else(|| refused("File entry does not have 'content_length' key."))?;
    let mandatory = match &entry["mandatory"] {
        Value::Null => false,
        Value::Bool(mandatory) => *mandatory,
        _ => return Err(refused("The 'mandatory' key is not a boolean.")),
    };
    Ok(Entry { url: url.to_owned(), mandatory, length })
}

impl Entry {
    /// The file, where it is as long as the manifest says.
    pub(super) fn checked(&self, bytes: Bytes) -> Result<Bytes, Refusal> {
        if bytes.len() as u64 == self.length {
            return Ok(bytes);
        }
        let words = "The size of the file does not match the manifest's content_length.";
        let context = format!("{}: {} bytes, content_length {}", self.url, bytes.len(), self.length);
        Err(Refusal::in_a_box(words, 15_003, &context))
    }
}
