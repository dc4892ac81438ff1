//! The built function, spoken to as AWS Lambda does: over its Runtime API.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command};

use serde_json::Value;

/// Ends the function at the end of a test.
struct Function(Child);

impl Drop for Function {
    fn drop(&mut self) {
        // It is gone already where these fail.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Hands the function one event and gives the path and body of its answer.
fn call(event: &str) -> (String, Value) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let _function = Function(
        Command::new(env!("CARGO_BIN_EXE_shop-thumbnail"))
            .env("AWS_LAMBDA_RUNTIME_API", address.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", "thumbnail")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "test")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", "test")
            .spawn()
            .unwrap(),
    );
    let mut handed_out = false;
    loop {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream);
        while let Some((path, body)) = read_request(&mut reader) {
            if !path.ends_with("/next") {
                return (path, serde_json::from_slice(&body).unwrap());
            }
            if handed_out {
                break;
            }
            handed_out = true;
            answer_next(reader.get_mut(), event);
        }
    }
}

fn answer_next(stream: &mut TcpStream, event: &str) {
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: one\r\n\
         Lambda-Runtime-Deadline-Ms: 4102444800000\r\n\
         Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:x:0:function:thumbnail\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{event}",
        event.len()
    )
    .unwrap();
}

/// The path and body of the next request; none where the connection is closed.
fn read_request(reader: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let mut line = String::new();
    if reader.read_line(&mut line).unwrap() == 0 {
        return None;
    }
    let path = line.split(' ').nth(1).unwrap().to_owned();
    let (mut length, mut chunked) = (0, false);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        let header = header.trim().to_ascii_lowercase();
        match header.split_once(": ") {
            Some(("content-length", value)) => length = value.parse().unwrap(),
            Some(("transfer-encoding", "chunked")) => chunked = true,
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    while chunked {
        let mut size = String::new();
        reader.read_line(&mut size).unwrap();
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        reader.read_exact(&mut chunk).unwrap();
        body.extend_from_slice(&chunk[..size]);
        chunked = size > 0;
    }
    Some((path, body))
}

#[test]
fn a_seed_is_answered_with_a_thumbnail() {
    let (path, answer) = call(r#"{"seed":7,"width":64}"#);
    assert_eq!(path, "/2018-06-01/runtime/invocation/one/response");
    assert_eq!(answer["thumbnail"]["width"], 64);
    assert_eq!(answer["thumbnail"]["height"], 48);
    assert!(answer["image"].as_str().unwrap().starts_with("/9j/"), "a JPEG in Base64");
}

#[test]
fn an_event_that_is_no_image_is_reported_as_an_error() {
    let (path, answer) = call(r#"{"image":"bm8gaW1hZ2U="}"#);
    assert_eq!(path, "/2018-06-01/runtime/invocation/one/error");
    assert!(answer["errorMessage"].as_str().unwrap().contains("not a JPEG or PNG"), "{answer}");
}
