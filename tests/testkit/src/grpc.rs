//! gRPC connections as the original's clients make them: mTLS, default windows and message sizes.

use std::io;

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};
use weir_tls::{ALPN_H2, ClientTls};

/// A connection to the server called `server_name` at `address`.
///
/// # Errors
/// When it cannot be made.
pub async fn connect(address: &str, server_name: &str, tls: &ClientTls) -> anyhow::Result<Channel> {
    let tls = tls.with_alpn(&[ALPN_H2]);
    let (address, server_name) = (address.to_owned(), server_name.to_owned());
    let dial = move |_: Uri| {
        let (address, server_name, tls) = (address.clone(), server_name.clone(), tls.clone());
        async move {
            let name = rustls_pki_types::ServerName::try_from(server_name).map_err(io::Error::other)?;
            let stream = TcpStream::connect(&address).await?;
            stream.set_nodelay(true)?;
            Ok::<_, io::Error>(TokioIo::new(tls.connector().connect(name, stream).await?))
        }
    };
    // The scheme is a formality: the connector does the TLS.
    let endpoint = Endpoint::from_static("http://stack");
    Ok(endpoint.connect_with_connector(tower::service_fn(dial)).await?)
}
