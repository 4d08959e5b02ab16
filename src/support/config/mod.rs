//! The configuration: defaults, then the file, then the environment (`SOSIK__SERVER__BIND=…`), then flags, into one checked value.
//!
//! Nothing is guessed and nothing ignored: an unknown key, a value that cannot be, or one that this release cannot honour stops the
//! start with an error that names the key and says what is expected.

mod checks;
mod postgres_url;
mod render;
mod sections;
#[cfg(test)]
mod tests;
mod values;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::providers::{Format, Toml};
use figment::value::Value;

pub use checks::{ACCESS_TTL_MAX, MEMBER_NAME_CHARACTERS_MAX, is_member_name};
pub use postgres_url::PostgresUrl;
pub use sections::{
    Api, Auth, Cache, Data, Issuer, Journal, JournalKind, Limits, LogFormat, Member, Nats, Node, Notify, Postgres, Role, Server, Shards,
    Strategy, Stream, Telemetry, Write,
};
pub use values::{Network, Origin, PublicUrl, WORKERS_MAX, Workers, parse_span};

/// The issuer of our own tokens, if no public URL is configured.
const ISSUER: &str = "sosik";
/// What begins the name of each variable that is ours.
const VARIABLE_PREFIX: &str = "SOSIK__";
/// What separates the levels in the name of a variable.
const VARIABLE_SEPARATOR: &str = "__";

/// The whole configuration, checked.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub server: Server,
    pub node: Node,
    pub data: Data,
    pub shards: Shards,
    pub postgres: Postgres,
    pub journal: Journal,
    pub write: Write,
    pub cache: Cache,
    pub auth: Auth,
    pub limits: Limits,
    pub notify: Notify,
    pub stream: Stream,
    pub nats: Nats,
    pub api: Api,
    pub telemetry: Telemetry,
}

/// What the command line says; it wins over everything.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// The file to read. Without it, no file is read.
    pub config: Option<PathBuf>,
    pub data: Option<PathBuf>,
    pub bind: Option<SocketAddr>,
    pub admin_bind: Option<SocketAddr>,
}

/// Why there is no configuration to start with.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("could not read the configuration file {}", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the configuration file {} is not TOML: {problem}", path.display())]
    Syntax { path: PathBuf, problem: String },
    /// A value is not acceptable.
    #[error("{key}: {problem}")]
    Value {
        /// Dotted, as in `journal.max_bytes`.
        key: String,
        problem: String,
    },
    #[error("the environment variable {0} is not valid Unicode")]
    NotUnicode(String),
}

impl ConfigError {
    fn value(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Value { key: key.into(), problem: problem.into() }
    }
}

impl Config {
    /// Reads file, environment and flags, and checks the result.
    pub fn load(overrides: &Overrides) -> Result<Self, ConfigError> {
        Self::load_with(overrides, std::env::vars_os())
    }

    /// As [`Config::load`], with an environment of the caller's.
    pub fn load_with(overrides: &Overrides, environment: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Self, ConfigError> {
        let mut figment = Figment::new();
        if let Some(path) = &overrides.config {
            figment = figment.merge(read_file(path)?);
        }
        for (name, value) in environment {
            if let Some((key, value)) = read_variable(&name, value)? {
                figment = figment.merge((key, value));
            }
        }
        if let Some(data) = &overrides.data {
            figment = figment.merge(("data.dir", data));
        }
        if let Some(bind) = overrides.bind {
            figment = figment.merge(("server.bind", bind));
        }
        if let Some(admin_bind) = overrides.admin_bind {
            figment = figment.merge(("server.admin_bind", admin_bind));
        }
        let mut config: Self = figment.extract().map_err(|error| explain(&error))?;
        if config.shards.members.is_empty() {
            config.shards.members = Shards::default().members;
        }
        checks::check(&config)?;
        Ok(config)
    }

    /// The issuer of our own tokens.
    pub fn own_issuer(&self) -> &str {
        self.server.public_url.as_ref().map_or(ISSUER, PublicUrl::as_str)
    }

    /// All values in effect, as TOML. Passwords in URLs are masked.
    pub fn effective_toml(&self) -> String {
        render::render(self)
    }
}

fn read_file(path: &Path) -> Result<figment::providers::Data<Toml>, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::File { path: path.to_owned(), source })?;
    // Parsed here once, so that a fault of syntax is not taken for a value without a key.
    match Toml::from_str::<figment::value::Dict>(&text) {
        Ok(_) => Ok(Toml::string(&text)),
        Err(error) => Err(ConfigError::Syntax { path: path.to_owned(), problem: error.to_string() }),
    }
}

/// The dotted key and the value of a variable, if it is one of ours.
fn read_variable(name: &OsString, value: OsString) -> Result<Option<(String, Value)>, ConfigError> {
    let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(VARIABLE_PREFIX)) else { return Ok(None) };
    let not_unicode = |_: OsString| ConfigError::NotUnicode(name.to_string_lossy().into_owned());
    let text = value.into_string().map_err(not_unicode)?;
    let key = rest.to_ascii_lowercase().replace(VARIABLE_SEPARATOR, ".");
    // A list, a number or a truth value may stand there; everything else is text.
    let value = text.parse::<Value>().unwrap_or_else(|infallible| match infallible {});
    Ok(Some((key, value)))
}

/// Our error for the first of figment's.
fn explain(error: &figment::Error) -> ConfigError {
    use figment::error::Kind;

    let mut path = error.path.clone();
    let problem = match &error.kind {
        // The path ends with the unknown key already.
        Kind::UnknownField(_, expected) => format!("unknown key; expected one of {}", expected.join(", ")),
        Kind::MissingField(field) => {
            path.push(field.to_string());
            "must be given".to_owned()
        }
        Kind::Message(message) => message.clone(),
        kind => kind.to_string(),
    };
    ConfigError::Value { key: if path.is_empty() { "configuration".to_owned() } else { path.join(".") }, problem }
}
