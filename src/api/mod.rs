//! HTTP in. Requests become wishes for `intake` and questions for `ledger::view`; answers become the shapes of the contract.
//!
//! A request passes one layer (`middleware`: framing, origin, who it is), the route table (`routes`) and one handler. It
//! promises that every answer is one of the contract, also the refused ones, and that a write is told from a refused one. Full:
//! connections beyond the limit wait in the system's backlog; everything else that can be full answers with a problem that says
//! when to come back.

pub mod admin;
pub mod asyncapi;
pub mod middleware;
pub mod openapi;
pub mod ports;
pub mod problem;
pub mod settings;
pub mod stream;

mod auth;
mod call;
mod comments;
mod consistency;
mod documents;
mod entity_tag;
mod extract;
mod feed;
mod fields;
mod ids;
mod jwks;
mod likes;
mod notification_shapes;
mod notifications;
mod origin;
mod paging;
mod posts;
mod probes;
mod relations;
mod reply;
mod representation;
mod routes;
mod subscriptions;
mod users;
mod writes;

#[cfg(test)]
mod tests;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::web::Data;
use actix_web::{App, HttpServer};

use self::admin::Operations;
use self::middleware::{Connection, Door, Layer};
use self::ports::{Notifications, Reads, SignIn, Writes};
use self::settings::Settings;
use crate::stream::desk::Desk;
use crate::support::auth::seal::Sealer;

/// A phone that asks once a minute keeps its connection.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// `api.md`: the head of a request arrives within this time, or the connection ends with 408.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// How long a client may take to say goodbye before its socket is cut.
const DISCONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// Connections of one worker thread; what comes on top waits in the backlog. Twice what 64 KiB of buffers each could fill.
const CONNECTIONS_PER_WORKER_MAX: usize = 25_000;
/// Requests in hand get this long at shutdown; the rest of the 30 seconds is for the stages below.
const SHUTDOWN_TIMEOUT_S: u64 = 20;
/// The second listener serves one operator and one scraper.
const ADMIN_WORKERS: usize = 1;
const ADMIN_CONNECTIONS_MAX: usize = 256;

/// All that the handlers use. One value for all worker threads.
pub struct Services {
    pub reads: Arc<dyn Reads>,
    pub writes: Arc<dyn Writes>,
    pub notifications: Arc<dyn Notifications>,
    pub sign_in: Arc<dyn SignIn>,
    pub operations: Arc<dyn Operations>,
    /// `None` where no streams are served.
    pub stream: Option<Arc<Desk>>,
    pub sealer: Sealer,
    /// The journal that positions are of, for consistency tokens.
    pub journal: uuid::Uuid,
    /// Whether shards have standbys, so that reads may be older than others.
    pub has_standbys: bool,
    pub settings: Settings,
}

/// Serves the contract on a listener that is bound already, with `workers` threads. Runs once it is awaited or spawned.
pub fn public_server(services: Arc<Services>, listener: TcpListener, workers: usize) -> std::io::Result<Server> {
    server(services, listener, Door::Public, workers, CONNECTIONS_PER_WORKER_MAX)
}

/// Serves probes, metrics and the operators' calls on the second listener.
pub fn admin_server(services: Arc<Services>, listener: TcpListener) -> std::io::Result<Server> {
    server(services, listener, Door::Admin, ADMIN_WORKERS, ADMIN_CONNECTIONS_MAX)
}

fn server(services: Arc<Services>, listener: TcpListener, door: Door, workers: usize, connections_max: usize) -> std::io::Result<Server> {
    let server = HttpServer::new(move || {
        App::new()
            .app_data(Data::from(Arc::clone(&services)))
            .wrap(Layer::new(Arc::clone(&services), door))
            .configure(|config| routes::configure(config, door))
    })
    .on_connect(Connection::begin)
    .workers(workers)
    .max_connections(connections_max)
    .keep_alive(KEEP_ALIVE)
    .client_request_timeout(HEAD_DEADLINE)
    .client_disconnect_timeout(DISCONNECT_DEADLINE)
    .shutdown_timeout(SHUTDOWN_TIMEOUT_S)
    // An operator's call may take long: nothing is done on for one who has hung up.
    .h1_allow_half_closed(door == Door::Public)
    // app.rs listens for signals and walks the stages in order.
    .disable_signals()
    .listen(listener)?;
    Ok(server.run())
}
