//! Whether a warehouse and a journal belong together.
//!
//! A ledger says how far it is loaded by the number of an entry. Where the journal has lost its newest entries, or the
//! warehouse was filled from another store, that number is another entry's: entries would be passed over for good, and
//! the rows of two journals mixed. So a receipt also holds the attempt that wrote its last entry. Owns the comparison and
//! the sentences of its refusal. Who starts compares before its first commit, who loads before each load.

use crate::batch::Receipt;
use crate::error::{Error, Result};
use crate::journal;
use crate::load::Warehouse;
use crate::store::Store;

/// What is wrong, as a person reads it.
#[derive(Debug, thiserror::Error)]
enum Mismatch {
    #[error(
        "the warehouse has loaded entry {0}, and the journal here does not reach so far: the last entries of the journal were \
         deleted, the store was put back to an older state, or the warehouse was filled from another object store; {NOW}"
    )]
    Short(u64),
    #[error(
        "the warehouse has loaded another entry {0} than the journal here holds: the last entries of the journal were deleted \
         and others written in their place, or the warehouse was filled from another object store; {NOW}"
    )]
    Other(u64),
}

/// What it means, and what a person can do about it.
const NOW: &str = "nothing is committed or loaded until they fit. Entries that were lost: restore them (a backup, the bucket's \
                   older versions); without them, new entries would take their numbers and never be loaded. Another store's \
                   warehouse: name its own store or data folder. Where neither is possible, give this store an empty \
                   warehouse (another schema; for Delta, move its folder away): the journal is loaded into it, and what it \
                   lost is read again if the stream still has it";

/// Looks whether the last entry that a ledger has loaded is one of this store's journal.
///
/// # Errors
/// Corrupt where it is not, or where the journal is damaged there; the store's.
pub async fn verify_ledger(store: &Store, last: Option<&Receipt>) -> Result<()> {
    let Some(Receipt { loaded_through: number @ 1.., attempt, .. }) = last else { return Ok(()) };
    let mismatch = match journal::entries(store, number - 1, 1).await?.pop() {
        None => Mismatch::Short(*number),
        Some(entry) if attempt.as_ref().is_some_and(|attempt| *attempt != entry.attempt) => Mismatch::Other(*number),
        Some(_) => return Ok(()),
    };
    Err(Error::corrupt(mismatch.to_string()))
}

/// Makes the warehouse ready for what this store's journal holds; one that was filled from elsewhere is left as it is.
///
/// # Errors
/// As [`verify_ledger`]; the warehouse's.
pub async fn prepare(store: &Store, warehouse: &dyn Warehouse) -> Result<()> {
    verify_ledger(store, warehouse.ledger().await?.last.as_ref()).await?;
    warehouse.prepare().await
}
