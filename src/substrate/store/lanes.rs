//! Lanes and cursors: how far a shard is, moved only by who knows where they stand.

use sea_orm::sea_query::{Asterisk, CaseStatement, Expr, ExprTrait, Query, UpdateStatement};
use sea_orm::{ColumnTrait, EntityTrait, Order, QueryFilter, QueryOrder, QuerySelect, QueryTrait};
use sosik_entities::{events, lanes, relay_cursors};

use crate::support::faults::planted;
use crate::vocabulary::ids::Position;
use crate::vocabulary::owner::Lane;

use super::error::StoreError;
use super::link::Link;
use super::rows::{LaneRow, SourceLane};
use super::tenure::{check_epoch, epoch_query};
use super::values::{lane, number, position, source_lane, stored};

/// One step of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneMove {
    pub lane: Lane,
    /// Where it must stand now.
    pub known: Position,
    pub next: Position,
}

/// All lanes in one statement, if the shard carries the expected epoch. It must change as many rows as there are moves.
pub(super) async fn advance(link: &Link, moves: &[LaneMove]) -> Result<(), StoreError> {
    if moves.iter().any(|step| step.next <= step.known) {
        return Err(StoreError::NotForward);
    }
    let Some(last) = moves.last() else { return Ok(()) };
    lock(link, &moves.iter().map(|step| step.lane).collect::<Vec<_>>()).await?;
    // Repeating the last one changes nothing, and keeps the number of different statements small.
    let padded = || moves.iter().chain(std::iter::repeat_n(last, moves.len().next_power_of_two() - moves.len()));
    let mut next = CaseStatement::new();
    for step in padded() {
        next = next.case(Expr::col(lanes::Column::Lane).eq(i64::from(step.lane.0)), Expr::val(number(step.next.0)));
    }
    let known = padded().map(|step| (i64::from(step.lane.0), stored(step.known.0)));
    let listed = Query::select().column(Asterisk).from_values(known, "known").take();
    let mut update = Query::update();
    update.table(lanes::Entity).value(lanes::Column::Applied, next);
    if planted("lanes::skip_compare") {
        update.and_where(Expr::col(lanes::Column::Lane).is_in(moves.iter().map(|step| i64::from(step.lane.0))));
    } else {
        update.and_where(Expr::tuple([Expr::col(lanes::Column::Lane), Expr::col(lanes::Column::Applied)]).in_subquery(listed));
    }
    if let Some(epoch) = link.epoch {
        update.and_where(Expr::val(stored(epoch)).in_subquery(epoch_query()));
    }
    if link.execute(&update).await? == moves.len() as u64 {
        return Ok(());
    }
    check_epoch(link).await?;
    Err(StoreError::Fenced)
}

/// Takes the rows of these lanes in ascending order, so that two who need several never wait for each other in a circle.
pub(super) async fn lock(link: &Link, wanted: &[Lane]) -> Result<(), StoreError> {
    // On SQLite the transaction is the only writer already.
    if link.backend == sea_orm::DbBackend::Sqlite || wanted.is_empty() {
        return Ok(());
    }
    let query = lanes::Entity::find()
        .select_only()
        .column(lanes::Column::Lane)
        .filter(lanes::Column::Lane.is_in(wanted.iter().map(|lane| i64::from(lane.0))))
        .order_by(lanes::Column::Lane, Order::Asc)
        .lock_exclusive()
        .into_query();
    link.rows(&query).await.map(|_| ())
}

pub(super) async fn read(link: &Link) -> Result<Vec<LaneRow>, StoreError> {
    let query = Query::select()
        .columns([lanes::Column::Lane, lanes::Column::Applied, lanes::Column::Relayed, lanes::Column::Notified])
        .from(lanes::Entity)
        .order_by(lanes::Column::Lane, Order::Asc)
        .take();
    let rows = link.rows(&query).await?;
    rows.iter()
        .map(|row| {
            let (applied, relayed, notified) = (position(row, 1)?, position(row, 2)?, position(row, 3)?);
            Ok(LaneRow { lane: lane(row, 0)?, applied, relayed, notified })
        })
        .collect()
}

