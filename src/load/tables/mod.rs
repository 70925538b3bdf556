//! The tables of a warehouse that speaks SQL: their columns' types, how they are made, and how they grow.
//!
//! Owns the Arrow → SQL types (`column`), the `CREATE` statements (`create`), and what a changed pipeline does to tables
//! that are there (`evolve`). Pure: text out, nothing run; what goes into the tables is not its matter. Every identifier
//! is written in double quotes.

mod column;

pub(super) use column::column_type;
