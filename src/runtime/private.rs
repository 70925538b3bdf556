//! What this process leaves on a disk is its user's alone.

use nix::sys::stat::{Mode, umask};

/// Files and folders that this process makes, by whatever library, are readable and writable for its user alone (0600,
/// 0700), whatever mask it was started with. No core of it is dumped: one would hold every password and every record that
/// is in memory, and nobody asked where it goes. A panic is a line of the log and needs none; root may look into a running
/// process still.
pub fn keep_private() {
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
    #[cfg(target_os = "linux")]
    if let Err(error) = nix::sys::prctl::set_dumpable(false) {
        tracing::warn!(%error, "a core dump of this process would show what is in its memory");
    }
}
