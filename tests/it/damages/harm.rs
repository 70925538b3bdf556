//! Doing the damage: one file of a kind in a data folder, chosen by a seed.

use std::fs;
use std::path::{Path, PathBuf};

use super::table::{Damage, Kind};

/// All files below a folder, from there, in order.
pub(super) fn files(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => folders.push(path),
                false => found.push(path.strip_prefix(root).expect("below").to_str().expect("UTF-8").to_owned()),
            }
        }
    }
    found.sort();
    found
}

/// Damages one file of the kind; the seed says which, and where. Gives the paths of what is not as it was: that of a file
/// with which it was swapped is the second.
pub(super) fn damage(data: &Path, kind: &Kind, damage: Damage, seed: usize) -> Vec<String> {
    let all = files(data);
    let of_kind: Vec<&String> = all.iter().filter(|path| (kind.holds)(path) && is_in_use(data, path)).collect();
    assert!(!of_kind.is_empty(), "there is no {}", kind.name);
    // The first seed takes the newest file.
    let name = of_kind[(of_kind.len() - 1 + seed * 5) % of_kind.len()];
    let path = data.join(name);
    let mut bytes = fs::read(&path).expect("a file");
    match damage {
        Damage::Flip => {
            let at = bytes.len() * (2 * seed + 1) / 9;
            bytes[at] ^= 1 << (seed % 7);
            fs::write(&path, bytes).expect("written");
        }
        Damage::Truncation => fs::write(&path, &bytes[..bytes.len() * (seed + 1) / 3]).expect("written"),
        Damage::Deletion => fs::remove_file(&path).expect("removed"),
        Damage::Swap => {
            let others = || of_kind.iter().filter(|other| **other != name);
            let near = others().find(|other| folder(other) == folder(name)).or_else(|| others().next());
            // One that is the only one of its kind is swapped with a file that has no say in anything.
            let other = near.map_or("kinesis/lock", |other| other.as_str());
            fs::write(&path, fs::read(data.join(other)).expect("a file")).expect("written");
            fs::write(data.join(other), bytes).expect("written");
            return vec![name.clone(), other.to_owned()];
        }
        Damage::Addition => {
            let added = free_name(&path);
            fs::write(&added, bytes).expect("written");
            return vec![added.strip_prefix(data).expect("below").to_str().expect("UTF-8").to_owned()];
        }
    }
    vec![name.clone()]
}

fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Whether a file is read at all: a Delta data file that was replaced stays for a while.
fn is_in_use(data: &Path, path: &str) -> bool {
    let Some((table, name)) = path.rsplit_once('/') else { return true };
    let log = data.join(table).join("_delta_log");
    if !log.is_dir() {
        return true;
    }
    let commits = files(&log).into_iter().filter(|file| file.ends_with(".json"));
    let text: String = commits.map(|file| fs::read_to_string(log.join(file)).expect("a commit") + "\n").collect();
    let named = |action: &str| text.lines().filter(|line| line.starts_with(action) && line.contains(name)).count();
    named("{\"add\"") > named("{\"remove\"")
}

/// A name beside it that nothing has: of numbered files the next number, as somebody's next one would have.
fn free_name(path: &Path) -> PathBuf {
    let (stem, ending) = path.file_name().and_then(|name| name.to_str()?.split_once('.')).expect("a name");
    let folder = path.parent().expect("a folder");
    let Ok(_) = stem.parse::<u64>() else { return folder.join(format!("added-{stem}.{ending}")) };
    let numbers = files(folder).into_iter().filter_map(|name| name.split_once('.')?.0.parse::<u64>().ok());
    folder.join(format!("{:020}.{ending}", numbers.max().expect("a number") + 1))
}
