//! Who hosts a folder's stream: the process that holds the lock; where it does so stands in `stream.port`.
//!
//! Owns both files and the binding of the port. The lock goes with the process, however it ends; the port file may be
//! left behind, so it is believed only where the lock is held and a server answers.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::{Either, select};
use tokio::net::TcpStream;

use super::saved::replace;
use crate::error::{Error, Result, is_storage_full};
use crate::runtime::{Clock, SystemClock};

/// How long a server may take to say that it is alive.
const ANSWER: Duration = Duration::from_secs(1);

/// What became of an attempt to become host.
pub(super) enum Claim {
    /// This process hosts, on this listener, for as long as it keeps the lock.
    Ours(Lock, TcpListener),
    /// Another process does.
    Taken,
    /// The port is in use and nobody has made a lock: by another program, or by a host that is about to make it.
    PortInUse,
}

/// The lock on a folder's stream.
pub(super) struct Lock(#[expect(dead_code, reason = "held, never read: closing it unlocks")] File);

/// The lock as it was found.
enum Found {
    Missing,
    Held,
    Free(Lock),
}

/// The stream's part of the local target's folder.
pub(super) fn stream_folder(folder: &Path) -> PathBuf {
    folder.join("kinesis")
}

fn lock_file(folder: &Path) -> PathBuf {
    stream_folder(folder).join("lock")
}

/// Tries to become host. Nothing is written unless both the lock and the port were to be had.
///
/// # Errors
/// Invalid where a port cannot be had although the lock can, or the folder cannot be written.
pub(super) fn claim(folder: &Path, port: u16) -> Result<Claim> {
    let found = look(folder).map_err(|error| unusable(folder, error))?;
    claim_found(folder, port, found)
}

fn claim_found(folder: &Path, port: u16, found: Found) -> Result<Claim> {
    let existing = match found {
        Found::Held => return Ok(Claim::Taken),
        Found::Free(held) => Some(held),
        Found::Missing => None,
    };
    let listener = match bind(port) {
        Ok(listener) => listener,
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && existing.is_none() => {
            // Whoever has the port may be a host that made its lock after we looked for it.
            let found = look(folder).map_err(|error| unusable(folder, error))?;
            return Ok(if matches!(found, Found::Held) { Claim::Taken } else { Claim::PortInUse });
        }
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(port_in_use(port)),
        Err(error) => {
            return Err(Error::invalid(format!("cannot listen on port {port} of 127.0.0.1")).with_source(error));
        }
    };
    let held = match existing {
        Some(held) => Some(held),
        None => make_lock(folder).map_err(|error| unusable(folder, error))?,
    };
    let Some(held) = held else { return Ok(Claim::Taken) };
    // One that a killed host left must not lead anybody to whoever has that port now.
    remove_port(folder).map_err(|error| unusable(folder, error))?;
    Ok(Claim::Ours(held, listener))
}

/// Another program has the port.
pub(super) fn port_in_use(port: u16) -> Error {
    Error::invalid(format!(
        "port {port} is in use by another program; choose another with --port, or --port 0 for any free one"
    ))
}

/// Whether a living process holds the lock.
pub(super) fn is_held(folder: &Path) -> bool {
    // Shared, so that two who look at the same time do not see each other.
    File::open(lock_file(folder)).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

fn unusable(folder: &Path, error: io::Error) -> Error {
    let full = if is_storage_full(&error) { ": no space left, free some and start again" } else { "" };
    Error::invalid(format!("cannot use {}{full}", lock_file(folder).display())).with_source(error)
}

fn look(folder: &Path) -> io::Result<Found> {
    match OpenOptions::new().write(true).open(lock_file(folder)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Missing),
        opened => Ok(lock(opened?)?.map_or(Found::Held, Found::Free)),
    }
}

/// The lock, newly made; none where another process was faster.
fn make_lock(folder: &Path) -> io::Result<Option<Lock>> {
    std::fs::create_dir_all(stream_folder(folder))?;
    lock(OpenOptions::new().write(true).create(true).truncate(false).open(lock_file(folder))?)
}

fn lock(file: File) -> io::Result<Option<Lock>> {
    match file.try_lock() {
        Ok(()) => Ok(Some(Lock(file))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn bind(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
}

fn port_file(folder: &Path) -> PathBuf {
    folder.join("stream.port")
}

/// Writes `stream.port`: the number and a newline.
pub(super) fn write_port(folder: &Path, port: u16) -> io::Result<()> {
    replace(&port_file(folder), format!("{port}\n").as_bytes(), false)
}

/// The number in `stream.port`; none where there is none.
pub(super) fn read_port(folder: &Path) -> Option<u16> {
    std::fs::read_to_string(port_file(folder)).ok()?.trim().parse().ok().filter(|port| *port > 0)
}

/// Removes `stream.port`.
pub(super) fn remove_port(folder: &Path) -> io::Result<()> {
    match std::fs::remove_file(port_file(folder)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether a stream's server answers on this port.
pub(super) async fn answers(port: u16) -> bool {
    let asked = std::pin::pin!(ask(port));
    match select(asked, SystemClock.sleep(ANSWER)).await {
        Either::Left((answered, _)) => answered.unwrap_or(false),
        Either::Right(_) => false,
    }
}

async fn ask(port: u16) -> io::Result<bool> {
    let connection = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
    let mut question = &b"GET /_health/live HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n"[..];
    while !question.is_empty() {
        connection.writable().await?;
        match connection.try_write(question) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            written => question = &question[written?..],
        }
    }
    let mut answer = Vec::new();
    let expected = b"HTTP/1.1 200 ";
    while answer.len() < expected.len() {
        connection.readable().await?;
        match connection.try_read_buf(&mut answer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => {
                if read? == 0 {
                    return Ok(false);
                }
            }
        }
    }
    Ok(answer.starts_with(expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free_port() -> u16 {
        bind(0).and_then(|listener| listener.local_addr()).expect("a port").port()
    }

    #[test]
    fn who_looked_before_the_first_hosts_lock_was_made_connects_to_it() {
        let folder = tempfile::tempdir().expect("folder");
        let port = free_port();
        let seen_by_second = look(folder.path()).expect("look");
        assert!(matches!(seen_by_second, Found::Missing));
        let first = claim(folder.path(), port).expect("claim");
        assert!(matches!(first, Claim::Ours(..)));
        assert!(matches!(claim_found(folder.path(), port, seen_by_second).expect("claim"), Claim::Taken));
        assert!(matches!(claim_found(folder.path(), 0, Found::Missing).expect("claim"), Claim::Taken));
    }

    #[test]
    fn a_port_in_use_is_told_at_once_where_the_lock_is_ours_and_is_in_doubt_where_there_is_none() {
        let folder = tempfile::tempdir().expect("folder");
        let taken = bind(0).expect("bind");
        let port = taken.local_addr().expect("an address").port();
        assert!(matches!(claim(folder.path(), port).expect("claim"), Claim::PortInUse));
        assert_eq!(std::fs::read_dir(folder.path()).expect("list").count(), 0, "nothing is written");
        drop(claim(folder.path(), 0).expect("claim"));
        let error = claim(folder.path(), port).err().expect("in use").to_string();
        assert!(error.contains("in use by another program"), "{error}");
    }

    #[test]
    fn a_lock_is_held_for_as_long_as_its_process_keeps_it_and_looking_takes_nothing() {
        let folder = tempfile::tempdir().expect("folder");
        assert!(!is_held(folder.path()), "no lock");
        let first = claim(folder.path(), 0).expect("claim");
        assert!(is_held(folder.path()));
        drop(first);
        assert!(!is_held(folder.path()), "the file is left, its holder is not");
        assert!(lock_file(folder.path()).exists());
        let _looking = File::open(lock_file(folder.path())).expect("open").try_lock_shared();
        assert!(!is_held(folder.path()), "another who looks is no host");
    }
}
