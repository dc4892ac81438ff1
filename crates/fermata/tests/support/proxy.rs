//! A way to the database that a test can cut off: a TCP port before the Unix socket of the server.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

/// Lets bytes through until it is cut; then transactions under way end, and no other one begins. What
/// is sent meanwhile arrives once it is mended, as after a partition of the network.
pub(crate) struct Proxy {
    gate: Arc<Gate>,
    port: u16,
}

#[derive(Default)]
struct Gate {
    cut: AtomicBool,
    lock: Mutex<()>,
    mended: Condvar,
}

impl Gate {
    fn pass(&self) {
        let mut held = self.lock.lock().unwrap();
        while self.cut.load(Ordering::SeqCst) {
            held = self.mended.wait(held).unwrap();
        }
    }
}

impl Proxy {
    pub(crate) fn new(socket: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let gate: Arc<Gate> = Arc::default();
        let (open, socket) = (Arc::clone(&gate), PathBuf::from(socket));
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (gate, socket) = (Arc::clone(&open), socket.clone());
                std::thread::spawn(move || {
                    gate.pass();
                    join(&client, &UnixStream::connect(socket).unwrap(), &gate);
                });
            }
        });
        Self { gate, port }
    }

    /// The address of a schema behind it.
    pub(crate) fn url(&self, schema: &str) -> String {
        format!("postgres://fermata@127.0.0.1:{}/postgres?schema={schema}", self.port)
    }

    pub(crate) fn cut(&self) {
        let _held = self.gate.lock.lock().unwrap();
        self.gate.cut.store(true, Ordering::SeqCst);
    }

    pub(crate) fn mend(&self) {
        let _held = self.gate.lock.lock().unwrap();
        self.gate.cut.store(false, Ordering::SeqCst);
        self.gate.mended.notify_all();
    }
}

fn join(client: &TcpStream, server: &UnixStream, gate: &Arc<Gate>) {
    client.set_nodelay(true).unwrap();
    let (mut from, mut to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    let back = std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Both);
    });
    let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let mut bytes = vec![0; 64 << 10];
    while let Ok(count) = from.read(&mut bytes)
        && count > 0
    {
        // A simple query that begins a transaction, or the first words of a new connection.
        if bytes[..count].windows(5).any(|word| word == b"BEGIN") || is_startup(&bytes[..count]) {
            gate.pass();
        }
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = server.shutdown(std::net::Shutdown::Both);
    let _ = back.join();
}

/// Messages begin with a letter, but for the first one of a connection.
fn is_startup(bytes: &[u8]) -> bool {
    bytes.first() == Some(&0)
}
