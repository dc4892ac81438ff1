//! What a request costs without a platform: an axum handler that answers with nothing, in a
//! process of its own, as the platform is.

use anyhow::Context as _;
use axum::Router;
use axum::routing::any;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

/// Serves until it is killed; prints where it listens as `serve` does.
pub(crate) fn serve() -> anyhow::Result<()> {
    set_pdeathsig(Signal::SIGTERM).context("ask to be told of the parent's end")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("start the bare server's threads")?.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.context("listen")?;
        let address = listener.local_addr().context("read the listening address")?;
        println!("listening on http://{address}");
        let app = Router::new().fallback(any(async |_body: bytes::Bytes| ""));
        axum::serve(listener, app).await.context("serve")
    })
}
