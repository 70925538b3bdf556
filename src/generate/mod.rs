//! Mock food orders: what a delivery service's systems would put into the stream, with the mess of real life in it.
//!
//! Pure: no clock, no files, no network; times and ids are handed in, and a seed fixes every byte. Owns the events'
//! shape, their distributions, the mess and its shares, and the arithmetic of a rate. Putting records is `source`'s.
//!
//! An order is placed, prepared, on the way, and delivered, or cancelled before that; each is one record with the same
//! OrderID (also the partition key) and the same facts. DeliveryTime is an estimate and TipAmount 0.00 until delivered.

mod ids;
mod mess;
mod orders;
mod pace;

pub use ids::ids;
pub use mess::Mess;
pub use orders::{MockRecord, OrderGenerator, OrderSettings};
pub use pace::Pace;
