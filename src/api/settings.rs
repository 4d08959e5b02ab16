//! What an operator decides about the HTTP side.

use crate::support::config::Network;

/// Values of the configuration, checked at start.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where clients find us, like `https://social.example`; without it the `Host` of the request counts.
    pub public_url: Option<String>,
    /// Origins besides our own whose pages may call with credentials: exactly as a browser sends them.
    pub allowed_origins: Vec<String>,
    /// Who may say for whom he forwards.
    pub trusted_proxies: Vec<Network>,
    /// Whether who is not signed in may read.
    pub anonymous_reads: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { public_url: None, allowed_origins: Vec::new(), trusted_proxies: Vec::new(), anonymous_reads: true }
    }
}
