//! What batches did, lane by lane, until it has been told everywhere.

use sea_orm::sea_query::{Expr, ExprTrait, OnConflict, Query};
use sea_orm::{DbErr, Order, Value};
use sosik_entities::events;

use crate::vocabulary::ids::Position;
use crate::vocabulary::owner::Lane;

use super::bulk::{Key, Table};
use super::error::StoreError;
use super::line::Line;
use super::link::Link;
use super::rows::EventsRow;
use super::values::{get, lane, number, position};

/// The row is the payload.
pub(super) struct Events;

impl Table for Events {
    type Entity = events::Entity;
    type Key = (Lane, Position);
    type Row = Vec<u8>;

    const COLUMNS: &'static [events::Column] = &[events::Column::Lane, events::Column::Position, events::Column::Payload];

    fn read(row: &Line) -> Result<(Self::Key, Vec<u8>), DbErr> {
        Ok(((lane(row, 0)?, position(row, 1)?), get(row, 2)?))
    }

    fn write(key: &Self::Key, payload: &Vec<u8>, values: &mut Vec<Value>) {
        key.push(values);
        values.push(payload.clone().into());
    }

    /// A lane passes each position once: a second row would be a fault of ours, and the same one at that.
    fn on_conflict() -> OnConflict {
        OnConflict::columns([events::Column::Lane, events::Column::Position]).update_column(events::Column::Payload).to_owned()
    }
}

pub(super) async fn insert(link: &Link, rows: &[EventsRow]) -> Result<(), StoreError> {
    let keys: Vec<(Lane, Position)> = rows.iter().map(|row| (row.lane, row.position)).collect();
    link.save::<Events>(keys.iter().zip(rows.iter().map(|row| &row.payload)).collect()).await
}

pub(super) async fn after(link: &Link, lane: Lane, after: Position, rows_max: u64) -> Result<Vec<EventsRow>, StoreError> {
    let query = Query::select()
        .columns(Events::COLUMNS.iter().copied())
        .from(events::Entity)
        .and_where(Expr::col(events::Column::Lane).eq(i64::from(lane.0)))
        .and_where(Expr::col(events::Column::Position).gt(number(after.0)))
        .order_by(events::Column::Position, Order::Asc)
        .limit(rows_max)
        .take();
    let rows = link.rows(&query).await?;
    rows.iter()
        .map(|row| {
            let ((lane, position), payload) = Events::read(row)?;
            Ok(EventsRow { lane, position, payload })
        })
        .collect()
}
