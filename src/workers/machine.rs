//! This machine, as a heartbeat names it, and whether another worker's process on it is gone.
//!
//! Owns what is read from `/proc`. Where there is none, or it tells no boot, nobody is known to be gone. A process of
//! another namespace on the same machine may seem gone; its next heartbeat proves it alive. It blocks: call it on a
//! thread for that.

use std::path::{Path, PathBuf};

use super::heartbeat::Host;

/// A machine, by its `/proc`.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    proc: PathBuf,
}

impl Machine {
    /// The one that we run on.
    pub(super) fn ours() -> Self {
        Self::at(Path::new("/proc"))
    }

    pub(super) fn at(proc: &Path) -> Self {
        Self { proc: proc.to_owned() }
    }

    /// Where this process runs.
    pub(super) fn host(&self) -> Host {
        let name = self.line("sys/kernel/hostname").or_else(|| std::env::var("HOSTNAME").ok());
        Host {
            name: name.unwrap_or_else(|| "unknown".into()),
            boot: self.line("sys/kernel/random/boot_id"),
            pid: std::process::id(),
        }
    }

    /// Whether a process that said it runs there ran on this machine, since its last start, and is no more.
    pub(super) fn is_gone(&self, there: &Host) -> bool {
        let here = self.host();
        let same_boot = here.boot.is_some() && here.boot == there.boot && here.name == there.name;
        same_boot && self.proc.join("self").exists() && !self.runs(there.pid)
    }

    /// One that has ended stays listed until its parent has asked how.
    fn runs(&self, pid: u32) -> bool {
        let process = self.proc.join(pid.to_string());
        // The state comes after the name, which may itself hold spaces and brackets.
        let state = self.line(&format!("{pid}/stat")).and_then(|line| line.rsplit_once(") ")?.1.chars().next());
        process.exists() && !matches!(state, Some('Z' | 'X'))
    }

    fn line(&self, path: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.proc.join(path)).ok()?;
        let line = text.trim();
        (!line.is_empty()).then(|| line.to_owned())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::fs;

    /// A `/proc` of a machine of this name and boot, with these processes.
    pub(in crate::workers) fn proc(name: &str, boot: Option<&str>, processes: &[&str]) -> tempfile::TempDir {
        let proc = tempfile::tempdir().expect("folder");
        fs::create_dir_all(proc.path().join("sys/kernel/random")).expect("folder");
        fs::write(proc.path().join("sys/kernel/hostname"), format!("{name}\n")).expect("written");
        if let Some(boot) = boot {
            fs::write(proc.path().join("sys/kernel/random/boot_id"), format!("{boot}\n")).expect("written");
        }
        for process in processes {
            fs::create_dir(proc.path().join(process)).expect("folder");
        }
        proc
    }

    fn host(name: &str, boot: Option<&str>, pid: u32) -> Host {
        Host { name: name.into(), boot: boot.map(Into::into), pid }
    }

    #[test]
    fn a_host_is_named_as_proc_has_it() {
        let proc = proc("ingest-1", Some("b1"), &[]);
        assert_eq!(Machine::at(proc.path()).host(), host("ingest-1", Some("b1"), std::process::id()));
        let nowhere = Machine::at(Path::new("/nowhere")).host();
        assert_eq!(nowhere.boot, None);
        assert!(!nowhere.name.is_empty());
    }

    #[test]
    fn only_a_process_of_this_machine_and_boot_is_known_to_be_gone() {
        let whole = proc("here", Some("b1"), &["self", "7", "9"]);
        fs::write(whole.path().join("7/stat"), "7 (odd) Z name) S 1 7").expect("written");
        fs::write(whole.path().join("9/stat"), "9 (millstream) Z 1 9").expect("written");
        let no_boot = proc("here", None, &["self"]);
        let no_self = proc("here", Some("b1"), &[]);
        let cases = [
            (&whole, host("here", Some("b1"), 8), true),
            (&whole, host("here", Some("b1"), 7), false),
            (&whole, host("here", Some("b1"), 9), true),
            (&whole, host("there", Some("b1"), 8), false),
            (&whole, host("here", Some("b0"), 8), false),
            (&whole, host("here", None, 8), false),
            (&no_boot, host("here", None, 8), false),
            (&no_self, host("here", Some("b1"), 8), false),
        ];
        for (proc, there, expected) in cases {
            assert_eq!(Machine::at(proc.path()).is_gone(&there), expected, "{there:?} seen by {proc:?}");
        }
        assert!(!Machine::ours().is_gone(&Machine::ours().host()), "we are here");
    }
}
