//! What a question may take of this machine, where nobody says so: a share of its memory and of its free disk.
//!
//! Owns the shares, and the place where questions spill. A container's limit counts as the machine's memory.

use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;
use sysinfo::{MemoryRefreshKind, RefreshKind, System};

use super::arguments::Limits;
use super::open::partitions;
use super::output::note;
use crate::error::{Error, Result};
use crate::query::QuerySettings;
use crate::sql::{Spill, SpillFolder};

/// Of the memory, one part in so many.
const MEMORY_SHARE: u64 = 4;

/// Of the free disk, one part in so many.
const DISK_SHARE: u64 = 2;

/// With less memory than this no question can be answered.
const LEAST_MEMORY: u64 = 16 << 20;

/// What an operator of one partition needs to get on, spilling.
const PARTITION_MEMORY: u64 = 32 << 20;

/// The bounds that were asked for, or the shares. `place` is where the folder for spilled rows goes, in the system's
/// temporary folder where that cannot be written.
///
/// # Errors
/// Invalid where the memory is too little, or no folder can be made.
pub(super) fn query_settings(limits: &Limits, place: Option<PathBuf>) -> Result<(QuerySettings, Spill)> {
    let memory = limits.memory.unwrap_or_else(|| (memory() / MEMORY_SHARE).max(LEAST_MEMORY));
    if memory < LEAST_MEMORY {
        return Err(Error::invalid(format!(
            "--memory is {memory} bytes, and a query needs {} MiB",
            LEAST_MEMORY >> 20
        )));
    }
    let partitions = partitions().min(usize::try_from(memory / PARTITION_MEMORY).unwrap_or(usize::MAX)).max(1);
    let memory_bytes = usize::try_from(memory).unwrap_or(usize::MAX);
    Ok((QuerySettings { memory_bytes, partitions }, spill(limits.spill, place)?))
}

fn spill(asked: Option<u64>, place: Option<PathBuf>) -> Result<Spill> {
    if asked == Some(0) {
        return Ok(Spill::NOWHERE);
    }
    let temporary = std::env::temp_dir();
    let folder = match place.map(|place| SpillFolder::new(&place)) {
        Some(Ok(folder)) => Ok(folder),
        // Who may only read the data may ask all the same.
        Some(Err(_)) | None => SpillFolder::new(&temporary),
    };
    let folder = folder.map_err(|error| {
        let place = temporary.display();
        Error::invalid(format!(
            "no folder for spilled rows can be made in {place}: name another one with TMPDIR, or spill nothing with --spill 0"
        ))
        .with_source(error)
    })?;
    let bytes = asked.unwrap_or_else(|| free(folder.path()) / DISK_SHARE);
    Ok(Spill { folder: Some(folder), bytes })
}

/// What this machine has, or the container lets it have.
fn memory() -> u64 {
    let system =
        System::new_with_specifics(RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram()));
    let limit = system.cgroup_limits().map_or(u64::MAX, |limits| limits.total_memory);
    system.total_memory().min(limit)
}

/// What is free on the disk of this folder.
fn free(folder: &Path) -> u64 {
    match statvfs(folder) {
        // The two are numbers of 32 bits on some systems.
        Ok(disk) => {
            let bytes = u128::from(disk.blocks_available()) * u128::from(disk.fragment_size());
            u64::try_from(bytes).unwrap_or(u64::MAX)
        }
        Err(error) => {
            note(format_args!("the free space of {} is not known ({error}): nothing is spilled", folder.display()));
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;

    /// A command's output, which tells of this machine without any of our code.
    fn said(command: &str, arguments: &[&str]) -> String {
        let output = Command::new(command).args(arguments).output().expect("it runs");
        assert!(output.status.success(), "{command}: {output:?}");
        String::from_utf8(output.stdout).expect("a text")
    }

    #[test]
    fn without_a_word_it_is_a_quarter_of_the_memory_and_half_of_the_free_disk() {
        let root = tempfile::tempdir().expect("a folder");
        let place = root.path().join("spill");
        let (settings, spill) =
            query_settings(&Limits { memory: None, spill: None }, Some(place.clone())).expect("bounds");
        let known = fs::read_to_string("/proc/meminfo").expect("Linux");
        let kibibytes = known.lines().find_map(|line| line.strip_prefix("MemTotal:")?.strip_suffix("kB"));
        let machine = kibibytes.expect("a total").trim().parse::<u64>().expect("a number") << 10;
        let limit = fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
        assert_eq!(settings.memory_bytes as u64, machine.min(limit.unwrap_or(u64::MAX)) / 4);
        let free = said("df", &["--output=avail", "-B1", root.path().to_str().expect("UTF-8")]);
        let free: u64 = free.lines().nth(1).expect("a disk").trim().parse().expect("a number");
        // Others write to the disk meanwhile.
        assert!(spill.bytes.abs_diff(free / 2) < free / 10, "{} of {free}", spill.bytes);
        let folder = spill.folder.as_ref().expect("a folder").path().to_owned();
        assert!(folder.starts_with(&place) && folder.is_dir());
        drop(spill);
        assert!(!folder.exists());
    }

    #[test]
    fn a_disk_that_is_not_known_takes_nothing() {
        assert_eq!(free(Path::new("/no/such/folder")), 0);
    }

    #[test]
    fn what_is_asked_for_is_taken() {
        let limits = Limits { memory: Some(40 << 20), spill: Some(0) };
        let (settings, spill) = query_settings(&limits, None).expect("bounds");
        assert_eq!((settings.memory_bytes, settings.partitions, spill.bytes), (40 << 20, 1, 0));
        assert!(spill.folder.is_none());
        let limits = Limits { memory: Some(1 << 20), spill: Some(0) };
        assert!(query_settings(&limits, None).is_err());
    }
}
