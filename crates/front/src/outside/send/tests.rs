//! `authority.pem` signed `server.pem`, for localhost and 127.0.0.1; its key is thrown away. Made by OpenSSL.

use std::net::SocketAddr;

use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;

use super::*;

const AUTHORITY: &[u8] = include_bytes!("authority.pem");

/// A server over TLS that answers every request with `hello`.
async fn server() -> SocketAddr {
    let certificates = CertificateDer::pem_slice_iter(include_bytes!("server.pem"));
    let certificates = certificates.collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // A client that does not trust it is gone by then.
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let _ = stream.read(&mut [0; 4096]).await;
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello";
            let _ = stream.write_all(answer).await;
            let _ = stream.shutdown().await;
        }
    });
    address
}

async fn answer(authorities: &[u8], host: &str) -> Result<Bytes, String> {
    let address = server().await;
    let authorities: Vec<_> =
        CertificateDer::pem_slice_iter(authorities).collect::<Result<_, _>>().unwrap();
    let url = format!("https://{host}:{}/", address.port());
    let request = Request::get(url).body(Full::default()).unwrap();
    Client::new(&authorities).send(request).await.map(|answer| answer.body)
}

#[tokio::test]
async fn a_server_that_an_authority_of_the_operator_signed_for_is_trusted() {
    assert_eq!(answer(AUTHORITY, "127.0.0.1").await.as_deref(), Ok(&b"hello"[..]));
    assert_eq!(answer(AUTHORITY, "localhost").await.as_deref(), Ok(&b"hello"[..]));
}

#[tokio::test]
async fn a_server_that_nobody_known_signed_for_is_not_trusted_and_the_setting_is_told() {
    let error = answer(b"", "127.0.0.1").await.unwrap_err();
    // A computer without any authority tells that, and the same setting.
    let known = error.contains("UnknownIssuer") || error.contains("trusts no authority");
    assert!(known && error.contains("--aws-ca"), "{error}");
}

#[tokio::test]
async fn a_server_of_another_name_is_not_trusted_whoever_signed_for_it() {
    let error = answer(AUTHORITY, "127.0.0.2").await.unwrap_err();
    assert!(error.contains("invalid peer certificate"), "{error}");
}

#[test]
fn an_authority_that_is_none_is_refused() {
    let error = check(&[CertificateDer::from(vec![0; 4])]).unwrap_err();
    assert!(error.contains("is none"), "{error}");
    check(&[CertificateDer::from_pem_slice(AUTHORITY).unwrap()]).unwrap();
}
