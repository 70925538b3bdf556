//! Packages of Node.js that tests need, installed from their pinned lock into the target folder by the first test that
//! needs one. A machine without Node.js fails these tests with what to install; it skips none.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::python::fingerprint;

/// A package, with all that it depends on.
pub(crate) struct Package {
    pub(crate) name: &'static str,
    /// `package.json`
    pub(crate) manifest: &'static str,
    /// `package-lock.json`
    pub(crate) lock: &'static str,
}

impl Package {
    /// The package's folder; the first caller of all test processes installs it.
    ///
    /// # Panics
    /// Where it cannot be installed, with what to do.
    pub(crate) fn installed(&self) -> PathBuf {
        self.install(Path::new(env!("CARGO_TARGET_TMPDIR")), "npm").unwrap_or_else(|failure| panic!("{failure}"))
    }

    /// The package under `folder`: found, or installed by `npm`.
    fn install(&self, folder: &Path, npm: &str) -> Result<PathBuf, String> {
        let name = format!("{}-{:016x}", self.name, fingerprint(&[self.manifest, self.lock]));
        let home = folder.join(&name);
        let (package, ready) = (home.join("node_modules").join(self.name), home.join("ready"));
        let unusable = |error: std::io::Error| format!("the folder {} cannot be used: {error}", folder.display());
        fs::create_dir_all(folder).map_err(unusable)?;
        let lock = File::create(folder.join(format!("{name}.lock"))).map_err(unusable)?;
        lock.lock().map_err(unusable)?;
        if ready.exists() {
            return Ok(package);
        }
        // What stands there without the mark is half an installation, of a run that was ended.
        if home.exists() {
            fs::remove_dir_all(&home).map_err(unusable)?;
        }
        fs::create_dir(&home).map_err(unusable)?;
        fs::write(home.join("package.json"), self.manifest).map_err(unusable)?;
        fs::write(home.join("package-lock.json"), self.lock).map_err(unusable)?;
        let arguments = ["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"];
        let outcome = Command::new(npm).args(arguments).arg(&home).stdin(Stdio::null()).output();
        let advice = "these tests need node (20 or newer) and npm with a package registry that it reaches: apt install \
                      nodejs npm";
        match outcome {
            Ok(output) if output.status.success() => {}
            Ok(output) => return Err(format!("npm cannot install {}; {advice}\n{}", self.name, said(&output))),
            Err(error) => return Err(format!("npm cannot be started: {error}; {advice}")),
        }
        fs::write(&ready, self.lock).map_err(unusable)?;
        Ok(package)
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().chars().take(8_000).collect()
}

const NOTHING: Package = Package { name: "nothing", manifest: "{}", lock: "{}" };

#[test]
fn a_machine_without_node_is_told_what_to_install() {
    let folder = tempfile::tempdir().expect("a folder");
    let failure = NOTHING.install(folder.path(), "npm-that-is-not-there").expect_err("no npm");
    assert!(failure.contains("apt install nodejs npm"), "{failure}");
}

#[test]
fn an_installation_that_failed_half_way_is_made_anew_and_none_is_made_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    let failure = NOTHING.install(folder.path(), "false").expect_err("false installs nothing");
    assert!(failure.contains("npm cannot install nothing"), "{failure}");
    let home = folder.path().join(format!("nothing-{:016x}", fingerprint(&[NOTHING.manifest, NOTHING.lock])));
    fs::write(home.join("half"), "").expect("a file");
    NOTHING.install(folder.path(), "false").expect_err("false installs nothing");
    assert!(!home.join("half").exists(), "the half was removed");
    fs::write(home.join("ready"), "").expect("the mark");
    assert_eq!(NOTHING.install(folder.path(), "false"), Ok(home.join("node_modules/nothing")));
}
