//! A tap on the way to a database: it counts what a client says, and can hold the client at any of its messages, so
//! that it can be killed exactly there.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

/// Where the client is held.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hold {
    /// At its message of this number, from 1, counted from the next one that locks a table.
    pub(super) at: usize,
    /// Whether the server still gets that message; its answer goes nowhere.
    pub(super) forwards: bool,
}

/// A port that leads to another.
pub(super) struct Tap {
    pub(super) port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    hold: Option<Hold>,
    seen: usize,
    /// What the client is held at: the message's type.
    held: Option<char>,
}

impl Tap {
    /// A tap before this port.
    pub(super) fn before(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let (own, state) = (listener.local_addr().expect("its address").port(), Arc::new(Mutex::default()));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().map_while(io::Result::ok) {
                let shared = Arc::clone(&shared);
                // A connection that breaks is the client's to notice.
                thread::spawn(move || drop(serve(client, port, &shared)));
            }
        });
        Self { port: own, state }
    }

    /// From now on, holds the client there.
    pub(super) fn hold(&self, hold: Hold) {
        *self.lock() = State { hold: Some(hold), ..State::default() };
    }

    /// Lets everything pass.
    pub(super) fn open(&self) {
        *self.lock() = State::default();
    }

    /// What the client is held at, where it is.
    pub(super) fn held(&self) -> Option<char> {
        self.lock().held
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while it is held")
    }
}

fn serve(mut client: TcpStream, port: u16, state: &Arc<Mutex<State>>) -> io::Result<()> {
    let mut server = TcpStream::connect(("127.0.0.1", port))?;
    let (answers, to_client) = (server.try_clone()?, client.try_clone()?);
    let watched = Arc::clone(state);
    thread::spawn(move || answer(answers, to_client, &watched));
    let startup = message(&mut client, false)?;
    server.write_all(&startup)?;
    loop {
        let message = message(&mut client, true)?;
        match passes(state, &message) {
            None => server.write_all(&message)?,
            Some(forwards) => {
                if forwards {
                    server.write_all(&message)?;
                }
                // Until the client is gone; what it still says is for nobody.
                io::copy(&mut client, &mut io::sink()).ok();
                return server.shutdown(Shutdown::Both);
            }
        }
    }
}

/// None where the message goes on; else whether it does so although the client is held at it.
fn passes(state: &Mutex<State>, message: &[u8]) -> Option<bool> {
    let mut state = state.lock().expect("no panic while it is held");
    if state.seen > 0 || message.windows(5).any(|word| word == b"LOCK ") {
        state.seen += 1;
    }
    let hold = state.hold.filter(|hold| state.held.is_some() || state.seen >= hold.at)?;
    let is_first = state.held.is_none();
    state.held = state.held.or(Some(char::from(message[0])));
    Some(hold.forwards && is_first)
}

/// A message of the protocol, with its head: type (not in the first of a connection) and length.
fn message(from: &mut TcpStream, has_type: bool) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 4 + usize::from(has_type)];
    from.read_exact(&mut bytes)?;
    let length = bytes.last_chunk::<4>().map_or(0, |length| u32::from_be_bytes(*length) as usize);
    let head = bytes.len();
    bytes.resize(head + length.saturating_sub(4), 0);
    from.read_exact(&mut bytes[head..])?;
    Ok(bytes)
}

fn answer(mut server: TcpStream, mut client: TcpStream, state: &Mutex<State>) {
    let mut bytes = [0; 16 * 1024];
    while let Ok(read @ 1..) = server.read(&mut bytes) {
        let is_held = state.lock().expect("no panic while it is held").held.is_some();
        if !is_held && client.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
    client.shutdown(Shutdown::Both).ok();
}
