//! Opens gRPC connections like the original's clients: mTLS, default windows and message sizes.

use std::io;

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};
use weir_tls::{ALPN_H2, ClientTls};

/// Returns a connection to the server with the name `server_name` at `address`.
///
/// # Errors
/// Fails when the connection cannot be made.
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
    // tonic requires a URI. The connector does TLS itself, so the scheme does not matter.
    let endpoint = Endpoint::from_static("http://stack");
    Ok(endpoint.connect_with_connector(tower::service_fn(dial)).await?)
}
