//! Where a PostgreSQL database is: a URL in, its parts out, without the password wherever it is shown.
//!
//! Only what is understood is taken: an option that would be ignored, or a password where it could be printed, is refused.

use std::fmt;
use std::net::IpAddr;

use reqwest::Url;

/// The options of a URL: how the connection is protected, and a socket's folder in place of a host.
const OPTIONS: [&str; 5] = ["sslmode", "sslrootcert", "sslcert", "sslkey", "host"];
const TLS_MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];
/// Hosts of one URL: all are asked at once when the primary is looked for.
const HOSTS_MAX: usize = 8;
/// What PostgreSQL listens on if nothing else is said.
const PORT: u16 = 5432;

/// `postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full`. The password may also come from `PGPASSWORD` or a passfile.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl(Url);

impl PostgresUrl {
    /// Whether a text is meant to be one.
    pub fn is_meant(text: &str) -> bool {
        matches!(text.split(':').next(), Some("postgres" | "postgresql"))
    }

    /// Takes the text of a URL; the error says what is expected, and never what stood there, which may hold a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Ok(url) = Url::parse(text) else {
            return Err("expected \"postgres://USER@HOST:PORT/DATABASE\" with one host; characters like / and @ of a password are \
                        written as %2F and %40"
                .to_owned());
        };
        if url.path().trim_start_matches('/').is_empty() {
            return Err("must name a database: \"postgres://USER@HOST:PORT/DATABASE\"".to_owned());
        }
        if url.username().is_empty() {
            return Err("must name a user: \"postgres://USER@HOST:PORT/DATABASE\"".to_owned());
        }
        if url.fragment().is_some() {
            return Err("must not have a part behind #; in a password that is written as %23".to_owned());
        }
        for (name, value) in url.query_pairs() {
            if name == "password" {
                return Err("must not have the password as an option: put it before the @, or into PGPASSWORD".to_owned());
            }
            if !OPTIONS.contains(&&*name) {
                return Err(format!("has the option {name:?}; expected only {}", OPTIONS.join(", ")));
            }
            if name == "sslmode" && !TLS_MODES.contains(&&*value) {
                return Err(format!("has an sslmode that is none of {}", TLS_MODES.join(", ")));
            }
            if name == "host" && !value.starts_with('/') {
                return Err("may have the option host only for the folder of a socket".to_owned());
            }
        }
        let url = Self(url);
        if url.0.host_str().is_none() && url.option("host").is_none() {
            return Err("must name a host: \"postgres://USER@HOST:PORT/DATABASE\"".to_owned());
        }
        Ok(url)
    }

    /// Takes the text of a URL that may name several hosts, `postgres://USER@ONE:5432,TWO:5432/DATABASE`: a URL for each, in their order.
    pub fn parse_hosts(text: &str) -> Result<Vec<Self>, String> {
        let Some((scheme, rest)) = text.split_once("://") else { return Self::parse(text).map(|url| vec![url]) };
        let (authority, place) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (user, hosts) = authority.rsplit_once('@').map_or(("", authority), |(user, hosts)| (user, hosts));
        let hosts: Vec<&str> = hosts.split(',').collect();
        if hosts.len() == 1 {
            return Self::parse(text).map(|url| vec![url]);
        }
        if hosts.len() > HOSTS_MAX {
            return Err(format!("names {} hosts, {HOSTS_MAX} at most", hosts.len()));
        }
        let mut urls: Vec<Self> = Vec::with_capacity(hosts.len());
        for host in hosts {
            let url = Self::parse(&format!("{scheme}://{user}@{host}{place}"))?;
            if url.option("host").is_some() {
                return Err("may have the option host only where it names one host".to_owned());
            }
            if urls.iter().any(|other| other.address() == url.address()) {
                return Err("names a host twice".to_owned());
            }
            urls.push(url);
        }
        Ok(urls)
    }

    /// The whole URL, its password included: for the driver alone.
    pub fn secret_text(&self) -> &str {
        self.0.as_str()
    }

    /// Where it is, by which two URLs are the same database.
    pub fn address(&self) -> String {
        let database = self.0.path().trim_start_matches('/');
        match (self.option("host"), self.0.host_str()) {
            (Some(folder), _) => format!("{folder}:{}/{database}", self.port()),
            (None, host) => format!("{}:{}/{database}", host.unwrap_or_default(), self.port()),
        }
    }

    /// Whether what is sent stays on this machine.
    pub fn is_local(&self) -> bool {
        let Some(host) = self.0.host_str().filter(|_| self.option("host").is_none()) else { return true };
        let literal = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || literal.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// Whether it says itself how the connection is protected.
    pub fn names_protection(&self) -> bool {
        self.option("sslmode").is_some()
    }

    fn port(&self) -> u16 {
        self.0.port().unwrap_or(PORT)
    }

    fn option(&self, wanted: &str) -> Option<String> {
        self.0.query_pairs().find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned())
    }
}

