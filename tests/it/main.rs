//! The integration tests, in one binary: each further binary would link half a gigabyte again.

mod python;
mod tidy;
