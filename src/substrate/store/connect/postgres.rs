//! A shard in PostgreSQL: where it is goes in, two pools come out, one of sessions that write and one of sessions that read.
//!
//! Promised: a server that could lose what it committed, that only reads, or that keeps texts in another encoding is refused by name; a
//! session that hangs, or whose client is gone, ends by itself and gives up what it holds. Passwords are in no error.

use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sea_orm::sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sea_orm::sqlx::{ConnectOptions as _, Connection as _, Error as SqlxError, query_as, query_scalar};
use sea_orm::{ConnectOptions, Database, DatabaseConnection};

use super::{Pools, STATEMENTS_KEPT, StoreOptions, common_options, quiet};
use crate::substrate::store::error::StoreError;
use crate::substrate::store::link::Pool;
use crate::substrate::store::membership::{Joined, Wanted};
use crate::substrate::store::standby::Known;
use crate::substrate::store::tenure::{Chosen, FIRST_EPOCH, PrimarySight, Tenure};
use crate::support::config::PostgresUrl;
use crate::support::faults::planted;
use crate::vocabulary::ids::Position;

const IDLE_CONNECTIONS_MIN: u32 = 1;
/// A connection that stood idle this long is tried before it is used: the server may have started again meanwhile, and then all are dead.
const PING_AFTER_IDLE: Duration = Duration::from_secs(1);
/// Settings without which a committed transaction may be lost or half written, and what is promised no more where one is off.
const NEEDED: [(&str, &str, &str); 3] = [
    ("fsync", "SHOW fsync", "G1 (an accepted write survives) does not hold: a crash of the machine loses or damages what was committed"),
    (
        "full_page_writes",
        "SHOW full_page_writes",
        "G1 (an accepted write survives) and G10 (no going on with doubtful state) do not hold: a crash can leave pages half written",
    ),
    (
        "synchronous_commit",
        "SHOW synchronous_commit",
        "G1 (an accepted write survives) and G2 (it takes effect once) do not hold: a crash of the server loses what it called committed",
    ),
];
/// What notices a client that is gone without a word: seconds, seconds, times.
const KEEPALIVE: [(&str, &str); 3] = [("tcp_keepalives_idle", "10"), ("tcp_keepalives_interval", "5"), ("tcp_keepalives_count", "3")];

/// What a pool's sessions are for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Writes,
    Reads,
}

pub(super) async fn open(url: &PostgresUrl, options: &StoreOptions, chosen: &Arc<OnceLock<Chosen>>) -> Result<Pools, StoreError> {
    // One by hand first: it says why there is none, where a pool would only say that it waited in vain.
    let asked = session(url, options, Role::Writes)?;
    tell_of_protection(url, &asked);
    let address = url.address();
    let failed = |source: SqlxError| StoreError::Connect { address: address.clone(), source };
    let waited = options.pool_wait;
    let connected = tokio::time::timeout(waited, asked.connect()).await.map_err(|_elapsed| StoreError::NoAnswer { waited })?;
    let mut first = connected.map_err(failed)?;
    tokio::time::timeout(waited, assert_is_safe(&mut first, &address)).await.map_err(|_elapsed| StoreError::NoAnswer { waited })??;
    let _gone = first.close().await;
    let writer = pool(url, options, Role::Writes, chosen).await?;
    let reader = pool(url, options, Role::Reads, chosen).await?;
    Ok(Pools { writer: Pool::Server(writer), reader: Pool::Server(reader) })
}

pub(super) async fn standby(url: &PostgresUrl, options: &StoreOptions) -> Result<DatabaseConnection, StoreError> {
    let session = session(url, options, Role::Reads)?;
    tell_of_protection(url, &session);
    let mut connect: ConnectOptions = common_options("postgres://localhost".to_owned(), 1, options);
    connect.connect_lazy(true).test_before_acquire_if_idle_for(PING_AFTER_IDLE);
    connect.map_sqlx_postgres_opts(move |_| session.clone());
    Ok(Database::connect(connect).await?)
}