/// Without user and password.
impl fmt::Display for PostgresUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "postgres://{}", self.address())
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_told_apart_by_where_it_leads() {
        for (text, address, local) in [
            ("postgres://me@db.example/social", "db.example:5432/social", false),
            ("postgresql://me:pw@db.example:6000/social?sslmode=verify-full&sslrootcert=/ca.pem", "db.example:6000/social", false),
            ("postgres://me@127.0.0.1:5433/x", "127.0.0.1:5433/x", true),
            ("postgres://me@[::1]/x", "[::1]:5432/x", true),
            ("postgres://me@localhost/x", "localhost:5432/x", true),
            ("postgres://me@localhost/x?host=/run/postgresql", "/run/postgresql:5432/x", true),
        ] {
            let url = PostgresUrl::parse(text).unwrap_or_else(|problem| panic!("{text}: {problem}"));
            assert_eq!((url.address().as_str(), url.is_local()), (address, local), "{text}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_without_repeating_a_password() {
        for (text, says) in [
            ("postgres://me:hunter2@db", "name a database"),
            ("postgres://:hunter2@db/x", "name a user"),
            ("postgres:///x", "name a user"),
            ("postgres://me:hun/ter2@db/x", "%2F"),
            ("postgres://me:hunter2@one:1,two:2/x", "one host"),
            ("postgres://me:hunter2@db/x#1", "%23"),
            ("postgres://me@db/x?password=hunter2", "PGPASSWORD"),
            ("postgres://me:hunter2@db/x?options=-c%20fsync%3Doff", "\"options\""),
            ("postgres://me:hunter2@db/x?sslmode=verify_full", "verify-full"),
            ("postgres://me:hunter2@db/x?host=other", "folder of a socket"),
        ] {
            let problem = PostgresUrl::parse(text).expect_err(text);
            assert!(problem.contains(says) && !problem.contains("hunter2"), "{text}: {problem}");
        }
    }

    #[test]
    fn a_url_of_several_hosts_is_one_for_each_with_all_else_in_common() {
        let urls = PostgresUrl::parse_hosts("postgres://me:pw@one:1,two/x?sslmode=require").expect("URLs");
        let texts: Vec<&str> = urls.iter().map(PostgresUrl::secret_text).collect();
        assert_eq!(texts, ["postgres://me:pw@one:1/x?sslmode=require", "postgres://me:pw@two/x?sslmode=require"]);
        assert_eq!(PostgresUrl::parse_hosts("postgres://me@one/x").map(|urls| urls.len()), Ok(1));
        let nine = (0..9).map(|number| format!("h{number}")).collect::<Vec<_>>().join(",");
        for (text, says) in [
            ("postgres://me:hunter2@one,two", "name a database"),
            ("postgres://me:hunter2@one,/x", "expected"),
            ("postgres://me:hunter2@one,one:5432/x", "twice"),
            ("postgres://me:hunter2@one,two/x?host=/run", "one host"),
            (&format!("postgres://me:hunter2@{nine}/x"), "at most"),
        ] {
            let problem = PostgresUrl::parse_hosts(text).expect_err(text);
            assert!(problem.contains(says) && !problem.contains("hunter2"), "{text}: {problem}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let url = PostgresUrl::parse("postgres://me:hunter2@db/x").expect("a URL");

        assert_eq!(format!("{url} {url:?}"), "postgres://db:5432/x postgres://db:5432/x");
    }
}
