//! What sign-in needs of the ledger, filled in.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::intake::accounts::{AccountLedger, DecideError, Decision, EndedSession, ShardUnavailable};
use crate::intake::{Intake, SubmitError};
use crate::ledger::Ledger;
use crate::ledger::view::ViewError;
use crate::ledger::writes::Progress;
use crate::substrate::store::rows::{Needs, Rows};
use crate::support::chain::Chain;
use crate::vocabulary::Millis;
use crate::vocabulary::command::Command;
use crate::vocabulary::ids::UserId;
use crate::vocabulary::owner::{Owner, ShardIndex};

pub(super) struct LedgerForAccounts {
    ledger: Arc<Ledger>,
    intake: Intake,
}

impl LedgerForAccounts {
    pub(super) fn new(ledger: Arc<Ledger>, intake: Intake) -> Self {
        Self { ledger, intake }
    }
}

const UNREADABLE: ShardUnavailable = ShardUnavailable { retry_after_s: ViewError::RETRY_AFTER_S };

impl AccountLedger for LedgerForAccounts {
    fn decide(
        &self,
        author: UserId,
        command: Command,
        until_visible: bool,
        within: Duration,
    ) -> BoxFuture<'_, Result<Decision, DecideError>> {
        async move {
            match self.intake.decide(author, command, until_visible, within).await {
                Ok(decided) => Ok(match decided.progress {
                    Progress::Rejected { rejection, .. } => Decision::Rejected(rejection),
                    _ => Decision::Done { position: decided.position, at: decided.accepted_at },
                }),
                Err(SubmitError::Overloaded { retry_after_s }) => Err(DecideError::Overloaded { retry_after_s }),
                Err(SubmitError::Unavailable { retry_after_s, .. }) => Err(DecideError::Unavailable { retry_after_s }),
                Err(SubmitError::Indefinite) => Err(DecideError::Indefinite),
                Err(error) => {
                    tracing::error!(error = %Chain(&error), "an account's write was not taken");
                    Err(DecideError::Unavailable { retry_after_s: ViewError::RETRY_AFTER_S })
                }
            }
        }
        .boxed()
    }

    fn rows(&self, owner: Owner, needs: Needs) -> BoxFuture<'_, Result<Rows, ShardUnavailable>> {
        async move {
            let shard = self.ledger.shard_of(&owner);
            shard.look_up(async move |snapshot| snapshot.rows_load(&needs).await).await.map_err(|_logged| UNREADABLE)
        }
        .boxed()
    }

    fn shard_of(&self, user: UserId) -> ShardIndex {
        self.ledger.index_of(&Owner::Account(user))
    }

    fn shards(&self) -> Vec<ShardIndex> {
        self.ledger.shards.iter().map(|shard| shard.index).collect()
    }

    fn sessions_ended_since(&self, shard: ShardIndex, since: Millis) -> BoxFuture<'_, Result<Vec<EndedSession>, ShardUnavailable>> {
        async move {
            let shard = self.ledger.shard(shard);
            let mut snapshot = shard.snapshot().await.map_err(|_logged| UNREADABLE)?;
            let ended = snapshot.sessions_ended_since(since).await.map_err(|error| {
                shard.failed(&error);
                UNREADABLE
            })?;
            Ok(ended.into_iter().map(|(session, _)| EndedSession { session, ended_at: self.ledger.clock.now() }).collect())
        }
        .boxed()
    }
}
