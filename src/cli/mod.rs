//! The command line. `sosik` alone serves.

mod config;
mod fsck;
mod id;
mod journal;
mod keys;
mod look;
mod migrate;
mod promote;
mod serve;
mod shards;
mod tail;
mod token;
mod user;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::app::StartError;
use crate::ledger::topology::plan::strategy_named;
use crate::stream::place;
use crate::support::chain::Chain;
use crate::support::config::{Config, Overrides, Strategy, parse_span};

/// A social write and notification server.
#[derive(Debug, Parser)]
#[command(name = "sosik", version, about)]
struct Cli {
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Settings win over the environment, that over the file, that over the defaults.
#[derive(Debug, Clone, Default, Args)]
struct SettingsArgs {
    /// The configuration file (TOML).
    #[arg(long, global = true)]
    config: Option<PathBuf>,
    /// The data folder.
    #[arg(long, global = true)]
    data: Option<PathBuf>,
    /// Where clients connect; port 0 asks the system for one.
    #[arg(long, global = true, overrides_with = "bind")]
    bind: Option<SocketAddr>,
    /// Where operators connect.
    #[arg(long, global = true, overrides_with = "admin_bind")]
    admin_bind: Option<SocketAddr>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT.
    Serve,
    /// Bring the databases to this release's schema, and stop.
    Migrate,
    /// Check that counters, places and both sides of what stands twice agree; no server may run meanwhile.
    Fsck,
    /// See how the shards are filled, and what another number of them would move; change the primary of one.
    Shards {
        #[command(subcommand)]
        command: ShardsCommand,
    },
    /// Look after the journal.
    Journal {
        #[command(subcommand)]
        command: JournalCommand,
    },
    /// Print the parts of an id.
    Id { id: String },
    /// Look after the keys that sign access tokens.
    Keys {
        #[command(subcommand)]
        command: KeysCommand,
    },
    /// Sign access tokens for scripts and load tests; needs the data folder.
    Token {
        /// The usernames; a line is printed for each.
        #[arg(required = true)]
        names: Vec<String>,
        /// How long it is good, like 30m or 1h.
        #[arg(long, value_parser = parse_duration, default_value = "1h")]
        ttl: Duration,
    },
    /// Print a user's stream, an event a line, until it ends for good; comes back by itself.
    Tail {
        /// An access token, as `sosik token` prints it.
        #[arg(long)]
        token: String,
        /// Where the server is; otherwise where the configuration binds it.
        #[arg(long)]
        url: Option<String>,
        /// The id of a post to watch; may stand several times.
        #[arg(long)]
        watch: Vec<String>,
        /// Go on after this entry of the inbox: `EPOCH:NUMBER`.
        #[arg(long, value_parser = parse_place)]
        after: Option<(String, u64)>,
    },
    /// Look after users.
    User {
        #[command(subcommand)]
        command: UserCommand,
    },
    /// Look after the configuration.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
}

#[derive(Debug, Subcommand)]
enum JournalCommand {
    /// Give the shards a new, empty journal in place of one that is lost: what it held and was not applied yet is lost with it.
    Attach,
}

#[derive(Debug, Subcommand)]
enum ShardsCommand {
    /// Print what each shard holds.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make the present database of a shard its primary under a new epoch; no server may run meanwhile. A start does this by itself for
    /// one that is complete.
    Promote {
        /// The name of the shard.
        name: String,
        /// Also one that lacks what the journal no longer has: what it lacks is lost for good.
        #[arg(long)]
        accept_loss: bool,
    },
    /// Print what would move, and how even it would be, under each strategy. Nothing is changed.
    Plan {
        /// The names of all members that there would be, like s1,s2,s3.
        #[arg(long, required = true, value_delimiter = ',')]
        members: Vec<String>,
        /// Only these strategies: directory, modulo, range.
        #[arg(long, value_delimiter = ',', value_parser = parse_strategy)]
        strategy: Vec<Strategy>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Make a new signing key, which signs five minutes after it is published; the one before stays good until its last token has ended.
    Rotate,
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// Give a user the admin role; it counts from his next login or refresh on.
    Admin {
        /// The username.
        name: String,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print the effective configuration and which promises are on.
    Check,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error(transparent)]
    Config(#[from] crate::support::config::ConfigError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("{0}")]
    Refused(String),
}

impl CliError {
    fn while_doing<E: std::error::Error + Send + Sync + 'static>(doing: &str) -> impl FnOnce(E) -> Self + use<E> {
        let told = StartError::while_doing(doing);
        move |error| Self::Start(told(error))
    }
}

/// Runs what the arguments say.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sosik: {}", Chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<(), CliError> {
    let config = cli.settings.load()?;
    match cli.command {
        None | Some(Command::Serve) => serve::serve(config),
        Some(Command::Migrate) => block_on(migrate::migrate(&config)),
        Some(Command::Fsck) => block_on(fsck::fsck(&config)),
        Some(Command::Shards { command: ShardsCommand::Status { json } }) => block_on(shards::status(&config, json)),
        Some(Command::Shards { command: ShardsCommand::Plan { members, strategy, json } }) => {
            block_on(shards::plan(&config, &members, &strategy, json))
        }
        Some(Command::Shards { command: ShardsCommand::Promote { name, accept_loss } }) => {
            block_on(promote::promote(&config, &name, accept_loss))
        }
        Some(Command::Journal { command: JournalCommand::Attach }) => block_on(journal::attach(&config)),
        Some(Command::Id { id }) => id::print(&config, &id),
        Some(Command::Keys { command: KeysCommand::Rotate }) => keys::rotate(&config),
        Some(Command::Token { names, ttl }) => block_on(token::print(&config, &names, ttl)),
        Some(Command::Tail { token, url, watch, after }) => {
            let url = url.unwrap_or_else(|| format!("http://{}", config.server.bind));
            block_on(tail::tail(tail::Tail { url, token, watch, after }))
        }
        Some(Command::User { command: UserCommand::Admin { name } }) => block_on(user::make_admin(&config, &name)),
        Some(Command::Config { command: ConfigCommand::Check }) => config::check(&config),
    }
}

fn block_on(command: impl Future<Output = Result<(), CliError>>) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(CliError::while_doing("start a runtime"))?.block_on(command)
}

/// Writes a line to standard output. A reader who has gone, like `head`, is no failure.
fn say(line: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    let _gone = writeln!(out, "{line}").and_then(|()| out.flush());
}

impl SettingsArgs {
    fn load(&self) -> Result<Config, crate::support::config::ConfigError> {
        Config::load(&Overrides { config: self.config.clone(), data: self.data.clone(), bind: self.bind, admin_bind: self.admin_bind })
    }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    parse_span(text).ok_or_else(|| "expected a span of time such as 30m (ms, s, m, h or d)".to_owned())
}

fn parse_strategy(text: &str) -> Result<Strategy, String> {
    strategy_named(text).ok_or_else(|| "expected directory, modulo or range".to_owned())
}

fn parse_place(text: &str) -> Result<(String, u64), String> {
    place::parse(text).ok_or_else(|| "expected an epoch, a colon and a number, as an event has them".to_owned())
}
