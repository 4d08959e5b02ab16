//! `notice_cursors`: how far each source lane has told the inboxes of this shard.

use sea_orm::entity::prelude::*;

/// One row of `notice_cursors`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "notice_cursors")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub source_shard: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub source_lane: i64,
    pub position: i64,
    pub last_recipient: i64,
}

/// No relations: a row names its neighbours by id, and they may live on another shard.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
