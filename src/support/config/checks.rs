//! What types cannot say: bounds, values that must fit each other, and what comes with a later release.

use std::collections::HashSet;
use std::fmt::Display;
use std::time::Duration;

use super::values::WORKERS_MAX;
use super::{Config, ConfigError, Member, PostgresUrl, Role, Strategy};
use crate::support::auth::issuers::IssuerError;

/// The largest number of 5 bits: a datacenter or a worker has that much of an id.
const NODE_NUMBER_MAX: u8 = 31;
/// Room for two records of the largest size.
const JOURNAL_BYTES_MIN: u64 = 1 << 20;
/// One statement binds several values a row, and a database takes some tens of thousands of them.
const BATCH_ROWS_MAX: u32 = 10_000;
/// Smaller batches than a page of the database make no sense.
const BATCH_BYTES_MIN: u64 = 4 << 10;
/// A batch stands in memory several times over.
const BATCH_BYTES_MAX: u64 = 64 << 20;
/// A stolen access token is good for that long, and an ended session is remembered for that long.
pub const ACCESS_TTL_MAX: Duration = Duration::from_secs(3_600);
const REFRESH_TTL_MAX: Duration = Duration::from_secs(400 * 86_400);
/// A page of history and what waits beside it; fewer, and a client that reads at once is closed as too slow.
const OUTBOX_FRAMES_MIN: u32 = 128;
/// Three of the longest comments.
const OUTBOX_BYTES_MIN: u64 = 64 << 10;
/// Less holds not one post.
const CACHE_BYTES_MIN: u64 = 4 << 10;
/// More than any machine has: somebody took one unit for another.
const CACHE_BYTES_MAX: u64 = 1 << 40;
/// More shards than one process can keep open with their readers.
const MEMBERS_MAX: usize = 256;
/// Connections that write, and that read, of one shard. A batch and a notification have one each at the least.
const WRITERS_MIN: u16 = 2;
/// More than a server should be asked for.
const CONNECTIONS_MAX: u16 = 1024;
/// Standbys of a member: each is asked many times a second under load.
const REPLICAS_MAX: usize = 8;
/// Shorter, and a server that is merely busy counts as down; longer, and one that hangs is not noticed.
const POSTGRES_SPANS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(600));
/// Shorter, and a standby that is merely busy is not read; longer, and writes are not visible for as long.
const REPLICA_LAG_SPANS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(86_400));
/// A member's name is a label and may become part of a file name.
pub const MEMBER_NAME_CHARACTERS_MAX: usize = 40;

pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    check_node(config)?;
    check_members(config)?;
    check_postgres(config)?;
    check_write(config)?;
    check_auth(config)?;
    check_bounds(config)?;
    check_later_releases(config)
}

fn between<T: PartialOrd + Display>(key: &str, value: &T, min: &T, max: &T) -> Result<(), ConfigError> {
    if value < min || value > max { Err(ConfigError::value(key, format!("must be from {min} to {max}, is {value}"))) } else { Ok(()) }
}

fn check_node(config: &Config) -> Result<(), ConfigError> {
    between("node.datacenter", &config.node.datacenter, &0, &NODE_NUMBER_MAX)?;
    between("node.worker", &config.node.worker, &0, &NODE_NUMBER_MAX)?;
    let server = &config.server;
    if server.bind == server.admin_bind && server.bind.port() != 0 {
        return Err(ConfigError::value("server.admin_bind", format!("must differ from server.bind, which is {} too", server.bind)));
    }
    if config.data.dir.as_os_str().is_empty() {
        return Err(ConfigError::value("data.dir", "must not be empty"));
    }
    Ok(())
}

fn check_members(config: &Config) -> Result<(), ConfigError> {
    let members = &config.shards.members;
    if members.len() > MEMBERS_MAX {
        return Err(ConfigError::value("shards.members", format!("at most {MEMBERS_MAX}, found {}", members.len())));
    }
    let mut names = HashSet::new();
    let mut databases = HashSet::new();
    for (index, member) in members.iter().enumerate() {
        let key = |field: &str| format!("shards.members.{index}.{field}");
        check_member(member, key)?;
        if !names.insert(member.name.as_str()) {
            return Err(ConfigError::value(key("name"), format!("must be unique, but another member is named {:?} too", member.name)));
        }
        let mut places: Vec<String> = member.postgres_hosts().iter().map(PostgresUrl::address).collect();
        places.extend(member.sqlite_file(&config.data.dir).map(|file| file.to_string_lossy().into_owned()));
        if !places.into_iter().all(|place| databases.insert(place)) {
            return Err(ConfigError::value(key("url"), "must be unique, but another member has the same database"));
        }
        if member.is_in_postgres() != members[0].is_in_postgres() {
            let problem = "must be of the same kind as that of the first member: SQLite beside PostgreSQL is not served, since what is promised \
                           for the one does not hold for the other";
            return Err(ConfigError::value(key("url"), problem));
        }
    }
    check_ranges(config)
}

/// Whether a member can be named so.
pub fn is_member_name(name: &str) -> bool {
    let allowed = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit() || matches!(character, '-' | '_');
    !name.is_empty() && name.len() <= MEMBER_NAME_CHARACTERS_MAX && name.chars().all(allowed)
}