pub(super) async fn standby_reads(
    url: &PostgresUrl,
    options: &StoreOptions,
    chosen: &Arc<OnceLock<Chosen>>,
    known: &Arc<Known>,
) -> Result<DatabaseConnection, StoreError> {
    let session = session(url, options, Role::Reads)?;
    let mut connect: ConnectOptions = common_options("postgres://localhost".to_owned(), options.readers, options);
    connect.connect_lazy(true).test_before_acquire_if_idle_for(PING_AFTER_IDLE);
    connect.map_sqlx_postgres_opts(move |_| session.clone());
    let (chosen, known) = (Arc::clone(chosen), Arc::clone(known));
    connect.map_sqlx_postgres_pool_opts(move |pool| {
        let (chosen, known) = (Arc::clone(&chosen), Arc::clone(&known));
        pool.after_connect(move |connection, _| {
            let (chosen, known) = (Arc::clone(&chosen), Arc::clone(&known));
            Box::pin(async move { assert_follows(connection, &chosen, &known).await })
        })
    });
    Ok(Database::connect(connect).await?)
}

/// What a standby says of itself: its log, the epoch, the journal and the shard's name.
type StandbySays = (i64, i64, Option<String>, Option<String>);

/// Refuses a new connection to a standby of another shard or primary, or to one that has gone back by starting again. A connection that lasts
/// needs no other look: a server that starts again ends it.
async fn assert_follows(connection: &mut PgConnection, chosen: &OnceLock<Chosen>, known: &Known) -> Result<(), SqlxError> {
    let known = known.position();
    let question = "SELECT CAST(coalesce(pg_last_wal_replay_lsn() - '0/0'::pg_lsn, 0) AS bigint), epoch, journal, shard_name FROM shard";
    let (replayed, epoch, journal, shard_name): StandbySays = query_as(question).fetch_one(connection).await?;
    let chosen = chosen.get();
    if let Some(chosen) = chosen {
        chosen.shard.check_copy(Joined::of(journal, shard_name).as_ref()).map_err(another)?;
    }
    let expected = chosen.map_or(epoch.cast_unsigned(), |chosen| chosen.tenure.epoch);
    if replayed.cast_unsigned() >= known.0 && epoch.cast_unsigned() == expected {
        return Ok(());
    }
    Err(SqlxError::Protocol(format!(
        "the standby is at {replayed} of the log and carries the epoch {epoch}; {} and {expected} are expected",
        known.0
    )))
}

/// What makes one primary's log another than that of the one before; nothing on a standby.
const TIMELINE: &str = "SELECT CASE WHEN pg_is_in_recovery() THEN '0' ELSE substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END";
/// PostgreSQL: undefined_table, undefined_column. Such a database is empty, or of an earlier release.
const NOT_THERE: [&str; 2] = ["42P01", "42703"];

/// What a server that takes writes says of itself: the epoch, how far it is complete, the journal and the shard's name.
type PrimarySays = (i64, Option<i64>, Option<String>, Option<String>);

/// Connects for one question.
pub(super) async fn sight(url: &PostgresUrl, options: &StoreOptions, shard: &Wanted) -> Result<PrimarySight, StoreError> {
    let address = url.address();
    let failed = |source: SqlxError| StoreError::Connect { address: address.clone(), source };
    let session = session(url, options, Role::Writes)?;
    let looked = async {
        let mut connection = session.connect().await.map_err(failed)?;
        if answer(&mut connection, "SHOW transaction_read_only", &address).await? == "on" {
            return Err(StoreError::OnlyReads { address: address.clone() });
        }
        let timeline = timeline(&mut connection).await.map_err(failed)?;
        let question = "SELECT epoch, complete_to, journal, shard_name FROM shard";
        let row = query_as::<_, PrimarySays>(question).fetch_optional(&mut connection).await;
        let row = match row {
            Err(SqlxError::Database(error)) if error.code().is_some_and(|code| NOT_THERE.contains(&&*code)) => None,
            row => row.map_err(failed)?,
        };
        let _gone = connection.close().await;
        let Some((epoch, complete_to, journal, shard_name)) = row else {
            return Ok(PrimarySight { tenure: Tenure { epoch: FIRST_EPOCH, timeline }, complete_to: None });
        };
        shard.check(Joined::of(journal, shard_name).as_ref())?;
        let complete_to = complete_to.map(|position| Position(position.cast_unsigned()));
        Ok(PrimarySight { tenure: Tenure { epoch: epoch.cast_unsigned(), timeline }, complete_to })
    };
    let waited = options.pool_wait;
    tokio::time::timeout(waited, looked).await.map_err(|_elapsed| StoreError::NoAnswer { waited })?
}

