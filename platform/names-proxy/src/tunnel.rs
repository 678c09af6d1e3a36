//! A tunnel: the bytes of a CONNECT, both ways, until either end closes.

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use weir_net::UnderWay;
use weir_service::Shutdown;

/// Passes bytes on until both directions have ended, one end fails, or shutdown is requested. `_under_way` keeps the place of
/// the client's connection.
pub(crate) async fn run(client: OnUpgrade, mut server: TcpStream, _under_way: UnderWay, shutdown: Shutdown) {
    let passing = async {
        let client = match client.await {
            Ok(client) => client,
            Err(error) => {
                tracing::debug!(%error, "client left before its tunnel was open");
                return;
            }
        };
        if let Err(error) = copy_bidirectional(&mut TokioIo::new(client), &mut server).await {
            tracing::debug!(%error, "tunnel ended");
        }
    };
    shutdown.unless_requested(passing).await;
}
