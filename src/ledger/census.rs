//! Everything that lies in the shards, key by key: stores go in; how many rows each key has, and what places them, comes out.
//!
//! Each page is read from a snapshot of its own, so that a walk over any amount of data, beside a running server, holds back neither the
//! writer nor the trimming of the log. What is told is thus of moments that lie apart. In memory is one page.

use super::topology::plan::Amount;
use crate::substrate::store::{Family, PLACED, Snapshot, Store, StoreError};
use crate::vocabulary::owner::{Owner, PlacementKey, ShardIndex};

/// The rows of one key in one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Where they lie.
    pub shard: ShardIndex,
    pub family: Family,
    pub placed_by: PlacementKey,
    pub amount: Amount,
}

/// Tells of everything, each row once; `stores` are in the order of the map's shards.
pub async fn walk(stores: &[Store], tell: &mut (dyn FnMut(Found) + Send)) -> Result<(), StoreError> {
    for (index, store) in stores.iter().enumerate() {
        let shard = ShardIndex(index as u16);
        for table in PLACED {
            let mut after = None;
            loop {
                let page = begin_page(store).await?.audit_placed(table, after).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.key);
                for rows in page {
                    // Rows that nothing places are of no owner: `fsck` tells of them.
                    let Some(id) = rows.placed_by else { continue };
                    let amount = Amount { rows: rows.rows, owners: u64::from(table.lists_owners()) };
                    tell(Found { shard, family: table.family, placed_by: PlacementKey::Id(id), amount });
                }
            }
        }
        let mut after = None;
        loop {
            let page = begin_page(store).await?.audit_names(after.as_ref()).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.clone());
            for name in page {
                let amount = Amount { rows: 1, owners: 1 };
                tell(Found { shard, family: Family::Names, placed_by: Owner::Name(name).placement_key(), amount });
            }
        }
    }
    Ok(())
}

async fn begin_page(store: &Store) -> Result<Snapshot, StoreError> {
    #[cfg(feature = "faults")]
    crate::support::faults::pause("census::slow_page").await;
    store.snapshot().await
}
