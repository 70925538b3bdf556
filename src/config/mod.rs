//! A pipeline's settings: plain data, read from its folder, all faults of it found at once.

mod model;

pub use model::{BatchSettings, Check, Input, LoadSettings, Pipeline, SourceSettings, Start, Table, Target};
