//! What an operator decides about the HTTP side.

use crate::support::config::{Api, Network, Origin, PublicUrl, Server};

/// Values of the configuration, checked at start.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where clients find us, like `https://social.example`; without it the `Host` of the request counts.
    pub public_url: Option<PublicUrl>,
    /// Origins besides our own whose pages may call with credentials.
    pub allowed_origins: Vec<Origin>,
    /// Who may say for whom he forwards.
    pub trusted_proxies: Vec<Network>,
    /// Whether who is not signed in may read.
    pub anonymous_reads: bool,
}

impl Settings {
    pub fn of(server: &Server, api: &Api) -> Self {
        Self {
            public_url: server.public_url.clone(),
            allowed_origins: server.allowed_origins.clone(),
            trusted_proxies: server.trusted_proxies.clone(),
            anonymous_reads: api.anonymous_reads,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::of(&Server::default(), &Api::default())
    }
}
