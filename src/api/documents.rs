//! What people read: the start page, the OpenAPI document with its try-it page, and what each problem means.
//!
//! All of it is in the binary. No page has a script or a style in its text, so its policy can forbid them.

use std::sync::{Arc, LazyLock};

use actix_web::HttpResponse;
use actix_web::http::header::{self, HeaderValue};
use actix_web::web::Path;
use utoipa_swagger_ui::Config;

use super::problem::{Problem, ProblemName};
use super::reply;
use super::writes::JSON;
use super::{asyncapi, openapi};

const START_PAGE: &str = include_str!("../../static/start.html");
const PAGE_STYLE: &str = concat!(include_str!("../../static/palette.css"), include_str!("../../static/start.css"));
const DOCS_PAGE: &str = include_str!("../../static/docs.html");
const DOCS_SCRIPT: &str = include_str!("../../static/docs.js");
const DASHBOARD_PAGE: &str = include_str!("../../static/dashboard.html");
const DASHBOARD_STYLE: &str = concat!(include_str!("../../static/palette.css"), include_str!("../../static/dashboard.css"));
const DASHBOARD_SCRIPT: &str = include_str!("../../static/dashboard.js");
const PROBLEM_PAGE: &str = include_str!("../../static/problem.html");

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const CSS: HeaderValue = HeaderValue::from_static("text/css; charset=utf-8");
const SCRIPT: HeaderValue = HeaderValue::from_static("text/javascript; charset=utf-8");
/// Pages change with a release only; five minutes is how long an old one may stay after it.
const CACHED: HeaderValue = HeaderValue::from_static("public, max-age=300");
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);
/// The dashboard calls its own listener, and draws without styles in place.
const DASHBOARD_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);
/// The try-it page calls this server, and its library styles elements in place.
const DOCS_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

static OPENAPI: LazyLock<Vec<u8>> = LazyLock::new(|| serde_json::to_vec(&openapi::document()).unwrap_or_default());
static ASYNCAPI: LazyLock<Vec<u8>> = LazyLock::new(|| serde_json::to_vec(&asyncapi::document()).unwrap_or_default());
static SWAGGER: LazyLock<Arc<Config<'static>>> = LazyLock::new(|| Arc::new(Config::from("/openapi.json")));

fn page(content_type: HeaderValue, policy: HeaderValue, body: impl Into<Vec<u8>>) -> HttpResponse {
    let mut response = reply::text(content_type, body);
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    response.headers_mut().insert(header::CACHE_CONTROL, CACHED);
    response
}

/// `GET /`
pub(super) async fn get_start() -> HttpResponse {
    page(HTML, PAGE_POLICY, START_PAGE)
}

/// `GET /start.css`
pub(super) async fn get_style() -> HttpResponse {
    page(CSS, PAGE_POLICY, PAGE_STYLE)
}

/// `GET /` of the operators' listener
pub(super) async fn get_dashboard() -> HttpResponse {
    page(HTML, DASHBOARD_POLICY, DASHBOARD_PAGE)
}

/// `GET /dashboard/{file}`
pub(super) async fn get_dashboard_file(file: Path<String>) -> Result<HttpResponse, Problem> {
    match file.as_str() {
        "dashboard.css" => Ok(page(CSS, DASHBOARD_POLICY, DASHBOARD_STYLE)),
        "dashboard.js" => Ok(page(SCRIPT, DASHBOARD_POLICY, DASHBOARD_SCRIPT)),
        _ => Err(Problem::new(ProblemName::NotFound)),
    }
}

/// `GET /openapi.json`
pub(super) async fn get_openapi() -> HttpResponse {
    description(&OPENAPI)
}

/// `GET /asyncapi.json`
pub(super) async fn get_asyncapi() -> HttpResponse {
    description(&ASYNCAPI)
}

fn description(document: &[u8]) -> HttpResponse {
    let mut response = reply::text(JSON, document);
    response.headers_mut().insert(header::CACHE_CONTROL, CACHED);
    response
}

/// `GET /docs`
pub(super) async fn get_docs() -> HttpResponse {
    page(HTML, DOCS_POLICY, DOCS_PAGE)
}

/// `GET /docs/{file}`: the script that starts the page, and two files of its library.
pub(super) async fn get_docs_file(file: Path<String>) -> Result<HttpResponse, Problem> {
    let (name, content_type) = match file.as_str() {
        "docs.js" => return Ok(page(SCRIPT, DOCS_POLICY, DOCS_SCRIPT)),
        "swagger-ui.css" => ("swagger-ui.css", CSS),
        "swagger-ui-bundle.js" => ("swagger-ui-bundle.js", SCRIPT),
        _ => return Err(Problem::new(ProblemName::NotFound)),
    };
    match utoipa_swagger_ui::serve(name, Arc::clone(&SWAGGER)) {
        Ok(Some(found)) => Ok(page(content_type, DOCS_POLICY, found.bytes.into_owned())),
        Ok(None) => Err(Problem::new(ProblemName::NotFound)),
        Err(error) => {
            tracing::error!(%error, "a file of the try-it page could not be served");
            Err(Problem::new(ProblemName::Internal))
        }
    }
}

/// `GET /problems/{name}`
pub(super) async fn get_problem(name: Path<String>) -> Result<HttpResponse, Problem> {
    let known = ProblemName::ALL.iter().find(|problem| problem.as_str() == name.as_str());
    let problem = known.ok_or_else(|| Problem::new(ProblemName::NotFound))?;
    let text = PROBLEM_PAGE
        .replace("{{name}}", problem.as_str())
        .replace("{{status}}", &problem.status().to_string())
        .replace("{{title}}", problem.title())
        .replace("{{explanation}}", problem.explanation());
    Ok(page(HTML, PAGE_POLICY, text))
}
