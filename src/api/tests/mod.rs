//! The API over stand-ins for the stages below it: what clients see, without a database.

mod admin;
mod bodies;
mod doubles;
mod framing;
mod headers;
mod notifications;
mod openapi;
mod origins;
mod problems;
mod reads;
mod sign_in;
mod writes;

use std::sync::Arc;

use actix_web::App;
use actix_web::body::MessageBody;
use actix_web::http::Method;
use actix_web::http::header::HeaderMap;
use actix_web::test::{TestRequest, call_service, init_service};
use actix_web::web::Data;
use serde_json::Value;

use self::doubles::Doubles;
use super::middleware::{Door, Layer};
use super::settings::Settings;
use super::{Services, routes};
use crate::support::auth::seal::Sealer;
use crate::support::auth::secret::test_secret;

pub(super) const ANNA: &str = "Bearer token-of-anna";
pub(super) const HOST: &str = "social.example";

/// The services of a test, and the stand-ins behind them.
pub(super) struct Stage {
    pub(super) services: Arc<Services>,
    pub(super) doubles: Arc<Doubles>,
    door: Door,
}

/// An answer, read to its end.
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Stage {
    pub(super) fn new() -> Self {
        Self::with(Settings::default())
    }

    pub(super) fn with(settings: Settings) -> Self {
        let doubles = Arc::new(Doubles::default());
        let services = Services {
            reads: doubles.clone(),
            writes: doubles.clone(),
            notifications: doubles.clone(),
            sign_in: doubles.clone(),
            operations: doubles.clone(),
            stream: None,
            sealer: Sealer::new(&test_secret()),
            journal: uuid::Uuid::from_u128(7),
            has_standbys: false,
            settings,
        };
        Self { services: Arc::new(services), doubles, door: Door::Public }
    }

    pub(super) fn admin() -> Self {
        Self { door: Door::Admin, ..Self::new() }
    }

    pub(super) async fn send(&self, request: TestRequest) -> Answered {
        let app = App::new()
            .app_data(Data::from(Arc::clone(&self.services)))
            .wrap(Layer::new(Arc::clone(&self.services), self.door))
            .configure(|config| routes::configure(config, self.door));
        let service = init_service(app).await;
        let response = call_service(&service, request.to_request()).await;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.into_body().try_into_bytes().expect("a body at hand").to_vec();
        Answered { status, headers, body }
    }

    /// A request of anna's with a JSON body.
    pub(super) async fn write(&self, method: Method, path: &str, body: &str) -> Answered {
        self.send(as_anna(request(method, path)).insert_header(("content-type", "application/json")).set_payload(body.to_owned())).await
    }

    /// Anna reads.
    pub(super) async fn read(&self, path: &str) -> Answered {
        self.send(as_anna(request(Method::GET, path))).await
    }
}

/// A request as it comes over a socket, with a `Host`.
pub(super) fn request(method: Method, path: &str) -> TestRequest {
    TestRequest::with_uri(path).method(method).insert_header(("host", HOST))
}

pub(super) fn as_anna(request: TestRequest) -> TestRequest {
    request.insert_header(("authorization", ANNA))
}

impl Answered {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("visible ASCII"))
    }

    /// Asserts that it is this problem, whole, and gives its document.
    #[track_caller]
    pub(super) fn problem(&self, name: &str, status: u16) -> Value {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", String::from_utf8_lossy(&self.body));
        let document = self.json();
        assert_eq!(document["type"], format!("/problems/{name}"), "{document}");
        assert_eq!((self.status, &document["status"]), (status, &Value::from(status)), "{document}");
        assert!(document["title"].as_str().is_some_and(|title| !title.is_empty()), "{document}");
        assert_eq!(document["request_id"].as_str(), self.header("x-request-id"), "{document}");
        document
    }
}