async fn timeline(connection: &mut PgConnection) -> Result<Option<u32>, SqlxError> {
    let name: String = query_scalar(TIMELINE).fetch_one(connection).await?;
    Ok(u32::from_str_radix(&name, 16).ok().filter(|timeline| *timeline > 0))
}

/// Refuses a new connection to a server that is not the one that was chosen: the name may lead to another now.
async fn assert_tenure(connection: &mut PgConnection, chosen: &OnceLock<Chosen>) -> Result<(), SqlxError> {
    let Some(Chosen { tenure: expected, shard }) = chosen.get() else { return Ok(()) };
    let timeline = timeline(connection).await?;
    let question = "SELECT epoch, journal, shard_name FROM shard";
    let (epoch, journal, shard_name): (i64, Option<String>, Option<String>) = query_as(question).fetch_one(connection).await?;
    shard.check(Joined::of(journal, shard_name).as_ref()).map_err(another)?;
    let found = Tenure { epoch: epoch.cast_unsigned(), timeline };
    if found == *expected || planted("store::skip_epoch") {
        return Ok(());
    }
    Err(SqlxError::Protocol(format!("another server answers: it has {found:?}, and {expected:?} is expected")))
}

fn another(error: StoreError) -> SqlxError {
    SqlxError::Protocol(format!("another server answers: {error}"))
}

async fn pool(
    url: &PostgresUrl,
    options: &StoreOptions,
    role: Role,
    chosen: &Arc<OnceLock<Chosen>>,
) -> Result<DatabaseConnection, StoreError> {
    let session = session(url, options, role)?;
    let connections = if role == Role::Writes { options.writers } else { options.readers };
    // The address is only there to say which driver: the session below is what connects.
    let mut connect: ConnectOptions = common_options("postgres://localhost".to_owned(), connections, options);
    connect.min_connections(IDLE_CONNECTIONS_MIN).test_before_acquire_if_idle_for(PING_AFTER_IDLE);
    connect.map_sqlx_postgres_opts(move |_| session.clone());
    let chosen = Arc::clone(chosen);
    connect.map_sqlx_postgres_pool_opts(move |pool| {
        let chosen = Arc::clone(&chosen);
        pool.after_connect(move |connection, _| {
            let chosen = Arc::clone(&chosen);
            Box::pin(async move { assert_tenure(connection, &chosen).await })
        })
    });
    Ok(Database::connect(connect).await?)
}

/// Each of our statements has an index for what it looks for, and names at most some thousand rows. A planner whose statistics are of a table
/// as it was some minutes ago takes it for small, and reads all of it instead, each time.
const BY_INDEX: [(&str, &str); 4] = [("enable_seqscan", "off"), ("enable_hashjoin", "off"), ("enable_mergejoin", "off"), ("jit", "off")];

