//! Whether a warehouse and a journal belong together.
//!
//! Owns the question and the sentence of its refusal. A ledger says how far it is loaded by the number of an entry
//! alone; where that number is another journal's, entries would be passed over and rows of two journals be mixed.

use crate::error::{Error, Result};
use crate::journal;
use crate::load::Ledger;
use crate::store::Store;

/// What a person can do about it.
const WHAT_NOW: &str = "nothing is loaded into it from here. Name the store (or the data folder) that belongs to the \
                        warehouse; or give this one a warehouse of its own (another schema, or an empty place), and \
                        everything is loaded anew";

/// Looks whether the last entry that the ledger has loaded is one of this store's journal.
///
/// # Errors
/// Corrupt where it is not: the warehouse was filled from another store, or from a newer state of this one. The store's.
pub async fn belongs(store: &Store, ledger: &Ledger) -> Result<()> {
    let loaded_through = ledger.loaded_through;
    if loaded_through == 0 {
        return Ok(());
    }
    let Some(entry) = journal::entries(store, loaded_through - 1, 1).await?.pop() else {
        return Err(Error::corrupt(format!(
            "the warehouse has loaded entry {loaded_through}, and the journal here does not reach so far: the warehouse \
             was filled from another object store, or this one was put back to an older state; {WHAT_NOW}"
        )));
    };
    match &ledger.attempt {
        Some(attempt) if *attempt != entry.attempt => Err(Error::corrupt(format!(
            "the warehouse has loaded another entry {loaded_through} than the journal here holds: it was filled from \
             another object store; {WHAT_NOW}"
        ))),
        _ => Ok(()),
    }
}
