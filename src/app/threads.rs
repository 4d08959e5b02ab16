//! The threads of everything below the API, in two groups that outlive the `System`: it must not wait for them.
//!
//! Those that apply and tell hold what they are at while a disk syncs or a fault is being described, and give way to those that accept. What a
//! caller is waiting for is read on others: it stands behind nothing of that.

use tokio::runtime::{Builder, Handle, Runtime};

use super::StartError;
use super::shards::READERS;
use crate::support::config::Config;
use crate::support::priority;

/// Both groups; whoever has it ends them.
pub struct Threads {
    ledger: Runtime,
    reads: Runtime,
}

/// Where to run what.
#[derive(Debug, Clone)]
pub struct ThreadGroups {
    /// What applies, relays, plans and delivers, and all chores.
    pub ledger: Handle,
    /// What is read for callers, pages among it.
    pub reads: Handle,
}

impl Threads {
    /// Beside those for the cores there is one for each connection to a file, the shared reader's in its own group: a disk that hangs holds up
    /// its own and no others.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        let files = config.shards.members.iter().filter(|member| !member.is_in_postgres()).count();
        let cores = std::thread::available_parallelism().map_or(2, usize::from).max(2);
        let group = |name: &str, workers: usize| {
            let mut builder = Builder::new_multi_thread();
            builder.worker_threads(workers).thread_name(name).enable_all();
            builder
        };
        let starting = || StartError::while_doing("start the ledger's threads");
        let mut ledger = group("ledger", cores + files * READERS as usize);
        Ok(Self {
            ledger: ledger.on_thread_start(priority::give_way).build().map_err(starting())?,
            reads: group("reads", files + 1).build().map_err(starting())?,
        })
    }

    pub fn groups(&self) -> ThreadGroups {
        ThreadGroups { ledger: self.ledger.handle().clone(), reads: self.reads.handle().clone() }
    }

    /// Ends them without waiting for what they are at.
    pub fn end(self) {
        self.ledger.shutdown_background();
        self.reads.shutdown_background();
    }
}
