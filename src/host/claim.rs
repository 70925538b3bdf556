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
}

/// The lock on a folder's stream.
pub(super) struct Lock(#[expect(dead_code, reason = "held, never read: closing it unlocks")] File);

/// The stream's part of the local target's folder.
pub(super) fn stream_folder(folder: &Path) -> PathBuf {
    folder.join("kinesis")
}

/// Tries to become host. Nothing is written unless both the lock and the port were to be had.
///
/// # Errors
/// Invalid where the port is in use or the folder cannot be written.
pub(super) fn claim(folder: &Path, port: u16) -> Result<Claim> {
    let path = stream_folder(folder).join("lock");
    let unusable = |error: io::Error| {
        let full = if is_storage_full(&error) { ": no space left, free some and start again" } else { "" };
        Error::invalid(format!("cannot use {}{full}", path.display())).with_source(error)
    };
    let existing = match OpenOptions::new().write(true).open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        opened => Some(opened.map_err(unusable)?),
    };
    let held = match existing.map(lock).transpose().map_err(unusable)? {
        Some(None) => return Ok(Claim::Taken),
        Some(held) => held,
        None => None,
    };
    let listener = bind(port)?;
    let held = match held {
        Some(held) => held,
        None => {
            std::fs::create_dir_all(stream_folder(folder)).map_err(unusable)?;
            let made = OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(unusable)?;
            match lock(made).map_err(unusable)? {
                Some(held) => held,
                None => return Ok(Claim::Taken),
            }
        }
    };
    // One that a killed host left must not lead anybody to whoever has that port now.
    remove_port(folder).map_err(unusable)?;
    Ok(Claim::Ours(held, listener))
}

fn lock(file: File) -> io::Result<Option<Lock>> {
    match file.try_lock() {
        Ok(()) => Ok(Some(Lock(file))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn bind(port: u16) -> Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => Error::invalid(format!(
            "port {port} is in use by another program; choose another with --port, or --port 0 for any free one"
        )),
        _ => Error::invalid(format!("cannot listen on port {port} of 127.0.0.1")).with_source(error),
    })
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