fn check_member(member: &Member, key: impl Fn(&str) -> String) -> Result<(), ConfigError> {
    if !is_member_name(&member.name) {
        let problem = format!("must have 1 to {MEMBER_NAME_CHARACTERS_MAX} characters of a-z 0-9 - _, is {:?}", member.name);
        return Err(ConfigError::value(key("name"), problem));
    }
    if PostgresUrl::is_meant(&member.url) {
        PostgresUrl::parse_hosts(&member.url).map_err(|problem| ConfigError::value(key("url"), problem))?;
    } else if member.sqlite_file(std::path::Path::new("")).is_none() {
        let scheme = member.url.split(':').next().unwrap_or_default();
        let problem = format!("expected \"sqlite:FILE\" or \"postgres://USER@HOST:PORT/DATABASE\", found a URL of the scheme {scheme:?}");
        return Err(ConfigError::value(key("url"), problem));
    }
    check_replicas(member, &key)?;
    let Some(lag_max) = member.replica_lag_max else { return Ok(()) };
    if !member.is_in_postgres() {
        return Err(ConfigError::value(key("replica_lag_max"), "a SQLite file has no standbys: leave it out"));
    }
    let (shortest, longest) = REPLICA_LAG_SPANS;
    between(&key("replica_lag_max"), &lag_max.as_millis(), &shortest.as_millis(), &longest.as_millis())
}

fn check_replicas(member: &Member, key: impl Fn(&str) -> String) -> Result<(), ConfigError> {
    let refused = |problem: String| Err(ConfigError::value(key("replicas"), problem));
    if member.replicas.len() > REPLICAS_MAX {
        return refused(format!("at most {REPLICAS_MAX}, found {}", member.replicas.len()));
    }
    let hosts = member.postgres_hosts();
    if hosts.is_empty() && !member.replicas.is_empty() {
        return refused("a SQLite file has no standbys: leave it out".to_owned());
    }
    // Of several hosts each may be the primary or a standby, and so stand in both places.
    let mut addresses: HashSet<String> = hosts.iter().filter(|_| hosts.len() == 1).map(PostgresUrl::address).collect();
    for (index, replica) in member.replicas.iter().enumerate() {
        let key = key(&format!("replicas.{index}"));
        let url = match PostgresUrl::is_meant(replica) {
            true => PostgresUrl::parse(replica),
            false => Err("expected the URL of a standby: \"postgres://USER@HOST:PORT/DATABASE\"".to_owned()),
        };
        let address = url.map_err(|problem| ConfigError::value(key.clone(), problem))?.address();
        if !addresses.insert(address) {
            return Err(ConfigError::value(key, "is the primary, or stands here twice: a standby is a server of its own"));
        }
    }
    Ok(())
}

fn check_postgres(config: &Config) -> Result<(), ConfigError> {
    let postgres = &config.postgres;
    between("postgres.writers", &postgres.writers, &WRITERS_MIN, &CONNECTIONS_MAX)?;
    between("postgres.readers", &postgres.readers, &1, &CONNECTIONS_MAX)?;
    let (shortest, longest) = POSTGRES_SPANS;
    for (key, value) in [
        ("postgres.connect_timeout", postgres.connect_timeout),
        ("postgres.statement_timeout", postgres.statement_timeout),
        ("postgres.lock_timeout", postgres.lock_timeout),
        ("postgres.idle_in_transaction_timeout", postgres.idle_in_transaction_timeout),
    ] {
        if value < shortest || value > longest {
            return Err(ConfigError::value(key, format!("must be from {shortest:?} to {longest:?}, is {value:?}")));
        }
    }
    Ok(())
}

fn check_ranges(config: &Config) -> Result<(), ConfigError> {
    let shards = &config.shards;
    let mut last = None;
    for (index, member) in shards.members.iter().enumerate() {
        let key = format!("shards.members.{index}.from");
        if member.from.is_some() && shards.strategy != Strategy::Range {
            return Err(ConfigError::value(key, "is only for shards.strategy = \"range\""));
        }
        if member.from.is_some() != shards.members[0].from.is_some() {
            return Err(ConfigError::value(key, "must be given for all members or for none"));
        }
        let Some(from) = member.from else { continue };
        if from > i64::MAX as u64 {
            return Err(ConfigError::value(key, format!("must be an id, at most {}", i64::MAX)));
        }
        if index == 0 && from != 0 {
            return Err(ConfigError::value(key, "must be 0 for the first member, so that every id lives somewhere"));
        }
        if last.is_some_and(|last| from <= last) {
            return Err(ConfigError::value(key, "must be above that of the member before"));
        }
        last = Some(from);
    }
    Ok(())
}

