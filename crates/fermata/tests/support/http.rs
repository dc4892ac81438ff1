//! Requests of a test that makes many: no process a request, and an answer or none.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// An answer's status and body; None where there was none.
pub(crate) fn send(url: &str, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
    send_with(url, method, path, &[], body)
}

/// The same with headers.
pub(crate) fn send_with(
    url: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Option<(u16, String)> {
    let address = url.strip_prefix("http://")?;
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    let mut request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    request += "\r\n";
    request += body;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { unchunked(body)? } else { body.to_owned() };
    Some((status, body))
}

/// The body of an answer of a status below 300, as JSON.
pub(crate) fn json(url: &str, method: &str, path: &str, body: &str) -> Option<Value> {
    let (status, body) = send(url, method, path, body)?;
    if status < 300 { serde_json::from_str(&body).ok() } else { None }
}

fn unchunked(mut rest: &str) -> Option<String> {
    let mut whole = String::new();
    loop {
        let (len, after) = rest.split_once("\r\n")?;
        let len = usize::from_str_radix(len.trim(), 16).ok()?;
        if len == 0 {
            return Some(whole);
        }
        whole.push_str(after.get(..len)?);
        rest = after.get(len..)?.strip_prefix("\r\n")?;
    }
}
