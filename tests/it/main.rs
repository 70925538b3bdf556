//! The integration tests, in one binary: each further binary would link half a gigabyte again.

// The attribute tells clippy what cargo knows: all of this is test code.
#[cfg(test)]
mod python;
#[cfg(test)]
mod tidy;