fn check_write(config: &Config) -> Result<(), ConfigError> {
    let write = &config.write;
    between("write.workers_min", &write.workers_min, &1, &WORKERS_MAX)?;
    between("write.workers_max", &write.workers_max, &1, &WORKERS_MAX)?;
    if write.workers_min > write.workers_max {
        let problem = format!("must be at most write.workers_max, which is {}, is {}", write.workers_max, write.workers_min);
        return Err(ConfigError::value("write.workers_min", problem));
    }
    between("write.batch_rows", &write.batch_rows, &1, &BATCH_ROWS_MAX)?;
    between("write.batch_bytes", &write.batch_bytes, &BATCH_BYTES_MIN, &BATCH_BYTES_MAX)?;
    if config.journal.max_bytes < JOURNAL_BYTES_MIN {
        let problem = format!("must be at least 1MiB ({JOURNAL_BYTES_MIN} bytes), is {} bytes", config.journal.max_bytes);
        return Err(ConfigError::value("journal.max_bytes", problem));
    }
    Ok(())
}

fn check_auth(config: &Config) -> Result<(), ConfigError> {
    let auth = &config.auth;
    if auth.access_ttl < Duration::from_secs(1) || auth.access_ttl > ACCESS_TTL_MAX {
        return Err(ConfigError::value("auth.access_ttl", format!("must be from 1s to 1h, is {:?}", auth.access_ttl)));
    }
    if auth.refresh_ttl < auth.access_ttl || auth.refresh_ttl > REFRESH_TTL_MAX {
        return Err(ConfigError::value("auth.refresh_ttl", format!("must be from auth.access_ttl to 400d, is {:?}", auth.refresh_ttl)));
    }
    for (index, issuer) in auth.issuers.iter().enumerate() {
        let key = |field: &str| format!("auth.issuers.{index}.{field}");
        for (field, text) in [("issuer", &issuer.issuer), ("audience", &issuer.audience), ("jwks", &issuer.jwks)] {
            if text.is_empty() || text.chars().any(char::is_control) {
                return Err(ConfigError::value(key(field), "must not be empty or hold control characters"));
            }
        }
        let before = auth.issuers[..index].iter().map(|other| other.issuer.as_str());
        issuer.settings().check(config.own_issuer(), before).map_err(|error| {
            let field = if matches!(error, IssuerError::Source(_)) { "jwks" } else { "issuer" };
            ConfigError::value(key(field), error.to_string())
        })?;
    }
    Ok(())
}

fn check_bounds(config: &Config) -> Result<(), ConfigError> {
    let at_least_one = [
        ("limits.writes_per_minute", u64::from(config.limits.writes_per_minute)),
        ("limits.logins_per_minute", u64::from(config.limits.logins_per_minute)),
        ("limits.registrations_per_hour", u64::from(config.limits.registrations_per_hour)),
        ("notify.retention_entries", u64::from(config.notify.retention_entries)),
        ("stream.sockets_per_user", u64::from(config.stream.sockets_per_user)),
        ("stream.watches_per_socket", u64::from(config.stream.watches_per_socket)),
    ];
    if let Some((key, _)) = at_least_one.iter().find(|(_, value)| *value == 0) {
        return Err(ConfigError::value(*key, "must be at least 1"));
    }
    between("stream.outbox_frames", &config.stream.outbox_frames, &OUTBOX_FRAMES_MIN, &u32::MAX)?;
    between("stream.outbox_bytes", &config.stream.outbox_bytes, &OUTBOX_BYTES_MIN, &u64::MAX)?;
    between("cache.capacity", &config.cache.capacity, &CACHE_BYTES_MIN, &CACHE_BYTES_MAX)?;
    if config.notify.retention.is_zero() {
        return Err(ConfigError::value("notify.retention", "must be above 0"));
    }
    check_log(&config.telemetry.log)
}

/// A word alone is a level. The parser takes any other for the name of a target, and a slip of the pen would silence all the rest.
fn check_log(filter: &str) -> Result<(), ConfigError> {
    let refused =
        |problem: String| ConfigError::value("telemetry.log", format!("expected a level such as \"info\", or directives: {problem}"));
    let words = filter.split(',').map(str::trim).filter(|part| !part.is_empty() && !part.contains(['=', '[', ']']));
    if let Some(word) = words.into_iter().find(|word| word.parse::<tracing_subscriber::filter::LevelFilter>().is_err()) {
        return Err(refused(format!("{word:?} is no level; for a target write {word}=debug")));
    }
    tracing_subscriber::EnvFilter::builder().parse(filter).map(drop).map_err(|error| refused(error.to_string()))
}

fn check_later_releases(config: &Config) -> Result<(), ConfigError> {
    if let Some(missing) = Role::ALL.iter().find(|role| !config.node.roles.contains(role)) {
        let problem = format!("splitting roles over processes comes with a later release: list all four ({missing:?} is missing)");
        return Err(ConfigError::value("node.roles", problem.to_lowercase()));
    }
    if config.node.roles.len() > Role::ALL.len() {
        return Err(ConfigError::value("node.roles", "must name each role once"));
    }
    if !config.nats.url.is_empty() {
        return Err(ConfigError::value("nats.url", "the connection between nodes comes with a later release: leave it out"));
    }
    if !config.telemetry.otlp_endpoint.is_empty() {
        return Err(ConfigError::value("telemetry.otlp_endpoint", "sending traces comes with a later release: leave it out"));
    }
    Ok(())
}