/// How one session connects, and what holds while it lasts.
fn session(url: &PostgresUrl, options: &StoreOptions, role: Role) -> Result<PgConnectOptions, StoreError> {
    let parsed = PgConnectOptions::from_str(url.secret_text());
    let base = parsed.map_err(|source| StoreError::Connect { address: url.address(), source })?;
    // The driver's own choice would be content with no protection at all.
    let base = if url.is_local() || url.names_protection() { base } else { base.ssl_mode(PgSslMode::VerifyFull) };
    let millis = |span: Duration| span.as_millis().to_string();
    let session = base.application_name("sosik").statement_cache_capacity(STATEMENTS_KEPT).options([
        ("statement_timeout", millis(options.statement_wait)),
        ("lock_timeout", millis(options.lock_wait)),
        ("idle_in_transaction_session_timeout", millis(options.idle_wait)),
        // Nothing is news of a schema that is there already.
        ("client_min_messages", "warning".to_owned()),
        // What a batch reads after it has taken its lanes must be what the one before it wrote.
        ("default_transaction_isolation", "read committed".to_owned()),
    ]);
    let session = session.options(BY_INDEX);
    let session = if role == Role::Reads { session.options([("default_transaction_read_only", "on")]) } else { session };
    Ok(quiet(if session.get_socket().is_some() { session } else { session.options(KEEPALIVE) }))
}

/// Says so where others could read along, or answer in the server's place.
fn tell_of_protection(url: &PostgresUrl, session: &PgConnectOptions) {
    if let Some(danger) = danger(url, session.get_ssl_mode()) {
        tracing::warn!(database = %url, "{danger}; set sslmode=verify-full");
    }
}

/// What may happen on the way to another machine.
fn danger(url: &PostgresUrl, mode: PgSslMode) -> Option<&'static str> {
    match mode {
        _ if url.is_local() => None,
        PgSslMode::VerifyFull => None,
        PgSslMode::VerifyCa => {
            Some("the server's name is not verified: whoever has a certificate of the same authority may answer in its place")
        }
        _ => Some("the server's certificate is not verified: others may read along, or answer in its place"),
    }
}

async fn assert_is_safe(connection: &mut PgConnection, address: &str) -> Result<(), StoreError> {
    for (setting, question, breaks) in NEEDED {
        let found = answer(connection, question, address).await?;
        // `local`, `remote_write` and `remote_apply` wait for the own disk at least.
        if found == "off" {
            return Err(StoreError::UnsafeSetting { setting, found, breaks });
        }
    }
    let encoding = answer(connection, "SHOW server_encoding", address).await?;
    if encoding != "UTF8" {
        return Err(StoreError::SettingRefused { setting: "server_encoding=UTF8", found: encoding });
    }
    if answer(connection, "SHOW transaction_read_only", address).await? == "on" {
        return Err(StoreError::OnlyReads { address: address.to_owned() });
    }
    Ok(())
}

async fn answer(connection: &mut PgConnection, question: &'static str, address: &str) -> Result<String, StoreError> {
    let asked = query_scalar(question).fetch_one(connection).await;
    asked.map_err(|source| StoreError::Connect { address: address.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_machine_must_show_who_it_is_unless_the_url_says_otherwise() {
        for (text, verified, warned) in [
            ("postgres://me@db.example/x", true, None),
            ("postgres://me@db.example/x?sslmode=verify-full", true, None),
            ("postgres://me@db.example/x?sslmode=verify-ca", false, Some("name is not verified")),
            ("postgres://me@db.example/x?sslmode=require", false, Some("certificate is not verified")),
            ("postgres://me@db.example/x?sslmode=disable", false, Some("certificate is not verified")),
            ("postgres://me@203.0.113.9/x", true, None),
            ("postgres://me@127.0.0.1/x", false, None),
            ("postgres://me@localhost/x?host=/run/postgresql", false, None),
        ] {
            let url = PostgresUrl::parse(text).unwrap_or_else(|problem| panic!("{text}: {problem}"));
            for role in [Role::Writes, Role::Reads] {
                let mode = session(&url, &StoreOptions::default(), role).expect("a session").get_ssl_mode();

                assert_eq!(matches!(mode, PgSslMode::VerifyFull), verified, "{text}: {mode:?}");
                let said = danger(&url, mode);
                assert!(
                    said.is_some() == warned.is_some() && said.unwrap_or_default().contains(warned.unwrap_or_default()),
                    "{text}: {said:?}"
                );
            }
        }
    }
}