pub(super) async fn read_cursors(link: &Link) -> Result<Vec<(SourceLane, Position)>, StoreError> {
    let columns = [relay_cursors::Column::SourceShard, relay_cursors::Column::SourceLane, relay_cursors::Column::Position];
    let rows = link.rows(&Query::select().columns(columns).from(relay_cursors::Entity).take()).await?;
    rows.iter().map(|row| Ok((source_lane(row, 0)?, position(row, 2)?))).collect()
}

pub(super) async fn cursor_advance(link: &Link, source: SourceLane, known: Position, next: Position) -> Result<(), StoreError> {
    if next <= known {
        return Err(StoreError::NotForward);
    }
    if known == Position::START && cursor_begin(link, source, next).await? {
        return Ok(());
    }
    let update = Query::update()
        .table(relay_cursors::Entity)
        .value(relay_cursors::Column::Position, number(next.0))
        .and_where(Expr::col(relay_cursors::Column::SourceShard).eq(i64::from(source.shard.0)))
        .and_where(Expr::col(relay_cursors::Column::SourceLane).eq(i64::from(source.lane.0)))
        .and_where(Expr::col(relay_cursors::Column::Position).eq(number(known.0)))
        .take();
    expect_changed(link, &update, 1).await
}

/// Whether there was no cursor yet.
async fn cursor_begin(link: &Link, source: SourceLane, next: Position) -> Result<bool, StoreError> {
    let key = [relay_cursors::Column::SourceShard, relay_cursors::Column::SourceLane];
    let insert = Query::insert()
        .into_table(relay_cursors::Entity)
        .columns([key[0], key[1], relay_cursors::Column::Position])
        .values_panic([i64::from(source.shard.0).into(), i64::from(source.lane.0).into(), Expr::val(number(next.0))])
        .on_conflict(sea_orm::sea_query::OnConflict::columns(key).do_nothing().to_owned())
        .take();
    Ok(link.execute(&insert).await? == 1)
}

/// Everything up to `through` of each lane was carried on: to the owners of its relays, or to the inboxes. It never goes back.
/// The events that were carried both ways go.
pub(super) async fn carried(link: &Link, way: lanes::Column, lanes: &[(Lane, Position)]) -> Result<(), StoreError> {
    let Some(last) = lanes.last() else { return Ok(()) };
    // Repeating the last one changes nothing, and keeps the number of different statements small.
    let padded = || lanes.iter().chain(std::iter::repeat_n(last, lanes.len().next_power_of_two() - lanes.len()));
    let mut reached = CaseStatement::new();
    for (lane, through) in padded() {
        let behind = Expr::col(lanes::Column::Lane).eq(i64::from(lane.0)).and(Expr::col(way).lt(number(through.0)));
        reached = reached.case(behind, Expr::val(number(through.0)));
    }
    let these = || padded().map(|(lane, _)| i64::from(lane.0));
    let update = Query::update()
        .table(lanes::Entity)
        .value(way, reached.finally(Expr::col(way)))
        .and_where(Expr::col(lanes::Column::Lane).is_in(these()))
        .take();
    link.execute(&update).await?;
    let (relayed, notified) = (Expr::col((lanes::Entity, lanes::Column::Relayed)), Expr::col((lanes::Entity, lanes::Column::Notified)));
    let both = CaseStatement::new().case(relayed.clone().lt(notified.clone()), relayed).finally(notified);
    let event = |column: events::Column| Expr::col((events::Entity, column));
    let gone = Query::select()
        .columns([events::Column::Lane, events::Column::Position].map(|column| (events::Entity, column)))
        .from(lanes::Entity)
        .inner_join(
            events::Entity,
            event(events::Column::Lane).eq(Expr::col((lanes::Entity, lanes::Column::Lane))).and(event(events::Column::Position).lte(both)),
        )
        .and_where(Expr::col((lanes::Entity, lanes::Column::Lane)).is_in(these()))
        .take();
    let key = [events::Column::Lane, events::Column::Position].map(Expr::col);
    let delete = Query::delete().from_table(events::Entity).and_where(Expr::tuple(key).in_subquery(gone)).take();
    link.execute(&delete).await.map(|_| ())
}

pub(super) async fn expect_changed(link: &Link, update: &UpdateStatement, rows: u64) -> Result<(), StoreError> {
    if link.execute(update).await? == rows { Ok(()) } else { Err(StoreError::Fenced) }
}
