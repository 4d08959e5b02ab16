//! Windows that are due become entries, as their owners want it at that moment: a storm may have gathered for an hour.
//!
//! Due windows of a shard come in; entries, and windows that last longer, come out. Who is blocked or muted meanwhile is not shown, and does not count,
//! as far as he stands in the window's own row or would be shown. Of a crowd beside it the others are a number.

use std::sync::Arc;

use super::{Delivery, DeliveryError, Tools, all_inbox_lanes};
use crate::notify::coalesce;
use crate::substrate::bus::Hint;
use crate::substrate::store::{StandingKey, Store, WindowKey, WindowRow};
use crate::vocabulary::Millis;
use crate::vocabulary::entry::InboxLine;
use crate::vocabulary::ids::UserId;

/// Windows that one transaction closes.
const WINDOWS_MAX: u64 = 200;

/// A window with those of its people who are looked at, newest first.
struct Due {
    key: WindowKey,
    window: WindowRow,
    people: Vec<UserId>,
}

/// Closes windows that are due: those with somebody in them become entries. Answers whether more may be due.
pub async fn close_windows(store: &Store, tools: &Tools, now: Millis) -> Result<(Vec<Hint>, bool), DeliveryError> {
    let mut tx = store.begin().await?;
    tx.lanes_lock(&all_inbox_lanes()).await?;
    let due = tx.windows_due(now, WINDOWS_MAX).await?;
    let more = due.len() as u64 == WINDOWS_MAX;
    let mut delivery = Delivery::bare(tx, tools, now);
    let crowded: Vec<WindowKey> = due.iter().filter(|(_, window)| window.is_crowded()).map(|(key, _)| *key).collect();
    let mut newest = delivery.tx.windows_newest(&crowded, InboxLine::ACTORS_MAX as u64).await?;
    let due: Vec<Due> = due
        .into_iter()
        .map(|(key, window)| {
            // Whoever has a row of his own came after those who need none.
            let mut people = newest.remove(&key).unwrap_or_default();
            people.extend(window.first.iter().rev());
            Due { key, window, people }
        })
        .collect();
    let asked = due.iter().flat_map(|due| due.people.iter().map(|actor| standing_of(due.key, *actor)));
    delivery.standings = delivery.tx.standings(asked.collect()).await?;
    delivery.states = delivery.standings.iter().map(|(key, standing)| (key.recipient, standing.inbox)).collect();
    let mut over = Vec::new();
    for Due { key, window, people } in due {
        if !delivery.close(key, &window, people)? {
            over.push(key);
        }
    }
    delivery.tx.windows_empty(&crowded).await?;
    delivery.tx.windows_delete(&over).await?;
    fail::fail_point!("notify::before_close");
    Ok((delivery.commit().await?, more))
}

fn standing_of(window: WindowKey, actor: UserId) -> StandingKey {
    StandingKey { recipient: window.recipient, actor, host: None }
}

impl Delivery<'_> {
    /// Makes an entry of a window, and opens the next one. `false`: there is nobody whom its owner wants to hear of.
    fn close(&mut self, key: WindowKey, window: &WindowRow, people: Vec<UserId>) -> Result<bool, DeliveryError> {
        let looked_at = people.len();
        let wanted = people.into_iter().filter_map(|actor| Some((actor, self.ways_of(&standing_of(key, actor), key.group.kind)?)));
        let mut wanted: Vec<_> = wanted.collect();
        let Some((_, ways)) = wanted.first().copied() else { return Ok(false) };
        let unwanted = looked_at - wanted.len();
        let count = window.people.saturating_sub(u32::try_from(unwanted).unwrap_or(u32::MAX));
        wanted.truncate(InboxLine::ACTORS_MAX);
        let actors = wanted.into_iter().map(|(actor, _)| actor).collect();
        let WindowRow { post, comment, stage, .. } = *window;
        let line = InboxLine { group: key.group, actors, count, post, comment, created_at: self.now };
        self.append(key.recipient, Arc::new(line), ways.stream)?;
        let stage = coalesce::next_stage(stage);
        let due_at = coalesce::due_at(self.now, stage);
        self.open(key, WindowRow { post, comment, people: 0, stage, due_at, first: Vec::new() });
        Ok(true)
    }
}
