//! A real PostgreSQL, started once for all tests of a process.
//!
//! Owns its start, its end and its fresh databases. It lives as long as a pipe to this process: when the tests are over,
//! however they end, the pipe closes, and the server ends by itself and takes its folder along. It is found on the PATH
//! or where Debian puts it, or installed; it never runs as root. Everybody on this machine may log in without a
//! password, but for the role `careful`, where a test makes it. It speaks TLS with a certificate of its own, which is good
//! for the name `localhost` and for no address.

use std::env;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The user to log in as, who may do everything.
pub const USER: &str = "millstream";

/// Starts a server in a new folder, says `ready` when it takes connections, and ends it when standard input does.
const LIFE: &str = include_str!("life.sh");

/// Where Debian's packages put their programs, below a folder of each version.
const DEBIAN: &str = "/usr/lib/postgresql";

/// The running server.
pub struct Postgres {
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// The certificate (PEM) of its TLS, which signs itself.
    pub certificate: String,
    programs: PathBuf,
    databases: AtomicU32,
    /// Holds the pipe.
    _child: Child,
}

/// The server of this process.
pub fn postgres() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(Postgres::start)
}

/// A fresh database on the server of this process, by its name.
pub fn database() -> String {
    postgres().database()
}

impl Postgres {
    fn start() -> Self {
        let programs = find().unwrap_or_else(|| {
            install();
            find().unwrap_or_else(|| panic!("the package postgresql is installed, but brought no initdb"))
        });
        let mut said = String::new();
        // Another program may take the port before the server does.
        for _ in 0..5 {
            match Self::try_start(&programs) {
                Ok(server) => return server,
                Err(log) => said = log,
            }
        }
        panic!("PostgreSQL does not start; it said: {said}")
    }

    /// The server, or what it said before it ended.
    fn try_start(programs: &Path) -> Result<Self, String> {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
        let tls = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
        let mut command = as_somebody("sh");
        command.args(["-c", LIFE, "life"]).arg(programs).args([&port.to_string(), USER]);
        // The working folder of the tests may be closed to the server's user.
        command.current_dir("/").env("CERTIFICATE", tls.cert.pem()).env("KEY", tls.signing_key.serialize_pem());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("sh");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines().map_while(Result::ok);
        let mut said = Vec::new();
        let ready = lines.by_ref().any(|line| {
            let ready = line == "ready";
            said.push(line);
            ready
        });
        match ready {
            true => Ok(Self {
                port,
                certificate: tls.cert.pem(),
                programs: programs.to_owned(),
                databases: AtomicU32::new(0),
                _child: child,
            }),
            false => Err(said.join("\n")),
        }
    }

    /// A fresh database, by its name.
    pub fn database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let mut command = Command::new(self.programs.join("createdb"));
        let port = self.port.to_string();
        let made = command.args(["-h", "127.0.0.1", "-p", &port, "-U", USER, &name]).output().expect("createdb");
        assert!(made.status.success(), "no database: {}", String::from_utf8_lossy(&made.stderr));
        name
    }
}

/// The folder of initdb, postgres and createdb.
fn find() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&path).collect();
    let mut versions: Vec<PathBuf> = std::fs::read_dir(DEBIAN)
        .map(|found| found.flatten().map(|version| version.path().join("bin")).collect())
        .unwrap_or_default();
    versions.sort();
    folders.extend(versions.into_iter().rev());
    let programs = ["initdb", "postgres", "createdb"];
    folders.into_iter().find(|folder| programs.iter().all(|program| folder.join(program).is_file()))
}

/// The distribution's own package, without the server that it would start.
fn install() {
    let script = "export DEBIAN_FRONTEND=noninteractive
        settings=/etc/postgresql-common/createcluster.conf
        [ -e $settings ] || { mkdir -p /etc/postgresql-common && echo 'create_main_cluster = false' >$settings; } || exit 1
        apt-get update -q && apt-get install -y -q --no-install-recommends -o Dpkg::Options::=--force-confold postgresql";
    let hint = "these tests need PostgreSQL 12 or later: install the package postgresql, or put its folder of \
                initdb, postgres and createdb on the PATH";
    assert!(is_root() && Path::new("/usr/bin/apt-get").exists(), "{hint}");
    let installed = Command::new("sh").args(["-c", script]).output().expect("sh");
    assert!(installed.status.success(), "{hint}; apt-get said: {}", String::from_utf8_lossy(&installed.stderr));
}

/// A command that runs as this user or, where that is root, as one who is not.
fn as_somebody(program: &str) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let known = |user: &str| Command::new("id").arg(user).output().is_ok_and(|found| found.status.success());
    let user = if known("postgres") { "postgres" } else { "nobody" };
    let group = Command::new("id").args(["-g", user]).output().expect("id");
    let group = String::from_utf8_lossy(&group.stdout).trim().to_owned();
    let mut command = Command::new("setpriv");
    command.args([&format!("--reuid={user}"), &format!("--regid={group}"), "--clear-groups", program]);
    command
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|found| found.stdout.trim_ascii() == b"0")
}
